"""Accuracy and loss of a model on a split of a dataset."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from nfsim.data.abstract import AbstractData
from nfsim.losses import aligned


def evaluate(model: nn.Module, data: AbstractData, split: str = "test") -> dict[str, float]:
    """`SPLIT/accuracy` (share of right predictions) and `SPLIT/loss` (cross-entropy, nats) of a model as it is.

    Parameters
    ----------
    model : Module
        Called as `model(x, lengths=...)`; where it predicts at each step, every valid step counts.
    data : AbstractData
    split : str
        "train", "validation" or "test".
    """
    return judge(model, data, split)[0]


def judge(model: nn.Module, data: AbstractData, split: str = "test") -> tuple[dict[str, float], NDArray[np.bool_]]:
    """What `evaluate` returns, and which predictions were right, (sample,) or (valid step,) bool, in the split's order.

    Arguments are those of `evaluate`. The answers to single samples are what two models are compared by.
    """
    loader = data.loader(split)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    training = model.training
    model.eval()
    loss = torch.zeros((), dtype=torch.float64)
    parts = []
    try:
        with torch.inference_mode():
            for batch in loader:
                x, target, lengths = batch.to(device)
                logits, target = aligned(model(x, lengths=lengths).logits, target, lengths)
                parts.append((logits.argmax(-1) == target).cpu())
                loss = loss + cross_entropy(logits, target, reduction="sum").cpu()
    finally:
        model.train(training)
    right = torch.cat(parts).numpy()
    return {f"{split}/accuracy": float(right.mean()), f"{split}/loss": float(loss / len(right))}, right

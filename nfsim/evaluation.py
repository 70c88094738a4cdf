"""Accuracy and loss of a model on a split of a dataset."""

import torch
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
    loader = data.loader(split)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    training = model.training
    model.eval()
    right = loss = count = torch.zeros((), dtype=torch.float64)
    try:
        with torch.inference_mode():
            for batch in loader:
                x, target, lengths = batch.to(device)
                logits, target = aligned(model(x, lengths=lengths).logits, target, lengths)
                right = right + (logits.argmax(-1) == target).sum().cpu()
                loss = loss + cross_entropy(logits, target, reduction="sum").cpu()
                count = count + len(target)
    finally:
        model.train(training)
    return {f"{split}/accuracy": float(right / count), f"{split}/loss": float(loss / count)}

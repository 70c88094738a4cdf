"""What a baseline checks of a call; a compiled network checks more."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nfsim.models.model import Output, checked_lengths, checked_values

# B sample, T time step, F feature, L label


def checked(
    model: nn.Module,
    x: Tensor,
    features: int,
    steps: int | None = None,
    lengths: Tensor | None = None,
    record: Sequence[str] = (),
) -> tuple[Tensor, Tensor | None]:
    """Input in the model's dtype, and valid steps of each sample, (B,) int64; None where all are.

    Parameters
    ----------
    model : what is called.
    x : input, to be (B, T, F) with at least one sample and one step.
    features, steps : F and T that the model takes; None takes any number of steps.
    lengths : (B,) whole numbers in [1, T].
    record : names to record; a baseline has none but logits.
    """
    name = type(model).__name__
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: x is a {type(x).__name__}; give a torch tensor [batch, time, feature]")
    fits = x.ndim == 3 and x.shape[2] == features and steps in (None, x.shape[1]) and x.numel()
    if not fits:
        raise ValueError(
            f"{name}: input of shape {tuple(x.shape)} is not [batch, {steps or 'time'}, {features}], batch >= 1; "
            f"reshape it, or build the {name} for it"
        )
    if unknown := set(record) - {"logits"}:
        raise ValueError(f"{name}: cannot record {', '.join(sorted(unknown))}; only logits")
    return checked_values(x, next(model.parameters())), checked_lengths(lengths, x)


def check_sizes(model: str, **sizes: int) -> None:
    """Raise ValueError where a size of a model is not at least 1, naming it."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{model}: {name} {value} must be >= 1; raise it")


def answer(logits: Tensor, state: dict[str, Tensor], record: Sequence[str] = ()) -> Output:
    """Output of a model that predicts once a sample, logits (B, L)."""
    return Output(logits, state, {"logits": logits[:, None]} if record else {})


def last_valid(y_BTH: Tensor, lengths: Tensor | None) -> Tensor:
    """Each sample's values at its last valid step, (B, H)."""
    if lengths is None:
        return y_BTH[:, -1]
    return y_BTH[torch.arange(len(y_BTH), device=y_BTH.device), lengths - 1]

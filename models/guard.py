"""An opt-in look at every state for values that are not finite, where they first appear."""

import torch
from torch import Tensor


def look(path: str, z: Tensor, ticks: int) -> None:
    """Raise for the first state of a population that is not finite.

    Parameters
    ----------
    path : of the population.
    z : [batch, tick, ..., node], states after each tick, real or complex.
    ticks : of an input step.

    Raises
    ------
    FloatingPointError : names the node, the sample, and the input step.
    """
    wrong = ~torch.isfinite(z)
    if not wrong.any():
        return
    while wrong.dim() > 3:  # real and imaginary parts
        wrong = wrong.any(-2)
    tick = int(wrong.any(0).any(-1).to(torch.uint8).argmax())
    sample, node = wrong[:, tick].nonzero()[0].tolist()
    raise FloatingPointError(
        f"{path}: node {node} is not finite after step {tick // ticks} (tick {tick % ticks} of it) of sample {sample}; "
        "declare a limiter or a smaller coupling, lower the learning rate, or look for parameters that have diverged"
    )

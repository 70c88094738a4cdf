"""What training minimises: cross-entropy, free energy and confidence, over the steps that are valid."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

# B sample, T time step, K tick, N node, L label

ENERGIES = ("energy_accuracy", "energy_complexity")
"""Names of the two parts of the free energy in a recording."""


def valid_steps(steps: int, lengths: Tensor | None, batch: int) -> Tensor:
    """Mask (B, T) bool of the steps before each sample's length; all, where there are no lengths."""
    if lengths is None:
        return torch.ones(batch, steps, dtype=torch.bool)
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def aligned(logits: Tensor, target: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Predictions (V, L) and targets (V,) that belong together: one a sample, or one for every valid step.

    Parameters
    ----------
    logits : (B, L) or (B, T, L)
        One prediction for each sample, or (readout `when="each"`) for each step.
    target : (B,) or (B, T) int64
        Where samples have one label and predictions come at each step, the label holds at every step.
    lengths : (B,), steps; optional
        Steps from there on are left out.
    """
    if logits.ndim == 2:
        if target.ndim != 1:
            raise ValueError(
                f"targets have shape {tuple(target.shape)}, one for each step, and the model predicts once a sample; "
                'give the readout when="each", or one target a sample'
            )
        return logits, target
    if target.ndim == 1:
        target = target[:, None].expand(logits.shape[:2])
    if target.shape != logits.shape[:2]:
        raise ValueError(
            f"targets have shape {tuple(target.shape)}, predictions {tuple(logits.shape[:2])} samples and steps; "
            "give a target for every step, or one a sample"
        )
    if lengths is None:
        return logits.flatten(0, 1), target.flatten()
    valid = valid_steps(logits.shape[1], lengths, len(logits))
    return logits[valid], target[valid]


def free_energy(record: Mapping[str, Tensor], lengths: Tensor | None = None, steps: int = 1) -> Tensor:
    """Mean free energy (nats) of a node and a tick: accuracy plus complexity, over valid ticks.

    Parameters
    ----------
    record : mapping
        Holds `energy_accuracy` and `energy_complexity`, each (B, K, N).
    lengths : (B,), steps; optional
        Ticks of later steps are left out.
    steps : int
        Time steps of the input; K is a multiple of it.

    Source: Friston 2010, Nat. Rev. Neurosci. 11:127; with gain as precision, Feldman and Friston 2010.
    """
    energy_BK = (record["energy_accuracy"] + record["energy_complexity"]).mean(-1)
    if lengths is None:
        return energy_BK.mean()
    ticks = energy_BK.shape[1]
    return energy_BK[valid_steps(ticks, lengths * (ticks // steps), len(energy_BK))].mean()


def confidence(logits: Tensor) -> Tensor:
    """Mean entropy (nats) of the predicted distributions, logits (V, L); 0 where every prediction is certain."""
    log_p = functional.log_softmax(logits, -1)
    return -(log_p.exp() * log_p).sum(-1).mean()

"""The optimizer and the course of its learning rate."""

from math import cos, pi

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from nfsim.settings import Schedule, TrainerSettings

START = 1 / 25
"""First rate as a share of the highest: that of torch.optim.lr_scheduler.OneCycleLR."""


def rate(step: int, steps: int, schedule: Schedule, warmup: float) -> float:
    """Learning rate before optimizer step `step` (from 0) of `steps`, as a share of the highest.

    `one_cycle` and `cosine` rise from 1/25 to 1 over the share `warmup` of the steps, one along half a cosine, the
    other along a line, and both fall to 0 along half a cosine. `constant` is 1.

    Source: one_cycle, Smith and Topin 2018, arXiv:1708.07120; cosine, Loshchilov and Hutter 2017, arXiv:1608.03983.

    >>> [round(rate(step, 11, Schedule.cosine, 0.0), 2) for step in (0, 5, 10)]
    [1.0, 0.5, 0.0]
    """
    if schedule is Schedule.constant:
        return 1.0
    last = max(steps - 1, 1)
    top = warmup * last
    if step < top:
        done = step / top
        return START + (1 - START) * (done if schedule is Schedule.cosine else (1 - cos(pi * done)) / 2)
    done = min((step - top) / max(last - top, 1), 1.0)
    return (1 + cos(pi * done)) / 2


def optimizer(model: nn.Module, settings: TrainerSettings) -> Optimizer:
    """AdamW that decays matrices and spares biases and per-node constants, which are vectors: 0 means nothing there.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return AdamW(
        [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": settings.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=settings.lr,
        fused=True,  # one call for all parameters: they are many and small
    )


def scheduler(optimizer: Optimizer, settings: TrainerSettings, steps: int) -> LambdaLR:
    """Schedule to advance after each of `steps` optimizer steps."""
    return LambdaLR(optimizer, lambda step: rate(step, steps, settings.schedule, settings.warmup))

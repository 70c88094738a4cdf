"""Small data, models and networks to train on, shared by the tests of training, losses and checkpoints."""

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

import nfsim
from nfsim.data import Arrays
from nfsim.models.mlp import MLP


def some_data(seed=0, steps=3, lengths=False, **options):
    """Two classes of noise around two means."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 120)
    x = rng.normal(size=(120, steps, 5)) + 1.5 * target[:, None, None]
    parts = [x, target] + ([rng.integers(1, steps + 1, 120)] if lengths else [])
    train, validation, test = ([part[a:b] for part in parts] for a, b in ((0, 60), (60, 90), (90, 120)))
    return Arrays(train=train, validation=validation, test=test, seed=seed, batch=16, **options)


def some_model(dropout=0.3, hidden=(8,)):
    torch.manual_seed(7)
    return MLP(5, "01", 3, hidden=hidden, dropout=dropout)


def some_network(when="last", seed=0):
    net = nfsim.Network("small", seed=seed)
    net.add(nfsim.Input("x", 5), nfsim.Population("a", 6), nfsim.Readout("class", ["0", "1"], when=when))
    net.connect("x", "a")
    return net


class Interrupt(Callback):
    """Stops training as Ctrl-C would, in the middle of an epoch (from 0)."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_batch_end(self, trainer, module, *args):
        if trainer.current_epoch == self.epoch and trainer.global_step % 4 == 2:
            raise KeyboardInterrupt


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))

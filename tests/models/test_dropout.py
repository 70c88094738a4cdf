"""Dropout of drives and readouts: nothing but a mean-preserving noise, and in training alone."""

import pytest
import torch

import nfsim
from nfsim import CfC, Input, Network, Population, Projection, Readout
from nfsim.compiler import lower
from nfsim.models.compiled import CompiledModel
from nfsim.models.reference import ReferenceModel


def network(drive: float, readout: float, **options: object) -> Network:
    net = Network("net", seed=3)
    net.add(Input("x", 4), Population("a", 8, dynamics=CfC(limiter="none")), Readout("out", 3, dropout=readout))
    return net.add(Projection("x", "a", dropout=drive, **options))


def sequence() -> torch.Tensor:
    return torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("backend", [lambda p: CompiledModel(p, torch.float64), ReferenceModel])
def test_dropout_changes_nothing_outside_of_training(backend):
    plain, noisy = (backend(lower(network(p, p))).eval() for p in (0.0, 0.4))
    assert torch.equal(plain(sequence()).logits, noisy(sequence()).logits)
    assert not torch.equal(plain(sequence()).logits, noisy.train()(sequence()).logits)


@pytest.mark.parametrize(
    "backend", [lambda p: CompiledModel(p, torch.float64), pytest.param(ReferenceModel, marks=pytest.mark.slow)]
)
def test_dropout_of_a_linear_path_keeps_the_mean_of_what_it_drives(backend):
    model = backend(lower(network(0.5, 0.0))).eval()
    x = sequence()
    exact = model(x, record=("drive",)).record["drive"]
    model.train()
    torch.manual_seed(0)
    n = 400
    with torch.no_grad():
        drives = torch.stack([model(x, record=("drive",)).record["drive"] for _ in range(n)])
    # five standard errors of the mean; without the rescaling it would be off by half of the drive, some ten of them
    error = (drives.mean(0) - exact).abs()
    assert (error < 5 * drives.std(0).abs() / n**0.5 + 1e-12).all()


def test_dropout_of_hidden_units_leaves_each_out_at_the_declared_share():
    model = CompiledModel(lower(network(0.25, 0.0, rank=400, activation="relu")), torch.float64).train()
    (drive,) = model.stages[0].outer
    h = drive.hidden(torch.ones(50, 4, dtype=torch.float64))
    alive = drive.values.eval() and drive.hidden(torch.ones(1, 4, dtype=torch.float64))[0] != 0
    assert (h[:, alive] == 0).double().mean().item() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan"), "half"])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(nfsim.BuildError, match=r"dropout .* is not in \[0, 1\); give the share to leave out"):
        network(share, 0.0).check()
    with pytest.raises(nfsim.BuildError, match=r"out.*dropout .* is not in \[0, 1\)"):
        network(0.0, share).check()


def test_a_coupling_takes_no_dropout():
    net = network(0.0, 0.0).add(Projection("a", "a", nfsim.Nearest(2), dropout=0.1))
    with pytest.raises(nfsim.BuildError, match="dropout and signal belong to a drive"):
        net.check()

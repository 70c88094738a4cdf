"""The examples are topologies that the framework was not built for: they compile, all their parts learn, they train."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import nfsim

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


def network(path: Path) -> nfsim.Network:
    """The network that an example declares."""
    return runpy.run_path(str(path))["network"]()


# no thalamus runs as the fused loop in float32, which takes seconds to compile
COMPILED = [pytest.param(p, marks=[pytest.mark.slow] if p.stem == "no_thalamus" else []) for p in EXAMPLES]


@pytest.mark.parametrize("path", COMPILED, ids=lambda p: p.stem)
def test_every_parameter_of_an_example_learns(path):
    model = nfsim.compile(network(path), device="cpu")
    x = torch.rand(8, 3, model.features, generator=torch.Generator().manual_seed(0))
    torch.nn.functional.cross_entropy(model(x).logits, torch.arange(8) % 10).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_an_example_survives_json_and_networkx(path):
    net = network(path)
    assert nfsim.Network.from_json(net.to_json()) == net
    assert nfsim.Network.from_networkx(net.to_networkx()) == net


def test_dale_keeps_every_sign_through_training():
    net = network(next(p for p in EXAMPLES if p.stem == "dale"))
    model = nfsim.compile(net, device="cpu")
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)  # large steps: weights would cross zero if they could
    x = torch.rand(16, 1, 64, generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x).logits, torch.arange(16) % 10).backward()
        optimizer.step()
    (loop,) = model.stages
    for drive in loop.inner:
        assert (drive.projection.sign * drive.weight() >= 0).all(), drive.name


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_an_example_run_as_a_script_reads_digits(path, tmp_path):
    run = subprocess.run([sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    assert float(re.findall(r"validation accuracy ([\d.]+)", run.stdout)[0]) > 0.93, run.stdout

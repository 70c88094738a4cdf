"""The program as text says what runs, why, with how many parameters, and whether the coupling settles."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings

import networks
import nfsim
from nfsim import CfC, Input, Network, Population, Projection, Readout
from nfsim.compiler import lower
from nfsim.compiler.costs import laplacian_radius
from nfsim.models.compiled import CompiledModel
from nfsim.regions import presets

SIZES = {"sensory": 12, "prefrontal": 16, "motor": 10, "nuclei": 2, "neighbours": 3}


@pytest.mark.parametrize("preset", [presets.hierarchy, presets.thalamocortical])
def test_the_program_of_a_preset_names_stages_kernels_reasons_and_all_parameters(preset):
    net = preset(6, 5, **SIZES)
    model = nfsim.compile(net, device="cpu")
    text = model.explain()
    assert str(model.program) == text
    assert repr(net) in text
    assert net.digest()[:12] in text
    for i, stage in enumerate(model.program.stages):
        assert f"stage {i}   {stage.schedule}: {stage.populations[0]} [" in text
        assert stage.kernel in text
        assert all(f"because     {reason}" in text for reason in stage.reasons)
        for name in (*stage.drives, *stage.couplings):
            assert f"{name}: " in text
    total = sum(p.numel() for p in model.parameters())
    assert re.search(rf"total +{total:,}$", text)
    for group, count in model.ledger().items():
        assert re.search(rf"parameters  {group} +{count:,}\n", text)


def test_the_presets_run_as_they_are_meant_to():
    scans = [s.schedule for s in lower(presets.hierarchy(6, 5, **SIZES)).stages]
    assert scans == ["scan"] * 3
    (loop,) = lower(presets.thalamocortical(6, 5, **SIZES)).stages
    assert (loop.schedule, loop.populations) == ("loop", ("sensory", "pfc", "motor"))


@settings(networks.SETTINGS, max_examples=15)
@given(networks.networks())
def test_the_ledger_counts_every_parameter_once_in_its_group(net):
    program = lower(net)
    model = CompiledModel(program)
    ledger = model.ledger()
    assert sum(ledger.values()) == sum(p.numel() for p in model.parameters())
    assert list(ledger) == ["drive", "node constants", "router", "coupling", "projections", "readout"]
    assert (ledger["router"] > 0) == bool(net.flat.nuclei)
    assert ledger["readout"] > 0
    assert re.search(rf"total +{sum(ledger.values()):,}$", program.explain())


def test_the_ledger_of_a_network_that_one_can_count_by_hand():
    net = Network("net").add(Input("x", 3), Population("a", 4), Population("b", 5, dynamics=CfC(drive="complex")))
    net.add(Projection("x", "a"), Projection("a", "b", rank=2, activation="gelu"), Readout("out", 6, reads="b"))
    net.connect("b", "b", nfsim.OneToOne(), kind="drive", signal="rate")
    net.connect("a", "a", nfsim.Nearest(2))
    net.add(nfsim.Nucleus("n", "a", "*", feedback="b"))
    assert nfsim.compile(net, device="cpu").ledger() == {
        "drive": 4 * 3 + 4 + 2 * 5,  # W of the input, and the biases: one part of a, both of b
        "node constants": 2 * 4 + 2 * 5,  # lambda and bias of the rate
        "router": 16 * 3 + 16 * 2 + 16 * 3 + 5,  # query, key of the state, key of the place, feedback
        "coupling": 1,
        "projections": 2 * 8 + 2 + 10 * 2 + 2 * 5,  # V, bias and U of the low rank; one edge per node and part
        "readout": 6 * 5 + 6,
    }


def path(weight, **options):
    net = Network("net").add(Input("x", 3), Population("a", 12, dynamics=CfC(rate="exact", tau=2.0)), Readout("out", 2))
    return net.add(Projection("x", "a"), Projection("a", "a", nfsim.AllToAll(), weight=weight, **options))


def test_the_spectral_radius_is_that_of_the_laplacian():
    """All to all among n nodes with row sums w: L = w n / (n - 1) (1 - 11^T / n), radius w n / (n - 1)."""
    radius, exact = laplacian_radius(lower(path(0.6)).connectome, ("a",))
    assert exact
    assert radius == pytest.approx(0.6 * 12 / 11, rel=1e-12)


def test_the_stability_number_is_t_times_one_plus_the_radius():
    t = 1 - np.exp(-0.5)
    number = t * (1 + 0.6 * 12 / 11)
    assert f"t (1 + rho(L)) = {number:.3g} with t = {t:.3g}, rho(L) = {0.6 * 12 / 11:.3g}: settles" in str(
        lower(path(0.6))
    )
    assert "may not settle: lower the coupling's weight" in str(lower(path(9.0)))


def test_a_network_beyond_the_number_diverges_and_one_below_settles():
    """What the number says, seen in the model, without limiter and input: ten steps of 1 - t = 0.61, or of -3.2."""
    for weight, settles in ((0.6, True), (9.0, False)):
        net = path(weight)
        cell = CfC(rate="exact", tau=2.0, limiter="none", omega=0.0)
        net.parts = tuple(Population("a", 12, dynamics=cell) if isinstance(p, Population) else p for p in net.parts)
        assert ("settles" in str(lower(net)).split("rho(L) = ")[1]) == settles
        model = nfsim.compile(net, device="cpu")
        state = dict(zip(("xr", "xi"), torch.randn(2, 1, 12, generator=torch.Generator().manual_seed(0)), strict=True))
        end = model(torch.zeros(1, 10, 3), state).state["xr"].abs().max().item()
        assert (end < 0.1) == settles
        assert (end > 100) != settles


@pytest.mark.parametrize(
    ("kind", "weight", "settles"),
    [("inhibitory", 2.0, False), ("turning", 3.0, False), ("turning", 0.2, True), ("inhibitory", 0.2, True)],
)
def test_inhibition_and_turning_flow_are_said_to_grow_where_they_do(kind, weight, settles):
    """A Laplacian with eigenvalues below 0 or off the real line, whose radius alone would say that it settles."""
    K = np.zeros((12, 12))
    for i in range(12):
        K[i, i - 1], K[i - 1, i] = (1, 1) if kind == "inhibitory" else (1, -1)
    sign = -1 if kind == "inhibitory" else None
    cell = CfC(rate="sigmoid", bias=-2.0, limiter="none", omega=0.0, gain=())
    net = Network("net").add(Input("x", 3), Population("a", 12, dynamics=cell), Readout("out", 2))
    net.add(Projection("x", "a"), Projection("a", "a", K, weight=weight, sign=sign))
    text = str(lower(net))
    number = float(re.search(r"t \(1 \+ rho\(L\)\) = ([\d.]+)", text)[1])
    assert number < 2
    assert (": settles" in text) == settles
    model = nfsim.compile(net, device="cpu")
    state = dict(zip(("xr", "xi"), torch.randn(2, 1, 12, generator=torch.Generator().manual_seed(0)), strict=True))
    end = model(torch.zeros(1, 60, 3), state).state["xr"].abs().max().item()
    assert (end < 1) == settles


def test_a_coupling_on_the_drive_has_no_stability_number():
    assert "stability" not in str(lower(path(0.6, on="drive")))
    assert "stability" in str(lower(path(0.6)))


def test_off_the_cpu_a_loop_is_said_to_step_tick_by_tick():
    program = lower(presets.thalamocortical(6, 5, **SIZES))
    assert "kernel      cfc_loop: all ticks in one call" in program.explain()
    elsewhere = program.explain("cuda")
    assert "kernel      torch: tick after tick" in elsewhere
    assert "not fused   cfc_loop is written for the CPU, and the model is on cuda" in elsewhere

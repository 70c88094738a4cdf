"""The presets are whole networks from public parts: they compile, take a gradient step, and are the same every time."""

import subprocess
import sys

import pytest
import torch

import nfsim
from nfsim import Network
from nfsim.regions import presets

PRESETS = [presets.hierarchy, presets.thalamocortical]
# the fused loop in float32 takes seconds to compile
TRAINED = [presets.hierarchy, pytest.param(presets.thalamocortical, marks=pytest.mark.slow)]
SMALL = {"sensory": 12, "prefrontal": 16, "motor": 10, "nuclei": 2, "neighbours": 3}


@pytest.mark.parametrize("preset", TRAINED)
def test_a_preset_compiles_and_a_gradient_step_lowers_its_loss(preset):
    model = nfsim.compile(preset(6, 5, **SMALL, ticks=2, bias=-1.0), device="cpu")
    generator = torch.Generator().manual_seed(0)
    x, target = torch.randn(20, 4, 6, generator=generator), torch.randint(5, (20,), generator=generator)
    losses = []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)  # small enough to descend
    for _ in range(5):
        loss = torch.nn.functional.cross_entropy(model(x).logits, target)
        optimizer.zero_grad()
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_declared_by_public_parts_alone(preset):
    net = preset(6, ["cat", "dog"], **SMALL)
    net.check()
    assert Network.from_json(net.to_json()) == net
    assert Network.from_networkx(net.to_networkx()) == net
    assert nfsim.compile(net, device="cpu").labels == ("cat", "dog")


@pytest.mark.parametrize("preset", PRESETS)
def test_the_digest_of_a_preset_is_the_same_in_another_process_and_differs_with_its_settings(preset):
    code = f"from nfsim.regions import presets; print(presets.{preset.__name__}(6, 5, seed=2).digest())"
    other = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert other == preset(6, 5, seed=2).digest()
    variants = [{}, {"seed": 3}, {"dt": 0.5}, {"ticks": 2}, {"nuclei": 1}, {"coupling": 0.4}, {"bias": 0.0}]
    assert len({preset(6, 5, **options).digest() for options in variants}) == len(variants)


def test_the_historical_network_has_its_published_form():
    net = presets.thalamocortical(49, 10)
    flat = net.flat
    assert {path: p.size for path, p in flat.populations.items()} == {"sensory": 49, "pfc": 500, "motor": 100}
    assert flat.populations["motor"].sectors == 10
    assert flat.target("input->*") == tuple(flat.populations) == flat.populations_of(flat.readouts["readout"].reads)
    assert len(flat.nuclei) == 8
    assert all(n.trn and n.gating == "state" and n.feedback == ("pfc",) for n in flat.nuclei.values())
    coupling = flat.projections["*->*"]
    assert (coupling.rule, coupling.weight, coupling.kind) == (nfsim.Nearest(12), 0.5, "coupling")
    cell = flat.populations["pfc"].dynamics
    assert (cell.bias, cell.omega, cell.rate, cell.gain) == (-5.0, 0.0, "sigmoid", ("time", "readout"))


def test_motor_has_one_sector_per_label_where_they_divide_it():
    assert presets.thalamocortical(6, 5, motor=10).flat.populations["motor"].sectors == 5
    assert presets.thalamocortical(6, 3, motor=10).flat.populations["motor"].sectors == 1


def test_the_hierarchy_feeds_forward_through_low_rank_drives():
    flat = presets.hierarchy(6, 5, rank=7).flat
    drives = {name: p for name, p in flat.projections.items() if p.kind == "drive"}
    assert list(drives) == ["input->sensory", "sensory->pfc", "pfc->motor"]
    assert all(p.rank == 7 and p.normalise for name, p in drives.items() if name != "input->sensory")
    assert all(p.on == "drive" for p in flat.projections.values() if p.kind == "coupling")
    assert {n.gating for n in flat.nuclei.values()} == {"feedforward"}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_without_a_thalamus_has_none(preset):
    net = preset(6, 5, **SMALL | {"nuclei": 0})
    net.check()
    assert not net.flat.nuclei


VARIANTS = [
    pytest.param({"gating": "state"}, marks=pytest.mark.slow),
    *({"gating": gating} for gating in ("feedforward", "ambassador", "attention")),
    *({"memory": memory} for memory in ("gated", "coupling")),
    pytest.param({"rate": "exact", "bias": 0.0}, marks=pytest.mark.slow),  # a kernel of its own to compile
    *({"learn_bias": False}, {"omega": 0.0}, {"shuffle": True}),
    *({"limiter": "clamp", "amplitude": 10.0}, {"limiter": "none"}, {"scaling": "none"}, {"scaling": "max"}),
    *({"trn": False}, {"feedback": False}, {"neighbours": 0}),
    pytest.param({"nuclei": 0}, marks=pytest.mark.slow),  # a kernel of its own to compile
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("preset", TRAINED)
def test_every_variant_of_a_preset_trains_and_travels_as_json(preset, variant):
    """One step against the gradient lowers the loss, and every learned parameter has a gradient."""
    net = preset(6, 5, **SMALL | variant)
    assert Network.from_json(net.to_json()) == net
    model = nfsim.compile(net, device="cpu")
    generator = torch.Generator().manual_seed(0)
    x, target = torch.randn(8, 4, 6, generator=generator), torch.randint(5, (8,), generator=generator)
    before = torch.nn.functional.cross_entropy(model(x).logits, target)
    before.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in model.parameters())
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    assert torch.nn.functional.cross_entropy(model(x).logits, target) < before


def test_the_variants_are_networks_of_their_own():
    for preset in PRESETS:
        plain = preset(6, 5, **SMALL)
        variants = [v if isinstance(v, dict) else v.values[0] for v in VARIANTS]
        digests = [preset(6, 5, **SMALL | variant).digest() for variant in variants]
        same = [d for d in digests if d == plain.digest()]
        assert len(set(digests)) == len(digests) - max(len(same) - 1, 0)


@pytest.mark.parametrize("feedback", [True, False])
@pytest.mark.parametrize("trn", [True, False])
@pytest.mark.parametrize(("preset", "gain"), [(presets.thalamocortical, "state"), (presets.hierarchy, "feedforward")])
def test_attention_has_the_parameters_of_the_gain_that_it_stands_in_for(preset, gain, trn, feedback):
    """At the published sizes, to half a percent of the router."""

    def router(gating):
        return nfsim.compile(preset(28, 10, gating=gating, trn=trn, feedback=feedback), device="cpu").ledger()["router"]

    assert router("attention") == pytest.approx(router(gain), rel=0.005)


def test_a_hierarchy_without_neighbours_has_no_coupling():
    net = presets.hierarchy(6, 5, neighbours=0)
    net.check()
    assert {p.kind for p in net.flat.projections.values()} == {"drive"}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": 0}, "input: features 0 is not a whole number"),
        ({"labels": 0}, "readout: labels 0 are not names or a number"),
        ({"labels": 2.5}, "readout: labels 2.5 are not names"),
        ({"labels": []}, r"readout: labels \(\) are not names"),
        ({"motor": 2.5}, "motor: size 2.5 is not a whole number"),
        ({"sensory": None}, "sensory: size None is not a whole number"),
        ({"neighbours": 1000}, r"Nearest\(1000\) of \d+ nodes; ask for at most"),
        ({"coupling": -1}, "weight -1 of a coupling is below 0"),
        ({"omega": "fast"}, "omega 'fast' is not a finite number"),
        ({"dt": 0}, "dt 0 is not a finite number above 0"),
    ],
    ids=str,
)
def test_bad_settings_of_a_preset_are_reported_as_problems_of_its_network(preset, options, message):
    with pytest.raises(nfsim.BuildError, match=message):
        preset(**{"features": 6, "labels": 5} | options).check()

"""The thalamus sets volumes: gains between 0 and 1 by the published terms, where its nuclei target and nowhere else."""

import math

import pytest
import torch

import networks
import nfsim
from nfsim import CfC, Input, Network, Nucleus, Population, Projection, Readout, Region
from nfsim.compiler import lower
from nfsim.models.compiled import CompiledModel
from nfsim.models.reference import ReferenceModel

F64 = torch.float64
TIGHT = {"rtol": 1e-11, "atol": 1e-12}  # float64 sums of a few dozen terms of order one


@pytest.fixture(params=[lambda program: CompiledModel(program, F64), ReferenceModel], ids=["compiled", "reference"])
def build(request):
    def build(net, seed=0):
        model = request.param(lower(net))
        networks.perturb(model, seed)
        return model

    return build


def network(*parts, readout=None, gain=("time", "readout"), **options):
    net = Network("net", **options)
    cells = (Population(name, n, 2, CfC(gain=gain)) for name, n in (("v1", 6), ("v2", 4), ("pfc", 8)))
    net.add(Input("x", 3), *cells, readout or Readout("out", 2), Projection("x", "*"))
    return net.add(*parts)


def sequence(steps=4, seed=0):
    return torch.randn(3, steps, 3, dtype=F64, generator=torch.Generator().manual_seed(seed))


def start(nodes=18, seed=7):
    parts = torch.randn(2, 3, nodes, dtype=F64, generator=torch.Generator().manual_seed(seed))
    return dict(zip(("xr", "xi"), parts, strict=True))


def logit(p):
    return torch.log(p / (1 - p))


@pytest.mark.parametrize("gating", ["state", "feedforward"])
def test_gain_lies_between_0_and_1_where_a_nucleus_targets_and_is_1_elsewhere(build, gating):
    reads = "x" if gating == "feedforward" else "*"
    nuclei = Nucleus("n", reads, ["v1", "pfc"], gating, trn=True), Nucleus("m", reads, "v1", gating, trn=True)
    gain = build(network(*nuclei))(sequence(), start(), record="gain").record["gain"]
    gated = torch.cat([gain[..., :6], gain[..., 10:]], dim=-1)
    assert 0 < gated.min() < 0.45
    assert 0.55 < gated.max() < 1
    assert (gain[..., 6:10] == 1).all()


def test_a_network_without_a_thalamus_has_gain_1(build):
    record = build(network())(sequence(), record=("gain", "nucleus_gain")).record
    assert (record["gain"] == 1).all()
    assert record["nucleus_gain"].shape == (3, 4, 0)


def test_the_gain_of_a_node_is_the_mean_over_the_nuclei_that_target_it(build):
    both = Nucleus("n", targets="v1"), Nucleus("m", targets=["v1", "v2"])
    model = build(network(*both))
    gain = model(sequence(), start(), record="gain").record["gain"]
    alone = []
    for nucleus in both:
        single = build(network(nucleus))
        single.load_state_dict({k: v for k, v in model.state_dict().items() if k in single.state_dict()})
        alone.append(single(sequence(1), start(), record="gain").record["gain"][:, 0])
    first = gain[:, 0]
    torch.testing.assert_close(first[:, :6], (alone[0] + alone[1])[:, :6] / 2, **TIGHT)
    torch.testing.assert_close(first[:, 6:10], alone[1][:, 6:10], **TIGHT)


def test_the_gain_of_a_nucleus_is_recorded_as_the_mean_over_the_nodes_that_it_targets(build):
    model = build(network(Nucleus("n", targets=["v1", "pfc"])))
    record = model(sequence(), record=("gain", "nucleus_gain")).record
    targeted = torch.cat([record["gain"][..., :6], record["gain"][..., 10:]], dim=-1)
    torch.testing.assert_close(record["nucleus_gain"][..., 0], targeted.mean(-1), **TIGHT)


def test_state_gating_is_the_published_product_of_query_and_key(build):
    """Q = A m over three regional means, K = B [xr, xi] + C p, by hand for one nucleus that reads v1 and targets v2."""
    model = build(network(Nucleus("n", "v1", "v2", key=5)))
    state = start()
    gain = model(sequence(1), state, record="gain").record["gain"][:, 0, 6:10]
    z = torch.complex(state["xr"], state["xi"])
    v1, v2 = z[:, :6], z[:, 6:10]
    means = torch.stack([v1.real.mean(1), v1.imag.mean(1), v1.abs().mean(1)], dim=1)
    Q = means @ model.values["n:query"].T
    place = torch.from_numpy(model.program.connectome.nodes.positions[6:10])
    K = torch.view_as_real(v2) @ model.values["n:key_state"].T + place @ model.values["n:key_position"].T
    expected = torch.sigmoid((Q[:, None] * K).sum(-1) / math.sqrt(5))
    torch.testing.assert_close(gain, expected, rtol=1e-9, atol=1e-9)  # |z| here is without the 1e-12 under its root


def test_feedforward_gating_is_the_product_of_the_input_and_the_place(build):
    model = build(network(Nucleus("n", "x", "v2", "feedforward", key=5)))
    x = sequence()
    gain = model(x, start(), record="gain").record["gain"][..., 6:10]
    place = torch.from_numpy(model.program.connectome.nodes.positions[6:10])
    K = place @ model.values["n:key_position"].T
    expected = torch.sigmoid(x @ model.values["n:query"].T @ K.T / math.sqrt(5))
    torch.testing.assert_close(gain, expected, **TIGHT)


def test_the_reticular_nucleus_lowers_gains_by_the_relays_of_the_other_nuclei(build):
    def thalamus(trn):
        return Region("th", [Nucleus(name, "v1", "v2", trn=trn) for name in ("n", "m")])

    model, free = build(network(thalamus(True))), build(network(thalamus(False)))
    free.load_state_dict({k: v for k, v in model.state_dict().items() if k in free.state_dict()})
    state = start()
    inhibited, plain = (m(sequence(1), state, record="gain").record["gain"][:, 0, 6:10] for m in (model, free))
    assert (inhibited <= plain).all()
    z = torch.complex(state["xr"], state["xi"])[:, :6]
    means = torch.stack([z.real.mean(1), z.imag.mean(1), z.abs().mean(1)], dim=1)
    relay = {k: means @ model.values[f"th/{k}:relay"] + model.values[f"th/{k}:relay_bias"] for k in "nm"}
    assert any((r > 0).any() for r in relay.values())
    single, expected = {}, []
    for k, other in ("nm", "mn"):
        alone = build(network(Region("th", [Nucleus(k, "v1", "v2")])))
        alone.load_state_dict({key: v for key, v in model.state_dict().items() if key in alone.state_dict()})
        single[k] = alone(sequence(1), state, record="gain").record["gain"][:, 0, 6:10]
        T = torch.nn.functional.softplus(model.values[f"th/{k}:reticular"])
        assert T.shape == (1,)
        expected.append(torch.sigmoid(logit(single[k]) - T * torch.relu(relay[other])[:, None]))
    torch.testing.assert_close(inhibited, sum(expected) / 2, rtol=1e-9, atol=1e-9)


def test_nuclei_of_different_regions_do_not_inhibit_each_other(build):
    apart = [Region(side, [Nucleus("n", "*", "v1", trn=True)]) for side in ("left", "right")]
    model = build(network(*apart))
    assert not [name for name in model.values.learned if name.endswith((":relay", ":reticular"))]


def test_cortical_feedback_shifts_the_logit_by_the_rates_that_feed_back(build):
    model, free = build(network(Nucleus("n", "v1", "v2", feedback="pfc"))), build(network(Nucleus("n", "v1", "v2")))
    free.load_state_dict({k: v for k, v in model.state_dict().items() if k in free.state_dict()})
    state = start()
    with_feedback, without = (m(sequence(1), state, record="gain").record["gain"][:, 0, 6:10] for m in (model, free))
    rates = torch.sqrt(state["xr"] ** 2 + state["xi"] ** 2)[:, 10:]
    shift = (rates @ model.values["n:feedback"] / math.sqrt(8))[:, None].expand(-1, 4)
    torch.testing.assert_close(logit(with_feedback) - logit(without), shift, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("place", ["drive", "coupling"])
def test_gain_multiplies_the_drive_or_the_coupling_where_it_acts(build, place):
    net = network(Nucleus("n"), Projection("*", "*", nfsim.Nearest(3)), gain=place)
    for path in ("v1", "v2", "pfc"):
        part = net.flat.populations[path]
        free = Population(path, part.size, 2, CfC(gain=place, limiter="none"))
        net.parts = tuple(free if p is part else p for p in net.parts)
    model = build(net)
    state = start()
    record = model(sequence(1), state, record=("gain", "steady", "drive")).record
    K = torch.from_numpy(model.program.connectome.matrices["*->*"].toarray()) * model.values["*->*:scale"]
    z = torch.complex(state["xr"], state["xi"])
    force = z @ K.T.to(z) - z * K.sum(1)
    gain, drive = record["gain"][:, 0], record["drive"][:, 0]
    expected = gain * drive + force if place == "drive" else drive + gain * force
    torch.testing.assert_close(record["steady"][:, 0], expected, **TIGHT)


@pytest.mark.parametrize("gain", [("readout",), ()])
def test_the_readout_hears_rates_times_the_gain_of_the_state_that_it_reads(build, gain):
    """The gain of the last state is what acts in the first tick of the next call."""
    model = build(network(Nucleus("n"), Projection("v1", "v1", nfsim.Nearest(2)), gain=gain))
    out = model(sequence(), start())
    volume = model(sequence(4)[:, -1:], out.state, record="gain").record["gain"][:, 0] if gain else 1.0
    rates = torch.sqrt(out.state["xr"] ** 2 + out.state["xi"] ** 2 + 1e-12)
    expected = (rates * volume) @ model.values["out:weight"].T + model.values["out:bias"]
    torch.testing.assert_close(out.logits, expected, **TIGHT)


def test_a_sector_readout_is_the_mean_rate_of_each_sector(build):
    model = build(network(readout=Readout("out", 2, "sector", reads="v2")))
    out = model(sequence())
    rates = torch.sqrt(out.state["xr"] ** 2 + out.state["xi"] ** 2 + 1e-12)[:, 6:10]
    sector = torch.from_numpy(model.program.connectome.nodes.sectors[6:10])
    means = torch.stack([rates[:, sector == k].mean(1) for k in range(2)], dim=1)
    torch.testing.assert_close(out.logits, means * model.values["out:scale"], **TIGHT)


def test_a_state_readout_hears_both_parts_and_the_rate(build):
    model = build(network(readout=Readout("out", 2, "state", reads="v2", normalise=True)))
    out = model(sequence())
    parts = [out.state[k][:, 6:10] for k in ("xr", "xi")]
    parts.append(torch.sqrt(parts[0] ** 2 + parts[1] ** 2 + 1e-12))
    parts = [p / torch.sqrt((p**2).mean(1, keepdim=True) + 1e-5) for p in parts]
    expected = torch.cat(parts, dim=1) @ model.values["out:weight"].T + model.values["out:bias"]
    torch.testing.assert_close(out.logits, expected, **TIGHT)


def test_a_readout_of_each_step_the_last_or_the_mean_agree_on_the_record(build):
    answers = {}
    for when in ("each", "last", "mean"):
        model = build(network(Nucleus("n"), readout=Readout("out", 2, when=when), ticks=2))
        answers[when] = model(sequence(), record="logits")
    record = answers["each"].record["logits"]
    assert record.shape == (3, 8, 2)
    torch.testing.assert_close(answers["each"].logits, record[:, 1::2], **TIGHT)
    torch.testing.assert_close(answers["last"].logits, record[:, -1], **TIGHT)
    torch.testing.assert_close(answers["mean"].logits, record.mean(1), **TIGHT)


@pytest.mark.parametrize("when", ["last", "mean", "each"])
@pytest.mark.parametrize("reads", ["v2", ["v1", "pfc"], "*"])
def test_the_readout_takes_the_gain_of_relays_that_stages_have_asked_already(when, reads):
    nuclei = (Nucleus(f"n{i}", "x", target, "feedforward", trn=i < 3) for i, target in enumerate(["v2", "v1", "pfc"]))
    net = network(*nuclei, readout=Readout("out", 2, when=when, reads=reads), ticks=2)
    model, oracle = CompiledModel(lower(net), F64), ReferenceModel(lower(net))
    for each in (model, oracle):
        networks.perturb(each, seed=1)
    assert model.read_routes is not None
    call = {"x": sequence(), "lengths": torch.tensor([4, 2, 1])}
    shared, want = model(**call).logits, oracle(**call).logits
    torch.testing.assert_close(shared, want, **TIGHT)
    model.read_routes = None
    torch.testing.assert_close(shared, model(**call).logits, **TIGHT)

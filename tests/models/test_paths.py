"""A path that a network lacks has exactly zero gradient; one that it has does not."""

import networkx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import networks
import nfsim
from nfsim import CfC, Input, Network, Nucleus, Population, Projection, Readout, Region
from nfsim.compiler import lower
from nfsim.models.compiled import CompiledModel
from nfsim.models.reference import ReferenceModel

F64 = torch.float64


@pytest.fixture(params=[lambda program: CompiledModel(program, F64), ReferenceModel], ids=["compiled", "reference"])
def build(request):
    def build(net, seed=0):
        model = request.param(lower(net))
        networks.perturb(model, seed)
        return model

    return build


def network(*parts, gain=("time", "readout"), reads="*"):
    net = Network("net")
    cells = (Population(name, 4, 2, CfC(gain=gain)) for name in ("v1", "v2", "pfc"))
    net.add(Input("x", 3), *cells, Readout("out", 2, reads=reads), Projection("x", "*"))
    return net.add(*parts)


def sequence(features=3, steps=4):
    return torch.randn(2, steps, features, dtype=F64, generator=torch.Generator().manual_seed(0))


def size(value, model, part):
    """Largest gradient of a value with respect to the parameters of one part, 0 where there is no path."""
    leaves = [p for name, p in model.values.learned.items() if name.startswith(f"{part}:")]
    assert leaves
    if not value.requires_grad:
        return 0.0
    real = torch.view_as_real(value) if value.is_complex() else value
    weights = torch.randn(real.shape, dtype=F64, generator=torch.Generator().manual_seed(1))
    grads = torch.autograd.grad((real * weights).sum(), leaves, allow_unused=True, retain_graph=True)
    return max(0.0 if g is None else g.abs().max().item() for g in grads)


def run(model, **options):
    return model(sequence(model.features), record=("z", "gain", "steady"), **options)


@pytest.mark.parametrize("gating", ["state", "feedforward"])
def test_a_thalamus_that_acts_at_the_readout_leaves_the_time_gate_alone(build, gating):
    nucleus = Nucleus("n", "x" if gating == "feedforward" else "*", "*", gating, feedback="pfc")
    at_readout, in_time = (run_of(build, network(nucleus, gain=gain)) for gain in ("readout", "time"))
    assert size(at_readout[1].record["z"], at_readout[0], "n") == 0
    assert size(at_readout[1].logits, at_readout[0], "n") > 1e-6
    assert size(in_time[1].record["z"], in_time[0], "n") > 1e-6


def run_of(build, net):
    model = build(net)
    return model, run(model)


@pytest.mark.parametrize("gating", ["state", "feedforward"])
def test_a_thalamus_whose_gain_acts_nowhere_has_no_gradient(build, gating):
    nucleus = Nucleus("n", "x" if gating == "feedforward" else "*", "*", gating, feedback="pfc")
    model, out = run_of(build, network(nucleus, Projection("v1", "v1", nfsim.Nearest(1)), gain=()))
    assert size(out.logits, model, "n") == 0
    assert size(out.record["gain"], model, "n") > 1e-6


@pytest.mark.parametrize("place", ["time", "drive", "coupling", "readout"])
def test_each_place_of_the_gain_is_a_path_of_its_own(build, place):
    net = network(Nucleus("n"), Projection("v1", "v1", nfsim.Nearest(2)), gain=place)
    model, out = run_of(build, net)
    assert size(out.logits, model, "n") > 1e-6
    # where and only where the gain multiplies what makes the steady state, the steady state of the first tick feels it
    felt = size(out.record["steady"][:, 0], model, "n") > 0
    assert felt == (place == "drive")


def test_a_nucleus_leaves_what_it_does_not_target_alone(build):
    model, out = run_of(build, network(Nucleus("n", targets="v1", feedback="pfc")))
    assert size(out.record["z"][..., :4], model, "n") > 1e-6
    assert size(out.record["z"][..., 4:], model, "n") == 0
    assert size(out.record["gain"][..., 4:], model, "n") == 0


def test_without_cortical_feedback_the_prefrontal_cortex_does_not_reach_the_gain(build):
    def of_pfc(feedback):
        nucleus = Nucleus("n", "x", "v1", "feedforward", feedback=feedback)
        model, out = run_of(build, network(nucleus, reads="v1"))
        return [size(value, model, "pfc") for value in (out.logits, out.record["gain"], out.record["z"][..., :4])]

    assert of_pfc(()) == [0, 0, 0]
    assert min(of_pfc("pfc")) > 1e-6


def test_without_reticular_inhibition_a_nucleus_does_not_reach_the_targets_of_another(build):
    def of_other(trn):
        nuclei = Nucleus("n", "v1", "v1", trn=trn), Nucleus("m", "v2", "v2", trn=trn)
        model, out = run_of(build, network(Region("th", nuclei)))
        reads_v2 = size(out.record["z"][..., :4], model, "v2")
        return size(out.record["z"][..., :4], model, "th/m"), reads_v2

    assert of_other(trn=False) == (0, 0)
    assert min(of_other(trn=True)) > 1e-9


def test_a_population_that_nothing_hears_has_no_gradient(build):
    model, out = run_of(build, network(Projection("v1", "pfc"), reads="v1"))
    for part in ("pfc", "v2", "v1->pfc", "x->*:pfc", "x->*:v2"):
        assert size(out.logits, model, part) == 0
    assert size(out.logits, model, "v1") > 1e-6


def test_an_input_that_drives_another_population_does_not_reach_this_one(build):
    net = Network("net").add(Input("x", 2), Input("y", 2), Population("a", 4), Population("b", 4))
    model = build(net.add(Projection("x", "a"), Projection("y", "b"), Readout("out", 2, reads="a")))
    x = sequence(4).requires_grad_()
    (grad,) = torch.autograd.grad(model(x).logits.sum(), x)
    assert grad[..., :2].abs().min() > 0
    assert (grad[..., 2:] == 0).all()


def test_a_masked_drive_hears_its_edges_and_nothing_else(build):
    net = Network("net").add(Input("x", 5), Population("a", 6), Readout("out", 2))
    net.connect("x", "a", nfsim.Random(0.4))
    model = build(net)
    x = sequence(5, steps=1).requires_grad_()
    drive = model(x, record="drive").record["drive"][0, 0]
    rows = [torch.autograd.grad(u.real + u.imag, x, retain_graph=True)[0][0, 0] != 0 for u in drive]
    mask = torch.from_numpy(model.program.connectome.matrices["x->a"].toarray() != 0)
    assert 0 < mask.sum() < 30
    assert torch.equal(torch.stack(rows), mask)


def test_a_coupling_hears_its_edges_and_nothing_else(build):
    net = Network("net").add(Input("x", 3), Population("a", 8), Readout("out", 2), Projection("x", "a"))
    net.connect("a", "a", nfsim.Random(0.3))
    model = build(net)
    xr = torch.zeros(1, 8, dtype=F64, requires_grad=True)
    out = model(sequence(steps=1)[:1], {"xr": xr, "xi": torch.zeros(1, 8, dtype=F64)}, record="steady")
    steady = out.record["steady"][0, 0]
    rows = [torch.autograd.grad(s.real + s.imag, xr, retain_graph=True)[0][0] != 0 for s in steady]
    K = torch.from_numpy(model.program.connectome.matrices["a->a"].toarray() != 0)
    self_pull = torch.diag(K.any(1))  # F_i pulls on z_i where i hears anyone
    assert torch.equal(torch.stack(rows), K | self_pull)


@pytest.mark.parametrize("learnable", ["scale", "edges", "none"])
@pytest.mark.parametrize("kind", ["coupling", "drive"])
def test_a_projection_learns_what_it_says(build, kind, learnable):
    projection = Projection("v1", "v1", nfsim.Nearest(2), kind=kind, learnable=learnable, name="p")
    model = build(network(projection))
    learned = {name for name in model.values.learned if name.startswith("p:")}
    weights = "p:edges" if kind == "coupling" else "p:v1:weight"
    assert learned == {"scale": {"p:scale"}, "edges": {weights}, "none": set()}[learnable]


@pytest.mark.parametrize("kind", ["coupling", "drive"])
@pytest.mark.parametrize("learnable", ["scale", "edges"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_sign_is_kept_whatever_is_learned(build, kind, learnable, sign):
    """Dale's law: raising the rate of a source never lowers the drive of an excitatory projection, nor the reverse."""
    projection = Projection(
        "v1", "v2", nfsim.AllToAll(), kind=kind, learnable=learnable, sign=sign, name="p",
        **({"signal": "rate"} if kind == "drive" else {}),
    )  # fmt: skip
    net = Network("net").add(
        Input("x", 3), *(Population(n, 4, dynamics=CfC(limiter="none", phase=0.0)) for n in ("v1", "v2"))
    )
    model = build(net.add(Projection("x", "v1"), Readout("out", 2), projection))
    with torch.no_grad():
        for name, p in model.values.learned.items():
            if name.startswith("p:"):
                p.copy_(torch.linspace(-2, 1.5, p.numel()).reshape(p.shape) if p.numel() > 1 else -p.abs())
    low, high = (torch.full((1, 8), v, dtype=F64) * torch.tensor([1.0] * 4 + [0.0] * 4) for v in (0.5, 1.0))
    x = torch.zeros(1, 1, 3, dtype=F64)
    steady = [
        model(x, {"xr": xr, "xi": torch.zeros_like(xr)}, record="steady").record["steady"][0, 0, 4:].real
        for xr in (low, high)
    ]
    assert (sign * (steady[1] - steady[0]) > 0).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_weights_with_a_sign_start_with_it(build, sign):
    from nfsim.models.parameters import draw

    learned, _ = draw(nfsim.wire(network(Projection("v1", "v2", nfsim.Random(0.5), sign=sign))))
    weight = learned["v1->v2:v2:weight"]
    assert (sign * weight > 0).all()
    assert len(weight.unique()) == weight.numel() > 1


def influence(net):
    """Which parts may reach the logits, from the declaration alone, by every path that DESIGN names."""
    flat, graph = net.flat, networkx.DiGraph()
    ((out, readout),) = flat.readouts.items()
    for name in flat.projections:
        graph.add_edges_from((source, name) for source in flat.source(name))
        graph.add_edges_from((name, target) for target in flat.target(name))
    read = flat.populations_of(readout.reads)
    graph.add_edges_from((p, out) for p in read)
    home = {n: n.rpartition("/")[0] for n in flat.nuclei}
    for n, nucleus in flat.nuclei.items():
        heard = flat.inputs_of(n) if nucleus.gating == "feedforward" else flat.populations_of(nucleus.reads, home[n])
        heard = () if nucleus.gating == "ambassador" else heard
        targets = flat.populations_of(nucleus.targets, home[n])
        graph.add_edges_from((p, n) for p in (*heard, *flat.populations_of(nucleus.feedback, home[n])))
        if nucleus.gating != "feedforward":
            graph.add_edges_from((p, n) for p in targets)
        graph.add_edges_from((m, n) for m, other in flat.nuclei.items() if m != n and nucleus.trn and other.trn)
        for p in targets:
            places = set(flat.populations[p].dynamics.gain)
            if nucleus.gating == "attention" or places & {"time", "drive", "coupling"}:
                graph.add_edge(n, p)
            if nucleus.gating != "attention" and "readout" in places and p in read:
                graph.add_edge(n, out)
    return {out} | networkx.ancestors(graph, out)


@settings(networks.SETTINGS, max_examples=25)
@given(networks.networks(), st.data())
def test_no_part_without_a_path_to_the_readout_has_a_gradient(net, data):
    call = data.draw(networks.calls(net))
    model = CompiledModel(lower(net), F64)
    networks.perturb(model, 0)
    reaching = influence(net)
    parts = [*net.flat.populations, *net.flat.nuclei, *net.flat.projections, *net.flat.readouts]
    logits = model(call["x"], call["state"], dt=call["dt"], lengths=call["lengths"]).logits
    for part in set(parts) - reaching:
        if any(name.startswith(f"{part}:") for name in model.values.learned):
            assert size(logits, model, part) == 0, part

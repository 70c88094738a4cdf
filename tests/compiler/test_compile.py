"""Compiling refuses what it cannot do and never falls back silently."""

import pytest
import torch

import nfsim
from nfsim import Input, Network, Population, Projection, Readout
from nfsim.compiler import lower
from nfsim.models.compiled import CompiledModel
from nfsim.models.reference import ReferenceModel


def network(*parts):
    net = Network("net").add(Input("x", 3), Population("v1", 8, 2), Projection("x", "v1"), Readout("out", 2))
    return net.add(*parts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "jax"}, "compile: backend 'jax' is unknown; choose one of 'torch', 'reference'"),
        ({"device": "tpu"}, "compile: device 'tpu' is unknown; choose one of 'auto', 'cpu', 'cuda', 'mps'"),
        ({"backend": None, "device": 3}, r"backend None is unknown.*\ncompile: device 3 is unknown"),
    ],
    ids=str,
)
def test_an_unknown_backend_or_device_is_refused(options, message):
    with pytest.raises(nfsim.BuildError, match=message):
        nfsim.compile(network(), **options)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(nfsim.BuildError, match=f"compile: device '{device}' is not available to torch .*use 'auto' or"):
        nfsim.compile(network(), device=device)
    assert next(nfsim.compile(network(), device="auto").parameters()).device.type == "cpu"


def test_a_delay_is_refused_because_a_step_carries_no_history():
    late = Projection("v1", "v1", nfsim.Nearest(2), delay=0.01)
    net = network(late, Projection("v1", "v1", nfsim.Nearest(3), delay=0.0), Projection("v1", "v1", delay=2))
    assert net.problems() == []
    with pytest.raises(nfsim.BuildError) as raised:
        nfsim.compile(net)
    assert raised.value.problems == (
        "v1->v1: delay 0.01 is not kept by a compiled step, which carries no history; leave the delay out",
        "v1->v1#3: delay 2 is not kept by a compiled step, which carries no history; leave the delay out",
    )


def test_a_network_with_problems_is_refused_with_all_of_them():
    with pytest.raises(nfsim.BuildError) as raised:
        nfsim.compile(network(Population("v2", 0), Projection("v1", "v9")))
    assert len(raised.value.problems) == 2


def test_a_network_and_its_connectome_compile_to_the_same_model():
    net = network(Projection("v1", "v1", nfsim.Random(0.5)))
    a, b = (nfsim.compile(what, device="cpu") for what in (net, nfsim.wire(net)))
    x = torch.randn(2, 3, 3)
    assert torch.equal(a(x).logits, b(x).logits)


def test_the_backend_is_what_was_asked_for():
    assert type(nfsim.compile(network(), device="cpu")) is CompiledModel
    reference = nfsim.compile(network(), backend="reference")
    assert type(reference) is ReferenceModel
    assert {p.dtype for p in reference.parameters()} == {torch.float64}


def test_both_backends_and_every_compilation_start_from_the_same_values():
    net = network(Projection("v1", "v1", nfsim.Random(0.5), learnable="edges"), nfsim.Nucleus("n", trn=True))
    first, again = (nfsim.compile(net, device="cpu").state_dict() for _ in range(2))
    reference = nfsim.compile(net, backend="reference").state_dict()
    torch.manual_seed(3)  # the global generator has no say
    assert first.keys() == again.keys() == reference.keys()
    for name, value in first.items():
        assert torch.equal(value, again[name])
        assert torch.equal(value, reference[name].float())


def test_another_seed_starts_from_other_values():
    a, b = (nfsim.compile(net, device="cpu") for net in (network(), network()))
    other = network()
    other.seed = 1
    c = nfsim.compile(other, device="cpu")
    assert torch.equal(a.values["x->v1:v1:weight"], b.values["x->v1:v1:weight"])
    assert not torch.equal(a.values["x->v1:v1:weight"], c.values["x->v1:v1:weight"])


def test_a_model_tells_its_features_labels_nuclei_nodes_and_edges():
    net = network(Input("y", 2), Projection("y", "v1"), Projection("v1", "v1", nfsim.Nearest(3)), nfsim.Nucleus("n"))
    model = nfsim.compile(net, device="cpu")
    assert (model.features, model.labels, model.nucleus_names) == (5, ("0", "1"), ("n",))
    nodes = model.node_coords()
    assert {len(values) for values in nodes.values()} == {8}
    assert nodes["population"].tolist() == ["v1"] * 8
    assert nodes["label"][3] == "v1/3"
    assert set(nodes["sector"].tolist()) == {0, 1}
    assert (nodes["pos_x"] ** 2 + nodes["pos_y"] ** 2 + nodes["pos_z"] ** 2).tolist() == pytest.approx([1] * 8)
    edges = model.edge_coords()
    assert set(edges["edge_projection"]) == {"v1->v1"}
    assert len(edges["edge_weight"]) == model.program.connectome.matrices["v1->v1"].nnz


def test_a_model_moves_and_copies_and_pickles_as_a_module():
    import copy
    import pickle

    model = nfsim.compile(network(Projection("v1", "v1", nfsim.Nearest(2)), nfsim.Nucleus("n")), device="cpu")
    x = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0))
    expected = model(x).logits
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(again(x).logits, expected)
        with torch.no_grad():
            again.values["v1:rate_bias"].add_(1.0)
        assert not torch.equal(again(x).logits, expected)
        assert torch.equal(model(x).logits, expected)


def test_the_parameters_are_read_at_every_call():
    model = nfsim.compile(network(), device="cpu")
    x = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0))
    model(x).logits.sum().backward()
    before = model(x).logits
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert not torch.equal(model(x).logits, before)


@pytest.mark.parametrize("program", [lambda net: lower(net), lambda net: lower(nfsim.wire(net))])
def test_a_program_is_a_value_that_prints(program):
    net = network()
    assert str(program(net)).startswith(repr(net))
    assert program(net).stage_of("v1") == 0

"""Baselines and peers: their sizes, and what they share with a compiled network: lengths, states and JSON."""

import sys

import pytest
import torch

from nfsim.assembly import KINDS, make_data, make_model
from nfsim.configuration import compose, settle
from nfsim.models.cfc import CfC
from nfsim.models.cnn import CNN
from nfsim.models.mlp import MLP
from nfsim.models.recurrent import Recurrent

LABELS = tuple("0123456789")
SIZES = {  # overrides: learned parameters
    ("model=lstm", "data=mnist_rows"): 82_186,
    ("model=gru", "data=mnist_rows"): 61_962,
    ("model=cnn", "data=mnist_rows"): 154_815,
    ("model=mlp", "model.hidden=[]", "data=mnist_frame"): 500,
    ("model=mlp", "model.hidden=[128]", "data=mnist_frame"): 7_690,
    ("model=mlp", "model.hidden=[780]", "data=mnist_frame"): 46_810,
    ("model=mlp", "model.hidden=[424,424]", "data=mnist_frame"): 205_650,
    ("model=lstm", "model.hidden=8", "data=mnist_pixels"): 4 * 8 * (1 + 8 + 2) + 9 * 10,
}


def cfc(features, **options):
    pytest.importorskip("ncps", reason="needs the extra peers")
    return CfC(features, LABELS, **options)


STEPPED = {
    "lstm": lambda: Recurrent(5, LABELS, "lstm", hidden=7),
    "gru": lambda: Recurrent(5, LABELS, "gru", hidden=7),
    "cfc": lambda: cfc(5, hidden=7),
}


@pytest.fixture(params=STEPPED)
def stepped(request, seed):
    """Return a model that reads any number of steps of 5 features."""
    return STEPPED[request.param]().eval()


@pytest.mark.parametrize("overrides", SIZES, ids=" ".join)
def test_models_have_the_size_that_is_said_of_them(overrides):
    settings = settle(compose(overrides))
    model = make_model(settings, make_data(settings))
    assert sum(p.numel() for p in model.parameters()) == SIZES[overrides]


def test_the_closed_form_network_of_64_units_has_its_known_size():
    assert sum(p.numel() for p in cfc(28).parameters()) == 45_578


def test_padding_after_the_end_changes_nothing(stepped):
    x, lengths = torch.randn(4, 6, 5), torch.tensor([6, 1, 3, 5])
    padded = x.clone()
    for sample, n in zip(padded, lengths, strict=True):
        sample[n:] = 9.0
    a, b = stepped(x, lengths=lengths), stepped(padded, lengths=lengths)
    assert torch.equal(a.logits, b.logits)
    for name in a.state:
        assert torch.equal(a.state[name], b.state[name])
    for k, n in enumerate(lengths):
        torch.testing.assert_close(a.logits[k], stepped(x[k : k + 1, :n]).logits[0], rtol=1e-5, atol=1e-6)


def test_a_sequence_in_two_parts_gives_what_it_gives_whole(stepped):
    x = torch.randn(3, 6, 5)
    first = stepped(x[:, :2])
    torch.testing.assert_close(stepped(x[:, 2:], first.state).logits, stepped(x).logits, rtol=1e-5, atol=1e-6)


def test_no_gradient_comes_from_beyond_the_end(stepped):
    x = torch.randn(2, 4, 5, requires_grad=True)
    stepped(x, lengths=torch.tensor([4, 2])).logits.sum().backward()
    assert x.grad[1, 2:].abs().max() == 0
    assert x.grad[1, :2].abs().min() > 0


def test_the_order_of_a_batch_changes_nothing(stepped):
    x, lengths, order = torch.randn(4, 6, 5), torch.tensor([6, 1, 3, 5]), torch.tensor([2, 0, 3, 1])
    a, b = stepped(x, lengths=lengths).logits[order], stepped(x[order], lengths=lengths[order]).logits
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_what_a_model_writes_builds_its_like_again(stepped):
    text = stepped.to_json()
    again = KINDS[type(stepped).__name__](text)
    assert again.to_json() == text
    again.load_state_dict(stepped.state_dict())
    x = torch.randn(2, 3, 5)
    assert torch.equal(again.eval()(x).logits, stepped(x).logits)


def test_dropout_acts_in_training_alone(seed):
    model, x = Recurrent(5, LABELS, hidden=50, dropout=0.5), torch.randn(2, 3, 5)
    assert not torch.equal(model(x).logits, model(x).logits)
    model.eval()
    assert torch.equal(model(x).logits, model(x).logits)


def test_other_calls_are_refused(stepped):
    x, name = torch.randn(2, 3, 5), type(stepped).__name__
    with pytest.raises(ValueError, match=rf"{name}: input of shape \(2, 3, 4\) is not \[batch, time, 5\]"):
        stepped(x[..., :4])
    with pytest.raises(ValueError, match=f"{name}: cannot record gain; only logits"):
        stepped(x, record=["gain"])
    with pytest.raises(ValueError, match=r"lengths lie outside of \[1, 3\]"):
        stepped(x, lengths=torch.tensor([3, 0]))
    with pytest.raises(ValueError, match=f"{name}: state has xr; pass an earlier output.state"):
        stepped(x, {"xr": x})


def test_models_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="hidden 0 must be >= 1"):
        Recurrent(5, LABELS, hidden=0)
    with pytest.raises(ValueError, match="no cell 'rnn'; choose one of lstm, gru"):
        Recurrent(5, LABELS, "rnn")
    for features, steps in ((6, 7), (3, 3)):
        with pytest.raises(ValueError, match=f"{steps} steps of {features} features are no square image of 4 x 4"):
            CNN(features, LABELS, steps)
    with pytest.raises(ValueError, match=r"channels \[1\] are not two numbers"):
        CNN(28, LABELS, 28, channels=[1])


def test_a_peer_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ncps.torch", None)
    with pytest.raises(ModuleNotFoundError, match=r"ncps is not installed; .* neuralfield-sim\[peers\]"):
        CfC(5, LABELS)


def small_cnn(**options):
    return CNN(8, LABELS, 8, channels=(2, 3), hidden=4, **options).eval()


def test_a_cnn_sees_the_same_image_in_rows_and_in_pixels(seed):
    rows = small_cnn()
    pixels = CNN(1, LABELS, 64, channels=(2, 3), hidden=4).eval()
    pixels.load_state_dict(rows.state_dict())
    x = torch.rand(5, 8, 8)
    assert torch.equal(rows(x).logits, pixels(x.reshape(5, 64, 1)).logits)


def test_a_cnn_takes_what_lies_beyond_the_length_as_dark(seed):
    model, x = small_cnn(), torch.rand(2, 8, 8)
    dark = x.clone()
    dark[0, 3:] = 0
    assert torch.equal(model(x, lengths=torch.tensor([3, 8])).logits, model(dark).logits)


def test_the_channel_mean_depends_on_the_image_alone(seed):
    model, x = small_cnn(), torch.rand(7, 8, 8)
    alone = torch.cat([model.channel_mean(image[None]) for image in x])
    assert alone.shape == (7, 4)
    torch.testing.assert_close(model.channel_mean(x, batch=3), alone)


def test_a_cnn_writes_all_that_it_is(seed):
    model = small_cnn(frozen=True, dropout=0.25)
    assert KINDS["CNN"](model.to_json()).to_json() == model.to_json()
    assert not any(p.requires_grad for p in model.backbone.parameters())


def test_a_linear_head_is_linear(seed):
    model = MLP(49, LABELS, hidden=[])
    x, y = torch.randn(2, 4, 1, 49)
    a, b, both, zero = (model(v).logits for v in (x, y, x + y, 0 * x))
    torch.testing.assert_close(both - zero, a + b - 2 * zero, rtol=1e-4, atol=1e-5)


def test_what_is_no_finite_number_is_refused_where_it_enters(stepped):
    x, name = torch.randn(2, 3, 5), type(stepped).__name__
    with pytest.raises(TypeError, match=f"{name}: x is a list; give a torch tensor"):
        stepped(x.tolist())
    with pytest.raises(TypeError, match=r"x has dtype torch.int64; give torch.float32"):
        stepped(x.long())
    x[1, 2, 3] = float("nan")
    with pytest.raises(ValueError, match=r"x is not finite at \[batch, time, feature\] = \[1, 2, 3\]"):
        stepped(x)
    assert stepped(torch.zeros(2, 3, 5, dtype=torch.float64)).logits.dtype == torch.float32

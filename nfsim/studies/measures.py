"""What studies measure of a trained model beside its accuracy."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nfsim.data.abstract import AbstractData

# B sample, T time step, F feature, N node, K tick

SAMPLES = 200
"""Validation samples that a measurement averages over."""
Points = Iterator[tuple[float, float]]


def memory(model: nn.Module, data: AbstractData) -> Points:
    r"""How much the last state depends on the input k steps back, k = 0, 1, ...: pairs (k, M_k).

    ``M_k = sqrt(mean_b |d (v . z_T) / d x_{T-k}|^2)``, v a random vector of unit variance for each sample b: its square
    is an unbiased estimate of the squared Frobenius norm of ``d z_T / d x_{T-k}``, by one backward pass (Hutchinson
    1990, Commun. Stat. Simul. 19:433). It falls like ``prod (1 - t)`` where nothing but the update rate t forgets.
    """
    x = _inputs(model, data).requires_grad_()
    z = model(x, record=("z",)).record["z"][:, -1]
    state_BN = torch.view_as_real(z).flatten(1)
    v = torch.randn(state_BN.shape, generator=torch.Generator().manual_seed(0)).to(state_BN)
    (grad,) = torch.autograd.grad((v * state_BN).sum(), x)
    for k, value in enumerate(_norms(grad).flip(0).tolist()):
        yield float(k), value


def amplitude(model: nn.Module, data: AbstractData) -> Points:
    r"""Mean rate ``|z|`` over nodes and samples after each tick, from 1: it stays where the state saturates."""
    with torch.no_grad():
        z_BKN = model(_inputs(model, data), record=("z",)).record["z"]
    for k, value in enumerate(z_BKN.abs().mean((0, 2)).tolist(), 1):
        yield float(k), value


def peak(model: nn.Module, data: AbstractData) -> Points:
    r"""Largest rate ``|z|`` of any node and sample after each tick, from 1: it shows runaway nodes, and the clamp."""
    with torch.no_grad():
        z_BKN = model(_inputs(model, data), record=("z",)).record["z"]
    for k, value in enumerate(z_BKN.abs().amax((0, 2)).tolist(), 1):
        yield float(k), value


def gradient(model: nn.Module, data: AbstractData) -> Points:
    r"""Norm of the gradient of the loss with respect to all parameters, at 0; with respect to the inputs, at 1.

    ``|dL/d theta|`` and ``sqrt(mean_b |d L_b / d x_b|^2)``: both vanish where the update rate is saturated in front of
    them.
    """
    x = _inputs(model, data).requires_grad_()
    target = data.samples("validation").target[: len(x)].to(x.device)
    loss = cross_entropy(model(x).logits, target, reduction="sum")
    trained = [p for p in model.parameters() if p.requires_grad]
    *parts, inputs = torch.autograd.grad(loss, [*trained, x], allow_unused=True)
    total = sum(float(part.square().sum()) for part in parts if part is not None)
    yield 0.0, total**0.5 / len(x)
    yield 1.0, float(inputs.flatten(1).square().sum(1).mean().sqrt())


def rate_gradient(model: nn.Module, data: AbstractData) -> Points:
    r"""Norm of the gradient of the mean loss with respect to the rate constants lambda (their raw values), at 0.

    ``t = sigmoid(a + bias)`` has ``dt/da = t (1 - t)`` and ``t = 1 - exp(-a)`` has ``exp(-a)``, a = g lambda dt / tau:
    neither moves any more where a is large.
    """
    x = _inputs(model, data)
    target = data.samples("validation").target[: len(x)].to(x.device)
    rates = [p for name, p in model.named_parameters() if name.endswith(":rate") and p.requires_grad]
    loss = cross_entropy(model(x).logits, target)
    grads = torch.autograd.grad(loss, rates, allow_unused=True) if rates else ()
    yield 0.0, sum(float(grad.square().sum()) for grad in grads if grad is not None) ** 0.5


def _inputs(model: nn.Module, data: AbstractData) -> Tensor:
    """First validation samples (B, T, F), where the model is."""
    device = next(model.parameters()).device
    return data.layout(data.samples("validation").x[:SAMPLES]).float().to(device)


def _norms(grad_BTF: Tensor) -> Tensor:
    """Root mean square over samples of the norm at each step, (T,)."""
    return grad_BTF.square().sum(2).mean(0).sqrt()


MEASURES: dict[str, Callable[[nn.Module, AbstractData], Points]] = {
    function.__name__: function for function in (memory, amplitude, peak, gradient, rate_gradient)
}
"""Measurements by the name that a study gives."""

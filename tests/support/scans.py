"""Problems for the scans, each with a loop of complex steps that solves it: shared by tests and benchmarks."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nfsim.models.kernels import cfc_scan, gated_scan

Inputs = dict[str, Tensor | None]


def pairs(x: torch.Tensor) -> np.ndarray:
    """Return a stacked tensor as complex128."""
    re, im = np.split(x.detach().double().numpy(), 2, axis=-1)
    return re + 1j * im


def complex_(x: Tensor) -> Tensor:
    """A stacked tensor as a complex one."""
    return torch.complex(*x.chunk(2, dim=-1))


def stacked(z: Tensor) -> Tensor:
    """A complex tensor as a stacked one."""
    return torch.cat([z.real, z.imag], dim=-1)


def gated_loop(a: Tensor, b: Tensor, z0: Tensor | None = None) -> Tensor:
    """z_t = a_t z_{t-1} + b_t."""
    z, states = 0 if z0 is None else complex_(z0), []
    for a_t, b_t in zip(complex_(a).unbind(1), complex_(b).unbind(1), strict=True):
        z = a_t * z + b_t
        states.append(z)
    return stacked(torch.stack(states, 1))


GATES = {"none": lambda q: q, "sigmoid": torch.sigmoid, "exact": lambda q: 1 - torch.exp(-q)}
"""Update rate of what the scan is given."""


def cfc_loop(v: Tensor, t: Tensor, rotation=None, z0=None, amplitude=1.0, gate="none") -> Tensor:
    """z_t = (1 - t_t) R_t z_{t-1} + t_t s_t, s = v / sqrt(1 + |v|^2 / A^2)."""
    rate, u = GATES[gate](t), complex_(v)
    s = u if amplitude is None else u / torch.sqrt(1 + (u.real**2 + u.imag**2) / amplitude**2)
    turn = rate.new_ones(1) if rotation is None else complex_(rotation)
    z, states = 0 if z0 is None else complex_(z0), []
    for k in range(u.shape[1]):
        t_k = rate if rate.ndim == 1 else rate[:, k]
        z = (1 - t_k) * (turn if turn.ndim == 1 else turn[:, k]) * z + t_k * s[:, k]
        states.append(z)
    return stacked(torch.stack(states, 1))


ORACLES: dict[Callable, Callable] = {gated_scan: gated_loop, cfc_scan: cfc_loop}
"""Each scan, and the loop that it equals."""


def gated_inputs(B: int, T: int, N: int, *, start: bool = True, dtype=torch.float64, seed: int = 0) -> Inputs:
    """Return gates inside the unit circle, standard normal inputs and, with `start`, a state to start from."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    a = normal(B, T, 2 * N)
    a = a / (1 + (a.view(B, T, 2, N) ** 2).sum(2).sqrt().repeat(1, 1, 2))
    inputs = {"a": a, "b": normal(B, T, 2 * N), "z0": normal(B, 2 * N) if start else None}
    return {name: None if x is None else x.to(dtype) for name, x in inputs.items()}


def cfc_inputs(
    B: int, T: int, N: int, *, each_rate=True, turn="shared", start=True, dtype=torch.float64, seed: int = 0
) -> Inputs:
    """Return inputs of a CfC scan.

    `each_rate`: rates for every step and sample, else per node. `turn`: rotations "shared" by all steps, "each" their
    own, or None.
    """
    rng = torch.Generator().manual_seed(seed)
    N_turn = {None: (0,), "shared": (N,), "each": (B, T, N)}[turn]
    angle = torch.rand(*N_turn, generator=rng, dtype=torch.float64) * 2
    inputs = {
        "v": torch.randn(B, T, 2 * N, generator=rng, dtype=torch.float64),
        "t": torch.rand(*((B, T, N) if each_rate else (N,)), generator=rng, dtype=torch.float64) * 0.8 + 0.1,
        "rotation": torch.cat([angle.cos(), angle.sin()], -1) if turn else None,
        "z0": torch.randn(B, 2 * N, generator=rng, dtype=torch.float64) if start else None,
    }
    return {name: None if x is None else x.to(dtype) for name, x in inputs.items()}


def tracked(inputs: Inputs) -> Inputs:
    """Return copies that ask for gradients."""
    return {name: None if x is None else x.detach().clone().requires_grad_() for name, x in inputs.items()}


def value_and_gradients(scan: Callable, inputs: Inputs, **options) -> list[torch.Tensor]:
    """Return the result of a scan, then the gradients of its inputs for a fixed random cotangent."""
    inputs = tracked(inputs)
    z = scan(**inputs, **options)
    cotangent = torch.randn(z.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(z.dtype)
    wanted = [x for x in inputs.values() if x is not None]
    return [z.detach(), *torch.autograd.grad(z, wanted, cotangent.to(z.device))]


def check_triton(device: str) -> None:
    """Hold the Triton kernels on `device` to torch in float64: values and gradients, every kind of input.

    On "cpu" it needs TRITON_INTERPRET=1, which Triton reads when it is imported: hence a function that a process of its
    own can call, and not a test.
    """
    problems = [
        (gated_scan, gated_inputs(1, 4, 35), {}),
        (gated_scan, gated_inputs(2, 1, 3, start=False), {"final": True}),
        (cfc_scan, cfc_inputs(1, 4, 35), {"gate": "sigmoid", "amplitude": 0.7}),
        (cfc_scan, cfc_inputs(2, 3, 5, each_rate=False, start=False), {"final": True}),
        (cfc_scan, cfc_inputs(2, 3, 3, turn="each"), {"gate": "exact"}),
        (cfc_scan, cfc_inputs(1, 3, 3, each_rate=False, turn=None), {"gate": "exact", "amplitude": None}),
    ]
    tolerances = {torch.float64: 1e-11, torch.float32: 2e-5, torch.bfloat16: 2e-2}  # bfloat16 rounds to 8 bits
    for n, (scan, exact, options) in enumerate(problems):
        for k, (dtype, tolerance) in enumerate(tolerances.items()):
            if device == "cpu" and (n + k) % 2:
                continue  # the interpreter is slow: half of the combinations there
            inputs = {name: None if x is None else x.to(device, dtype) for name, x in exact.items()}
            wide = {name: None if x is None else x.double() for name, x in inputs.items()}
            results = value_and_gradients(scan, inputs, kernel="triton", **options)
            assert results[0].dtype == torch.promote_types(dtype, torch.float32)
            expected = value_and_gradients(scan, wide, kernel="torch", **options)
            for x, y in zip(results, expected, strict=True):
                limit = tolerances[torch.float32] if x is results[0] and tolerance > 2e-5 else tolerance
                torch.testing.assert_close(x.double(), y, rtol=limit, atol=limit)
    q = torch.logspace(-29, 2, 300, device=device)
    v = torch.cat([torch.ones_like(q), torch.zeros_like(q)])[None, None]
    for gate, rate in {"sigmoid": torch.sigmoid, "exact": lambda q: -torch.expm1(-q)}.items():
        t = cfc_scan(v, q, amplitude=None, gate=gate, kernel="triton")[0, 0, : len(q)]
        torch.testing.assert_close(t.double(), rate(q.double()), rtol=1e-6, atol=0)
    bad = cfc_inputs(2, 3, 4, dtype=torch.float32)
    bad["v"][1, 1, 2] = float("nan")
    bad = {name: x.to(device) for name, x in bad.items()}
    assert cfc_scan(**bad, gate="sigmoid", kernel="triton").isnan().nonzero().tolist() == [
        [1, 1, 2], [1, 1, 6], [1, 2, 2], [1, 2, 6]
    ]  # fmt: skip

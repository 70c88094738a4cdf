"""Whole-sequence scans of complex states: the gated scan and the CfC update, each by the fastest kernel of its device.

Layout, everywhere: real and imaginary parts are stacked in the last axis, z[..., :N] = xr and z[..., N:] = xi, so that
a sequence is one contiguous [batch, time, 2 node] tensor, straight out of one matrix product and into the next.

Shapes: B batch, T time, N node.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from nfsim.models.kernels import _operators, _scan_torch

Kernel = Literal["auto", "numba", "triton", "torch"]
Gate = Literal["none", "sigmoid", "exact"]

_KERNELS = ("auto", "numba", "triton", "torch")
_FASTEST: dict[str, Kernel] = {"cuda": "triton", "cpu": "numba"}
_GATES = ("none", "sigmoid", "exact")
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def gated_scan(
    a: Tensor, b: Tensor, z0: Tensor | None = None, *, final: bool = False, kernel: Kernel = "auto"
) -> Tensor:
    """Every state of the gated linear recurrence, a complex product per node:  z_t = a_t z_{t-1} + b_t.

    Its gradients are a scan backwards in time: lambda_t = dz_t + conj(a_{t+1}) lambda_{t+1}, db_t = lambda_t,
    da_t = lambda_t conj(z_{t-1}), dz0 = conj(a_1) lambda_1. Differentiable once; with kernel="torch" at will.

    Parameters
    ----------
    a, b
        [B, T, 2N], T >= 1. Gate and input, stacked. 16-bit inputs are read as float32.
    z0
        [B, 2N]. State before the first step; None is 0.
    final
        Return the last state alone. Its gradient is cheaper than that of `gated_scan(...)[:, -1]`, and without
        gradients no other state is stored.
    kernel
        "auto" takes triton on a CUDA device, numba on the CPU, torch elsewhere. A kernel named here runs or is refused.

    Returns
    -------
    Tensor
        [B, T, 2N], or [B, 2N] if `final`; float32, or float64 where an input is.

    Notes
    -----
    Source: Martin & Cundy 2018, "Parallelizing linear recurrent neural nets over sequence length", who scan over time
    in parallel; here one walk through time, parallel over samples and nodes, which moves less memory.

    Examples
    --------
    >>> import torch
    >>> quarter_turn = torch.tensor([0.0, 1.0]).expand(1, 4, 2)
    >>> gated_scan(quarter_turn, torch.zeros(1, 4, 2), torch.tensor([[1.0, 0.0]])).tolist()
    [[[0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [1.0, 0.0]]]
    """
    name = "gated_scan"
    _check_sequence(name, "a", a)
    _check_shape(name, "b", b, [a.shape], "as a")
    _check_start(name, z0, a)
    tensors = [x for x in (a, b, z0) if x is not None]
    kernel = _choose(name, kernel, tensors)
    dtype = _operators.state_dtype(*tensors)
    short = torch.promote_types(a.dtype, b.dtype) if kernel == "triton" else dtype
    a, b, z0 = a.to(short), b.to(short), None if z0 is None else z0.to(dtype)
    if kernel == "torch":
        z, last = _scan_torch.gated_scan(a, b, z0)
    else:
        z, last = _operators.gated(a, b, z0, not final or _trains(tensors), kernel)
    return last if final else z


def cfc_scan(
    v: Tensor,
    t: Tensor,
    rotation: Tensor | None = None,
    z0: Tensor | None = None,
    amplitude: float | None = 1.0,
    *,
    gate: Gate = "none",
    final: bool = False,
    kernel: Kernel = "auto",
) -> Tensor:
    r"""Every state of a population whose rate and input do not depend on its state, by the closed-form update.

        s_t = v_t / sqrt(1 + |v_t|^2 / A^2)
        z_t = (1 - t_t) R_t z_{t-1} + t_t s_t,      R_t = exp(i omega dt)

    The limiter, the gate and the update are one pass over memory; the backward is another, which recomputes s and t.
    Differentiable once; with kernel="torch" at will.

    Parameters
    ----------
    v
        [B, T, 2N], T >= 1. Input before the limiter (drive plus feed-forward terms), stacked. 16-bit inputs are read as
        float32.
    t
        [B, T, N], or [N] for rates that no step or sample changes. Update rate per step, in (0, 1); or what the gate
        makes it from.
    rotation
        [2N], or [B, T, 2N] where dt differs. cos(omega dt) and sin(omega dt), stacked; None is omega = 0.
    z0
        [B, 2N]. State before the first step; None is 0.
    amplitude
        A, the largest modulus of s; None or infinity is no limiter.
    gate
        "none": t is the rate. "sigmoid": the rate is sigmoid(t). "exact": the rate is 1 - exp(-t), t >= 0.
        Made inside, the rate costs no memory, and forward and backward take 0.8 of the time that they take with
        torch.sigmoid outside.
    final
        Return the last state alone. Its gradient is cheaper than that of `cfc_scan(...)[:, -1]`, and without
        gradients no other state is stored.
    kernel
        "auto" takes triton on a CUDA device, numba on the CPU, torch elsewhere. A kernel named here runs or is refused.

    Returns
    -------
    Tensor
        [B, T, 2N], or [B, 2N] if `final`; float32, or float64 where an input is.

    Notes
    -----
    Source: Hasani et al. 2022, "Closed-form continuous-time neural networks", Nat. Mach. Intell. 4:992, whose gate
    sigma(-f t) is 1 - t here; the rotation and the limiter are nfsim's.

    Examples
    --------
    Under a constant input the state approaches s by the factor 1 - t a step:

    >>> import torch
    >>> v, t = torch.ones(1, 3, 2), torch.full((1, 3, 1), 0.5)
    >>> cfc_scan(v, t, amplitude=None).tolist()
    [[[0.5, 0.5], [0.75, 0.75], [0.875, 0.875]]]
    """
    name = "cfc_scan"
    _check_sequence(name, "v", v)
    B, T, M = v.shape
    _check_shape(name, "t", t, [(B, T, M // 2), (M // 2,)], "[B, T, N] or [N]")
    if rotation is not None:
        _check_shape(name, "rotation", rotation, [(M,), (B, T, M)], "[2N] or [B, T, 2N], cosines before sines")
    _check_start(name, z0, v)
    if gate not in _GATES:
        raise ValueError(f"{name}: gate {gate!r} is not known; choose from {', '.join(_GATES)}")
    if amplitude is not None and not amplitude > 0:
        raise ValueError(f"{name}: amplitude {amplitude} is not above 0; give the largest modulus, or None for none")
    inv_a = 0.0 if amplitude is None or math.isinf(amplitude) else 1.0 / amplitude
    tensors = [x for x in (v, t, rotation, z0) if x is not None]
    kernel = _choose(name, kernel, tensors)
    dtype = _operators.state_dtype(*tensors)
    rotation, z0 = (None if x is None else x.to(dtype) for x in (rotation, z0))
    if kernel != "triton":
        v, t = v.to(dtype), t.to(dtype)
    if kernel == "torch":
        z, last = _scan_torch.cfc_scan(v, t, rotation, z0, inv_a, gate)
    else:
        z, last = _operators.cfc(v, t, rotation, z0, inv_a, gate, not final or _trains(tensors), kernel)
    return last if final else z


def available() -> dict[str, str]:
    """Which kernels can run here: "ready", or what is missing.

    Examples
    --------
    >>> available()["torch"]
    'ready'
    """
    found = {name: importlib.util.find_spec(name) is not None for name in ("numba", "triton")}
    numba = "ready" if found["numba"] else "numba is not installed"
    triton = "triton is not installed"
    if found["triton"]:
        triton = "ready" if torch.cuda.is_available() or _interpreted() else "torch sees no CUDA device"
    return {"torch": "ready", "numba": numba, "triton": triton}


def _trains(tensors: Iterable[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


def _interpreted() -> bool:
    """Whether Triton kernels run in its interpreter, on the CPU (slow: for tests)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _choose(name: str, kernel: Kernel, tensors: list[Tensor]) -> Kernel:
    """Return the kernel that runs, or say why the one asked for cannot."""
    if kernel not in _KERNELS:
        raise ValueError(f"{name}: kernel {kernel!r} is not known; choose from {', '.join(_KERNELS)}")
    devices = {str(x.device) for x in tensors}
    if len(devices) > 1:
        raise ValueError(f"{name}: inputs are on {' and '.join(sorted(devices))}; move them to one device")
    for x in tensors:
        if x.dtype not in _DTYPES:
            raise TypeError(
                f"{name}: dtype {x.dtype} is not a real floating type of 16, 32 or 64 bits; stack the parts of complex "
                "states along the last axis, convert others with .float()"
            )
    device = tensors[0].device.type
    if kernel == "auto":
        return _FASTEST.get(device, "torch")
    if kernel == "numba" and device != "cpu":
        raise ValueError(f"{name}: kernel 'numba' runs on the CPU, and the inputs are on {device}; pass kernel='auto'")
    if kernel == "triton" and device != "cuda" and not _interpreted():
        raise ValueError(
            f"{name}: kernel 'triton' runs on CUDA devices, and the inputs are on {device}; move them there, pass "
            "kernel='auto', or set TRITON_INTERPRET=1 to try it slowly on the CPU"
        )
    return kernel


def _check_sequence(name: str, argument: str, x: Tensor) -> None:
    if x.ndim != 3 or x.shape[-1] % 2 or 0 in x.shape:
        raise ValueError(
            f"{name}: {argument} has shape {list(x.shape)}; it must be [batch, time, 2 node] with at least one of "
            "each, real parts before imaginary parts in the last axis"
        )


def _check_shape(name: str, argument: str, x: Tensor, shapes: list[tuple[int, ...]], rule: str) -> None:
    if tuple(x.shape) not in [tuple(shape) for shape in shapes]:
        listed = " or ".join(str(list(shape)) for shape in shapes)
        raise ValueError(f"{name}: {argument} has shape {list(x.shape)}; it must be {listed} ({rule})")


def _check_start(name: str, z0: Tensor | None, like: Tensor) -> None:
    if z0 is not None:
        _check_shape(name, "z0", z0, [(like.shape[0], like.shape[2])], "[B, 2N], one state per sample")

"""The whole sequence of a stage that its own state gates and couples, as one operator.

Layout as for the scans: real and imaginary parts stacked in the last axis, z[..., :N] = xr and z[..., N:] = xi.

Shapes: B batch, T tick, N node, E edge, K nucleus, P reticular partner, R range of nodes whose means are read, and
C = 5K + P, what is heard: five query numbers of each nucleus, then the relay of each reticular partner.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nfsim.models.kernels import _loop_torch
from nfsim.models.kernels._loop_operators import GRADIENTS, Arguments, check_structure, loop
from nfsim.models.kernels._operators import state_dtype
from nfsim.models.kernels.scan import Kernel, _check_sequence, _check_shape, _choose, _trains

_NAME = "cfc_loop"


class LoopThalamus(NamedTuple):
    """Nuclei that set the gain of nodes from the state before the tick."""

    relayed: Tensor
    """[B, T, C], or [C] where no tick or sample changes it. What the input adds to queries and relays."""
    from_means: Tensor
    """[C, 3R]. Weights of the means of (xr, xi, |z|), range by range, in queries and relays."""
    ranges: Tensor
    """[R, 2] integers, R >= 0. First node and end of each range; ranges may overlap."""
    inhibition: Tensor
    """[K, P]. What the relay of a reticular partner, where above 0, takes from the logits of a nucleus."""
    feedback: Tensor | None
    """[K, N]. Weights of |z| in the logits of a nucleus."""
    shift: Tensor | None
    """[B, T, K]. What comes from outside the stage to the logits of a nucleus."""
    positions: Tensor
    """[3, N]. The part of the keys that no state changes."""
    share: Tensor
    """[K, N]. Weight of a nucleus in the gain of a node, 0 where it does not target it."""
    ungated: Tensor
    """[N]. Added to the gain: 1 where no nucleus targets the node."""
    at_time: Tensor
    """[N] bool. Where the gain multiplies the rate."""
    at_drive: Tensor
    """[N] bool. Where it multiplies the drive."""
    at_coupling: Tensor
    """[N] bool. Where it multiplies the coupling."""


class LoopCoupling(NamedTuple):
    """Diffusive coupling of the nodes, in rows as of a scipy.sparse.csr_array."""

    indptr: Tensor
    """[N + 1] integers. Where the edges of a node start."""
    indices: Tensor
    """[E] integers. The node that an edge comes from."""
    weight: Tensor
    """[E]."""
    degree: Tensor
    """[N]. What the node's own state is multiplied with: the sum of its weights where coupling is diffusive."""


def cfc_loop(
    u: Tensor,
    z0: Tensor | None = None,
    *,
    rate: Tensor,
    bias: Tensor | None = None,
    gate: str = "sigmoid",
    dt: float | Tensor = 1.0,
    rotation: Tensor | None = None,
    limit: Tensor | None = None,
    thalamus: LoopThalamus | None = None,
    coupling: LoopCoupling | None = None,
    final: bool = False,
    kernel: Kernel = "auto",
) -> Tensor:
    r"""Every state of a stage whose gain and coupling depend on the state before the tick.

        h = relayed + from_means m(z),      q_k = h[5k : 5k + 5],      relay = h[5K :]
        g_i = sum_k share_ki sigmoid(q_k . (xr_i, xi_i, p_i) + shift_k) + ungated_i
        shift_k = shift_k(outside) + sum_i feedback_ki |z_i| - sum_p inhibition_kp max(relay_p, 0)
        F_i = sum_j w_ij z_j - degree_i z_i
        v_i = g_i u_i + g_i F_i,      s_i = v_i / sqrt(1 + limit_i |v_i|^2)
        t_i = sigmoid(rate_i dt g_i + bias_i),  or  1 - exp(-rate_i dt g_i)
        z_i <- (1 - t_i) R_i z_i + t_i s_i

    m are the means of (xr, xi, |z|) over each range, |z| = sqrt(xr^2 + xi^2 + 1e-12). Each of the three g_i stands
    where `thalamus` says that the gain acts, and is 1 elsewhere. All on the right is before the tick.

    Gradients reach all tensors but dt, limit, positions, share and ungated: those only with kernel="torch".
    Differentiable once; any number of times with kernel="torch".

    Parameters
    ----------
    u
        [B, T, 2N], T >= 1. Drive, stacked. 16-bit inputs are read as float32.
    z0
        [B, 2N]. State before the first tick; None is 0.
    rate
        [N], per time unit. lambda / tau.
    bias
        [N]. Bias of the sigmoid; None is 0. The exact gate has none.
    gate
        "sigmoid" or "exact", the two forms of t.
    dt
        Duration of a tick: a number, or [B, T].
    rotation
        [2N], or [B, T, 2N] where dt differs. cos(omega dt) and sin(omega dt), stacked; None is omega = 0.
    limit
        [N]. 1 / A^2 of each node, A the largest modulus of s; 0, or None for all nodes, is no limiter.
    thalamus
        None is a gain of 1.
    coupling
        None is F = 0.
    final
        Return the last state alone. Without gradients no other state is stored.
    kernel
        "auto" takes numba on the CPU, torch elsewhere. A kernel named here runs or is refused.

    Returns
    -------
    Tensor
        [B, T, 2N], or [B, 2N] if `final`; float32, or float64 where an input is.

    Notes
    -----
    Source: the update is that of `cfc_scan`; gain and coupling are nfsim's.

    Examples
    --------
    Two nodes that follow their neighbour meet half way:

    >>> import torch
    >>> weight = degree = torch.ones(2)
    >>> pair = LoopCoupling(torch.tensor([0, 1, 2]), torch.tensor([1, 0]), weight, torch.zeros(2))
    >>> start = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    >>> cfc_loop(torch.zeros(1, 3, 4), start, rate=torch.zeros(2), coupling=pair)[0, :, :2].tolist()
    [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]
    """
    _check_sequence(_NAME, "u", u)
    B, T, M = u.shape
    N = M // 2
    _check("z0", z0, [(B, M)], "[B, 2N], one state per sample")
    _check("rate", rate, [(N,)], "[N]")
    _check("bias", bias, [(N,)], "[N]")
    _check("limit", limit, [(N,)], "[N], 1 / A^2 of each node")
    _check("rotation", rotation, [(M,), (B, T, M)], "[2N] or [B, T, 2N], cosines before sines")
    if gate not in ("sigmoid", "exact"):
        raise ValueError(f"{_NAME}: gate {gate!r} is not known; choose from sigmoid, exact")
    if gate == "exact" and bias is not None:
        raise ValueError(f"{_NAME}: the exact gate has no bias; leave it out, or pass gate='sigmoid'")
    if isinstance(dt, Tensor):
        _check("dt", dt, [(B, T)], "[B, T], the duration of each tick, or a number")
    elif not 0 < dt < math.inf:
        raise ValueError(f"{_NAME}: dt {dt} is not a duration; give a number above 0, or a tensor [B, T]")
    given = (thalamus or _no_thalamus(u, N))._asdict() | (coupling or _no_coupling(u, N))._asdict()
    _check_thalamus(given, B, T, N)
    _check_coupling(given, N)
    zero = u.new_zeros(N)
    numbers = {k: x for k, x in given.items() if k not in _INTEGERS + _MASKS} | {
        "u": u, "z0": u.new_zeros(B, M) if z0 is None else z0, "rate": rate, "bias": zero if bias is None else bias,
        "limit": zero if limit is None else limit, "dt": dt if isinstance(dt, Tensor) else u.new_full((B, T), dt),
        "rotation": rotation,
    }  # fmt: skip
    chosen = _choose_kernel(kernel, numbers, given)
    dtype = state_dtype(*numbers.values())
    fields: dict[str, Any] = {k: x if x is None or x.dtype == dtype else x.to(dtype) for k, x in numbers.items()}
    fields |= {k: given[k].to(torch.int64) for k in _INTEGERS} | {k: given[k] for k in _MASKS}
    a = Arguments(**fields, exact=gate == "exact")
    if chosen == "numba":
        z, last = loop(*a, not final or _trains(x for x in numbers.values() if x is not None))
    else:
        if u.device.type == "cpu" and not torch.compiler.is_compiling():
            check_structure(a.ranges, a.indptr, a.indices, N)
        z, last = _loop_torch.cfc_loop(a)
    return last if final else z


_INTEGERS = ("ranges", "indptr", "indices")
_MASKS = ("at_time", "at_drive", "at_coupling")


def _no_thalamus(u: Tensor, N: int) -> LoopThalamus:
    nowhere = u.new_zeros(N, dtype=torch.bool)
    return LoopThalamus(
        relayed=u.new_empty(0), from_means=u.new_empty(0, 0), ranges=u.new_empty(0, 2, dtype=torch.int64),
        inhibition=u.new_empty(0, 0), feedback=None, shift=None, positions=u.new_empty(3, N).zero_(),
        share=u.new_empty(0, N), ungated=u.new_ones(N), at_time=nowhere, at_drive=nowhere, at_coupling=nowhere,
    )  # fmt: skip


def _no_coupling(u: Tensor, N: int) -> LoopCoupling:
    none = u.new_empty(0, dtype=torch.int64)
    return LoopCoupling(u.new_zeros(N + 1, dtype=torch.int64), none, u.new_empty(0), u.new_zeros(N))


def _check(argument: str, x: Tensor | None, shapes: list[tuple[int, ...]], rule: str) -> None:
    if x is not None and x.shape not in shapes:
        _check_shape(_NAME, argument, x, shapes, rule)


def _check_kind(argument: str, x: Tensor, dtypes: tuple[torch.dtype, ...], rule: str) -> None:
    if x.dtype not in dtypes:
        raise TypeError(f"{_NAME}: {argument} has dtype {x.dtype}; it must be {rule}")


def _check_thalamus(given: dict[str, Tensor], B: int, T: int, N: int) -> None:
    inhibition, ranges = given["inhibition"], given["ranges"]
    if inhibition.ndim != 2:
        raise ValueError(
            f"{_NAME}: inhibition has shape {list(inhibition.shape)}; it must be [K, P], nuclei by partners"
        )
    if ranges.ndim != 2 or ranges.shape[1] != 2:
        raise ValueError(
            f"{_NAME}: ranges has shape {list(ranges.shape)}; it must be [R, 2], first node and end of each"
        )
    (K, P), R = inhibition.shape, ranges.shape[0]
    C = 5 * K + P
    heard = f"C = {C}: five for each of {K} nuclei, one for each of {P} partners"
    _check("relayed", given["relayed"], [(B, T, C), (C,)], f"[B, T, C] or [C], {heard}")
    _check("from_means", given["from_means"], [(C, 3 * R)], f"[C, 3R], {heard}; three means for each of {R} ranges")
    _check("feedback", given["feedback"], [(K, N)], "[K, N], as inhibition and u")
    _check("shift", given["shift"], [(B, T, K)], "[B, T, K], as inhibition and u")
    _check("positions", given["positions"], [(3, N)], "[3, N], x, y, z of each node")
    _check("share", given["share"], [(K, N)], "[K, N], as inhibition and u")
    for name in ("ungated", *_MASKS):
        _check(name, given[name], [(N,)], "[N]")
    for name in _MASKS:
        _check_kind(name, given[name], (torch.bool,), "torch.bool, whether the gain acts there")
    _check_kind("ranges", ranges, _INTEGER_DTYPES, "torch.int64, nodes")


def _check_coupling(given: dict[str, Tensor], N: int) -> None:
    E = given["indices"].numel()
    _check("indptr", given["indptr"], [(N + 1,)], "[N + 1], where the edges of each node start")
    _check("indices", given["indices"], [(E,)], "[E]")
    _check("weight", given["weight"], [(E,)], "[E], as indices")
    _check("degree", given["degree"], [(N,)], "[N]")
    for name in ("indptr", "indices"):
        _check_kind(name, given[name], _INTEGER_DTYPES, "torch.int64, as of a scipy.sparse.csr_array")


_INTEGER_DTYPES = (torch.int64, torch.int32)


def _choose_kernel(kernel: Kernel, numbers: dict[str, Tensor | None], given: dict[str, Tensor]) -> str:
    """Return the kernel that runs, or say why the one asked for cannot."""
    if kernel == "triton":
        raise ValueError(f"{_NAME}: there is no Triton kernel; pass kernel='auto' or 'torch'")
    tensors: dict[str, Tensor] = {k: x for k, x in numbers.items() if x is not None}
    u = tensors["u"]
    for name in _INTEGERS + _MASKS:
        if given[name].device != u.device:
            raise ValueError(f"{_NAME}: {name} is on {given[name].device} and u on {u.device}; move them to one device")
    if kernel == "auto" and u.device.type != "cpu":
        kernel = "torch"
    kernel = _choose(_NAME, kernel, list(tensors.values()))
    if kernel == "numba" and torch.is_grad_enabled():
        for name, x in tensors.items():
            if x.requires_grad and name not in GRADIENTS:
                raise ValueError(
                    f"{_NAME}: {name} needs a gradient, and kernel 'numba' has none; detach it, or pass kernel='torch'"
                )
    return kernel

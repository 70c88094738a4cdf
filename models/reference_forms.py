"""The reference of the forms that stand beside the main equations: ambassadors, attention, gated and Hebbian memory.

Written out in float64 and complex numbers, node by node where that reads best; for checking, not for speed.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from nfsim.models.model import AbstractModel
from nfsim.models.values import Values
from nfsim.network import Flat


def modulus(z: Tensor) -> Tensor:
    """|z| = sqrt(xr^2 + xi^2 + eps^2)."""
    return torch.sqrt(z.real**2 + z.imag**2 + 1e-6**2)


def ambassador_gain(values: Values, nucleus: str, path: str, z: Tensor, sector: Tensor) -> Tensor:
    """g_i = sigmoid(w_s . [xr_a, xi_a] + c_s), a = first node of sector s: [batch, n] from z of one population."""
    w, c = values[f"{nucleus}:{path}:weight"], values[f"{nucleus}:{path}:bias"]
    gain = []
    for s in sector.tolist():
        a = sector.tolist().index(s)
        gain.append(torch.sigmoid(w[s, 0] * z[:, a].real + w[s, 1] * z[:, a].imag + c[s]))
    return torch.stack(gain, -1)


def attention_messages(
    flat: Flat, values: Values, z: dict[str, Tensor], m: dict[str, Tensor], p: dict[str, Tensor]
) -> dict[str, Tensor]:
    """What attention adds to the drive of each population, complex [batch, n].

    a_jk = softmax_j(Q_k . K_jk / sqrt(d)), r_k = gelu(sum_j a_jk V_jk), u_i += mean_k (O_k + P_k . p_i) r_k.
    """
    sent: dict[str, list[Tensor]] = {path: [] for path in z}
    for k, n in flat.nuclei.items():
        if n.gating != "attention":
            continue
        home = k.rpartition("/")[0]
        targets = flat.populations_of(n.targets, home)
        y = torch.cat([torch.stack([z[path].real, z[path].imag], -1) for path in targets], 1)
        y = torch.cat([y, torch.cat([p[path] for path in targets]).expand(len(y), -1, -1)], -1)  # [batch, node, 5]
        K = y @ torch.cat([values[f"{k}:key_state"], values[f"{k}:key_position"]], 1).T
        V = y @ values[f"{k}:value"].T
        Q = torch.cat([m[path] for path in flat.populations_of(n.reads, home)], -1) @ values[f"{k}:query"].T
        a = torch.softmax((K * Q[:, None]).sum(-1) / math.sqrt(n.key), -1)
        r = F.gelu((a[..., None] * V).sum(1))
        O, P = values[f"{k}:out"][0], values[f"{k}:out"][1:]
        for path in targets:
            each = [(O + (P * position[:, None, None]).sum(0)) @ r.T for position in p[path]]  # (2, batch) per node
            parts = torch.stack(each, -1)
            sent[path].append(torch.complex(parts[0], parts[1]))
    return {path: sum(ms[1:], ms[0]) / len(ms) if ms else torch.zeros_like(z[path]) for path, ms in sent.items()}


def gated_memory(values: Values, path: str, c: Tensor, z: Tensor, u: Tensor, s: Tensor) -> Tensor:
    """c <- f c + i s, with f and i = sigmoid(a |z| + b |u| + d)."""
    gate = {}
    for name in ("forget", "admit"):
        a, b = values[f"{path}:{name}"]
        gate[name] = torch.sigmoid(a * modulus(z) + b * modulus(u) + values[f"{path}:{name}_bias"])
    return gate["forget"] * c + gate["admit"] * s


def fast_weights(flat: Flat, values: Values, name: str, W: Tensor, z: dict[str, Tensor], pattern: Tensor) -> Tensor:
    """W_ij <- rho W_ij + eta Re(conj(z_i) z_j) on the edges [batch, edge] of one coupling."""
    rho = torch.sigmoid(values[f"{name}:retention"])
    eta = values[f"{name}:strength"] * (1 - rho) * values[f"{name}:mean_size"]
    target = torch.cat([z[path] for path in flat.target(name)], -1)
    source = torch.cat([z[path] for path in flat.source(name)], -1)
    relation = (target.conj()[:, :, None] * source[:, None, :]).real
    return rho * W + eta * relation[:, pattern]


def start(model: AbstractModel, given: dict[str, Tensor], batch: int) -> dict[str, Tensor]:
    """What is carried beside z before the first tick: complex c by population, W by projection."""
    flat, real = model.network.flat, torch.float64
    carried, first = {}, 0
    for path, p in flat.populations.items():
        part = slice(first, first := first + p.size)
        if p.dynamics.memory == "gated":
            parts = (given[k][:, part] if given else torch.zeros(batch, p.size, dtype=real) for k in ("cr", "ci"))
            carried[path] = torch.complex(*parts)
    for name in model.fast_edges:
        W = given.get(model.fast_name(name))
        carried[name] = torch.zeros(batch, model.carried[model.fast_name(name)], dtype=real) if W is None else W
    return carried


def end(model: AbstractModel, carried: dict[str, Tensor], batch: int) -> dict[str, Tensor]:
    """The same as the state to continue from names it."""
    flat, out = model.network.flat, {}
    if "cr" in model.carried:
        none = torch.zeros(batch, 0, dtype=torch.complex128)
        c = torch.cat([carried.get(path, none.new_zeros(batch, p.size)) for path, p in flat.populations.items()], -1)
        out = {"cr": c.real, "ci": c.imag}
    return out | {model.fast_name(name): carried[name] for name in model.fast_edges}

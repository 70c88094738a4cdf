"""What a network learns and what stays fixed, drawn from (seed, full path), by name.

A name is "part:quantity"; `N` nodes of a population, `F` features or 2N values at the source of a drive (N for rates).
Both backends hold exactly these.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from nfsim.dynamics import per_node
from nfsim.network import Flat
from nfsim.ties import reticular_partners
from nfsim.wiring import Connectome, random

Named = Iterator[tuple[str, np.ndarray, bool]]
"""Name, initial value, whether it is learned."""

UNIT_RATE = math.log(math.e - 1)
"""softplus(UNIT_RATE) = 1: every rate constant lambda starts at one."""
HEBBIAN_RETENTION = math.log(0.95 / 0.05)
"""sigmoid(HEBBIAN_RETENTION) = 0.95: a memory of twenty ticks."""


def drive_width(flat: Flat, projection: str) -> int:
    """Values that a drive reads: features of an input, or xr and xi (or the rates) of its source's nodes."""
    p = flat.projections[projection]
    source = flat.source(projection)
    if source[0] in flat.inputs:
        return flat.inputs[source[0]].features
    return sum(flat.populations[s].size for s in source) * (2 if p.signal == "state" else 1)


def relay_width(flat: Flat, nucleus: str) -> int:
    """Values that a nucleus relays: the input's features, or three means of every population that it reads."""
    n = flat.nuclei[nucleus]
    if n.gating == "feedforward":
        return sum(flat.inputs[i].features for i in flat.inputs_of(nucleus))
    return 3 * len(flat.populations_of(n.reads, nucleus.rpartition("/")[0]))


def draw_population(connectome: Connectome, path: str) -> Named:
    """Constants of the nodes of one population."""
    p = connectome.network.flat.populations[path]
    seed, n, d = connectome.network.seed, p.size, p.dynamics
    yield f"{path}:rate", np.full(n, UNIT_RATE), True
    if d.rate == "sigmoid":
        yield f"{path}:rate_bias", per_node(d.bias, n, random(seed, f"{path}:bias")), d.learn_bias
    yield f"{path}:omega", per_node(d.omega, n, random(seed, f"{path}:omega")), d.learn_omega
    if d.drive == "phase":
        x, y, _ = connectome.nodes.positions[connectome.nodes.slices[path]].T
        phase = np.arctan2(y, x) if isinstance(d.phase, str) else np.full(n, float(d.phase))
        yield f"{path}:phase", phase, d.phase == "learned"
    yield f"{path}:drive_bias", np.zeros((1 if d.drive == "phase" else 2) * n), True
    if d.initial == "learned":
        yield f"{path}:initial", np.zeros((2, n)), True
    if d.memory == "gated":  # weights of |z| and |u|, then the constant: sigmoid(1) + sigmoid(-1) = 1
        for gate, start in (("forget", 1.0), ("admit", -1.0)):
            yield f"{path}:{gate}", np.zeros((2, n)), True
            yield f"{path}:{gate}_bias", np.full(n, start), True


def _drive(connectome: Connectome, name: str) -> Named:
    flat, p = connectome.network.flat, connectome.network.flat.projections[name]
    rng = random(connectome.network.seed, f"{name}:weight")
    width, learned = drive_width(flat, name), p.learnable == "edges"
    assert p.weight is not None
    if p.learnable == "scale":
        yield f"{name}:scale", np.ones(()), True
    if p.rank is not None:
        yield f"{name}:hidden", rng.uniform(-1, 1, (p.rank, width)) / math.sqrt(width), learned
        if p.activation:
            yield f"{name}:hidden_bias", np.zeros(p.rank), learned
    matrix = connectome.matrices[name]
    start = 0
    for path in flat.target(name):
        population = flat.populations[path]
        rows = matrix[start : (start := start + population.size)]
        out = 1 if population.dynamics.drive == "phase" else 2
        if p.rank is not None:
            weight = rng.uniform(-1, 1, (out * population.size, p.rank)) / math.sqrt(p.rank)
            yield f"{name}:{path}:weight", p.weight * weight, learned
            continue
        # one value per edge and pair of parts: (out, in, edge), so that the mask costs no parameters
        parts = width // matrix.shape[1]
        fan_in = np.maximum(np.diff(rows.indptr), 1) * parts
        weight = rng.uniform(-1, 1, (out, parts, rows.nnz)) / np.sqrt(np.repeat(fan_in, np.diff(rows.indptr)))
        if p.rule.weighted:  # a given matrix acts on each part alike
            weight = np.broadcast_to(np.eye(out, parts)[:, :, None] if out == parts else 1.0, weight.shape).copy()
        weight = p.weight * weight * rows.data
        if p.sign is not None:
            weight = p.sign * abs(weight)
        yield f"{name}:{path}:weight", weight, learned


def _coupling(connectome: Connectome, name: str) -> Named:
    p = connectome.network.flat.projections[name]
    if p.learnable == "scale":
        yield f"{name}:scale", np.ones(()), True
    weights = connectome.matrices[name].data
    yield f"{name}:edges", weights, p.learnable == "edges"
    if p.memory == "hebbian":
        yield f"{name}:retention", np.full((), HEBBIAN_RETENTION), True
        yield f"{name}:strength", np.ones(()), True
        yield f"{name}:mean_size", np.array(abs(weights).mean() if weights.size else 0.0), False


def _nucleus(connectome: Connectome, path: str) -> Named:
    flat, n = connectome.network.flat, connectome.network.flat.nuclei[path]
    rng = random(connectome.network.seed, f"{path}:weight")
    if n.gating == "ambassador":
        for target in flat.populations_of(n.targets, path.rpartition("/")[0]):
            sectors = flat.populations[target].sectors
            yield f"{path}:{target}:weight", rng.normal(0, 1 / math.sqrt(2), (sectors, 2)), True
            yield f"{path}:{target}:bias", np.zeros(sectors), True
        return
    width = relay_width(flat, path)
    yield f"{path}:query", rng.normal(0, 1 / math.sqrt(width), (n.key, width)), True
    if n.gating in ("state", "attention"):
        yield f"{path}:key_state", rng.normal(0, 1 / math.sqrt(2), (n.key, 2)), True
    yield f"{path}:key_position", rng.normal(0, 1 / math.sqrt(3), (n.key, 3)), True
    if n.gating == "attention":
        yield f"{path}:value", rng.normal(0, 1 / math.sqrt(5), (n.value, 5)), True  # of xr, xi and the position
        yield f"{path}:out", rng.normal(0, 1 / math.sqrt(2 * n.value), (4, 2, n.value)), True  # |(1, p)|^2 = 2
    partners = reticular_partners(flat, path)
    if n.trn and partners:
        yield f"{path}:relay", rng.normal(0, 1 / math.sqrt(width), width), True
        yield f"{path}:relay_bias", np.full((), 0.5), True  # above zero, so that relu passes a gradient at the start
        yield f"{path}:reticular", np.full(len(partners), -2.0), True  # softplus(-2) = 0.13
    if n.feedback:
        size = sum(flat.populations[p].size for p in flat.populations_of(n.feedback, path.rpartition("/")[0]))
        yield f"{path}:feedback", rng.normal(0, 1, size), True


def _readout(connectome: Connectome, path: str) -> Named:
    flat, r = connectome.network.flat, connectome.network.flat.readouts[path]
    if r.kind == "sector":
        yield f"{path}:scale", np.full((), 10.0), True  # mean rates lie in [0, 1], logits should not
        return
    rng = random(connectome.network.seed, f"{path}:weight")
    nodes = sum(flat.populations[p].size for p in flat.populations_of(r.reads))
    width = nodes * (3 if r.kind == "state" else 1)
    assert not isinstance(r.labels, int)  # a readout turns a number into names
    yield f"{path}:weight", rng.uniform(-1, 1, (len(r.labels), width)) / math.sqrt(width), True
    yield f"{path}:bias", np.zeros(len(r.labels)), True


def draw(connectome: Connectome) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Learned parameters and fixed constants, by name, float64."""
    flat = connectome.network.flat
    learned: dict[str, Tensor] = {}
    fixed: dict[str, Tensor] = {}
    makers: list[tuple[Callable[[Connectome, str], Named], str]] = [
        (draw_population, path) for path in flat.populations
    ]
    makers += [(_drive if p.kind == "drive" else _coupling, name) for name, p in flat.projections.items()]
    makers += [*((_nucleus, path) for path in flat.nuclei), *((_readout, path) for path in flat.readouts)]
    for make, name in makers:
        for key, value, learns in make(connectome, name):
            (learned if learns else fixed)[key] = torch.from_numpy(np.array(value, dtype=np.float64))
    return learned, fixed


GROUPS = {
    "drive": "drive",
    "omega": "node constants",
    "rate": "node constants",
    "rate_bias": "node constants",
    "phase": "node constants",
    "initial": "node constants",
    "drive_bias": "drive",
    "forget": "node constants",
    "forget_bias": "node constants",
    "admit": "node constants",
    "admit_bias": "node constants",
}
"""Ledger group of each quantity of a population."""


def group(flat: Flat, name: str) -> str:
    """Ledger group of a parameter: drive, node constants, router, coupling, projections or readout."""
    part, _, quantity = name.rpartition(":")
    if part in flat.populations:
        return GROUPS[quantity]
    if name.split(":")[0] in flat.nuclei:
        return "router"
    if part in flat.readouts:
        return "readout"
    projection = name.split(":")[0]
    if flat.projections[projection].kind == "coupling":
        return "coupling"
    return "drive" if flat.source(projection)[0] in flat.inputs else "projections"

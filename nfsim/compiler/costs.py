"""What a program costs, and whether its coupling settles; estimated from the declaration."""

from typing import TYPE_CHECKING

import numpy as np

from nfsim.compiler.program import Program
from nfsim.wiring import Connectome

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FLOP_PER_NODE = 40
"""Limiter, update rate, rotation and update of one node: 18 multiply-adds, a square root and an exponential."""
FLOP_PER_GAIN = 16
"""Five multiply-adds, the shift, a sigmoid and its share of the mean, per nucleus and node."""
FLOP_PER_MIXING = 32
"""Five multiply-adds each for the logit, the weighted sum and the two parts that come back, and a softmax."""
FLOP_PER_MEMORY = 24
"""Two gates of two multiply-adds and a sigmoid, two moduli, the memory's two parts and its limiter."""
FLOP_PER_FAST_WEIGHT = 12
"""Six for the weight's update, and two differences, products and sums for its pull."""
EXACT_RADIUS = 2000
"""Nodes up to which the spectral radius is computed; above, Gershgorin's bound stands for it."""


def ledger(program: Program) -> dict[str, int]:
    """Learned parameters by group."""
    from nfsim.models.parameters import draw, group

    learned, _ = draw(program.connectome)
    counts = dict.fromkeys(("drive", "node constants", "router", "coupling", "projections", "readout"), 0)
    for name, value in learned.items():
        counts[group(program.connectome.network.flat, name)] += value.numel()
    return counts


def work(program: Program, index: int) -> tuple[int, int]:
    """FLOP (a multiply-add is two) and bytes moved per tick and sample of one stage, forward.

    Bytes count what must pass through memory for each sample: drives read and written, gain and state; weights are
    shared by the batch.
    """
    connectome, stage = program.connectome, program.stages[index]
    flat = connectome.network.flat
    nodes = sum(flat.populations[p].size for p in stage.populations)
    flop, values = FLOP_PER_NODE * nodes, 6 * nodes  # u and z: two parts each; t; gain
    for name in stage.drives:
        p, (target, source) = flat.projections[name], connectome.matrices[name].shape
        own = sum(flat.populations[t].size for t in flat.target(name) if t in stage.populations)
        parts = 2 if flat.source(name)[0] in flat.populations and p.signal == "state" else 1
        edges = connectome.matrices[name].nnz * own // target
        flop += 2 * (p.rank * (parts * source + 2 * own) if p.rank else 2 * parts * edges)
        values += parts * source
    for name in stage.couplings:
        own = sum(flat.populations[t].size for t in flat.target(name) if t in stage.populations)
        matrix = connectome.matrices[name]
        edges = matrix.nnz * own // matrix.shape[0]
        flop += 4 * edges
        if flat.projections[name].memory == "hebbian":
            flop, values = flop + FLOP_PER_FAST_WEIGHT * edges, values + 2 * edges
    routed = [n for n in stage.nuclei if flat.nuclei[n].gating in ("state", "feedforward")]
    mixing = [n for n in stage.nuclei if flat.nuclei[n].gating == "attention"]
    flop += FLOP_PER_GAIN * len(routed) * nodes + FLOP_PER_MIXING * len(mixing) * nodes
    remembers = sum(p.size for p in map(flat.populations.get, stage.populations) if p and p.dynamics.memory == "gated")
    return flop + FLOP_PER_MEMORY * remembers, 4 * (values + 4 * remembers)


def laplacian(connectome: Connectome, populations: tuple[str, ...]) -> "csr_array":
    """L = D - K (node, node) of the couplings on the state of some populations, so that F = -L z."""
    from scipy.sparse import csr_array, diags_array

    flat, nodes = connectome.network.flat, connectome.nodes
    index = nodes.index(populations)
    local = np.full(len(nodes.positions), -1)
    local[index] = np.arange(len(index))
    K = csr_array((len(index), len(index)))
    sums = np.zeros(len(index))
    for name, p in flat.projections.items():
        if p.kind == "coupling" and p.on == "state":
            source, target = connectome.ends(name)
            m = connectome.matrices[name].tocoo()
            i, j = local[nodes.index(target)[m.row]], local[nodes.index(source)[m.col]]
            np.add.at(sums, i[i >= 0], m.data[i >= 0])
            inside = (i >= 0) & (j >= 0)
            K = K + csr_array((m.data[inside], (i[inside], j[inside])), shape=K.shape)
    return csr_array(diags_array(sums) - K)


def laplacian_radius(connectome: Connectome, populations: tuple[str, ...]) -> tuple[float, bool]:
    """Spectral radius of L, and whether it is exact or a bound."""
    centre, radius = _discs(laplacian(connectome, populations))
    return float((abs(centre) + radius).max()), not radius.any()


def _discs(L: "csr_array") -> tuple[np.ndarray, np.ndarray]:
    """Discs of the complex plane that hold the eigenvalues of L: centres (node,) and radii (node,).

    Up to EXACT_RADIUS nodes they are the eigenvalues. Beyond, source: Gershgorin 1931, Izv. Akad. Nauk SSSR 6:749.
    """
    if L.shape[0] <= EXACT_RADIUS:
        return np.linalg.eigvals(L.toarray()), np.zeros(L.shape[0])
    centre = L.diagonal()
    return centre, np.asarray(abs(L).sum(axis=1)) - abs(centre)


def stability(program: Program, index: int) -> tuple[float, float, float, bool]:
    """Largest update rate t at the start with gain 1, radius of L, growth in a tick, and whether both are exact.

    Without drive, limiter and rotation z is multiplied by ``1 - t (1 + mu)`` in a tick, along each eigenvector of L, mu
    its eigenvalue: the growth is the largest modulus of these factors.
    """
    from nfsim.models.parameters import draw_population

    network, rates = program.connectome.network, []
    for path in program.stages[index].populations:
        d = network.flat.populations[path].dynamics
        values = {name: value for name, value, _ in draw_population(program.connectome, path)}
        gate = network.dt / network.ticks / d.tau
        bias = values.get(f"{path}:rate_bias", np.zeros(1))
        rates.append(float(np.max(1 / (1 + np.exp(-gate - bias)))) if d.rate == "sigmoid" else -np.expm1(-gate))
    t, (centre, radius) = max(rates), _discs(laplacian(program.connectome, program.stages[index].populations))
    growth = float((abs(1 - t * (1 + centre)) + t * radius).max())
    return t, float((abs(centre) + radius).max()), growth, not radius.any()

"""Where the sparse product of a coupling overtakes the dense one: the thresholds of nfsim/compiler/kernels.py.

python benchmarks/coupling.py
"""

from statistics import median

import torch
from rich.console import Console
from rich.table import Table

import nfsim
from nfsim.models.kernels import pattern, sparse_product
from timing import milliseconds

ROWS = 256
"""Two parts of 128 samples."""


def matrix(nodes: int, neighbours: int):
    """Nearest neighbours on the sphere, in compressed sparse rows."""
    net = nfsim.Network().add(nfsim.Input("x", 1), nfsim.Population("p", nodes), nfsim.Readout("r", 2))
    net.connect("x", "p")
    net.connect("p", "p", nfsim.Nearest(neighbours), name="k")
    return net.wire().matrices["k"]


def main() -> None:
    """Print both products, forward and backward, from small and crowded to large and sparse."""
    torch.set_num_threads(2)
    table = Table(
        "nodes",
        "neighbours",
        "density",
        "dense ms",
        "sparse ms",
        "dense ps per pair and row",
        "sparse ps per edge and row",
    )
    for nodes, neighbours in ((64, 6), (256, 6), (256, 12), (649, 6), (649, 12), (649, 24), (1500, 12), (3000, 12)):
        K = matrix(nodes, neighbours)
        indptr, indices = (torch.from_numpy(x.astype("int64")) for x in (K.indptr, K.indices))
        p, w, D = (
            pattern(indptr, indices, nodes),
            torch.from_numpy(K.data).float(),
            torch.from_numpy(K.toarray()).float(),
        )
        z, g = torch.randn(ROWS, nodes, requires_grad=True), torch.randn(ROWS, nodes)
        steps = {
            "dense": lambda z=z, D=D, g=g: torch.autograd.grad(z @ D.T, z, g),
            "sparse": lambda z=z, w=w, p=p, g=g: torch.autograd.grad(sparse_product(z, w, p), z, g),
        }
        times = {name: median(t) for name, t in milliseconds(steps).items()}
        per_pair, per_edge = (1e9 * times[k] / (2 * ROWS * n) for k, n in (("dense", nodes**2), ("sparse", K.nnz)))
        row = [nodes, neighbours, f"{K.nnz / nodes**2:.4f}", *(f"{t:.2f}" for t in times.values())]
        table.add_row(*map(str, row), f"{per_pair:.1f}", f"{per_edge:.0f}")
    Console(width=130).print(table)


if __name__ == "__main__":
    main()

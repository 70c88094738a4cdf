"""No thalamus at all: a ring of cortex wired as a small world, driven at one place and read at another.

The rule of a projection may be any networkx graph.

Source: Watts & Strogatz 1998, Nature 393:440 (small-world networks).
"""

import networkx

import nfsim
from nfsim import Band, CfC, Input, Network, Population, Readout


def network() -> Network:
    """The network."""
    small_world = networkx.watts_strogatz_graph(120, k=8, p=0.1, seed=1)
    net = Network("small world", seed=0, ticks=4)
    net.add(
        Input("stimulus", 64),
        Population("cortex", 120, sectors=10, dynamics=CfC(bias=0.0, drive="complex"), patch=Band(-30, 30)),
    )
    net.connect("stimulus", "cortex")
    net.connect("cortex", "cortex", small_world, weight=0.5, learnable="edges")
    return net.add(Readout("digit", 10, reads="cortex", kind="sector"))


if __name__ == "__main__":
    print(nfsim.compile(network()).explain())
    result = nfsim.fit(network(), "digits", epochs=20)
    print(f"validation accuracy {result.metrics['val/accuracy']:.3f}")

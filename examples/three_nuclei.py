"""V1 -> V2 -> PFC with three thalamic nuclei that have different targets.

The lateral geniculate nucleus gates V1 by what it relays; the pulvinar listens to V1 and V2 and gates both; the
mediodorsal nucleus listens to the prefrontal cortex, which feeds back to it, and gates it.

Source: Sherman & Guillery 2002, Phil. Trans. R. Soc. B 357:1695 (first- and higher-order thalamic relays).
"""

import nfsim
from nfsim import CfC, Input, Nearest, Network, Nucleus, Population, Readout
from nfsim.regions import PFC

CELL = CfC(bias=0.0, drive="complex")


def network() -> Network:
    """The network."""
    net = Network("three nuclei", seed=0, ticks=4)
    net.add(
        Input("retina", 64),
        Population("v1", 64, sectors=4, dynamics=CELL),
        Population("v2", 48, sectors=4, dynamics=CELL),
        PFC(40, dynamics=CELL),
        Nucleus("lgn", reads="retina", targets="v1", gating="feedforward", trn=True),
        Nucleus("pulvinar", reads=("v1", "v2"), targets=("v1", "v2"), trn=True),
        Nucleus("md", reads="pfc", targets="pfc", feedback="pfc", trn=True),
    )
    net.connect("retina", "v1")
    net.connect("v1", "v2", rank=24, activation="gelu", normalise=True)
    net.connect("v2", "pfc", rank=24, activation="gelu", normalise=True)
    net.connect("pfc", "v2", rank=8, normalise=True, weight=0.3)  # feedback, heard a tick later
    net.connect("v1", "v1", Nearest(8))
    return net.add(Readout("digit", 10, reads="pfc", kind="state", normalise=True))


if __name__ == "__main__":
    print(nfsim.compile(network()).explain())
    result = nfsim.fit(network(), "digits", epochs=20)
    print(f"validation accuracy {result.metrics['val/accuracy']:.3f}")

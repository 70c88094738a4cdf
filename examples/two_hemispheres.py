"""Two hemispheres that see half of the image each and meet over the corpus callosum.

Each hemisphere stands on its own half of the sphere; a topographic callosal projection couples homologous sectors.

Source: Sperry 1961, Science 133:1749 (division of the visual field, and what the callosum joins).
"""

import nfsim
from nfsim import Cap, CfC, Input, Nearest, Network, Projection, Readout, Region, Topographic
from nfsim.regions import PFC, Sensory

CELL = CfC(bias=0.0, drive="complex")


def hemisphere(name: str, lon: float) -> Region:
    """One hemisphere: a sensory and an association area on their own cap, coupled to their neighbours."""
    parts = (
        Sensory(48, sectors=6, dynamics=CELL),
        PFC(48, sectors=6, dynamics=CELL),
        Projection("sensory", "pfc", rank=16, activation="gelu", normalise=True),
        Projection("sensory", "sensory", Nearest(6)),
        Projection("pfc", "pfc", Nearest(6)),
    )
    return Region(name, parts, patch=Cap(lat=0, lon=lon, radius=85))


def network() -> Network:
    """The network; x holds both half images, left first."""
    net = Network("two hemispheres", seed=0, ticks=4)
    net.add(Input("left field", 32), Input("right field", 32))
    net.add(hemisphere("left", -90), hemisphere("right", 90))
    net.connect("left field", "right/sensory")  # the optic tract crosses
    net.connect("right field", "left/sensory")
    for here, there in (("left", "right"), ("right", "left")):
        callosum = f"{here} callosal fibres"
        net.connect(
            f"{here}/pfc", f"{there}/pfc", Topographic(), kind="coupling", weight=0.3, name=callosum, length=120.0
        )
    return net.add(Readout("digit", 10, reads=("left/pfc", "right/pfc"), kind="state", normalise=True))


if __name__ == "__main__":
    print(nfsim.compile(network()).explain())
    result = nfsim.fit(network(), "digits", epochs=20)
    print(f"validation accuracy {result.metrics['val/accuracy']:.3f}")

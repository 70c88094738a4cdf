"""Excitatory and inhibitory populations under Dale's law: what a population sends keeps one sign throughout training.

Four excitatory nodes stand for each inhibitory one; both send rates, which are never negative.

Source: Eccles et al. 1954, J. Physiol. 126:524 (one transmitter per neuron); Wilson & Cowan 1972, Biophys. J. 12:1.
"""

import nfsim
from nfsim import CfC, Decay, Input, Network, Population, Random, Readout

CELL = CfC(bias=0.0, drive="complex")


def network() -> Network:
    """The network."""
    net = Network("excitation and inhibition", seed=0, ticks=6)
    net.add(
        Input("thalamic input", 64),
        Population("excitatory", 96, dynamics=CELL),
        Population("inhibitory", 24, dynamics=CELL),
    )
    net.connect("thalamic input", "excitatory")
    net.connect("excitatory", "excitatory", Decay(0.4), kind="drive", signal="rate", sign=+1, weight=0.5)
    net.connect("excitatory", "inhibitory", Random(0.5), signal="rate", sign=+1)
    net.connect("inhibitory", "excitatory", Random(0.5), signal="rate", sign=-1)
    net.connect("inhibitory", "inhibitory", Random(0.3), kind="drive", signal="rate", sign=-1, weight=0.5)
    return net.add(Readout("digit", 10, reads="excitatory", kind="state", normalise=True))


if __name__ == "__main__":
    print(nfsim.compile(network()).explain())
    result = nfsim.fit(network(), "digits", epochs=20)
    print(f"validation accuracy {result.metrics['val/accuracy']:.3f}")

"""Whole networks from public parts: starting points, and what the published experiments ran on."""

import math
from collections.abc import Sequence
from itertools import pairwise

from nfsim.dynamics import CfC, PerNode, Uniform
from nfsim.network import Network
from nfsim.population import Input, Population, Projection, Readout, Region
from nfsim.regions.motor import Motor
from nfsim.regions.prefrontal import PFC
from nfsim.regions.sensory import Sensory
from nfsim.regions.thalamus import Thalamus
from nfsim.rules import Nearest
from nfsim.values import is_count

Labels = int | Sequence[str]


def thalamocortical(
    features: int,
    labels: Labels = 10,
    *,
    sensory: int = 49,
    prefrontal: int = 500,
    motor: int = 100,
    nuclei: int = 8,
    neighbours: int = 12,
    coupling: float = 0.5,
    bias: PerNode = -5.0,
    omega: PerNode = 0.0,
    gating: str = "state",
    trn: bool = True,
    feedback: bool = True,
    dt: float = 1.0,
    ticks: int = 1,
    seed: int = 0,
) -> Network:
    """The historical network: the input drives every population, neighbours on the sphere couple, all are read out.

    Parameters
    ----------
    features, labels : of the data.
    sensory, prefrontal, motor : nodes; 49 + 500 + 100 = 649 as published.
    nuclei : thalamic nuclei, 0 for no thalamus.
    neighbours, coupling : nearest neighbours on the sphere over all populations, and the row sum of K.
    bias : of the update rate; -5 is the published slow decay for sequences, 0 suits single frames.
    omega : rad per time unit; 0 as published.
    gating, trn, feedback : of the thalamus.
    dt, ticks, seed : of the network.
    """
    dynamics = CfC(bias=bias, omega=omega)
    readout = Readout("readout", labels)
    sectors = len(readout.labels) if isinstance(readout.labels, tuple) else 1
    divides = sectors > 0 and is_count(motor) and motor % sectors == 0
    net = Network("thalamocortical", seed=seed, dt=dt, ticks=ticks)
    net.add(
        Input("input", features),
        Sensory(sensory, dynamics=dynamics),
        PFC(prefrontal, dynamics=dynamics),
        Motor(motor, sectors if divides else 1, dynamics=dynamics),
        readout,
    )
    if nuclei:
        net.add(Thalamus(nuclei, trn=trn, feedback=feedback, gating=gating))
    net.connect("input", "*")
    net.connect("*", "*", Nearest(neighbours), weight=coupling)
    return net


def hierarchy(
    features: int,
    labels: Labels = 10,
    *,
    sensory: int = 96,
    prefrontal: int = 96,
    motor: int = 60,
    rank: int = 32,
    nuclei: int = 2,
    neighbours: int = 6,
    coupling: float = 0.5,
    bias: PerNode = Uniform(-4.0, 1.0),
    omega: PerNode = Uniform(0.0, 0.8 * math.pi),
    dropout: float = 0.0,
    when: str = "last",
    dt: float = 1.0,
    ticks: int = 1,
    seed: int = 0,
) -> Network:
    """A feed-forward hierarchy, input -> sensory -> prefrontal -> motor, each with relay nuclei driven by the input.

    Nothing in it depends on its own state, so every area runs a whole sequence at once: the coupling on the sphere
    smooths the drive.

    Parameters
    ----------
    features, labels : of the data.
    sensory, prefrontal, motor : nodes of the areas; without a motor area (0) the prefrontal one is read.
    rank : hidden units of the drives between areas.
    nuclei : relay nuclei of each area, 0 for no thalamus.
    neighbours, coupling : nearest neighbours on the sphere within each area, and the row sum of K; 0 neighbours for
        none.
    bias, omega : of the update rates, and rad per time unit.
    dropout : share of the hidden units between areas, and of what the readout reads, that training leaves out.
    when : what the readout reads, "last", "mean" or "each".
    dt, ticks, seed : of the network.
    """
    dynamics = CfC(bias=bias, omega=omega, drive="complex")
    areas: list[Population] = [Sensory(sensory, dynamics=dynamics), PFC(prefrontal, dynamics=dynamics)]
    if motor:
        areas.append(Motor(motor, 1, dynamics=dynamics))
    net = Network("hierarchy", seed=seed, dt=dt, ticks=ticks)
    net.add(Input("input", features), *areas)
    net.add(Projection("input", "sensory"))
    for source, target in pairwise(areas):
        net.connect(source.name, target.name, rank=rank, activation="gelu", normalise=True, dropout=dropout)
    for area in areas:
        if neighbours:
            net.connect(area.name, area.name, Nearest(neighbours), on="drive", weight=coupling)
    if nuclei:
        relays = [
            Thalamus(nuclei, gating="feedforward", feedback=False, reads="input", targets=area.name, name=name)
            for name, area in zip(("lgn", "md", "vl"), areas, strict=False)
        ]
        net.add(Region("thalamus", relays))
    last = areas[-1].name
    return net.add(Readout("readout", labels, kind="state", reads=last, when=when, normalise=True, dropout=dropout))

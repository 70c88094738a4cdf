"""Whole networks from public parts: starting points, and what the published experiments ran on."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from nfsim.dynamics import CfC, PerNode, Uniform
from nfsim.network import Network
from nfsim.population import Input, Population, Projection, Readout, Region
from nfsim.regions.motor import Motor
from nfsim.regions.prefrontal import PFC
from nfsim.regions.sensory import Sensory
from nfsim.regions.thalamus import Thalamus, attention_widths
from nfsim.rules import AbstractRule, Nearest
from nfsim.shuffled import Shuffled
from nfsim.values import is_count

Labels = int | Sequence[str]
KEY = 16
"""Dimension of query and key of a nucleus of gain."""


def _neighbours(k: int, shuffle: bool) -> AbstractRule:
    return Shuffled(Nearest(k)) if shuffle else Nearest(k)


def _memories(memory: str) -> tuple[str, str]:
    """What a preset's form of memory means for the populations and for their coupling."""
    return ("none", "hebbian") if memory == "coupling" else (memory, "none")


def _thalamus(
    nuclei: int,
    gating: str,
    trn: bool,
    feedback: bool,
    relayed: int,
    keyed: int,
    fed: int,
    heard: int,
    key: int = KEY,
    **options: Any,
) -> Thalamus:
    """A thalamus of any gating; attention has as many parameters as the gain that it stands in for.

    Parameters
    ----------
    relayed, keyed, fed : values that a nucleus of that gain relays, that its keys read, and that feed back to it.
    heard : populations that attention reads.
    key : dimension of query and key of that gain.
    """
    if gating == "ambassador":
        return Thalamus(1, gating=gating, trn=False, feedback=False, **options)
    if gating != "attention":
        return Thalamus(nuclei, gating=gating, trn=trn, feedback=feedback, key=key, **options)
    if all(map(is_count, (nuclei, relayed, fed, key))):
        reticular = relayed + nuclei if trn and nuclei > 1 else 0  # relay and its bias, and one T per other nucleus
        parameters = key * (relayed + keyed) + reticular + (fed if feedback else 0)
        options |= zip(("key", "value"), attention_widths(parameters, heard), strict=True)
    return Thalamus(nuclei, gating=gating, trn=False, feedback=False, **options)


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
    memory: str = "none",
    scaling: str = "rows",
    shuffle: bool = False,
    dt: float = 1.0,
    ticks: int = 1,
    seed: int = 0,
    **cell: Any,
) -> Network:
    """The historical network: the input drives every population, neighbours on the sphere couple, all are read out.

    Parameters
    ----------
    features, labels : of the data.
    sensory, prefrontal, motor : nodes; 49 + 500 + 100 = 649 as published.
    nuclei : thalamic nuclei, 0 for no thalamus.
    neighbours, coupling : nearest neighbours on the sphere over all populations, 0 for none, and the row sum of K.
    bias : of the update rate; -5 is the published slow decay for sequences, 0 suits single frames.
    omega : rad per time unit; 0 as published.
    gating, trn, feedback : of the thalamus, whose nuclei read all three populations. "ambassador" is a single nucleus
        and "attention" as many as said; neither knows trn or feedback, and attention has widths of key and value with
        which it has as many parameters as the gain, with trn and feedback as said, that it stands in for.
    memory : "none", "gated" (of every population) or "coupling" (Hebbian).
    scaling : of the coupling: "rows", "max" or "none".
    shuffle : whether the neighbours are those of nodes with shuffled places.
    dt, ticks, seed : of the network.
    cell : every other field of `CfC`, such as rate, learn_bias, limiter and amplitude.
    """
    of_cell, of_coupling = _memories(memory)
    dynamics = CfC(bias=bias, omega=omega, memory=of_cell, **cell)
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
        net.add(_thalamus(nuclei, gating, trn, feedback, relayed=9, keyed=5, fed=prefrontal, heard=3))
    net.connect("input", "*")
    if neighbours:
        wiring = _neighbours(neighbours, shuffle)
        net.connect("*", "*", wiring, weight=coupling, scaling=scaling, memory=of_coupling)
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
    key: int = KEY,
    neighbours: int = 6,
    coupling: float = 0.5,
    bias: PerNode = Uniform(-4.0, 1.0),
    omega: PerNode = Uniform(0.0, 0.8 * math.pi),
    gating: str = "feedforward",
    trn: bool = True,
    feedback: bool = False,
    memory: str = "none",
    scaling: str = "rows",
    shuffle: bool = False,
    dropout: float = 0.0,
    when: str = "last",
    dt: float = 1.0,
    ticks: int = 1,
    seed: int = 0,
    **cell: Any,
) -> Network:
    """A feed-forward hierarchy, input -> sensory -> prefrontal -> motor, each with relay nuclei driven by the input.

    Nothing in it depends on its own state, so every area runs a whole sequence at once: the coupling on the sphere
    smooths the drive. Another gating, feedback or memory steps through time instead.

    Parameters
    ----------
    features, labels : of the data.
    sensory, prefrontal, motor : nodes of the areas; without a motor area (0) the prefrontal one is read.
    rank : hidden units of the drives between areas.
    nuclei, key : relay nuclei of each area, 0 for no thalamus, and dimension of their queries and keys; keys of nuclei
        that the input drives are positions, so that 3 is as rich as any more.
    neighbours, coupling : nearest neighbours on the sphere within each area, and the row sum of K; 0 neighbours for
        none.
    bias, omega : of the update rates, and rad per time unit.
    gating, trn, feedback : of the relay nuclei; those of "state" and "attention" read their own area. "ambassador" is a
        single nucleus per area and "attention" as many as said; neither knows trn or feedback, and attention has widths
        of key and value with which it has as many parameters as relays of the input, with trn and feedback as said.
    memory : "none", "gated" (of every area) or "coupling" (Hebbian, for which the coupling is on the state).
    scaling : of the coupling: "rows", "max" or "none".
    shuffle : whether the neighbours are those of nodes with shuffled places.
    dropout : share of the hidden units between areas, and of what the readout reads, that training leaves out.
    when : what the readout reads, "last", "mean" or "each".
    dt, ticks, seed : of the network.
    cell : every other field of `CfC`, such as rate, learn_bias, limiter and amplitude.
    """
    of_cell, of_coupling = _memories(memory)
    dynamics = CfC(**{"bias": bias, "omega": omega, "drive": "complex", "memory": of_cell} | cell)
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
            on, wiring = "state" if memory == "coupling" else "drive", _neighbours(neighbours, shuffle)
            options: dict[str, Any] = {"weight": coupling, "scaling": scaling, "memory": of_coupling}
            net.connect(area.name, area.name, wiring, on=on, **options)
    if nuclei:
        relays = []
        for name, area in zip(("lgn", "md", "vl"), areas, strict=False):
            ends = {"targets": area.name, "name": name}
            if gating != "ambassador":
                ends["reads"] = "input" if gating == "feedforward" else area.name
            relay = _thalamus(
                nuclei, gating, trn, feedback, features, keyed=3, fed=prefrontal, heard=1, key=key, **ends
            )
            relays.append(relay)
        net.add(Region("thalamus", relays))
    last = areas[-1].name
    return net.add(Readout("readout", labels, kind="state", reads=last, when=when, normalise=True, dropout=dropout))

"""Random networks and calls for the tests that hold for all of them: everything that can be declared, in small."""

from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

import nfsim
from nfsim.dynamics import GAIN_PLACES

# Whole networks are large draws, and a trace of every line of a failing one takes minutes.
SETTINGS = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[phase for phase in Phase if phase is not Phase.explain],
)
PLACES = st.sets(st.sampled_from(GAIN_PLACES)).map(lambda places: tuple(sorted(places)))


@st.composite
def dynamics(draw: DrawFn, size: int, others: bool) -> nfsim.CfC:
    """Any dynamics of a population of `size` nodes; `others`: with or without memory."""
    numbers = st.floats(-1.5, 1.5)
    constant = numbers | st.builds(nfsim.Uniform, st.floats(-2, 0), st.floats(0, 2))
    constant |= st.builds(nfsim.Normal, numbers, st.floats(0, 1)) | st.tuples(*[numbers] * size)
    return nfsim.CfC(
        tau=draw(st.sampled_from([0.5, 1.0, 3.0])),
        rate=draw(st.sampled_from(["sigmoid", "exact"])),
        bias=draw(constant),
        learn_bias=draw(st.booleans()),
        omega=draw(st.just(0.0) | constant),
        learn_omega=draw(st.booleans()),
        drive=draw(st.sampled_from(["phase", "complex"])),
        phase=draw(st.sampled_from(["longitude", "learned", 0.0, 0.7])),
        limiter=draw(st.sampled_from(["amplitude", "amplitude", "clamp", "none"])),
        amplitude=draw(st.sampled_from([0.4, 1.0, 10.0])),
        initial=draw(st.sampled_from(["zero", "learned"])),
        gain=draw(PLACES),
        prior_variance=draw(st.sampled_from([0.5, 1.0])),
        memory=draw(st.sampled_from(["none", "gated"])) if others else "none",
    )


@st.composite
def rules(draw: DrawFn, source: int, target: int, *, same: bool, stands: bool) -> Any:
    """Any wiring rule between so many nodes; `stands` says that both ends have positions."""
    choices = [nfsim.AllToAll(), nfsim.Random(draw(st.floats(0, 1)), symmetric=draw(st.booleans()))]
    seed = draw(st.integers(0, 99))
    matrix = np.random.default_rng(seed).normal(size=(target, source)).round(2)
    choices.append(nfsim.Explicit(matrix * (abs(matrix) > 0.5)))
    if source == target and not same:
        choices.append(nfsim.OneToOne())
    if stands:
        choices.append(nfsim.Nearest(draw(st.integers(1, min(source, 3))), symmetric=draw(st.booleans())))
        choices.append(
            nfsim.Decay(draw(st.floats(0.2, 3)), draw(st.sampled_from(["exponential", "gaussian"])), cutoff=0.05)
        )
    if same:
        choices.append(nfsim.Topographic())
    return draw(st.sampled_from(choices))


@st.composite
def projections(
    draw: DrawFn, source: str, target: str, sizes: dict[str, int], sign: int | None, others: bool
) -> nfsim.Projection:
    """A drive or a coupling between two names; inputs are the names in capitals; `others`: with or without memory."""
    same, stands = source == target, source.islower() or source == "*"
    options: dict[str, Any] = {"kind": draw(st.sampled_from(["coupling", "drive"])) if stands else "drive"}
    options["rule"] = draw(rules(sizes[source], sizes[target], same=same, stands=stands))
    options["learnable"] = draw(st.sampled_from([None, "scale", "edges", "none"]))
    options["weight"] = draw(st.floats(0.2, 1.5))
    options["sign"] = sign if stands else draw(st.sampled_from([None, 1, -1]))
    if options["kind"] == "coupling":
        options["on"] = draw(st.sampled_from(["state", "drive"]))
        options["scaling"] = draw(st.sampled_from(["rows", "max", "none"]))
        if others and options["on"] == "state" and sign is None:
            options["memory"] = draw(st.sampled_from(["none", "hebbian"]))
    else:
        options["normalise"] = draw(st.booleans())
        options["signal"] = draw(st.sampled_from(["state", "rate"])) if stands else "state"
        if options["sign"] is None and draw(st.booleans()):
            options["rule"], options["rank"] = nfsim.AllToAll(), draw(st.integers(1, 3))
            options["activation"] = draw(st.sampled_from([None, "gelu", "relu", "tanh"]))
    return nfsim.Projection(source, target, **options)


@st.composite
def nuclei(draw: DrawFn, name: str, inputs: list[str], populations: list[str], others: bool) -> nfsim.Nucleus:
    """A nucleus of either gating; `others`: of one of all four."""
    several = st.lists(st.sampled_from(populations), min_size=1, max_size=2, unique=True).map(tuple) | st.just(("*",))
    gating = draw(st.sampled_from(["state", "feedforward"]))
    heard = st.lists(st.sampled_from(inputs), min_size=1, unique=True).map(tuple)
    if others and draw(st.integers(0, 2)):
        gating = draw(st.sampled_from(["ambassador", "attention"]))
        reads = draw(several) if gating == "attention" else "*"
        return nfsim.Nucleus(name, reads, draw(several), gating, key=draw(st.sampled_from([1, 4])), value=3)
    return nfsim.Nucleus(
        name,
        reads=draw(several if gating == "state" else heard),
        targets=draw(several),
        gating=gating,
        trn=draw(st.booleans()),
        feedback=draw(st.just(()) | several),
        key=draw(st.sampled_from([1, 4])),
    )


@st.composite
def readouts(draw: DrawFn, sectors: dict[str, int]) -> nfsim.Readout:
    """A readout of every kind; `first` is the population that an input reaches."""
    options: dict[str, Any] = {
        "when": draw(st.sampled_from(["last", "mean", "each"])),
        "normalise": draw(st.booleans()),
    }
    kind = draw(st.sampled_from(["rate", "state", "sector"]))
    if kind == "sector":
        return nfsim.Readout("out", sectors["a"], kind=kind, reads="a", **options)
    reads = draw(st.just("*") | st.lists(st.sampled_from(sorted(sectors)), unique=True).map(lambda more: {"a", *more}))
    return nfsim.Readout("out", 3, kind=kind, reads=sorted(reads), **options)


@st.composite
def networks(draw: DrawFn) -> nfsim.Network:
    """Any network of up to three populations: a chain or cycles, couplings, a thalamus, nested or not."""
    net = nfsim.Network("random", seed=draw(st.integers(0, 9)), dt=draw(st.sampled_from([0.5, 1.0])))
    net.ticks = draw(st.sampled_from([1, 1, 2, 3]))
    others = draw(st.integers(0, 3)) == 0  # forms that run tick after tick, and would leave little to the kernels
    names = ["a", "b", "c"][: draw(st.integers(1, 3))]
    inputs = {"X": draw(st.integers(1, 3))} | ({"Y": 2} if draw(st.booleans()) else {})
    sectors = {name: draw(st.integers(1, 3)) for name in names}
    sizes = {name: sectors[name] * draw(st.integers(1, 3)) for name in names}
    populations = [nfsim.Population(n, sizes[n], sectors[n], draw(dynamics(sizes[n], others))) for n in names]
    sets = {"*": sum(sizes.values())}
    if len(names) > 1 and draw(st.booleans()):  # all but the first stand in a region
        populations[1:] = [nfsim.Region("r", populations[1:], draw(st.sampled_from([None, nfsim.Cap(30, 60, 40)])))]
        names, sets["r"] = [names[0], *(f"r/{n}" for n in names[1:])], sets["*"] - sizes["a"]
        sectors, sizes = ({n: d[n[-1]] for n in names} for d in (sectors, sizes))
    net.add(*(nfsim.Input(name, features) for name, features in inputs.items()), *populations)
    ends = sizes | inputs | sets
    # Dale's law asks for one sign per population, so a network is signed as a whole and only between single populations
    signs = {n: draw(st.sampled_from([1, -1])) for n in names} if draw(st.integers(0, 3)) == 0 else {}
    net.add(draw(projections("X", draw(st.sampled_from(["a", "*"])), ends, None, others)))
    if "Y" in inputs:
        net.add(draw(projections("Y", draw(st.sampled_from([*names, *sets])), ends, None, others)))
    for _ in range(draw(st.integers(0, 4))):
        source, target = draw(st.sampled_from(names)), draw(st.sampled_from(names))
        if not signs and draw(st.integers(0, 3)) == 0:
            source = target = draw(st.sampled_from(sorted(sets)))
        elif not signs and "r" in sets and draw(st.integers(0, 3)) == 0:
            source, target = draw(st.permutations(["a", "r"]))
        net.add(draw(projections(source, target, ends, signs.get(source), others)))
    thalamus = [
        draw(nuclei(f"n{k}", list(inputs), [*names, *sorted(set(sets) - {"*"})], others))
        for k in range(draw(st.integers(0, 3)))
    ]
    if thalamus and draw(st.booleans()):
        net.add(nfsim.Region("thalamus", thalamus))
    else:
        net.add(*thalamus)
    return net.add(draw(readouts(sectors)))


def perturb(model: torch.nn.Module, seed: int) -> None:
    """Move every parameter away from its start, where zeros would hide a wrong term."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.5 * torch.randn(p.shape, generator=generator, dtype=p.dtype)


def carried(net: nfsim.Network) -> dict[str, int]:
    """Name and width of everything that a state holds."""
    flat = net.flat
    nodes = sum(p.size for p in flat.populations.values())
    gated = any(p.dynamics.memory == "gated" for p in flat.populations.values())
    fast = [name for name, p in flat.projections.items() if p.memory == "hebbian"]
    edges = nfsim.wire(net).matrices if fast else {}
    names = ("xr", "xi", "cr", "ci") if gated else ("xr", "xi")
    return dict.fromkeys(names, nodes) | {f"{name}:fast": edges[name].nnz for name in fast}


@st.composite
def calls(draw: DrawFn, net: nfsim.Network) -> dict[str, Any]:
    """Arguments of a float64 call: sequences, a state or none, dt in every form, lengths or none."""
    batch, steps = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    features = sum(i.features for i in net.flat.inputs.values())
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    real = {"generator": generator, "dtype": torch.float64}
    forms = {"declared": None, "number": 0.7, "step": torch.rand(steps, **real) + 0.2}
    forms["sample"] = torch.rand(batch, steps, **real) + 0.2
    given = {name: 0.5 * torch.randn(batch, n, **real) for name, n in carried(net).items()}
    return {
        "x": torch.randn(batch, steps, features, **real),
        "state": draw(st.sampled_from([None, given])),
        "dt": forms[draw(st.sampled_from(sorted(forms)))],
        "lengths": draw(st.none() | st.lists(st.integers(1, steps), min_size=batch, max_size=batch).map(torch.tensor)),
    }

"""What ties populations to each other: whose state the next state of a population depends on, and why."""

from collections.abc import Iterator
from typing import NamedTuple

from nfsim.network import Flat

_DYNAMIC = {"time", "drive", "coupling"}


class Tie(NamedTuple):
    """`target` needs what `source` is or was, because of a part `by` name."""

    source: str
    target: str
    reason: str
    by: str


def gated(flat: Flat, nucleus: str) -> tuple[str, ...]:
    """Populations whose dynamics, not only whose readout, feel a nucleus."""
    targets = flat.populations_of(flat.nuclei[nucleus].targets, nucleus.rpartition("/")[0])
    if flat.nuclei[nucleus].gating == "attention":  # it acts on the drive, and sets no gain
        return targets
    return tuple(p for p in targets if _DYNAMIC & set(flat.populations[p].dynamics.gain))


def reticular_partners(flat: Flat, nucleus: str) -> tuple[str, ...]:
    """The other nuclei that inhibit a nucleus through the reticular nucleus of their region."""
    if not flat.nuclei[nucleus].trn:
        return ()
    home = nucleus.rpartition("/")[0]
    return tuple(n for n, d in flat.nuclei.items() if d.trn and n != nucleus and n.rpartition("/")[0] == home)


def listens(flat: Flat, nucleus: str) -> Iterator[tuple[str, str]]:
    """Populations whose state a nucleus depends on, beside those that its keys read, and by which path."""
    scope = nucleus.rpartition("/")[0]
    for name in (nucleus, *reticular_partners(flat, nucleus)):
        if flat.nuclei[name].gating in ("state", "attention"):
            for p in flat.populations_of(flat.nuclei[name].reads, scope):
                yield (
                    p,
                    "queries read regional means" if name == nucleus else "reticular inhibition relays regional means",
                )
    for p in flat.populations_of(flat.nuclei[nucleus].feedback, scope):
        yield p, "cortico-thalamic feedback"


def ties(flat: Flat) -> Iterator[Tie]:
    """Every dependence between populations, and of populations on themselves."""
    for name, p in flat.projections.items():
        sources = [s for s in flat.source(name) if s in flat.populations]
        for target in flat.target(name):
            if p.kind == "coupling" and p.on == "state":
                yield Tie(target, target, "coupling on the state pulls on each node's own state", name)
            for source in sources:
                if p.kind == "drive" or source != target:
                    yield Tie(source, target, f"{p.kind} between its populations", name)
    for nucleus, declared in flat.nuclei.items():
        for target in gated(flat, nucleus):
            if declared.gating == "state":
                yield Tie(target, target, "keys read each node's own state", nucleus)
            elif declared.gating == "ambassador":
                yield Tie(target, target, "ambassadors read their sector's own state", nucleus)
            elif declared.gating == "attention":
                for source in gated(flat, nucleus):
                    yield Tie(source, target, "attention mixes states of all that it targets", nucleus)
            for source, reason in listens(flat, nucleus):
                yield Tie(source, target, reason, nucleus)
    for path, population in flat.populations.items():
        if population.dynamics.limiter == "clamp":
            yield Tie(path, path, "limiter 'clamp' acts on the updated state", path)
        if population.dynamics.memory == "gated":
            yield Tie(path, path, "gates of the memory read each node's own state", path)

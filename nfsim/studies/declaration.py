"""Studies: which runs answer a published experiment. One YAML file a study, beside this module."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nfsim.errors import BuildError

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Tier:
    """How far a study goes: on how many seeds, and with which settings on top of those of its variants."""

    seeds: int
    """Seeds 0, 1, ..., seeds - 1."""
    overrides: tuple[str, ...] = ()
    """As typed after `nfsim train`; they win over the variant's."""


TIERS = {
    "quick": Tier(3, ("data.limit=10000", "trainer.epochs=5")),
    "full": Tier(5),
    "long": Tier(1),
}
"""What a tier is where a study does not say otherwise."""


@dataclass(frozen=True)
class Variant:
    """One model with one recipe."""

    name: str
    """Its name in the table."""
    overrides: tuple[str, ...]
    """As typed after `nfsim train`."""
    tiers: dict[str, tuple[str, ...]]
    """Tiers that run it, each with overrides of its own, which win over the tier's."""
    published: float | None = None
    """Published test accuracy, per cent."""
    note: str = ""
    """What is special about it, or about the published number."""
    measures: tuple[str, ...] = ()
    """Names in `nfsim.studies.measures.MEASURES`, taken of each trained model."""


@dataclass(frozen=True)
class Study:
    """A published experiment: its variants, tier by tier, and which pairs of them are compared."""

    name: str
    title: str
    """The question, in a line."""
    source: str
    """Where the published numbers are from."""
    variants: tuple[Variant, ...]
    comparisons: tuple[tuple[str, str], ...] = ()
    """Pairs of variants: the first minus the second."""
    backbone: str = ""
    """STUDY/VARIANT whose run of the same seed and tier stands for {backbone} in overrides."""
    tiers: dict[str, Tier] = field(default_factory=dict)

    def runs_in(self, tier: str) -> tuple[Variant, ...]:
        """Variants of a tier."""
        return tuple(variant for variant in self.variants if tier in variant.tiers)

    def variant(self, name: str) -> Variant:
        """Return the variant of a name."""
        return next(variant for variant in self.variants if variant.name == name)

    def words(self, variant: Variant, tier: str) -> tuple[str, ...]:
        """Overrides of a variant in a tier, without the seed."""
        return (*variant.overrides, *self.tiers[tier].overrides, *variant.tiers[tier])


def names() -> list[str]:
    """Names of all studies."""
    return sorted(path.stem for path in HERE.glob("*.yaml"))


def chosen(name: str) -> list[Study]:
    """Return the study of a name, or all of them for "all"; raises `BuildError` for names that are not known."""
    if name != "all" and name not in names():
        raise BuildError(
            f"{name!r}: there is no study of that name; the studies are {', '.join(names())}, or all of them: all"
        )
    return [load(one) for one in ([name] if name != "all" else names())]


def load(name: str) -> Study:
    """Return a study from its file; raises `BuildError` with all that is wrong in it."""
    from omegaconf import OmegaConf

    content: Any = OmegaConf.to_container(OmegaConf.load(HERE / f"{name}.yaml"))
    return parsed(name, content)


def parsed(name: str, content: dict[str, Any]) -> Study:
    """Return the study that plain values describe; raises `BuildError` with all that is wrong with them."""
    found = list(_problems(name, content))
    if found:
        raise BuildError(found)
    base = tuple(content.get("overrides", ()))
    tiers = {
        tier: Tier(
            content.get("tiers", {}).get(tier, {}).get("seeds", plain.seeds),
            tuple(content.get("tiers", {}).get(tier, {}).get("overrides", plain.overrides)),
        )
        for tier, plain in TIERS.items()
    }
    variants = tuple(
        Variant(
            key,
            (*(base if values.get("base", True) else ()), *values.get("overrides", ())),
            _own_tiers(values["tiers"]),
            values.get("published"),
            values.get("note", ""),
            tuple(values.get("measures", ())),
        )
        for key, values in content["variants"].items()
    )
    pairs = tuple((first, second) for first, second in content.get("comparisons", ()))
    return Study(name, content["title"], content["source"], variants, pairs, content.get("backbone", ""), tiers)


def _own_tiers(tiers: list[str] | dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    if isinstance(tiers, dict):
        return {tier: tuple(words) for tier, words in tiers.items()}
    return {tier: () for tier in tiers}


_KEYS = {"title", "source", "overrides", "backbone", "tiers", "variants", "comparisons"}
_VARIANT_KEYS = {"base", "overrides", "tiers", "published", "note", "measures"}


def _problems(name: str, content: dict[str, Any]) -> Iterator[str]:
    for key in ("title", "source", "variants"):
        if not content.get(key):
            yield f"study {name}: has no {key}; give it"
    yield from _unknown(f"study {name}", set(content), _KEYS)
    yield from _unknown(f"study {name}: tiers", set(content.get("tiers", {})), set(TIERS))
    variants = content.get("variants") or {}
    for key, values in variants.items():
        yield from _unknown(f"study {name}: {key}", set(values), _VARIANT_KEYS)
        if not values.get("tiers"):
            yield f"study {name}: {key} runs in no tier; give it tiers, of {', '.join(TIERS)}"
        yield from _unknown(f"study {name}: {key}: tiers", set(values.get("tiers", ())), set(TIERS))
    for pair in content.get("comparisons", ()):
        yield from _unknown(f"study {name}: comparisons", set(pair), set(variants))


def _unknown(where: str, given: set[str], known: set[str]) -> Iterator[str]:
    for key in sorted(given - known):
        yield f"{where}: unknown {key}; known are {', '.join(sorted(known))}"

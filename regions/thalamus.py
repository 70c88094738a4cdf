"""Thalamus: nuclei that turn the volume of the cortex."""

from collections.abc import Iterable
from typing import Any

from nfsim.population import Nucleus, Region
from nfsim.values import several


class Thalamus(Region):
    """A thalamus of equal nuclei, n0, n1, ..., which inhibit each other through the reticular nucleus.

    Parameters
    ----------
    nuclei : int, or names.
    trn : whether the nuclei inhibit each other.
    feedback : whether the prefrontal cortex feeds back; True for "pfc", or names of populations.
    gating : "state" or "feedforward" (the gain is driven by the input).
    reads, targets : populations or regions (inputs, for reads of feed-forward nuclei); "*" for all.
    name : str.
    options : every other field of `Nucleus`.
    """

    def __init__(
        self,
        nuclei: int | Iterable[str] = 8,
        trn: bool = True,
        feedback: bool | str | Iterable[str] = True,
        gating: str = "state",
        reads: str | Iterable[str] = "*",
        targets: str | Iterable[str] = "*",
        name: str = "thalamus",
        **options: Any,
    ):
        names = [f"n{i}" for i in range(nuclei)] if isinstance(nuclei, int) else several(nuclei)
        sources = ("pfc" if feedback else ()) if isinstance(feedback, bool) else feedback
        shared: dict[str, Any] = {"reads": reads, "targets": targets, "gating": gating, "trn": trn, "feedback": sources}
        super().__init__(name, tuple(Nucleus(n, **shared, **options) for n in names))

    def __reduce__(self) -> Any:
        return Region, (self.name, self.parts, self.patch)

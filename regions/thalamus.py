"""Thalamus: nuclei that turn the volume of the cortex."""

from collections.abc import Iterable
from typing import Any

from nfsim.population import Nucleus, Region
from nfsim.sphere import Patch
from nfsim.values import several


def attention_widths(parameters: int, reads: int) -> tuple[int, int]:
    """Key and value of a nucleus of attention that has as many parameters as asked for, and balances the two.

    The query takes key (3 reads), the key 5 key (state and position), the value 5 value, its way out 8 value. Of all
    pairs within half a percent, else of the closest, the one whose dimensions differ least.

    Parameters
    ----------
    parameters : of a nucleus of gain, to stand beside.
    reads : populations that the nucleus reads.

    >>> attention_widths(741, reads=3)  # 14 * 27 + 13 * 28 = 742
    (27, 28)
    """
    pairs = [(key, round((parameters - key * (3 * reads + 5)) / 13)) for key in range(1, parameters)]

    def error(pair: tuple[int, int]) -> float:
        return abs(pair[0] * (3 * reads + 5) + 13 * pair[1] - parameters) / parameters

    pairs = [pair for pair in pairs if pair[1] >= 1] or [(1, 1)]
    least = max(min(map(error, pairs)), 0.005)
    return min((pair for pair in pairs if error(pair) <= least), key=lambda pair: abs(pair[0] - pair[1]))


class Thalamus(Region):
    """A thalamus of equal nuclei, n0, n1, ..., which inhibit each other through the reticular nucleus.

    Parameters
    ----------
    nuclei : int, or names.
    trn : whether the nuclei inhibit each other.
    feedback : whether the prefrontal cortex feeds back; True for "pfc", or names of populations.
    gating : "state", "feedforward" (the gain is driven by the input), or one of the other forms of `Nucleus`,
        "ambassador" and "attention", which know neither trn nor feedback.
    reads, targets : populations or regions (inputs, for reads of feed-forward nuclei); "*" for all.
    name : str.
    parts : the nuclei themselves, in place of all of the above, as `dataclasses.replace` hands them on.
    patch : unused by nuclei; that of `Region`.
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
        *,
        parts: Iterable[Nucleus] | None = None,
        patch: Patch | None = None,
        **options: Any,
    ):
        if parts is not None:
            super().__init__(name, tuple(parts), patch)
            return
        names = [f"n{i}" for i in range(nuclei)] if isinstance(nuclei, int) else several(nuclei)
        sources = ("pfc" if feedback else ()) if isinstance(feedback, bool) else feedback
        shared: dict[str, Any] = {"reads": reads, "targets": targets, "gating": gating, "trn": trn, "feedback": sources}
        super().__init__(name, tuple(Nucleus(n, **shared, **options) for n in names), patch)

    def __reduce__(self) -> Any:
        return Region, (self.name, self.parts, self.patch)

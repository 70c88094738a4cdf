"""Measures that accumulate while a recording runs: memory does not grow with time, results equal the offline ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from nfsim.analysis import _kernels_pairs as pairs
from nfsim.analysis._kernels import order_sums
from nfsim.analysis._labels import describe, with_pair_coords
from nfsim.analysis.connectivity import correlation_of_sums

MEASURES = {
    "order_parameter": ("z",),
    "metastability": ("z",),
    "plv": ("z",),
    "functional_connectivity": ("z",),
    "gain": ("gain",),
    "free_energy": ("energy_accuracy", "energy_complexity"),
}
"""What can be accumulated, and the variables each needs."""


class _Moments:
    """Count, mean and squared deviations along time of values [trial, group], merged as Chan et al. 1983."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def update(self, start: int, values: np.ndarray) -> None:
        """Take in values [trial, time, group]; NaN is left out."""
        n = np.isfinite(values).sum(1)
        safe = np.where(n > 0, n, 1)
        mean = np.nansum(values, axis=1) / safe
        squares = np.nansum((values - mean[:, None]) ** 2, axis=1)
        for k in range(len(values)):
            old = self.rows.get(start + k)
            new = (n[k], mean[k], squares[k])
            self.rows[start + k] = new if old is None else _merged(old, new)

    def mean(self) -> np.ndarray:
        """Return the mean [trial, group]; NaN where nothing was valid."""
        return np.stack([np.where(n > 0, mean, np.nan) for n, mean, _ in self._in_order()])

    def deviation(self) -> np.ndarray:
        """Return the standard deviation [trial, group]; NaN where nothing was valid."""
        return np.stack([np.where(n > 0, np.sqrt(s / np.where(n > 0, n, 1)), np.nan) for n, _, s in self._in_order()])

    def _in_order(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        return [self.rows[k] for k in sorted(self.rows)]


def _merged(a: tuple[np.ndarray, ...], b: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = a[0] + b[0]
    safe = np.where(n > 0, n, 1)
    apart = b[1] - a[1]
    return n, a[1] + apart * b[0] / safe, a[2] + b[2] + apart**2 * a[0] * b[0] / safe


class Online:
    """Accumulators of synchrony, connectivity, gain and free energy over a recording that comes in chunks.

    Per trial: mean of r along time (`r_mean`), `metastability`, mean gain and mean free energy, of all nodes and by a
    coordinate (`*_by`, on the dim `group`). Over all trials and times together: `plv` and `functional_connectivity` of
    the rates |z|. Each equals the offline measure of the whole recording: `plv(ds, over=("trial", "time"))`,
    `metastability(ds, over="node")`, and so on. Memory: a few numbers per trial, and node x node sums.

    Parameters
    ----------
    measures : sequence of str
        Names from `MEASURES`.
    by : str
        Coordinate along `node` that groups are told apart by. Groups of one node have no order parameter (NaN).

    Examples
    --------
    >>> from nfsim.analysis import example
    >>> ds, online = example(), Online(("metastability", "plv"))
    >>> for start in range(0, 200, 50):
    ...     online.update(ds.isel(time=slice(start, start + 50)))
    >>> sorted(online.result().data_vars)
    ['metastability', 'metastability_by', 'plv']
    """

    def __init__(self, measures: Sequence[str] = tuple(MEASURES), *, by: str = "region") -> None:
        unknown = [name for name in measures if name not in MEASURES]
        if unknown:
            raise ValueError(f"Online: no measure {', '.join(unknown)}; there are {', '.join(MEASURES)}")
        self.measures, self.by = tuple(measures), by
        self.needs = tuple(dict.fromkeys(name for measure in self.measures for name in MEASURES[measure]))
        self._moments: dict[str, _Moments] = {}
        self._sums: dict[str, np.ndarray] = {}
        self._shift: np.ndarray | None = None
        self._nodes: xr.Dataset | None = None
        self._groups: list[Any] = []

    def update(self, chunk: xr.Dataset, *, start: int = 0) -> None:
        """Take in a chunk: the variables in `needs`, each on (trial, time, node); its first trial is trial `start`.

        Chunks of one trial come in any order, and trials too.
        """
        absent = [name for name in self.needs if name not in chunk]
        if absent:
            raise ValueError(
                f"Online: the chunk has no {', '.join(absent)}; it has {sorted(map(str, chunk.data_vars))}"
            )
        blocks = {}
        for name in self.needs:
            var = chunk[name] if "trial" in chunk[name].dims else chunk[name].expand_dims("trial")
            if set(var.dims) != {"trial", "time", "node"}:
                raise ValueError(f"Online: {name} has dims {var.dims}, needs trial, time, node")
            blocks[name] = var.transpose("trial", "time", "node").values
        if self._nodes is None:
            self._begin(chunk)
        if "z" in blocks:
            self._update_states(blocks["z"], start)
        for name in ("gain", "energy_accuracy", "energy_complexity"):
            if name in blocks:
                self._update_means(name, blocks[name], start)

    def _begin(self, chunk: xr.Dataset) -> None:
        node = {name: coord for name, coord in chunk.coords.items() if coord.dims == ("node",)}
        self._nodes = xr.Dataset(coords=node).assign_coords(_count=("node", np.zeros(chunk.sizes["node"])))
        values = node[self.by].values if self.by in node else np.full(chunk.sizes["node"], "all")
        self._groups = list(dict.fromkeys(values.tolist()))
        self._group = np.array([self._groups.index(v) for v in values.tolist()], np.int64)

    def _update_states(self, z: np.ndarray, start: int) -> None:
        if {"order_parameter", "metastability"} & set(self.measures):
            total, count = order_sums(z, self._group, len(self._groups))
            total = np.concatenate([total.sum(-1, keepdims=True), total], axis=-1)
            count = np.concatenate([count.sum(-1, keepdims=True), count], axis=-1)
            r = np.where(count >= 2, np.minimum(np.abs(total) / np.where(count, count, 1), 1), np.nan)
            self._moments.setdefault("r", _Moments()).update(start, r)
        if {"plv", "functional_connectivity"} & set(self.measures):
            flat = np.ascontiguousarray(np.moveaxis(z, -1, 0)).reshape(z.shape[-1], -1)
            if "plv" in self.measures:
                self._add("plv", pairs.phase_sums(flat))
            if "functional_connectivity" in self.measures:
                rate = np.abs(flat)
                if self._shift is None:
                    self._shift = np.where(np.isfinite(rate[:, 0]), rate[:, 0], 0)
                self._add("functional_connectivity", pairs.product_sums(rate, self._shift))

    def _add(self, name: str, sums: np.ndarray) -> None:
        self._sums[name] = self._sums[name] + sums if name in self._sums else sums

    def _update_means(self, name: str, block: np.ndarray, start: int) -> None:
        groups = [block] + [block[..., self._group == g] for g in range(len(self._groups))]
        count = [np.isfinite(b).sum(-1) for b in groups]
        mean = [
            np.where(n > 0, np.nansum(b, axis=-1) / np.where(n, n, 1), np.nan)
            for b, n in zip(groups, count, strict=True)
        ]
        self._moments.setdefault(name, _Moments()).update(start, np.stack(mean, axis=-1))

    def result(self) -> xr.Dataset:
        """Return all measures so far."""
        if self._nodes is None:
            raise ValueError("Online: nothing was taken in yet; call update(chunk) first")
        found: dict[str, xr.DataArray] = {}
        if "order_parameter" in self.measures:
            found |= self._pair_of("r_mean", self._moments["r"].mean(), "mean order parameter", "1", "Kuramoto 1984")
        if "metastability" in self.measures:
            found |= self._pair_of(
                "metastability", self._moments["r"].deviation(), "metastability", "1", "Shanahan 2010"
            )
        for name, units in (("gain", "1"), ("energy_accuracy", "nat"), ("energy_complexity", "nat")):
            if name in self._moments:
                long_name = "mean " + name.replace("_", " ")
                found |= self._pair_of(
                    f"{name}_mean", self._moments[name].mean(), long_name, units, "mean over time and nodes"
                )
        found |= self._matrices()
        return xr.Dataset(found)

    def _pair_of(
        self, name: str, values: np.ndarray, long_name: str, units: str, source: str
    ) -> dict[str, xr.DataArray]:
        whole = xr.DataArray(values[:, 0], dims="trial")
        # not on a dim named `region`: in a recording that name is a label of nodes
        split = xr.DataArray(values[:, 1:], dims=("trial", "group"), coords={"group": self._groups})
        named = {name: whole, f"{name}_by": split}
        return {k: describe(v, k, units=units, long_name=long_name, source=source) for k, v in named.items()}

    def _matrices(self) -> dict[str, xr.DataArray]:
        found = {}
        if "plv" in self._sums:
            cross, count = self._sums["plv"][0], self._sums["plv"][1].real
            value = np.where(count >= 2, np.minimum(np.abs(cross) / np.where(count, count, 1), 1), np.nan)
            matrix = self._labelled(value)
            found["plv"] = describe(matrix, "plv", long_name="phase-locking value", source="Lachaux et al. 1999")
        if "functional_connectivity" in self._sums:
            sums = self._labelled(np.moveaxis(self._sums["functional_connectivity"], 0, -1), "statistic")
            correlation, _ = correlation_of_sums(sums, "node")
            name = "functional_connectivity"
            found[name] = describe(correlation, name, long_name="functional connectivity", source="Biswal et al. 1995")
        return found

    def _labelled(self, values: np.ndarray, *more: str) -> xr.DataArray:
        assert self._nodes is not None
        named = xr.DataArray(values, dims=("node", "node_j", *more))
        return with_pair_coords(named, self._nodes["_count"].drop_vars("_count"), "node")

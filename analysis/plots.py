"""Pictures of a recording. Each function draws into one matplotlib Axes and returns it.

Colours are safe for colour-blind readers: viridis for magnitudes, twilight for phases (it closes on itself), and the
palette of Okabe & Ito (2008) for lines, with changing dashes from the ninth line on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from nfsim.analysis._labels import pair_name, variable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000")
_DASHES = ("-", "--", ":", "-.")


def plot_rate(data: xr.Dataset, *, trial: int = 0, by: str = "region", ax: Axes | None = None) -> Axes:
    """Draw the rate |z| of all nodes over time as a heat map, nodes sorted by `by`, and return the Axes."""
    z = _trial(variable(data), trial, "plot_rate")
    return _heat_map(abs(z), by, ax, "rate |z|", "viridis", 0.0, None)


def plot_phase(data: xr.Dataset, *, trial: int = 0, by: str = "region", ax: Axes | None = None) -> Axes:
    """Draw the phase of all nodes over time as a heat map with cyclic colours, and return the Axes."""
    from nfsim.analysis.phases import phase

    z = _trial(variable(data), trial, "plot_phase")
    ax = _heat_map(phase(z), by, ax, "phase (rad)", "twilight", -np.pi, np.pi)
    bar = ax.figure.axes[-1]
    bar.set_yticks([-np.pi, 0, np.pi], ["$-\\pi$", "0", "$\\pi$"])
    return ax


def plot_gain(data: xr.Dataset, *, trial: int = 0, by: str = "region", ax: Axes | None = None) -> Axes:
    """Draw thalamic gain over time, one line per nucleus (or per `by`, where nuclei were not recorded)."""
    if "nucleus_gain" in data and data.sizes.get("nucleus", 0):
        gain = _trial(data["nucleus_gain"], trial, "plot_gain")
        names = data["nucleus"].values if "nucleus" in data.coords else np.arange(data.sizes["nucleus"])
        lines = {str(name): gain.isel(nucleus=k) for k, name in enumerate(names)}
        title = "nucleus"
    elif "gain" in data:
        gain = _trial(data["gain"], trial, "plot_gain")
        lines, title = {name: gain.isel(node=index).mean("node") for name, index in _groups(gain, by).items()}, by
    else:
        raise ValueError(
            f"plot_gain: the recording has no gain; record it: variables=('gain',). It has {list(data.data_vars)}"
        )
    ax = _lines(lines, ax, "thalamic gain", title)
    ax.set_ylim(bottom=0)
    return ax


def plot_regions(data: xr.Dataset, *, trial: int | None = 0, by: str = "region", ax: Axes | None = None) -> Axes:
    """Draw the mean rate of each region over time, of one trial, or of all with a band of one deviation."""
    z = variable(data)
    several = trial is None and "trial" in z.dims
    rate = abs(z if trial is None else _trial(z, trial, "plot_regions"))
    means = {name: rate.isel(node=index).mean("node") for name, index in _groups(rate, by).items()}
    ax = _lines({name: m.mean("trial") if several else m for name, m in means.items()}, ax, "mean rate |z|", by)
    if several:
        for line, mean in zip(ax.get_lines(), means.values(), strict=True):
            low, high = mean.mean("trial") - mean.std("trial"), mean.mean("trial") + mean.std("trial")
            ax.fill_between(_times(mean), low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    ax.set_ylim(bottom=0)
    return ax


def plot_motor(
    data: xr.Dataset, *, trial: int = 0, region: str = "motor", by: str = "sector", ax: Axes | None = None
) -> Axes:
    """Draw the mean rate of each motor sector over time; the sector of the correct class is thick and black.

    Sectors stand for classes where there are as many as labels, and the correct one is known by `target`.
    """
    z = _trial(variable(data), trial, "plot_motor")
    groups = _groups(z, "region")
    if region not in groups:
        raise ValueError(f"plot_motor: no region {region!r}; the recording has {', '.join(groups)}")
    z = z.isel(node=groups[region])
    sectors = _groups(z, by)
    classes = "label" in data.coords and data.sizes["label"] == len(sectors)
    names = [str(name) for name in (data["label"].values if classes else sectors)]
    rates = [abs(z.isel(node=index)).mean("node") for index in sectors.values()]
    ax = _lines(dict(zip(names, rates, strict=True)), ax, f"mean rate |z| of {region}", "class" if classes else by)
    if classes:
        _mark_correct(ax, data, trial, names)
    ax.set_ylim(bottom=0)
    return ax


def plot_readout(data: xr.Dataset, *, trial: int = 0, ax: Axes | None = None) -> Axes:
    """Draw the logits of each class over time; the correct class is thick and black."""
    if "logits" not in data:
        raise ValueError(f"plot_readout: the recording has no logits; record them. It has {list(data.data_vars)}")
    logits = _trial(data["logits"], trial, "plot_readout")
    names = [str(name) for name in (data["label"].values if "label" in data.coords else range(data.sizes["label"]))]
    ax = _lines({name: logits.isel(label=k) for k, name in enumerate(names)}, ax, "logits", "class")
    _mark_correct(ax, data, trial, names)
    return ax


def _mark_correct(ax: Axes, data: xr.Dataset, trial: int, names: list[str]) -> None:
    """Make the line of the correct class thick and black, where there is one class for the whole trial."""
    target = data.coords.get("target")
    if target is None or target.ndim > 1:
        return
    correct = int(target.values[trial] if target.ndim else target)
    ax.get_lines()[correct].set(
        linewidth=3, color="black", linestyle="-", zorder=5, label=f"{names[correct]} (correct)"
    )
    _legend(ax, "class")


def plot_order(data: xr.Dataset, *, trial: int | None = 0, by: str | None = "region", ax: Axes | None = None) -> Axes:
    """Draw the order parameter r(t) over nodes: of all, and of each group of `by` that has two nodes or more."""
    from nfsim.analysis.synchrony import order_parameter

    z = variable(data)
    z = _trial(z, trial, "plot_order") if trial is not None else z
    lines = {}
    if by is not None:
        for name, index in _groups(z, by).items():
            if len(index) > 1:
                lines[name] = order_parameter(z.isel(node=index), over="node").r
    lines["all nodes"] = order_parameter(z, over="node").r
    lines = {name: r.mean("trial") if "trial" in r.dims else r for name, r in lines.items()}
    ax = _lines(lines, ax, "order parameter r", by or "")
    ax.get_lines()[-1].set(color="black", linewidth=2, linestyle="-")
    _legend(ax, by or "")
    ax.set_ylim(0, 1.02)
    return ax


def plot_matrix(data: xr.DataArray, *, by: str = "region", ax: Axes | None = None, **style: Any) -> Axes:
    """Draw a node by node matrix (from `plv`, `wpli`, ...), sorted by `by`, with lines between groups.

    Parameters
    ----------
    data : DataArray (node, node_j)
        One matrix.
    by : str
        Coordinate along its first dim.
    ax : Axes, optional
        Where to draw; a new figure by default.
    **style
        For `matplotlib.axes.Axes.pcolormesh`: `cmap`, `vmin`, `vmax`.
    """
    if not isinstance(data, xr.DataArray) or data.ndim != 2 or data.dims[1] != pair_name(str(data.dims[0])):
        got = dict(data.sizes) if isinstance(data, xr.DataArray | xr.Dataset) else type(data).__name__
        raise ValueError(f"plot_matrix: needs one matrix (node, node_j), as plv(z, over=...) gives; got {got}")
    node = str(data.dims[0])
    groups = _groups(data, by, node)
    order = np.concatenate(list(groups.values()))
    values = data.values[np.ix_(order, order)]
    ax = ax or _new_axes(5.5, 4.6)
    signed = np.nanmin(values) < 0
    limit = float(np.nanmax(np.abs(values)))
    colours = (
        {"cmap": "PuOr", "vmin": -limit, "vmax": limit}
        if signed
        else {"cmap": "cividis", "vmin": 0, "vmax": max(1, limit)}
    )
    style = {**colours, **style}
    mesh = ax.pcolormesh(values, rasterized=True, **style)
    ends = np.cumsum([len(index) for index in groups.values()])
    for end in ends[:-1]:
        ax.axhline(end, color="white", linewidth=1)
        ax.axvline(end, color="white", linewidth=1)
    middles = ends - np.diff([0, *ends]) / 2
    ax.set_xticks(middles, list(groups), rotation=45 if len(groups) > 4 else 0)
    ax.set_yticks(middles, list(groups))
    ax.set(xlabel=f"{node} by {by}", ylabel=f"{node} by {by}", aspect="equal")
    ax.invert_yaxis()
    ax.figure.colorbar(mesh, ax=ax, label=str(data.attrs.get("long_name", data.name or "")))
    return ax


def plot_ledger(data: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw a free-energy ledger over epochs: both parts and their sum, means over groups, and accuracy beside."""
    if "epoch" not in data.dims or "free_energy" not in data:
        raise ValueError("plot_ledger: needs free_energy over the dim 'epoch', as energy_ledger gives")
    ax = ax or _new_axes(6, 3.6)
    epoch = data["epoch"].values
    for k, name in enumerate(("accuracy", "complexity", "free_energy")):
        value = data[name].mean([d for d in data[name].dims if d != "epoch"])
        ax.plot(
            epoch, value, color=PALETTE[k], linestyle=_DASHES[k], marker="o", markersize=3, label=name.replace("_", " ")
        )
    ax.set(xlabel="epoch", ylabel="free energy per node and step (nat)")
    if "correct" in data:
        right = ax.twinx()
        right.plot(epoch, 100 * data["correct"], color="black", linewidth=2, label="correct")
        right.set(ylabel="correct predictions (%)", ylim=(0, 101))
        handles = ax.get_lines() + right.get_lines()
    else:
        handles = ax.get_lines()
    ax.legend(
        handles, [str(h.get_label()) for h in handles], fontsize="small", frameon=False, loc="lower center",
        bbox_to_anchor=(0.5, 1.0), ncols=len(handles),
    )  # fmt: skip
    _integer_ticks(ax)
    return ax


def _new_axes(width: float, height: float) -> Axes:
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def _trial(var: xr.DataArray, trial: int, measure: str) -> xr.DataArray:
    """Return one trial of a variable that must be left with time and one more dim."""
    if "trial" in var.dims:
        if not -var.sizes["trial"] <= trial < var.sizes["trial"]:
            raise ValueError(f"{measure}: trial {trial} is not among the {var.sizes['trial']} that were recorded")
        var = var.isel(trial=trial)
    if var.ndim != 2 or "time" not in var.dims:
        raise ValueError(
            f"{measure}: {var.name} has dims {var.dims} in one trial, not time and one other; select one entry"
        )
    # ticks after the end of a shorter sample are NaN throughout
    other = next(dim for dim in var.dims if dim != "time")
    return var.compute().dropna("time", how="all") if var.sizes[other] else var


def _groups(data: xr.DataArray, by: str, node: str = "node") -> dict[str, np.ndarray]:
    """Return positions of the nodes of each group, in order of appearance; one group where there is no such label."""
    if by not in data.coords or data.coords[by].dims != (node,):
        return {"all": np.arange(data.sizes[node])}
    values = data.coords[by].values
    return {str(name): np.flatnonzero(values == name) for name in dict.fromkeys(values.tolist())}


def _times(data: xr.DataArray) -> np.ndarray:
    return np.asarray(data["time"].values if "time" in data.coords else np.arange(data.sizes["time"]))


def _time_label(data: xr.DataArray) -> str:
    return f"time ({data['time'].attrs.get('units', 's')})" if "time" in data.coords else "step"


def _heat_map(
    values: xr.DataArray, by: str, ax: Axes | None, label: str, colours: str, low: float, high: float | None
) -> Axes:
    groups = _groups(values, by)
    values = values.transpose("node", "time").isel(node=np.concatenate(list(groups.values())))
    ax = ax or _new_axes(6.5, 4)
    times = _times(values)
    step = np.median(np.diff(times)) if times.size > 1 else 1.0
    edges = np.append(times - step, times[-1])  # a state stands at the end of its tick
    mesh = ax.pcolormesh(
        edges, np.arange(values.sizes["node"] + 1), values.values, cmap=colours, vmin=low, vmax=high, rasterized=True
    )
    ends = np.cumsum([len(index) for index in groups.values()])
    for end in ends[:-1]:
        ax.axhline(end, color="white", linewidth=1)
    ax.set_yticks(ends - np.diff([0, *ends]) / 2, list(groups))
    ax.set(xlabel=_time_label(values), ylabel=f"node by {by}")
    ax.invert_yaxis()
    ax.figure.colorbar(mesh, ax=ax, label=label)
    return ax


def _lines(lines: dict[str, xr.DataArray], ax: Axes | None, label: str, title: str) -> Axes:
    ax = ax or _new_axes(6.5, 3.6)
    for k, (name, values) in enumerate(lines.items()):
        marker = "o" if values.sizes["time"] < 12 else None
        ax.plot(
            _times(values), values, color=PALETTE[k % len(PALETTE)], linestyle=_DASHES[k // len(PALETTE) % 4],
            marker=marker, markersize=4, label=name,
        )  # fmt: skip
    ax.set(xlabel=_time_label(next(iter(lines.values()))), ylabel=label)
    _legend(ax, title)
    return ax


def _legend(ax: Axes, title: str) -> None:
    ax.legend(title=title, fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _integer_ticks(ax: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))

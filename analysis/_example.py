"""A tiny labelled recording with known synchrony, shared by tests and docs."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nfsim.recording import from_array


def example(
    *, trials: int = 4, steps: int = 200, nodes: int = 12, dt: float = 0.01, locked: float = 1.0, seed: int = 0
) -> xr.Dataset:
    """Return a recording of three regions on the sphere: one locked, one split into two clusters, one incoherent.

    The region `pfc` shares one phase up to noise, `motor` has two clusters half a turn apart (r near 0, second Daido
    order near 1), and the nodes of `sensory` drift at rates of their own. Amplitudes vary smoothly between 0.5 and 1.5.

    Parameters
    ----------
    trials, steps, nodes : int
        Sizes of the recording; nodes is a multiple of 6.
    dt : float, s
        Time between steps.
    locked : float in [0, 1]
        1 makes the phases of `pfc` and `motor` exact; below that, noise of (1 - locked) rad is added.
    seed : int
        Of all random draws.

    Examples
    --------
    >>> ds = example()
    >>> dict(ds.sizes)
    {'trial': 4, 'time': 200, 'node': 12, 'edge': 132}
    """
    if nodes % 6 or nodes < 6:
        raise ValueError(f"example: nodes is {nodes}; three regions with two clusters need a multiple of 6")
    rng = np.random.default_rng(seed)
    third = nodes // 3
    time = np.arange(steps) * dt
    common = 2 * np.pi * 6 * time + rng.uniform(0, 2 * np.pi, (trials, 1))  # 6 Hz
    phase = np.empty((trials, steps, nodes))
    phase[:, :, :third] = common[..., None]
    phase[:, :, third : 2 * third] = common[..., None] + np.pi * (np.arange(third) % 2)
    rates = 2 * np.pi * rng.uniform(3, 30, nodes - 2 * third)
    phase[:, :, 2 * third :] = rates * time[:, None] + rng.uniform(0, 2 * np.pi, (trials, 1, nodes - 2 * third))
    phase[:, :, : 2 * third] += (1 - locked) * rng.standard_normal((trials, steps, 2 * third))
    amplitude = 1 + 0.5 * np.sin(2 * np.pi * time[:, None] + rng.uniform(0, 2 * np.pi, (trials, 1, nodes)))
    z = (amplitude * np.exp(1j * phase)).astype(np.complex64)

    index = np.arange(nodes) + 0.5
    polar, lon = np.arccos(1 - 2 * index / nodes), np.mod(np.pi * (1 + 5**0.5) * index + np.pi, 2 * np.pi) - np.pi
    source, target = np.nonzero(~np.eye(nodes, dtype=bool))
    ds = from_array(
        z,
        ("trial", "time", "node"),
        {
            "time": time,
            "region": ("node", np.repeat(["pfc", "motor", "sensory"], [third, third, nodes - 2 * third])),
            "population": ("node", np.repeat(["pfc", "motor", "sensory"], [third, third, nodes - 2 * third])),
            "sector": ("node", np.arange(nodes) % 2),
            "pos_x": ("node", np.sin(polar) * np.cos(lon)),
            "pos_y": ("node", np.sin(polar) * np.sin(lon)),
            "pos_z": ("node", np.cos(polar)),
            "lat": ("node", np.degrees(np.pi / 2 - polar)),
            "lon": ("node", np.degrees(lon)),
        },
    )
    return ds.assign_coords(
        edge_source=("edge", source),
        edge_target=("edge", target),
        edge_weight=("edge", rng.uniform(0, 1 / nodes, source.size)),
    )

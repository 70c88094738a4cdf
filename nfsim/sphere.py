"""Geometry of the substrate: the Fibonacci lattice, distances along the sphere, patches and their sectors."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nfsim.values import freeze, is_number

GOLDEN = (1 + 5**0.5) / 2


def fibonacci_sphere(n: int, z: tuple[float, float] = (-1.0, 1.0)) -> NDArray[np.float64]:
    r"""Positions of `n` nodes on the unit sphere, evenly by area, from the north pole to the south.

    ``cos(theta_i) = z1 - (z1 - z0) (i + 1/2) / n`` and ``lambda_i = 2 pi i / golden``; with z = (-1, 1) this is
    ``theta_i = arccos(1 - 2 (i + 1/2) / n)``. A narrower `z` fills one band of latitude.

    Parameters
    ----------
    n : int, nodes.
    z : (south, north), heights of the band on the unit sphere.

    Returns
    -------
    (n, 3) float64, unit vectors.

    Source: Gonzalez 2010, Math. Geosci. 42:49 (lattice with offset 1/2).

    Examples
    --------
    >>> fibonacci_sphere(4)[:, 2]
    array([ 0.75,  0.25, -0.25, -0.75])
    """
    i = np.arange(n)
    south, north = z
    cos_theta = north - (north - south) * (i + 0.5) / n
    sin_theta = np.sqrt(np.clip(1 - cos_theta**2, 0, None))
    longitude = 2 * np.pi * i / GOLDEN
    return np.stack([sin_theta * np.cos(longitude), sin_theta * np.sin(longitude), cos_theta], axis=-1)


def geodesic(p: ArrayLike, q: ArrayLike) -> NDArray[np.float64]:
    """Great-circle distance between unit vectors, rad, as ``atan2(|p x q|, p . q)``.

    Exact at the ends, where arccos of the dot product loses half of its digits. Broadcasts over leading axes.

    Parameters
    ----------
    p, q : (..., 3) unit vectors.
    """
    p, q = np.broadcast_arrays(np.asarray(p, float), np.asarray(q, float))
    return np.arctan2(np.linalg.norm(np.cross(p, q), axis=-1), (p * q).sum(-1))


def to_lat_lon(positions: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Latitude in [-90, 90] and longitude in (-180, 180], degrees, of unit vectors (..., 3)."""
    x, y, z = np.moveaxis(np.asarray(positions, float), -1, 0)
    return np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))


def from_lat_lon(lat: float, lon: float) -> NDArray[np.float64]:
    """Unit vector (3,) at a latitude and a longitude, degrees."""
    a, b = np.radians(lat), np.radians(lon)
    return np.array([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)])


def _frame(axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrix (3, 3) that carries the north pole to `axis`: its columns are east, north and up there."""
    b = np.radians(to_lat_lon(axis)[1])
    east = np.array([-np.sin(b), np.cos(b), 0.0])
    return np.stack([east, np.cross(axis, east), axis], axis=-1)


@dataclass(frozen=True)
class Cap:
    """A round patch of the sphere: every point within `radius` of a centre.

    Parameters
    ----------
    lat, lon : float, degrees; the centre.
    radius : float, degrees along the sphere, in (0, 180].
    """

    lat: float
    lon: float
    radius: float

    def __post_init__(self) -> None:
        freeze(self)

    def problems(self) -> Iterator[str]:
        if not (is_number(self.lat) and -90 <= self.lat <= 90):
            yield f"lat {self.lat!r} is not in [-90, 90]; give degrees of latitude"
        if not is_number(self.lon):
            yield f"lon {self.lon!r} is not finite; give degrees of longitude"
        if not (is_number(self.radius) and 0 < self.radius <= 180):
            yield f"radius {self.radius!r} is not in (0, 180]; give degrees along the sphere"

    @property
    def axis(self) -> NDArray[np.float64]:
        """Unit vector (3,) of the centre."""
        return from_lat_lon(self.lat, self.lon)

    def place(self, n: int) -> NDArray[np.float64]:
        """(n, 3) unit vectors of a Fibonacci lattice on the patch, from its centre outwards."""
        return fibonacci_sphere(n, z=(float(np.cos(np.radians(self.radius))), 1.0)) @ _frame(self.axis).T


@dataclass(frozen=True)
class Band:
    """A patch between two latitudes.

    Parameters
    ----------
    south, north : float, degrees, -90 <= south < north <= 90.
    """

    south: float
    north: float

    def __post_init__(self) -> None:
        freeze(self)

    def problems(self) -> Iterator[str]:
        if not (is_number(self.south) and is_number(self.north) and -90 <= self.south < self.north <= 90):
            yield (
                f"latitudes ({self.south!r}, {self.north!r}) break -90 <= south < north <= 90; "
                "give degrees from south to north"
            )

    @property
    def axis(self) -> NDArray[np.float64]:
        """Unit vector (3,) of the pole that the band goes around."""
        return np.array([0.0, 0.0, 1.0])

    def place(self, n: int) -> NDArray[np.float64]:
        """(n, 3) unit vectors of a Fibonacci lattice on the patch, from north to south."""
        return fibonacci_sphere(n, z=(float(np.sin(np.radians(self.south))), float(np.sin(np.radians(self.north)))))


Patch = Cap | Band


def sectors_of(positions: NDArray[np.float64], sectors: int, axis: NDArray[np.float64]) -> NDArray[np.int64]:
    """Sector of each node: wedges about `axis` that hold equally many nodes, hence equal areas of an even lattice.

    Parameters
    ----------
    positions : (n, 3) unit vectors.
    sectors : int that divides n.
    axis : (3,) unit vector; azimuth is measured around it.
    """
    local = positions @ _frame(axis)
    rank = np.empty(len(positions), dtype=np.int64)
    rank[np.argsort(np.arctan2(local[:, 1], local[:, 0]), kind="stable")] = np.arange(len(positions))
    return rank * sectors // len(positions)

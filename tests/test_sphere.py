"""The lattice is even, distances are exact, patches keep their nodes, and sectors are equal."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from nfsim.sphere import Band, Cap, fibonacci_sphere, from_lat_lon, geodesic, sectors_of, to_lat_lon

latitudes, longitudes = st.floats(-90, 90), st.floats(-180, 180)
UNIT = {"rtol": 0, "atol": 1e-12}  # a handful of operations on numbers of order one


def nearest_distances(positions):
    """Distance of every node to its nearest neighbour, in units of the root of the area per node of the sphere."""
    chord = cKDTree(positions).query(positions, k=2)[0][:, 1]
    return 2 * np.arcsin(chord / 2) / math.sqrt(4 * np.pi / len(positions))


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_every_lattice_point_lies_on_the_unit_sphere(n):
    np.testing.assert_allclose(np.linalg.norm(fibonacci_sphere(n), axis=1), 1, **UNIT)


def test_the_lattice_is_the_published_one():
    theta = np.arccos(1 - 2 * (np.arange(5) + 0.5) / 5)
    golden = (1 + math.sqrt(5)) / 2
    turn = 2 * np.pi * np.arange(5) / golden
    xyz = np.stack([np.sin(theta) * np.cos(turn), np.sin(theta) * np.sin(turn), np.cos(theta)], axis=1)
    np.testing.assert_allclose(fibonacci_sphere(5), xyz, **UNIT)


@pytest.mark.parametrize("n", [50, 649, 5000])
def test_neighbours_on_the_lattice_are_evenly_far(n):
    """A hexagonal lattice, the most even one, has 1.07 in these units; a random one goes down to 1 / sqrt(n)."""
    distances = nearest_distances(fibonacci_sphere(n))
    assert distances.min() > 0.85
    assert distances.max() < 1.1
    assert distances.std() < 0.06


@pytest.mark.parametrize("n", [100, 1001])
def test_every_cap_of_the_lattice_holds_its_share_of_the_nodes(n):
    nodes, centres = fibonacci_sphere(n), fibonacci_sphere(37) @ np.diag([1.0, -1.0, 1.0])
    share = (centres @ nodes.T > math.cos(0.7)).mean(axis=1)
    area = (1 - math.cos(0.7)) / 2
    # the edge of the cap cuts some of the about 2 pi sin(0.7) / spacing cells that it crosses; half a spacing of leeway
    leeway = 0.5 * math.sqrt(4 * np.pi / n) * 2 * np.pi * math.sin(0.7) / (4 * np.pi)
    assert abs(share - area).max() < leeway


@given(latitudes, longitudes, st.floats(1e-9, math.pi - 1e-9))
def test_a_walk_along_a_great_circle_is_as_long_as_its_angle(lat, lon, angle):
    """The point itself is rounded to 1e-16, so an angle of 1e-9 is good to 1e-7; arccos has no right digit there."""
    p = from_lat_lon(lat, lon)
    side = np.cross(p, [0.0, 0.0, 1.0] if abs(p[2]) < 0.9 else [1.0, 0.0, 0.0])
    q = math.cos(angle) * p + math.sin(angle) * side / np.linalg.norm(side)
    assert geodesic(p, q) == pytest.approx(angle, rel=1e-6, abs=1e-15)


def test_distances_are_exact_where_the_arc_cosine_is_not():
    pole = np.array([0.0, 0.0, 1.0])
    for tiny in (1e-3, 1e-6, 1e-9, 1e-12):
        near = np.array([math.sin(tiny), 0.0, math.cos(tiny)])
        assert geodesic(pole, near) == pytest.approx(tiny, rel=1e-12)
        assert np.pi - geodesic(-pole, near) == pytest.approx(tiny, abs=1e-15)
    assert geodesic(pole, pole) == 0
    assert geodesic(pole, -pole) == np.pi


def test_distance_is_a_metric_and_broadcasts():
    p = fibonacci_sphere(30)
    d = geodesic(p[:, None], p)
    assert d.shape == (30, 30)
    np.testing.assert_array_equal(np.diag(d), 0)
    np.testing.assert_allclose(d, d.T, **UNIT)
    assert (d[:, None, :] <= d[:, :, None] + d[None, :, :] + 1e-12).all()


@given(latitudes, longitudes)
def test_latitude_and_longitude_lead_to_the_point_and_back(lat, lon):
    p = from_lat_lon(lat, lon)
    again = from_lat_lon(*to_lat_lon(p))
    np.testing.assert_allclose(again, p, **UNIT)


def test_the_four_directions_have_their_latitudes_and_longitudes():
    lat, lon = to_lat_lon([[1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    np.testing.assert_allclose(lat, [0, 0, 0, 90, -90], **UNIT)
    np.testing.assert_allclose(lon[:3], [0, 90, -90], **UNIT)


@given(latitudes, longitudes, st.floats(0.1, 180), st.integers(1, 60))
def test_a_cap_holds_all_of_its_nodes(lat, lon, radius, n):
    cap = Cap(lat, lon, radius)
    nodes = cap.place(n)
    assert nodes.shape == (n, 3)
    np.testing.assert_allclose(np.linalg.norm(nodes, axis=1), 1, **UNIT)
    assert np.degrees(geodesic(from_lat_lon(lat, lon), nodes)).max() <= radius + 1e-6


@given(latitudes, st.floats(0.01, 1), st.integers(1, 60))
def test_a_band_holds_all_of_its_nodes(lat, share, n):
    south, north = lat, lat + (90 - lat) * share
    assume(south < north)
    nodes = Band(south, north).place(n)
    found, _ = to_lat_lon(nodes)
    assert south - 1e-6 <= found.min() <= found.max() <= north + 1e-6


@pytest.mark.parametrize("patch", [Cap(20, 100, 40), Cap(-90, 0, 70), Cap(0, 0, 180), Band(-20, 35)], ids=repr)
def test_a_patch_is_filled_evenly(patch):
    """Rings of equal area about the axis of the patch hold equally many nodes, and no two nodes stand close."""
    n = 600
    nodes = patch.place(n)
    heights = np.sort(nodes @ patch.axis)
    low, high = (
        (np.sin(np.radians(patch.south)), np.sin(np.radians(patch.north)))
        if isinstance(patch, Band)
        else (np.cos(np.radians(patch.radius)), 1.0)
    )
    counts, _ = np.histogram(heights, np.linspace(low, high, 7))
    np.testing.assert_array_equal(counts, n // 6)
    share = (high - low) / 2
    assert (nearest_distances(nodes) / math.sqrt(share)).min() > 0.8


@pytest.mark.parametrize("patch", [Cap(20, 100, 40), Cap(-35, -60, 15), Band(-90, 90), Band(10, 60)], ids=repr)
@pytest.mark.parametrize("sectors", [1, 2, 5, 10])
def test_sectors_hold_equally_many_nodes_and_equal_areas(patch, sectors):
    n = 500
    nodes = patch.place(n)
    sector = sectors_of(nodes, sectors, patch.axis)
    np.testing.assert_array_equal(np.bincount(sector), n // sectors)
    # area by a lattice 40 times as fine, each of whose points belongs to the sector of the nearest node
    fine = patch.place(40 * n)
    area = np.bincount(sector[cKDTree(nodes).query(fine)[1]], minlength=sectors) / len(fine)
    np.testing.assert_allclose(area, 1 / sectors, rtol=0.1)


def test_a_sector_is_one_wedge_about_the_axis():
    cap = Cap(50, 30, 60)
    nodes = cap.place(300)
    sector = sectors_of(nodes, 6, cap.axis)
    east = np.cross([0.0, 0.0, 1.0], cap.axis)
    east /= np.linalg.norm(east)
    azimuth = np.arctan2(nodes @ np.cross(cap.axis, east), nodes @ east)
    bounds = [(azimuth[sector == k].min(), azimuth[sector == k].max()) for k in range(6)]
    assert all(a[1] < b[0] for a, b in itertools.pairwise(bounds))

"""Phase gradients and travelling waves on the sphere, against waves whose direction is known."""

import numpy as np
import pytest
import xarray as xr

from nfsim import analysis
from nfsim.analysis import waves


def sphere(n):
    index = np.arange(n) + 0.5
    polar, lon = np.arccos(1 - 2 * index / n), np.pi * (1 + 5**0.5) * index
    return np.stack([np.sin(polar) * np.cos(lon), np.sin(polar) * np.sin(lon), np.cos(polar)], axis=-1)


def state(phase, points, **more):
    z = xr.DataArray(np.exp(1j * np.atleast_2d(phase)), dims=("time", "node"))
    return z.assign_coords({f"pos_{axis}": ("node", points[:, k]) for k, axis in enumerate("xyz")}, **more)


POINTS = sphere(800)
LAT, LON = np.arcsin(POINTS[:, 2]), np.arctan2(POINTS[:, 1], POINTS[:, 0])
BELT = abs(LAT) < 1.0  # where meridians are not yet crowded


def test_a_wave_along_longitude_has_gradient_m_over_cos_latitude():
    gradient = analysis.phase_gradient(state(3 * LON, POINTS), over="node", within=0.2)
    np.testing.assert_allclose(gradient.east[0, BELT], 3 / np.cos(LAT[BELT]), rtol=0.06)
    np.testing.assert_allclose(gradient.north[0, BELT], 0, atol=0.25)


def test_a_wave_along_latitude_has_a_constant_gradient_to_the_north():
    gradient = analysis.phase_gradient(state(2 * LAT, POINTS), over="node", within=0.2)
    # within 0.2 rad meridians converge, the more so towards the poles
    np.testing.assert_allclose(gradient.north[0, BELT], 2, atol=0.08)
    np.testing.assert_allclose(gradient.east[0, BELT], 0, atol=0.2)


def test_a_wave_travels_down_its_phase_gradient():
    # phase omega t - 2 lon moves east: bearing a quarter turn from north
    wave = analysis.travelling_wave(state(-2 * LON, POINTS), within=0.2)
    np.testing.assert_allclose(wave.bearing[0, BELT], np.pi / 2, atol=0.1)
    axis = wave.axis[..., 0] if wave.axis.dims[0] == "xyz" else wave.axis[0]
    np.testing.assert_allclose(axis / np.linalg.norm(axis), [0, 0, 1], atol=0.02)
    # going around, its parts go every way in space
    assert float(wave.directionality[0]) < 0.05
    back = analysis.travelling_wave(state(2 * LON, POINTS), within=0.2)
    np.testing.assert_allclose(back.axis, -wave.axis, atol=1e-9)


def test_directionality_of_a_small_patch_is_1_and_of_noise_is_small():
    patch = np.flatnonzero(np.arccos(POINTS[:, 0]) < 0.5)
    plane = analysis.travelling_wave(state(-4 * POINTS[patch, 1], POINTS[patch]), within=0.25)
    assert float(plane.directionality[0]) > 0.95
    noise = np.random.default_rng(0).uniform(0, 2 * np.pi, (5, len(POINTS)))
    assert float(analysis.travelling_wave(state(noise, POINTS), within=0.2).directionality.max()) < 0.15


def test_a_gradient_turns_with_the_sphere_and_ignores_global_phase():
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    phase = 2 * LON + LAT
    one = analysis.travelling_wave(state(phase, POINTS), within=0.2)
    other = analysis.travelling_wave(state(phase + 1.3, POINTS @ turn.T), within=0.2)
    np.testing.assert_allclose(other.wavenumber, one.wavenumber, atol=1e-9)
    np.testing.assert_allclose(
        other.axis.transpose(..., "xyz"), one.axis.transpose(..., "xyz").values @ turn.T, atol=1e-9
    )


def test_a_node_beside_one_without_a_phase_has_no_gradient():
    z = state(LAT, POINTS)
    z[0, 100] = 0
    gradient = analysis.phase_gradient(z, over="node", within=0.2)
    near = np.arccos(np.clip(POINTS @ POINTS[100], -1, 1)) <= 0.2
    assert np.isnan(gradient.east.values[0, near]).all()
    assert not np.isnan(gradient.east.values[0, ~near]).any()
    assert int(analysis.travelling_wave(z, within=0.2).n_valid[0]) == (~near).sum()


def test_directions_at_a_pole_are_defined():
    east, north = waves.tangent_basis(np.array([[0.0, 0, 1], [0, 0, -1], [1, 0, 0]]))
    np.testing.assert_allclose(np.cross(east, north), [[0, 0, 1], [0, 0, -1], [1, 0, 0]])


def test_what_waves_refuse():
    circle = np.stack([np.cos(np.arange(8.0)), np.sin(np.arange(8.0)), np.zeros(8)], axis=-1)
    with pytest.raises(ValueError, match="lie on one line with it"):
        analysis.phase_gradient(state(np.zeros(8), circle), over="node", within=1.5)
    with pytest.raises(ValueError, match="has 2 samples, needs 3; a slope needs three nodes"):
        analysis.phase_gradient(state(np.zeros(2), POINTS[:2]), over="node", within=1.0)
    with pytest.raises(ValueError, match="positions have lengths from 2 to 2, not 1"):
        analysis.phase_gradient(state(np.zeros(800), 2 * POINTS), over="node", within=0.2)


def test_kernel_runs_the_same_as_plain_python():
    points = sphere(30)
    z = state(np.arange(30.0), points)
    from nfsim.analysis._kernels import parts
    from nfsim.analysis._sphere import neighbours_within

    rows = neighbours_within(z, "node", 0.9, "test")
    rows.setdiag(0)
    rows.eliminate_zeros()
    index, pointer = rows.indices.astype(np.int64), rows.indptr.astype(np.int64)
    weights = waves.plane_fit(points, index, pointer)
    results = []
    for run in (waves._gradient, waves._gradient.py_func):
        out = [np.empty((1, 30)), np.empty((1, 30)), np.empty((1, 30), np.int64)]
        run(parts(z.values), index, pointer, *weights, *out, 0, 1)
        results.append(out)
    for compiled, plain in zip(*results, strict=True):
        np.testing.assert_allclose(compiled, plain, atol=1e-10)

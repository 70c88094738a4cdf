"""Surrogates keep what they promise, and tests against them hold their level."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from nfsim import analysis


def spectrum(x):
    return abs(np.fft.fft(x.transpose(..., "time").values, axis=-1))


@pytest.mark.parametrize("method", ["time_shift", "phase_shuffle"])
@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize("steps", [200, 201])
def test_surrogates_keep_each_spectrum_and_change_each_signal(method, kind, steps):
    z = analysis.example(steps=steps).z.astype(complex)
    x = z.real if kind == "real" else z
    other = analysis.surrogate(x, method=method, seed=3)
    assert other.dims == x.dims
    assert other.dtype == x.dtype
    np.testing.assert_allclose(spectrum(other), spectrum(x), atol=1e-9)
    assert not np.allclose(other, x)


def test_a_shift_is_a_rotation_in_time_by_a_tenth_at_least():
    x = xr.DataArray(np.tile(np.arange(100.0), (50, 1)), dims=("node", "time"))
    first = analysis.surrogate(x).values[:, 0]
    assert len(set(first)) > 30
    np.testing.assert_array_equal(analysis.surrogate(x)[7], np.roll(np.arange(100.0), int(100 - first[7]) % 100))
    assert first.min() >= 10
    assert first.max() <= 90


@pytest.mark.parametrize("method", ["time_shift", "phase_shuffle"])
def test_the_same_seed_gives_the_same_surrogate_whatever_the_chunks(method):
    x = analysis.example().z.real
    lazy = analysis.surrogate(x.chunk(time=50, node=5), method=method, seed=1)
    np.testing.assert_array_equal(lazy, analysis.surrogate(x, method=method, seed=1))
    assert not np.array_equal(lazy, analysis.surrogate(x, method=method, seed=2))


def bound_and_free(seed):
    rng = np.random.default_rng(seed)
    free = np.cumsum(0.3 + 0.4 * rng.standard_normal((6, 400)), axis=1)
    free[1] = free[0] + 0.4 * rng.standard_normal(400)
    return xr.DataArray(np.exp(1j * free), dims=("node", "time"))


@pytest.mark.slow
def test_only_the_bound_pair_stands_out():
    found = analysis.significance(analysis.plv, bound_and_free(0), surrogates=400, seed=0)
    assert found.significant.values[0, 1]
    assert found.significant.values.sum() == 2
    assert found.p.values[0, 1] == pytest.approx(1 / 401)
    np.testing.assert_array_equal(found.p, found.p.T)
    assert np.isnan(np.diagonal(found.p)).all()


def test_q_values_are_those_of_benjamini_and_hochberg():
    found = analysis.significance(analysis.plv, bound_and_free(1), surrogates=50)
    upper = np.triu_indices(6, 1)
    np.testing.assert_allclose(found.q.values[upper], stats.false_discovery_control(found.p.values[upper]))


def test_p_values_of_independent_signals_are_uniform():
    rng = np.random.default_rng(0)
    z = xr.DataArray(np.exp(1j * np.cumsum(0.5 * rng.standard_normal((20, 300)), axis=1)), dims=("node", "time"))
    p = analysis.significance(analysis.plv, z, surrogates=60).p.values[np.triu_indices(20, 1)]
    # 190 pairs of 20 signals are not independent of each other: a loose bound on the mean suffices to see a bias
    assert 0.4 < p.mean() < 0.6


def test_band_passing_belongs_to_the_test():
    t = np.arange(600) / 100
    x = xr.DataArray(np.random.default_rng(0).standard_normal((3, 600)), dims=("node", "time"), coords={"time": t})
    found = analysis.significance(
        analysis.plv, x, surrogates=40, prepare=lambda s: analysis.analytic(s, band=(8, 12)), method="phase_shuffle"
    )
    assert found.significant.values.sum() == 0


def test_what_surrogates_refuse():
    z = bound_and_free(0)
    with pytest.raises(ValueError, match=r"10 surrogates cannot reach p = 0\.05; take 19 or more"):
        analysis.significance(analysis.plv, z, surrogates=10)
    with pytest.raises(ValueError, match="method 'shuffle' is not one of"):
        analysis.surrogate(z, method="shuffle")
    with pytest.raises(ValueError, match="has 5 samples"):
        analysis.surrogate(z.isel(time=slice(5)))
    with pytest.raises(ValueError, match="use method='time_shift'"):
        analysis.surrogate(z.where(z.real > 0), method="phase_shuffle")
    with pytest.raises(ValueError, match="use a pair measure"):
        analysis.significance(lambda z, over, between: analysis.order_parameter(z, over=over).r, z, surrogates=20)

"""Coherence, phase-amplitude coupling, and connectivity in sliding windows."""

import numpy as np
import pytest
import xarray as xr
from scipy import signal

from nfsim import analysis

RATE = 200.0


def signals(trials=3, nodes=4, samples=800, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((trials, nodes, samples)) + rng.standard_normal((trials, 1, samples))
    return xr.DataArray(
        x, dims=("trial", "node", "time"), coords={"time": np.arange(samples) / RATE, "region": ("node", list("aabb"))}
    )


def test_coherence_equals_scipys():
    x = signals()
    got = analysis.coherence(x, segment=0.5)
    for trial, i, j in [(0, 0, 1), (2, 3, 1)]:
        frequency, want = signal.coherence(x[trial, i], x[trial, j], fs=RATE, nperseg=100)
        np.testing.assert_allclose(got.sel(trial=trial, node=i, node_j=j), want, atol=1e-10)
        np.testing.assert_allclose(got.frequency, frequency)
    np.testing.assert_allclose(got.isel(node=1, node_j=1), 1)


def test_imaginary_coherence_equals_scipys_spectra_and_is_antisymmetric():
    x = signals()
    got = analysis.imaginary_coherence(x, segment=0.5)
    spectrum = {
        (i, j): signal.csd(x[0, j], x[0, i], fs=RATE, nperseg=100)[1] for i in (0, 1) for j in (0, 1)
    }  # scipy conjugates its first argument
    want = (spectrum[0, 1] / np.sqrt(spectrum[0, 0].real * spectrum[1, 1].real)).imag
    # the mean is taken off each segment, so bins next to 0 Hz compare rounding
    np.testing.assert_allclose(got.isel(trial=0, node=0, node_j=1)[2:], want[2:], atol=1e-10)
    np.testing.assert_allclose(got, -got.rename(node="node_j", node_j="node").transpose(*got.dims), atol=1e-12)


def test_coherence_pools_trials():
    x = signals()
    pooled = analysis.coherence(x, over=("trial", "time"), segment=0.5)
    assert pooled.dims == ("frequency", "node", "node_j")
    # a third of the bias of single trials: independent noise of n segments has coherence around 1/n
    single = analysis.coherence(x, segment=0.5).mean("trial")
    assert float(pooled.isel(node=0, node_j=1).mean()) < float(single.isel(node=0, node_j=1).mean())
    alone = analysis.coherence(x.isel(trial=0, drop=True), segment=0.5)
    np.testing.assert_allclose(
        alone, analysis.coherence(x.isel(trial=[0]), over=("trial", "time"), segment=0.5), atol=1e-12
    )


def test_coherence_of_one_segment_is_refused():
    with pytest.raises(ValueError, match=r"segment=4 is 800 of 800 samples, 1 segments in all; .* coherence of one"):
        analysis.coherence(signals(), segment=4.0)


def test_a_delayed_copy_is_coherent_with_a_lag():
    x = signals(trials=1, nodes=4)[0]
    x = x.copy(data=np.stack([x[0], np.roll(x[0], 3), x[2], x[3]]))
    assert float(analysis.coherence(x, segment=0.5).isel(node=0, node_j=1, frequency=slice(2, -2)).min()) > 0.8
    # at 10 Hz, 3 samples of 5 ms are 0.3 pi
    lag = analysis.imaginary_coherence(x, segment=0.5).sel(frequency=10).isel(node=0, node_j=1)
    assert abs(float(lag)) == pytest.approx(np.sin(0.3 * np.pi), abs=0.08)


def test_phase_amplitude_coupling_sees_a_modulated_envelope():
    t = np.arange(4000) / RATE
    noise = 0.1 * np.random.default_rng(0).standard_normal((2, t.size))
    slow = np.sin(2 * np.pi * 5 * t)
    coupled = slow + (1 + slow) * np.sin(2 * np.pi * 40 * t)
    free = slow + np.sin(2 * np.pi * 40 * t)
    x = xr.DataArray(np.stack([coupled, free]) + noise, dims=("node", "time"), coords={"time": t})
    index = analysis.phase_amplitude_coupling(x, phase_band=(4, 6), amplitude_band=(30, 50)).values
    assert index[0] > 0.05
    assert index[1] < 0.001
    with pytest.raises(ValueError, match="overlap; the amplitude band must lie above"):
        analysis.phase_amplitude_coupling(x, phase_band=(4, 35), amplitude_band=(30, 50))
    with pytest.raises(ValueError, match="a phase bin is empty"):
        analysis.phase_amplitude_coupling(x[:, :60], phase_band=(4, 6), amplitude_band=(30, 50), bins=90)


def test_sliding_windows_are_the_measure_of_each_window():
    z = analysis.example().z
    got = analysis.sliding(analysis.plv, z, window=0.5, step=0.3)
    assert got.sizes["window"] == 6
    np.testing.assert_allclose(got.isel(window=2), analysis.plv(z.isel(time=slice(60, 110)), over="time"))
    np.testing.assert_allclose(got.window, 0.245 + 0.3 * np.arange(6))
    with pytest.raises(ValueError, match="is longer than the recording"):
        analysis.sliding(analysis.plv, z, window=5, step=1)


def test_connectivity_dynamics_correlates_upper_triangles():
    x = signals()
    fcd = analysis.functional_connectivity_dynamics(x, window=1.0, step=0.5)
    assert fcd.dims == ("trial", "window", "window_j")
    triangles = [np.corrcoef(x[1, :, a : a + 200])[np.triu_indices(4, 1)] for a in range(0, 601, 100)]
    np.testing.assert_allclose(fcd[1], np.corrcoef(triangles), atol=1e-10)


def test_connectivity_dynamics_needs_three_nodes_and_two_windows():
    with pytest.raises(ValueError, match="needs at least three entries"):
        analysis.functional_connectivity_dynamics(signals().isel(node=[0, 1]), window=1.0, step=0.5)
    with pytest.raises(ValueError, match="one window; give a shorter window"):
        analysis.functional_connectivity_dynamics(signals(), window=3.0, step=3.0)

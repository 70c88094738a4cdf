"""Phases from real signals, and what is refused on the way."""

import numpy as np
import pytest
import xarray as xr
from scipy import signal

from nfsim import analysis

RATE = 250.0  # Hz


def signals(*frequencies, seconds=4.0, noise=0.0):
    t = np.arange(int(seconds * RATE)) / RATE
    x = np.stack([np.sin(2 * np.pi * f * t) for f in frequencies])
    x = x + noise * np.random.default_rng(0).standard_normal(x.shape)
    return xr.DataArray(x, dims=("node", "time"), coords={"time": t}, name="eeg", attrs={"units": "uV"})


def test_the_analytic_signal_is_scipys():
    x = signals(7, 11, noise=1.0)
    np.testing.assert_allclose(analysis.analytic(x), signal.hilbert(x - x.mean("time")), atol=1e-12)
    sos = signal.butter(4, [8, 12], "bandpass", fs=RATE, output="sos")
    want = signal.hilbert(signal.sosfiltfilt(sos, x - x.mean("time")))
    np.testing.assert_allclose(analysis.analytic(x, band=(8, 12)), want, atol=1e-12)


def test_the_phase_of_a_sine_advances_at_its_frequency():
    z = analysis.analytic(signals(10), band=(8, 12)).isel(node=0, time=slice(200, 800))
    step = np.diff(np.unwrap(np.angle(z)))
    # the filter rings from both ends of the recording
    np.testing.assert_allclose(step * RATE / (2 * np.pi), 10, atol=0.1)
    assert z.attrs["units"] == "uV"


def test_a_wavelet_reads_amplitude_phase_and_nothing_at_the_edges():
    x = 3 * signals(10, 20)
    z = analysis.wavelet(x, frequencies=[10, 20])
    assert z.dims == ("node", "frequency", "time")
    middle = z.isel(time=slice(200, 800))
    np.testing.assert_allclose(abs(middle).mean("time"), [[3, 0], [0, 3]], atol=0.02)
    step = np.diff(np.unwrap(np.angle(middle[1, 1])))
    np.testing.assert_allclose(step * RATE / (2 * np.pi), 20, atol=0.02)
    assert np.isnan(z.isel(time=0)).all()
    assert analysis.plv(z, over="time").n_valid.isel(frequency=0).values.max() < z.sizes["time"]


@pytest.mark.parametrize("cycles", [3.0, 7.0])
@pytest.mark.parametrize("samples", [1000, 997])
def test_a_wavelet_coefficient_is_a_sum_over_the_signal(cycles, samples):
    x = signals(10, noise=1.0).isel(time=slice(samples))
    z = analysis.wavelet(x, frequencies=[10, 31.7], cycles=cycles)
    for k, f in enumerate((10, 31.7)):
        half = int(3 * cycles * RATE / (2 * np.pi * f))
        t = np.arange(-half, half + 1) / RATE
        w = np.exp(2j * np.pi * f * t - (2 * np.pi * f * t / cycles) ** 2 / 2)
        centred = (x[0] - x[0].mean()).values
        want = signal.convolve(centred, 2 * w / abs(w).sum(), "valid")
        np.testing.assert_allclose(z[0, k, half : samples - half], want, atol=1e-12)
        assert np.isnan(z[0, k, [half - 1, samples - half]]).all()


def test_phases_of_angles_and_back():
    angle = xr.DataArray(np.linspace(-3, 3, 20), dims="time")
    np.testing.assert_allclose(analysis.phase(analysis.from_phase(angle)), angle, atol=1e-12)


def test_a_state_of_zero_has_no_phase():
    z = xr.DataArray(np.array([0, 1j, -2]), dims="time")
    np.testing.assert_array_equal(analysis.phase(z), [np.nan, np.pi / 2, np.pi])
    np.testing.assert_array_equal(analysis.rate(z), [0, 1, 2])


@pytest.mark.parametrize("measure", [analysis.analytic, lambda x: analysis.wavelet(x, frequencies=[10])])
class TestRefuses:
    def test_time_without_a_coordinate(self, measure):
        with pytest.raises(ValueError, match=r"dim 'time' has no coordinate, so frequencies have no unit"):
            measure(signals(10).drop_vars("time"))

    def test_time_that_is_not_uniform(self, measure):
        x = signals(10)
        with pytest.raises(ValueError, match=r"steps of 'time' go from .* resample to uniform time"):
            measure(x.assign_coords(time=x.time**1.1))

    def test_missing_samples(self, measure):
        x = signals(10)
        x[0, 3] = np.nan
        with pytest.raises(ValueError, match=r"0\.10% of the signal is NaN or infinite; fill it"):
            measure(x)

    def test_a_constant_signal(self, measure):
        x = signals(10, 12)
        x[1] = 0.1
        with pytest.raises(ValueError, match=r"1 of 2 signals are constant along 'time' and have no phase"):
            measure(x)

    def test_complex_states(self, measure):
        with pytest.raises(TypeError, match="is complex; give the signal you mean"):
            measure(signals(10) * 1j)


def test_bands_beyond_the_sampling_rate_are_refused():
    with pytest.raises(ValueError, match=r"band \(8, 200\) is not within \(0, 125\)"):
        analysis.analytic(signals(10), band=(8, 200))
    with pytest.raises(ValueError, match=r"frequency 130 is not within \(0, 125\)"):
        analysis.wavelet(signals(10), frequencies=[130])
    with pytest.raises(ValueError, match=r"7 cycles of 1 do not fit into 1000 samples"):
        analysis.wavelet(signals(10), frequencies=[1])
    with pytest.raises(ValueError, match=r"20 samples of 'time', a band-pass of order 4 needs over 27"):
        analysis.analytic(signals(10).isel(time=slice(20)), band=(8, 12))

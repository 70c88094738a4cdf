"""The same numbers as mne-connectivity, on the data set of make_peers.py."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from oracles import COMPARISONS, PAIR_MEASURES
from scipy import signal

PEERS = np.load(Path(__file__).with_name("peers.npz"))
OF_MNE = [name for name, peers in COMPARISONS.items() if "mne_connectivity" in peers]
ENVELOPES = [name for name in OF_MNE if name.startswith("aec")]
PHASES = [name for name in OF_MNE if name not in ENVELOPES]


@pytest.mark.parametrize("name", PHASES)
def test_over_epochs_the_fourier_coefficients_give_mnes_numbers(name):
    x = PEERS["signals"]
    # as it does: mean taken off, Hanning window, one coefficient per epoch and frequency
    coefficients = np.fft.rfft((x - x.mean(-1, keepdims=True)) * np.hanning(x.shape[-1]))
    frequencies = np.fft.rfftfreq(x.shape[-1], 1 / 100)
    kept = np.isin(frequencies.round(6), PEERS["frequencies"].round(6))
    z = xr.DataArray(coefficients[..., kept], dims=("trial", "node", "frequency"))
    ours = PAIR_MEASURES[name][0](z, over="trial").transpose("node", "node_j", "frequency")
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(ours.values[off], PEERS[name][off], atol=1e-10)


@pytest.mark.parametrize("name", ENVELOPES)
def test_envelope_correlations_are_mnes(name):
    z = xr.DataArray(signal.hilbert(PEERS["signals"]), dims=("trial", "node", "time"))
    ours = PAIR_MEASURES[name][0](z, over="time")
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(ours.values[:, off], PEERS[name][:, off], atol=1e-10)


def test_every_comparison_names_a_measure_of_ours():
    from nfsim import analysis

    for name in COMPARISONS:
        assert name in PAIR_MEASURES or hasattr(analysis, name)

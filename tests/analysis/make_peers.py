"""Makes peers.npz: what mne-connectivity says of a small data set, for tests that run without it.

Run where it is installed (`pip install mne-connectivity`): python tests/analysis/make_peers.py
"""

from importlib.metadata import version
from pathlib import Path

import mne
import mne_connectivity
import numpy as np
from scipy import signal

METHODS = ["plv", "ppc", "pli", "dpli", "wpli", "wpli2_debiased"]
RATE = 100.0  # Hz


def main() -> None:
    """Compute all peers on twelve epochs of four channels, and write them beside this file."""
    mne.set_log_level("error")
    rng = np.random.default_rng(0)
    common = rng.standard_normal((12, 1, 100))
    x = rng.standard_normal((12, 4, 100)) + np.concatenate([np.roll(common, k, axis=-1) for k in range(4)], axis=1)
    found = {"signals": x}
    both = np.array([(i, j) for i in range(4) for j in range(4) if i != j]).T
    results = mne_connectivity.spectral_connectivity_epochs(
        x, method=METHODS, mode="fourier", sfreq=RATE, fmin=5, fmax=45, indices=(both[0], both[1])
    )
    for method, result in zip(METHODS, results, strict=True):
        values = np.full((4, 4, len(result.freqs)), np.nan)
        values[both[0], both[1]] = result.get_data()
        found[method] = values
    found["frequencies"] = np.array(results[0].freqs)
    analytic = signal.hilbert(x)
    for name, orthogonalise in (("aec", False), ("aec_orthogonalised", "pairwise")):
        result = mne_connectivity.envelope_correlation(analytic, orthogonalize=orthogonalise, absolute=False)
        found[name] = result.get_data("dense")[..., 0]
    found["versions"] = np.array([f"{name} {version(name)}" for name in ("mne", "mne-connectivity", "numpy", "scipy")])
    np.savez_compressed(Path(__file__).with_name("peers.npz"), **found)


if __name__ == "__main__":
    main()

"""The same calls on dask arrays: equal numbers, bounded memory, on threads and on a cluster."""

import subprocess
import sys

import dask
import numpy as np
import pytest
import xarray as xr

from nfsim import analysis

CHUNKS = {
    "along time": {"time": 60, "trial": 2},
    "along nodes": {"node": 5},
    "every way": {"time": 70, "trial": 1, "node": 4},
}


def recording():
    ds = analysis.example()
    ds["z"][0, 5, 3] = 0
    ds["z"][1, 7, 2] = np.nan
    ds["gain"] = 1 / (1 + abs(ds.z))
    ds["steady"] = 1.5 * ds.z
    return ds


CALLS = {
    "r over node": lambda ds: analysis.order_parameter(ds, over="node"),
    # without psi: where r is 0 up to rounding, the mean points nowhere
    "r over time and trial": lambda ds: analysis.order_parameter(ds, over=("time", "trial"))[["r", "n_valid"]],
    "r by region": lambda ds: analysis.order_parameter(ds, over="node", by="region"),
    "r of order 2": lambda ds: analysis.order_parameter(ds, over="node", order=2),
    "r of neighbours": lambda ds: analysis.order_parameter(ds, over="node", within=1.2),
    "metastability": lambda ds: analysis.metastability(ds, over="node"),
    "chimera index": lambda ds: analysis.chimera_index(ds, over="node"),
    "plv over time": lambda ds: analysis.plv(ds, over="time"),
    "plv over all": lambda ds: analysis.plv(ds, over=("trial", "time")),
    "ppc": lambda ds: analysis.ppc(ds, over="time"),
    "pli": lambda ds: analysis.pli(ds, over="time"),
    "wpli": lambda ds: analysis.wpli(ds, over="time", debiased=True),
    "aec": lambda ds: analysis.aec(ds, over="time"),
    "orthogonalised aec": lambda ds: analysis.aec(ds, over="time", orthogonalise=True),
    "functional connectivity": lambda ds: analysis.functional_connectivity(abs(ds.z), over="time"),
    "analytic": lambda ds: analysis.analytic(ds.z.real.fillna(0), band=(3, 9)),
    "wavelet": lambda ds: analysis.wavelet(ds.z.real.fillna(0), frequencies=[6]),
    "coherence": lambda ds: analysis.coherence(ds.z.real.fillna(0), segment=0.5),
    "free energy": lambda ds: analysis.free_energy(ds, by="region"),
    "coupling energy": lambda ds: analysis.coupling_energy(ds),
    "phase gradient": lambda ds: analysis.phase_gradient(ds, within=1.3),
    "travelling wave": lambda ds: analysis.travelling_wave(ds, within=1.3),
}


@pytest.mark.parametrize("chunks", [c if c == "every way" else pytest.param(c, marks=pytest.mark.slow) for c in CHUNKS])
@pytest.mark.parametrize("call", CALLS)
def test_chunks_change_nothing(call, chunks):
    ds = recording()
    lazy = CALLS[call](ds.chunk(CHUNKS[chunks]))
    assert dask.is_dask_collection(lazy)
    with dask.config.set(scheduler="threads", num_workers=4):
        xr.testing.assert_allclose(lazy.compute(), CALLS[call](ds), rtol=1e-5, atol=1e-6)


def test_the_same_call_runs_on_a_cluster():
    distributed = pytest.importorskip("distributed")
    ds = recording()
    lazy = ds.chunk(time=50)
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        for call in ("r by region", "plv over all", "wpli", "free energy"):
            xr.testing.assert_allclose(CALLS[call](lazy).compute(), CALLS[call](ds), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_same_call_runs_in_other_processes():
    distributed = pytest.importorskip("distributed")
    ds = recording()
    lazy = ds.chunk(time=50)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        for call in CALLS:
            xr.testing.assert_allclose(CALLS[call](lazy).compute(), CALLS[call](ds), rtol=1e-5, atol=1e-6)


def test_a_constant_signal_of_a_lazy_array_is_missing_and_not_1():
    x = abs(analysis.example().z)
    x[..., 2] = 3.0
    matrix = analysis.functional_connectivity(x.chunk(time=50), over="time").compute()
    assert np.isnan(matrix[:, 2]).all()
    assert not np.isnan(matrix[:, 0, 1]).any()


BIG = """
import dask, resource, dask.array as da, numpy as np, xarray as xr
from nfsim import analysis
resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
turn = np.exp(2j * np.pi * np.arange(NODES) / NODES).astype("c8")
def block(block_info=None):
    start, stop = block_info[None]["array-location"][0]
    return np.exp(0.01j * np.arange(start, stop)).astype("c8")[:, None] * turn
z = da.map_blocks(block, chunks=((CHUNK,) * (STEPS // CHUNK), (NODES,)), dtype="c8")
ds = xr.Dataset({"z": (("time", "node"), z)}, coords={"region": ("node", np.repeat(["a", "b"], NODES // 2))})
r, plv = dask.compute(analysis.order_parameter(ds, over="node", by="region").r, analysis.plv(ds, over="time"))
# each half of the circle: r = 1 / (n/2 sin(pi/n))
np.testing.assert_allclose(r, 1 / (NODES / 2 * np.sin(np.pi / NODES)), rtol=1e-4)
np.testing.assert_allclose(plv, 1, atol=1e-5)
# not ru_maxrss: that begins with what the parent held when it forked
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(z.nbytes / 1e9, int(peak) / 1e6)
"""


def analyse(steps, chunk, nodes, limit):
    code = (
        BIG.replace("STEPS", str(steps))
        .replace("CHUNK", str(chunk))
        .replace("NODES", str(nodes))
        .replace("BYTES", str(limit))
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return [float(word) for word in done.stdout.split()]


@pytest.mark.slow
def test_more_data_than_allowed_memory_are_analysed():
    # 0.8 GB within 0.7 GB of data segment, of which imports take half
    size, resident = analyse(1_600_000, 20_000, 64, 700_000_000)
    assert size > 0.8
    assert resident < 0.6

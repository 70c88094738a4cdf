"""Recordings larger than the memory they may take, and input that is read from where it lies."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
import xarray as xr
import zarr

import nfsim
from nfsim import recording
from nfsim._record import record
from nfsim.regions import presets

SMALL = {"sensory": 8, "prefrontal": 6, "motor": 6, "rank": 4, "nuclei": 1, "neighbours": 2}


@pytest.fixture(scope="module")
def model():
    return nfsim.compile(presets.hierarchy(5, list("abc"), seed=0, **SMALL))


@pytest.mark.slow
@pytest.mark.parametrize("batch", [3, 2])
def test_the_memory_of_a_recording_does_not_grow_with_its_length(model, tmp_path, batch):
    options = {"variables": ("z", "gain"), "steps": 100, "batch": batch}

    def peak(steps):
        x = torch.randn(3, steps, 5)
        tracemalloc.start()
        ds = record(model, x, to=tmp_path / f"{steps}.zarr", **options)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held, ds.z.nbytes + ds.gain.nbytes

    record(model, torch.randn(3, 200, 5), to=tmp_path / "warm.zarr", **options)
    (short, few), (long, many) = peak(300), peak(4000)
    # times are 8 bytes a tick, held a few times over; what is written is 720 bytes a tick: 2.7 MB more, of which two
    # runs of the same length may differ by 0.2
    assert long - short < (many - few) / 5


@pytest.mark.parametrize("steps", [None, 3])
@pytest.mark.parametrize("kind", ["memmap", "zarr", "dask", "xarray", "read-only"])
def test_input_is_read_from_where_it_lies(model, tmp_path, steps, kind):
    x = np.random.default_rng(0).standard_normal((4, 7, 5), np.float32)
    want = record(model, torch.as_tensor(x), batch=3, steps=steps)
    if kind == "memmap":
        np.save(tmp_path / "x.npy", x)
        x = np.load(tmp_path / "x.npy", mmap_mode="r")
    elif kind == "zarr":
        x = zarr.create_array(tmp_path / "x.zarr", data=x, chunks=(1, 3, 5))
    elif kind == "dask":
        x = xr.DataArray(x, dims=("trial", "time", "feature")).chunk(trial=1, time=2).data
    elif kind == "xarray":
        x = xr.DataArray(x, dims=("trial", "time", "feature")).chunk(trial=1, time=2)
    else:
        x.flags.writeable = False
    for data in (x, (x, None), [(x[:3],), (x[3:],)] if kind != "zarr" else x):
        xr.testing.assert_identical(record(model, data, batch=3, steps=steps), want)


LONG = """
import resource, sys
import dask.array, nfsim
from nfsim.regions import presets

def status(name):
    return next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

trials, steps, allowed = int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
model = nfsim.compile(presets.hierarchy(8, list("abc"), seed=0))
x = dask.array.random.default_rng(0).standard_normal((trials, steps, 8), chunks=(1, 10_000, 8))
options = {"variables": ("z", "gain", "steady"), "steps": 500 // trials, "online": ("plv", "metastability")}
nfsim.record(model, x[:, :2_000], to=sys.argv[1] + "/warm.zarr", **options)
limit = status("VmData") + allowed
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
before = status("VmRSS")
nfsim.record(model, x, to=sys.argv[1] + "/long.zarr", **options)
print(status("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits and peaks of memory are read from /proc")
@pytest.mark.parametrize("trials", [1, 3])
def test_a_run_is_recorded_whose_store_is_larger_than_the_memory_it_may_take(tmp_path, trials):
    steps, allowed = 120_000 // trials, 100_000_000
    command = [sys.executable, "-P", "-c", LONG, str(tmp_path), str(trials), str(steps), str(allowed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ds = recording.open(tmp_path / "long.zarr")
    assert ds.attrs["valid_length"] == steps
    assert ds.nbytes > 6 * allowed  # 605 MB
    assert float(done.stdout) < allowed

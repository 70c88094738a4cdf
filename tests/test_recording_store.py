"""Stores that are written while a run goes on: killed, resumed, truncated, larger than memory."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import xarray as xr

from nfsim import recording
from nfsim._store import Writer, add_fixed
from nfsim.analysis import example


def run(trials=10):
    """A recording with numbers and text, on a growing and on fixed dims."""
    ds = example(trials=trials, steps=12, nodes=6)
    ds["gain"] = (ds.z.dims, np.random.default_rng(0).random(ds.z.shape, np.float32))
    return recording.describe(ds.assign_coords(target=("trial", np.arange(trials))).assign_attrs(seed=3))


def block(ds, start, stop, dim="trial"):
    names = [name for name, var in ds.variables.items() if dim in var.dims]
    return {name: ds[name].isel({dim: slice(start, stop)}).values for name in names}


def write(path, ds, size=3, *, dim="trial", stop=None, **options):
    with Writer(path, ds, along=dim, chunk=4, **options) as writer:
        for start in range(writer.valid, stop or ds.sizes[dim], size):
            writer.append(block(ds, start, min(start + size, stop or ds.sizes[dim]), dim))


def same(path, ds):
    again = recording.open(path).load()
    again.attrs = {k: v for k, v in again.attrs.items() if k in ds.attrs}
    xr.testing.assert_identical(again.drop_vars(set(again.variables) - set(ds.variables)), ds)


@pytest.mark.parametrize("dim", ["trial", "time"])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("size", [3, 100])
def test_blocks_add_up_to_the_recording(tmp_path, dim, known, size):
    ds = run()
    write(tmp_path / "a.zarr", ds, size, dim=dim, length=ds.sizes[dim] if known else None)
    same(tmp_path / "a.zarr", ds)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xr.testing.assert_equal(xr.open_zarr(tmp_path / "a.zarr").z.load(), ds.z)


@pytest.mark.parametrize("known", [True, False])
def test_an_unfinished_store_opens_at_its_valid_length(tmp_path, known):
    ds = run()
    writer = Writer(tmp_path / "a.zarr", ds, chunk=4, length=10 if known else None)
    assert recording.open(tmp_path / "a.zarr").sizes["trial"] == 0
    writer.append(block(ds, 0, 3))
    writer.write(block(ds, 3, 9), start=3)  # written, and not yet counted
    again = recording.open(tmp_path / "a.zarr")
    assert again.attrs["closed"] == 0
    assert again.attrs["valid_length"] == 3
    assert again.attrs["valid_dim"] == "trial"
    np.testing.assert_array_equal(again.z, ds.z[:3])


@pytest.mark.parametrize(
    ("dim", "stop"),
    [
        *(("trial", stop) for stop in (0, 2, 4, 10)),
        ("time", 2),
        *(pytest.param("time", stop, marks=pytest.mark.slow) for stop in (0, 4, 10)),
    ],
)
@pytest.mark.parametrize("closed", [True, False])
def test_a_resumed_store_equals_an_uninterrupted_one(tmp_path, dim, stop, closed):
    ds = run()
    path = tmp_path / "a.zarr"
    if closed:
        write(path, ds, dim=dim, stop=stop or None) if stop else Writer(path, ds, along=dim, chunk=4).close()
    else:
        writer = Writer(path, ds, along=dim, chunk=4)
        if stop:
            writer.append(block(ds, 0, stop, dim))
    write(path, ds, dim=dim, resume=True)
    same(path, ds)


def test_only_the_same_recording_is_resumed(tmp_path):
    ds = run()
    write(tmp_path / "a.zarr", ds, stop=3)
    with pytest.raises(ValueError, match="cannot resume, it holds another recording: attribute 'seed' differs"):
        Writer(tmp_path / "a.zarr", ds.assign_attrs(seed=4), chunk=4, resume=True)
    with pytest.raises(ValueError, match="gain is only in the store"):
        Writer(tmp_path / "a.zarr", ds.drop_vars("gain"), chunk=4, resume=True)
    other = ds.assign_coords(region=("node", list("abcdef")))
    with pytest.raises(ValueError, match="region has other values"):
        Writer(tmp_path / "a.zarr", other, chunk=4, resume=True)
    with pytest.raises(ValueError, match="it grows along 'trial', not 'time'"):
        Writer(tmp_path / "a.zarr", ds, along="time", chunk=4, resume=True)
    with pytest.raises(FileExistsError, match="exists already; resume it, or give a new path"):
        Writer(tmp_path / "a.zarr", ds, chunk=4)


def test_blocks_that_do_not_fit_are_refused(tmp_path):
    ds = run()
    writer = Writer(tmp_path / "a.zarr", ds, chunk=4, length=10)
    with pytest.raises(ValueError, match=r"leaves out \['gain', 'target'\]"):
        writer.append({"z": ds.z.values})
    with pytest.raises(ValueError, match=r"has lengths \[2, 3\] along 'trial'"):
        writer.append(block(ds, 0, 3) | {"gain": ds.gain.values[:2]})
    with pytest.raises(ValueError, match="block ends at 12 along 'trial', the store has 10"):
        writer.write({"z": ds.z.values[:3]}, start=9)
    with pytest.raises(ValueError, match="give one axis per dim"):
        writer.write({"z": ds.z.values[0]}, start=0)
    with pytest.raises(ValueError, match="'region' does not grow"):
        writer.write({"region": ds.region.values}, start=0)
    writer.commit(2)
    with pytest.raises(ValueError, match="valid length would go back from 2 to 1"):
        writer.commit(1)
    with pytest.raises(ValueError, match="chunk is 0; give a positive length"):
        Writer(tmp_path / "b.zarr", ds, chunk=0)


def test_a_missing_chunk_is_noticed(tmp_path):
    write(tmp_path / "a.zarr", run())
    (tmp_path / "a.zarr" / "z" / "c" / "1" / "0" / "0").unlink()
    with pytest.raises(ValueError, match="1 of 3 chunks of z are missing; the store is truncated"):
        recording.open(tmp_path / "a.zarr")
    shutil.rmtree(tmp_path / "a.zarr" / "gain")
    shutil.rmtree(tmp_path / "a.zarr" / "z")
    shutil.rmtree(tmp_path / "a.zarr" / "target")
    with pytest.raises(ValueError, match=r"no array along 'trial' is left|truncated|damaged"):
        recording.open(tmp_path / "a.zarr")


def test_damaged_metadata_are_noticed(tmp_path):
    write(tmp_path / "a.zarr", run())
    (tmp_path / "a.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node')
    with pytest.raises(ValueError, match="not a zarr group"):
        recording.open(tmp_path / "a.zarr")


def test_arrays_of_unequal_length_are_cut_to_what_is_valid(tmp_path):
    ds = run()
    writer = Writer(tmp_path / "a.zarr", ds, chunk=4)
    writer.append(block(ds, 0, 4))
    # as if killed after the first of several arrays had grown
    file = tmp_path / "a.zarr" / "z" / "zarr.json"
    content = json.loads(file.read_text())
    content["shape"][0] = 9
    file.write_text(json.dumps(content))
    same(tmp_path / "a.zarr", ds.isel(trial=slice(4)))
    write(tmp_path / "a.zarr", ds, resume=True)
    same(tmp_path / "a.zarr", ds)


def test_an_exception_leaves_the_store_open(tmp_path):
    ds = run()
    with pytest.raises(ValueError, match="leaves out"), Writer(tmp_path / "a.zarr", ds, chunk=4) as writer:
        writer.append({})
    assert recording.open(tmp_path / "a.zarr").attrs["closed"] == 0


def test_results_are_added_beside_the_growing_arrays(tmp_path):
    ds = run()
    with Writer(tmp_path / "a.zarr", ds, chunk=4) as writer:
        writer.append(block(ds, 0, 10))
        extra = xr.Dataset({"r": ("group", [0.1, 0.2], {"units": "1"})}, coords={"group": ["pfc", "motor"]})
        add_fixed(tmp_path / "a.zarr", extra)
        add_fixed(tmp_path / "a.zarr", extra)
    again = recording.open(tmp_path / "a.zarr")
    xr.testing.assert_identical(again.r.load().drop_attrs(), extra.r.drop_attrs())
    same(tmp_path / "a.zarr", ds)


WRITE_FOREVER = """
import sys, numpy as np
from nfsim._store import Writer
from nfsim.recording import from_array
template = from_array(np.zeros((1, 20, 50), "c8"), ("trial", "time", "node"))
template = template.assign_coords(target=("trial", [0]), region=("node", ["a", "b"] * 25))
with Writer(sys.argv[1], template, chunk=2, resume=True) as writer:
    for k in range(writer.valid, 10**9):
        writer.append({"z": np.full((1, 20, 50), k + 1j * k, "c8"), "target": [k]})
"""


def kill_at_random(path, seconds):
    process = subprocess.Popen([sys.executable, "-P", "-c", WRITE_FOREVER, str(path)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    before = _valid(path)
    while _valid(path) <= before + 1:  # imports take a while
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()


def _valid(path):
    return recording.open(path).attrs["valid_length"] if path.exists() else 0


def check_killed(path, times):
    for seconds in times:
        kill_at_random(path, seconds)
        ds = recording.open(path)
        n = ds.attrs["valid_length"]
        assert ds.attrs["closed"] == 0
        assert ds.sizes["trial"] == n > 0
        want = np.arange(n)
        np.testing.assert_array_equal(ds.target, want)
        np.testing.assert_array_equal(ds.z, np.broadcast_to((want + 1j * want)[:, None, None], ds.z.shape).astype("c8"))


@pytest.mark.slow
def test_a_killed_run_leaves_a_store_that_opens_and_resumes(tmp_path):
    check_killed(tmp_path / "a.zarr", [0.05, 0.02])


@pytest.mark.slow
def test_many_kills_at_any_moment(tmp_path):
    check_killed(tmp_path / "a.zarr", [random.Random(k).uniform(0, 0.2) for k in range(12)])


LARGE = """
import resource, sys, numpy as np
from nfsim._store import Writer
from nfsim.recording import from_array

def peak():  # not ru_maxrss: that begins with what the parent held when it forked
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

template = from_array(np.broadcast_to(np.zeros((), "c8"), (1, 1000, 1000)), ("trial", "time", "node"))
with Writer(sys.argv[1], template, chunk=1, chunks={"time": 1000}) as writer:
    before = peak()
    resource.setrlimit(resource.RLIMIT_DATA, (600_000_000, 600_000_000))
    for k in range(100):
        writer.append({"z": np.full((1, 1000, 1000), k, "c8")})
print((peak() - before) / 1e3)
"""


@pytest.mark.slow
def test_a_recording_larger_than_allowed_memory_is_written(tmp_path):
    path = tmp_path / "large.zarr"
    done = subprocess.run([sys.executable, "-P", "-c", LARGE, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # 800 MB went through: 8 MB a chunk, a few of them at once
    assert 0 < float(done.stdout) < 150
    assert recording.open(path).z.nbytes == 800_000_000

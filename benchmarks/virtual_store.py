"""Claim: a store of 20 GB is analysed in less than 2 GB of memory.

The store is virtual: all of its chunks are hard links to one file, so it takes 20 MB of disk; it is read as any other,
though from the page cache. Each measure runs in a process of its own on dask's default scheduler with two threads; the
peak is that of the process (VmHWM, Linux), counted from before the measure is called.
`python benchmarks/virtual_store.py [GB]`
"""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import dask
import numpy as np
import zarr

import nfsim
from nfsim import analysis
from nfsim._store import Writer
from nfsim.recording import from_array

STEPS, REGIONS = 4000, {"sensory": 49, "pfc": 500, "motor": 100}
MEASURES = {
    "order_parameter by region": lambda ds: analysis.order_parameter(ds, over="node", by="region"),
    "metastability": lambda ds: analysis.metastability(ds, over="node"),
    "plv": lambda ds: analysis.plv(ds, over="time"),
    "functional_connectivity": lambda ds: analysis.functional_connectivity(abs(ds.z), over="time"),
}


def make(path, chunks):
    """Write one chunk of noise, and link it as often as it takes."""
    nodes = sum(REGIONS.values())
    z = np.random.default_rng(0).standard_normal((1, STEPS, nodes, 2), np.float32).view(np.complex64)[..., 0]
    region = np.repeat(list(REGIONS), list(REGIONS.values()))
    with Writer(path, from_array(z, ("trial", "time", "node"), {"region": ("node", region)}), along="time",
                chunk=STEPS) as writer:  # fmt: skip
        writer.append({"z": z})
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    group["z"].resize((1, chunks * STEPS, nodes))
    for k in range(1, chunks):
        (path / f"z/c/0/{k}").mkdir()
        os.link(path / "z/c/0/0/0", path / f"z/c/0/{k}/0")
    group.attrs["valid_length"] = chunks * STEPS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # consolidated metadata are not in the specification of zarr v3
        zarr.consolidate_metadata(path)


def status(name):
    """Return a line of /proc/self/status in MB."""
    return next(int(line.split()[1]) / 1e3 for line in open("/proc/self/status") if line.startswith(name))


def measure(path, name):
    """Print the peak of one measure."""
    dask.config.set(num_workers=2)
    ds = nfsim.open(path)
    Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    MEASURES[name](ds).compute()
    print(f"{name}: {ds.z.nbytes / 1e9:.1f} GB, peak {status('VmHWM'):.0f} MB, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(sys.argv[1], sys.argv[2])
    else:
        size = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder) / "virtual.zarr"
            make(store, round(size * 1e9 / (STEPS * sum(REGIONS.values()) * 8)))
            for each in MEASURES:
                subprocess.run([sys.executable, "-P", __file__, str(store), each], check=True)

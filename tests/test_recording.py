"""The recording schema: made from foreign arrays, checked, saved and opened again."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr

from nfsim import recording
from nfsim.analysis import example
from nfsim.recording import from_array, save, validate


@pytest.fixture
def ds():
    ds = example(trials=2, steps=20, nodes=6)
    ds["gain"] = (ds.z.dims, np.random.default_rng(0).random(ds.z.shape, np.float32))
    names = {"target": ("trial", [0, 1]), "edge_projection": ("edge", ["within"] * ds.sizes["edge"])}
    return ds.assign_coords(names).assign_attrs(network='{"name": "test"}', seed=3)


def test_a_foreign_array_becomes_a_recording_with_units():
    eeg = np.random.default_rng(0).standard_normal((3, 100))
    ds = from_array(
        eeg, ("node", "time"), {"time": np.arange(100) / 250, "region": ("node", ["f", "f", "o"])}, units="uV"
    )
    assert ds.signal.attrs["units"] == "uV"
    assert ds.time.attrs == {"long_name": "time since the start of the input", "units": "s"}
    assert ds.attrs["nfsim_schema"] == recording.SCHEMA
    np.testing.assert_array_equal(ds.signal, eeg)


def test_labelled_and_lazy_arrays_stay_as_they_are():
    named = xr.DataArray(np.zeros((2, 3), "c8"), dims=("channel", "time"), coords={"time": [0.0, 0.1, 0.2]})
    assert from_array(named).signal.dims == ("channel", "time")
    renamed = from_array(named.chunk(time=1), ("node", "time"))
    assert renamed.z.dims == ("node", "time")
    assert renamed.z.chunks == ((2,), (1, 1, 1))


def test_what_is_no_recording_is_refused_with_the_cure():
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"1 dims \('node',\) for an array of 2 axes; give one name per axis"):
        from_array(x, ("node",))
    with pytest.raises(ValueError, match="repeat a name"):
        from_array(x, ("node", "node"))
    with pytest.raises(ValueError, match="needs dims, such as"):
        from_array(x)
    with pytest.raises(
        ValueError, match=r"coordinate 'region' is not a dim of \('node', 'time'\); give it as \(dim, values\)"
    ):
        from_array(x, ("node", "time"), {"region": ["a", "b"]})
    with pytest.raises(ValueError, match=r"coordinate 'region' has shape \(3,\), dim 'node' has 2"):
        from_array(x, ("node", "time"), {"region": ("node", ["a", "b", "c"])})
    with pytest.raises(ValueError, match="lies on 'trial', which is not among"):
        from_array(x, ("node", "time"), {"target": ("trial", [1])})
    with pytest.raises(TypeError, match="holds no numbers"):
        from_array(np.array(["a"]), ("node",))
    with pytest.raises(TypeError, match="give one of its variables"):
        from_array(xr.Dataset())


def test_every_breach_of_the_schema_is_reported_at_once(ds):
    broken = ds.drop_vars("z").assign(z=(("trial", "node"), np.zeros((2, 6))))
    broken = broken.assign_coords(region=("node", np.arange(6)))
    with pytest.raises(ValueError, match="not a valid recording") as caught:
        validate(broken)
    text = str(caught.value)
    assert "- z: dims are ('trial', 'node'), the schema asks for ('trial', 'time', 'node'); rename or transpose" in text
    assert "- z: dtype is float64, the schema asks for kind 'c'" in text
    assert "- region: dtype is int64" in text
    with pytest.raises(
        ValueError, match=r"nfsim_schema is 99, this nfsim reads up to 1: install the nfsim that wrote it"
    ):
        validate(ds.assign_attrs(nfsim_schema=99))
    with pytest.raises(
        ValueError, match=r"no attribute nfsim_schema: foreign data; bring arrays in with nfsim\.from_array"
    ):
        validate(xr.Dataset())


def test_swept_dims_stand_in_front(ds):
    swept = xr.concat([ds, ds], dim=xr.IndexVariable("seed", [0, 1]))
    assert validate(swept).z.dims == ("seed", "trial", "time", "node")


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_a_file_gives_back_the_same_recording(ds, tmp_path, suffix):
    path = save(ds, tmp_path / f"run{suffix}")
    again = recording.open(path)
    again.attrs.pop("closed", None)
    xr.testing.assert_identical(again.load(), ds)
    assert again.z.dtype == np.complex64
    assert again.region.dtype.kind == "U"
    with pytest.raises(FileExistsError, match="exists already"):
        save(ds, path)


def test_xarray_alone_reads_a_store_without_a_warning(ds, tmp_path):
    path = save(ds, tmp_path / "run.zarr")
    code = f"import xarray; ds = xarray.open_zarr({str(path)!r}).load(); print(ds.region.values[0], ds.z.dtype)"
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["pfc", "complex64"]


def test_a_netcdf_file_holds_plain_numbers_that_xarray_reads(ds, tmp_path):
    path = save(ds, tmp_path / "run.nc")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = xr.open_dataset(path, engine="h5netcdf")
    np.testing.assert_array_equal(plain.z_real + 1j * plain.z_imag, ds.z)


def test_an_opened_recording_is_lazy_but_for_its_labels(ds, tmp_path):
    again = recording.open(save(ds, tmp_path / "run.zarr"))
    assert again.z.chunks is not None
    assert all(coord.chunks is None for coord in again.coords.values())
    assert recording.open(tmp_path / "run.zarr", chunks={"time": -1}).z.chunks[1] == (20,)


def test_foreign_and_damaged_files_are_told_from_recordings(ds, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such recording; nfsim\.record"):
        recording.open(tmp_path / "absent.zarr")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="folder: not a zarr group"):
        recording.open(tmp_path / "folder")
    zarr.open_group(tmp_path / "foreign.zarr", mode="w")
    with pytest.raises(ValueError, match=r"a zarr group without nfsim_schema; open it with xarray"):
        recording.open(tmp_path / "foreign.zarr")
    (tmp_path / "text.nc").write_text("no netCDF")
    with pytest.raises(ValueError, match=r"text\.nc: not a netCDF-4 file"):
        recording.open(tmp_path / "text.nc")
    xr.Dataset({"a": 1}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"other\.nc: no attribute nfsim_schema"):
        recording.open(tmp_path / "other.nc")
    path = save(ds, tmp_path / "newer.zarr")
    content = json.loads((path / "zarr.json").read_text())
    content["attributes"]["nfsim_schema"] = 7
    (path / "zarr.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="nfsim_schema is 7"):
        recording.open(path)


def test_the_schema_needs_no_torch():
    code = "import sys, nfsim.recording; assert not {'torch', 'numba', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_a_foreign_recording_keeps_dims_of_its_own_with_labels_on_them():
    signal = xr.DataArray(
        np.random.default_rng(0).standard_normal((2, 3, 50)),
        dims=("epoch", "channel", "time"),
        coords={"region": ("channel", ["left", "left", "right"]), "time": np.arange(50) / 250},
    )
    ds = recording.from_array(signal)
    assert ds.signal.dims == ("epoch", "channel", "time")
    assert ds.region.dims == ("channel",)
    mixed = ds.rename(epoch="node")
    with pytest.raises(ValueError, match=r"region: dims are \('channel',\), the schema asks for \('node',\)"):
        recording.validate(mixed)

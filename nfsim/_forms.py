"""The same recording in the forms that files need: complex numbers as two parts, labels as text of either kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr


def split_complex(ds: xr.Dataset) -> xr.Dataset:
    """Return `ds` with each complex variable as two real ones, `*_real` and `*_imag`."""
    for name, var in dict(ds.data_vars).items():
        if var.dtype.kind == "c":
            parts = {f"{name}_real": var.real, f"{name}_imag": var.imag}
            parts = {key: part.assign_attrs(var.attrs, complex_part_of=name) for key, part in parts.items()}
            ds = ds.drop_vars([name]).assign(parts)
    return plain_labels(ds)


def join_complex(ds: xr.Dataset) -> xr.Dataset:
    """Return `ds` with the pairs that `split_complex` made joined again, in the dtype they had."""
    for name in {var.attrs["complex_part_of"] for var in ds.data_vars.values() if "complex_part_of" in var.attrs}:
        real, imag = ds[f"{name}_real"], ds[f"{name}_imag"]
        attrs = {key: value for key, value in real.attrs.items() if key != "complex_part_of"}
        dtype = np.result_type(real.dtype, np.complex64)
        joined = xr.apply_ufunc(
            _join, real.variable, imag.variable, dask="parallelized", output_dtypes=[dtype], keep_attrs=False
        )
        ds = ds.drop_vars([f"{name}_real", f"{name}_imag"]).assign({name: (joined.dims, joined.data, attrs)})
    return ds


def _join(real: np.ndarray, imag: np.ndarray) -> np.ndarray:
    out = np.empty(real.shape, np.result_type(real.dtype, np.complex64))
    out.real, out.imag = real, imag
    return out


def plain_labels(ds: xr.Dataset) -> xr.Dataset:
    """Return `ds` with all text coordinates as fixed-width unicode, the form that comparisons and netCDF handle."""
    return _convert_text(ds, str)


def string_labels(ds: xr.Dataset) -> xr.Dataset:
    """Return `ds` with all text coordinates as variable-length strings: the text type that zarr v3 specifies."""
    return _convert_text(ds, np.dtypes.StringDType())


def _convert_text(ds: xr.Dataset, dtype: Any) -> xr.Dataset:
    texts = [name for name, coord in ds.coords.items() if coord.dtype.kind in "UTO"]
    new = {}
    for name in texts:
        coord = ds[name]
        values = np.asarray(coord.values, dtype=object).astype(str).astype(dtype)
        new[name] = xr.Variable(coord.dims, values, coord.attrs)
    return ds.assign_coords(new) if new else ds

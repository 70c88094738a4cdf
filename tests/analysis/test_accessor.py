"""The accessor: measures as methods, selection by labels, errors that name what there is."""

import numpy as np
import pytest
import xarray as xr

from nfsim import analysis
from nfsim.analysis import accessor


@pytest.fixture
def ds():
    return analysis.example()


def test_measures_are_methods(ds):
    xr.testing.assert_identical(ds.nfsim.plv(over="time"), analysis.plv(ds, over="time"))
    xr.testing.assert_identical(ds.z.nfsim.plv(over="time"), analysis.plv(ds, over="time"))
    r = ds.nfsim.order_parameter(by="region", over="node")
    assert r.r.dims == ("trial", "time", "region")


@pytest.mark.parametrize("name", [*accessor.MEASURES, *accessor.PLOTS])
def test_every_method_is_a_documented_function(name, ds):
    assert name in dir(ds.nfsim)
    assert getattr(ds.nfsim, name).__doc__ == getattr(analysis, name).__doc__


def test_plain_arrays_of_other_fields_read_the_same(ds):
    t = np.arange(500) / 250
    eeg = np.random.default_rng(0).standard_normal((8, 500)) + np.sin(2 * np.pi * 10 * t)
    eeg = xr.DataArray(eeg, dims=("channel", "time"), coords={"time": t, "lobe": ("channel", list("ffffoooo"))})
    alpha = eeg.nfsim.analytic(band=(8, 12))
    r = alpha.nfsim.order_parameter(over="channel", by="lobe").r
    assert r.lobe.values.tolist() == ["f", "o"]
    assert float(r.mean()) > 0.9
    assert alpha.nfsim.plv(over="time", between="channel").dims == ("channel", "channel_j")


def test_selection_by_any_labels(ds):
    part = ds.nfsim.sel(region=["pfc", "motor"], sector=1)
    assert part.region.values.tolist() == ["pfc"] * 2 + ["motor"] * 2
    assert (part.sector == 1).all()
    assert ds.nfsim.sel(time=slice(0.5, 1)).sizes["time"] == 51
    assert ds.nfsim.sel(node=[3, 1], trial=0).sizes["node"] == 2
    assert ds.z.nfsim.sel(region="motor").sizes["node"] == 4


def test_edges_follow_the_nodes_that_are_left(ds):
    part = ds.nfsim.sel(region="motor")
    assert part.sizes["edge"] == 12
    whole = analysis.connectome(ds).values
    np.testing.assert_allclose(analysis.connectome(part), whole[4:8, 4:8])


def test_labels_that_are_not_there_are_named(ds):
    with pytest.raises(ValueError, match=r"sel: region has no \['v1'\]; it has motor, pfc, sensory"):
        ds.nfsim.sel(region=["pfc", "v1"])
    with pytest.raises(ValueError, match=r"sel: no coordinate 'area'; this recording has"):
        ds.nfsim.sel(area="pfc")
    with pytest.raises(ValueError, match="has a step"):
        ds.nfsim.sel(time=slice(0, 1, 2))


def test_unknown_measures_are_named(ds):
    with pytest.raises(AttributeError, match=r"no measure 'granger'; there are aec, analytic"):
        ds.nfsim.granger  # noqa: B018
    with pytest.raises(AttributeError, match=r"module 'nfsim\.analysis' has no attribute 'granger'"):
        analysis.granger  # noqa: B018


def test_the_variable_that_is_meant_must_be_clear(ds):
    with pytest.raises(ValueError, match=r"no variable 'z' in the recording; it has \['a', 'b'\]"):
        xr.Dataset({"a": 1, "b": 2}).nfsim.plv(over="time")


def test_inputs_keep_their_values_and_attributes(ds):
    before = ds.copy(deep=True)
    for call in ("metastability", "coupling_energy"):
        getattr(ds.nfsim, call)(over="node")
    ds.nfsim.plv(over="time")
    ds.nfsim.sel(region="pfc")
    xr.testing.assert_identical(ds, before)


def test_the_example_needs_two_clusters_in_three_regions():
    with pytest.raises(ValueError, match="nodes is 10; three regions with two clusters need a multiple of 6"):
        analysis.example(nodes=10)
    noisy = analysis.order_parameter(analysis.example(locked=0.3), over="node", by="region").r.mean(("trial", "time"))
    assert noisy.sel(region="pfc") < 0.95

"""Accumulators: equal to the offline measures, however the recording is cut."""

import numpy as np
import pytest

from nfsim import analysis
from nfsim.analysis import Online
from nfsim.analysis.online import MEASURES


def recording():
    rng = np.random.default_rng(0)
    ds = analysis.example(locked=0.5)
    for name in ("gain", "energy_accuracy", "energy_complexity"):
        ds[name] = (ds.z.dims, rng.uniform(0.1, 1, ds.z.shape))
    ds["z"][1, 150:] = np.nan  # a shorter trial
    ds["gain"][1, 150:] = np.nan
    ds["z"][0, 3, 2] = 0
    return ds


CUTS = {
    "whole": [(slice(0, 4), slice(0, 200))],
    "by time": [(slice(0, 4), slice(a, a + 30)) for a in range(0, 200, 30)],
    "by trial": [(slice(k, k + 1), slice(0, 200)) for k in range(4)],
    "by both, out of order": [(slice(a, a + 2), slice(b, b + 77)) for a in (2, 0) for b in (77, 154, 0)],
}


@pytest.mark.parametrize("cut", CUTS)
def test_accumulated_measures_equal_the_offline_ones(cut):
    ds, online = recording(), Online()
    for trials, times in CUTS[cut]:
        online.update(ds.isel(trial=trials, time=times), start=trials.start)
    got = online.result()
    r = analysis.order_parameter(ds, over="node").r
    by = analysis.order_parameter(ds, over="node", by="region").r
    samples = ("trial", "time")
    expected = {
        "r_mean": r.mean("time"),
        "r_mean_by": by.mean("time"),
        "metastability": analysis.metastability(ds, over="node"),
        "metastability_by": analysis.metastability(ds, over="node", by="region"),
        "plv": analysis.plv(ds, over=samples),
        "functional_connectivity": analysis.functional_connectivity(abs(ds.z), over=samples),
        "gain_mean": ds.gain.mean(("time", "node")),
        "energy_accuracy_mean": ds.energy_accuracy.mean(("time", "node")),
    }
    for name, want in expected.items():
        np.testing.assert_allclose(got[name], want, rtol=1e-6, atol=1e-7, err_msg=name)
    region = ds.region.values == "motor"
    want = ds.energy_complexity[..., region].mean(("time", "node"))
    np.testing.assert_allclose(got.energy_complexity_mean_by.sel(group="motor"), want, rtol=1e-6)


def test_memory_does_not_grow_with_time():
    online = Online(("metastability", "plv"))
    ds = analysis.example()
    sizes = []
    for _ in range(3):
        online.update(ds)
        sizes.append(sum(a.nbytes for row in online._moments["r"].rows.values() for a in row))
        sizes.append(online._sums["plv"].nbytes)
    assert sizes[:2] == sizes[-2:]


def test_only_what_is_asked_for_is_needed_and_given():
    online = Online(("gain",))
    assert online.needs == ("gain",)
    online.update(recording().drop_vars(["z", "energy_accuracy", "energy_complexity"]))
    assert sorted(online.result().data_vars) == ["gain_mean", "gain_mean_by"]


def test_what_accumulators_refuse():
    with pytest.raises(ValueError, match=r"no measure synchrony; there are " + ", ".join(MEASURES)):
        Online(("synchrony",))
    with pytest.raises(ValueError, match="the chunk has no gain; it has"):
        Online(("gain",)).update(analysis.example())
    with pytest.raises(ValueError, match="nothing was taken in yet"):
        Online().result()

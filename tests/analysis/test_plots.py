"""Pictures: axes with units, the data that were asked for, colours for everyone."""

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from nfsim import analysis
from nfsim.analysis import plots

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    from matplotlib import pyplot

    pyplot.close("all")


@pytest.fixture
def ds():
    ds = analysis.example()
    rng = np.random.default_rng(0)
    ds["gain"] = (ds.z.dims, rng.uniform(0, 1, ds.z.shape))
    ds["nucleus_gain"] = (("trial", "time", "nucleus"), rng.uniform(0, 1, (4, 200, 2)))
    ds["logits"] = (("trial", "time", "label"), rng.standard_normal((4, 200, 2)))
    ds["time"].attrs["units"] = "s"
    return ds.assign_coords(label=["yes", "no"], nucleus=["lgn", "md"], target=("trial", [0, 1, 1, 0]))


def labels(ax):
    return ax.get_xlabel(), ax.get_ylabel()


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_rates_are_sorted_by_region(ds):
    shuffled = ds.isel(node=[4, 0, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11])
    ax = analysis.plot_rate(shuffled, trial=1)
    assert labels(ax) == ("time (s)", "node by region")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["motor", "pfc", "sensory"]
    drawn = ax.collections[0].get_array()
    np.testing.assert_allclose(drawn[:4], abs(ds.z)[1].T.values[4:8])


def test_phases_have_a_cyclic_scale(ds):
    ax = analysis.plot_phase(ds)
    assert ax.collections[0].get_cmap().name == "twilight"
    assert ax.collections[0].get_clim() == (-np.pi, np.pi)


def test_gain_has_a_line_per_nucleus_or_per_region(ds):
    assert legend(analysis.plot_gain(ds)) == ["lgn", "md"]
    assert legend(analysis.plot_gain(ds.drop_vars("nucleus_gain"))) == ["pfc", "motor", "sensory"]
    with pytest.raises(ValueError, match="the recording has no gain; record it"):
        analysis.plot_gain(ds[["z"]])


def test_regions_show_the_spread_over_trials(ds):
    ax = analysis.plot_regions(ds, trial=None)
    assert legend(ax) == ["pfc", "motor", "sensory"]
    assert len(ax.collections) == 3
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), abs(ds.z[..., :4]).mean(("node", "trial")), rtol=1e-6)


def test_the_correct_class_is_marked(ds):
    for ax in (analysis.plot_motor(ds, trial=1), analysis.plot_readout(ds, trial=1)):
        assert legend(ax) == ["yes", "no (correct)"]
        assert ax.get_lines()[1].get_linewidth() == 3
    with pytest.raises(ValueError, match="no region 'm1'; the recording has pfc, motor, sensory"):
        analysis.plot_motor(ds, region="m1")


def test_order_parameters_of_regions_and_of_all(ds):
    ax = analysis.plot_order(ds)
    assert legend(ax) == ["pfc", "motor", "sensory", "all nodes"]
    assert ax.get_ylim() == (0, 1.02)
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), 1, atol=1e-6)


def test_a_matrix_is_sorted_by_region_and_signed_values_are_centred(ds):
    matrix = analysis.plv(ds, over=("trial", "time"))
    ax = analysis.plot_matrix(matrix)
    assert labels(ax) == ("node by region", "node by region")
    assert ax.figure.axes[-1].get_ylabel() == "phase-locking value"
    signed = analysis.plot_matrix(analysis.functional_connectivity(ds.z.real, over=("trial", "time")))
    low, high = signed.collections[0].get_clim()
    assert low == -high
    with pytest.raises(ValueError, match="needs one matrix"):
        analysis.plot_matrix(analysis.plv(ds, over="time"))


def test_a_ledger_shows_both_parts_their_sum_and_accuracy(ds):
    ds["steady"] = ds.z * 2
    epochs = {k: ds.assign_coords(prediction=("trial", [0, 1, 0, 0])) for k in range(3)}
    ax = analysis.plot_ledger(analysis.energy_ledger(epochs))
    assert legend(ax) == ["accuracy", "complexity", "free energy", "correct"]
    assert labels(ax) == ("epoch", "free energy per node and step (nat)")
    with pytest.raises(ValueError, match="needs free_energy over the dim 'epoch'"):
        analysis.plot_ledger(ds)


def test_given_axes_are_drawn_into(ds):
    from matplotlib import pyplot

    _, ax = pyplot.subplots()
    assert analysis.plot_order(ds, ax=ax) is ax
    assert ds.nfsim.plot_rate(ax=ax) is ax


def test_shorter_samples_end_where_they_end(ds):
    ds["z"][0, 150:] = np.nan
    assert analysis.plot_order(ds).get_lines()[0].get_xdata()[-1] == pytest.approx(1.49)


def test_trials_that_were_not_recorded_are_refused(ds):
    with pytest.raises(ValueError, match="trial 4 is not among the 4 that were recorded"):
        analysis.plot_rate(ds, trial=4)
    with pytest.raises(ValueError, match="not time and one other; select one entry"):
        analysis.plot_rate(xr.concat([ds, ds], dim="seed"))


def test_lines_differ_by_colour_and_then_by_dashes(ds):
    many = ds.isel(nucleus=[0] * 12).assign_coords(nucleus=np.arange(12))
    lines = analysis.plot_gain(many).get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 12
    assert len(plots.PALETTE) == len(set(plots.PALETTE)) == 8

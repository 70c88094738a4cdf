"""Intervals and tests agree with scipy's own, and with cases that can be counted by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from nfsim.studies.statistics import mcnemar, merged_p, paired_interval, t_interval

VALUES = [0.981, 0.979, 0.986, 0.984, 0.975]


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_the_interval_of_a_mean_is_that_of_scipy(level):
    ours = t_interval(VALUES, level)
    low, high = stats.t.interval(level, len(VALUES) - 1, np.mean(VALUES), stats.sem(VALUES))
    assert ours.low == pytest.approx(low, rel=1e-12)
    assert ours.high == pytest.approx(high, rel=1e-12)


def test_a_single_value_has_no_interval():
    ours = t_interval([0.5])
    assert ours.mean == 0.5
    assert math.isnan(ours.half)


def test_the_paired_interval_excludes_zero_exactly_where_the_paired_t_test_does():
    rng = np.random.default_rng(0)
    for shift in np.linspace(0, 0.02, 21):
        a, b = rng.normal(0.98 + shift, 0.005, 5), rng.normal(0.98, 0.005, 5)
        ours = paired_interval(a.tolist(), b.tolist())
        assert (ours.low > 0 or ours.high < 0) == (stats.ttest_rel(a, b).pvalue < 0.05)


def test_what_all_seeds_share_leaves_a_paired_interval_alone():
    a, b, seed = np.array(VALUES), np.array(VALUES[::-1]), np.array([0.0, 0.3, -0.2, 0.1, 0.5])
    plain = paired_interval(a.tolist(), b.tolist())
    shifted = paired_interval((a + seed).tolist(), (b + seed).tolist())
    assert shifted.mean == pytest.approx(plain.mean, abs=1e-12)
    assert shifted.half == pytest.approx(plain.half, rel=1e-9)


def test_pairs_need_a_partner_each():
    with pytest.raises(ValueError, match="zip"):
        paired_interval([1.0, 2.0], [1.0])


def split(only_first: int, only_second: int, both: int) -> tuple[np.ndarray, np.ndarray]:
    """Answers of two models that differ on so many images."""
    first = np.repeat([True, False, True], [only_first, only_second, both])
    second = np.repeat([False, True, True], [only_first, only_second, both])
    return first, second


@pytest.mark.parametrize(("b", "c"), [(0, 1), (3, 9), (20, 20), (40, 21)])
def test_mcnemar_is_the_exact_binomial_test_of_the_images_on_which_two_models_differ(b, c):
    ours = mcnemar(*split(b, c, both=1000))
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert (ours.first, ours.second) == (b, c)
    assert ours.p == pytest.approx(min(1.0, 2 * tail), rel=1e-12)


def test_images_that_both_get_right_say_nothing():
    assert mcnemar(*split(3, 9, both=0)).p == mcnemar(*split(3, 9, both=10_000)).p
    assert mcnemar(*split(0, 0, both=10)).p == 1.0


def test_answers_to_different_images_are_refused():
    with pytest.raises(ValueError, match="give answers to the same images"):
        mcnemar(np.ones(3, bool), np.ones(4, bool))


def test_one_p_value_is_itself_and_equal_ones_are_at_most_doubled():
    assert merged_p([0.03]) == 0.03
    assert merged_p([0.03, 0.5, 0.01]) == pytest.approx(1.5 * 0.03)
    assert merged_p([0.9] * 4) == 1.0
    assert all(merged_p([0.1] * k) <= 0.2 for k in range(1, 9))


def test_a_merged_p_value_is_valid_however_its_parts_depend():
    # uniform parts, once independent, once all equal: P(merged <= 0.05) stays at or below 0.05 (4 standard errors)
    rng = np.random.default_rng(0)
    n = 20_000
    for parts in (rng.random((n, 5)), np.repeat(rng.random((n, 1)), 5, 1)):
        share = np.mean([merged_p(row) <= 0.05 for row in parts.tolist()])
        assert share <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / n)

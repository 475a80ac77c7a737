"""Intervals against those of SciPy, and what they are to cover."""

import numpy as np
import pytest
import scipy.stats

from smem_jax.evaluate import bootstrap

_RANDOM = np.random.RandomState(0)
_BEFORE = (_RANDOM.rand(60) < 0.7).astype(float)
_AFTER = np.where(_RANDOM.rand(60) < 0.2, 0, _BEFORE)


def _scipy(arrays, statistic, level, samples, **options):
    found = scipy.stats.bootstrap(
        arrays,
        statistic,
        n_resamples=samples,
        confidence_level=level,
        method="percentile",
        vectorized=True,
        **options,
    )
    return pytest.approx(tuple(found.confidence_interval), abs=0.012)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_interval_of_a_mean_is_that_of_scipy(level):
    values = np.random.RandomState(1).exponential(size=80) * 0.3
    found = bootstrap.interval(values, level, 20_000)
    assert found == _scipy((values,), np.mean, level, 20_000, rng=np.random.default_rng(5))


@pytest.mark.parametrize("statistic", [bootstrap.change, bootstrap.relative_drop])
def test_the_interval_of_a_paired_statistic_is_that_of_scipy(statistic):
    def of_items(before, after, axis):
        return statistic(before.mean(axis=axis), after.mean(axis=axis))

    found = bootstrap.paired(_BEFORE, _AFTER, statistic, samples=20_000)
    rng = np.random.default_rng(5)
    assert found == _scipy((_BEFORE, _AFTER), of_items, 0.95, 20_000, paired=True, rng=rng)


def test_pairing_takes_out_what_the_items_have_in_common():
    before = np.random.RandomState(2).normal(size=50)
    low, high = bootstrap.paired(before, before + 0.1, bootstrap.change)
    assert (low, high) == (pytest.approx(0.1), pytest.approx(0.1))


def test_a_95_percent_interval_covers_the_mean_about_95_times_of_100():
    random = np.random.RandomState(3)
    trials = [bootstrap.interval(random.normal(size=40), samples=300, seed=i) for i in range(300)]
    assert 0.89 < np.mean([low < 0 < high for low, high in trials]) < 0.98


def test_the_seed_decides_the_samples():
    first = bootstrap.interval(_BEFORE, seed=1)
    assert bootstrap.interval(_BEFORE, seed=1) == first
    assert any(bootstrap.interval(_BEFORE, seed=seed) != first for seed in (2, 3, 4))


def test_samples_without_a_statistic_are_left_out():
    before, after = np.asarray([1.0, 0, 0]), np.asarray([0.5, 0, 0])
    found = bootstrap.paired(before, after, bootstrap.relative_drop)
    assert found == (pytest.approx(0.5), pytest.approx(0.5))
    assert np.isnan(bootstrap.paired(before * 0, after * 0, bootstrap.relative_drop)).all()


def test_bad_values_are_refused():
    for values in ([], [1.0, np.nan]):
        with pytest.raises(ValueError, match="must be items, all of them finite"):
            bootstrap.interval(np.asarray(values))
    with pytest.raises(ValueError, match="level=95 must be between"):
        bootstrap.interval(_BEFORE, level=95)
    with pytest.raises(ValueError, match="60 items before and 59 after"):
        bootstrap.paired(_BEFORE, _AFTER[1:], bootstrap.change)

"""Arguments that cannot be right are named with their shape; odd ones that can are no errors."""

import jax.numpy as jnp
import numpy as np
import pytest

from smem_jax.errors import InputError
from smem_jax.optim import mask_by_top_slots

_ZEROS = np.zeros(4, int)
_PARAMS = {"layer": {"values": jnp.ones((4, 2))}, "bias": jnp.ones(4)}


def _tables(array):
    return {"layer": {"values": array}}


def _update(slot_counts, mode="tf_idf", updates=_PARAMS):
    mask = mask_by_top_slots(2, _tables(_ZEROS), 3, mode=mode)
    return mask.update(updates, mask.init(_PARAMS), slot_counts=slot_counts)


def _frequency(array, top_t=2, **arguments):
    return mask_by_top_slots(top_t, _tables(array), **{"num_documents": 3} | arguments)


def _init(params):
    return _frequency(_ZEROS).init(params)


_COUNTS = r"slot_counts\['layer'\]\['values'\] "
_FREQUENCY = r"document_frequency\['layer'\]\['values'\] "


@pytest.mark.parametrize("mode", ["tf_idf", "kl", "read"])
@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.array(3), r"has shape \(\); \(4,\) is right"),
        (np.ones(5), r"has shape \(5,\); \(4,\) is right"),
        (np.array([1, np.nan, 0, 0]), r"of shape \(4,\) has NaN"),
        (np.array([1, -2, 0, 0]), r"of shape \(4,\) has -2"),
        (np.ones(4, complex), r"is complex128 of shape \(4,\)"),
        (np.array(list("abcd")), r"is <U1 of shape \(4,\)"),
        (np.ones((2, 2)), r"is float64 of shape \(2, 2\); integers are right"),
        (np.ones((2, 3), bool), r"is bool of shape \(2, 3\); integers are right"),
        (np.array([[0, -1]]), r"of shape \(1, 2\) ranges from -1 to 0; 0 to 3 is right"),
        (np.array([[0, 4]]), r"of shape \(1, 2\) ranges from 0 to 4; 0 to 3 is right"),
        (np.array([[2**40, 0]]), r"of shape \(1, 2\) has values beyond int32"),
        (np.zeros((0, 4), int), r"has shape \(0, 4\); at least one entry is right"),
        (np.zeros((3, 0), int), r"has shape \(3, 0\); at least one entry is right"),
    ],
)
def test_bad_counts_are_named(counts, message, mode):
    with pytest.raises(InputError, match=_COUNTS + message) as error:
        _update(_tables(counts), mode)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _frequency(np.zeros((4, 1), int)), _FREQUENCY + r"is int64 of shape \(4, 1\)"),
        (lambda: _frequency(np.zeros(4)), _FREQUENCY + r"is float64 of shape \(4,\); integers"),
        (lambda: _frequency(np.array(4)), _FREQUENCY + r"is int64 of shape \(\)"),
        (lambda: _frequency(np.array([0, 0, 4, 0])), _FREQUENCY + "of .* 0 to 4; 0 to num_doc"),
        (lambda: _frequency(np.array([0, 0, -1, 0])), _FREQUENCY + "of .* ranges from -1 to 0"),
        (lambda: _frequency(np.zeros(0, int)), "top_t=2 exceeds num_slots=0"),
        (lambda: _frequency(_ZEROS, 5), "top_t=5 exceeds num_slots=4"),
        (lambda: _frequency(_ZEROS, 0), "top_t=0; an integer of at least 1"),
        (lambda: _frequency(_ZEROS, 1.5), "top_t=1.5; an integer of at least 1"),
        (lambda: _frequency(None), "document_frequency has no arrays"),
        (
            lambda: _frequency(_ZEROS, {"other": 2}),
            r"top_t\['layer'\]\['values'\] is None or missing, but document_frequency has it",
        ),
        (lambda: _frequency(_ZEROS, num_documents=0), "num_documents=0"),
        (lambda: _frequency(_ZEROS, others="drop"), "others='drop'"),
        (lambda: _frequency(_ZEROS, mode="best"), "mode='best'; one of 'tf_idf'"),
        (
            lambda: _init(_tables(jnp.ones((5, 2)))),
            r"params\['layer'\]\['values'\] has shape \(5, 2\); 4 rows",
        ),
        (lambda: _init({"layers": jnp.ones((4, 2))}), "belongs to no parameter; one of"),
        (lambda: _update(_tables(None)), _COUNTS + "is None or missing"),
        (
            lambda: _update(_tables(_ZEROS) | {"bias": _ZEROS}),
            r"document_frequency\['bias'\] is None or missing, but slot_counts has it",
        ),
        (lambda: _update({}), _COUNTS + "is None or missing"),
        (lambda: _update({"layer": np.ones(4)}), _COUNTS + "is None or missing"),
        (
            lambda: _update(_tables(np.ones(4)), updates=_tables(jnp.ones((3, 2)))),
            r"updates\['layer'\]\['values'\] has shape \(3, 2\); 4 rows",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_equal_scores_and_few_reads_are_no_errors():
    for counts, rows in (
        (np.ones(4), [0, 1]),
        (np.array([0, 0, 0, 2]), [3]),
        (np.zeros(4), []),
        (np.array([[3, 3]]), [3]),
    ):
        updates, _ = _update(_tables(counts))
        kept = np.flatnonzero(np.any(updates["layer"]["values"], axis=1))
        np.testing.assert_array_equal(kept, rows)

"""The masking transformation against numpy, alone and inside other transformations."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from smem_jax.optim import mask_by_top_slots

_NUM_SLOTS = 24
_NUM_DOCUMENTS = 6


def _best_rows(counts, frequency, top_t):
    """Which rows may move, by the paper's formula in float64."""
    counts = np.asarray(counts, np.float64)
    scores = counts / max(counts.sum(), 1) * np.log((_NUM_DOCUMENTS + 1) / (1.0 + frequency))
    # Mathematically equal scores may differ in their last bits in either computation.
    order = np.lexsort((np.arange(len(counts)), -scores.round(9)))
    return np.sort([slot for slot in order if counts[slot] > 0][:top_t]).astype(int)


def _bits(tree):
    return jax.tree.map(lambda array: np.asarray(array).tobytes(), tree)


def _table(rng, width=3):
    """Values whose signs of zero count too."""
    return jnp.asarray(rng.choice([-0.0, 0.0, 1.5, -2.25], (_NUM_SLOTS, width)), jnp.float32)


@functools.partial(jax.jit, static_argnames=("top_t", "others"))
def _masked(grads, frequency, counts, *, top_t, others):
    mask = mask_by_top_slots(top_t, {"values": frequency}, _NUM_DOCUMENTS, others=others)
    return mask.update(grads, mask.init(grads), slot_counts={"values": counts})


@given(seed=st.integers(0, 2**32 - 1), top_t=st.sampled_from([1, 5, 24]), as_reads=st.booleans())
@settings(deadline=None, max_examples=60)
def test_updates_of_the_top_rows_are_kept_and_others_zeroed(seed, top_t, as_reads):
    rng = np.random.default_rng(seed)
    reads = rng.integers(0, rng.choice([2, 12, _NUM_SLOTS]), (4, 5))
    counts = np.bincount(reads.ravel(), minlength=_NUM_SLOTS)
    # Frequencies whose scores tie in float32 exactly where they tie in numbers.
    frequency = rng.choice([0, 2, _NUM_DOCUMENTS], _NUM_SLOTS)
    grads = {"values": rng.normal(size=(_NUM_SLOTS, 3)).astype(np.float32), "bias": np.ones(3)}
    given_counts = reads if as_reads else counts
    updates, state = _masked(grads, frequency, given_counts, top_t=top_t, others="keep")

    rows = _best_rows(counts, frequency, top_t)
    expected = np.zeros_like(grads["values"])
    expected[rows] = grads["values"][rows]
    np.testing.assert_array_equal(updates["values"], expected)
    np.testing.assert_array_equal(updates["bias"], 1)
    selection = state.selection["values"]
    np.testing.assert_array_equal(selection.slots[selection.is_real], rows)
    np.testing.assert_array_equal(state.document_frequency["values"], frequency)
    assert state.step == 1


@pytest.mark.parametrize("others", ["zero", "keep"])
def test_parameters_that_are_no_table_are_zeroed_or_kept(others):
    grads = {"values": jnp.ones((_NUM_SLOTS, 2)), "dense": [jnp.ones(2), jnp.ones((2, 2))]}
    updates, _ = _masked(
        grads, np.zeros(_NUM_SLOTS, int), np.ones(_NUM_SLOTS, int), top_t=2, others=others
    )
    for update in updates["dense"]:
        np.testing.assert_array_equal(update, float(others == "keep"))


def test_infinite_updates_of_frozen_rows_do_not_get_through():
    grads = {"values": jnp.full((_NUM_SLOTS, 2), jnp.nan).at[3].set(1.0)}
    counts = np.zeros(_NUM_SLOTS, int)
    counts[3] = 1
    updates, _ = _masked(grads, np.zeros(_NUM_SLOTS, int), counts, top_t=2, others="zero")
    np.testing.assert_array_equal(updates["values"][3], 1)
    assert float(jnp.abs(updates["values"]).sum()) == 2


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_frozen_rows_keep_every_bit_through_adam_and_weight_decay(dtype):
    rng = np.random.default_rng(0)
    params = {"values": _table(rng).astype(dtype), "other": _table(rng)}
    frequency = {"values": rng.integers(0, _NUM_DOCUMENTS, _NUM_SLOTS)}
    optimizer = optax.chain(
        optax.scale_by_adam(),
        optax.add_decayed_weights(0.1),
        optax.scale(-0.3),
        mask_by_top_slots(2, frequency, _NUM_DOCUMENTS),
    )

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, grads, counts):
        updates, state = optimizer.update(grads, state, params, slot_counts={"values": counts})
        return optax.apply_updates(params, updates), state

    before, moved = jax.tree.map(np.array, params), set()
    state = optimizer.init(params)
    for _ in range(20):
        grads = jax.tree.map(lambda array: jnp.asarray(rng.normal(size=array.shape)), before)
        counts = rng.poisson(0.5, _NUM_SLOTS) * (np.arange(_NUM_SLOTS) < 12)
        rows = _best_rows(counts, frequency["values"], 2)
        was = np.array(params["values"])
        params, state = step(params, state, grads, counts)
        frozen = np.setdiff1d(np.arange(_NUM_SLOTS), rows)
        assert _bits(params["values"][frozen]) == _bits(was[frozen])
        assert (np.asarray(params["values"][rows]) != was[rows]).any(axis=1).all()
        moved |= set(rows)
    assert _bits(params["other"]) == _bits(before["other"])
    assert 2 < len(moved) <= 12 and params["values"].dtype == dtype


def test_each_table_has_its_own_counts_and_top_t():
    params = {"first": {"values": jnp.ones((4, 2))}, "blocks": [None, {"values": jnp.ones((6, 3))}]}
    frequency = {
        "first": {"values": np.zeros(4, int)},
        "blocks": [None, {"values": np.ones(6, int)}],
    }
    top_t = {"first": {"values": 1}, "blocks": [None, {"values": 3}]}
    counts = {
        "first": {"values": np.array([1, 2, 0, 2])},
        "blocks": [None, {"values": [[5, 0, 5]]}],
    }
    counts["blocks"][1]["values"] = np.array(counts["blocks"][1]["values"])
    mask = mask_by_top_slots(top_t, frequency, 3)
    updates, state = mask.update(params, mask.init(params), slot_counts=counts)
    np.testing.assert_array_equal(updates["first"]["values"][:, 0], [0, 1, 0, 0])
    np.testing.assert_array_equal(updates["blocks"][1]["values"][:, 0], [1, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(state.selection["blocks"][1]["values"].slots, [0, 5, 6])


def test_one_entry_above_two_tables_selects_the_same_slots_in_both():
    params = {"expert": {"up": jnp.ones((4, 2)), "down": jnp.ones((4, 5))}}
    mask = mask_by_top_slots(1, {"expert": np.zeros(4, int)}, 3)
    updates, _ = mask.update(
        params, mask.init(params), slot_counts={"expert": np.array([0, 1, 3, 0])}
    )
    for update in jax.tree.leaves(updates):
        np.testing.assert_array_equal(update[:, 0], [0, 0, 1, 0])


def test_random_mode_draws_anew_from_the_read_slots():
    params = {"values": jnp.ones((_NUM_SLOTS, 1))}
    mask = mask_by_top_slots(4, {"values": np.zeros(_NUM_SLOTS, int)}, 1, mode="random", seed=7)
    state, chosen = mask.init(params), []
    for _ in range(3):
        _, state = mask.update(params, state, slot_counts={"values": np.arange(_NUM_SLOTS) % 2})
        chosen.append(np.asarray(state.selection["values"].slots))
    assert all((rows % 2 == 1).all() and len(set(rows)) == 4 for rows in chosen)
    assert len({rows.tobytes() for rows in chosen}) == 3


def _setting():
    rng = np.random.default_rng(1)
    params = {"values": _table(rng), "head": _table(rng)}
    frequency = {"values": rng.integers(0, _NUM_DOCUMENTS, _NUM_SLOTS)}
    grads = [jax.tree.map(lambda array: jnp.asarray(rng.normal(size=array.shape)), params)] * 2
    counts = rng.poisson(1.0, (2, _NUM_SLOTS))
    return params, frequency, grads, counts


def test_within_partition():
    params, frequency, grads, counts = _setting()
    masked_sgd = optax.chain(optax.sgd(1.0), mask_by_top_slots(3, frequency, _NUM_DOCUMENTS))
    optimizer = optax.partition(
        {"memory": masked_sgd, "rest": optax.sgd(0.5)}, {"values": "memory", "head": "rest"}
    )
    updates, _ = optimizer.update(
        grads[0], optimizer.init(params), params, slot_counts={"values": counts[0]}
    )
    rows = _best_rows(counts[0], frequency["values"], 3)
    np.testing.assert_array_equal(np.flatnonzero(np.any(updates["values"], axis=1)), rows)
    np.testing.assert_array_equal(updates["head"], -0.5 * grads[0]["head"])


def test_within_partition_under_a_label_for_a_whole_subtree():
    params, frequency, _, counts = _setting()
    optimizer = optax.partition(
        {
            "memory": mask_by_top_slots(3, {"layer": frequency}, _NUM_DOCUMENTS),
            "rest": optax.sgd(1.0),
        },
        {"layer": "rest", "other": "memory"},
    )
    tree = {"layer": params, "other": jnp.ones(2)}
    updates, _ = optimizer.update(
        tree, optimizer.init(tree), tree, slot_counts={"layer": {"values": counts[0]}}
    )
    np.testing.assert_array_equal(updates["layer"]["values"], -params["values"])
    np.testing.assert_array_equal(updates["other"], 0)


def test_within_multi_steps_the_counts_of_the_last_step_decide():
    params, frequency, grads, counts = _setting()
    optimizer = optax.MultiSteps(
        optax.chain(optax.adam(1.0), mask_by_top_slots(3, frequency, _NUM_DOCUMENTS)), 2
    )
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    updates, state = update(grads[0], state, params, slot_counts={"values": counts[0]})
    assert not np.any(updates["values"])
    assert not state.inner_opt_state[-1].selection["values"].is_real.any()
    updates, state = update(grads[1], state, params, slot_counts={"values": counts.sum(0)})
    rows = _best_rows(counts.sum(0), frequency["values"], 3)
    np.testing.assert_array_equal(np.flatnonzero(np.any(updates["values"], axis=1)), rows)


def test_vmap_over_seeds_equals_a_loop():
    params, frequency, _, counts = _setting()
    mask = mask_by_top_slots(3, frequency, _NUM_DOCUMENTS)
    stacked = jax.tree.map(lambda array: jnp.stack([array, 2 * array]), params)
    state = jax.vmap(mask.init)(stacked)
    updates, state = jax.vmap(
        lambda updates, state, counts: mask.update(updates, state, slot_counts={"values": counts})
    )(stacked, state, counts)
    for seed in range(2):
        one = jax.tree.map(lambda array, seed=seed: array[seed], stacked)
        expected, one_state = mask.update(one, mask.init(one), slot_counts={"values": counts[seed]})
        assert _bits(jax.tree.map(lambda array, seed=seed: array[seed], updates)) == _bits(expected)
        np.testing.assert_array_equal(
            state.selection["values"].slots[seed], one_state.selection["values"].slots
        )


def test_tree_map_params_sees_through_the_state():
    params, frequency, _, _ = _setting()
    optimizer = optax.chain(optax.adam(1.0), mask_by_top_slots(3, frequency, _NUM_DOCUMENTS))
    state = optax.tree_map_params(optimizer, lambda moment: moment + 1, optimizer.init(params))
    np.testing.assert_array_equal(state[0][0].mu["values"], 1)
    np.testing.assert_array_equal(state[-1].document_frequency["values"], frequency["values"])


def test_donating_the_state_leaves_the_callers_frequency_alone():
    params, _, _, counts = _setting()
    frequency = {"values": jnp.zeros(_NUM_SLOTS, jnp.int32)}
    mask = mask_by_top_slots(3, frequency, _NUM_DOCUMENTS)
    step = jax.jit(
        lambda state, counts: mask.update(params, state, slot_counts={"values": counts})[1],
        donate_argnums=0,
    )
    step(step(mask.init(params), counts[0]), counts[1])
    np.testing.assert_array_equal(frequency["values"], 0)


def test_plain_dictionaries_fit_a_flax_module():
    class Layer(nnx.Module):
        def __init__(self):
            self.values = nnx.Param(jnp.ones((4, 2)))
            self.linear = nnx.Linear(2, 2, rngs=nnx.Rngs(0))

    layer = Layer()
    mask = mask_by_top_slots(1, {"values": np.zeros(4, int)}, 3)
    optimizer = nnx.Optimizer(layer, optax.chain(optax.sgd(1.0), mask), wrt=nnx.Param)
    grads = jax.tree.map(jnp.ones_like, nnx.state(layer, nnx.Param))
    kernel = np.array(layer.linear.kernel[...])
    optimizer.update(layer, grads, slot_counts={"values": np.array([0, 0, 2, 1])})
    np.testing.assert_array_equal(layer.values[...][:, 0], [1, 1, 0, 1])
    np.testing.assert_array_equal(layer.linear.kernel[...], kernel)


def test_import_needs_nothing_but_jax_and_optax():
    script = (
        "import sys, jax, optax; before = set(sys.modules); import smem_jax.optim;"
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "['smem_jax']"

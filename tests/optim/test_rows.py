"""Row optimizers against the dense masked form, against rows on their own, and as compiled."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from smem_jax import bits
from smem_jax.errors import InputError
from smem_jax.optim import by_row, mask_by_top_slots, row_adam, row_sgd

_NUM_SLOTS, _WIDTH, _TOP_T, _STEPS, _RATE = 20, 3, 4, 50, 0.05

_ADAM = {"b1": 0.8, "b2": 0.95}
# name: (row optimizer given what happens to missed steps, the dense optimizer's direction)
_OPTIMIZERS = {
    "sgd": (lambda missed: row_sgd(missed=missed), optax.identity()),
    "momentum": (lambda missed: row_sgd(0.9, missed), optax.trace(0.9)),
    "adam": (lambda missed: row_adam(**_ADAM, missed=missed), optax.scale_by_adam(**_ADAM)),
    "adamw": (
        lambda missed: row_adam(**_ADAM, weight_decay=0.1, missed=missed),
        optax.chain(optax.scale_by_adam(**_ADAM), optax.add_decayed_weights(0.1)),
    ),
}


@functools.cache
def _stream():
    """Values, dense gradients and read counts of each step; slots come and go, some never come."""
    rng = np.random.default_rng(0)
    active = np.arange(_NUM_SLOTS) < 14
    phase = (np.arange(_STEPS)[:, None] // 8 + np.arange(_NUM_SLOTS)) % 3 > 0
    counts = rng.poisson(1.0, (_STEPS, _NUM_SLOTS)) * active * phase
    counts[7] = 0  # a batch of padding
    gradients = rng.normal(size=(_STEPS, _NUM_SLOTS, _WIDTH)).astype(np.float32)
    values = rng.normal(size=(_NUM_SLOTS, _WIDTH)).astype(np.float32)
    values[:, 0] = -0.0  # which is equal to 0.0, but has other bits
    return values, gradients, counts


@functools.cache
def _selections():
    """The slots of each step, int32 [steps, top_t], by the masking transformation."""
    values, gradients, counts = _stream()
    mask, state, chosen = _mask(), _mask().init(jnp.asarray(values)), []
    for gradient, count in zip(gradients, counts, strict=True):
        _, state = mask.update(jnp.asarray(gradient), state, slot_counts=count)
        chosen.append(np.asarray(state.selection.slots))
    return np.stack(chosen)


def _mask():
    return mask_by_top_slots(_TOP_T, np.arange(_NUM_SLOTS) % 5, 5)


def _by_rows(optimizer, dtype=jnp.float32):
    """The table after each step."""
    values, gradients, _ = _stream()
    values = jnp.asarray(values, dtype)
    state, tables, update = optimizer.init(values), [], jax.jit(optimizer.update)
    for gradient, slots in zip(gradients, _selections(), strict=True):
        of_chosen = gradient[np.minimum(slots, _NUM_SLOTS - 1)]
        values, state = update(values, state, slots, of_chosen, _RATE)
        tables.append(np.asarray(values))
    return tables


@pytest.mark.parametrize("name", _OPTIMIZERS)
def test_catching_up_equals_the_dense_masked_form(name):
    make, direction = _OPTIMIZERS[name]
    values, gradients, counts = _stream()
    dense = optax.chain(_mask(), direction, optax.scale(-_RATE), _mask())
    values, state, update = jnp.asarray(values), None, jax.jit(dense.update)
    state = dense.init(values)
    chosen = _selections()
    assert len(np.unique(chosen)) > 10  # rows enter and leave
    for number, table in enumerate(_by_rows(make("catch_up"))):
        updates, state = update(
            jnp.asarray(gradients[number]), state, values, slot_counts=counts[number]
        )
        values = optax.apply_updates(values, updates)
        np.testing.assert_allclose(table, values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", _OPTIMIZERS)
def test_lazily_each_row_is_a_parameter_of_its_own(name):
    make, direction = _OPTIMIZERS[name]
    start, gradients, _ = _stream()
    last = _by_rows(make("lazy"))[-1]
    chosen = _selections()
    for slot in range(_NUM_SLOTS):
        row = jnp.asarray(start[slot])
        state = direction.init(row)
        for number in np.flatnonzero((chosen == slot).any(axis=1)):
            update, state = direction.update(jnp.asarray(gradients[number, slot]), state, row)
            row = row - _RATE * update
        np.testing.assert_allclose(last[slot], row, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_the_two_forms_differ_where_rows_miss_steps(name):
    make, _ = _OPTIMIZERS[name]
    assert np.abs(_by_rows(make("lazy"))[-1] - _by_rows(make("catch_up"))[-1]).max() > 0.01


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_rows_that_are_not_chosen_keep_every_bit(name, dtype):
    tables = _by_rows(_OPTIMIZERS[name][0]("catch_up"), dtype)
    for before, after, slots in zip(tables, tables[1:], _selections()[1:], strict=False):
        changed = {n for n in range(len(before)) if before[n].tobytes() != after[n].tobytes()}
        assert changed <= set(slots.tolist())
    assert tables[-1].dtype == dtype


def test_bits_of_bfloat16_are_trained_like_bfloat16():
    values = jnp.asarray(_stream()[0])
    optimizer, slots = row_adam(weight_decay=0.1), jnp.array([3, 11, 20])
    gradient = jnp.asarray(_stream()[1][0, :3])
    tables = []
    for table in (bits.encode(values), values.astype(jnp.bfloat16)):
        table, _ = optimizer.update(table, optimizer.init(table), slots, gradient, _RATE)
        tables.append(np.asarray(bits.decode(table)))
    np.testing.assert_array_equal(*tables)


def test_any_optax_transformation_goes_by_row():
    values = jnp.ones((4, 2))
    optimizer = by_row(optax.scale_by_lion())
    slots = jnp.array([2, 4])
    values, _ = optimizer.update(values, optimizer.init(values), slots, -jnp.ones((2, 2)), 0.5)
    np.testing.assert_array_equal(values[:, 0], [1, 1, 1.5, 1])


def test_a_row_starts_as_the_transformation_says():
    inner, row = optax.scale_by_rss(0.1), jnp.array([2.0, 3.0])
    expected, _ = inner.update(row, inner.init(row))
    optimizer = by_row(inner)
    values = jnp.zeros((3, 2))
    values, _ = optimizer.update(values, optimizer.init(values), jnp.array([1]), row[None], 1.0)
    np.testing.assert_allclose(values[1], -expected, rtol=1e-6)


def test_it_maps_over_seeds():
    optimizer = row_adam()
    values = jnp.arange(12.0).reshape(2, 3, 2)
    slots, gradients = jnp.array([[0], [2]]), jnp.ones((2, 1, 2))
    mapped, _ = jax.vmap(optimizer.update, in_axes=(0, 0, 0, 0, None))(
        values, jax.vmap(optimizer.init)(values), slots, gradients, 0.1
    )
    for seed in range(2):
        one, _ = optimizer.update(
            values[seed], optimizer.init(values[seed]), slots[seed], gradients[seed], 0.1
        )
        np.testing.assert_array_equal(mapped[seed], one)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.uint16])
@pytest.mark.parametrize("name", _OPTIMIZERS)
def test_a_step_that_donates_copies_neither_table_nor_state(name, dtype):
    num_slots, width, top_t = 2**16, 64, 32
    optimizer = _OPTIMIZERS[name][0]("catch_up")
    values = jax.ShapeDtypeStruct((num_slots, width), dtype)
    state = jax.eval_shape(optimizer.init, values)
    arguments = (
        jax.ShapeDtypeStruct((top_t,), jnp.int32),
        jax.ShapeDtypeStruct((top_t, width), jnp.float32),
        jax.ShapeDtypeStruct((), jnp.float32),
    )
    update = jax.jit(optimizer.update, donate_argnums=(0, 1))
    compiled = update.lower(values, state, *arguments).compile()
    memory = compiled.memory_analysis()
    kept = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((values, state)))
    assert memory.alias_size_in_bytes == kept
    assert memory.temp_size_in_bytes < 64 * top_t * width < kept / 64
    table = f"[{num_slots},{width}]"
    lines = compiled.as_text().splitlines()
    assert not [line for line in lines if table in line and " copy(" in line]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: row_sgd(1.0), "momentum=1.0"),
        (lambda: row_adam(b2=-0.1), "b2=-0.1"),
        (lambda: row_adam(missed="skip"), "missed='skip'; 'lazy' or 'catch_up'"),
        (lambda: row_sgd(missed="skip"), "missed='skip'; 'lazy' or 'catch_up'"),
        (lambda: row_sgd().init(jnp.ones(3)), r"values has shape \(3,\)"),
        (
            lambda: row_sgd().update(
                jnp.ones((3, 2)), row_sgd().init(jnp.ones((3, 2))), jnp.array([1]), jnp.ones(2), 1
            ),
            r"slots has shape \(1,\), gradient \(2,\); \[top_t\] and \[top_t, 2\]",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()

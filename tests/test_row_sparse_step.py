"""Selection, lookup, gradient and update together: equal to the dense form, whatever the size."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import row_sparse
from row_sparse import DOCUMENTS, RATE

from smem_jax import scratch
from smem_jax.kernels.lookup import lookup
from smem_jax.optim import mask_by_top_slots, row_adam, row_sgd

_OPTIMIZERS = {
    "sgd": (row_sgd(), optax.identity()),
    "momentum": (row_sgd(0.9, "catch_up"), optax.trace(0.9)),
    "adam": (row_adam(missed="catch_up"), optax.scale_by_adam()),
    "adamw": (
        row_adam(weight_decay=0.1, missed="catch_up"),
        optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(0.1)),
    ),
}


def _dense_step(direction, frequency, top_t):
    mask = mask_by_top_slots(top_t, frequency, DOCUMENTS)
    optimizer = optax.chain(mask, direction, optax.scale(-RATE), mask)

    @jax.jit
    def step(values, state, indices, weights, target):
        def loss(values, weights):
            return jnp.sum((lookup(values, indices, weights, "base") - target) ** 2)

        total, grads = jax.value_and_grad(loss, argnums=(0, 1))(values, weights)
        updates, state = optimizer.update(grads[0], state, values, slot_counts=indices)
        return optax.apply_updates(values, updates), state, (total, grads[1])

    return optimizer, step


@pytest.mark.parametrize("name", _OPTIMIZERS)
def test_fifty_steps_are_those_of_the_dense_masked_form(name):
    num_slots, width, top_t, shape = 60, 6, 7, (5, 8)
    rng = np.random.default_rng(0)
    optimizer, direction = _OPTIMIZERS[name]
    frequency = jnp.asarray(rng.integers(0, DOCUMENTS, num_slots), jnp.int32)
    start = jnp.asarray(rng.normal(size=(num_slots, width)), jnp.float32)
    dense_optimizer, dense_step = _dense_step(direction, frequency, top_t)
    sparse_step = row_sparse.sparse_step(optimizer, top_t)
    sparse = [jnp.array(start), optimizer.init(start), scratch.new(num_slots)]
    dense = [start, dense_optimizer.init(start)]
    for step in range(50):
        # Different slots are read at different times.
        indices = jnp.asarray((rng.integers(0, 20, shape) + step) % num_slots, jnp.int32)
        weights = jnp.asarray(rng.random(shape) / 8, jnp.float32)
        target = jnp.asarray(rng.normal(size=(shape[0], width)), jnp.float32)
        *sparse, found = sparse_step(*sparse, frequency, indices, weights, target)
        *dense, wanted = dense_step(*dense, indices, weights, target)
        np.testing.assert_allclose(sparse[0], dense[0], rtol=0, atol=1e-6)
        np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5)
        np.testing.assert_allclose(found[1], wanted[1], rtol=1e-4, atol=1e-5)
    changed = (np.asarray(sparse[0]) != np.asarray(start)).any(axis=1)
    assert top_t < changed.sum() <= num_slots


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.uint16])
def test_work_and_temporary_memory_do_not_know_the_number_of_slots(dtype):
    small, large = (
        row_sparse.compiled(num_slots, dtype, row_sgd()) for num_slots in (2**14, 2**22)
    )
    assert small.cost_analysis()["flops"] == large.cost_analysis()["flops"]
    memory = [program.memory_analysis() for program in (small, large)]
    assert memory[0].temp_size_in_bytes == memory[1].temp_size_in_bytes
    # Beside the table: temporaries, other arguments, results that are not written in place.
    table = 2**22 * 256 * jnp.dtype(dtype).itemsize
    beyond = memory[1].temp_size_in_bytes + memory[1].argument_size_in_bytes - table
    beyond += memory[1].output_size_in_bytes - memory[1].alias_size_in_bytes
    assert beyond < 0.05 * table

"""The estimate of what is alive at once, where it is known."""

import jax
import jax.numpy as jnp
import pytest

from smem_jax.compile.liveness import peak_bytes

N = 64
SIZE = N * N * 4
ARRAY = jax.ShapeDtypeStruct((N, N), jnp.float32)


def peak(function, *arrays):
    nbytes = lambda aval: aval.size * aval.dtype.itemsize  # noqa: E731
    return peak_bytes(jax.make_jaxpr(function)(*(arrays or (ARRAY,))), nbytes)


def chain(x, length):
    for _ in range(length):
        x = jnp.tanh(x @ x)
    return x.sum()


def test_elementwise_operations_and_results_take_nothing():
    assert peak(lambda x: jnp.tanh(x) * 2 + x) == 0
    assert peak(lambda x: x @ x) == 0  # what is returned has a place


@pytest.mark.parametrize("length", [1, 2, 6])
def test_a_chain_of_products_keeps_what_it_works_on(length):
    # A product, and the value of tanh that the next product takes as a whole.
    assert peak(lambda x: chain(x, length)) == min(length, 2) * SIZE


@pytest.mark.parametrize("length", [2, 5, 9])
def test_a_backward_pass_keeps_something_for_every_step(length):
    found = peak(jax.grad(lambda x: chain(x, length)))
    assert (length - 1) * SIZE <= found <= (2 * length + 2) * SIZE
    longer = peak(jax.grad(lambda x: chain(x, length + 4)))
    assert longer - found >= 4 * SIZE


def test_checkpointed_steps_keep_less():
    def loss(x, step):
        for _ in range(8):
            x = step(x)
        return x.sum()

    step = lambda x: jnp.tanh(jnp.tanh(jnp.tanh(x @ x) @ x) @ x)  # noqa: E731
    plain = peak(jax.grad(lambda x: loss(x, step)))
    less = peak(jax.grad(lambda x: loss(x, jax.checkpoint(step))))
    assert less < 0.6 * plain


def test_a_function_called_twice_has_values_of_its_own_each_time():
    inner = jax.jit(lambda x: x @ x)
    assert peak(lambda x: inner(x) @ inner(x.T)) == 3 * SIZE  # with the transpose, as a whole


def test_the_body_of_a_loop_counts_while_it_turns():
    def turn(x, _):
        return (x @ x) @ (x.T @ x), None

    assert peak(lambda x: jax.lax.scan(turn, x, None, length=100)[0]) >= 2 * SIZE
    few = peak(lambda x: jax.lax.scan(turn, x, None, length=2)[0])
    assert few == peak(lambda x: jax.lax.scan(turn, x, None, length=100)[0])


def test_sizes_are_those_that_the_caller_says():
    halved = peak_bytes(jax.make_jaxpr(lambda x: chain(x, 3))(ARRAY), lambda aval: aval.size)
    assert halved == 2 * N * N

"""The report of a compiled step, with figures that are known."""

import json

import jax
import jax.numpy as jnp
import pytest

from smem_jax.compile import check, table
from smem_jax.compile.chips import Chip

CHIP = Chip("toy", 10**6, flops=1e9, hbm_bandwidth=1e8, interconnect=1e7, shapes=("1",), most=1)


@pytest.fixture(scope="module")
def report():
    """Of one product, [64, 128] by [128, 256] of float32, whose left side is given away."""
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in [(64, 128), (128, 128)]]
    step = jax.jit(lambda x, w: jnp.tanh(x @ w), donate_argnums=0)
    state = {"params": shapes[1], "values": {"x": shapes[0]}}
    return check.analyse(
        step.lower(*shapes).compile(), CHIP, 4, state=state, tokens=64, model_flops=6e6
    )


def test_memory_is_that_of_the_compiler(report):
    memory = report.memory
    assert memory.arguments == 4 * (64 * 128 + 128 * 128) and memory.outputs == 4 * 64 * 128
    assert memory.aliased == memory.outputs
    assert memory.total == memory.arguments + memory.temporaries + memory.code
    assert memory.fits and report.fits
    small = check.dataclasses.replace(memory, capacity=memory.total - 1)
    assert not small.fits


def test_parts_of_the_state_are_named_with_the_largest_first(report):
    assert report.parts == (
        check.Part("params", 4 * 128 * 128, 4 * 128 * 128),
        check.Part("values", 4 * 64 * 128, 4 * 64 * 128),
    )


def test_parts_are_those_of_one_device():
    mesh = jax.sharding.AbstractMesh((4, 2), ("data", "memory"))
    sharding = jax.sharding.NamedSharding(mesh, jax.P(None, "memory"))
    array = jax.ShapeDtypeStruct((64, 32), jnp.bfloat16, sharding=sharding)
    assert check.state_parts({"values": array}) == (check.Part("values", 4096, 2048),)


def test_the_slowest_resource_bounds_the_step(report):
    product = 2 * 64 * 128 * 128
    assert report.seconds["compute"] == report.flops / 1e9 >= product / 1e9
    assert report.seconds["interconnect"] == report.sent_bytes == 0
    assert report.seconds["HBM"] == report.work.hbm_bytes / 1e8
    assert report.bound == "compute"
    assert report.tokens_per_second == 64 / report.step_seconds
    assert report.mfu == pytest.approx(6e6 / (4 * 1e9 * report.step_seconds))


def test_the_table_and_the_json_say_the_same(report):
    text = table.of_tpu(report)
    assert f"of {CHIP.hbm_bytes / 2**30:,.4f}: fits" in text and "no collectives" in text
    assert "bound by compute" in text
    found = json.loads(json.dumps(report.as_dict()))
    assert found["memory"]["total"] == report.memory.total and found["fits"] is True
    assert max(len(line) for line in text.splitlines()) <= 100


GIB = 2**30


@pytest.mark.parametrize(
    ("memory", "largest", "words"),
    [
        (check.Memory(GIB, GIB, GIB, 9 * GIB, 0, 8 * GIB), "params", "train.batch_size"),
        (check.Memory(9 * GIB, 9 * GIB, 9 * GIB, GIB, 0, 8 * GIB), "values", "mesh.memory"),
        (check.Memory(9 * GIB, 9 * GIB, 9 * GIB, GIB, 0, 8 * GIB), "params", "mesh.fsdp"),
        # Results that do not lie in place of arguments are kept beside them.
        (check.Memory(5 * GIB, 5 * GIB, 0, 9 * GIB, 0, 8 * GIB), "values", "num_slots"),
    ],
)
def test_what_is_largest_is_what_to_change(memory, largest, words):
    parts = (check.Part(largest, 9 * GIB, 9 * GIB), check.Part("rest", 1, 1))
    assert not memory.fits
    assert words in check.advice(memory, parts)


class Lowered:
    """Compiles as the TPU compiler does where it has no such option, and too little memory."""

    def __init__(self, *messages):
        self.messages = list(messages)

    def compile(self, compiler_options=None):
        raise RuntimeError(self.messages.pop(0))


NO_OPTION = "INVALID_ARGUMENT: No such compile option: 'xla_tpu_no_crash_on_oom'"


def test_a_compiler_that_gives_up_says_why():
    message = "RESOURCE_EXHAUSTED: Ran out of memory on HBM (20.00G) exceeds (15.75G).\nmore"
    for lowered in (Lowered(message), Lowered(NO_OPTION, message)):
        with pytest.raises(check.DoesNotFit) as error:
            check.compiled(lowered)
        assert str(error.value) == "Ran out of memory on HBM (20.00G) exceeds (15.75G)."
    with pytest.raises(RuntimeError, match="INTERNAL"):
        check.compiled(Lowered(NO_OPTION, "INTERNAL: no"))


def test_what_is_known_without_a_program_is_said():
    text = table.given_up("too much", (check.Part("values", 8 * GIB, 2 * GIB),))
    assert "values" in text and "2.00" in text and "8.00" in text
    assert text.endswith("does not fit, says the compiler: too much")

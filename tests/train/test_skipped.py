"""A step whose loss is not finite changes nothing, is named, and too many of them end the run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_stream
from flax import nnx
from job_configs import tiny

from smem_jax.data.packing import Rows
from smem_jax.errors import InputError
from smem_jax.train import init, job, learners, stream, stream_inputs
from smem_jax.train.learners.batch import Encoder
from smem_jax.train.metrics import MetricsWriter
from smem_jax.train.program import Program
from smem_jax.train.skipped import Skipped, all_finite


def test_steps_are_named_and_counted_and_too_many_in_a_row_are_an_error(capsys):
    skipped = Skipped(2)
    for number, loss in enumerate((1.0, np.nan, jnp.float32(2), jnp.inf)):
        skipped.add(f"step {number}", loss)
    skipped.check()
    assert skipped.total == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" is ")[0] for line in lines] == [
        "smem: warning: step 1",
        "smem: warning: step 3",
    ]
    skipped.add("step 4", np.nan)
    with pytest.raises(InputError, match="step 4: 2 in a row"):
        skipped.check()


def test_a_run_that_goes_on_counts_those_before(tmp_path):
    with MetricsWriter(tmp_path, 0) as metrics:
        assert metrics.skipped == 0
        for step, skipped in enumerate((0, 1, 2)):
            metrics.write(step, skipped=skipped)
    with MetricsWriter(tmp_path, 2) as metrics:
        assert metrics.skipped == 1
        metrics.write(2, recall=0.5)
    with MetricsWriter(tmp_path, 3) as metrics:
        assert metrics.skipped == 1


def _size_of_a_step(num_arrays):
    """Length of the compiled text of a step on so many arrays."""

    @jax.jit
    def step(arrays, gradient):
        kept = all_finite(gradient)
        return [jnp.where(kept, a - g, a) for a, g in zip(arrays, gradient, strict=True)]

    arrays = [jnp.ones((8, n)) for n in range(1, num_arrays + 1)]
    return len(step.lower(arrays, arrays).compile().as_text())


def test_the_compiled_step_grows_no_faster_than_its_arrays():
    """Where each array gathers what all others say, compiling a model's step takes minutes."""
    assert _size_of_a_step(80) < 2.5 * _size_of_a_step(40)


def _bits(state):
    """A copy of all arrays, which a step is free to overwrite, but of no count of steps."""
    return [np.array(leaf) for leaf in jax.tree.leaves(state) if jnp.ndim(leaf)]


def _assert_same_bits(one, other):
    for a, b in zip(one, other, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize(
    ("method", "optimizer"),
    [("sparse", "sgd"), ("sparse", "adam"), ("lora", "adam"), ("full", "sgd"), ("memory", "adam")],
)
def test_a_learner_keeps_its_bits_where_a_loss_is_not_finite(tmp_path, method, optimizer):
    config = tiny_stream.config(tmp_path)
    config.learner.update({"method": method, "optimizer": optimizer, "learning_rate": 0.01})
    inputs = stream_inputs.load(config)
    batch = Encoder(inputs.tokenizer, inputs.lessons, config.lessons.lengths, False).batches(0, 1)[
        0
    ]
    learner = learners.make(config, nnx.clone(inputs.model), inputs.block, inputs.background)
    learner.begin(batch, 0)
    learner.step(batch, 0)
    before = _bits(learner.state)
    broken = batch._replace(weights=np.full_like(batch.weights, np.inf))
    assert np.isnan(learner.step(broken, 1)["loss"])
    _assert_same_bits(_bits(learner.state), before)
    assert np.isfinite(learner.step(batch, 2)["loss"])
    after = _bits(learner.state)
    assert any((a != b).any() for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("objective", ["pretrain", "sparse"])
def test_a_job_keeps_its_bits_where_a_loss_is_not_finite(tmp_path, objective):
    program = Program(tiny(objective, tmp_path), jax.devices()[:1])
    shape = program.rows.tokens.shape
    ones = np.ones(shape, np.int32)
    rows = program.place(Rows(ones, np.broadcast_to(np.arange(shape[1]), shape), ones))
    with program.use():
        state = program.initial_state(jax.random.key(0))
        state, _ = program.step(state, rows)
        scale = next(name for name in _named(state.params) if name.endswith("scale.value"))
        broken = jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf * jnp.inf if _name(path) == scale else leaf, state.params
        )
        before = _bits(state._replace(params=broken))
        state, metrics = program.step(state._replace(params=broken), rows)
    assert np.isnan(metrics["loss"])
    _assert_same_bits(_bits(state), before)


def _name(path):
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _named(tree):
    return [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


@pytest.mark.slow
def test_a_stream_and_a_job_that_diverge_end_and_name_the_step(tmp_path, capsys):
    config = tiny_stream.config(tmp_path)
    config.learner.update({"method": "full", "learning_rate": 1e38, "max_skipped": 2})
    with pytest.raises(InputError, match=r"step 0 of lesson \d: 2 in a row"):
        stream.run(config, tmp_path / "stream")
    assert "of lesson" in capsys.readouterr().err
    fields = {"pretrain__learning_rate": 1e38, "train__max_skipped": 3, "train__steps": 20}
    config = tiny("pretrain", tmp_path, **fields, train__checkpoint_every=1)
    with pytest.raises(InputError, match=r"batch \d+: 3 in a row"):
        job.run(config, tmp_path / "job")
    saved = sorted((tmp_path / "job" / "checkpoints").iterdir(), key=lambda path: int(path.name))
    assert saved  # from before the steps that were skipped, so what is there is finite
    found = init.newest(Program(config, jax.devices()[:1]).state, tmp_path / "job")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))

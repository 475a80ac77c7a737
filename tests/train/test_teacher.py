"""Lessons taught with few rows at hand are those of the stream, row by row."""

import dataclasses

import numpy as np
import pytest
import tiny_stream
from flax import nnx

from smem_jax import patch as patches
from smem_jax.errors import InputError
from smem_jax.memory.tables import CompactTable
from smem_jax.models.retrofit import memory_layer
from smem_jax.patch.make import by_lesson
from smem_jax.train import learners, stream_inputs
from smem_jax.train.learners.batch import Encoder
from smem_jax.train.teacher import Teacher


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    config = tiny_stream.config(tmp_path_factory.mktemp("teacher"), count=4)
    config.memory.num_slots = 1024
    config.learner.update(
        {"optimizer": "sgd", "learning_rate": 5.0, "steps": 2, "top_t": 12, "select_once": True}
    )  # not Adam, whose first steps blow rounding up
    config.learner.update({"new_rows_only": True, "relevance_threshold": 2})
    return config.lock(), stream_inputs.load(config)


def teacher(inputs, known=None) -> Teacher:
    config, found = inputs
    arguments = found.model, found.tokenizer, found.block, found.background
    return Teacher(*arguments, config.learner, config.lessons.lengths, known)


@pytest.fixture(scope="module")
def streamed(inputs):
    """What the stream's own learner makes of the lessons, and its last model."""
    config, found = inputs
    graphdef, state = nnx.split(found.model)
    learner = learners.make(config, nnx.merge(graphdef, state), found.block, found.background)
    encoder = Encoder(found.tokenizer, found.lessons, config.lessons.lengths, False)
    for number in range(len(found.lessons)):
        learner.begin(encoder.batches(number, 1)[0], number * 2)
        for part, batch in enumerate(encoder.batches(number, 2)):
            learner.step(batch, number * 2 + part)
    slots = np.flatnonzero(np.asarray(learner.state.rows.changed))
    groups = np.asarray(learner.state.groups[slots])
    return by_lesson(slots, groups, np.asarray(learner.state.rows.values[slots])), learner.model()


def test_slots_and_rows_are_those_of_the_stream(inputs, streamed):
    one = teacher(inputs)
    losses = [one.teach(lesson) for lesson in inputs[1].lessons]
    assert np.isfinite(losses).all()
    learned = one.learned()
    expected, model = streamed
    np.testing.assert_array_equal(learned.starts, expected.starts)
    for start, stop in zip(learned.starts, learned.starts[1:], strict=False):
        order = np.argsort(learned.slots[start:stop])
        np.testing.assert_array_equal(learned.slots[start:stop][order], expected.slots[start:stop])
        np.testing.assert_allclose(
            learned.rows[start:stop][order], expected.rows[start:stop], rtol=1e-4, atol=1e-5
        )
    tokens = np.asarray([inputs[1].tokenizer.encode("Q: Who wrote book 2?\nA: Cid")])
    np.testing.assert_allclose(
        np.asarray(one.model()(tokens)), np.asarray(model(tokens)), rtol=1e-4, atol=1e-4
    )


def test_lessons_on_top_of_patches_leave_their_rows_alone(inputs, streamed):
    config, found = inputs
    first = teacher(inputs)
    for lesson in found.lessons[:2]:
        first.teach(lesson)
    patch = patches.make(
        first.learned(),
        memory_layer(found.model, found.block),
        name="first",
        base=config.model,
        fingerprint=found.fingerprint,
        memory=config.memory.to_dict(),
        relevance=first.relevance,
    )
    second = teacher(inputs, patches.combined([patch]))
    for lesson in found.lessons[2:]:
        second.teach(lesson)
    own = second.learned()
    assert not set(own.slots) & set(patch.slots)
    assert len(own.starts) == 3
    # Together they are what one teacher of all four makes.
    expected, _ = streamed
    assert {*own.slots, *patch.slots} == set(expected.slots)
    layer = memory_layer(second.model(), found.block)
    assert isinstance(layer.table, CompactTable)
    rows = np.asarray(layer.table.values[...])[np.asarray(layer.table.places(expected.slots))]
    np.testing.assert_allclose(rows, expected.rows, rtol=1e-4, atol=1e-5)


def test_more_slots_than_a_lesson_reads_are_no_error(inputs):
    config, found = inputs
    config = config.copy_and_resolve_references().unlock()
    config.learner.top_t = 5000
    one = teacher((config, found))
    one.teach(found.lessons[0])
    assert 12 < len(one.learned().slots) < 1024
    config.learner.selection = "random"
    with pytest.raises(InputError, match=r"learner\.selection='random' is for streams"):
        teacher((config, found))


def test_what_cannot_be_taught_is_refused_and_changes_nothing(inputs):
    one = teacher(inputs)
    long = dataclasses.replace(
        inputs[1].lessons[0],
        passages=tuple(p._replace(prompt="x" * 100) for p in inputs[1].lessons[0].passages),
    )
    with pytest.raises(InputError, match="is too long: 64 tokens at most"):
        one.teach(long)
    for _ in range(200):
        before = len(one.learned().slots)
        try:
            one.teach(inputs[1].lessons[1])
        except InputError as error:
            message = str(error)
            break
    assert "finds no row that is free" in message
    assert len(one.learned().slots) == before

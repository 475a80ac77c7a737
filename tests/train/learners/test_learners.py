"""Each learner against its definition: what it may change, and by how much."""

import functools
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_stream
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from smem_jax import config as config_module
from smem_jax import slots
from smem_jax.errors import InputError
from smem_jax.memory.relevance import NO_GROUP
from smem_jax.models.retrofit import memory_layer
from smem_jax.models.transformer import Transformer
from smem_jax.stream_settings import stream_defaults
from smem_jax.train import learners, stream_inputs
from smem_jax.train.background import Documents
from smem_jax.train.learners import sparse
from smem_jax.train.learners.batch import Batch, Encoder, with_replay


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return tiny_stream.config(tmp_path_factory.mktemp("inputs"))


def _set(config, **fields):
    config = config.copy_and_resolve_references()
    config.learner.update(fields)
    return config


@functools.cache
def _inputs(config_json: str) -> stream_inputs.Inputs:
    return stream_inputs.load(config_module.from_json(config_json, stream_defaults()))


def _like(config):
    """The same for all learners of a model."""
    like = config.copy_and_resolve_references()
    like.learner = stream_defaults().learner.copy_and_resolve_references()
    like.learner.method = "memory" if learners.needs_memory(config) else "full"
    return like


def _start(config) -> tuple[learners.Learner, Batch, Transformer]:
    """A learner, the batch of its first lesson, and an untaught model."""
    inputs = _inputs(config_module.to_json(_like(config)))
    encoder = Encoder(
        inputs.tokenizer, inputs.lessons, config.lessons.lengths, config.learner.replay > 0
    )
    learner = learners.make(config, nnx.clone(inputs.model), inputs.block, inputs.background)
    return learner, encoder.batches(0, 1)[0], inputs.model


def _arrays(model) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(nnx.state(model))
    return {jax.tree_util.keystr(path): np.array(leaf) for path, leaf in leaves}


def _changed(before: dict, after: dict) -> set[str]:
    return {name for name in after if name not in before or (before[name] != after[name]).any()}


@nnx.jit
def _reads(model: Transformer, tokens: jax.Array) -> jax.Array:
    """Slots that the memory of the first block reads."""
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    _, hidden, _ = model.blocks[0].before_memory(model.embed(tokens), positions)
    return model.blocks[0].memory.read(hidden).indices


def _loss(model: Transformer, batch: Batch) -> jax.Array:
    logits = model(jnp.asarray(batch.tokens))
    logits = jnp.take_along_axis(logits, jnp.asarray(batch.positions)[..., None], axis=1)
    nll = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(batch.targets))
    return (nll * batch.weights).sum() / batch.weights.sum()


@pytest.mark.parametrize("selection", ["tf_idf", "read"])
def test_sparse_changes_rows_of_the_batch_only(config, selection):
    learner, batch, untaught = _start(_set(config, selection=selection))
    found = learner.step(batch, 0)
    before, after = _arrays(untaught), _arrays(learner.model())
    (table,) = _changed(before, after)
    assert "'values'" in table
    rows = (before[table] != after[table]).any(axis=1)
    read = np.asarray(_reads(untaught, batch.tokens))[batch.is_lesson]
    assert set(np.flatnonzero(rows)) <= set(read.ravel().tolist())
    limit = 64 if selection == "read" else 8
    assert 0 < rows.sum() <= found["rows"] <= limit


def test_rows_that_background_reads_often_are_left_alone(config):
    background = _inputs(config_module.to_json(_like(config))).background
    assert background is not None
    frequency, limit = background.document_frequency, int(background.document_frequency.max()) - 1
    learner, batch, untaught = _start(_set(config, max_document_frequency=limit))
    assert learner.step(batch, 0)["rows"] > 0
    before, after = _arrays(untaught), _arrays(learner.model())
    (table,) = _changed(before, after)
    rows = (before[table] != after[table]).any(axis=1)
    assert rows.sum() > 0 and frequency[rows].max() <= limit < frequency.max()


def test_the_slots_of_a_lesson_are_selected_once_for_all_of_its_steps(config):
    config = _set(config, select_once=True, steps=2)
    learner, lesson, untaught = _start(config)
    inputs = _inputs(config_module.to_json(_like(config)))
    first, second = Encoder(inputs.tokenizer, inputs.lessons, (64,), False).batches(0, 2)
    background = inputs.background
    assert background is not None
    selection = slots.select_read_slots(
        _reads(untaught, lesson.tokens),
        background.document_frequency,
        background.num_documents,
        config.learner.top_t,
        lesson.is_lesson,
    )
    learner.begin(lesson, 0)
    for number, batch in enumerate((first, second)):
        learner.step(batch, number)
    before, after = _arrays(untaught), _arrays(learner.model())
    (table,) = _changed(before, after)
    rows = np.flatnonzero((before[table] != after[table]).any(axis=1))
    assert len(rows) and set(rows) <= set(np.asarray(selection.slots)[selection.is_real].tolist())


def test_a_gated_lesson_is_learned_and_asked_through_the_same_gate(config):
    gate = {"relevance_threshold": 3, "relevance_window": 4}
    learner, batch, untaught = _start(_set(config, select_once=True, **gate))
    learner.begin(batch, 7)
    loss, losses = nnx.jit(_loss), []
    learner.step(batch, 7)
    groups = np.array(learner.state.groups)
    for number in range(8, 11):
        losses.append(float(loss(learner.model(), batch)))
        np.testing.assert_allclose(learner.step(batch, number)["loss"], losses[-1], rtol=1e-5)
    assert losses[-1] < losses[0]
    before, after = _arrays(untaught), _arrays(learner.model())
    (table,) = [name for name in _changed(before, after) if name in before]
    changed = (before[table] != after[table]).any(axis=1)
    assert changed.any() and set(groups[changed]) == {7} and (groups == NO_GROUP).any()
    # Without the gate, the same rows say something else.
    open_model = learner.model()
    open_model.blocks[0].memory.relevance = nnx.data(None)
    assert abs(float(loss(open_model, batch)) - float(loss(learner.model(), batch))) > 1e-6


def test_rows_of_earlier_lessons_stay_bit_for_bit(config):
    learner, batch, _ = _start(_set(config, select_once=True, new_rows_only=True))
    tables, groups = [], []
    for lesson in range(3):  # the same one, so that each wants the rows of the one before
        learner.begin(batch, lesson)
        learner.step(batch, lesson)
        tables.append(np.array(learner.state.rows.values))
        groups.append(np.array(learner.state.groups))
    for later in (1, 2):
        taught = groups[later - 1] != NO_GROUP
        assert tables[later][taught].tobytes() == tables[later - 1][taught].tobytes()
        np.testing.assert_array_equal(groups[later][taught], groups[later - 1][taught])
        assert (tables[later] != tables[later - 1]).any()


def _first(documents: Documents, count: int) -> Documents:
    return Documents(documents.tokens[:count], documents.lengths[:count])


@pytest.mark.parametrize("select_once", [False, True])
def test_replayed_text_trains_the_rows_of_the_lesson_that_it_reads(config, select_once):
    config = _set(config, select_once=select_once, replay=2, learning_rate=1.0)
    inputs = _inputs(config_module.to_json(_like(config)))
    learner, batch, untaught = _start(config)
    batch = with_replay(batch, _first(inputs.documents, 2), 1.0, inputs.tokenizer.pad_id)
    # Of the lesson no token counts; what it reads is selected nonetheless.
    alone = batch._replace(weights=np.where(batch.is_lesson.any(axis=1)[:, None], 0, batch.weights))
    learner.begin(alone, 0)
    learner.step(alone, 0)
    before, after = _arrays(untaught), _arrays(learner.model())
    (table,) = [name for name in _changed(before, after) if name in before]
    rows = np.flatnonzero((before[table] != after[table]).any(axis=1))
    tokens = np.asarray(_reads(untaught, batch.tokens))
    of_lesson, replayed = tokens[batch.is_lesson], tokens[~batch.is_lesson.any(axis=1)]
    assert 0 < len(rows) <= 8
    assert set(rows) <= set(of_lesson.ravel().tolist()) & set(replayed.ravel().tolist())


def test_every_read_slot_has_room_where_text_is_replayed(config):
    learner, batch, _ = _start(_set(config, selection="read", replay=3))
    inputs = _inputs(config_module.to_json(_like(_set(config, selection="read"))))
    batch = with_replay(batch, _first(inputs.documents, 3), 1.0, inputs.tokenizer.pad_id)
    assert learner.step(batch, 0)["rows"] > 0


def test_a_step_that_is_not_applied_claims_no_rows(config):
    learner, batch, _ = _start(_set(config, select_once=True, new_rows_only=True))
    broken = batch._replace(weights=np.full_like(batch.weights, np.nan))
    learner.begin(batch, 3)
    assert np.isnan(learner.step(broken, 3)["loss"])
    assert (np.asarray(learner.state.groups) == NO_GROUP).all()
    learner.step(batch, 4)
    assert set(np.asarray(learner.state.groups).tolist()) == {NO_GROUP, 3}


def test_lessons_of_one_document_share_its_rows_and_no_other_takes_them(config):
    gate = {"relevance_threshold": 3, "relevance_window": 4, "new_rows_only": True}
    learner, batch, _ = _start(_set(config, select_once=True, **gate))
    selected, groups = {}, {}
    for number, group in ((7, 7), (8, 7), (9, None)):  # the same passages, which want the same rows
        learner.begin(batch, number, group)
        learner.step(batch, number)
        selected[number] = set(np.asarray(learner.selected).tolist())
        groups[number] = np.array(learner.state.groups)
    assert selected[8] == selected[7] and not selected[9] & selected[7]
    np.testing.assert_array_equal(groups[8], groups[7])
    of_document = groups[7] == 7
    assert set(groups[9][of_document].tolist()) == {7}
    assert set(groups[9][~of_document].tolist()) == {NO_GROUP, 9}


def test_a_table_without_rows_for_a_lesson_says_so_once(config):
    learner, batch, _ = _start(_set(config, select_once=True, new_rows_only=True))
    with warnings.catch_warnings(record=True, action="always") as said:
        for lesson in range(12):
            learner.begin(batch, lesson)
            learner.step(batch, lesson)
    (warning,) = said
    assert re.search(r"leaves \d of learner\.top_t=8 rows for a lesson", str(warning.message))
    learner.step(batch, 12)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"relevance_threshold": 3}, r"learner\.relevance_threshold=3 needs learner\.select_once"),
        ({"new_rows_only": True}, r"learner\.new_rows_only=True needs learner\.select_once"),
        ({"selection": "read", "select_once": True}, r"'read' needs learner\.select_once=False"),
        (
            {"relevance_threshold": 3, "select_once": True, "drift_weight": 5.0},
            r"learner\.drift_weight=5\.0 must be 0 with a relevance gate",
        ),
    ],
)
def test_settings_that_do_not_go_together_say_so(config, fields, message):
    with pytest.raises(InputError, match=message):
        learners.check(_set(config, **fields))


def test_a_gate_is_refused_where_it_would_silence_what_the_memory_says_already(config):
    config = _set(config, select_once=True, relevance_threshold=3)
    inputs = _inputs(config_module.to_json(_like(config)))
    model = nnx.clone(inputs.model)
    memory_layer(model, 0).table.values[...] += 1
    with pytest.raises(InputError, match="says something before it is taught"):
        learners.check_memory(config, memory_layer(model, 0))


def test_more_slots_than_the_memory_has_are_refused_before_anything_is_measured(config):
    with pytest.raises(InputError, match="top_t=1048576 exceeds num_slots=64"):
        stream_inputs.load(_set(config, top_t=2**20, select_once=True))


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 9))
@settings(deadline=None, max_examples=50)
def test_readers_are_tokens_that_read_the_slot(seed, count):
    random = np.random.default_rng(seed)
    tokens = random.integers(1, 9)
    indices = np.stack([random.permutation(12)[:3] for _ in range(tokens)])
    found = sparse.readers(indices, 12, count, seed)
    for slot, listed in enumerate(found):
        reading = np.flatnonzero((indices == slot).any(axis=1))
        real = listed[listed < tokens]
        assert len(real) == len(set(real)) == min(count, len(reading))
        assert set(real) <= set(reading) and (listed[len(real) :] == tokens).all()


def test_drift_at_readers_is_taken(config):
    fields = {"drift_weight": 1.0, "learning_rate": 1.0}
    plain, batch, _ = _start(_set(config, **fields))
    at_readers, _, _ = _start(_set(config, drift_readers=2, **fields))
    for number in range(2):
        first, second = (learner.step(batch, number) for learner in (plain, at_readers))
    # The second step finds rows that the first has moved: all of its tokens read some of them.
    assert second["drift"] > first["drift"] > 0


def test_sparse_with_every_read_slot_is_the_dense_step_on_the_table(config):
    learner, batch, untaught = _start(
        _set(config, selection="read", learning_rate=3.0, num_parts=2)
    )
    learner.step(batch, 0)
    graphdef, state = nnx.split(untaught)
    gradient = jax.jit(jax.grad(lambda s: _loss(nnx.merge(graphdef, s), batch)))(state)
    values = state["blocks"][0]["memory"]["table"]["values"][...]
    expected = values - 3.0 * gradient["blocks"][0]["memory"]["table"]["values"][...]
    found = learner.model().blocks[0].memory.table.values[...]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("num_parts", [1, 2])
def test_full_is_adamw_on_all_parameters(config, num_parts):
    fields = {"method": "full", "optimizer": "adam", "learning_rate": 1e-2, "weight_decay": 0.1}
    learner, batch, untaught = _start(_set(config, num_parts=num_parts, **fields))
    reported = learner.step(batch, 0)["loss"]
    graphdef, state = nnx.split(untaught)
    differentiate = jax.jit(jax.value_and_grad(lambda s: _loss(nnx.merge(graphdef, s), batch)))
    loss, gradient = differentiate(state)
    optimizer = optax.adamw(1e-2, 0.9, 0.99, weight_decay=0.1)
    updates, _ = optimizer.update(gradient, optimizer.init(state), state)
    expected = nnx.merge(graphdef, optax.apply_updates(state, updates))
    assert reported == pytest.approx(float(loss), rel=1e-5)
    for name, array in _arrays(learner.model()).items():
        np.testing.assert_allclose(array, _arrays(expected)[name], atol=2e-4, err_msg=name)


def test_lora_changes_nothing_but_its_own_weights(config):
    fields = {"method": "lora", "optimizer": "adam", "learning_rate": 1e-2, "rank": 2, "alpha": 4}
    learner, batch, untaught = _start(_set(config, **fields))
    first = learner.step(batch, 0)["loss"]
    assert learner.step(batch, 1)["loss"] < first
    before = {
        name.replace("['base']", ""): array for name, array in _arrays(learner.model()).items()
    }
    base = _arrays(untaught)
    assert base.keys() <= before.keys()
    assert not _changed(before, base)
    assert all(
        name.endswith(("['a'].value", "['b'].value")) for name in before.keys() - base.keys()
    )


def test_memory_changes_all_of_the_memory_layer_and_nothing_else(config):
    fields = {"method": "memory", "optimizer": "adam", "learning_rate": 1e-2}
    learner, batch, untaught = _start(_set(config, **fields))
    # With all values at zero only these have a gradient; after a step the queries have one, too.
    learner.step(batch, 0)
    learner.step(batch, 1)
    changed = _changed(_arrays(untaught), _arrays(learner.model()))
    assert all("['memory']" in name for name in changed)
    assert {"values", "sub_keys", "kernel"} <= {name.split("'")[-2] for name in changed}


def test_replayed_documents_weigh_as_asked_and_are_not_counted(config):
    _, batch, _ = _start(_set(config, replay=2))
    seq = batch.tokens.shape[1]
    documents = Documents(
        np.arange(2 * 100, dtype=np.int32).reshape(2, 100), np.asarray([9, 100], np.int32)
    )
    both = with_replay(batch, documents, 0.5, pad_id=0)
    assert both.weights[4:].sum() == pytest.approx(0.5 * batch.weights.sum(), rel=1e-5)
    assert not both.is_lesson[4:].any() and both.is_lesson[:4].any()
    scored = both.weights[4:] > 0
    assert scored.sum(axis=1).tolist() == [9 - 1, seq - 1]
    nexts = np.take_along_axis(documents.tokens, both.positions[4:] + 1, axis=1)
    np.testing.assert_array_equal(nexts[scored], both.targets[4:][scored])
    assert len(np.unique(both.weights[4:][scored])) == 1


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"method": "magic"}, "learner.method='magic' must be one of sparse, full, lora, memory"),
        ({"steps": 3}, "learner.steps=3 must divide lessons.passages=4"),
        ({"num_parts": 3}, "learner.num_parts=3 must divide the 4 rows"),
        ({"learning_rate": 0.0}, "learner.learning_rate=0.0 must be above 0"),
        ({"max_document_frequency": -1}, "learner.max_document_frequency=-1 must be at least 0"),
        ({"drift_readers": -1}, "learner.drift_readers=-1 must be at least 0"),
        ({"optimizer": "sdg"}, "learner.optimizer='sdg' must be one of sgd, adam"),
        ({"selection": "tfidf"}, "learner.selection='tfidf' must be one of tf_idf, tf,"),
        ({"missed_steps": "x"}, "learner.missed_steps='x' must be one of lazy, catch_up"),
        ({"steps": 0}, "learner.steps=0 must be at least 1"),
        ({"num_parts": 0}, "learner.num_parts=0 must be at least 1"),
        ({"top_t": 0}, "learner.top_t=0 must be at least 1"),
        ({"replay": -1}, "learner.replay=-1 must be at least 0"),
        ({"drift_weight": float("nan")}, "learner.drift_weight=nan must be at least 0"),
        ({"weight_decay": 0.5}, "weight_decay=0.5 must be 0 with optimizer='sgd'"),
    ],
)
def test_a_learner_that_cannot_be_right_is_refused(config, fields, message):
    with pytest.raises(InputError, match=message):
        learners.check(_set(config, **fields))

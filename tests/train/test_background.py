import numpy as np
import pytest
import tiny_stream

from smem_jax.data.questions import Question, read_questions
from smem_jax.errors import InputError
from smem_jax.models import pretrained
from smem_jax.models.retrofit import memory_layer
from smem_jax.train import background, prefix, retrofitted


@pytest.fixture
def inputs(tmp_path):
    """A configuration, the tokenizer and the base model of it, and its background documents."""
    config = tiny_stream.config(tmp_path)
    base = pretrained.load(config.model)
    documents = background.read(config.background, base.tokenizer, config.lessons.frames)
    return config, base, documents


def test_prose_fills_windows_and_each_question_begins_a_document(inputs):
    config, base, documents = inputs
    prose = documents.lengths == config.background.seq_len
    assert prose.any() and not prose.all()
    joined = base.tokenizer.decode(documents.tokens[prose].ravel().tolist())
    assert joined in "some ordinary text, again and again\n" * 61
    rows = zip(documents.tokens[~prose], documents.lengths[~prose], strict=True)
    said = [base.tokenizer.decode(row[:length].tolist()) for row, length in rows]
    questions = read_questions(config.background.questions)
    assert said == [f"Q: {q.question}\nA: {q.answers[0]}\n" for q in questions]


def test_frequency_counts_documents_and_padding_reads_nothing(inputs, tmp_path):
    config, base, documents = inputs
    model = retrofitted.build(base, config)
    found = background.measure(
        model, 0, documents, fingerprint="f", memory="m", sample_tokens=10**6, seed=0
    )
    layer = memory_layer(model, 0)
    frequency = np.zeros(config.memory.num_slots, np.int32)
    reads = []
    for row, length in zip(documents.tokens, documents.lengths, strict=True):
        alone = prefix.run(model, 0, row[None, :length], None)
        indices, _ = prefix.reads(layer, alone.hidden[0])
        frequency[np.unique(indices)] += 1
        reads.append(indices)
    np.testing.assert_array_equal(found.document_frequency, frequency)
    assert found.num_documents == len(documents.tokens)
    # Of all tokens, the padding left out, as often as they were read.
    assert sorted(found.indices.ravel()) == sorted(np.concatenate(reads).ravel())
    # A cache that cannot be written to is done without.
    no_cache = tmp_path / "text.txt" / "kept.safetensors"
    assert background.kept(no_cache, "f", "m", lambda: found) is found


def test_nothing_to_read_is_refused(inputs):
    config, base, _ = inputs
    config.background.update({"text": "", "questions": ""})
    with pytest.raises(InputError, match="both ''; one must be a file"):
        background.read(config.background, base.tokenizer, config.lessons.frames)
    with pytest.raises(InputError, match="fills no window of 64 tokens"):
        background.documents(base.tokenizer, ["short"], [], [], 64, packed=True)


@pytest.mark.parametrize("frames", [(), ("Q {q}",)])
def test_frames_that_are_none_are_refused(inputs, frames):
    config, base, _ = inputs
    with pytest.raises(InputError, match=r"must be a list of|must hold \{question\} once"):
        background.read(config.background, base.tokenizer, frames)


def test_a_question_may_have_braces(inputs):
    _, base, _ = inputs
    [question] = background.documents(
        base.tokenizer,
        [],
        [Question("what is {0}", ("a {set}",))],
        ["Q: {question}\nA:"],
        64,
        False,
    ).tokens
    assert "Q: what is {0}\nA: a {set}\n" in base.tokenizer.decode(question.tolist())


def test_packed_questions_fill_windows(inputs):
    config, base, documents = inputs
    config.background.packed = True
    packed = background.read(config.background, base.tokenizer, config.lessons.frames)
    assert (packed.lengths == config.background.seq_len).all()
    apart = documents.lengths < config.background.seq_len
    rows = zip(documents.tokens[apart], documents.lengths[apart], strict=True)
    joined = np.concatenate([row[:length] for row, length in rows])
    questions = packed.tokens[int((~apart).sum()) :].ravel()
    assert len(joined) - config.background.seq_len < len(questions) <= len(joined)
    np.testing.assert_array_equal(questions, joined[: len(questions)])

"""Recall without generation, against the greedy choice token by token."""

import numpy as np
import pytest
from flax import nnx

from smem_jax.data.byte_tokenizer import ByteTokenizer
from smem_jax.errors import InputError
from smem_jax.evaluate import generate, recall, token_scores
from smem_jax.models.config import ModelConfig
from smem_jax.models.transformer import Transformer


def _prompts(count):
    """With a short answer, each takes 17 to 32 tokens, so that all have one padded length."""
    random = np.random.RandomState(0)
    letters = np.asarray(list("abcdefgh ?.,"))
    return ["".join(random.choice(letters, random.randint(14, 23))) for _ in range(count)]


def test_an_answer_is_right_just_where_it_would_be_generated(talker, oracle):
    model, tokenizer = talker
    prompts = _prompts(200)
    said = [oracle.says(prompt, 8) for prompt in prompts]
    # A text of 8 tokens may have been cut short.
    ended = [text for text in said if text.startswith(" ") and 1 < len(text) < 8]
    tried = sorted({text[1:] for text in ended})
    assert len(ended) >= 15 and len(tried) >= 5
    pairs = [(prompt, answer) for prompt in prompts for answer in tried[:8]]
    found = recall.follows(model, tokenizer, *zip(*pairs, strict=True))
    generated = np.repeat(said, len(tried[:8]))
    expected = [f" {answer}" == text for (_, answer), text in zip(pairs, generated, strict=True)]
    assert found.right.tolist() == expected


def test_the_likelihood_is_that_of_the_answer_alone(talker, oracle):
    model, tokenizer = talker
    prompts, answers = _prompts(40), [f"{'ab' * (i % 4)}a" for i in range(40)]
    found = recall.follows(model, tokenizer, prompts, answers)
    expected = [oracle.nats(*pair).mean() for pair in zip(prompts, answers, strict=True)]
    np.testing.assert_allclose(found.nll, expected, rtol=1e-4)


def test_a_shared_beginning_changes_nothing(talker, oracle):
    model, tokenizer = talker
    prompts = ["Q: who?\nA: b\n" * 5 + prompt for prompt in _prompts(64)]
    said = [oracle.says(prompt, 6) for prompt in prompts]
    answers = [text.strip() or "b" for text in said]
    found = recall.Prompts(tokenizer, prompts, answers)
    assert {batch.tokens.shape for batch in found._scores._batches} == {(64, 32)}
    right, nll = found.measure(model)
    assert 0 < right.sum() < 64
    expected = [oracle.nats(*pair).mean() for pair in zip(prompts, answers, strict=True)]
    np.testing.assert_allclose(nll, expected, rtol=1e-4)
    assert right.tolist() == [
        f" {answer}" == text for answer, text in zip(answers, said, strict=True)
    ]


def test_batches_have_few_shapes_and_little_padding(talker):
    prompts = recall.Prompts(talker[1], ["x" * (i % 40 + 1) for i in range(600)], ["a"] * 600)
    batches = [batch.tokens for batch in prompts._scores._batches]
    assert len({batch.shape for batch in batches}) <= 4
    assert sum(batch.size for batch in batches) < 1.5 * sum(i % 40 + 3 for i in range(600))


def test_a_model_measured_again_compiles_nothing(talker):
    model, tokenizer = talker
    prompts = recall.Prompts(tokenizer, _prompts(40), ["b"] * 40)
    first = prompts.measure(model)
    size = token_scores._hidden._cache_size()
    again = recall.Prompts(tokenizer, _prompts(41)[1:], ["c"] * 40).measure(model)
    assert token_scores._hidden._cache_size() == size
    assert not np.array_equal(first.nll, again.nll)


def test_no_prompts_are_no_answers(talker):
    found = recall.follows(*talker, [], [])
    assert found.right.shape == found.nll.shape == (0,)


def test_bad_prompts_are_refused(talker):
    model, tokenizer = talker
    with pytest.raises(InputError, match="prompt '' is empty"):
        recall.Prompts(tokenizer, [""], ["x"])
    with pytest.raises(InputError, match="a row has 602 tokens; the model takes 1 to 512"):
        recall.follows(model, tokenizer, ["x" * 600], ["x"])


def test_a_model_of_bytes_is_asked_as_any_other():
    sizes = ModelConfig(
        vocab_size=257,
        num_blocks=1,
        embed_dim=8,
        num_heads=1,
        num_kv_heads=1,
        head_dim=8,
        ffn_dim=8,
    )
    model, tokenizer = Transformer(sizes, rngs=nnx.Rngs(0)), ByteTokenizer()
    [said] = generate.answers(model, tokenizer, ["Q: who?\nA:"], 3)
    assert isinstance(said, str)
    assert recall.follows(model, tokenizer, ["Q: who?\nA:"], ["me"]).nll[0] > 0

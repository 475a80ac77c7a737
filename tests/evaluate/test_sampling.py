"""Tokens drawn at random, against their probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smem_jax.errors import InputError
from smem_jax.evaluate import generate
from smem_jax.evaluate.sampling import Sampling, choice, choose

_SHARES = np.asarray([0.15, 0.5, 0.05, 0.3])


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(1.0), _SHARES),
        (Sampling(0.5), _SHARES**2),
        (Sampling(1.0, top_p=0.75), [0, 0.5, 0, 0.3]),  # the first two have 0.8 of it
        (Sampling(1.0, top_k=3), [0.15, 0.5, 0, 0.3]),
        (Sampling(1.0, top_k=9), _SHARES),
        # Of the first three, the first two have more than 0.8 and not more than 0.85.
        (Sampling(1.0, top_p=0.8, top_k=3), [0, 0.5, 0, 0.3]),
        (Sampling(1.0, top_p=0.85, top_k=3), [0.15, 0.5, 0, 0.3]),
        (Sampling(1.0, top_k=1), [0, 1, 0, 0]),
        (Sampling(1.0, top_p=0.01), [0, 1, 0, 0]),
        (Sampling(0.0), [0, 1, 0, 0]),
    ],
)
def test_tokens_are_drawn_with_their_probabilities(sampling, expected):
    logits = jnp.log(jnp.asarray(_SHARES))
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.vmap(lambda key: choose(logits, choice(sampling), key))(keys)
    shares = np.bincount(np.asarray(drawn), minlength=4) / len(keys)
    np.testing.assert_allclose(shares, np.asarray(expected) / np.sum(expected), atol=0.03)
    assert not shares[np.asarray(expected) == 0].any()


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling(temperature=-1), "temperature=-1 must be at least 0"),
        (Sampling(temperature=float("nan")), "temperature=nan"),
        (Sampling(top_p=0), "top_p=0 must be above 0"),
        (Sampling(top_k=-1), "top_k=-1 must be at least 0"),
        (Sampling(seed=2**32), "seed=4294967296 must be at least 0 and below"),
        (Sampling(max_new_tokens=0), "max_new_tokens=0 must be at least 1"),
    ],
)
def test_sampling_that_makes_no_sense_is_refused(sampling, message):
    with pytest.raises(InputError, match=message):
        sampling.check()


def _until(talker, prompts, sampling, batch_size=50, numbers=()):
    model, tokenizer = talker
    rows = [tokenizer.encode(prompt) for prompt in prompts]
    count = sampling.max_new_tokens
    return generate.until(model, tokenizer, rows, count, ["\n"], batch_size, sampling, numbers)


def test_many_continuations_have_the_probabilities_of_the_model(talker, oracle):
    sampling = Sampling(0.7, seed=3, max_new_tokens=2)
    found = _until(talker, ["cb"] * 3000, sampling, batch_size=1000)
    [start] = [talker[1].encode("cb")]
    pieces = {text: talker[1].encode(text)[0] for text in (" ", "b", "c")}

    def shares(ids: list[int]) -> dict[str, float]:
        scaled = oracle.log_probabilities(ids)[-1] / 0.7
        odds = np.exp(scaled - scaled.max())
        return {text: odds[token] / odds.sum() for text, token in pieces.items()}

    first = shares(start)
    for text, token in pieces.items():
        rest = shares([*start, token])
        for following in pieces:
            share = sum(one == text + following for one in found) / len(found)
            assert share == pytest.approx(first[text] * rest[following], abs=0.03)
    assert 0.2 < sum(first.values()) < 1


def test_a_row_draws_by_its_number_and_the_seed_in_whatever_batch_it_stands(talker):
    prompts = ["cb", "bc c", "b"] * 4
    sampling = Sampling(2.0, seed=5, max_new_tokens=12)
    whole = _until(talker, prompts, sampling)
    assert len(set(whole[::3])) > 1  # of one prompt
    assert _until(talker, prompts, sampling, batch_size=4) == whole
    places = [7, 2, 11]
    assert _until(talker, [prompts[i] for i in places], sampling, 50, places) == [
        whole[i] for i in places
    ]
    assert _until(talker, prompts, sampling._replace(seed=6)) != whole
    with pytest.raises(ValueError, match="2 numbers for 12 rows"):
        _until(talker, prompts, sampling, 50, [0, 1])


def test_without_a_temperature_the_likeliest_is_said(talker, oracle):
    prompts = ["cb", "Q: who?\nA:", "b" * 40]
    found = _until(talker, prompts, Sampling(max_new_tokens=12))
    assert found == [oracle.says(prompt, 12) for prompt in prompts]

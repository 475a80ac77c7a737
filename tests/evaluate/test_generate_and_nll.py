"""Generation and likelihood against loops that do the obvious thing."""

import numpy as np
import pytest
import tiny_llama
from flax import nnx

from smem_jax.errors import InputError
from smem_jax.evaluate import generate, nll
from smem_jax.models import pretrained
from smem_jax.models.transformer import Transformer


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tiny_llama.write(tmp_path_factory.mktemp("tiny"), "linear_rope")
    base = pretrained.load(str(path))
    return Transformer.from_tensors(base.config, base.tensors), base.tokenizer


_logits = nnx.jit(lambda model, tokens: model(tokens))


def _log_probabilities(model, ids):
    # Padding to the right changes nothing before it, and lets all lengths share a compilation.
    padded = np.pad(np.asarray([ids]), ((0, 0), (0, -len(ids) % 64)))
    logits = np.asarray(_logits(model, padded), np.float64)[0, : len(ids)]
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def test_generation_is_the_greedy_choice_without_a_cache(tiny):
    model, tokenizer = tiny
    prompts = ["hello", "a longer prompt than that", "?"]
    found = generate.generate(model, tokenizer, prompts, 5, tokenizer.special_ids, batch_size=2)
    for prompt, text in zip(prompts, found, strict=True):
        ids = tokenizer.encode(prompt)
        new = []
        for _ in range(5):
            token = int(_log_probabilities(model, ids + new)[-1].argmax())
            if token in tokenizer.special_ids:
                break
            new.append(token)
        assert text == tokenizer.decode(new)


def test_one_compilation_serves_prompts_of_several_lengths(tiny):
    model, tokenizer = tiny
    generate._tokens.clear_cache()
    for length in (1, 7, 31):
        generate.generate(model, tokenizer, ["x" * length] * 2, 3, [0])
    assert generate._tokens._cache_size() == 1


def test_a_shared_beginning_is_run_once_and_changes_nothing(tiny, monkeypatch):
    model, tokenizer = tiny
    prompts = ["the same words " * 4 + f"and {number}{'?' * number}" for number in range(8)]
    assert generate.shared_prefix.shared_length([tokenizer.encode(p) for p in prompts], 512) == 64
    found = generate.generate(model, tokenizer, prompts, 6, tokenizer.special_ids)
    monkeypatch.setattr(generate.shared_prefix, "shared_length", lambda *_: 0)
    assert generate.generate(model, tokenizer, prompts, 6, tokenizer.special_ids) == found
    assert len(set(found)) > 1


def test_a_stop_token_ends_the_text(tiny):
    model, tokenizer = tiny
    ids = tokenizer.encode("hello")
    first = int(_log_probabilities(model, ids)[-1].argmax())
    assert generate.generate(model, tokenizer, ["hello"], 5, [first]) == [""]


def test_texts_end_a_continuation_wherever_they_begin(tiny):
    model, tokenizer = tiny
    rows = [tokenizer.encode(prompt) for prompt in ("hello", "a longer prompt than that", "?")]
    whole = generate.until(model, tokenizer, rows, 24, [])
    for stops in ([whole[0][3:6], whole[1][7]], ["not", whole[2][:1]]):
        found = generate.until(model, tokenizer, rows, 24, stops, batch_size=2)
        for text, cut in zip(whole, found, strict=True):
            assert cut == min((text.partition(stop)[0] for stop in stops), key=len)
    assert len({len(text) for text in found}) > 1


def test_a_stop_of_several_tokens_ends_the_work(tiny):
    model, tokenizer = tiny
    rows = [tokenizer.encode("hello")]
    [(ids, count)] = generate._continue(model, 0, rows, 24, [], [], 1)
    assert count == 24
    stop = [ids[3:6], ids[8:9]]
    [(again, count)] = generate._continue(model, 0, rows, 24, [], stop, 1)
    assert count == 5 and again[:6] == ids[:6] and not any(again[6:])


def test_an_empty_prompt_and_one_too_long_are_refused(tiny):
    model, tokenizer = tiny
    for prompt in ("", "x" * 600):
        with pytest.raises(InputError, match="tokens; 1 to 509 are right"):
            generate.generate(model, tokenizer, [prompt], 3, [0])
    with pytest.raises(InputError, match="max_new_tokens=600 must be below 512, the positions"):
        generate.generate(model, tokenizer, ["who?"], 600, [0])


def test_text_likelihood_scores_every_token_but_the_first_once(tiny):
    model, tokenizer = tiny
    texts = ["some text to score", "and another line of it"]
    found = nll.text_nll(model, tokenizer, texts, seq_len=8)
    ids = [t for text in texts for t in tokenizer.encode(f"{text}\n")]
    expected = 0.0
    for start in range(0, len(ids) - 1, 8):
        window = ids[start : start + 9]
        log_probabilities = _log_probabilities(model, window[:-1])
        expected -= log_probabilities[np.arange(len(window) - 1), window[1:]].sum()
    assert found.tokens == len(ids) - 1
    assert found.total == pytest.approx(expected, rel=1e-5)


def test_windows_of_text_are_no_longer_than_the_positions_of_the_model(tmp_path):
    path = tiny_llama.write(tmp_path, "linear_rope", max_position_embeddings=8)
    base = pretrained.load(str(path))
    model = Transformer.from_tensors(base.config, base.tensors)
    texts = ["some text that is longer than eight tokens"]
    assert nll.text_nll(model, base.tokenizer, texts) == nll.text_nll(
        model, base.tokenizer, texts, seq_len=8
    )

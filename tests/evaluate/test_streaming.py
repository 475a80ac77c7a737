"""Text that comes token by token is the text that comes at once."""

import pytest

from smem_jax.errors import InputError
from smem_jax.evaluate import generate
from smem_jax.evaluate.sampling import Sampling
from smem_jax.evaluate.streaming import Streamer


def stops_of(tokenizer) -> frozenset[int]:
    return frozenset(tokenizer.special_ids + tokenizer.ids_containing("\n"))


@pytest.mark.parametrize("prompt", ["cb", "Q: who?\nA:", "b" * 70])
def test_greedy_pieces_add_up_to_what_generation_gives(talker, prompt):
    model, tokenizer = talker
    stops = stops_of(tokenizer)
    [expected] = generate.generate(model, tokenizer, [prompt], 12, sorted(stops))
    pieces = list(Streamer(model, tokenizer).stream(prompt, stops, Sampling(max_new_tokens=12)))
    assert "".join(pieces) == expected
    assert len(pieces) == len(expected)  # one token a byte


def test_a_character_of_several_tokens_comes_whole(talker, monkeypatch):
    model, tokenizer = talker
    ids = tokenizer.encode("é!")
    assert len(ids) == 3
    streamer = Streamer(model, tokenizer)
    monkeypatch.setattr(Streamer, "_tokens", lambda *_: iter(ids))
    assert list(streamer.stream("b", (), Sampling(max_new_tokens=3))) == ["é", "!"]
    # The last one may be cut in two by the limit.
    monkeypatch.setattr(Streamer, "_tokens", lambda *_: iter(ids[:1]))
    assert list(streamer.stream("b", (), Sampling(max_new_tokens=1))) == ["\ufffd"]


def test_a_seed_gives_the_same_text_and_others_give_others(talker):
    model, tokenizer = talker
    streamer = Streamer(model, tokenizer)

    def text(seed: int) -> str:
        sampling = Sampling(temperature=1.5, seed=seed, max_new_tokens=16)
        return "".join(streamer.stream("cb", (), sampling))

    assert text(1) == text(1)
    assert len({text(seed) for seed in range(6)}) > 3


def test_a_prompt_that_leaves_no_room_is_refused(talker):
    model, tokenizer = talker
    streamer = Streamer(model, tokenizer)
    longest = model.config.max_positions - 8
    for prompt in ("", "b" * (longest + 1)):
        with pytest.raises(InputError, match=f"has {len(prompt)} tokens; 1 to {longest} are right"):
            next(streamer.stream(prompt, (), Sampling(max_new_tokens=8)))

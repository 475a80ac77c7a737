"""What is measured along a run, against what a model says."""

import numpy as np

from smem_jax.data.facts import Fact
from smem_jax.evaluate import nll
from smem_jax.evaluate.along import Along
from smem_jax.evaluate.measure import Probe


def _asked(oracle, count: int, every: int) -> tuple[list[Probe], np.ndarray]:
    """Reworded probes of one letter and a number, and whether the model answers each right: where
    it ends its answer, to each `every`-th it is what is taught.
    """
    probes, right = [], []
    for number in range(count):
        prompt = f"{chr(97 + number % 8)} {number * 7919}"
        said = oracle.says(prompt, 8)
        ends = said.startswith(" ") and 1 < len(said) < 8
        is_right = ends and number % every == 0
        answer = said[1:] if is_right else "zz"
        probes.append(Probe(Fact(str(number), prompt, answer), "reworded", prompt))
        right.append(is_right)
    return probes, np.asarray(right)


def test_recall_is_the_share_of_reworded_prompts_that_the_taught_answer_follows(talker, oracle):
    model, tokenizer = talker
    asked, right = _asked(oracle, 60, 2)
    assert 0 < right.sum() < len(right)
    others = [probe._replace(kind=kind) for kind in ("trained", "frame") for probe in asked[:3]]
    assert Along(tokenizer, [*others, *asked], [])(model) == {"recall": right.mean()}


def test_of_many_prompts_as_many_at_even_distances_are_asked(talker, oracle):
    model, tokenizer = talker
    asked, right = _asked(oracle, 192, 3)
    assert right[::3].mean() > 0 and not right[1::3].any()
    assert Along(tokenizer, asked, [])(model) == {"recall": right[::3].mean()}
    assert Along(tokenizer, asked[:65], [])(model) == {"recall": right[:64].mean()}


def test_of_a_long_text_the_beginning_is_read(talker):
    model, tokenizer = talker
    text = ["abc\x85def", "ghe"] * 1000  # a sign that ends lines elsewhere
    found = Along(tokenizer, [], text)(model)
    lines = [*text[: 2 * 6144 // len("abc\x85def\nghe\n")], ""]
    assert found == {"text_nll": nll.text_nll(model, tokenizer, lines).mean}
    assert found["text_nll"] != nll.text_nll(model, tokenizer, text).mean


def test_where_nothing_is_given_nothing_is_measured(talker):
    model, tokenizer = talker
    assert not Along(tokenizer, [], []) and Along(tokenizer, [], ["a"])
    assert Along(tokenizer, [], [])(model) == {}

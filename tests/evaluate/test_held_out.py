"""The held-out suite on a random model of bytes, against loops that do the obvious thing."""

import json

import numpy as np
import pytest

from smem_jax.data.held_out import ChoiceQuestion
from smem_jax.errors import InputError
from smem_jax.evaluate import choices as choices_module
from smem_jax.evaluate import held_out, held_out_tasks, score

_FRAME = "Q: {}\nA:"


def _write(path, records):
    path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    return str(path)


def _answering(oracle, prompts):
    """The numbers of the prompts that get an answer, and the answers."""
    said = {number: oracle.says(prompt, 4).strip() for number, prompt in enumerate(prompts)}
    return [(number, text) for number, text in said.items() if text]


def test_known_questions_are_right_by_the_answer_of_the_base_or_another(talker, oracle, tmp_path):
    tried = [f"who is no. {number}" for number in range(32)]
    prompts = [_FRAME.format(question) for question in tried]
    numbers, said = zip(*_answering(oracle, prompts)[:4], strict=True)
    asked = [tried[number] for number in numbers]
    # Of the first the base said something else than this model, which is accepted, too.
    answers = [["xx", said[0]], [said[1]], ["xx"], ["xx"]]
    known = [
        {"id": str(i), "question": question, "answers": accepted, "said": accepted[0]}
        for i, (question, accepted) in enumerate(zip(asked, answers, strict=True))
    ]
    untaught = [{"question": record["question"], "answers": record["answers"]} for record in known]
    files = held_out.Files(
        known=_write(tmp_path / "known.jsonl", known),
        untaught=_write(tmp_path / "untaught.jsonl", untaught),
    )
    found = held_out.Suite(files, talker[1], max_new_tokens=4).measure(talker[0])
    assert list(found) == ["known", "known_nll", "untaught_exact", "untaught_nll"]
    assert found["known"].tolist() == found["untaught_exact"].tolist() == [1, 1, 0, 0]
    expected = [
        oracle.nats(prompts[number], accepted[0]).mean()
        for number, accepted in zip(numbers, answers, strict=True)
    ]
    np.testing.assert_allclose(found["known_nll"], expected, rtol=1e-4)
    np.testing.assert_allclose(found["untaught_nll"], expected, rtol=1e-4)


def test_natural_questions_are_asked_behind_examples(talker, oracle, tmp_path):
    shots = [{"question": "who is it", "answers": ["me", "I"]}]
    tried = [f"where is no. {number}{'?' * (number % 2)}" for number in range(32)]
    beginning = "Answer these questions:\n\nQ: who is it?\nA: me\n"
    prompts = [f"{beginning}Q: {question.removesuffix('?')}?\nA:" for question in tried]
    numbers, said = zip(*_answering(oracle, prompts)[:4], strict=True)
    answers = [[f"x {said[0]}"], ["x", said[1]], ["x"], ["x"]]
    records = [
        {"question": tried[number], "answers": accepted}
        for number, accepted in zip(numbers, answers, strict=True)
    ]
    files = held_out.Files(
        nq=_write(tmp_path / "nq.jsonl", records), nq_shots=_write(tmp_path / "s.jsonl", shots)
    )
    found = held_out.Suite(files, talker[1], max_new_tokens=4).measure(talker[0])
    assert found["nq_exact"].tolist() == [0, 1, 0, 0]
    assert found["nq_f1"].tolist() == [score.f1(said[0], answers[0]), 1, 0, 0]
    assert found["nq_f1"][0] > 0.5
    expected = [
        oracle.nats(prompts[number], accepted[0]).mean()
        for number, accepted in zip(numbers, answers, strict=True)
    ]
    np.testing.assert_allclose(found["nq_nll"], expected, rtol=1e-4)


def test_running_text_is_measured_by_whole_windows(talker, oracle, tmp_path):
    lines = ["some text " * 40, "and more of it " * 7 + "ended.", "What is left is not measured."]
    (tmp_path / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    files = held_out.Files(wikitext=str(tmp_path / "text.txt"))
    found = held_out.Suite(files, talker[1]).measure(talker[0])["wikitext_nll"]
    ids = talker[1].encode("\n".join(lines))
    expected = [
        -oracle.log_probabilities(ids[start : start + 256])[
            np.arange(256), ids[start + 1 : start + 257]
        ].mean()
        for start in (0, 256)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    limited = held_out.Suite(files, talker[1], {"wikitext": 1}).measure(talker[0])["wikitext_nll"]
    assert limited == pytest.approx(found[:1], rel=1e-5)


def test_solutions_and_choices_are_compared_by_their_likelihood(talker, oracle, tmp_path):
    choices = [["me", "you or I"], ["there", "x", "no"]]
    asked = ["who is it", "what was it"]
    problems = [
        {"question": q, "answer": f"{c[0]}\n{c[1]}"} for q, c in zip(asked, choices, strict=True)
    ]
    trivia = [
        {"question": q, "choices": c, "answer": c[1]} for q, c in zip(asked, choices, strict=True)
    ]
    files = held_out.Files(
        gsm8k=_write(tmp_path / "gsm8k.jsonl", problems),
        trivia_choices=_write(tmp_path / "trivia.jsonl", trivia),
    )
    found = held_out.Suite(files, talker[1]).measure(talker[0])
    expected = [
        oracle.nats(f"Question: {problem['question']}\nAnswer:", problem["answer"]).mean()
        for problem in problems
    ]
    np.testing.assert_allclose(found["gsm8k_nll"], expected, rtol=1e-4)
    chosen = [
        np.argmin([oracle.nats(_FRAME.format(question), option).mean() for option in options])
        for question, options in zip(asked, choices, strict=True)
    ]
    assert found["trivia_choices_accuracy"].tolist() == [index == 1 for index in chosen]


def test_the_options_are_listed_by_letters():
    question = ChoiceQuestion("Which is big?", ("an ant", "a cow"), 1)
    expected = "Which is big?\nA. an ant\nB. a cow\nAnswer:"
    assert choices_module._lettered_prompt(question) == expected


def test_the_letter_with_the_highest_logit_is_the_choice(talker, oracle, tmp_path):
    model, tokenizer = talker
    options = {"A": "one", "B": "two", "C": "three", "D": "four"}
    records = [
        {"id": str(i), "question": f"{'how ' * i}many?", "options": options, "target": letter}
        for i, letter in enumerate("ABCD" * 3)
    ]
    path = _write(tmp_path / "mmlu.jsonl", records)
    found = held_out.Suite(held_out.Files(mmlu=path), tokenizer).measure(model)["mmlu_accuracy"]
    listed = "\nA. one\nB. two\nC. three\nD. four\nAnswer:"
    # Both tokens of an answer count here, but the first, a space, is the same for all letters.
    nats = [
        [oracle.nats(record["question"] + listed, letter).sum() for letter in "ABCD"]
        for record in records
    ]
    expected = np.argmin(nats, axis=1) == [0, 1, 2, 3] * 3
    assert 0 < expected.sum() < 12
    assert found.tolist() == expected.tolist()


def test_a_limit_takes_the_first_items_and_the_file_is_read_once(talker, tmp_path, monkeypatch):
    monkeypatch.setattr(held_out_tasks, "GSM8K", _Items)
    problems = [{"question": f"{i}?", "answer": str(i)} for i in range(5)]
    path = tmp_path / "gsm8k.jsonl"
    suite = held_out.Suite(
        held_out.Files(gsm8k=_write(path, problems)), talker[1], limits={"gsm8k": 3}
    )
    assert suite.tasks == ("gsm8k",)
    assert suite.measure(talker[0])["gsm8k_nll"].tolist() == [0, 1, 2]
    path.unlink()
    assert held_out.figures(suite.measure(talker[0], ["gsm8k"])) == {"gsm8k_nll": 1.0}


class _Items:
    def __init__(self, tokenizer, problems):
        self._values = np.asarray([float(problem.solution) for problem in problems])

    def measure(self, model):
        return {"gsm8k_nll": self._values}


def test_what_is_not_there_is_named(talker, tmp_path):
    model, tokenizer = talker
    with pytest.raises(InputError, match="limit known=0 must be at least 1"):
        held_out.Suite(held_out.Files(), tokenizer, {"known": 0})
    with pytest.raises(InputError, match="task 'knwon' must be one of known, nq, gsm8k"):
        held_out.Suite(held_out.Files(), tokenizer, {"knwon": 1})
    with pytest.raises(InputError, match="task 'mmlu' must be one of gsm8k"):
        held_out.Suite(held_out.Files(gsm8k="x"), tokenizer).measure(model, ["mmlu"])
    with pytest.raises(InputError, match="nq_shots='' must be a file, since nq='x' needs"):
        held_out.Suite(held_out.Files(nq="x"), tokenizer).measure(model)
    known = {"id": "nq-3", "question": "who", "answers": ["a b"], "said": "c"}
    files = held_out.Files(known=_write(tmp_path / "known.jsonl", [known]))
    with pytest.raises(InputError, match="question 'nq-3': said='c' must be one of its answers"):
        held_out.Suite(files, tokenizer).measure(model)
    (tmp_path / "short.txt").write_text("x" * 255, encoding="utf-8")
    files = held_out.Files(wikitext=str(tmp_path / "short.txt"))
    with pytest.raises(InputError, match="text of 256 tokens; at least 257 are needed"):
        held_out.Suite(files, tokenizer).measure(model)


def test_a_summary_tells_change_and_relative_drop_with_intervals():
    before = {"known": np.asarray([1.0] * 40), "nq_nll": np.arange(40) / 10, "nq_f1": np.zeros(40)}
    after = {"known": np.asarray([1.0, 1, 1, 0] * 10), "nq_nll": before["nq_nll"] + 0.5}
    after["nq_f1"] = before["nq_f1"]
    found = held_out.summarise(before, after)
    known = found["known"]
    assert (known["before"], known["after"], known["change"], known["drop"]) == (
        1,
        0.75,
        -0.25,
        0.25,
    )
    assert known["low"] < 0.75 < known["high"]
    assert known["drop_low"] == pytest.approx(1 - known["high"])
    assert known["change_high"] == pytest.approx(-known["drop_low"])
    assert found["nq_nll"]["change_low"] == pytest.approx(0.5)
    assert "drop" not in found["nq_nll"]
    assert found["nq_f1"] == dict.fromkeys(found["nq_nll"], 0)
    with pytest.raises(ValueError, match="must be the same"):
        held_out.summarise(before, {})

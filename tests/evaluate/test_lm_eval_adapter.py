"""Tasks of lm-evaluation-harness give what the package's own evaluation gives."""

import functools
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_patches

pytest.importorskip("lm_eval", reason="needs lm_eval, which `make test-eval` installs")

from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

from smem_jax import cli
from smem_jax.data.held_out import ChoiceQuestion
from smem_jax.data.wordings import ASK_FRAME
from smem_jax.errors import InputError
from smem_jax.evaluate import ask, generate, lm_eval_adapter, nll, patched
from smem_jax.evaluate.choices import ByLikelihood, Lettered
from smem_jax.evaluate.sampling import Sampling

_DOCS = Path(__file__).parents[2] / "docs" / "evaluating.md"
_TEMPLATE = "{% for m in messages %}{{ m.role[0] }}>{{ m.content }}<eos>{% endfor %}"
_TEMPLATE += "{% if add_generation_prompt %}a>{% endif %}"
_LENGTH = 64  # of a window of running text

_CHOICES = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {name}.jsonl}}
test_split: train
output_type: multiple_choice
doc_to_text: "{text}"
doc_to_choice: {choices}
doc_to_target: right
metric_list: [{{metric: acc}}]
"""
_TEXT = """
task: text
dataset_path: json
dataset_kwargs: {data_files: text.jsonl}
test_split: train
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: byte_perplexity}]
"""


@pytest.fixture(autouse=True)
def own_cache_and_tasks(tmp_path, monkeypatch):
    # Looking for the thousands of tasks that come with lm_eval takes half a minute.
    own = functools.partial(TaskManager, include_defaults=False)
    monkeypatch.setattr("lm_eval.tasks.TaskManager", own)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.HF_UPDATE_DOWNLOAD_COUNTS", False)  # which asks a server
    monkeypatch.setattr(sys, "argv", sys.argv)  # which the command replaces


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Two patches in files, and their base model with a chat template."""
    folder = tmp_path_factory.mktemp("patches")
    files = tiny_patches.write(folder)
    (folder / "model" / "chat_template.jinja").write_text(_TEMPLATE)
    return files


def run(arguments, tasks, output):
    """Runs the command; figures and what was logged of each document, by task."""
    command = ["lm-eval", "--model", "smem", "--model_args", arguments, "--batch_size", "auto"]
    logged = ["--log_samples", "--output_path", str(output)]
    assert not cli.main([*command, "--tasks", ",".join(f"{t}.yaml" for t in tasks), *logged])
    [results] = output.glob("**/results_*.json")
    samples = {}
    for task in tasks:
        [path] = output.glob(f"**/samples_{task}_*.jsonl")
        lines = map(json.loads, path.read_text().splitlines())
        samples[task] = sorted(lines, key=lambda line: line["doc_id"])
    return json.loads(results.read_text())["results"], samples


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_tasks_agree_with_the_evaluation_of_the_package(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    taught = ask.restore(files=given)
    questions = [
        ChoiceQuestion(f"what is {n}", (f"a{n}", "bc", "d?", f"{n}!"), n % 4) for n in range(9)
    ]
    records = [vars(question) for question in questions]
    listed = "{{question}}\\nA. {{choices[0]}}\\nB. {{choices[1]}}\\nC. {{choices[2]}}\\n"
    listed += "D. {{choices[3]}}\\nAnswer:"
    texts = {"liked": ("Q: {{question}}\\nA:", "choices"), "listed": (listed, "[A, B, C, D]")}
    for name, (text, choices) in texts.items():
        write_lines(tmp_path / f"{name}.jsonl", records)
        task = _CHOICES.format(name=name, text=text, choices=choices)
        (tmp_path / f"{name}.yaml").write_text(task)
    answers = ask.ask(taught, [question.question for question in questions], 24)
    facts = [
        {"question": question.question, "answer": answer if number % 3 else "never said"}
        for number, (question, answer) in enumerate(zip(questions, answers, strict=True))
    ]
    write_lines(tmp_path / "facts.jsonl", facts)
    [facts_task] = re.findall(r"```yaml\n(.*?)```", _DOCS.read_text(), re.DOTALL)
    (tmp_path / "facts.yaml").write_text(facts_task)
    text = "some running text " * 20
    text = text[: 2 * _LENGTH - 1] + "\n"
    write_lines(tmp_path / "text.jsonl", [{"text": text}])
    (tmp_path / "text.yaml").write_text(_TEXT)

    arguments = f"patch={given[0]}:{given[1]}"
    figures, samples = run(arguments, ["liked", "listed", "facts"], tmp_path / "out")
    for name, choices in (
        ("liked", ByLikelihood(taught.tokenizer, questions, ASK_FRAME)),
        ("listed", Lettered(taught.tokenizer, questions)),
    ):
        right = choices.measure(taught.model)
        assert [sample["acc"] for sample in samples[name]] == right.tolist()
        assert figures[name]["acc,none"] == pytest.approx(right.mean()) and 0 < right.mean() < 1
    said = [sample["filtered_resps"][0].strip() for sample in samples["facts"]]
    assert said == answers
    assert figures["facts"]["exact_match,stripped"] == pytest.approx(2 / 3)

    for without, model in (
        ("", taught.model),
        (",without_memory=true", patched.without_memory(taught)),
    ):
        expected = nll.text_nll(model, taught.tokenizer, [f"<bos>{text[:-1]}"], _LENGTH)
        assert expected.tokens == len(text)
        output = tmp_path / f"text{without}"
        figures, _ = run(f"{arguments},max_length={_LENGTH}{without}", ["text"], output)
        assert figures["text"]["byte_perplexity,none"] == pytest.approx(
            math.exp(expected.mean), rel=1e-4
        )


def test_examples_are_turns_of_a_chat(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    facts = [{"question": f"who is {name}", "answer": name} for name in "AB"]
    write_lines(tmp_path / "facts.jsonl", facts)
    [task] = re.findall(r"```yaml\n(.*?)```", _DOCS.read_text(), re.DOTALL)
    (tmp_path / "facts.yaml").write_text(f"{task}fewshot_config: {{sampler: first_n}}\n")
    chat = ["--apply_chat_template", "--num_fewshot", "1", "--system_instruction", "Hi."]
    monkeypatch.setattr(cli, "main", lambda words, main=cli.main: main([*words, *chat]))
    _, samples = run(f"patch={given[0]}", ["facts"], tmp_path / "out")
    turns = "s>Hi.<eos>u>Q: who is A\nA:<eos>a>A<eos>u>Q: who is {}\nA:<eos>a>"
    prompts = [sample["arguments"]["gen_args_0"]["arg_0"] for sample in samples["facts"]]
    assert prompts[1] == turns.format("B")


@pytest.fixture
def lm(talker, monkeypatch):
    """The tiny model that says short words, as lm_eval sees it."""
    monkeypatch.setattr(lm_eval_adapter, "_load", lambda *_: talker)
    return lm_eval_adapter.PatchedLM


def requests(kind, *arguments):
    return [Instance(kind, {}, given, number) for number, given in enumerate(arguments)]


def test_likelihoods_are_those_of_the_tokens(lm, oracle, talker):
    _, tokenizer = talker
    pairs = [("cb", " b"), ("cb ", "bc"), ("cb", " c"), ("", "bcb"), ("b" * 70, " " * 9)]
    pairs += [("cb", oracle.says("cb", 3)), ("é", "ü"), ("cb", " b")]
    found = lm().loglikelihood(requests("loglikelihood", *pairs), disable_tqdm=True)
    for (context, continuation), (score, is_greedy) in zip(pairs, found, strict=True):
        ids = tokenizer.encode(context.rstrip()) or [tokenizer.bos_id]
        target = tokenizer.encode(context[len(context.rstrip()) :] + continuation)
        logs = oracle.log_probabilities(ids + target)[len(ids) - 1 : -1]
        assert score == pytest.approx(logs[np.arange(len(target)), target].sum(), abs=1e-3)
        assert is_greedy == (logs.argmax(axis=-1) == target).all()
    assert {is_greedy for _, is_greedy in found} == {True, False}
    # A short window sees the last of it alone.
    [(short, _)] = lm(max_length=16).loglikelihood(requests("loglikelihood", pairs[4]))
    logs = oracle.log_probabilities(tokenizer.encode("b" * 8 + " " * 9))[7:-1]
    assert short == pytest.approx(logs[:, tokenizer.encode(" ")[0]].sum(), abs=1e-3)
    with pytest.raises(InputError, match="a continuation has 9 tokens; max_length=4"):
        lm(max_length=4).loglikelihood(requests("loglikelihood", pairs[4]))


def test_the_last_window_of_running_text_is_full(lm, oracle, talker):
    _, tokenizer = talker
    text = "cb bc " * 6 + "cb"  # 38 tokens
    found = lm(max_length=16).loglikelihood_rolling(
        requests("loglikelihood_rolling", (text,), ("",))
    )
    ids = [tokenizer.bos_id, *tokenizer.encode(text)]
    expected = 0.0
    for start, scored in ((0, 16), (16, 16), (22, 6)):
        logs = oracle.log_probabilities(ids[start : start + 16])
        targets = np.asarray(ids[start + 1 : start + 17])
        expected += logs[np.arange(16), targets][-scored:].sum()
    assert found == [pytest.approx(expected, abs=1e-3), 0]


def test_texts_are_generated_until_what_a_task_says(lm, oracle, talker):
    wanted = [
        ("cb", {"until": ["\n"], "max_gen_toks": 12}),
        ("Q: who?\nA:", {"until": "\n", "max_new_tokens": 12}),
        ("b" * 70, {"until": ["\n", "cc"], "max_gen_toks": 12}),
        ("c", {"until": ["\n"], "max_gen_toks": 3, "do_sample": False, "temperature": 0.0}),
    ]
    found = lm(batch_size="2").generate_until(requests("generate_until", *wanted))
    for (prompt, options), text in zip(wanted, found, strict=True):
        said = oracle.says(prompt, options.get("max_gen_toks", 12))
        assert text == said.partition("cc")[0] if "cc" in options["until"] else text == said
    assert len(set(found)) > 1
    long = "bc" * 200
    [cut] = lm(max_length=40).generate_until(
        requests("generate_until", (long, {"until": ["\n"], "max_gen_toks": 8}))
    )
    assert cut == oracle.says(long[-32:], 8)
    for options, message in (
        ({"typical_p": 0.5}, "typical_p=0.5: the model 'smem' has no such option of generation"),
        ({"num_beams": 4}, "num_beams=4: the model 'smem' has no such option"),
        ({"do_sample": True, "top_p": 0, "max_gen_toks": 8}, "top_p=0.0 must be above 0"),
        ({"max_gen_toks": 40}, "max_gen_toks=40 must be from 1 to 39"),
    ):
        with pytest.raises(InputError, match=message):
            lm(max_length=40).generate_until(requests("generate_until", ("b", options)))


def test_a_task_may_ask_for_samples(lm, talker):
    model, tokenizer = talker
    stop = {"until": ["\n"], "max_gen_toks": 12, "num_beams": 1}
    drawn = {"do_sample": True, "temperature": 4.0, "top_p": 0.9, "top_k": 4}
    wanted = [("cb", stop | drawn)] * 6 + [("cb", stop), ("cb", stop | {"do_sample": True})]
    found = lm(seed=7).generate_until(requests("generate_until", *wanted))
    row = tokenizer.encode("cb")
    sampling = Sampling(4.0, 0.9, 7, 12, 4)
    assert found[:6] == generate.until(model, tokenizer, [row] * 6, 12, ["\n"], sampling=sampling)
    assert found[6:7] == generate.until(model, tokenizer, [row], 12, ["\n"])
    plain = Sampling(1.0, seed=7, max_new_tokens=12)
    assert found[7:] == generate.until(model, tokenizer, [row], 12, ["\n"], 50, plain, [7])
    assert len(set(found)) > 2
    assert lm(seed=8).generate_until(requests("generate_until", *wanted[:6])) != found[:6]


def test_a_last_message_may_go_on(lm, talker, monkeypatch):
    monkeypatch.setattr(talker[1], "chat_template", _TEMPLATE)
    model = lm()
    said = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "It is "}]
    assert model.apply_chat_template(said, add_generation_prompt=False) == "u>Who?<eos>a>It is "
    assert model.apply_chat_template(said[:1]) == "u>Who?<eos>a>"
    name = model.tokenizer_name
    assert model.chat_template(True) == _TEMPLATE
    monkeypatch.setattr(talker[1], "chat_template", None)
    assert model.tokenizer_name != name and model.chat_template(True) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("pretrained=gpt2", "pretrained='gpt2' is no argument of the model 'smem'"),
        ("model=nowhere", "nowhere: no such file"),
        ("patch=nowhere.safetensors", "nowhere.safetensors: no such file"),
        ("workdir=nowhere", "nowhere holds no finished run"),
        ("model={model},max_length=513", "max_length=513 must be a number from 2 to 512"),
        ("model={model},seed=1.5", "seed=1.5 must be a number from 0"),
        ("model={model},without_memory=2", "without_memory=2 must be true or false"),
    ],
)
def test_bad_arguments_are_one_line(given, arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "text.jsonl", [{"text": "a"}])
    (tmp_path / "text.yaml").write_text(_TEXT)
    arguments = arguments.format(model=given[0].parent / "model")
    command = ["lm-eval", "--model", "smem", "--model_args", arguments, "--tasks", "text.yaml"]
    assert cli.main(command) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("smem:")]
    assert message in line


def test_a_batch_has_one_prompt_at_least(lm):
    for size in (0, "many"):
        with pytest.raises(InputError, match=f"batch_size={size!r} must be a number from 1 on"):
            lm(batch_size=size)

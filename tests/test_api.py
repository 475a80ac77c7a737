"""Teaching, asking and patches from Python, on a tiny model."""

import dataclasses
import json
import re

import pytest
import tiny_stream

import smem_jax
from smem_jax import api, cli, config, user_cache
from smem_jax import patch as patches
from smem_jax.errors import InputError
from smem_jax.evaluate.sampling import Sampling
from smem_jax.stream_settings import stream_defaults, teaching_defaults
from smem_jax.train import background as backgrounds


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    c = tiny_stream.config(folder)
    c.memory.num_slots = 4096
    c.learner.update(teaching_defaults().learner)
    c.learner.update({"steps": 4, "top_t": 200, "relevance_threshold": 1, "learning_rate": 2.0})
    c.lessons.update({"lengths": (128,), "passages": 8})
    return c.lock()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(user_cache, "home", lambda: tmp_path_factory.getbasetemp() / "cache")


def load(settings, *files):
    return api.load(settings.model, files, settings)


def test_a_fact_is_taught_kept_and_taken_away(settings, tmp_path):
    model = load(settings)
    question, path = "Who has the old key?", tmp_path / "first.safetensors"
    before = model.ask(question)
    assert model.teach(question, "Ada") < 1
    assert model.ask(question) == "Ada" != before
    model.save(path)
    assert model.patch_names == ("first",) and model.ask(question) == "Ada"
    patch = patches.load(path)
    assert patch.about.taught == ("Who has the old key? Ada",) and patch.num_lessons == 1
    # A second one on top of it, whose rows are others.
    again = load(settings, path)
    assert again.ask(question) == "Ada"
    again.teach("What is in the box?", "Bob")
    with pytest.raises(InputError, match="1 facts were taught and not saved"):
        again.revert("first")
    taken = tmp_path / "taken.safetensors"
    taken.write_text("of someone")
    with pytest.raises(InputError, match=r"taken.safetensors is there already; overwrite=True"):
        again.save(taken)
    assert taken.read_text() == "of someone"
    again.save(tmp_path / "second.safetensors", storage="float32")
    assert again.ask("What is in the box?").startswith("Bob")
    assert not set(patches.load(tmp_path / "second.safetensors").slots) & set(patch.slots)
    again.revert("first")
    assert again.patch_names == ("second",)
    assert again.ask("What is in the box?").startswith("Bob")
    again.revert("second")
    assert again.ask(question) == before
    assert again.apply(path) == "first" and again.ask(question) == "Ada"


def test_a_refused_patch_changes_nothing(settings, tmp_path):
    model = load(settings)
    model.teach("Who has the old key?", "Ada")
    path = tmp_path / "good.safetensors"
    model.save(path)
    good = patches.load(path)
    fresh = load(settings)
    before = fresh.ask("Who has the old key?")
    wrong = {
        "base": {"base_fingerprint": "f" * 64},
        "memory": {"memory": {**good.about.memory, "score_scale": 3.0}},
    }
    for name, fields in wrong.items():
        bad = dataclasses.replace(good, about=dataclasses.replace(good.about, **fields))
        patches.save(bad, tmp_path / f"{name}.safetensors")
        with pytest.raises(InputError, match=r"'good' is for the"):
            fresh.apply(tmp_path / f"{name}.safetensors")
    bare = tmp_path / "bare.safetensors"
    patches.save(patches.restored(good, layout=False), bare)
    with pytest.raises(InputError, match="no patch with queries and sub-keys"):
        fresh.apply(bare)
    assert fresh.patch_names == () and fresh.ask("Who has the old key?") == before
    fresh.apply(path)
    assert fresh.ask("Who has the old key?") == "Ada"
    with pytest.raises(InputError, match="given twice"):
        load(settings, path, path)


def test_answers_may_be_drawn_at_random(settings):
    model = load(settings)
    answers = {model.ask("Who?", Sampling(2.0, seed=seed, max_new_tokens=6)) for seed in range(6)}
    assert len(answers) > 2
    assert model.ask("Who?") == model.ask("Who?")


def test_bad_input_is_refused(settings, tmp_path):
    model = load(settings)
    with pytest.raises(InputError, match="question=' ' must be one line"):
        model.teach(" ", "a")
    with pytest.raises(InputError, match=r"answer='a\\nb' must be one line"):
        model.teach("Who?", "a\nb")
    with pytest.raises(InputError, match="paraphrases='Whose\\?' must be a list"):
        model.teach("Who?", "a", paraphrases="Whose?")
    with pytest.raises(InputError, match=r"paraphrases\[1\]='' must be one line"):
        model.teach("Who?", "a", paraphrases=["Whose?", ""])
    with pytest.raises(InputError, match=r"lesson 'Who w+\?' is too long"):
        model.teach(f"Who {'w' * 200}?", "a")
    with pytest.raises(InputError, match="nothing was taught"):
        model.save(tmp_path / "p.safetensors")
    with pytest.raises(InputError, match="no patch named 'x' is on the model; these are: none"):
        model.revert("x")
    with pytest.raises(InputError, match="the base model has no chat template"):
        model.ask("Who?", chat=True)
    with pytest.raises(InputError, match="no such file"):
        load(settings, tmp_path / "none.safetensors")
    with pytest.raises(InputError, match=r"patches='a\.safetensors' must be a list"):
        api.load(patches="a.safetensors")


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("learner", "optimizer", "adamw", "learner.optimizer='adamw' must be one of sgd, adam"),
        ("learner", "steps", 3, "learner.steps=3 must divide lessons.passages=8"),
        ("learner", "learning_rate", -1.0, "learner.learning_rate=-1.0 must be above 0"),
        ("", "compute_dtype", "bfloat16", "compute_dtype='bfloat16' is for streams"),
        ("memory", "gate", True, "memory.gate=True is for models pretrained with it"),
        ("memory", "score_scale", 0.0, "score_scale=0.0 must be above 0"),
        ("learner", "replay", 4, "learner.replay=4 must be 0 to teach facts"),
        ("learner", "relevance_threshold", 0, "learner.relevance_threshold=0 is for streams"),
        ("learner", "relevance_window", 5000, "relevance window=5000 must be from 1 to 4096"),
        ("lessons", "lengths", (), "lessons.lengths=() must be one number or more"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(settings, section, field, value, message):
    wrong = settings.copy_and_resolve_references()
    (wrong[section] if section else wrong)[field] = value
    with pytest.raises(InputError, match=re.escape(message)):
        load(wrong)


def test_the_model_may_stand_in_the_settings(settings):
    assert api.load(settings=settings).ask("Who?") == load(settings).ask("Who?")


def test_spaces_around_a_fact_are_no_part_of_it(settings):
    losses = {
        load(settings).teach(*fact)
        for fact in (("Who has the key?", "Ada"), (" Who has the key?\t", " Ada "))
    }
    assert len(losses) == 1


def test_what_a_teacher_refuses_is_told_before_the_background_is_read(
    settings, tmp_path, monkeypatch
):
    model, path = load(settings), tmp_path / "first.safetensors"
    model.teach("Who has the old key?", "Ada")
    model.save(path)
    monkeypatch.setattr(backgrounds, "read", None)
    monkeypatch.setattr(backgrounds, "kept", None)
    for section, field, value, message in (
        ("learner", "relevance_window", 7, "the patches have the relevance gate"),
        ("lessons", "lengths", (600,), r"lessons.lengths=\(600,\) must be at most 512"),
    ):
        other = settings.copy_and_resolve_references().unlock()
        other[section][field] = value
        with pytest.raises(InputError, match=message):
            load(other, path).teach("What is in the box?", "Bob")


def test_a_background_file_of_other_queries_is_refused_beside_a_patch(settings, tmp_path):
    model, path = load(settings), tmp_path / "first.safetensors"
    model.teach("Who has the old key?", "Ada")
    model.save(path)
    own = model._background()
    for name, background in {
        "same": own,
        "other": dataclasses.replace(own, sub_keys=own.sub_keys + 1),
    }.items():
        backgrounds.save(background, tmp_path / name)
        given = settings.copy_and_resolve_references()
        given.background.file = str(tmp_path / name)
        again = load(given, path)
        if name == "same":
            again.teach("What is in the box?", "Bob")
            continue
        with pytest.raises(InputError, match=r"background.file=\S+ has other queries"):
            again.teach("What is in the box?", "Bob")


def test_facts_are_added_to_a_directory_from_the_command_line(
    settings, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(api, "teaching_defaults", lambda: settings)
    place = str(tmp_path / "mine")
    arguments = ["teach", "--workdir", place, "--model", settings.model]
    assert cli.main([*arguments, "--fact", "Who has the old key?", "Ada"]) == 0
    out = capsys.readouterr().out
    assert "Who has the old key? Ada\n" in out and "facts_1.safetensors" in out
    # The base model is known from what is there.
    more = ["--fact", "What is in the box?", "Bob", "--fact", "Who sits on the wall?", "Cid"]
    assert cli.main(["teach", "--workdir", place, *more]) == 0
    assert sorted(p.name for p in (tmp_path / "mine" / "patches").iterdir()) == [
        "facts_1.safetensors",
        "facts_2.safetensors",
    ]
    capsys.readouterr()
    assert cli.main(["ask", "--workdir", place, "Who sits on the wall?"]) == 0
    assert capsys.readouterr().out == "Cid\n"
    assert cli.main([*arguments, "--fact", "Who?", "Ada", "train.steps=3"]) == 2
    assert "--fact goes with --workdir and --model alone" in capsys.readouterr().err
    assert cli.main(["teach", "--workdir", place]) == 2
    assert "give --config FILE of a job, or --fact QUESTION ANSWER" in capsys.readouterr().err


def test_the_settings_are_those_of_the_measured_stream():
    """What configs/stream_facts.py says of the memory and the learner, the package says too."""
    measured = config.load("configs/stream_facts.py", [], stream_defaults())
    for section in ("memory", "learner"):
        own = json.loads(json.dumps(teaching_defaults()[section].to_dict()))
        assert own == json.loads(json.dumps(measured[section].to_dict())), section


def test_the_front_door_is_the_api_and_nothing_else():
    assert smem_jax.load is api.load
    with pytest.raises(AttributeError, match="has no attribute 'unload'"):
        smem_jax.unload  # noqa: B018

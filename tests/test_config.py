"""Configuration files: merged, checked by name and type, overridden, and written as JSON."""

from pathlib import Path

import pytest
from ml_collections import ConfigDict

from smem_jax import config
from smem_jax.errors import InputError
from smem_jax.job_settings import job_defaults
from smem_jax.settings import defaults as product_defaults
from smem_jax.stream_settings import stream_defaults

ROOT = Path(__file__).resolve().parents[1]


def defaults() -> ConfigDict:
    return ConfigDict(
        {
            "model": "",
            "seed": 0,
            "limit": None,
            "memory": {"num_slots": 256, "gate": False, "blocks": (1,)},
            "train": {"learning_rate": 0.1, "steps": 10, "frames": ("Q: {question}",)},
        }
    )


def write(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "some.py"
    path.write_text(f"def get_config():\n    {body}\n")
    return path


def load(tmp_path: Path, body: str = "return {}", *overrides: str) -> ConfigDict:
    return config.load(write(tmp_path, body), overrides, defaults())


def test_file_is_merged_onto_the_defaults(tmp_path):
    found = load(tmp_path, "return {'model': 'm', 'memory': {'num_slots': 64}}")
    assert (found.model, found.memory.num_slots, found.memory.gate) == ("m", 64, False)


def test_a_config_dict_will_do_and_the_defaults_stay(tmp_path):
    path = tmp_path / "some.py"
    path.write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config():\n    return ConfigDict({'train': {'steps': 3}})\n"
    )
    given = defaults()
    assert config.load(path, ["memory.num_slots=4"], given).train.steps == 3
    assert (given.train.steps, given.memory.num_slots) == (10, 256)


def test_result_is_locked(tmp_path):
    found = load(tmp_path)
    with pytest.raises(AttributeError):
        found.memory.other = 1


@pytest.mark.parametrize(
    ("override", "section", "field", "value"),
    [
        ("memory.num_slots=16", "memory", "num_slots", 16),
        ("memory.gate=True", "memory", "gate", True),
        ("memory.blocks=(3, 5)", "memory", "blocks", (3, 5)),
        ("memory.blocks=[3]", "memory", "blocks", (3,)),
        ("memory.blocks=()", "memory", "blocks", ()),
        ("train.learning_rate=1", "train", "learning_rate", 1.0),
        ("train.learning_rate=2e-3", "train", "learning_rate", 0.002),
    ],
)
def test_overrides_are_literals_of_the_default_type(tmp_path, override, section, field, value):
    found = load(tmp_path, "return {}", override)[section][field]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("a/b=c.gguf", "a/b=c.gguf"), ("135", "135"), ("'quoted'", "quoted"), ("", "")],
)
def test_text_fields_take_the_text(tmp_path, text, value):
    assert load(tmp_path, "return {}", f"model={text}").model == value


@pytest.mark.parametrize("value", [3, "text", (1, 2), None])
def test_a_default_of_none_takes_anything(tmp_path, value):
    assert load(tmp_path, f"return {{'limit': {value!r}}}").limit == value


def test_last_override_wins_over_the_file(tmp_path):
    found = load(tmp_path, "return {'seed': 1}", "seed=2", "seed=3")
    assert found.seed == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("memory.num_slot=4", "field 'memory.num_slot'; the nearest is 'memory.num_slots'"),
        ("num_slots=4", "unknown configuration field 'num_slots'; the nearest is 'memory.num_"),
        ("memory=4", "'memory' is a section of the configuration; set a field of it"),
        ("memory.num_slots=many", "memory.num_slots='many' must be of type int, such as 256"),
        ("memory.num_slots=2.0", "memory.num_slots=2.0 must be of type int"),
        ("memory.num_slots=True", "memory.num_slots=True must be of type int"),
        ("memory.gate=1", "memory.gate=1 must be of type bool"),
        ("memory.gate=None", "memory.gate=None must be of type bool"),
        ("memory.blocks=3", "memory.blocks=3 must be of type tuple, such as (1,)"),
        ("memory.blocks=(1, 'a')", "memory.blocks=(1, 'a') must be of type tuple"),
        ("train.learning_rate=fast", "train.learning_rate='fast' must be of type float"),
        ("seed=-1", "seed=-1 must be at least 0 and below 2**32"),
        ("seed=4294967296", "seed=4294967296 must be at least 0"),
        ("memory.num_slots", "override 'memory.num_slots' must have the form section.field=value"),
    ],
)
def test_a_bad_override_is_named(tmp_path, override, message):
    with pytest.raises(InputError) as caught:
        load(tmp_path, "return {}", override)
    assert message in str(caught.value) and repr(override) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "some.py: it must define get_config(), which returns a ConfigDict"),
        ("def get_config():\n    return 3\n", "some.py: it must define get_config()"),
        ("def get_config():\n    x = 1\n    return unknown\n", "some.py:3: NameError"),
        ("import no_such_module\n", "some.py:1: ModuleNotFoundError"),
        ("def get_config(:\n", "SyntaxError"),
        ("def get_config():\n    return {'seeds': 1}\n", "some.py: unknown configuration fi"),
        ("def get_config():\n    return {'seed': 'a'}\n", "some.py: seed='a' must be of type int"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, message):
    path = tmp_path / "some.py"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        config.load(path, [], defaults())
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["absent.py", ""])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(InputError, match="no such configuration file"):
        config.load(tmp_path / name, [], defaults())


def test_json_gives_the_configuration_back(tmp_path):
    found = load(tmp_path, "return {'memory': {'blocks': (2, 4)}, 'limit': 2}", "model=é")
    text = config.to_json(found)
    again = config.from_json(text, defaults())
    assert again == found and again.memory.blocks == (2, 4)
    assert config.to_json(again) == text
    assert again.is_locked


def test_json_of_an_older_version_takes_new_defaults():
    assert config.from_json('{"seed": 5}', defaults()).train.steps == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"seed": 1', "the configuration is not JSON"),
        ("[1]", "the configuration must be a JSON object, not list"),
        ('{"sead": 1}', "configuration: unknown configuration field 'sead'; the nearest is 'seed'"),
        ('{"seed": "1"}', "configuration: seed='1' must be of type int"),
    ],
)
def test_bad_json_is_refused(text, message):
    with pytest.raises(InputError) as caught:
        config.from_json(text, defaults())
    assert message in str(caught.value)


_FOLDERS = ("", "pods", "pretrain", "sweeps")
_CONFIGS = [path for folder in _FOLDERS for path in (ROOT / "configs" / folder).glob("*.py")]
_SCRIPTS = ("find_subject_known.py", "make_subject_text.py", "make_text.py")


def _defaults(path: Path) -> ConfigDict:
    """Of the command that a configuration of the project is for."""
    if path.name == "quickstart.py":
        return product_defaults()
    if path.parent.name == "sweeps" or path.name.startswith("stream_"):
        return stream_defaults()
    return job_defaults()


@pytest.mark.parametrize(
    "path", sorted(p for p in _CONFIGS if p.name not in _SCRIPTS), ids=lambda p: p.name
)
def test_configurations_of_the_project_load_and_survive_json(path):
    known = _defaults(path)
    found = config.load(path, [], known)
    assert config.from_json(config.to_json(found), known) == found

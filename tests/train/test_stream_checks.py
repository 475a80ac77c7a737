"""Configurations of a stream that cannot be right are refused before anything is loaded."""

import pytest
import tiny_stream
from ml_collections import ConfigDict

from smem_jax.errors import InputError
from smem_jax.train import stream, stream_checks


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> ConfigDict:
    return tiny_stream.config(tmp_path_factory.mktemp("inputs"))


def _with(config: ConfigDict, fields: dict) -> ConfigDict:
    other = ConfigDict(config.to_dict())
    for name, value in fields.items():
        section, _, last = name.rpartition(".")
        (other[section] if section else other)[last] = value
    return other


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": ""}, "model='' must name a .gguf file"),
        ({"background.seq_len": 0}, "background.seq_len=0 must be at least 1"),
        ({"background.sample_tokens": 0}, "background.sample_tokens=0 must be at least 1"),
        ({"lessons.count": -1}, "lessons.count=-1 must be at least 1"),
        ({"lessons.probes": -1}, "lessons.probes=-1 must be at least 1"),
        ({"lessons.chunk_tokens": 0}, "lessons.chunk_tokens=0 must be at least 1"),
        ({"lessons.frames": ()}, r"frames=\(\) must be a list of at least one frame"),
        ({"lessons.frames": ("{x} {question}",)}, "frame '{x} {question}' must hold"),
        ({"lessons.lengths": ()}, r"lessons.lengths=\(\) must be one number or more"),
        ({"lessons.lengths": (0, 64)}, r"lessons.lengths=\(0, 64\) .* each at least 1"),
        ({"evaluate.every": 0}, "evaluate.every=0 must be at least 1"),
        ({"evaluate.along": ("knwon",)}, r"evaluate.along=\('knwon',\): 'knwon' must be one of kn"),
        ({"evaluate.known": "absent.jsonl"}, "evaluate.known='absent.jsonl': no such file"),
        ({"evaluate.nq": __file__}, "evaluate.nq_shots='' must be a file, since evaluate.nq='"),
        ({"learner.learning_rate": float("inf")}, "learner.learning_rate=inf must be above 0 and"),
        ({"learner.replay_weight": -1.0}, "learner.replay_weight=-1.0 must be at least 0"),
        ({"learner.method": "full", "learner.momentum": 2.0}, "momentum=2.0"),
        (
            {"learner.method": "lora", "learner.optimizer": "adam", "learner.b1": 1.0},
            "b1=1.0",
        ),
    ],
)
def test_what_cannot_be_right_is_named_and_nothing_is_written(config, tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        stream.run(_with(config, fields), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_can_be_right_passes(config):
    stream_checks.check(config)
    stream_checks.check(_with(config, {"learner.method": "full", "learner.weight_decay": 0.1}))


def test_a_malformed_held_out_file_is_named_before_anything_is_written(config, tmp_path):
    bad = tmp_path / "known.jsonl"
    bad.write_text('{"question": "what?"}\n')
    with pytest.raises(InputError, match=r"known\.jsonl:1"):
        stream.run(_with(config, {"evaluate.known": str(bad)}), tmp_path / "run")
    assert not (tmp_path / "run").exists()

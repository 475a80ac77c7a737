"""The pretraining configurations, by shape alone."""

from pathlib import Path

import jax
import pytest
from flax import nnx

from smem_jax import config as config_module
from smem_jax.job_settings import job_defaults
from smem_jax.train import job_model, program
from smem_jax.train.flops import step_flops

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "pretrain"


def load(name, *overrides):
    return config_module.load(FOLDER / f"{name}.py", overrides, job_defaults())


def sizes(config):
    """Numbers of parameters but for the tables, and of values; shared tables count once."""
    model = nnx.eval_shape(lambda: job_model.build(config, nnx.Rngs(0)))
    return [
        sum(leaf.size for leaf in jax.tree.leaves(part))
        for part in job_model.params_and_values(model)
    ]


@pytest.mark.parametrize(
    ("name", "params", "tolerance", "values"),
    [
        ("tiny", 2.5e6, 0.1, 2**14 * 192),
        ("tiny_dense", 2.5e6, 0.1, 0),
        ("tiny_subject", 2.5e6, 0.1, 2**14 * 192),
        ("smollm_134m", 134e6, 0.03, 2**18 * 576),
        ("published_373m", 373e6, 0.03, 2**20 * 1024),
        ("published_1_3b", 1.3e9, 0.06, 2**20 * 1024),
    ],
)
def test_the_models_have_the_sizes_of_their_names(name, params, tolerance, values):
    config = load(name, "data.source=text:any")
    program.check(config)
    found = sizes(config)
    assert found[0] == pytest.approx(params, rel=tolerance)
    assert found[1] == values


def test_the_dense_model_costs_what_the_memory_model_costs_and_differs_in_nothing_else():
    memory, dense = load("tiny"), load("tiny_dense")
    assert step_flops(dense) == pytest.approx(step_flops(memory), rel=0.01)
    assert dense.memory.blocks == ()
    with dense.unlocked():
        dense.memory.blocks, dense.model.ffn_dim = memory.memory.blocks, memory.model.ffn_dim
    assert dense.to_dict() == memory.to_dict()


def test_the_published_shape_has_its_memory_in_the_published_blocks():
    config = load("published_373m")
    assert (config.model.num_blocks, config.model.embed_dim) == (24, 1024)
    assert config.memory.blocks == (4, 12, 20) and config.memory.shared_values
    assert config.pretrain.values_learning_rate == 1e-3 > config.pretrain.learning_rate


def test_the_subject_has_the_model_of_the_job_that_it_starts_from():
    subject, base = load("tiny_subject"), load("tiny")
    for section in ("model", "memory"):
        assert subject[section].to_dict() == base[section].to_dict()
    assert subject.data.tokenizer == base.data.tokenizer

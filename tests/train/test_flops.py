"""The FLOPs of a step by hand, and beside what XLA counts for a program of one device."""

import jax
import job_configs
import pytest

from smem_jax.train.flops import step_flops
from smem_jax.train.program import Program


def test_a_transformer_without_memory_costs_six_times_its_parameters_and_its_scores(tmp_path):
    config = job_configs.tiny("pretrain", tmp_path, memory__blocks=())
    width, attended, ffn, vocab, seq = 32, 32, 64, 264, 32
    parameters = 2 * (4 * width * attended + 3 * width * ffn) + width * vocab
    scores = 2 * (2 * attended * seq / 2)
    assert step_flops(config) == 6 * (parameters + scores) * 8 * seq


@pytest.mark.parametrize("objective", ["pretrain", "sparse"])
def test_it_is_near_what_the_compiler_counts(objective, tmp_path):
    config = job_configs.tiny(objective, tmp_path)
    program = Program(config, jax.devices()[:1])
    counted = program.lower_step().compile().cost_analysis()["flops"]
    # All of the scores, sorting, softmax and the optimizer are counted, too.
    assert 0.4 * counted < step_flops(config) < 1.05 * counted

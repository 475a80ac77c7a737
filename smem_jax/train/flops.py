"""Multiplications and additions that a step needs, for the model FLOP utilisation (MFU).

As in PaLM (arXiv 2204.02311, appendix B), what the mathematics asks for, whatever the program does:
what `model.remat` runs again does not count. Of the scores of attention only the half under the
causal mask counts. A backward pass costs as much as the forward pass for each of the two factors of
a product that has a gradient: for activations, and for parameters where those are trained.
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from smem_jax.train import job_model


class _Cost(NamedTuple):
    """Of a forward pass for one token: products with parameters, and of activations."""

    parameters: float
    activations: float


def step_flops(config: ConfigDict) -> float:
    """Of one step of all devices together."""
    blocks = [
        _block(config, number in config.memory.blocks) for number in range(config.model.num_blocks)
    ]
    blocks.append(_Cost(2.0 * config.model.embed_dim * config.model.vocab_size, 0.0))  # the head
    tokens = config.train.batch_size * config.data.seq_len
    forward = sum(sum(cost) for cost in blocks)
    if config.objective == "pretrain":
        return 3.0 * forward * tokens
    # Parameters are frozen; gradients go down to the rows of the memory block.
    above = blocks[config.memory.blocks[0] + 1 :]
    backward = sum(cost.parameters + 2 * cost.activations for cost in above)
    return (forward + backward + _write_out(config) + _lookup(config)) * tokens


def _block(config: ConfigDict, has_memory: bool) -> _Cost:
    c = config.model
    attended = c.num_heads * c.head_dim
    total = 2.0 * c.embed_dim * (2 * attended + 2 * c.num_kv_heads * c.head_dim)
    scores = 2.0 * 2 * attended * config.data.seq_len / 2
    if not has_memory or config.memory.placement == "beside":
        total += 2.0 * 3 * c.embed_dim * c.ffn_dim
    if has_memory:
        m = job_model.memory_config(config)
        total += 2.0 * m.num_heads * m.key_dim * (c.embed_dim + m.num_sub_keys)
        total += 2.0 * c.embed_dim * m.row_dim * m.gate
        total += _write_out(config) + _lookup(config)
    return _Cost(total, scores)


def _write_out(config: ConfigDict) -> float:
    return 2.0 * config.model.embed_dim * job_model.memory_config(config).row_dim


def _lookup(config: ConfigDict) -> float:
    m = job_model.memory_config(config)
    return 2.0 * m.num_heads * m.top_k * m.row_dim

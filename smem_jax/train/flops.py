"""Multiplications and additions that a step needs, for the model FLOP utilisation (MFU).

As in PaLM (arXiv 2204.02311, appendix B): what the mathematics asks for, whatever the program does;
what `model.remat` runs again does not count. A backward pass costs as much as the forward pass for
the activations, and as much again for the parameters where those are trained.
"""

from ml_collections import ConfigDict

from smem_jax.train import job_model


def step_flops(config: ConfigDict) -> float:
    """Of one step of all devices together."""
    blocks = config.model.num_blocks
    costs = [_block(config, number in config.memory.blocks) for number in range(blocks)]
    head = 2.0 * config.model.embed_dim * config.model.vocab_size
    tokens = config.train.batch_size * config.data.seq_len
    if config.objective == "pretrain":
        return 3.0 * (sum(costs) + head) * tokens
    above = sum(costs[config.memory.blocks[0] + 1 :]) + head
    return (sum(costs) + head + above) * tokens


def _block(config: ConfigDict, has_memory: bool) -> float:
    """Of the forward pass of a block, for one token."""
    c = config.model
    attended = c.num_heads * c.head_dim
    projections = c.embed_dim * (2 * attended + 2 * c.num_kv_heads * c.head_dim)
    scores = 2 * attended * config.data.seq_len / 2  # a token sees half of the row
    total = projections + scores
    if not has_memory or config.memory.placement == "beside":
        total += 3 * c.embed_dim * c.ffn_dim
    if has_memory:
        m = job_model.memory_config(config)
        total += m.num_heads * m.key_dim * (c.embed_dim + m.num_sub_keys)
        total += m.num_heads * m.top_k * m.row_dim
        total += c.embed_dim * m.row_dim * (2 if m.gate else 1)
    return 2.0 * total

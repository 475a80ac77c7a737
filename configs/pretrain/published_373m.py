"""Pretrain the published shape of 373M parameters with memory in three blocks, on 16 TPU chips.

    smem compile --config configs/pretrain/published_373m.py --topology v5p:2x2x4
    smem train --config configs/pretrain/published_373m.py --workdir /shared/373m --distributed \
        data.source=tfds:c4/en:train@/data data.tokenizer=/data/tokenizer

'Memory Layers at Scale' (arXiv 2412.09764): 24 blocks of width 1024, one table of 2**20 slots for
blocks 4, 12 and 20, in place of their feed-forward networks; values at a constant rate of 1e-3, the
rest at 1e-4 with warm-up and decay. docs/pods.md says how to start it on every host.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Fields that differ from `smem_jax.job_settings.job_defaults`."""
    config = ConfigDict()
    config.objective = "pretrain"
    config.model = ConfigDict(
        {
            "vocab_size": 32_000,
            "num_blocks": 24,
            "embed_dim": 1024,
            "num_heads": 16,
            "num_kv_heads": 16,
            "head_dim": 64,
            # 4 * 1024, times 2/3 for the third matrix of SwiGLU, rounded up to a multiple of 256.
            "ffn_dim": 2816,
            "tied_embeddings": False,
            "compute_dtype": "bfloat16",
            "remat": True,
        }
    )
    config.memory = ConfigDict(
        {
            "blocks": (4, 12, 20),
            "shared_values": True,
            "num_slots": 2**20,
            "num_heads": 4,
            "top_k": 32,
            "key_dim": 512,
            "value_dim": 1024,
            "values_dtype": "bfloat16",
        }
    )
    # 128 columns of the table a chip, the width of a TPU's vector.
    config.mesh = ConfigDict({"data": -1, "memory": 8})
    config.data = ConfigDict({"seq_len": 4096, "num_shards": 16})
    config.train = ConfigDict(
        {"batch_size": 64, "steps": 100_000, "checkpoint_every": 1000, "log_every": 20}
    )
    config.pretrain = ConfigDict(
        {
            "learning_rate": 1e-4,
            "final_learning_rate": 1e-5,
            "warmup_steps": 2000,
            "values_learning_rate": 1e-3,
            "values_weight_decay": 0.1,
        }
    )
    return config

"""Pretrain the 1.3B model of arXiv 2510.15103 with a memory layer of 2**20 slots, on 16 TPU chips.

    smem compile --config configs/pods/pretrain_1b.py --topology v5p:2x2x4
    smem train --config configs/pods/pretrain_1b.py --workdir /shared/pretrain_1b --distributed \
        data.source=tfds:c4/en:train@/data data.tokenizer=/data/tokenizer

22 blocks of width 2048; the memory replaces the feed-forward network of block 12. docs/pods.md says
what the first command prints, and how to start the second on every host.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Fields that differ from `smem_jax.job_settings.job_defaults`."""
    config = ConfigDict()
    config.objective = "pretrain"
    config.model = ConfigDict(
        {
            "vocab_size": 32_000,
            "num_blocks": 22,
            "embed_dim": 2048,
            "num_heads": 16,
            "num_kv_heads": 16,
            "head_dim": 128,
            # 4 * 2048, times 2/3 for the third matrix of SwiGLU, rounded up to a multiple of 256.
            "ffn_dim": 5632,
            "tied_embeddings": False,
            "compute_dtype": "bfloat16",
            "remat": True,
        }
    )
    config.memory = ConfigDict(
        {
            "blocks": (12,),
            "num_slots": 2**20,
            "num_heads": 4,
            "top_k": 32,
            "key_dim": 512,
            "value_dim": 2048,
            "values_dtype": "bfloat16",
        }
    )
    # 128 columns of the table a chip, the width of a TPU's vector.
    config.mesh = ConfigDict({"data": -1, "memory": 16})
    config.data = ConfigDict({"seq_len": 2048, "num_shards": 16})
    config.train = ConfigDict(
        {"batch_size": 128, "steps": 100_000, "checkpoint_every": 1000, "log_every": 20}
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

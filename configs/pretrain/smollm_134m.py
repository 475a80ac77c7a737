"""Pretrain a memory model of the shape of SmolLM2-135M, on one GPU or a few.

    smem train --config configs/pretrain/smollm_134m.py --workdir runs/pretrain/134m \
        data.source=tfds:c4/en:train@/data data.tokenizer=/data/SmolLM2-135M

30 blocks of width 576; one table of 2**18 slots for blocks 5, 15 and 25, which are those of
published_373m.py (4, 12 and 20 of 24) at the same share of the depth.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Fields that differ from `smem_jax.job_settings.job_defaults`."""
    config = ConfigDict()
    config.objective = "pretrain"
    config.model = ConfigDict(
        {
            "vocab_size": 49_152,
            "num_blocks": 30,
            "embed_dim": 576,
            "num_heads": 9,
            "num_kv_heads": 3,
            "head_dim": 64,
            "ffn_dim": 1536,
            "rope_base": 100_000.0,
            "compute_dtype": "bfloat16",
            "remat": True,
        }
    )
    config.memory = ConfigDict(
        {
            "blocks": (5, 15, 25),
            "shared_values": True,
            "num_slots": 2**18,
            "num_heads": 4,
            "top_k": 32,
            "key_dim": 256,
            "value_dim": 576,
            "values_dtype": "bfloat16",
        }
    )
    config.data = ConfigDict({"seq_len": 2048, "num_shards": 8})
    config.train = ConfigDict(
        {"batch_size": 64, "steps": 20_000, "checkpoint_every": 500, "log_every": 20}
    )
    config.pretrain = ConfigDict(
        {
            "learning_rate": 1e-3,
            "final_learning_rate": 1e-4,
            "warmup_steps": 1000,
            "values_learning_rate": 1e-2,
        }
    )
    return config

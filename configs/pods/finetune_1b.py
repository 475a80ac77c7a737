"""Teach documents to the 1.3B model with 2**26 slots, 137 billion values, on hundreds of chips.

    smem compile --config configs/pods/finetune_1b.py --topology v5p:8x8x8
    smem train --config configs/pods/finetune_1b.py --workdir /shared/finetune_1b --distributed \
        init=PRETRAINED data.source=blocks:/data/documents.txt \
        background.source=tfds:c4/en:train@/data data.tokenizer=/data/tokenizer

PRETRAINED is the work directory of a job with the objective 'pretrain' and the same memory. The
table, 275 GB in bfloat16, is split by columns over 16 chips, and each group of 16 has a share of
the batch. What is exchanged in a step grows with the batch and not with the number of slots.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Fields that differ from `smem_jax.job_settings.job_defaults`."""
    config = ConfigDict()
    config.objective = "sparse"
    config.model = ConfigDict(
        {
            "vocab_size": 32_000,
            "num_blocks": 22,
            "embed_dim": 2048,
            "num_heads": 16,
            "num_kv_heads": 16,
            "head_dim": 128,
            "ffn_dim": 5632,
            "tied_embeddings": False,
            "params_dtype": "bfloat16",
            "compute_dtype": "bfloat16",
            "remat": True,
        }
    )
    config.memory = ConfigDict(
        {
            "blocks": (12,),
            "num_slots": 2**26,
            "num_heads": 4,
            "top_k": 32,
            "key_dim": 512,
            "value_dim": 2048,
            "values_dtype": "bfloat16",
        }
    )
    config.mesh = ConfigDict({"data": -1, "memory": 16})
    config.data = ConfigDict({"seq_len": 512, "num_shards": 512})
    config.background = ConfigDict({"batches": 1000})
    config.train = ConfigDict({"batch_size": 512, "steps": 2000, "checkpoint_every": 200})
    config.sparse = ConfigDict({"top_t": 10_000, "optimizer": "sgd", "learning_rate": 2.0})
    return config

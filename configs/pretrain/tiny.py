"""Pretrain a tiny memory model: 4 blocks of width 192, 2**14 slots in block 1, on a CPU.

    python configs/pretrain/make_text.py --source DIR --output runs/pretrain_text --leave-out \
        configs/stream_data/{facts,nq,nq_shots,untaught,trivia_choices}.jsonl \
        configs/stream_data/wikitext.txt
    smem train --config configs/pretrain/tiny.py --workdir runs/pretrain/tiny

`tiny_dense.py` is the dense model of as many FLOPs a token; docs/pretraining.md compares the two.
"""

from ml_collections import ConfigDict

_TEXT = "runs/pretrain_text"


def get_config() -> ConfigDict:
    """Fields that differ from `smem_jax.job_settings.job_defaults`."""
    config = ConfigDict()
    config.objective = "pretrain"
    config.model = ConfigDict(
        {
            "vocab_size": 4096,
            "num_blocks": 4,
            "embed_dim": 192,
            "num_heads": 4,
            "num_kv_heads": 4,
            "head_dim": 48,
            "ffn_dim": 512,
        }
    )
    config.memory = ConfigDict(
        {
            "blocks": (1,),
            "num_slots": 2**14,
            "num_heads": 4,
            "top_k": 8,
            "key_dim": 64,
            "value_dim": 192,
            # Cosines, so that no token's query is so long that its softmax reads one slot alone.
            "normalize_queries": True,
            "normalize_keys": True,
            "score_scale": 10.0,
        }
    )
    config.data = ConfigDict(
        {
            "source": f"blocks:{_TEXT}/train.txt",
            "held_out_source": f"blocks:{_TEXT}/held_out.txt",
            "tokenizer": f"{_TEXT}/tokenizer",
            "seq_len": 128,
        }
    )
    config.train = ConfigDict(
        {
            "steps": 880,  # half a pass over the text
            "batch_size": 16,
            "checkpoint_every": 110,
            "evaluate_every": 110,
            "log_every": 20,
        }
    )
    config.pretrain = ConfigDict(
        {
            "learning_rate": 3e-3,
            "final_learning_rate": 3e-4,
            "warmup_steps": 50,
            "values_learning_rate": 1e-2,
        }
    )
    return config

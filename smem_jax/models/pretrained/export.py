"""A checkpoint as a Hugging Face directory: what `huggingface.read` reads, written."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smem_jax import atomic
from smem_jax.models.config import ModelConfig
from smem_jax.models.pretrained import safetensors_file
from smem_jax.models.pretrained.huggingface import CHAT_TEMPLATE
from smem_jax.models.pretrained.loader import Pretrained
from smem_jax.models.pretrained.tokenizer import Tokenizer


def write(base: Pretrained, directory: Path) -> None:
    """Writes `config.json`, tokenizer, chat template and float32 weights, `config.json` last.

    Weights come back bit for bit, so a patch for the checkpoint fits what is read from here.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {name: np.ascontiguousarray(t, np.float32) for name, t in base.tensors.items()}
    safetensors_file.write(directory / "model.safetensors", tensors, {"format": "pt"})
    base.tokenizer.save(directory)
    if base.tokenizer.chat_template is not None:
        (directory / CHAT_TEMPLATE).write_text(base.tokenizer.chat_template, encoding="utf-8")
    text = json.dumps(_fields(base.config, base.tokenizer), indent=2) + "\n"
    atomic.write_text(directory / "config.json", text)


def _fields(config: ModelConfig, tokenizer: Tokenizer) -> Mapping[str, Any]:
    """The content of `config.json`."""
    fields: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "float32",
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.num_blocks,
        "hidden_size": config.embed_dim,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.ffn_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_base,
        "tie_word_embeddings": config.tied_embeddings,
        "max_position_embeddings": config.max_positions,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
        "bos_token_id": tokenizer.bos_id,
    }
    scaling = config.rope_scaling
    if scaling is not None:
        fields["rope_scaling"] = {"rope_type": scaling.kind, "factor": scaling.factor}
        if scaling.kind == "llama3":
            fields["rope_scaling"] |= {
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                "original_max_position_embeddings": scaling.original_max_positions,
            }
    return fields

"""What the parameters of a transformer are called in a Hugging Face Llama checkpoint."""

_TENSOR_NAMES = {
    ("embedding", "embedding"): "model.embed_tokens.weight",
    ("norm", "scale"): "model.norm.weight",
    ("head", "kernel"): "lm_head.weight",
    ("attention_norm", "scale"): "input_layernorm.weight",
    ("ffn_norm", "scale"): "post_attention_layernorm.weight",
    ("attention", "query", "kernel"): "self_attn.q_proj.weight",
    ("attention", "key", "kernel"): "self_attn.k_proj.weight",
    ("attention", "value", "kernel"): "self_attn.v_proj.weight",
    ("attention", "out", "kernel"): "self_attn.o_proj.weight",
    ("ffn", "gate", "kernel"): "mlp.gate_proj.weight",
    ("ffn", "up", "kernel"): "mlp.up_proj.weight",
    ("ffn", "down", "kernel"): "mlp.down_proj.weight",
}


def tensor_name(path: tuple) -> tuple[str, bool]:
    """The Hugging Face name of a parameter, and whether it is stored transposed there."""
    transpose = path[-1] == "kernel"
    if path[0] == "blocks":
        return f"model.layers.{path[1]}.{_TENSOR_NAMES[path[2:]]}", transpose
    return _TENSOR_NAMES[path], transpose

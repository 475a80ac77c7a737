"""LoRA adapters as a directory of PEFT, written and read without it.

`adapter_model.safetensors` has float32 `lora_A.weight` [rank, in] and `lora_B.weight` [out, rank]
for each adapted layer, named as the layer is in a Hugging Face checkpoint, and
`adapter_config.json` what they are scaled by. Such an adapter says which base model it is for by
its place alone: nothing tells whether the weights are those that it was trained on.
"""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from smem_jax import atomic, json_file
from smem_jax.errors import InputError
from smem_jax.models import lora
from smem_jax.models.pretrained import safetensors_file
from smem_jax.models.pretrained.checks import check_tensors
from smem_jax.models.pretrained.huggingface import number
from smem_jax.models.tensor_names import tensor_name
from smem_jax.models.transformer import Transformer

DIRECTORY = "adapter"  # of a work directory
_WEIGHTS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"
# Options that change what an adapter computes and show in no tensor of their own.
_NOT_SUPPORTED = (
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "monteclora_config",
    "rank_pattern",
    "use_bdlora",
    "use_qalora",
    "use_rslora",
)

# Ways to begin that leave the base model as it is, beside true and false.
_STARTS = ("gaussian", "eva", "orthogonal")


def save(model: Transformer, directory: Path, base: str) -> None:
    """Writes the adapters of a model to a directory, the configuration last.

    Args:
      base: where the base model is, for whoever has no better place.

    Raises InputError for a model without adapters.
    """
    lora.check_has_lora(model)
    tensors: dict[str, np.ndarray] = {}
    targets = set()
    for place, layer in lora.layers(model):
        if isinstance(layer, lora.LoRALinear):
            a, b = _names(place)
            tensors |= {a: np.asarray(layer.a[...]).T, b: np.asarray(layer.b[...]).T}
            targets.add(a.split(".")[-3])
            rank, alpha = layer.rank, layer.alpha  # the same for all
    fields = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": sorted(targets),
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }
    safetensors_file.write(directory / _WEIGHTS, tensors, {"format": "pt"})
    atomic.write_text(directory / _CONFIG, json.dumps(fields, indent=2) + "\n")


def load(model: Transformer, directory: Path) -> None:
    """Puts the adapters of a directory on a model, in place; the weights bit for bit.

    Raises InputError, and changes nothing, for a file that is missing or damaged, another method
    than LoRA, an option that is not supported, a tensor that the model has no place for or whose
    shape is another one, and a model that has adapters.
    """
    rank, alpha = _read_config(directory / _CONFIG)
    path = directory / _WEIGHTS
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    tensors = safetensors_file.read(path)
    lora.check_has_none(model)
    adapted = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for place, layer in lora.layers(model):
        a, b = _names(place)
        if a in tensors or b in tensors:
            adapted[place] = layer
            shapes |= {a: (rank, layer.in_features), b: (layer.out_features, rank)}
    if not tensors:
        raise InputError(f"{path}: no adapters are in it")
    found = {name: tensor.shape for name, tensor in tensors.items()}
    check_tensors(path, shapes, found, "the linear layers of this model")
    for place, layer in adapted.items():
        new = lora.LoRALinear(layer, rank, alpha, rngs=nnx.Rngs(0))
        a, b = _names(place)
        new.a[...], new.b[...] = jnp.asarray(tensors[a].T), jnp.asarray(tensors[b].T)
        lora.put(model, place, new)


def base_of(directory: Path) -> str:
    """Where an adapter says that its base model is; InputError where it does not."""
    path = directory / _CONFIG
    base = json_file.read(path).get("base_model_name_or_path")
    if not base:
        raise InputError(f"{path}: base_model_name_or_path={base!r} names no model; give --model")
    return str(base)


def _read_config(path: Path) -> tuple[int, float]:
    """Rank and alpha; InputError for what is not supported."""
    fields = json_file.read(path)
    if fields.get("peft_type") != "LORA":
        raise InputError(f"{path}: peft_type={fields.get('peft_type')!r} must be 'LORA'")
    for name in _NOT_SUPPORTED:
        if fields.get(name):
            raise InputError(f"{path}: {name}={fields[name]!r} is not supported")
    start = fields.get("init_lora_weights", True)
    if isinstance(start, str) and start not in _STARTS:
        raise InputError(
            f"{path}: init_lora_weights={start!r} changes the base model; PEFT can save such an "
            "adapter for the unchanged one (path_initial_model_for_weight_conversion)"
        )
    rank, alpha = number(path, fields, "r", int), number(path, fields, "lora_alpha", float)
    if rank < 1:
        raise InputError(f"{path}: r={rank} must be at least 1")
    if not alpha > 0:
        raise InputError(f"{path}: lora_alpha={alpha} must be above 0")
    return rank, alpha


def _names(place: lora.Place) -> tuple[str, str]:
    """What PEFT calls `a` and `b` of a layer."""
    layer = tensor_name((*place, "kernel"))[0].removesuffix(".weight")
    return f"base_model.model.{layer}.lora_A.weight", f"base_model.model.{layer}.lora_B.weight"

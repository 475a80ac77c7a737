"""Whole decoders of the published code, against a plain forward pass of them."""

import numpy as np
import published_model
import pytest
from flax import nnx

from smem_jax.errors import InputError
from smem_jax.models.pretrained import published, safetensors_file
from smem_jax.models.retrofit import memory_blocks

_TOKENS = np.random.RandomState(1).randint(0, published_model.VOCAB, 20)
_run = nnx.jit(lambda model, tokens: model(tokens))

_VARIANTS = {
    "plus": ({}, {}),
    "without gate": (
        {"value_dim": 10, "gate": False},
        {"mem_v_dim": 10, "swilu_projection": False},
    ),
    "values alone": ({"gate": False}, {"swilu_projection": False}),
    "a table each": (
        {"value_dim": 10, "shared": False},
        {"mem_v_dim": 10, "mem_share_values": False},
    ),
}


@pytest.mark.parametrize("variant", _VARIANTS)
def test_logits_are_those_of_the_published_form(variant, tmp_path):
    sizes, options = _VARIANTS[variant]
    weights = published_model.weights(**sizes)
    published_model.write(tmp_path, published_model.fields(**options), weights)
    model = published.load(tmp_path)
    assert memory_blocks(model) == [1, 3]
    tables = [model.blocks[n].memory.table for n in (1, 3)]
    assert (tables[0] is tables[1]) == (variant != "a table each")
    expected = published_model.logits(weights, _TOKENS)
    np.testing.assert_allclose(_run(model, _TOKENS[None])[0], expected, rtol=1e-4, atol=1e-4)


def test_a_shared_table_may_be_there_again_and_may_be_no_other_one(tmp_path):
    weights = published_model.weights()
    copy = weights["layers.1.feed_forward.values.weight"].copy()
    weights["layers.3.feed_forward.values.weight"] = copy
    published_model.write(tmp_path, published_model.fields(), weights)
    model = published.load(tmp_path)
    assert model.blocks[1].memory.table is model.blocks[3].memory.table
    copy[0, 0] += 1
    published_model.write(tmp_path, published_model.fields(), weights)
    with pytest.raises(
        InputError, match=r"block 3: 'values\.weight' is not the table of the first"
    ):
        published.load(tmp_path)


def test_weights_of_bfloat16_and_under_other_names(tmp_path):
    weights = {f"model.{n}".replace("wq", "q"): w for n, w in published_model.weights().items()}
    published_model.write(tmp_path, published_model.fields(), weights, "BF16")
    with pytest.raises(InputError, match=r"tensor 'tok_embeddings\.weight' is missing"):
        published.load(tmp_path)
    names = {ours: f"model.{n}".replace("wq", "q") for ours, n in published.NAMES.items()}
    model = published.load(tmp_path, names)
    cut = {
        name.removeprefix("model.").replace(".q.", ".wq."): (
            (w.view(np.uint32) >> 16 << 16).view(np.float32)
        )
        for name, w in weights.items()
    }
    expected = published_model.logits(cut, _TOKENS)
    np.testing.assert_allclose(_run(model, _TOKENS[None])[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("model", {"dim": "24"}, "dim='24' should be int"),
        ("model", {"sliding_window": 128}, "sliding_window=128 is not supported"),
        ("model", {"n_kv_heads": 3}, "num_heads=4 is not a multiple of num_kv_heads=3"),
        ("model", {"n_layers": 0}, "num_blocks=0 must be from 1 to"),
        ("model", {"n_layers": 3}, r"'layers\.3\.\S+' has no place in a decoder with memory"),
        ("productkey_args", {"mem_gated": True}, "mem_gated=true is not supported"),
        ("productkey_args", {"peer_variant": True}, "peer_variant=true is not supported"),
        ("productkey_args", {"mem_knn": 7}, "top_k=7 must be from 1 to 6"),
        ("productkey_args", {"mem_n_keys": 5}, r"block 1: .*'values\.weight' has shape \(36, 24\)"),
        ("productkey_args", {"swilu_projection": False}, "block 1: .* has no place"),
        ("productkey_args", {"mem_share_values": False}, r"block 3: .*values\.weight' is missing"),
    ],
)
def test_params_that_do_not_fit_are_named(section, change, message, tmp_path):
    params = published_model.fields()
    model = params["model"]
    (model if section == "model" else model[section]).update(change)
    published_model.write(tmp_path, params, published_model.weights())
    with pytest.raises(InputError, match=message) as caught:
        published.load(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_weights_that_do_not_fit_are_named(tmp_path):
    weights = published_model.weights()
    memory, ffn = "layers.1.feed_forward", "layers.0.feed_forward"
    wrong = {
        r"block 1: 'gating\.weight' has no place in a memory layer": {
            f"{memory}.gating.weight": np.ones((1, 24), np.float32)
        },
        r"tensor 'layers\.0\.feed_forward\.w2\.weight' has shape \(24, 24\)": {
            f"{ffn}.w2.weight": np.ones((24, 24), np.float32)
        },
        r"tensor 'extra' has no place": {"extra": np.ones(3, np.float32)},
    }
    for message, change in wrong.items():
        published_model.write(tmp_path, published_model.fields(), weights | change)
        with pytest.raises(InputError, match=message):
            published.load(tmp_path)
    whole = weights | {"norm.weight": np.ones(24, np.int32)}
    safetensors_file.write(tmp_path / "model.safetensors", whole, {})
    with pytest.raises(InputError, match=r"tensor 'norm\.weight' is stored as I32"):
        published.load(tmp_path)
    (tmp_path / "params.json").write_text("{}")
    with pytest.raises(InputError, match=r"params\.json: model=None should be an object"):
        published.load(tmp_path)

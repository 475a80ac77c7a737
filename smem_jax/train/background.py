"""What ordinary text does in a memory layer: fitted queries and keys, document frequency, reads.

`smem background` writes one `Background` to a file, `smem teach` reads it or makes its own. The
text is ordinary prose and questions with their answers in the frames that facts are taught in: a
background without the form lets the slots that serve the form look rare. (arXiv 2510.15103 takes
the document frequency from pretraining text.)
"""

import dataclasses
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from smem_jax.data.questions import Question
from smem_jax.errors import InputError
from smem_jax.memory import fit
from smem_jax.memory.layer import MemoryLayer
from smem_jax.models.pretrained import Tokenizer
from smem_jax.models.retrofit import memory_layer
from smem_jax.models.transformer import Transformer
from smem_jax.train import prefix

_FIT_TOKENS = 32_768


@dataclasses.dataclass(frozen=True)
class Background:
    """Statistics of background text at one memory layer of one base model.

    Attributes:
      fingerprint: of the base model's weights.
      memory: the block and the sizes of the memory layer, as JSON.
      query_kernel, query_bias, sub_keys: the fitted weights of the memory layer.
      document_frequency: windows that read each slot, int32 [num_slots].
      num_documents: windows in all.
      indices, weights: reads of a sample of background tokens, int32 and float32
        [num_tokens, num_heads * top_k].
      residual_norm: median length of the residual stream over all tokens.
      slot_share, slot_perplexity: share of slots read at all, perplexity of the reads.
    """

    fingerprint: str
    memory: str
    query_kernel: np.ndarray
    query_bias: np.ndarray
    sub_keys: np.ndarray
    document_frequency: np.ndarray
    num_documents: int
    indices: np.ndarray
    weights: np.ndarray
    residual_norm: float
    slot_share: float
    slot_perplexity: float


def windows(
    tokenizer: Tokenizer,
    text: Sequence[str],
    questions: Sequence[Question],
    frames: Sequence[str],
    seq_len: int,
) -> np.ndarray:
    """Background text as int32 [num_windows, seq_len], without padding: prose, then questions.

    Questions take the `frames` in turn, each followed by its first answer and a line break. What
    does not fill a last window is dropped. Raises InputError where nothing fills a window.
    """
    qa = [
        f"{frames[i % len(frames)].format(question=q.question)} {q.answers[0]}\n"
        for i, q in enumerate(questions)
    ]
    parts = []
    for lines in ([f"{paragraph}\n" for paragraph in text], qa):
        ids = [np.asarray(row, np.int32) for row in tokenizer.encode_batch(lines)] if lines else []
        stream = np.concatenate([np.zeros(0, np.int32), *ids])
        stream = stream[: len(stream) // seq_len * seq_len]
        parts.append(stream.reshape(-1, seq_len))
    found = np.concatenate(parts)
    if not len(found):
        raise InputError(f"the background fills no window of {seq_len} tokens; give more text")
    return found


def measure(
    model: Transformer,
    block: int,
    tokens: np.ndarray,
    *,
    fingerprint: str,
    memory: str,
    sample_tokens: int,
    seed: int,
    fit_layer: bool = True,
) -> Background:
    """Fits the memory layer of `block`, in place, to windows of `tokens` and counts its reads.

    Every window is one document. `sample_tokens` of all tokens, drawn at random, keep their reads.
    Without `fit_layer` the layer stays as it is, as one should that was pretrained.
    """
    layer = memory_layer(model, block)
    found = prefix.run(model, block, tokens, "background")
    hidden = found.hidden.reshape(-1, found.hidden.shape[-1])
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(hidden))[:_FIT_TOKENS]
    if fit_layer:
        fit.fit(layer, jax.numpy.asarray(hidden[np.sort(chosen)]), jax.random.key(seed))
    indices, weights = prefix.reads(layer, found.hidden)
    num_slots = layer.config.num_slots
    frequency = np.zeros(num_slots, np.int32)
    for window in indices:
        frequency[np.unique(window)] += 1
    share, perplexity = fit.slot_use(np.bincount(indices.ravel(), minlength=num_slots))
    sample = np.sort(random.permutation(len(hidden))[:sample_tokens])
    flat = (-1, indices.shape[-1])
    return Background(
        fingerprint=fingerprint,
        memory=memory,
        query_kernel=np.asarray(layer.query.kernel[...]),
        query_bias=np.asarray(_bias(layer)[...]),
        sub_keys=np.asarray(layer.sub_keys[...]),
        document_frequency=frequency,
        num_documents=len(tokens),
        indices=indices.reshape(flat)[sample],
        weights=weights.reshape(flat)[sample],
        residual_norm=float(np.median(np.linalg.norm(found.residual, axis=-1))),
        slot_share=share,
        slot_perplexity=perplexity,
    )


def apply(background: Background, model: Transformer, block: int) -> None:
    """Gives the memory layer of `block` the fitted queries and sub-keys, in place."""
    layer = memory_layer(model, block)
    layer.query.kernel[...] = jax.numpy.asarray(background.query_kernel)
    _bias(layer)[...] = jax.numpy.asarray(background.query_bias)
    layer.sub_keys[...] = jax.numpy.asarray(background.sub_keys)


def save(background: Background, path: Path) -> None:
    """Writes a `.npz` file, all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez(file, **dataclasses.asdict(background))
    os.replace(partial, path)


def load(path: Path, fingerprint: str, memory: str) -> Background:
    """Reads what `save` wrote.

    Raises InputError for a file that is missing, damaged, or of another base model (`fingerprint`)
    or memory layer (`memory`).
    """
    if not path.is_file():
        raise InputError(f"{path}: no such background file; `smem background` writes one")
    names = {field.name for field in dataclasses.fields(Background)}
    try:
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a background file, or cut short ({error})") from error
    if set(arrays) != names:
        raise InputError(f"{path}: not a background file; `smem background` writes one")
    scalars = {name: a.item() for name, a in arrays.items() if a.ndim == 0}
    background = Background(**{**arrays, **scalars})
    if background.fingerprint != fingerprint:
        raise InputError(f"{path}: made with another base model than the one configured")
    if background.memory != memory:
        raise InputError(
            f"{path}: made for the memory layer {background.memory}, the configuration has {memory}"
        )
    return background


def _bias(layer: MemoryLayer) -> nnx.Param:
    assert layer.query.bias is not None  # memory layers are built with one
    return layer.query.bias

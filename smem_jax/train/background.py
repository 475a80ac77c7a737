"""What ordinary text does in a memory layer: fitted queries and keys, document frequency, reads.

`smem background` writes one `Background` to a file, `smem teach` reads it or makes its own. The
documents are windows of ordinary prose, and questions with their answers in the frames that facts
are taught in: a background without the form lets the slots that serve the form look rare, and they
are overwritten. (arXiv 2510.15103 takes the document frequency from pretraining text.)

Questions may be packed into windows behind one another, or each begin a document, as a taught one
begins a sequence. Packed, they hide how the first tokens of a prompt read: rows that all prompts
share then look rare, and one fact after another trains them. `smem teach`, whose facts come all at
once, packs them: its settings were found that way (docs/tuning.md).
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from smem_jax.data.questions import Question, read_questions
from smem_jax.data.text import read_text
from smem_jax.data.wordings import check_frames
from smem_jax.errors import InputError
from smem_jax.evaluate.batching import pad_rows
from smem_jax.memory import fit
from smem_jax.memory.layer import MemoryLayer
from smem_jax.models.pretrained import Tokenizer, sealed_file
from smem_jax.models.retrofit import memory_layer
from smem_jax.models.transformer import Transformer
from smem_jax.train import prefix

_FORMAT = sealed_file.Format("smem_jax.background", "1", "a background file", "smem background")
_FIT_TOKENS = 32_768
_LENGTH_STEP = 32  # documents are padded to multiples of this, each of which is compiled


@dataclasses.dataclass(frozen=True)
class Background:
    """Statistics of background text at one memory layer of one base model.

    Attributes:
      fingerprint: of the base model's weights.
      memory: the block and the sizes of the memory layer, as JSON.
      query_kernel, query_bias, sub_keys: the fitted weights of the memory layer.
      document_frequency: documents that read each slot, int32 [num_slots].
      num_documents: documents in all.
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


class Documents(NamedTuple):
    """Background text: `tokens` int32 [num_documents, seq_len], `lengths` int32 [num_documents].

    What stands behind the length of a document is padding.
    """

    tokens: np.ndarray
    lengths: np.ndarray


def documents(
    tokenizer: Tokenizer,
    text: Sequence[str],
    questions: Sequence[Question],
    frames: Sequence[str],
    seq_len: int,
    packed: bool,
) -> Documents:
    """Prose in windows of `seq_len` tokens, then questions, each with its first answer.

    Questions take the `frames` in turn and end in a line break. Where they are `packed`, they are
    cut into windows as the prose is; else each is a document, of `seq_len` tokens at most. What
    does not fill a last window is dropped. Raises InputError where nothing is left.
    """
    filled = _windows(tokenizer, [f"{paragraph}\n" for paragraph in text], seq_len)
    qa = [
        f"{frames[i % len(frames)].replace('{question}', q.question)} {q.answers[0]}\n"
        for i, q in enumerate(questions)
    ]
    if packed:
        filled, qa = np.concatenate([filled, _windows(tokenizer, qa, seq_len)]), []
    rows = [row[:seq_len] for row in tokenizer.encode_batch(qa)] if qa else []
    tokens = np.concatenate([filled, pad_rows(rows, len(rows), seq_len, tokenizer.pad_id)])
    if not len(tokens):
        raise InputError(f"the background fills no window of {seq_len} tokens; give more text")
    lengths = [*[seq_len] * len(filled), *map(len, rows)]
    return Documents(tokens, np.asarray(lengths, np.int32))


def _windows(tokenizer: Tokenizer, lines: Sequence[str], seq_len: int) -> np.ndarray:
    """The tokens of all lines, one behind the other: int32 [num_windows, seq_len]."""
    encoded = tokenizer.encode_batch(list(lines)) if lines else []
    stream = np.concatenate([np.zeros(0, np.int32), *encoded]).astype(np.int32)
    return stream[: len(stream) // seq_len * seq_len].reshape(-1, seq_len)


def read(section: ConfigDict, tokenizer: Tokenizer, frames: Sequence[str]) -> Documents:
    """The documents of the files in a section `background`, as `documents` makes them.

    Raises InputError where it names no file, for a file that is malformed, and for frames that are
    none.
    """
    check_frames(frames)
    if not (section.text or section.questions):
        raise InputError("background.text and background.questions are both ''; one must be a file")
    text = read_text(section.text) if section.text else []
    questions = read_questions(section.questions) if section.questions else []
    return documents(tokenizer, text, questions, frames, section.seq_len, section.packed)


def measure(
    model: Transformer,
    block: int,
    documents: Documents,
    *,
    fingerprint: str,
    memory: str,
    sample_tokens: int,
    seed: int,
    fit_layer: bool = True,
) -> Background:
    """Fits the memory layer of `block`, in place, to the documents and counts its reads.

    `sample_tokens` of all tokens, drawn at random, keep their reads. Without `fit_layer` the layer
    stays as it is, as one should that was pretrained.
    """
    layer = memory_layer(model, block)
    hidden, norms, ends = _hidden(model, block, documents)
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(hidden))[:_FIT_TOKENS]
    if fit_layer:
        fit.fit(layer, jax.numpy.asarray(hidden[np.sort(chosen)]), jax.random.key(seed))
    indices, weights = prefix.reads(layer, hidden)
    num_slots = layer.config.num_slots
    frequency = np.zeros(num_slots, np.int32)
    for document in np.split(indices, ends[:-1]):
        frequency[np.unique(document)] += 1
    share, perplexity = fit.slot_use(np.bincount(indices.ravel(), minlength=num_slots))
    sample = np.sort(random.permutation(len(hidden))[:sample_tokens])
    return Background(
        fingerprint=fingerprint,
        memory=memory,
        query_kernel=np.asarray(layer.query.kernel[...]),
        query_bias=np.asarray(_bias(layer)[...]),
        sub_keys=np.asarray(layer.sub_keys[...]),
        document_frequency=frequency,
        num_documents=len(documents.tokens),
        indices=indices[sample],
        weights=weights[sample],
        residual_norm=float(np.median(norms)),
        slot_share=share,
        slot_perplexity=perplexity,
    )


def _hidden(
    model: Transformer, block: int, documents: Documents
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all tokens, document after document, shorter ones first.

    Returns what a memory layer of the block reads, float32 [num_tokens, embed_dim], the lengths of
    the residual stream there, float32 [num_tokens], and where each document ends.
    """
    padded = -(-documents.lengths // _LENGTH_STEP) * _LENGTH_STEP
    hidden, norms, ends = [], [], []
    for length in np.unique(padded):
        rows = np.flatnonzero(padded == length)
        tokens = documents.tokens[rows, :length]
        is_token = np.arange(tokens.shape[1]) < documents.lengths[rows, None]
        found = prefix.run(model, block, tokens, "background")
        hidden.append(found.hidden[is_token])
        norms.append(np.linalg.norm(found.residual[is_token], axis=-1))
        ends.append(documents.lengths[rows])
    return np.concatenate(hidden), np.concatenate(norms), np.cumsum(np.concatenate(ends))


def apply(background: Background, model: Transformer, block: int) -> None:
    """Gives the memory layer of `block` the fitted queries and sub-keys, in place."""
    layer = memory_layer(model, block)
    layer.query.kernel[...] = jax.numpy.asarray(background.query_kernel)
    _bias(layer)[...] = jax.numpy.asarray(background.query_bias)
    layer.sub_keys[...] = jax.numpy.asarray(background.sub_keys)


def save(background: Background, path: Path) -> None:
    """Writes a safetensors file with a checksum, all of it or nothing."""
    fields = dataclasses.asdict(background)
    tensors = {name: a for name, a in fields.items() if isinstance(a, np.ndarray)}
    about = json.dumps({name: value for name, value in fields.items() if name not in tensors})
    sealed_file.write(path, tensors, about, _FORMAT)


def load(path: Path, fingerprint: str, memory: str) -> Background:
    """Reads what `save` wrote.

    Raises InputError for a file that is missing, damaged, or of another base model (`fingerprint`)
    or memory layer (`memory`).
    """
    tensors, about = sealed_file.read(path, _FORMAT)
    try:
        fields: dict[str, Any] = {**tensors, **json.loads(about)}
        background = Background(**fields)
        _check(background)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: damaged: what it says of itself ({error})") from error
    if background.fingerprint != fingerprint:
        raise InputError(f"{path}: made with another base model than the one configured")
    if background.memory != memory:
        raise InputError(
            f"{path}: made for the memory layer {background.memory}, the configuration has {memory}"
        )
    return background


def kept(path: Path, fingerprint: str, memory: str, make: Callable[[], Background]) -> Background:
    """What a cache has at `path`; made, and put there, where it has none that can be read."""
    if path.is_file():
        with contextlib.suppress(InputError):
            return load(path, fingerprint, memory)
    found = make()
    keep(found, path)
    return found


def keep(background: Background, path: Path) -> None:
    """Puts it into a cache; one that cannot be written to will not have it."""
    with contextlib.suppress(OSError):
        save(background, path)


def _check(found: Background) -> None:
    """Raises ValueError, TypeError or AttributeError unless fields have their types and fit."""
    float(found.residual_norm + found.slot_share + found.slot_perplexity + found.num_documents)
    frequency, indices = found.document_frequency, found.indices
    if frequency.ndim != 1 or indices.ndim != 2 or indices.shape != found.weights.shape:
        raise ValueError("shapes that do not fit each other")
    if frequency.dtype != np.int32 or indices.dtype != np.int32:
        raise ValueError("counts that are not int32")
    if indices.size and not 0 <= indices.min() <= indices.max() < len(frequency):
        raise ValueError("reads outside of the table")
    for array in (found.query_kernel, found.query_bias, found.sub_keys, found.weights):
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise ValueError("weights that are not finite float32")


def _bias(layer: MemoryLayer) -> nnx.Param:
    assert layer.query.bias is not None  # memory layers are built with one
    return layer.query.bias

"""Text to token ids and back."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers

from smem_jax.errors import InputError
from smem_jax.models.pretrained.chat_template import render

if TYPE_CHECKING:
    from smem_jax.models.pretrained.gguf_file import GGUFFile

_CONTROL, _USER_DEFINED = 3, 4  # values of `tokenizer.ggml.token_type`

_LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Tokenizer:
    """A byte-level BPE tokenizer.

    Names of special tokens in the text become these tokens; nothing is added at either end.
    `bos_id` is None where the checkpoint has no such token; `pad_id` falls back to `eos_id`.
    `chat_template` is None where it has none.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        eos_id: int,
        bos_id: int | None = None,
        pad_id: int | None = None,
        chat_template: str | None = None,
    ):
        self._backend = backend
        self.eos_id = eos_id
        self.bos_id = bos_id
        self.pad_id = eos_id if pad_id is None else pad_id
        self.chat_template = chat_template
        self._num_embeddings = backend.get_vocab_size()

    def fit_to(self, num_embeddings: int, source: str) -> None:
        """Leaves out special tokens for which a model of `source` has no embedding, in place.

        A `pad_id` of that kind becomes `eos_id`; InputError where `eos_id` is one itself.
        """
        if self.eos_id >= num_embeddings:
            raise InputError(
                f"{source}: eos_token_id={self.eos_id} must be below {num_embeddings}, the "
                "number of embeddings"
            )
        if not 0 <= self.pad_id < num_embeddings:
            self.pad_id = self.eos_id
        self._num_embeddings = min(self._num_embeddings, num_embeddings)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""
        encodings = self._backend.encode_batch(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special tokens left out."""
        return self._backend.decode(list(ids))

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Messages as one prompt, special tokens in it; see `chat_template.render`.

        Raises InputError where the checkpoint has no template, and for one that fails.
        """
        if self.chat_template is None:
            raise InputError("the checkpoint of the model has no chat template")
        ids = {"bos_token": self.bos_id, "eos_token": self.eos_id, "pad_token": self.pad_id}
        tokens = {
            name: token
            for name, index in ids.items()
            if index is not None and (token := self._backend.id_to_token(index)) is not None
        }
        return render(self.chat_template, messages, tokens, add_generation_prompt)

    def ids_containing(self, text: str) -> list[int]:
        """Ids of the tokens whose own text contains `text`, such as a line break."""
        singles = self._backend.decode_batch([[index] for index in range(self._num_embeddings)])
        return [index for index, token in enumerate(singles) if text in token]

    def save(self, directory: Path) -> None:
        """Writes `tokenizer.json`, and `tokenizer_config.json` for transformers."""
        self._backend.save(str(directory / "tokenizer.json"))
        ids = {"bos_token": self.bos_id, "eos_token": self.eos_id, "pad_token": self.pad_id}
        fields = {n: self._backend.id_to_token(i) for n, i in ids.items() if i is not None}
        fields |= {"tokenizer_class": "PreTrainedTokenizerFast"}
        text = json.dumps(fields, indent=2, ensure_ascii=False) + "\n"
        (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")

    @property
    def special_ids(self) -> list[int]:
        """Ids of the special tokens, `eos_id` among them, in rising order."""
        added = self._backend.get_added_tokens_decoder()
        special = {index for index, token in added.items() if token.special} | {self.eos_id}
        return sorted(index for index in special if index < self._num_embeddings)

    @property
    def vocab_size(self) -> int:
        """Number of token ids, special ones included."""
        return self._backend.get_vocab_size()


def _pre_tokenizer(kind: str) -> pre_tokenizers.PreTokenizer | None:
    """The way text is cut before BPE, by the name that `tokenizer.ggml.pre` gives it."""
    bytes_with_words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if kind == "gpt-2":
        return bytes_with_words
    if kind == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, bytes_with_words])
    if kind == "llama-bpe":
        words = pre_tokenizers.Split(Regex(_LLAMA3_WORDS), behavior="isolated")
        only_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([words, only_bytes])
    return None


def from_gguf(file: "GGUFFile") -> Tokenizer:
    """The tokenizer in the metadata of a GGUF file.

    Raises InputError, naming it, for a kind that is not byte-level BPE (`tokenizer.ggml.model`) or
    an unknown way to cut text (`tokenizer.ggml.pre`).
    """
    model = _field(file, "model")
    if model != "gpt2":
        raise InputError(
            f"{file.path}: tokenizer model {model!r} is not supported; 'gpt2' (byte-level BPE) is"
        )
    kind = _field(file, "pre")
    pre_tokenizer = _pre_tokenizer(kind)
    if pre_tokenizer is None:
        raise InputError(
            f"{file.path}: tokenizer pre-processing {kind!r} is not supported; "
            "'smollm', 'gpt-2' and 'llama-bpe' are"
        )
    tokens = _field(file, "tokens")
    backend = tokenizers.Tokenizer(_bpe(file, tokens, ignore_merges=kind == "llama-bpe"))
    backend.pre_tokenizer = pre_tokenizer
    backend.decoder = decoders.ByteLevel()
    kinds = _field(file, "token_type")
    if len(kinds) != len(tokens):
        raise InputError(f"{file.path}: damaged: {len(kinds)} token types for {len(tokens)} tokens")
    for token, token_kind in zip(tokens, kinds, strict=True):
        if token_kind in (_CONTROL, _USER_DEFINED):
            special = token_kind == _CONTROL
            backend.add_tokens([AddedToken(token, special=special, normalized=False)])
    return Tokenizer(
        backend,
        eos_id=_field(file, "eos_token_id"),
        bos_id=file.metadata.get("tokenizer.ggml.bos_token_id"),
        pad_id=file.metadata.get("tokenizer.ggml.padding_token_id"),
        chat_template=_chat_template(file),
    )


def _field(file: "GGUFFile", name: str) -> Any:
    key = f"tokenizer.ggml.{name}"
    if key not in file.metadata:
        raise InputError(f"{file.path}: metadata field {key!r} is missing")
    return file.metadata[key]


def _chat_template(file: "GGUFFile") -> str | None:
    found = file.metadata.get("tokenizer.chat_template")
    if not isinstance(found, str | None):
        raise InputError(
            f"{file.path}: metadata field 'tokenizer.chat_template' is a {type(found).__name__}; "
            "text is right"
        )
    return found


def _bpe(file: "GGUFFile", tokens: list[str], ignore_merges: bool) -> models.BPE:
    merges = [tuple(merge.split(" ")) for merge in _field(file, "merges")]
    try:
        vocab = {token: index for index, token in enumerate(tokens)}
        return models.BPE(vocab, merges, ignore_merges=ignore_merges)
    except Exception as error:  # The Rust library raises the bare class.
        raise InputError(f"{file.path}: damaged: the tokenizer's merges: {error}") from error


def from_directory(
    directory: Path, model_fields: dict[str, Any], chat_template: str | None = None
) -> Tokenizer:
    """The tokenizer in a Hugging Face directory, with the chat template that it goes with.

    `model_fields` is the content of config.json, which tells the special token ids. Raises
    InputError when tokenizer.json is missing or damaged, or no end-of-text token is named.
    """
    path = directory / "tokenizer.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # The Rust library raises the bare class.
        raise InputError(f"{path}: not a tokenizer: {error}") from error
    # What a training run that saved the file had set.
    backend.no_padding()
    backend.no_truncation()
    eos_id = _token_id(model_fields.get("eos_token_id"))
    if eos_id is None:
        raise InputError(f"{directory / 'config.json'}: field 'eos_token_id' is missing")
    return Tokenizer(
        backend,
        eos_id=eos_id,
        bos_id=_token_id(model_fields.get("bos_token_id")),
        pad_id=_token_id(model_fields.get("pad_token_id")),
        chat_template=chat_template,
    )


def _token_id(value: Any) -> int | None:
    """An id from config.json, which may be a list of several: then the first."""
    return value[0] if isinstance(value, list) and value else value

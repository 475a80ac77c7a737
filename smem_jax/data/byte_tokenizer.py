"""Tokenizers by name, and one of bytes that needs no file."""

from collections.abc import Sequence

from smem_jax import json_file
from smem_jax.errors import InputError
from smem_jax.models.pretrained import Tokenizer, gguf_file, loader, tokenizer

NAME = "bytes"


class ByteTokenizer:
    """UTF-8 bytes as tokens 0 to 255, and 256 for the end of a document and for padding.

    For tests and tiny models. It has what `smem_jax.models.pretrained.Tokenizer` has, but for chat
    templates and for saving.
    """

    eos_id = 256
    pad_id = 256
    bos_id: int | None = None
    vocab_size = 257

    @property
    def special_ids(self) -> list[int]:
        """Ids of the special tokens."""
        return [self.eos_id]

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`."""
        return list(text.encode())

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, without end tokens; bytes that are no UTF-8 are replaced."""
        return bytes(index for index in ids if index < 256).decode(errors="replace")

    def ids_containing(self, text: str) -> list[int]:
        """Ids of the tokens whose own text contains `text`, such as a line break."""
        return [index for index in range(128) if text in chr(index)]


def open_tokenizer(name: str) -> Tokenizer | ByteTokenizer:
    """The tokenizer of a name, read without the weights beside it.

    `name` is 'bytes', or a GGUF file, a Hugging Face directory or package:NAME/FILE as
    `smem_jax.models.pretrained.load` takes them. Raises InputError where there is no such thing or
    it is damaged.
    """
    if name == NAME:
        return ByteTokenizer()
    try:
        path = loader.find(name)
    except InputError as error:
        raise InputError(f"tokenizer {error}, or {NAME!r} for plain bytes") from error
    if path.is_dir():
        return tokenizer.from_directory(path, json_file.read(path / "config.json"))
    return tokenizer.from_gguf(gguf_file.read(path))

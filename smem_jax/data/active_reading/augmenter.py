"""What writes many study texts about one chunk of a document."""

from typing import NamedTuple, Protocol

from smem_jax.data.active_reading.sentences import sentences


class Augmenter(Protocol):
    """Writes augmentations of a chunk."""

    def augment(self, chunk_title: str, chunk_text: str, count: int, seed: int) -> list[str]:
        """`count` distinct texts that study the chunk, the same for the same arguments.

        `chunk_title` is 'SUBJECT' or 'SUBJECT: PART'. Raises InputError where there are
        fewer.
        """
        ...


class Encoder(Protocol):
    """What is needed of a tokenizer here."""

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`."""
        ...


class QuestionAnswer(NamedTuple):
    """A question about a chunk in several wordings, and its short answer."""

    wordings: tuple[str, ...]
    answer: str


def first_sentences(text: str, tokenizer: Encoder, seq_len: int) -> str:
    """As much of a text, line by line and sentence by sentence, as `seq_len` tokens hold.

    A text whose first sentence is too long comes out empty.
    """
    if len(tokenizer.encode(text)) <= seq_len:
        return text
    kept = ""
    for line in text.split("\n"):
        separator = "\n" if kept else ""
        for sentence in sentences(line) or [""]:
            longer = f"{kept}{separator}{sentence}"
            if len(tokenizer.encode(longer)) > seq_len:
                return kept.rstrip()
            kept, separator = longer, " "
    return kept.rstrip()

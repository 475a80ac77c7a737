"""Answers as tokens."""

from smem_jax.data.byte_tokenizer import ByteTokenizer
from smem_jax.data.encode import answer_ids


class Joining(ByteTokenizer):
    """Has one token, 300, for a full stop and the line break behind it, as that of Llama 3."""

    def encode(self, text: str) -> list[int]:
        parts = text.split(".\n")
        ids = super().encode(parts[0])
        for part in parts[1:]:
            ids += [300, *super().encode(part)]
        return ids


def test_an_answer_has_the_same_tokens_with_an_end():
    for tokenizer in (Joining(), ByteTokenizer()):
        alone = answer_ids(tokenizer, "Sammy Davis Jr.")
        assert alone == tokenizer.encode(" Sammy Davis Jr.")
        assert answer_ids(tokenizer, "Sammy Davis Jr.", "\n") == [*alone, ord("\n")]

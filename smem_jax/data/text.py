"""Running text, one paragraph a line."""

from pathlib import Path

from smem_jax.data.jsonl import read_lines


def read_text(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file that are not blank; InputError where there are none."""
    return [line for _, line in read_lines(path)]

"""Messages as one prompt, by the chat template of a checkpoint."""

import contextlib
import functools
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smem_jax.errors import InputError, plain

_SECONDS = 5  # for a prompt
_MOST_CHARACTERS = 100_000  # of a template
_WORKER = Path(__file__).with_name("chat_worker.py")


def render(
    template: str,
    messages: Sequence[Mapping[str, str]],
    special_tokens: Mapping[str, str],
    add_generation_prompt: bool = True,
) -> str:
    """The prompt that a template makes of messages.

    Args:
      template: Jinja, as Hugging Face checkpoints have it. Nothing that it says is run as Python.
      messages: each with a 'role' such as 'user', and its 'content'.
      special_tokens: texts of special tokens by names that a template knows, such as 'eos_token'.
      add_generation_prompt: whether the prompt ends where the model is to speak.

    Raises InputError where the template is no Jinja, refuses the messages, or asks for what it may
    not have: Python's own, much time or memory.
    """
    if len(template) > _MOST_CHARACTERS:
        raise InputError(
            f"the chat template has {len(template):,} characters; at most {_MOST_CHARACTERS:,} "
            "are right"
        )
    variables = {
        **special_tokens,
        "messages": [dict(message) for message in messages],
        "tools": None,
        "documents": None,
        "add_generation_prompt": add_generation_prompt,
    }
    answer = _answer({"template": template, "variables": variables})
    if "error" in answer:
        raise InputError(f"the chat template fails: {plain(answer['error'])}")
    return answer["text"]


def _answer(request: Mapping[str, Any]) -> dict[str, str]:
    worker = _worker(_SECONDS)
    assert worker.stdin and worker.stdout
    line = ""
    with contextlib.suppress(BrokenPipeError):
        worker.stdin.write(json.dumps(request) + "\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
    if line:
        return json.loads(line)
    _worker.cache_clear()
    with contextlib.suppress(BrokenPipeError):
        worker.communicate()
    status = worker.returncode
    if status == -signal.SIGALRM:
        raise InputError(f"the chat template takes more than {_SECONDS} s")
    raise InputError(f"the program that renders the chat template ended with status {status}")


@functools.cache
def _worker(seconds: int) -> subprocess.Popen[str]:
    """A program that renders, started once: it goes when this one closes its input."""
    return subprocess.Popen(
        # -P: modules beside the program, such as `tokenizer`, are not in the way of others.
        [sys.executable, "-P", str(_WORKER), str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # an interrupt of this program is none of its business
    )

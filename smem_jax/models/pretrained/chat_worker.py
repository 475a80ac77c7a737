"""Renders chat templates, as a program of its own.

A template comes with a checkpoint, by anyone. Jinja's sandbox keeps it from Python, and leaves it
all the time and memory that there is, which a single expression can ask for. So it runs where the
operating system bounds both: the alarm ends this program.

A request is a line of JSON on standard input, and so is its answer on standard output.
"""

import contextlib
import datetime
import functools
import json
import signal
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

_MOST_BYTES = 1 << 29  # of memory, this program included
_MOST_CHARACTERS = 1 << 20  # of a prompt


@functools.lru_cache(maxsize=1)  # a model has one
def _compiled(template: str) -> Template:
    """The template in a Jinja such as those of Hugging Face checkpoints expect."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _raise, "strftime_now": _now}
    return environment.from_string(template)


def _to_json(value: Any, indent: int | None = None) -> str:
    # Jinja's own filter escapes what HTML gives a meaning.
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


def render(template: str, variables: Mapping[str, Any]) -> str:
    """The text that a template makes of variables; TemplateError where that grows too long."""
    pieces: list[str] = []
    length = 0
    for piece in _compiled(template).generate(variables):
        length += len(piece)
        if length > _MOST_CHARACTERS:
            raise TemplateError(f"it makes more than {_MOST_CHARACTERS:,} characters")
        pieces.append(piece)
    return "".join(pieces)


def main(seconds: int) -> None:
    """Answers requests, each in `seconds` at most, until there are no more."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on every system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    for line in sys.stdin:
        signal.alarm(seconds)
        try:
            answer = {"text": render(**json.loads(line))}
        except Exception as error:  # whatever a template gets wrong
            answer = {"error": str(error) or type(error).__name__}
        signal.alarm(0)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))

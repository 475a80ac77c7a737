"""Writes docs/configuration.md: every configuration field with its default and its comment.

    make docs

Names, defaults and comments are read from the sources of the settings, so nothing is said twice.
"""

import ast
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from smem_jax import job_settings, settings, stream_settings

PAGE = Path(__file__).with_name("configuration.md")
_INTRODUCTION = """\
# Configuration

<!-- `make docs` writes this page from the settings' sources: change those. -->

A configuration file is Python with a function `get_config()` that returns some of these fields;
the rest keep their defaults. The files in [configs](../configs) are examples. On the command line
any field can be set by its name:

```sh
smem teach --config configs/quickstart.py --workdir runs/short train.steps=20 evaluate.text=
```

A value is a Python literal where it is one, and text otherwise. An unknown field is refused with
the nearest known one, and so is a value of another type than the default's. Paths are relative to
where the command is given.
"""
_STREAM = """\
`memory` and `background` have the fields that they have for `smem teach`.
"""
_ONE_BY_ONE = """\
These differ from the defaults of `smem stream`, which hold for the other fields. From Python,
`smem_jax.load(settings=...)` takes others.
"""


class Field(NamedTuple):
    """A field by its dotted name, the source of its default, and what is said of it."""

    name: str
    default: str
    comment: str


def page() -> str:
    """The whole page."""
    teach, stream = settings.defaults, stream_settings.stream_defaults
    sections = (
        _section("`smem teach`, `background`, `explain`", fields(teach)),
        _section("`smem stream`, `sweep`", fields(stream)) + "\n" + _STREAM,
        _section("`smem train`, `pretrain`, `compile`", fields(job_settings.job_defaults)),
        _section("`smem teach --fact` and `smem_jax.load`", taught_one_by_one())
        + "\n"
        + _ONE_BY_ONE,
    )
    return "\n".join([_INTRODUCTION, *sections])


def fields(defaults: Callable[[], ConfigDict]) -> Iterator[Field]:
    """The fields that a function assigns, in its order, with the comments above and beside them.

    A section has a name that ends in a dot, and no default.
    """
    source = inspect.getsource(defaults)
    lines, [function] = source.splitlines(), ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    values = dict(_flat(defaults()))
    variables = {"config": ""}
    for statement in function.body:
        if not isinstance(statement, ast.Assign):
            continue
        said = _comment(lines, statement)
        *variable, target = statement.targets
        for part in getattr(target, "elts", [target]):
            owner, _, name = ast.unparse(part).partition(".")
            if owner not in variables or not name:
                continue
            name = variables[owner] + name
            if name in values:
                yield Field(name, _default(source, statement.value, values[name]), said)
                continue
            yield Field(f"{name}.", "", said)
            if variable:  # section = config.section = ConfigDict(): its fields are assigned below
                variables[ast.unparse(variable[0])] = f"{name}."
            elif isinstance(statement.value, ast.Call):
                for other, value in values.items():
                    if other.startswith(f"{name}."):
                        yield Field(other, repr(value), "")


def _default(source: str, expression: ast.expr, value: object) -> str:
    """A default as it is written, such as 2**18, where it is written in numbers."""
    written = isinstance(expression, ast.Constant | ast.BinOp) and not isinstance(value, str)
    return ast.get_source_segment(source, expression) or "" if written else repr(value)


def taught_one_by_one() -> Iterator[Field]:
    """What `teaching_defaults` sets otherwise than `stream_defaults`."""
    ordinary = dict(_flat(stream_settings.stream_defaults()))
    for name, value in _flat(stream_settings.teaching_defaults()):
        if ordinary[name] != value:
            yield Field(name, repr(value), "")


def _flat(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _comment(lines: list[str], statement: ast.stmt) -> str:
    """Whole lines of comment above a statement, and the comment behind it."""
    above = []
    for line in reversed(lines[: statement.lineno - 1]):
        if not line.strip().startswith("#"):
            break
        above.insert(0, line.strip(" #"))
    _, _, behind = lines[statement.end_lineno - 1].partition("  # ")
    return " ".join([*above, behind]).strip()


def _section(title: str, found: Iterator[Field]) -> str:
    rows = [f"## {title}\n", "| field | default | |", "| --- | --- | --- |"]
    for field in found:
        name = f"**`{field.name}`**" if field.name.endswith(".") else f"`{field.name}`"
        default = f"`{field.default}`" if field.default else ""
        rows.append(f"| {name} | {default} | {field.comment} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

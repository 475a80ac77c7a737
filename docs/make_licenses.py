"""Writes docs/licenses.md: the licence of each package that smem-jax needs, as its metadata say.

    make licenses

Fails where one is not in `ALLOWED`: then someone has to read it.
"""

import importlib.metadata
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).with_name("licenses.md")
# They ask for a notice at most; MPL-2.0 binds changes of its own files alone.
ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "BSD",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "MIT",
    "MIT-CMU",
    "MPL-2.0",
    "PSF-2.0",
    "Zlib",
}
# What older metadata say in words of their own.
_NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
_INTRODUCTION = """\
# Licences

<!-- `make licenses` writes this page from what is installed. -->

smem-jax needs these packages, those of its extra `data` among them, and has nothing of them in it.
What stands here is what their metadata say, in the versions of `.ci/constraints.txt` on Linux;
"BSD" is a BSD licence of which they do not say the number of clauses. The extras `tpu` and `cuda`
install libraries of Google and NVIDIA that are under terms of their own.

| package | licence |
| --- | --- |
"""


def needed(name: str, extras: Collection[str] = ()) -> Iterator[str]:
    """A package and all that it needs, of what is installed here."""
    try:
        lines = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return
    yield canonicalize_name(name)
    for line in map(Requirement, lines):
        if any(line.marker is None or line.marker.evaluate({"extra": e}) for e in ("", *extras)):
            yield from needed(line.name, line.extras)


def licence(name: str) -> str:
    """What the metadata of a package say, in the names of SPDX where it can be told."""
    metadata = importlib.metadata.metadata(name)
    if expression := metadata.get("License-Expression"):
        return expression
    kinds = [c.split(" :: ")[-1] for c in metadata.get_all("Classifier", []) if "License ::" in c]
    said = kinds or metadata.get("License", "unknown").strip().splitlines()[:1]
    return " OR ".join(_NAMES.get(kind.strip(), kind.strip()) for kind in said)


def is_allowed(expression: str) -> bool:
    """Whether all parts of an expression are allowed; of alternatives one has to be."""
    parts = [part.split(" OR ") for part in expression.split(" AND ")]
    return all(any(kind in ALLOWED for kind in part) for part in parts)


def found() -> dict[str, str]:
    """The licence of each package that is needed, by name."""
    names = sorted(set(needed("smem-jax", ["data"])) - {"smem-jax"})
    return {name: licence(name) for name in names}


if __name__ == "__main__":
    rows = found()
    if others := [f"{name} ({kind})" for name, kind in rows.items() if not is_allowed(kind)]:
        sys.exit(f"not among the licences that are allowed: {', '.join(others)}")
    table = "".join(f"| {name} | {kind} |\n" for name, kind in rows.items())
    PAGE.write_text(_INTRODUCTION + table, encoding="utf-8")

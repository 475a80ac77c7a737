"""Patch files: what is written comes back, and nothing else is believed."""

import dataclasses
import json
import re

import numpy as np
import patch_cases
import pytest

from smem_jax import atomic
from smem_jax import patch as patches
from smem_jax.errors import InputError
from smem_jax.memory.relevance import Relevance
from smem_jax.models.pretrained import safetensors_file, sealed_file
from smem_jax.patch import storage


def whole(stored: str = "low_rank") -> patches.Patch:
    return patch_cases.make(
        [5, 3, 60, 1],
        starts=[0, 1, 4],
        stored=stored,
        relevance=Relevance(2, 4),
        taught=("Q: é? A: ü", "second"),
    )


@pytest.mark.parametrize("stored", storage.STORAGES)
def test_a_patch_comes_back_as_it_was(tmp_path, stored):
    patch = whole(stored)
    path = tmp_path / "new" / "p.safetensors"
    patches.save(patch, path)
    found = patches.load(path)
    assert found.about == patch.about
    assert found.identity == patch.identity
    for own, other in zip(found.layout, patch.layout, strict=True):
        np.testing.assert_array_equal(own, other)
    assert [p.name for p in path.parent.iterdir()] == ["p.safetensors"]


def test_every_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "p.safetensors"
    patches.save(whole(), path)
    raw = bytearray(path.read_bytes())
    places = np.random.default_rng(0).choice(len(raw), 200, replace=False)
    for place in places:
        changed = bytearray(raw)
        changed[place] ^= 1 << int(place % 8)
        path.write_bytes(changed)
        if raw[place] == ord(" "):  # between two signs of the header, it says nothing
            continue
        with pytest.raises(InputError, match=re.escape(str(path))) as caught:
            patches.load(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", [0, 4, 8, 100, 0.3, 0.6, 0.99])
def test_a_file_that_is_cut_short_is_refused(tmp_path, part):
    path = tmp_path / "p.safetensors"
    patches.save(whole(), path)
    raw = path.read_bytes()
    path.write_bytes(raw[: part if isinstance(part, int) else int(part * len(raw))])
    with pytest.raises(InputError, match=r"p\.safetensors: (cut short|damaged)"):
        patches.load(path)


def rewritten(path, tensors=None, about=None, **metadata) -> None:
    """Writes what may be wrong with a checksum that is right."""
    patches.save(whole(), path)
    stored = safetensors_file.read_stored(path)
    text = stored.metadata["about"] if about is None else about
    arrays = {name: np.array(array) for name, array in stored.tensors.items()} | (tensors or {})
    arrays = {name: array for name, array in arrays.items() if array is not None}
    checksum = sealed_file.checksum(arrays, text)
    safetensors_file.write(
        path, arrays, stored.metadata | {"about": text, "sha256": checksum} | metadata
    )


def about(**fields) -> str:
    return json.dumps({**dataclasses.asdict(whole().about), **fields})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"version": "2"}, "a memory patch of version '2'; '1' can be read"),
        ({"format": "other"}, "not a memory patch"),
        ({"sha256": "0"}, "damaged: its contents are not those of its checksum"),
        ({"about": "[]"}, "what it says of itself cannot be read"),
        ({"tensors": {"query_bias": None}}, "must be three float32 arrays, or left out"),
        ({"tensors": {"rows.bases": np.zeros((2, 0, 2**20), np.uint8)}}, "bases has shape"),
        ({"about": "[" * 100_000}, "what it says of itself cannot be read"),
        ({"about": about(name="../../etc/passwd")}, "the name '../../etc/passwd' of a patch must"),
        ({"about": about(name="")}, "the name '' of a patch must"),
        ({"about": about(name=".hidden")}, "begin with no"),
        ({"about": about(unknown="1")}, "what it says of itself cannot be read"),
        ({"about": about(memory={"block": 0, "num_slots": "many"})}, "memory={.*cannot be right"),
        ({"about": about(memory={"num_slots": 64})}, "memory={.*cannot be right"),
        ({"about": about(memory={"block": 0, "num_slots": 60})}, "slot 60 is outside of the"),
        ({"about": about(memory={"block": 0, "num_slots": 65})}, "not those of 65 slots"),
        ({"about": about(base=5)}, "base=5 cannot be right"),
        ({"about": about(name=["a"])}, "name=.'a'. cannot be right"),
        ({"about": about(taught=[1])}, "taught=.1. cannot be right"),
        ({"about": about(effect=3)}, "effect=3 cannot be right"),
        ({"about": about(relevance={"threshold": 1.5, "window": 2})}, "relevance=.*cannot be"),
        (
            {"about": about(relevance={"threshold": 1, "window": 10**9})},
            "relevance window=1000000000",
        ),
        ({"about": about(relevance={"threshold": 0, "window": 1})}, "relevance threshold=0"),
        ({"about": about(layout_fingerprint="x")}, "not those of its fingerprint"),
        ({"tensors": {"slots": np.asarray([1, -2, 3, 4], np.int32)}}, "slot -2 is outside"),
        ({"tensors": {"slots": np.asarray([1, 2, 2, 4], np.int32)}}, "a slot comes twice"),
        ({"tensors": {"slots": np.zeros(4, np.float32)}}, "must be int32"),
        ({"tensors": {"slots": np.asarray([1, 2], np.int32)}}, r"\(2,\) slots for 4 rows"),
        ({"tensors": {"slots": None}}, "'slots' are missing"),
        ({"tensors": {"starts": np.asarray([0, 3, 2], np.int32)}}, "starts do not ascend"),
        ({"tensors": {"starts": np.asarray([0, 1, 3], np.int32)}}, "factors has shape"),
        (
            {"tensors": {"rows.filled": np.asarray([1, -1], np.int32)}},
            "filled=-1 of lesson 1, which",
        ),
        ({"tensors": {"rows.filled": np.asarray([2, 2], np.int32)}}, "=2 of lesson 0, which has 1"),
        ({"tensors": {"rows.filled": np.asarray([1, 3], np.float32)}}, "float32; int32 for each"),
        ({"tensors": {"rows.filled": np.asarray([1], np.int32)}}, "int32 for each of 2 lessons"),
        ({"tensors": {"rows.filled": np.asarray([1, 0], np.int32)}}, "factors has shape"),
        ({"tensors": {"rows.factor_scales": np.full((2, 4), np.nan, np.float16)}}, "has NaN"),
        ({"tensors": {"query_bias": np.full(16, np.inf, np.float32)}}, "has NaN or infinity"),
        ({"tensors": {"rows.more": np.zeros(3, np.float32)}}, "are not known"),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_line(tmp_path, wrong, message):
    path = tmp_path / "p.safetensors"
    rewritten(path, **wrong)
    with pytest.raises(InputError, match=message) as caught:
        patches.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_header_that_is_a_bomb_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "p.safetensors"
    size = 2**25
    with path.open("wb") as file:
        file.write(size.to_bytes(8, "little") + b'{"a":' * 5)
        file.truncate(size + 100)
    with pytest.raises(InputError, match="the header has 33554440 bytes; 16777216 at most"):
        patches.load(path)
    for shape in ([1] * 100, [0, 2**47, 2**47]):
        count = 4 * int(np.prod([float(n) for n in shape]))
        entry = {"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, count]}}
        text = json.dumps(entry).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(count))
        with pytest.raises(InputError, match="damaged: the shape of 'a'"):
            patches.load(path)
    path.write_bytes((60_000).to_bytes(8, "little") + b'{"a":' * 12_000)
    with pytest.raises(InputError, match="header cannot be read"):
        patches.load(path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "p.safetensors"
    patches.save(whole(), path)
    before = path.read_bytes()

    def fails(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "replace", fails)
    with pytest.raises(OSError, match="No space"):
        patches.save(whole("float32"), path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def _with_a_zero_row(patch):
    """The third of four rows, the middle one of its lesson, is zero."""
    rows = np.array(patch_cases.rows_of(patch))
    rows[2] = 0
    return dataclasses.replace(patch, rows=storage.encode(rows, patch.starts, "float32")), rows


def test_other_storage_tells_as_much_as_is_asked_for():
    patch, rows = _with_a_zero_row(whole("float32"))
    found = patches.restored(patch, storage="int8", name="small", taught="hashes", layout=False)
    places = [found.slots.tolist().index(slot) for slot in patch.slots]
    np.testing.assert_allclose(patch_cases.rows_of(found)[places], rows, atol=0.02)
    assert found.about.name == "small" and found.layout is None
    assert [len(text) for text in found.about.taught] == [64, 64]
    assert patches.restored(patch, taught="none").about.taught is None
    with pytest.raises(InputError, match="taught='all' must be texts, hashes or none"):
        patches.restored(patch, taught="all")


@pytest.mark.parametrize("stored", storage.STORAGES)
def test_zero_rows_are_left_out_unless_a_gate_counts_their_reads(stored, tmp_path):
    patch, _ = _with_a_zero_row(whole("float32"))
    assert patch.about.relevance is not None
    found = patches.restored(patch, storage=stored, rank=4)
    before, after = (patches.combined([p]) for p in (patch, found))
    assert dict(zip(after.slots, after.groups, strict=True)) == dict(
        zip(before.slots, before.groups, strict=True)
    )
    silent = dict(zip(after.slots.tolist(), after.rows, strict=True))[60]
    assert not silent.any() and after.rows.any(axis=1).sum() == 3
    if stored == "low_rank":
        assert len(found.rows.arrays["factors"]) == 3
    patches.save(found, tmp_path / "p.safetensors")
    assert patches.load(tmp_path / "p.safetensors").identity == found.identity
    without = dataclasses.replace(patch.about, relevance=None)
    found = patches.restored(dataclasses.replace(patch, about=without), storage=stored, rank=4)
    assert found.slots.tolist() == [5, 3, 1] and found.starts.tolist() == [0, 1, 3]

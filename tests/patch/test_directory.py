"""Patches of a directory that several processes add to."""

import errno
import multiprocessing
import os

import patch_cases
import pytest
import racing_patches

from smem_jax import patch as patches
from smem_jax.errors import InputError
from smem_jax.patch import directory


def test_of_two_processes_that_add_at_once_neither_loses_its_patch(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(2)
    processes = [
        spawn.Process(target=racing_patches.run, args=(tmp_path, number, together))
        for number in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    for round_ in range(racing_patches.ROUNDS):
        there = directory.of(tmp_path / str(round_))
        assert [patch.about.name for patch in there] == ["facts_1", "facts_2"]
        expected = {racing_patches.patch_of(number, round_).identity for number in range(2)}
        assert {patch.identity for patch in there} == expected
        assert len(list((tmp_path / str(round_) / "patches").iterdir())) == 2


def test_a_name_is_new_and_what_may_not_be_there_is_refused(tmp_path):
    patch = patch_cases.make(range(8), name="facts")
    assert directory.add(patch, tmp_path, {"facts_1"}).about.name == "facts_2"
    # A file that says of itself another name than its own takes both.
    odd = directory.place(tmp_path, "facts_1")
    patches.save(patch_cases.make(range(9), name="facts_3"), odd)
    before = odd.read_bytes()
    more = patch_cases.make(range(10), name="facts")
    assert directory.add(more, tmp_path).about.name == "facts_4"
    for wrong, message in (
        (patch, "given twice, also as 'facts_2'"),
        (patch_cases.make(range(11), name="facts", base="c" * 64), "for the base model cccc"),
    ):
        with pytest.raises(InputError, match=message):
            directory.add(wrong, tmp_path)
    assert [path.stem for path in directory.paths(tmp_path)] == ["facts_1", "facts_2", "facts_4"]
    assert odd.read_bytes() == before


def test_a_damaged_patch_can_be_taken_away_and_keeps_no_other_one_there(tmp_path):
    for name, slots in (("good", range(8)), ("bad", range(8, 16))):
        path = tmp_path / f"{name}.safetensors"
        patches.save(patch_cases.make(slots, name=name), path)
        directory.apply(path, tmp_path)
    damaged = directory.place(tmp_path, "bad")
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(InputError, match="no patch 'worse' is applied; these are: bad, good"):
        directory.revert("worse", tmp_path)
    directory.revert("good", tmp_path)
    assert directory.paths(tmp_path) == [damaged]
    directory.revert("bad", tmp_path)
    assert directory.paths(tmp_path) == []


def test_a_file_in_the_place_of_the_patches_is_named(tmp_path):
    (tmp_path / "patches").write_text("")
    with pytest.raises(InputError, match="patches is a file; a directory is right"):
        directory.add(patch_cases.make([1]), tmp_path)


def test_without_hard_links_a_patch_is_put_in_place_all_the_same(tmp_path, monkeypatch):
    def refused(*paths):
        raise OSError(errno.EOPNOTSUPP, "no hard links here")

    monkeypatch.setattr(os, "link", refused)
    for number in (1, 2):
        added = directory.add(patch_cases.make([number]), tmp_path)
        assert added.about.name == f"p_{number}"


def test_a_patch_is_never_written_over_another(tmp_path):
    path = tmp_path / "one.safetensors"
    patches.save(patch_cases.make(range(8)), path, is_new=True)
    with pytest.raises(FileExistsError):
        patches.save(patch_cases.make(range(9)), path, is_new=True)
    assert len(patches.load(path).slots) == 8
    assert list(tmp_path.iterdir()) == [path]

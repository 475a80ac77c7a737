"""Files changed at random: each is read, or refused by an error of one line, soon and in little
memory. `coverage_guided.py` beside this looks for such files with more patience.
"""

import random

import fuzz_targets
import fuzzing
import pytest
from fuzz_target import Target


@pytest.mark.parametrize("name", fuzz_targets.NAMES)
def test_good_files_are_read_and_bad_ones_refused(name, tmp_path):
    target = fuzz_targets.target(name, tmp_path)
    for seed in target.seeds:
        target.file.write_bytes(seed)
        target.read()
    assert _problems(name, target, target.num_files(150)) == []


def _problems(name: str, target: Target, count: int) -> list[tuple[str, bytes]]:
    """What went wrong with so many changed files, each with the file."""
    rng = random.Random(name)
    changed = [fuzzing.mutate(rng, rng.choice(target.seeds)) for _ in range(count)]
    found = [(fuzzing.problem(target, content), content) for content in changed]
    return [(problem, content) for problem, content in found if problem is not None]

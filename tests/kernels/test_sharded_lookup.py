"""The lookup and the row update of tables split over eight devices, in a process that has them."""

import os
import subprocess
import sys
from pathlib import Path

_SCRIPT = Path(__file__).resolve().parents[1] / "fixtures" / "sharded_lookup.py"


def test_tables_split_by_rows_columns_or_both_give_what_one_device_gives():
    done = subprocess.run(
        [sys.executable, _SCRIPT],
        env=os.environ
        | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": agree") == 6

"""The mask on tables split over devices, in a process of its own since that has to have eight."""

import os
import subprocess
import sys
from pathlib import Path

_SCRIPT = Path(__file__).resolve().parents[1] / "fixtures" / "sharded_mask.py"


def test_sharded_tables_give_the_bits_of_one_device_and_stay_sharded():
    flags = "--xla_force_host_platform_device_count=8"
    result = subprocess.run(
        [sys.executable, _SCRIPT],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    # On automatic and explicit axes: the rows split and the counts whole, or the columns and both.
    assert result.stdout.count(": 6 results agree") == 4

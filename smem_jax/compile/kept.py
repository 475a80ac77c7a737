"""Where compiled programs are kept from one start of a command to the next."""

import hashlib
import os
import platform
from pathlib import Path

import jax


def directory() -> Path:
    """A directory of the user's, for this version of JAX and this kind of processor.

    Under `$XDG_CACHE_HOME`, or `~/.cache`. Programs for one processor may not run on another, and a
    home directory may be seen by several machines.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parts = f"{jax.__version__} {platform.platform()} {platform.machine()} {_processor()}"
    return home / "smem_jax" / "programs" / hashlib.sha256(parts.encode()).hexdigest()[:16]


def _processor() -> str:
    """What the processor can do, as Linux tells; elsewhere its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")

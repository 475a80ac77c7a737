"""What is kept for a user from one start to the next: compiled programs, background statistics.

Under `$XDG_CACHE_HOME/smem_jax`, or `~/.cache/smem_jax`. It can be deleted at any time.
"""

import contextlib
import hashlib
import os
import platform
from pathlib import Path


def home() -> Path:
    """The directory of this package in the user's cache; where it is missing it is made for this
    user alone, since programs are run from it, and statistics of their texts are in it.
    """
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smem_jax"
    with contextlib.suppress(OSError):  # then nothing is kept
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def keep_programs() -> None:
    """Has JAX keep what it compiles, unless it is told where to, or not to, already, or cannot.

    Programs for one processor may not run on another, and a home directory may be seen by several
    machines: each version of JAX on each kind of processor has a directory of its own.
    """
    import jax

    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    if not os.access(home(), os.W_OK):
        return
    parts = f"{jax.__version__} {platform.platform()} {platform.machine()} {_processor()}"
    directory = home() / "programs" / hashlib.sha256(parts.encode()).hexdigest()[:16]
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _processor() -> str:
    """What the processor can do, as Linux tells; elsewhere its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "launch"
# What the scripts may use of a machine: neither kubectl nor gcloud, should they be installed here.
TOOLS = ["bash", "sh", "env", "cat", "dirname", "mkdir", "mkfifo", "mktemp", "rm", "sed", "sleep"]

# A shell cannot trap what it was started to ignore, as a job in the background is.
_WITH_INTERRUPT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Machine:
    """A PATH of its own with ordinary tools, and stand-ins that record how they were called."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.folder = folder
        for tool in TOOLS:
            path = shutil.which(tool)
            assert path is not None
            (self.bin / tool).symlink_to(path)

    def fake(self, tool: str, body: str = "") -> None:
        """Puts `tool` on the PATH: it records its arguments and then does `body`, as bash."""
        script = self.bin / tool
        # One write, so that the calls of two processes do not mix.
        record = f"printf '%s\\0' \"$@\" $'\\1' >>'{self.folder}/{tool}.calls'\n"
        script.write_text(f"#!{self.bin}/bash\n{record}cd '{self.folder}'\n{body}\n")
        script.chmod(0o755)

    def calls(self, tool: str) -> list[list[str]]:
        """The arguments of each call of `tool`."""
        record = self.folder / f"{tool}.calls"
        text = record.read_text() if record.exists() else ""
        return [call.split("\0")[:-1] for call in text.split("\1\0")[:-1]]

    def environment(self, **more: str) -> dict[str, str]:
        home = {"PATH": str(self.bin), "HOME": str(self.folder), "TMPDIR": str(self.folder)}
        return home | more

    def start(self, command: list[str], **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", _WITH_INTERRUPT, *command],
            env=self.environment(**environment),
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """Runs a script of launch/ in the machine's folder."""
        return subprocess.run(
            [str(LAUNCH / script), *arguments],
            env=self.environment(**environment),
            cwd=self.folder,
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "job.py").write_text("")
    return Machine(tmp_path)


@pytest.fixture
def refused(machine: Machine) -> Callable[..., str]:
    """Runs a script that has to refuse: one line on stderr, status 2, nothing else. The line."""

    def check(script: str, *arguments: str, **environment: str) -> str:
        done = machine.run(script, *arguments, **environment)
        assert done.returncode == 2, done
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith(f"{script}: error: ")
        return done.stderr

    return check

"""The stand-alone verifier as auditors run it, and what it finds beside what `logstream verify` finds."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

SCRIPT = Path(__file__).parent.parent / "docs" / "verify_manifests.py"


def audit(*arguments: object, isolated: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the script as a process; `isolated`, with no package but the standard library's."""
    flags = ["-I", "-S"] if isolated else []
    command = [sys.executable, *flags, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_manifests", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["verify_manifests"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


_script = _module()


@dataclass(frozen=True)
class Audit:
    """What the script said, run in this process."""

    code: int
    lines: list[str]

    @property
    def problems(self) -> list[str]:
        """What it found: all but one line for each chain, and the last."""
        return [
            line for line in self.lines[:-1] if ": newest manifest " not in line and "were not verified" not in line
        ]


def mappings_of_reading(files: Iterable[Path]) -> int:
    """How many mappings of memory the script keeps for files that it has read and keeps."""
    maps = Path("/proc/self/maps")
    before = len(maps.read_text().splitlines())
    kept = [_script.read(file) for file in files]
    assert all(kept)
    return len(maps.read_text().splitlines()) - before


def audited(*arguments: object) -> Audit:
    """Run the script in this process, which is quicker."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = _script.main(list(map(str, arguments)))
    return Audit(code, out.getvalue().splitlines())


def objects_named(problems: list[str]) -> set[str]:
    """The files that findings of either verifier name, but for the manifests of the chain."""
    found: set[str] = set()
    for problem in problems:
        match = re.search(r"(?:object|listing) (\S+) |^(\S+) is extra", problem)
        if match:
            found.add(match[1] or match[2])
    return found


def manifests_named(problems: list[str]) -> set[int]:
    """The numbers of the manifests that findings of either verifier name; of a broken link both ends."""
    found: set[int] = set()
    for problem in problems:
        for key in re.findall(r"_manifests/\w+/(\d{8})", problem):
            found.add(int(key))
        for first, last in re.findall(r"manifests? (\d+)(?: to (\d+))?", problem):
            found |= set(range(int(first), int(last or first) + 1))
            if "does not hold the digest" in problem:
                found.add(int(first) - 1)
    return found

"""Production's Python: what `requirements.lock` installs, without the tools of tests and without the checkout.

A virtual environment of links into the tests' own one, made in a second. What is imported there is what is locked, as
long as `tests/test_locked.py` holds: the tests' environment has exactly the locked versions.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution, distributions
from importlib.util import cache_from_source
from pathlib import Path

from packaging.requirements import Requirement

from logstream.control.engine import HEAD

from .stage import PROJECT

DOCKERFILE = (PROJECT / "deploy/Dockerfile").read_text().splitlines()
NO_INDEX = ("--no-index", "--no-build-isolation", "--disable-pip-version-check")
CHECKOUT_VARIABLES = ("PYTHONPATH", "LOGSTREAM_DSN", "LOGSTREAM_CONTROL_DSN")


def normal(name: str) -> str:
    """A distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, str]:
    """The version of each distribution that `requirements.lock` installs on this Python and machine."""
    lines = (PROJECT / "requirements.lock").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line.strip()]
    here = [each for each in wanted if each.marker is None or each.marker.evaluate()]
    return {normal(each.name): str(each.specifier).removeprefix("==") for each in here}


class Production:
    """A virtual environment in `folder` with the locked packages and nothing else; commands run in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cwd = folder / "venv", folder / "empty"
        self.cwd.mkdir(parents=True)
        venv.create(self.folder, with_pip=False, symlinks=True)
        self.bin = self.folder / "bin"
        site = sysconfig.get_path("purelib", vars={"base": str(self.folder), "platbase": str(self.folder)})
        _link_locked(Path(site))
        for name in ("apache-airflow-core", "celery"):
            self._make_commands(distribution(name))

    def _make_commands(self, found: Distribution) -> None:
        for point in found.entry_points.select(group="console_scripts"):
            command = self.bin / point.name
            command.write_text(
                f"#!{self.bin}/python\nimport sys\nfrom {point.module} import {point.attr}\nsys.exit({point.attr}())\n"
            )
            command.chmod(0o755)

    def run(
        self, *words: str, environment: dict[str, str] | None = None, given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of this environment (`python`, `logstream`), `given` being its input; fail if it fails."""
        own = {name: value for name, value in os.environ.items() if name not in CHECKOUT_VARIABLES}
        own |= {"AIRFLOW_HOME": str(self.folder / "airflow"), "PYTHONWARNINGS": "ignore", **(environment or {})}
        done = subprocess.run(
            [str(self.bin / words[0]), *words[1:]],
            cwd=self.cwd, env=own, input=given, capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done

    def install(self, *requirements: str) -> None:
        """`pip install` into it, without dependencies and without a package index."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install", "--quiet", "--no-index"]
        done = subprocess.run(
            [*pip, "--no-deps", "--no-build-isolation", *requirements],
            cwd=self.cwd, capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def _link_locked(site: Path) -> None:
    """Link the files of the locked distributions into `site`: whole folders, but single files where others share one."""
    wanted = locked()
    tops: dict[str, list[tuple[Distribution, list[Path]]]] = defaultdict(list)
    for found in distributions():
        files = [Path(str(file)) for file in found.files or [] if ".." not in file.parts]
        for top in {file.parts[0] for file in files}:
            tops[top].append((found, [file for file in files if file.parts[0] == top]))
    for top, owners in tops.items():
        if top in ("__pycache__", "bin"):
            continue
        ours = [(found, files) for found, files in owners if normal(found.name) in wanted]
        if len(ours) == len(owners):
            (site / top).symlink_to(Path(str(owners[0][0].locate_file(top))))
            continue
        for found, files in ours:
            for file in files:
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                if not (site / file).exists():
                    (site / file).symlink_to(Path(str(found.locate_file(file))))


@dataclass
class Image:
    """What the Dockerfile makes: the wheel, Python with all that is installed, the DAGs."""

    wheel: Path
    production: Production
    dags: Path


def _copy_into(root: Path, words: list[str]) -> None:
    *sources, target = words
    for source in sources:
        wanted = root / target.lstrip("/")
        if (PROJECT / source).is_dir():
            shutil.copytree(PROJECT / source, wanted, dirs_exist_ok=True)
        else:
            wanted = wanted / source if target.endswith("/") else wanted
            wanted.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / source, wanted)


def make_image(root: Path) -> Image:
    """Follow the Dockerfile's own steps below a folder; its `--requirement requirements.lock` is `Production`."""
    production = Production(root / "production")
    pip = [sys.executable, "-m", "pip"]
    for line in DOCKERFILE:
        step, _, rest = line.partition(" ")
        words = rest.split()
        if step == "COPY" and not words[0].startswith("--from"):
            _copy_into(root, words[1:])
        elif words[:2] == ["pip", "wheel"]:
            # an earlier build may have left a module that is gone since
            stale = root / "tmp/logstream/build/lib/logstream/gone_since.py"
            stale.parent.mkdir(parents=True)
            stale.touch()
            placed = [str(root) + word if word.startswith("/") else word for word in words[1:]]
            subprocess.run([*pip, *placed, *NO_INDEX], check=True, capture_output=True, timeout=180)
        elif words[:2] == ["pip", "install"] and "--no-deps" in words:
            (wheel,) = (root / "tmp/wheels").glob(Path(words[-1]).name)
            production.install(str(wheel))
    return Image(wheel, production, root / "opt/airflow/dags")


NEXT_MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "{next}", "{head}"


def upgrade():
    op.add_column("lanes", sa.Column("of_next", sa.Integer(), nullable=False, server_default="1"), schema="logstream")


def downgrade():
    op.drop_column("lanes", "of_next", schema="logstream")
"""


def next_version(image: Image, root: Path) -> Image:
    """The image of a Logstream that comes after this one: its control database has one migration more."""
    production = Production(root)
    production.install(str(image.wheel))
    (control,) = production.folder.glob("lib/python*/site-packages/logstream/control")
    following = f"{int(HEAD) + 1:04}"
    (control / f"migrations/versions/v{following}_next.py").write_text(NEXT_MIGRATION.format(next=following, head=HEAD))
    engine = control / "engine.py"
    text = engine.read_text()
    assert f'HEAD = "{HEAD}"' in text
    engine.write_text(text.replace(f'HEAD = "{HEAD}"', f'HEAD = "{following}"'))
    # pip compiled it: Python takes that for the same file where size and second of its change are the same
    Path(cache_from_source(str(engine))).unlink()
    return Image(image.wheel, production, image.dags)

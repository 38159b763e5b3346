"""What pyproject.toml cannot say: `include/templates/` is one folder for the checkout and for the wheel.

In the wheel it is `logstream/include/templates/` (see `logstream/settings/message_files.py`). All else is in pyproject.toml.
"""

import shutil
from pathlib import Path
from typing import ClassVar

from setuptools import Command, setup
from setuptools.command.build import build

TEMPLATES = Path("include/templates")


class BuildTemplates(Command):
    """Puts the message templates into the package; an editable installation finds them in the checkout."""

    build_lib: str | None
    editable_mode: bool

    def initialize_options(self) -> None:
        self.build_lib, self.editable_mode = None, False

    def finalize_options(self) -> None:
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def get_output_mapping(self) -> dict[str, str]:
        if self.editable_mode:
            return {}
        package = Path(str(self.build_lib)) / "logstream"
        return {str(package / source): source for source in self.get_source_files()}

    def get_outputs(self) -> list[str]:
        return list(self.get_output_mapping())

    def get_source_files(self) -> list[str]:
        return [str(path) for path in sorted(TEMPLATES.iterdir()) if path.is_file()]

    def run(self) -> None:
        for target, source in self.get_output_mapping().items():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target)


class BuildWithTemplates(build):
    """The usual build, and the message templates."""

    sub_commands: ClassVar = [*build.sub_commands, ("build_templates", None)]

    def run(self) -> None:
        # what an earlier build left there, a module that is gone since, would be in the wheel
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


setup(cmdclass={"build": BuildWithTemplates, "build_templates": BuildTemplates})

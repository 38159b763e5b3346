"""`logstream completion`: what a shell needs to complete this command's words."""

from __future__ import annotations

import argparse
import os
from typing import Any, TextIO

from logstream.cli.arguments import add_command

SHELLS = ("bash", "zsh", "fish")

ASKED = "_ARGCOMPLETE"
"""The variable in the environment by which a shell asks for words."""


def add(groups: Any) -> None:
    """Add the command."""
    command = add_command(
        groups, "completion", completion, "print what makes a shell complete this command's words",
        'In ~/.bashrc: eval "$(logstream completion bash)". In ~/.zshrc: eval "$(logstream completion zsh)". '
        "For fish: logstream completion fish > ~/.config/fish/completions/logstream.fish.",
    )  # fmt: skip
    command.add_argument("shell", choices=SHELLS)


def completion(options: argparse.Namespace, out: TextIO) -> None:
    """`logstream completion`."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["logstream"], shell=options.shell), file=out)


def answer(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks for words, and end the process; return at once if none asks."""
    if ASKED in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)

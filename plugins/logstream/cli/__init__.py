"""The `logstream` command: `main`, and one file for each group of commands."""

from logstream.cli.main import main

__all__ = ["main"]

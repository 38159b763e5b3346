"""JSONPaths: `compiled` reads them into a list of allowed steps, `search` evaluates those and counts its work."""

from logstream.jsonpath.compiled import Path, PathError, compile_path, compile_widened
from logstream.jsonpath.search import TooMuchWork, Work, find

__all__ = ["Path", "PathError", "TooMuchWork", "Work", "compile_path", "compile_widened", "find"]

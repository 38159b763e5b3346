"""What the auditor's stand-alone script says of a copy of a bucket."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


def audited(objects: Mapping[str, bytes]) -> list[str]:
    """The problems that docs/verify_manifests.py finds."""
    with tempfile.TemporaryDirectory() as folder:
        for key, body in objects.items():
            path = Path(folder) / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        if not (Path(folder) / "_manifests").is_dir():
            return [f"{key} has no manifest" for key in objects]
        auditor = _verifier()([Path(folder)])
        auditor.run()
        return list(auditor.problems)


@cache
def _verifier() -> Any:
    path = Path(__file__).parents[2] / "docs/verify_manifests.py"
    spec = importlib.util.spec_from_file_location("verify_manifests", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.Verifier

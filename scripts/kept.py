"""Results that a study keeps beside what they follow from, so that a study started again never takes over others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from iterft.journal import digest_of
from iterft.synth.rows import replacing, row_of
from iterft.types import Sample


def kept(file: Path, of: Any, compute: Callable[[], Any]) -> Any:
    """What `compute` returns (JSON), from `file` where it is there. ValueError where that is of something else."""
    key = json.loads(json.dumps(of, default=str))
    if not file.exists():
        result = compute()
        with replacing(file) as out:
            json.dump({"of": key, "result": result}, out)
    found = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or found.get("of") != key:
        known = found.get("of") if isinstance(found, dict) else "what an older version did"
        raise ValueError(f"{file}: holds results of {known}, not of {key}; give another --out, or remove it")
    return found["result"]


def items_key(items: Iterable[Sample]) -> str:
    """Tells sets of items apart, and their order."""
    return digest_of([row_of(item) for item in items])

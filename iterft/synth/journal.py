"""The journal of a run of the rules backend: its settings, then an entry a line. A killed run goes on from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from iterft.journal import read_journal
from iterft.synth.rows import line_of


def journal_of(out: Path) -> Path:
    return out.with_name(out.name + ".journal")


def take_up(path: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries of a journal with these settings; [] and a new journal where there is none, or one of another run."""
    values = read_journal(path)
    if next(values, None) == dict(settings):
        return list(values)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line_of(settings), encoding="utf-8")
    return []


def digest_of(values: Iterable[Any]) -> str:
    """Sixteen digits that differ where the values do."""
    return hashlib.sha256(json.dumps(list(values), sort_keys=True, default=str).encode()).hexdigest()[:16]

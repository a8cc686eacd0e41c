"""The journal of a run of the rules backend: its settings, then an entry a line. A killed run goes on from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from iterft.synth.rows import line_of


def journal_of(out: Path) -> Path:
    return out.with_name(out.name + ".journal")


def take_up(path: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The whole entries of a journal with these settings; a line that a kill cut off is cut off the file too. [] and a
    new journal where there is none, or one of another run."""
    entries: list[dict[str, Any]] = []
    head = line_of(settings)
    kept = 0
    if path.is_file():
        with path.open("rb") as lines:
            if lines.readline().decode() == head:
                kept = lines.tell()
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    entries.append(json.loads(line))
                    kept += len(line)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kept:
        with path.open("r+b") as file:
            file.truncate(kept)
    else:
        path.write_text(head, encoding="utf-8")
    return entries


def digest_of(values: Iterable[Any]) -> str:
    """Sixteen digits that differ where the values do."""
    return hashlib.sha256(json.dumps(list(values), sort_keys=True, default=str).encode()).hexdigest()[:16]

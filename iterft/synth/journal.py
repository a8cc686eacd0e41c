"""The journal of a run of the rules backend: its settings, then an entry a line. A killed run goes on from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iterft.journal import read_journal
from iterft.synth.rows import line_of, replacing


def journal_of(out: Path) -> Path:
    return out.with_name(out.name + ".journal")


def take_up(path: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries of a journal with these settings; [] and a new journal where there is none, or one of another run.
    Entries that belong together and are not all there are taken out of it."""
    values = read_journal(path)
    entries = list(values) if next(values, None) == dict(settings) else []
    num_whole = len(entries)
    while num_whole and entries[num_whole - 1].get("more"):
        num_whole -= 1
    if not entries or num_whole < len(entries):
        with replacing(path) as file:
            file.writelines(map(line_of, (settings, *entries[:num_whole])))
    return entries[:num_whole]

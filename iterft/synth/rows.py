"""Samples as rows of our own form (`readers.own`), with whatever else is known of them beside it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from iterft.journal import locked
from iterft.readers.forms import FORMS
from iterft.rollout import reference_calls
from iterft.types import Sample


def row_of(sample: Sample, **more: Any) -> dict[str, Any]:
    """What `readers.own` reads as the same sample. `answer` are the usual values, `accepted` all that are right."""
    row: dict[str, Any] = {
        "id": sample.id,
        "messages": list(sample.prompt.messages),
        "tools": list(sample.prompt.tools),
        "answer": [{"name": call.name, "arguments": call.arguments} for call in reference_calls(sample)],
    }
    if sample.answer:
        row["accepted"] = [{"name": call.name, "arguments": call.arguments} for call in sample.answer]
    texts = {"text": sample.text, "thought": sample.thought, "source": sample.source, "kind": sample.kind}
    row |= {key: text for key, text in texts.items() if text}
    if sample.env_config:
        row["env_config"] = sample.env_config
    return {**row, **more}


OWN_KEYS = frozenset(
    ["id", "messages", "tools", "answer", "accepted", "text", "thought", "source", "kind", "env_config", "reasons"]
)
"""What `row_of` writes, and the reasons beside a rejected row."""


def besides(row: Mapping[str, Any]) -> dict[str, Any]:
    """What else stands in a row of our own form: its provenance, somebody's notes."""
    return {key: value for key, value in row.items() if key not in OWN_KEYS}


def sample_of(row: Mapping[str, Any]) -> Sample:
    """The sample of a row that `row_of` has made."""
    (sample,) = FORMS["own"].read(dict(row), "0")
    return sample


def line_of(row: Any) -> str:
    """The row as a line of JSON lines."""
    return json.dumps(row, ensure_ascii=False) + "\n"


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file that takes its place once all is written; compressed, and the same for the same text, where its name
    ends in .gz."""
    temporary = path.with_name(path.name + ".tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        if path.suffix == ".gz":
            packed = files.enter_context(temporary.open("wb"))
            stream = files.enter_context(gzip.GzipFile("", "wb", fileobj=packed, mtime=0))
            yield files.enter_context(TextIOWrapper(stream, encoding="utf-8"))
        else:
            yield files.enter_context(temporary.open("w", encoding="utf-8"))
    temporary.replace(path)


@contextmanager
def claimed(option: str, path: Path) -> Iterator[None]:
    """Nobody else makes this file meanwhile, nor what is kept beside it; ValueError when somebody does. Its folder is
    made, and removed again if nothing came into it."""
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f"{path.name}.lock")
    lock.touch()
    with locked(lock, f"{option} {path}: another process is writing it; wait for it, or give another file"):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            with suppress(OSError):  # not empty
                for folder in made:
                    folder.rmdir()

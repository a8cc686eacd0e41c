"""Samples from JSON lines, and the split into train and held out by tool.

A row: {"id", "messages", "tools": [{name, description, parameters}], "answer": [{"name", "arguments"}], "text",
"source"}; an empty answer means that no call is right. A row that cannot be read is counted with its reason, and too
many stop.
"""

from __future__ import annotations

import gc
import gzip
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iterft.types import Prompt, Sample, ToolCall

HELD_OUT_TOOL_SHARE = 0.15


@dataclass(frozen=True)
class Loaded:
    """Samples read, and how many rows were dropped for which reason."""

    samples: tuple[Sample, ...]
    dropped: Mapping[str, int]


@contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection: what reads or makes many objects that stay spends half its time in looking for cycles."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@collector_paused()
def load_samples(path: Path, key: str, max_unreadable_share: float) -> Loaded:
    """Reads a .jsonl or .jsonl.gz file. `key` is the recipe key that named it. ValueError when the file is missing or
    empty, or more rows than the share cannot be read."""
    if not path.is_file():
        raise ValueError(f"{key} {path}: no such file; give a JSON-lines file or 'builtin'")
    dropped: Counter[str] = Counter()
    samples: dict[str, Sample] = {}
    first_fault = ""
    num_rows = 0
    for number, line in enumerate(read_lines(path, key), start=1):
        if not line.strip():
            continue
        num_rows += 1
        try:
            sample = read_row(line)
            if sample.id in samples:
                raise RowFault("duplicate id", f"id {sample.id!r}")
        except RowFault as fault:
            dropped[fault.reason] += 1
            first_fault = first_fault or f"line {number}: {fault.reason} ({fault.detail})"
        else:
            samples[sample.id] = sample
    if not num_rows:
        raise ValueError(f"{key} {path}: the file is empty")
    if dropped.total() > max_unreadable_share * num_rows:
        raise ValueError(
            f"{key} {path}: {dropped.total()} of {num_rows} rows cannot be read, more than data.max_unreadable_share="
            f"{max_unreadable_share}; first: {first_fault}; mend the file or raise the share"
        )
    return Loaded(tuple(samples.values()), dict(dropped))


class RowFault(ValueError):
    """Why a row cannot be read: a reason to count by and a detail for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def read_lines(path: Path, key: str) -> Iterator[str]:
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            yield from lines
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise ValueError(f"{key} {path}: cannot be read ({error}); give UTF-8 JSON lines, plain or .gz") from error


def read_row(line: str) -> Sample:
    """RowFault when the row breaks the form."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise RowFault("not JSON", str(error)) from error
    if not isinstance(row, dict):
        raise RowFault("not an object", type(row).__name__)
    for key, kind in (("messages", list), ("tools", list), ("answer", list)):
        if not isinstance(row.get(key), kind):
            raise RowFault(f"'{key}' missing or not a {kind.__name__}", f"id {row.get('id')!r}")
    if not row.get("id"):
        raise RowFault("'id' missing", line[:60])
    tools = tuple(read_tool(tool) for tool in row["tools"])
    answer = tuple(read_call(call) for call in row["answer"])
    text = row.get("text") or ""
    if not row["messages"] or not all(isinstance(message, dict) and "role" in message for message in row["messages"]):
        raise RowFault("a message without a role", f"id {row['id']!r}")
    return Sample(
        id=str(row["id"]),
        prompt=Prompt(tuple(row["messages"]), tools),
        answer=answer,
        text=text,
        source=str(row.get("source", "")),
        kind=str(row.get("kind", "")),
        env_config=row.get("env_config") or {},
    )


def read_tool(tool: Any) -> dict[str, Any]:
    if isinstance(tool, dict) and isinstance(tool.get("function"), dict):
        tool = tool["function"]
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str) or not tool["name"]:
        raise RowFault("a tool without a name", json.dumps(tool)[:60])
    if not isinstance(tool.get("parameters", {}), dict):
        raise RowFault("a tool whose parameters are no schema", tool["name"])
    return tool


def read_call(call: Any) -> ToolCall:
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise RowFault("a call without a name", json.dumps(call)[:60])
    if not isinstance(call.get("arguments"), dict):
        raise RowFault("a call whose arguments are no object", call["name"])
    return ToolCall(call["name"], {key: [accept(value)] for key, value in call["arguments"].items()})


def accept(value: Any) -> Any:
    """A single value in the form of `Sample.answer`: objects hold lists of alternatives one level deep."""
    if isinstance(value, dict):
        return {key: [item] for key, item in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [accept(item) for item in value]
    return value


def kind_of(sample: Sample) -> str:
    """The sample's own kind, else what its answer says."""
    if sample.kind:
        return sample.kind
    if not sample.answer:
        return "no_call"
    return "single" if len(sample.answer) == 1 else "parallel"


def by_tool_list(samples: Sequence[Sample]) -> list[list[Sample]]:
    """The samples grouped by the tools they show, in order of first appearance: such prompts share a long prefix."""
    groups: list[list[Sample]] = []
    alike: dict[tuple[tuple[str, str], ...], list[list[Sample]]] = {}
    for sample in samples:
        tools = sample.prompt.tools
        # Names and descriptions nearly tell lists apart; comparing the few that remain is far quicker than writing out.
        candidates = alike.setdefault(tuple((tool["name"], str(tool.get("description"))) for tool in tools), [])
        group = next((group for group in candidates if group[0].prompt.tools == tools), None)
        if group is None:
            group = []
            candidates.append(group)
            groups.append(group)
        group.append(sample)
    return groups


def split_by_tool(samples: Sequence[Sample], seed: int) -> tuple[list[Sample], list[Sample]]:
    """(train, held out): no reference tool of one occurs as a reference of the other. Samples that need no call are
    split at random; those whose calls mix both sides are left out."""
    names = sorted({call.name for sample in samples for call in sample.answer})
    chooser = random.Random(seed)
    chooser.shuffle(names)
    held_names = set(names[: max(1, round(HELD_OUT_TOOL_SHARE * len(names)))])
    train, held_out = [], []
    for sample in samples:
        used = {call.name for call in sample.answer}
        if (not used and chooser.random() < HELD_OUT_TOOL_SHARE) or (used and used <= held_names):
            held_out.append(sample)
        elif not used & held_names:
            train.append(sample)
    return train, held_out

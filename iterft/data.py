"""Samples from rows of any form, and the split into train and held out by tool.

A source holds rows of one form, see `readers`. A row that cannot be read is counted with its reason, and too many stop.
"""

from __future__ import annotations

import gc
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from iterft.readers.forms import FORMS, form_of
from iterft.readers.parts import NO_TOOLS, Row, RowFault, parse_json, shown
from iterft.sources import rows
from iterft.types import Sample

HELD_OUT_TOOL_SHARE = 0.15
NO_TOOL_FITS = frozenset(["no_tool", "irrelevance"])
"""Kinds of samples whose reply is about none of the tools."""
AUTO = "auto"


@dataclass(frozen=True)
class Loaded:
    """Samples read (several from a row that is a conversation), how many rows there were, how many of them were dropped
    for which reason, and the form they have."""

    samples: tuple[Sample, ...]
    dropped: Mapping[str, int]
    num_rows: int
    form: str


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


@dataclass(frozen=True)
class Reading:
    """One row: its number, what stands there, the samples in it or why there are none, the form it was read in."""

    number: int
    content: Any
    samples: Sequence[Sample]
    fault: RowFault | None
    form: str


def readings(source: str | Path, key: str, form: str = AUTO) -> Iterator[Reading]:
    """The rows of a file or a data set on the hub, one after another. With the form "auto", the first row of a known
    form decides, and rows of another are faults, as are ids that occurred before. ValueError when the source cannot be
    read."""
    ids: set[str] = set()
    found = form
    for number, content in rows(str(source), key):
        try:
            row = as_row(content)
            found = expected_form(row, found) if form == AUTO else form
            samples = read_row(row, number, found)
            for sample in samples:
                if sample.id in ids:
                    raise RowFault("duplicate id", f"id {sample.id!r}")
        except RowFault as fault:
            yield Reading(number, content, (), fault, found)
        else:
            ids.update(sample.id for sample in samples)
            yield Reading(number, content, samples, None, found)


def load_samples(source: str | Path, key: str, max_unreadable_share: float, form: str = AUTO) -> Loaded:
    """Reads a file or a data set on the hub (see `readings`). `key` is the recipe key that named it. ValueError when
    the source is missing or empty, or more rows than the share cannot be read; rows that show no tools are counted, but
    not as unreadable."""
    dropped: Counter[str] = Counter()
    samples: list[Sample] = []
    found, first_fault, num_rows = form, "", 0
    with collector_paused():
        for reading in readings(source, key, form):
            num_rows += 1
            found = reading.form
            samples += reading.samples
            if fault := reading.fault:
                dropped[fault.reason] += 1
                first_fault = first_fault or f"row {reading.number}: {fault.reason} ({fault.detail})"
    if not num_rows:
        raise ValueError(f"{key} {source}: the file is empty; give one with rows")
    num_unreadable = dropped.total() - dropped[NO_TOOLS]
    if num_unreadable > max_unreadable_share * num_rows:
        raise ValueError(
            f"{key} {source}: {num_unreadable} of {num_rows} rows cannot be read, more than data.max_unreadable_share="
            f"{max_unreadable_share}; read as {found}, first: {first_fault}; mend them, set data.form or the share"
        )
    return Loaded(tuple(samples), dict(dropped), num_rows, found)


def as_row(content: Any) -> Row:
    if isinstance(content, str):
        try:
            content = parse_json(content)
        except ValueError as error:
            raise RowFault("not JSON", str(error)) from error
    if not isinstance(content, dict):
        raise RowFault("not an object", type(content).__name__)
    return content


def expected_form(row: Row, found: str) -> str:
    """The form to read the row in; `found` is that of the rows before it, "auto" if none was known."""
    own = form_of(row)
    if found == AUTO:
        if not own:
            raise RowFault("unknown form", f"keys {shown(list(row))}; known are {', '.join(FORMS)}")
        return own
    if own and own != found:
        raise RowFault("another form", f"a row of the form {own} among those of {found}")
    return found


def read_row(row: Row, number: int, form: str) -> list[Sample]:
    try:
        return FORMS[form].read(row, str(number))
    except RecursionError:
        raise RowFault("nested too deeply", f"id {row.get('id')!r}") from None


def kind_of(sample: Sample) -> str:
    """The sample's own kind, else what its answer says."""
    if sample.kind:
        return sample.kind
    if not sample.answer:
        return "no_call"
    return "single" if len(sample.answer) == 1 else "parallel"


BLOCK = 8
"""Samples of one tool list that come one after the other: a batch of the defaults."""


def in_blocks(samples: Sequence[Sample], size: int = BLOCK) -> list[Sample]:
    """In the order given, except that samples which show the same tools come side by side, up to `size` at a time:
    they share a batch, and no tool list has a stretch of its own."""
    blocks = [group[at : at + size] for group in by_tool_list(samples) for at in range(0, len(group), size)]
    places = {sample.id: place for place, sample in enumerate(samples)}
    return [sample for block in sorted(blocks, key=lambda block: places[block[0].id]) for sample in block]


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


def called(sample: Sample) -> set[str]:
    """Names of the tools that were called in the messages."""
    return {call["name"] for call in earlier_calls(sample)}


def earlier_calls(sample: Sample) -> list[Mapping[str, Any]]:
    """The calls of the messages, as they hold them: "name", "arguments"."""
    return [call for message in sample.prompt.messages for call in message.get("tool_calls") or ()]


def asked_in(sample: Sample) -> str:
    """What tells prompts apart: their messages and the names of their tools, in whatever order these are shown."""
    names = sorted(tool["name"] for tool in sample.prompt.tools)
    return json.dumps([list(sample.prompt.messages), names], sort_keys=True, default=str)


def beginning(sample: Sample) -> str:
    """What the samples of one conversation have in common: its messages up to the first of the user; the sample's id
    where it has none."""
    messages = sample.prompt.messages
    first = next((place for place, message in enumerate(messages) if message["role"] == "user"), None)
    return sample.id if first is None else json.dumps(messages[: first + 1], sort_keys=True, default=str)


def split_by_tool(samples: Sequence[Sample], seed: int) -> tuple[list[Sample], list[Sample]]:
    """(train, held out): no tool that held out asks for is asked for, called in a message, or shown in train, whose
    lists of tools go without. Samples that need no call go with the calls of their conversation, if it has some, else
    conversations are split at random; samples that mix both sides are left out, and those of train that have no tool
    left, or ask back what may be about a tool that is gone: they would teach to ask where no tool fits."""
    names = sorted({call.name for sample in samples for call in sample.answer})
    chooser = random.Random(seed)
    chooser.shuffle(names)
    held_names = set(names[: max(1, round(HELD_OUT_TOOL_SHARE * len(names)))])
    in_train: set[str] = set()
    in_held_out: set[str] = set()
    for sample in samples:
        if used := {call.name for call in sample.answer} | called(sample):
            (in_held_out if used <= held_names else in_train).add(beginning(sample))
    train, held_out = [], []
    drawn: dict[str, bool] = {}
    for sample in samples:
        used = {call.name for call in sample.answer}
        talk = beginning(sample)
        if not used and talk not in drawn:
            by_chance = chooser.random() < HELD_OUT_TOOL_SHARE
            drawn[talk] = talk not in in_train and (talk in in_held_out or by_chance)
        if drawn[talk] if not used else used | called(sample) <= held_names:
            held_out.append(sample)
        elif not (used | called(sample)) & held_names:
            shown_tools = sample.prompt.tools
            seen = tuple(tool for tool in shown_tools if tool["name"] not in held_names)
            asks_back = not used and "?" in sample.text and sample.kind not in NO_TOOL_FITS
            if (seen or not shown_tools) and not (asks_back and len(seen) < len(shown_tools)):
                train.append(replace(sample, prompt=replace(sample.prompt, tools=seen)))
    return train, held_out

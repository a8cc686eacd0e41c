"""Results of tools in the order of their calls. Rows may list those of parallel calls in any order, told apart by ids;
everything after the readers goes by the order. Without ids, results stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from iterft.readers.parts import RowFault, shown
from iterft.types import Message


def in_order_of_calls(messages: Iterable[Message]) -> list[Message]:
    """The messages, each run of results in the order of the calls before it: calls may have an `id`, results the
    `tool_call_id` of theirs. RowFault when a result is of no such call, of one that has its result already, or of one
    behind a call without a result."""
    ordered: list[Message] = []
    ids: list[str] = []
    for role, run in groupby(messages, key=lambda message: message["role"]):
        turns = list(run)
        if role == "tool" and ids:
            turns = _ordered(turns, ids)
        ids = _ids_of_calls(turns) if role == "assistant" else []
        ordered += turns
    return ordered


def without_ids(message: Message) -> dict[str, Any]:
    """The message without what tells calls and results apart."""
    made = {key: value for key, value in message.items() if key != "tool_call_id"}
    if "tool_calls" in made:
        made["tool_calls"] = [{key: each for key, each in call.items() if key != "id"} for call in made["tool_calls"]]
    return made


def _ids_of_calls(turns: Sequence[Message]) -> list[str]:
    """[] where one is missing or occurs twice: they tell nothing apart then."""
    calls = [call for turn in turns for call in turn.get("tool_calls") or ()]
    ids = [name for call in calls if (name := _id(call, "id"))]
    return ids if len(set(ids)) == len(calls) else []


def _ordered(results: Sequence[Message], ids: Sequence[str]) -> list[Message]:
    """Results without an id take the places that are left, in their order."""
    own: dict[int, Message] = {}
    others = []
    for result in results:
        name = _id(result, "tool_call_id")
        if not name:
            others.append(result)
        elif name not in ids:
            raise RowFault("a result of an unknown call", f"{shown(name)}; the calls before it are {', '.join(ids)}")
        elif ids.index(name) in own:
            raise RowFault("two results of one call", shown(name))
        else:
            own[ids.index(name)] = result
    if own and max(own) >= len(results):
        raise RowFault("a result behind a call without one", shown(ids[max(own)]))
    rest = iter(others)
    return [own[place] if place in own else next(rest) for place in range(len(results))]


def _id(holder: Mapping[str, Any], key: str) -> str:
    name = holder.get(key)
    return "" if name is None else str(name)

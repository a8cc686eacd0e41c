"""ToolACE:

    {"system": instructions with a JSON list of the tools, "conversations": [{"from", "value"}]}

Speakers are user, assistant and tool. The assistant calls in the Pythonic dialect, `[get_weather(city="Oslo")]`, but
names of tools may hold blanks and the like, which the dialect has no way to write: they are swapped for stand-ins while
a turn is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from iterft.chat import parse
from iterft.dialects.pythonic import PYTHONIC
from iterft.readers.conversation import background, decisions, message, parted, spoken
from iterft.readers.parts import NO_TOOLS, Row, RowFault, json_at, read_tools, row_id, shown, source_of
from iterft.types import Sample, Tool, ToolCall

_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "tool": "tool"}
_LIST = re.compile(r"\[\s*\{")
_LIKE_CALLS = re.compile(r"\s*\[[^\]\n]*\(.*\)\s*\]\s*", re.DOTALL)


def read(row: Row, number: str) -> list[Sample]:
    system = row.get("system")
    if not isinstance(system, str):
        raise RowFault("'system' missing or no text", shown(system))
    opening = _LIST.search(system)
    if opening is None:
        raise RowFault(NO_TOOLS, "the system text shows none")
    listed, end = json_at(system, opening.start())
    tools = read_tools(listed)
    messages = background(system[: opening.start()] + system[end:])
    messages.extend(_messages(row, stand_ins(tools)))
    return decisions(row_id(row, number), source_of(row, "toolace"), messages, tools)


def stand_ins(tools: Sequence[Tool]) -> dict[str, str]:
    """Name of a tool that the Pythonic dialect cannot write -> a name that it can."""
    odd = {}
    for index, tool in enumerate(tools):
        try:
            PYTHONIC.render([ToolCall(tool["name"], {})])
        except ValueError:
            odd[tool["name"]] = f"stand_in_{index}_of_an_odd_name"
    return odd


def _messages(row: Row, odd: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for role, text in spoken(row, _ROLES):
        yield _turn(text, odd) if role == "assistant" else message(role, text)


def _turn(text: str, odd: Mapping[str, str]) -> dict[str, Any]:
    """RowFault when the turn is no well-formed list of calls and yet no prose."""
    think_part, text = parted(text)
    written, num_swapped = text, 0
    if odd:
        names = "|".join(map(re.escape, sorted(odd, key=len, reverse=True)))
        written, num_swapped = re.subn(rf"([\[,]\s*)({names})\s*\(", lambda m: f"{m[1]}{odd[m[2]]}(", text)
    turn = parse(PYTHONIC, written)
    if turn.error or (not turn.calls and _LIKE_CALLS.fullmatch(text)):
        raise RowFault("an unparsable call", f"{turn.error or 'no known way to write one'} in {shown(text)}")
    if not turn.calls:
        return message("assistant", think_part + text.strip())
    real = {stand_in: name for name, stand_in in odd.items()}
    if sum(call.name in real for call in turn.calls) != num_swapped:
        raise RowFault("an unparsable call", f"a tool's name inside an argument of {shown(text)}")
    calls = [ToolCall(real.get(call.name, call.name), call.arguments) for call in turn.calls]
    return message("assistant", think_part + turn.content, calls)

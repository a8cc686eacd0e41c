"""The Hermes dialect (Nous Hermes, Qwen): each call a JSON object between `<tool_call>` tags, prose around them.

JSON is strict: no control characters in strings, repeated or unknown keys, trailing commas, NaN, or numbers that a
float cannot hold. `name` and `arguments` may come in either order; missing `arguments` are none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from iterft.chat import Dialect, Scan
from iterft.dialects.reader import Reader, scan
from iterft.dialects.values import Literals, read_key, read_string, read_value
from iterft.tool_list import describe_tools
from iterft.types import Tool, ToolCall

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_TAG = re.compile(f"{OPEN}|{CLOSE}")
_NAME, _ARGUMENTS = '"name"', '"arguments"'
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def _system(tools: Sequence[Tool]) -> str:
    lines = describe_tools(tools)
    return (
        f"You can call these tools:\n<tools>\n{lines}\n</tools>\n"
        f'To call a tool, write\n{OPEN}\n{{"name": ..., "arguments": {{...}}}}\n{CLOSE}\n'
        "You may make several calls, one block each. "
        "If no tool fits or information is missing, reply in plain words instead."
    )


def _render(calls: Sequence[ToolCall]) -> str:
    blocks = ({"name": call.name, "arguments": dict(call.arguments)} for call in calls)
    return "\n".join(f"{OPEN}\n{json.dumps(block, ensure_ascii=False)}\n{CLOSE}" for block in blocks)


def _scan(text: str) -> Scan:
    return scan(_read_turn, text)


def _observation(content: str) -> str:
    return f"<tool_response>\n{content}\n</tool_response>"


def _read_turn(reader: Reader) -> None:
    reader.think()
    while True:
        _read_prose(reader)
        if reader.take((OPEN, CLOSE)) == CLOSE:
            raise reader.fault(f"{CLOSE} without {OPEN} ends")
        _read_call(reader)


def _read_prose(reader: Reader) -> None:
    """Passes content up to the next tag; the beginning of a tag at the end of the text is undecided."""
    text, start = reader.text, reader.position
    tag = _TAG.search(text, start)
    if tag:
        reader.content.append(text[start : tag.start()])
        reader.position = tag.start()
        return
    end = text.rfind("<", start)
    if end < 0 or not (OPEN.startswith(text[end:]) or CLOSE.startswith(text[end:])):
        end = len(text)
    reader.content.append(text[start:end])
    reader.suspend(end)


def _read_call(reader: Reader) -> None:
    """Passes what follows an opening tag, closing tag included."""
    reader.open_call()
    reader.space()
    reader.take("{")
    missing = {_NAME, _ARGUMENTS}
    closed = False
    while not closed:
        reader.space()
        key = reader.take(sorted(missing))
        missing.remove(key)
        reader.space()
        reader.take(":")
        reader.space()
        if key == _NAME:
            _read_name(reader)
        else:
            _read_arguments(reader)
        reader.space()
        following = ",}" if missing == {_ARGUMENTS} else "," if missing else "}"
        closed = reader.take(following) == "}"
    reader.space()
    reader.take((CLOSE,))
    reader.close_call()


def _read_name(reader: Reader) -> None:
    reader.take('"')
    reader.position -= 1
    name = read_string(reader, _JSON)
    if not name:
        raise reader.fault("empty tool name that ends")
    reader.name(name)


def _read_arguments(reader: Reader) -> None:
    reader.take("{")
    reader.space()
    if reader.peek() == "}":
        reader.take("}")
        return
    while True:
        key = read_key(reader, _JSON, reader.open_arguments)
        reader.argument(key, read_value(reader, _JSON))
        reader.space()
        if reader.take(",}") == "}":
            return
        reader.expects = "argument"
        reader.space()


def _read_escape(reader: Reader) -> str:
    letter = reader.peek()
    if letter != "u" and letter not in _ESCAPES:
        raise reader.fault("unknown escape")
    reader.position += 1
    return chr(reader.hex(4)) if letter == "u" else _ESCAPES[letter]


_JSON = Literals(
    plain={'"': re.compile(r'[^"\\\x00-\x1f]*')},
    escape=_read_escape,
    closing={"[": "]"},
    words={"true": True, "false": False, "null": None},
    number=re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"),
    number_prefix=re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*|(?:\.[0-9]+)?[eE][+-]?[0-9]*)?)?"),
    trailing_comma=False,
)

HERMES = Dialect("hermes", _system, _render, _scan, _observation)

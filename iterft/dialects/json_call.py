"""One call as a JSON object, `{"name": "f", "arguments": {...}}`: what hermes, llama3 and mistral share.

JSON is strict: no control characters in strings, repeated or unknown keys, trailing commas, NaN, or numbers that a
float cannot hold. The two keys may come in either order; missing arguments are none; `"type": "function"` may be a
third key where the dialect's models write it. Not here: what stands around the objects (the dialects).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from iterft.dialects.grammar import Notation, Rules, any_of, quoted
from iterft.dialects.reader import Reader
from iterft.dialects.values import Literals, read_key, read_string, read_value
from iterft.types import Tool, ToolCall

_NAME = '"name"'
TYPE, FUNCTION = '"type"', '"function"'
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def call_object(call: ToolCall, arguments_key: str) -> str:
    """The call as the models' own templates write it: all of Unicode, a blank after each comma and colon."""
    return _text({"name": call.name, arguments_key: dict(call.arguments)})


def rules_of_calls(tools: Sequence[Tool], arguments_key: str) -> tuple[Rules, str]:
    """Rules, and the name of the one that is a call of one of the tools, as `call_object` writes it; "" without
    tools."""
    rules = Rules(_NOTATION)
    calls = []
    for tool in tools:
        opening = f"{{{_NAME}: {_text(tool['name'])}, {_text(arguments_key)}: {{"
        members = rules.members(tool.get("parameters") or {}, lambda name: f"{_text(name)}: ")
        calls.append(f"{quoted(opening)} {rules.sequence(members, '}}')}")
    return rules, rules.define(any_of(calls)) if calls else ""


def read_call_object(reader: Reader, arguments_key: str, *, with_type: bool = False) -> None:
    """Passes what follows the opening brace of an open call, closing brace included. `with_type`: `"type": "function"`
    may be there."""
    missing = {_NAME, f'"{arguments_key}"'} | ({TYPE} if with_type else set())
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
        elif key == TYPE:
            reader.take((FUNCTION,))
        else:
            reader.take("{")
            reader.list_of_arguments(_read_argument, "}")
        reader.space()
        following = ("," if missing else "") + ("" if _NAME in missing else "}")
        closed = reader.take(following) == "}"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _read_name(reader: Reader) -> None:
    reader.take('"')
    reader.position -= 1
    name = read_string(reader, _JSON)
    if not name:
        raise reader.fault("empty tool name that ends")
    reader.name(name)


def _read_argument(reader: Reader) -> tuple[str, Any]:
    key = read_key(reader, _JSON, reader.open_arguments)
    return key, read_value(reader, _JSON)


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

_STRINGS = r"""string ::= "\"" inside
inside ::= "\"" | [^"\\\0-\x1f] inside | "\\" escape inside
escape ::= ["\\/bfnrt] | "u" unit"""
_NOTATION = Notation(strings=_STRINGS, literal=_text)

"""The Pythonic dialect (BFCL's prompt, ToolACE): the whole turn is `[f(city='Paris', days=3), g()]`, or else prose.

The first thing that is `[name(` decides that the turn makes calls; then nothing but white space may follow the list.
White space may stand before the bracket, where `)` or `argument=` follows it: `[see (this)]` is prose. Names of tools
and arguments are any characters but white space, brackets, commas, "=" and quotes. Arguments are keywords. Values are
Python literals that JSON could hold too (a tuple is a list), and JSON's true, false and null.
Not read: prefixed, triple-quoted and adjacent strings, octal and named escapes, numbers in another base than ten.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from iterft.chat import Dialect, Scan
from iterft.dialects.grammar import Notation, Rules, any_of, quoted, turn_of
from iterft.dialects.reader import Reader, scan
from iterft.dialects.values import Literals, read_value
from iterft.jinja import filled
from iterft.tool_list import explain_tools, show_result
from iterft.types import Tool, ToolCall

_NAME = re.compile(r"""[^\s\[\](){},='"]+""")
_SPACE = r"[ \t\n\r]"
_OPENING = re.compile(rf"\[{_SPACE}*{_NAME.pattern}(?:\(|{_SPACE}+\({_SPACE}*(?:{_NAME.pattern}{_SPACE}*=|\)))")
_ARGUMENT = rf"\({_SPACE}*(?:{_NAME.pattern}{_SPACE}*)?"
_MAYBE_OPENING = re.compile(rf"(?:\[{_SPACE}*(?:{_NAME.pattern}(?:{_SPACE}+(?:{_ARGUMENT})?)?)?)?")
_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "\n": "", "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r"}
_ESCAPES |= {"t": "\t", "v": "\v"}
_NUM_DIGITS = {"x": 2, "u": 4, "U": 8}
_WRITTEN = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_CONTROLS = "".join(map(chr, (*range(0x20), *range(0x7F, 0xA0))))
_CONTROL = re.compile(rf"[\\{_CONTROLS}]")


def _system(tools: Sequence[Tool]) -> str:
    return explain_tools(
        tools,
        "To call tools, write only a list of calls:\n[name(argument=value, ...), ...]\n"
        "Values are Python literals. You may make several calls.",
    )


def _render(calls: Sequence[ToolCall]) -> str:
    """ValueError for a name that this dialect cannot write."""
    return f"[{', '.join(map(_call_text, calls))}]" if calls else ""


def _call_text(call: ToolCall) -> str:
    for name in (call.name, *call.arguments):
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"tool {call.name!r}: the pythonic dialect cannot write the name {name!r}, names must hold no white "
                "space, brackets, commas, '=' or quotes; rename it or use the hermes dialect"
            )
    return f"{call.name}({', '.join(f'{key}={_literal(value)}' for key, value in call.arguments.items())})"


def _literal(value: Any) -> str:
    """Like `repr`, but all of Unicode except control characters is kept."""
    if isinstance(value, str):
        quote = '"' if "'" in value and '"' not in value else "'"
        text = _CONTROL.sub(lambda match: _escape(match.group()), value)
        return quote + text.replace(quote, "\\" + quote) + quote
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return repr(value)


def _escape(character: str) -> str:
    return _WRITTEN.get(character) or f"\\x{ord(character):02x}"


def _grammar(tools: Sequence[Tool]) -> str:
    """Without the tools and parameters whose names this dialect cannot write."""
    rules = Rules(_NOTATION)
    calls = []
    for tool in tools:
        members = rules.members(tool.get("parameters") or {}, "{}=".format)
        writable = [member for member in members if _NAME.fullmatch(member.key[:-1])]
        left_out = set(members) - set(writable)
        if _NAME.fullmatch(tool["name"]) and not any(member.is_required for member in left_out):
            calls.append(f"{quoted(tool['name'] + '(')} {rules.sequence(writable, ')')}")
    call = rules.define(any_of(calls)) if calls else ""
    return rules.text(turn_of(call and f'"[" {call} (", " {call})* "]"', "["))


def _scan(text: str) -> Scan:
    return scan(_read_turn, text)


def _read_turn(reader: Reader) -> None:
    settled = reader.think()
    if opening := _OPENING.match(reader.text, reader.position):
        reader.list_of_calls(partial(_read_call, decided=opening.end() - 1))
        return
    decided = _MAYBE_OPENING.match(reader.text, reader.position).end()  # type: ignore[union-attr]
    reader.prose(max(decided, settled))


def _read_call(reader: Reader, decided: int) -> None:
    """Passes one call; a name before the character at `decided` is settled by that alone."""
    name = reader.run(_NAME, "the name of a tool")
    reader.space()
    reader.take("(")
    reader.open_call()
    reader.name(name, max(reader.position, decided))
    reader.list_of_arguments(_read_argument, ")")
    reader.close_call()


def _read_argument(reader: Reader) -> tuple[str, Any]:
    """Passes `key=value`."""
    key = reader.run(_NAME, "the name of an argument")
    if key in reader.open_arguments:
        raise reader.fault("repeated argument")
    reader.space()
    if reader.peek() != "=":
        raise reader.fault("positional argument: expected =")
    reader.take("=")
    reader.space()
    return key, read_value(reader, _PYTHON)


def _read_escape(reader: Reader) -> str:
    """As Python reads it: an unknown escape stands for itself, backslash included."""
    letter = reader.peek()
    if letter in "01234567N":
        raise reader.fault("octal or named escape")
    reader.position += 1
    if letter in _NUM_DIGITS:
        code = reader.hex(_NUM_DIGITS[letter])
        if code > 0x10FFFF:
            raise reader.fault("escape of no character that ends")
        return chr(code)
    return _ESCAPES.get(letter, "\\" + letter)


_INTEGER = r"[1-9](?:_?[0-9])*"
_PYTHON = Literals(
    plain={"'": re.compile(r"[^'\\\n\r]*"), '"': re.compile(r'[^"\\\n\r]*')},
    escape=_read_escape,
    closing={"[": "]", "(": ")"},
    words={"True": True, "False": False, "None": None, "true": True, "false": False, "null": None},
    number=re.compile(rf"[+-]?(?:(?:0|{_INTEGER})(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"),
    number_prefix=re.compile(
        rf"[+-]?(?:\.|(?:{_INTEGER}_)|(?:(?:0|{_INTEGER})(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]*)?)?"
    ),
    trailing_comma=True,
)

_STRINGS = r"""string ::= "'" single | "\"" double
single ::= "'" | [^'\\\0-\x1f\x7f] single | "\\" escape single
double ::= "\"" | [^"\\\0-\x1f\x7f] double | "\\" escape double
escape ::= [\\'"nrt] | "x" [0-9a-fA-F]{2} | "u" unit"""
_NOTATION = Notation(strings=_STRINGS, literal=_literal)

_JINJA = filled("pythonic_calls", ESCAPES=[("\\", "\\\\"), *((one, _escape(one)) for one in _CONTROLS)])
PYTHONIC = Dialect("pythonic", _system, _render, _scan, show_result, _grammar, _JINJA)

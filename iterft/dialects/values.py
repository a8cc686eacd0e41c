"""The values of arguments, read with a `Reader`: strings, numbers, words, lists and objects as a dialect writes them.

One grammar serves all dialects; what differs between them is data (`Literals`). Values come out as JSON has them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from iterft.dialects.reader import Ended, Reader

MAX_DEPTH = 64
"""Lists and objects nested deeper than this are malformed."""

_SCALAR = re.compile(r"[\w.+-]*")
_INTEGER = re.compile(r"[+-]?[0-9_]+")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class Literals:
    """How a dialect writes values. Objects are braces, string keys and colons everywhere.

    plain            opening quote -> the run of characters that stand for themselves
    escape(reader)   the character(s) an escape stands for, read from just after the backslash
    closing          opening -> closing bracket of a sequence; a "(" around one value without a comma only groups
    words            bare words and their values
    number           a whole number literal
    number_prefix    any beginning of one
    trailing_comma   a comma may precede a closing bracket
    """

    plain: Mapping[str, re.Pattern[str]]
    escape: Callable[[Reader], str]
    closing: Mapping[str, str]
    words: Mapping[str, Any]
    number: re.Pattern[str]
    number_prefix: re.Pattern[str]
    trailing_comma: bool


def read_value(reader: Reader, literals: Literals, depth: int = 0) -> Any:
    """Passes one value. A bare word or number is whole only when the character after it is there."""
    if depth > MAX_DEPTH:
        raise reader.fault(f"values are nested more than {MAX_DEPTH} deep")
    first = reader.peek()
    if first in literals.plain:
        return read_string(reader, literals)
    if first == "{":
        return _read_object(reader, literals, depth)
    if first in literals.closing:
        return _read_sequence(reader, literals, depth)
    return _read_scalar(reader, literals)


def read_string(reader: Reader, literals: Literals) -> str:
    """Passes one quoted string. Surrogates written as a pair are one character; a lone one is malformed."""
    quote = reader.take(literals.plain)
    parts: list[str] = []
    while True:
        match = literals.plain[quote].match(reader.text, reader.position)
        assert match is not None, "the pattern of plain characters matches nothing at all"
        parts.append(match.group())
        reader.position = match.end()
        if reader.peek() not in (quote, "\\"):
            raise reader.fault("control character in a string")
        reader.position += 1
        if reader.text[reader.position - 1] == quote:
            break
        parts.append(literals.escape(reader))
    string = "".join(parts)
    if _SURROGATE.search(string):
        try:
            return string.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            raise reader.fault("lone surrogate in the string that ends") from None
    return string


def read_key(reader: Reader, literals: Literals, seen: Collection[str]) -> str:
    """Passes `"key":` and the white space after it; a key in `seen` is malformed."""
    if reader.peek() not in literals.plain:
        raise reader.fault("expected a quoted key")
    key = read_string(reader, literals)
    if key in seen:
        raise reader.fault("repeated key")
    reader.space()
    reader.take(":")
    reader.space()
    return key


def _read_object(reader: Reader, literals: Literals, depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    reader.take("{")
    reader.space()
    closed = reader.peek() == "}"
    while not closed:
        key = read_key(reader, literals, value)
        value[key] = read_value(reader, literals, depth + 1)
        closed = _read_separator(reader, literals, "}")
    reader.take("}")
    return value


def _read_sequence(reader: Reader, literals: Literals, depth: int) -> Any:
    values: list[Any] = []
    closing = literals.closing[reader.take(literals.closing)]
    reader.space()
    closed, comma = reader.peek() == closing, False
    while not closed:
        values.append(read_value(reader, literals, depth + 1))
        reader.space()
        comma = reader.peek() == ","
        closed = _read_separator(reader, literals, closing)
    reader.take(closing)
    return values[0] if closing == ")" and len(values) == 1 and not comma else values


def _read_separator(reader: Reader, literals: Literals, closing: str) -> bool:
    """Passes white space and the comma after an element; True when the container closes next."""
    reader.space()
    if reader.peek() == closing:
        return True
    reader.take((",", closing))
    reader.space()
    return reader.peek() == closing and literals.trailing_comma


def _read_scalar(reader: Reader, literals: Literals) -> Any:
    start = reader.position
    match = _SCALAR.match(reader.text, start)
    run = match.group() if match else ""
    unknown = reader.fault("expected a value")
    if not run:
        raise unknown
    if start + len(run) == len(reader.text):
        if literals.number_prefix.fullmatch(run) or any(word.startswith(run) for word in literals.words):
            raise Ended
        raise unknown
    reader.position = start + len(run)
    if run in literals.words:
        return literals.words[run]
    if not literals.number.fullmatch(run):
        raise unknown
    try:
        number = int(run) if _INTEGER.fullmatch(run) else float(run)
    except ValueError:  # sys.set_int_max_str_digits, whose default is 4300
        raise reader.fault("integer of too many digits that ends") from None
    if number in (math.inf, -math.inf):
        raise reader.fault("number too large for a float that ends")
    return number

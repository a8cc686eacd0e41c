"""The cursor every dialect reads with: a position in a turn, what is settled before it, and the values of arguments.

A dialect is a function that moves a `Reader` over the text from left to right. Where the text ends it raises `Ended`,
where no continuation can be well-formed `Malformed`; `scan` turns both into values. Whatever a dialect settles must not
depend on text to the right of the position, so what a prefix settles stays settled. Not here: how calls are written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from iterft.chat import THINK_CLOSE, THINK_OPEN, Mark, Scan
from iterft.types import PartialTurn, ToolCall

MAX_DEPTH = 64
"""Lists and objects nested deeper than this are malformed."""

_SPACE = re.compile(r"[ \t\n\r]*")
_HEX = re.compile(r"[0-9a-fA-F]*")
_SCALAR = re.compile(r"[\w.+-]*")
_INTEGER = re.compile(r"[+-]?[0-9_]+")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Ended(Exception):
    """The text ends here, and something well-formed may still follow."""


class Malformed(Exception):
    """No continuation of the text read so far is a well-formed turn; the message is one sentence."""


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


@dataclass(slots=True)
class Reader:
    """`position` in `text`, and what is settled there (the fields of `PartialTurn`, while they grow)."""

    text: str
    position: int = 0
    marks: list[Mark] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    in_call: bool = False
    open_name: str | None = None
    open_arguments: dict[str, Any] = field(default_factory=dict)
    expects: Literal["", "argument", "call"] = ""
    open_list: bool = False
    content: list[str] = field(default_factory=list)
    undecided: str = ""

    def mark(self, kind: str) -> None:
        self.marks.append(Mark(self.position, kind))

    def name(self, name: str) -> None:
        """The open call is settled to be of tool `name`, up to here."""
        self.open_name = name
        self.mark("name")

    def open_call(self) -> None:
        self.in_call, self.expects = True, ""

    def argument(self, key: str, value: Any) -> None:
        """An argument of the open call is complete, up to here."""
        self.open_arguments[key] = value
        self.expects = ""
        self.mark("argument")

    def close_call(self) -> None:
        assert self.open_name is not None, "a call is closed before its name was read"
        self.calls.append(ToolCall(self.open_name, self.open_arguments))
        self.in_call, self.open_name, self.open_arguments = False, None, {}
        self.mark("call")

    def think(self) -> None:
        """Passes white space and the think part a turn may begin with."""
        self.space()
        if self.text.startswith(THINK_OPEN, self.position):
            end = self.text.find(THINK_CLOSE, self.position)
            if end < 0:
                self.suspend(self.position)
            self.position = end + len(THINK_CLOSE)
            self.mark("think")
            self.space()
        elif THINK_OPEN.startswith(self.text[self.position : self.position + len(THINK_OPEN)]):
            self.suspend(self.position)

    def suspend(self, start: int) -> NoReturn:
        """Ends the reading with the text from `start` on undecided."""
        self.undecided = self.text[start:]
        raise Ended

    def space(self) -> None:
        self.position = _SPACE.match(self.text, self.position).end()  # type: ignore[union-attr]

    def peek(self) -> str:
        """The next character."""
        if self.position == len(self.text):
            raise Ended
        return self.text[self.position]

    def take(self, options: Collection[str]) -> str:
        """Passes the one of `options` (none of which begins another) that stands here and returns it."""
        rest = self.text[self.position : self.position + max(map(len, options))]
        for option in options:
            if rest.startswith(option):
                self.position += len(option)
                return option
        if any(option.startswith(rest) for option in options):
            raise Ended
        raise self.fault(f"expected {' or '.join(options)}")

    def run(self, pattern: re.Pattern[str], wanted: str) -> str:
        """Passes the longest match of `pattern`, known to be whole because something follows; `wanted` names it."""
        self.peek()
        match = pattern.match(self.text, self.position)
        if match is None:
            raise self.fault(f"expected {wanted}")
        self.position = match.end()
        self.peek()
        return match.group()

    def hex(self, num_digits: int) -> int:
        """Passes exactly `num_digits` hexadecimal digits and returns their number."""
        digits = self.text[self.position : self.position + num_digits]
        if not _HEX.fullmatch(digits):
            raise self.fault(f"expected {num_digits} hexadecimal digits")
        if len(digits) < num_digits:
            raise Ended
        self.position += num_digits
        return int(digits, 16)

    def fault(self, what: str) -> Malformed:
        return Malformed(f"{what} at character {self.position}")


def scan(read: Callable[[Reader], None], text: str) -> Scan:
    """What `read`, a dialect's grammar of a whole turn, finds in the prefix `text`."""
    reader, error = Reader(text), ""
    try:
        read(reader)
    except Ended:
        pass
    except Malformed as malformed:
        error = str(malformed)
    partial = PartialTurn(
        calls=tuple(reader.calls),
        in_call=reader.in_call,
        open_name=reader.open_name,
        open_arguments=reader.open_arguments,
        expects=reader.expects,
        open_list=reader.open_list,
        content="".join(reader.content).lstrip(),
        undecided=reader.undecided,
        error=error,
    )
    return Scan(tuple(reader.marks), partial)


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

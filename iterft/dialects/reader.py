"""The cursor every dialect reads with: a position in the text of a turn and what is settled before it.

A dialect is a function that moves a `Reader` over the text from left to right. Where the text ends it raises `Ended`,
where no continuation can be well-formed `Malformed`; `scan` turns both into values. Whatever a dialect settles must not
depend on text to the right of the position, so what a prefix settles stays settled. Not here: how calls are written,
and the values of arguments (`values`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from iterft.chat import THINK_CLOSE, THINK_OPEN, Mark, Scan
from iterft.types import PartialTurn, ToolCall

_SPACE = re.compile(r"[ \t\n\r]*")
_HEX = re.compile(r"[0-9a-fA-F]*")


class Ended(Exception):
    """The text ends here, and something well-formed may still follow."""


class Malformed(Exception):
    """No continuation of the text read so far is a well-formed turn; the message is one sentence."""


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
    no_more_calls: bool = False
    content: list[str] = field(default_factory=list)
    undecided: str = ""
    thought: str | None = None

    def mark(self, kind: str) -> None:
        self.marks.append(Mark(self.position, kind))

    def name(self, name: str, end: int | None = None) -> None:
        """The open call is settled to be of tool `name`, up to `end` (up to here, where none is given)."""
        self.open_name = name
        self.marks.append(Mark(self.position if end is None else end, "name"))

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

    def no_more(self, kind: str) -> None:
        """There will be no further call, which is settled up to here."""
        self.no_more_calls = True
        self.mark(kind)

    def think(self) -> int:
        """Passes white space and the think part a turn may begin with; how far one must read to know where it ends."""
        self.space()
        if self.text.startswith(THINK_OPEN, self.position):
            end = self.text.find(THINK_CLOSE, self.position)
            if end < 0:
                self.suspend(self.position)
            self.thought = self.text[self.position + len(THINK_OPEN) : end]
            self.position = end + len(THINK_CLOSE)
            self.mark("think")
            self.space()
            return self.position
        read = self.position + self.begun((THINK_OPEN,))
        if read == len(self.text):
            self.suspend(self.position)
        return read

    def begun(self, options: Collection[str]) -> int:
        """How many of the next characters begin one of `options`; all of one where it stands here."""
        return max(
            next(n for n in range(len(option), -1, -1) if self.text.startswith(option[:n], self.position))
            for option in options
        )

    def prose(self, decided: int) -> None:
        """Passes a turn of words: the character at `decided` settles that; undecided where the text ends there."""
        if decided == len(self.text):
            self.suspend(self.position)
        self.content.append(self.text[self.position :])
        self.position = decided + 1
        self.no_more("prose")

    def list_of_arguments(self, read_argument: Callable[[Reader], tuple[str, Any]], close: str) -> None:
        """Passes the arguments of the open call, commas between, and the character that closes them."""
        self.space()
        if self.peek() == close:
            self.take(close)
            return
        while True:
            self.argument(*read_argument(self))
            self.space()
            if self.take(f",{close}") == close:
                return
            self.expects = "argument"
            self.space()

    def list_of_calls(self, read_call: Callable[[Reader], None]) -> None:
        """Passes `[call, ...]`, which ends the turn; `read_call` passes one call."""
        self.take("[")
        self.open_list = True
        while True:
            self.space()
            read_call(self)
            self.space()
            if self.take(",]") == "]":
                break
            self.expects = "call"
        self.open_list = False
        self.no_more("end")
        self.space()
        if self.position < len(self.text):
            raise self.fault("expected nothing after the list of calls")

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
        no_more_calls=reader.no_more_calls,
        content="".join(reader.content).lstrip(),
        undecided=reader.undecided,
        error=error,
        thought=reader.thought,
    )
    return Scan(tuple(reader.marks), partial)

"""Text <-> tool calls: what a dialect is, and everything that does not depend on which one is spoken.

A dialect has one incremental reader, `scan`. Whole turns are parsed with the same reader (`parse`), so what the search
believes about half a turn and what the verifier sees of the finished one cannot disagree. Malformed text is a value
with an error, never an exception. Not here: tokenisation (the policies' business).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from iterft.types import Message, PartialTurn, Prompt, Tool, ToolCall, Turn

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
"""What encloses the part a turn of any dialect may begin with and that is neither content nor calls."""
_CALL_OPENINGS = frozenset("[{<")
"""One of these is in every call of every dialect."""
_THINK_PART = re.compile(rf"[ \t\n\r]*{THINK_OPEN}(.*?){THINK_CLOSE}", re.DOTALL)
THINK_FIRST = (
    f"Begin each reply with {THINK_OPEN}...{THINK_CLOSE}: which tool fits, which words give each value, what is "
    "missing. The calls, or your words, follow behind it."
)
"""What prompts say where a dialect thinks; after FunRL's template (arXiv 2508.05118)."""


@dataclass(frozen=True)
class Mark:
    """A structural boundary: the element of `kind` ends before character `end`.

    Kinds are "think", "name", "argument", "call" and "turn"; the last is never found by `scan`, as only the caller
    knows that nothing follows.
    """

    end: int
    kind: str


@dataclass(frozen=True)
class Scan:
    """What a prefix of a turn holds: its boundaries in order of `end`, and what is settled at its end.

    Every mark of a prefix is a mark of the whole text, and every mark of the whole that ends before the prefix does is
    one of the prefix (a bare number or word is complete only once the next character is seen). Errors stay.
    """

    marks: tuple[Mark, ...]
    partial: PartialTurn


@dataclass(frozen=True)
class Dialect:
    """A way of writing calls.

    system(tools)          the system text that shows the tools and how to call them
    render(calls)          the text of a turn that makes these calls ("" for none)
    scan(text)             reads any prefix of a turn
    observation(content)   how a tool's result is shown to the model, as the content of a user message
    grammar(tools)         turns of prose, or of calls of these tools as they are declared, in EBNF (`dialects.grammar`)
    jinja           the macro `iterft_calls(calls)`, which writes as `render` does, for the chat templates of exported
                    models; "" where there is none
    thinks          prompts ask for a think part, and turns that are learnt begin with one
    """

    name: str
    system: Callable[[Sequence[Tool]], str]
    render: Callable[[Sequence[ToolCall]], str]
    scan: Callable[[str], Scan]
    observation: Callable[[str], str]
    grammar: Callable[[Sequence[Tool]], str]
    jinja: str = ""
    thinks: bool = False


@lru_cache(maxsize=4096)
def read(dialect: Dialect, text: str) -> Scan:
    """What the dialect finds in `text`. Remembered, as turns are read again after each of their tokens, those of a tree
    begin alike, and most of laying them is reading."""
    return dialect.scan(text)


def parse(dialect: Dialect, text: str) -> Turn:
    """The whole turn `text`. Never raises: malformed text is a turn with an error."""
    return finish(dialect.scan(text).partial)


def call_in_text(dialects: Iterable[Dialect], text: str) -> tuple[Dialect, ToolCall] | None:
    """The first dialect that finds a call in the text of a reply, and that call; None where it is prose in all."""
    if _CALL_OPENINGS.isdisjoint(text):
        return None
    turns = ((dialect, parse(dialect, text)) for dialect in dialects)
    return next(((dialect, turn.calls[0]) for dialect, turn in turns if turn.calls), None)


def finish(partial: PartialTurn) -> Turn:
    """The turn that ends where `partial` stands: what was still undecided is prose, what was left open is an error."""
    error = partial.error or _left_open(partial)
    content = partial.content if error else (partial.content + partial.undecided)
    return Turn(content.strip(), () if error else partial.calls, error, partial.thought)


def think_span(text: str) -> tuple[int, int] | None:
    """Where in a turn the inside of its think part begins and ends; None where it has none, or leaves it open."""
    part = _THINK_PART.match(text)
    return part.span(1) if part else None


def think_part(thought: str) -> str:
    """The text of a think part, up to where the rest of the turn begins."""
    return f"{THINK_OPEN}{thought}{THINK_CLOSE}\n"


def asking_to_think(prompt: Prompt) -> Prompt:
    """The prompt with the wish for a think part behind its system text."""
    messages = list(prompt.messages)
    own = [_text(messages.pop(0))] if messages and messages[0]["role"] == "system" else []
    system = {"role": "system", "content": _joined([*own, THINK_FIRST], "\n\n")}
    return replace(prompt, messages=(system, *messages))


def plain_messages(dialect: Dialect, prompt: Prompt) -> list[dict[str, str]]:
    """The prompt as messages that any chat template can show: roles system, user, assistant; text content only.

    Tools go into the system message, after what it says already. Calls become text of the assistant, after its prose;
    results of tools become user messages, those in a row one message. ValueError on any other role.
    """
    messages = list(prompt.messages)
    plain: list[dict[str, str]] = []
    if prompt.tools:
        own = [_text(messages.pop(0))] if messages and messages[0]["role"] == "system" else []
        plain.append({"role": "system", "content": _joined([*own, dialect.system(prompt.tools)], "\n\n")})
    previous = ""
    for message in messages:
        role, content = role_of(message), _text(message)
        if role == "tool":
            shown = dialect.observation(content)
            if previous == "tool":
                plain[-1]["content"] += "\n" + shown
            else:
                plain.append({"role": "user", "content": shown})
        elif role == "assistant":
            calls = [ToolCall(call["name"], call["arguments"]) for call in message.get("tool_calls") or ()]
            plain.append({"role": role, "content": _joined([content, dialect.render(calls)], "\n")})
        else:
            plain.append({"role": role, "content": content})
        previous = role
    return plain


def role_of(message: Message) -> str:
    """ValueError on a role that no dialect knows."""
    role: str = message["role"]
    if role not in ("system", "user", "assistant", "tool"):
        raise ValueError(f"a message's role must be system, user, assistant or tool, not {role!r}")
    return role


def _left_open(partial: PartialTurn) -> str:
    if partial.in_call:
        return "the turn ends inside a call"
    if partial.expects:
        return f"the turn ends where another {partial.expects} must follow"
    if partial.open_list:
        return "the turn ends before the list of calls is closed"
    if partial.undecided.startswith(THINK_OPEN):
        return "the turn ends inside its think part"
    return ""


def _text(message: Message) -> str:
    return message.get("content") or ""


def _joined(parts: Sequence[str], separator: str) -> str:
    return separator.join(part for part in parts if part)

"""A dialect's turns as a grammar: calls of tools that exist, with parameters that exist and values of their types.

The text is EBNF as xgrammar reads it; who samples compiles it (`engine.constrained`). Calls are written the one way in
which the dialect renders them, their arguments in any order. A grammar lets through less than the dialect's reader
takes in: no prose that begins like a call or with "<", no other white space inside a call.

Looked at are names, `type`, `nullable`, `required`, `enum`, `const`, `items`, `properties`, `additionalProperties`,
`anyOf` and `oneOf`; not bounds, patterns and formats. Where nothing is declared any value will do. A value that is an
object holds any keys where none are listed, unless `additionalProperties` is false, else the listed ones alone. Left
open, as no grammar of this kind can say it: an object of which no keys are declared may repeat one. Not here: how calls
are read (the dialects).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from iterft.chat import THINK_CLOSE, THINK_OPEN

MAX_FREE_DEPTH = 8
"""Lists and objects of which nothing is declared nest this deep."""

MAX_FREE_ORDER = 6
"""More parameters than this come in the schema's order: any order takes a rule for each set still to be written."""

_SPACE = r"[ \t\n\r]*"
BEGINNING = f'{_SPACE} ("{THINK_OPEN}" thought "{THINK_CLOSE}" {_SPACE})?'
"""White space and the think part that a turn of any dialect may begin with."""

# Numbers are such as a float can hold (9.9e+307 is the largest power of ten). A unit is a character by its number,
# never half of one (a surrogate).
_FIXED = """unit ::= [0-9a-cA-Ce-fE-F] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}
integer ::= "-"? ("0" | [1-9] [0-9]{0,99})
number ::= integer ("." [0-9]{1,99})? | "-"? [0-9] ("." [0-9]{1,99})? [eE] exponent
exponent ::= [+-]? [0-9]{1,2} | [+-]? [12] [0-9]{2} | "+"? "30" [0-7] | "-3" [0-9]{2}"""


@dataclass(frozen=True, kw_only=True)
class Notation:
    """How a dialect writes values: the rules of a `string`, quotes included, and the text of a given value. Lists,
    objects and numbers look the same in all dialects.

    The rules recur instead of repeating a group: of such a rule xgrammar keeps the mask, inside of a repeated group of
    this kind it goes through the whole vocabulary for every token (300 ms instead of 0.01)."""

    strings: str
    literal: Callable[[Any], str]


@dataclass(frozen=True)
class Member:
    """A key with all that stands before its value, the rule of the value, and whether it must be there."""

    key: str
    value: str
    is_required: bool


class Rules:
    """The rules of a grammar in the making; equal ones are one."""

    def __init__(self, notation: Notation) -> None:
        self.notation = notation
        self.names: dict[str, str] = {}

    def define(self, body: str) -> str:
        """The name of a rule with this body."""
        return self.names.setdefault(body, f"rule_{len(self.names)}")

    def text(self, root: str) -> str:
        """The whole grammar; `root` is the body of the turn."""
        thought = f'thought ::= TagDispatch(loop_after_dispatch=false, excludes=("{THINK_CLOSE}"))'
        lines = [f"root ::= {root}", thought, self.notation.strings, _FIXED, *self.free_values()]
        return "\n".join([*lines, *(f"{name} ::= {body}" for body, name in self.names.items())])

    def free_values(self) -> list[str]:
        """The rules of any value, one for each depth."""
        plain = f"string | number | {self.choice([True, False, None])}"
        inner = [f"free_{depth + 1}" for depth in range(MAX_FREE_DEPTH)]
        bodies = [f"{plain} | {list_of(item)} | {object_of(item)}" for item in inner] + [plain]
        return [f"free_{depth} ::= {body}" for depth, body in enumerate(bodies)]

    def choice(self, values: Sequence[Any]) -> str:
        """One of the given values."""
        return any_of([quoted(self.notation.literal(value)) for value in values])

    def value(self, schema: object) -> str:
        """The rule of a value that fits the schema."""
        body = self.body(schema) if isinstance(schema, Mapping) else "free_0"
        return body if body.isidentifier() else self.define(body)

    def body(self, schema: Mapping[str, Any]) -> str:
        if schema.get("nullable") is True:
            return any_of([self.value({**schema, "nullable": False}), self.choice([None])])
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return self.choice(schema["enum"])
        if "const" in schema:
            return self.choice([schema["const"]])
        for key in ("anyOf", "oneOf"):
            if isinstance(schema.get(key), list) and schema[key]:
                return any_of([self.value(option) for option in schema[key]])
        declared = schema.get("type")
        if isinstance(declared, list) and declared:
            return any_of([self.value({**schema, "type": one}) for one in declared])
        match declared:
            case "string":
                return "string"
            case "integer":
                return "integer"
            case "number" | "float":
                return "number"
            case "boolean":
                return self.choice([True, False])
            case "null":
                return self.choice([None])
            case "array" | "tuple":
                return list_of(self.value(schema.get("items")))
            case "object" | "dict":
                return self.object(schema)
        return "free_0"

    def object(self, schema: Mapping[str, Any]) -> str:
        properties, others = schema.get("properties"), schema.get("additionalProperties")
        if not isinstance(properties, Mapping) or not properties:
            return quoted("{}") if others is False else object_of(self.value(others))
        members = self.members(schema, lambda name: f"{self.notation.literal(name)}: ")
        return f'"{{" {self.sequence(members, "}")}'

    def members(self, schema: Mapping[str, Any], key: Callable[[str], str]) -> list[Member]:
        """What an object schema lists; `key(name)` is what stands before the value."""
        properties, required = schema.get("properties"), schema.get("required")
        if not isinstance(properties, Mapping):
            return []
        required = required if isinstance(required, list | tuple) else ()  # draft 3 has true there
        return [Member(key(name), self.value(inner), name in required) for name, inner in properties.items()]

    def sequence(self, members: Sequence[Member], close: str) -> str:
        """The rule of what follows an opening bracket: members, each at most once, commas between, and `close`."""
        in_any_order = len(members) <= MAX_FREE_ORDER

        @cache
        def rest(left: tuple[Member, ...], comma: str) -> str:
            options = [] if any(member.is_required for member in left) else [quoted(close)]
            for at, member in enumerate(left):
                others = left[:at] + left[at + 1 :] if in_any_order else left[at + 1 :]
                options.append(f"{quoted(comma + member.key)} {member.value} {rest(others, ', ')}")
                if member.is_required and not in_any_order:
                    break
            return self.define(any_of(options))

        return rest(tuple(members), "")


def turn_of(calls: str, opening: str) -> str:
    """The root of a dialect whose turn is either calls or prose: `calls` begin with `opening`, prose with neither that
    nor "<". Without `calls`, as no tool can be called, it is prose."""
    prose = rf"[^ \t\n\r<\{opening}] [^\0]*"
    return f"{BEGINNING} ({any_of([calls, prose] if calls else [prose])})?"


def quoted(text: str) -> str:
    """The text as it stands, in EBNF."""
    return json.dumps(text, ensure_ascii=False)


def any_of(options: Sequence[str]) -> str:
    return f"({' | '.join(options)})"


def list_of(item: str) -> str:
    return f'"[" ({item} (", " {item})*)? "]"'


def object_of(value: str) -> str:
    return f'"{{" (string ": " {value} (", " string ": " {value})*)? "}}"'

"""What every reader reads with: JSON, tools, calls and ids. Whatever is wrong with a row is one `RowFault`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from iterft.json_schema import schema_faults
from iterft.readers.schema import parameters_schema
from iterft.types import Sample, Tool, ToolCall

Row = Mapping[str, Any]
Reader = Callable[[Row, str], list[Sample]]
"""(row, its number in the file) -> its samples, at least one. RowFault when the row breaks the form."""

NO_TOOLS = "no tools"
"""The reason of rows that may be well-formed but teach nothing about tools; they do not count as unreadable."""

_ARGUMENTS = ("arguments", "parameters", "input", "args")
_PARAMETERS = ("parameters", "input_schema", "inputSchema")
_MAX_SHOWN = 60


class RowFault(ValueError):
    """Why a row cannot be read: a reason to count by and a detail for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def parse_json(text: str) -> Any:
    """ValueError unless `text` is strict JSON (no NaN or Infinity) that can be written as UTF-8 again."""
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _refuse_lone_surrogates(value, text)
    return value


def decoded(value: Any, what: str) -> Any:
    """`value`, or the JSON in it where it is a string: published rows keep much of theirs in strings."""
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except ValueError as error:
        raise RowFault(f"{what} not JSON", f"{error} in {shown(value)}") from error


def json_at(text: str, start: int) -> tuple[Any, int]:
    """The tools that stand as JSON at `start` inside `text`, and where they end."""
    try:
        value, end = _DECODER.raw_decode(text, start)
        _refuse_lone_surrogates(value, text[start:end])
    except (ValueError, RecursionError) as error:
        raise RowFault("tools not JSON", f"{error} in {shown(text[start:])}") from error
    return value, end


def json_objects(text: str) -> list[Any]:
    """The tools that stand one after another in `text`, with nothing but white space and commas between."""
    objects, position = [], 0
    while position < len(text):
        value, position = json_at(text, position)
        objects.append(value)
        while position < len(text) and text[position] in " \t\r\n,":
            position += 1
    return objects


def row_id(row: Row, number: str) -> str:
    """The row's own id, else its number in the file."""
    own = row.get("id")
    return number if own is None or own == "" else str(own)


def source_of(row: Row, form: str) -> str:
    """What the row says it comes from, else its form."""
    return str(row.get("source") or form)


def read_tools(value: Any) -> tuple[Tool, ...]:
    """A list of tools, or a JSON string of one, each with a JSON schema, whatever vocabulary its types are in."""
    value = decoded(value or [], "tools")
    tools = [value] if isinstance(value, dict) else value
    if not isinstance(tools, list):
        raise RowFault("'tools' missing or not a list", shown(tools))
    if not tools:
        raise RowFault(NO_TOOLS, "the row shows none")
    return tuple(map(_published_tool, tools))


def read_tool(tool: Any) -> dict[str, Any]:
    """A tool as it is, without the "function" wrapping of OpenAI; its parameters must be a schema."""
    tool = _unwrapped(tool)
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str) or not tool["name"]:
        raise RowFault("a tool without a name", shown(tool))
    if not _is_schema(tool.get("parameters", {})):
        raise RowFault("a tool whose parameters are no schema", tool["name"])
    return tool


def read_call(call: Any) -> ToolCall:
    """A call as OpenAI wraps it or plain, its arguments (or Llama's parameters, Anthropic's input) an object, a JSON
    string of one, or missing."""
    call = _unwrapped(call)
    if not isinstance(call, dict) or not isinstance(call.get("name"), str) or not call["name"]:
        raise RowFault("a call without a name", shown(call))
    arguments = next((call[key] for key in _ARGUMENTS if call.get(key) is not None), None)
    arguments = {} if arguments is None or arguments == "" else decoded(arguments, "a call's arguments")
    if not isinstance(arguments, dict):
        raise RowFault("a call whose arguments are no object", call["name"])
    return ToolCall(call["name"], arguments)


def as_answer(call: ToolCall, tools: Sequence[Tool] = ()) -> ToolCall:
    """A call in the form of `Sample.answer`: each argument the list of its one accepted value. An optional argument of
    which its tool, one of `tools`, declares the default may also be left out where it has that value, and be written
    with it where it is left out."""
    defaults = _defaults(next((tool for tool in tools if tool["name"] == call.name), {}))
    arguments = {}
    for key, value in call.arguments.items():
        is_default = key in defaults and is_same(value, defaults[key])
        arguments[key] = [accept(value), ""] if is_default else [accept(value)]
    left_out = {key: ["", accept(value)] for key, value in defaults.items() if key not in arguments}
    return ToolCall(call.name, {**arguments, **left_out})


def is_same(one: Any, other: Any) -> bool:
    """Equality that tells true from 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def accept(value: Any) -> Any:
    """A single value in the form of `Sample.answer`: objects hold lists of alternatives one level deep."""
    if isinstance(value, dict):
        return {key: [item] for key, item in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [accept(item) for item in value]
    return value


def shown(value: Any) -> str:
    """The beginning of a value, for people."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."


def _defaults(tool: Tool) -> dict[str, Any]:
    """The default of each optional parameter that declares one, other than null and "", in a sound schema that it
    fits."""
    schema = tool.get("parameters") or {}
    required = schema.get("required") or ()
    return {
        name: inner["default"]
        for name, inner in (schema.get("properties") or {}).items()
        if name not in required and isinstance(inner, Mapping) and inner.get("default") not in (None, "")
        if not any(schema_faults(inner, name, schema))
    }


def _unwrapped(value: Any) -> Any:
    """What OpenAI wraps in {"type": "function", "function": ...}; anything else as it is."""
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        return value["function"]
    return value


def _published_tool(tool: Any) -> Tool:
    """In OpenAI's form, Anthropic's or that of MCP."""
    tool = _unwrapped(tool)
    if isinstance(tool, dict):
        parameters: Any = next((tool[key] for key in _PARAMETERS if tool.get(key)), {})
        schema = parameters_schema(parameters) if isinstance(parameters, dict) else parameters
        tool = {"name": tool.get("name"), "description": tool.get("description") or "", "parameters": schema}
    return read_tool(tool)


def _is_schema(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("properties", {}), dict):
        return False
    required = value.get("required", [])
    return isinstance(required, list) and all(isinstance(name, str) for name in required)


def _refuse_lone_surrogates(value: Any, text: str) -> None:
    """They cannot be written as UTF-8, hence the UnicodeEncodeError, which is a ValueError."""
    if "\\u" in text and ("\\ud" in text or "\\uD" in text):
        json.dumps(value, ensure_ascii=False).encode()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"{number} is no number that can be written again")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)

"""OpenAI's chat completions: our messages as a request, the server's reply as a message. Not here: the network.

A reply that is of no use is a sentence that says why, never an exception: it is asked for again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jsonschema import Draft202012Validator, ValidationError, validators
from jsonschema.exceptions import best_match

from iterft.chat import THINK_CLOSE
from iterft.json_schema import is_multiple
from iterft.readers.parts import RowFault, json_at, parse_json, read_call, shown
from iterft.types import Message, Tool

MAX_MESSAGE = 300
"""Characters of what a server says that are repeated in an error."""

MAX_REPEATED = 1000
"""Characters of a useless reply that are shown to the model again."""

_FENCED = re.compile(r"```[a-zA-Z]*\n(.*?)```", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f]")
_LENIENT = json.JSONDecoder(strict=False)
_UNREADABLE = re.compile("\N{REPLACEMENT CHARACTER}+")
_OPENING = re.compile(r"[{\[]")


def as_request(messages: Sequence[Message], tools: Sequence[Tool]) -> dict[str, Any]:
    """The part of a request that says what was said and what can be called. ValueError on a tool's result that follows
    no call of its own."""
    request: dict[str, Any] = {"messages": list(_messages(messages))}
    if tools:
        request["tools"] = [{"type": "function", "function": dict(tool)} for tool in tools]
    return request


def response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What asks a server to keep to the schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": dict(schema)}}


def with_schema_in_words(request: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The request for a server that cannot be asked to keep to the schema: its last message says so instead."""
    wish = f"Answer with one JSON value and nothing else. It must fit this JSON schema:\n{json.dumps(schema)}"
    *before, last = request["messages"]
    if last["role"] != "user":
        return {**request, "messages": [*before, last, {"role": "user", "content": wish}]}
    return {**request, "messages": [*before, {**last, "content": f"{last['content']}\n\n{wish}"}]}


def with_complaint(request: Mapping[str, Any], reply: Message, fault: str) -> dict[str, Any]:
    """The request that asks for a useful reply after `reply`."""
    complaint = f"That answer cannot be used: {fault}. Answer again, with the JSON value alone."
    said = reply["content"][:MAX_REPEATED] or "(nothing)"
    asked = [{"role": "assistant", "content": said}, {"role": "user", "content": complaint}]
    return {**request, "messages": [*request["messages"], *asked]}


def read_reply(payload: Any, schema: Mapping[str, Any] | None) -> tuple[Message, str]:
    """(the assistant's message, "" or why it is of no use). With a schema, the content of a useful one is JSON."""
    said: dict[str, Any] = {"role": "assistant", "content": ""}
    try:
        choice = payload["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content"), message.get("refusal")
        calls = list(map(read_call, message.get("tool_calls") or ()))
    except RowFault as error:
        return said, str(error)
    except (KeyError, IndexError, TypeError, AttributeError):
        return said, f"the reply holds no message ({server_says(payload)})"
    # Half a character, as a server may send one, could be written into no file and no request.
    said["content"] = _text_of(content).encode("utf-8", "replace").decode()
    ended = choice.get("finish_reason")
    if ended == "length":
        return said, "it was cut off, being longer than endpoint.max_tokens allows"
    if refusal or ended == "content_filter":
        return said, f"the model would not answer ({shown(refusal or ended)})"
    if not (calls and schema is None) and not said["content"].strip():
        return said, "it is empty"
    if schema is not None:
        answer, fault = read_answer(said["content"], schema)
        return {**said, "content": answer} if not fault else said, fault
    if calls:
        said["tool_calls"] = [{"name": call.name, "arguments": call.arguments} for call in calls]
    return said, ""


def _text_of(content: Any) -> str:
    """Of a message's content: as it is, or what its parts of text hold (parts of thinking stand beside them)."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text")
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def server_says(payload: Any) -> str:
    """The message in a reply that reports an error, in whichever of the usual places; else the reply's beginning."""
    for key in ("error", "message", "detail"):
        if isinstance(payload, dict) and payload.get(key):
            payload = payload[key]
    text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
    return " ".join(text.split())[:MAX_MESSAGE] or "nothing"


def read_answer(content: str, schema: Mapping[str, Any]) -> tuple[str, str]:
    """(the JSON value in the content, see `read_json`, written out strictly; "" or why there is none that fits)."""
    value, fault = read_json(content, schema)
    return "" if fault else json.dumps(value, ensure_ascii=False), fault


def read_json(content: str, schema: Mapping[str, Any]) -> tuple[Any, str]:
    """(the JSON value in the content, "" or why there is none that fits). A think part before it, a fence or words
    around it are passed over where the content is not JSON as a whole. Bytes in a row that were no characters count as
    one: grammars let half a surrogate pair pass as one, decoders replace each of its three bytes (xgrammar)."""
    content = _UNREADABLE.sub("\N{REPLACEMENT CHARACTER}", content)
    answer = content.rpartition(THINK_CLOSE)[2]
    fenced = _FENCED.search(answer)
    fault = ""
    for text in (answer, content, fenced[1] if fenced else ""):
        try:
            value = parse_answer(text)
        except ValueError as error:
            fault = fault or f"it is no JSON ({error})"
        else:
            return value, misfit(value, schema)
    for opening in _OPENING.finditer(answer):
        try:
            value, _ = json_at(answer, opening.start())
        except RowFault:
            continue
        return value, misfit(value, schema)
    return None, fault


def parse_answer(text: str) -> Any:
    """ValueError unless `text` is JSON. Control characters may stand in its strings as they are: grammars that servers
    keep to let them pass where the length of a string is bounded (vLLM with xgrammar)."""
    try:
        return parse_json(text)
    except ValueError:
        if not _CONTROL.search(text):
            raise
    try:
        return parse_json(json.dumps(_LENIENT.decode(text)))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _step_errors(validator: Any, step: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    """Of `multipleOf`: 19.99 is a multiple of 0.01, whatever binary fractions make of it."""
    if validator.is_type(value, "number") and step and not is_multiple(value, step):
        yield ValidationError(f"{value!r} is not a multiple of {step}")


_Validator = validators.extend(Draft202012Validator, {"multipleOf": _step_errors})


def misfit(value: Any, schema: Mapping[str, Any]) -> str:
    """Where and how the value departs from the JSON schema, in a few words; "" where it does not."""
    error = best_match(_Validator(schema).iter_errors(value))
    if error is None:
        return ""
    return f"{error.json_path}: {shown(error.message)}"


def _messages(messages: Sequence[Message]) -> Iterator[dict[str, Any]]:
    """Calls get ids by their place; results take those of the calls before them, in order."""
    count = 0
    open_ids: list[str] = []
    for message in messages:
        made = {"role": message["role"], "content": message.get("content") or ""}
        if message["role"] == "tool":
            if not open_ids:
                raise ValueError(f"a tool's result that follows no call of its own: {shown(made['content'])}")
            made["tool_call_id"] = open_ids.pop(0)
        else:
            open_ids = []
        if calls := message.get("tool_calls"):
            open_ids = [f"call{count + at:05d}" for at in range(len(calls))]  # nine letters and digits: Mistral's form
            count += len(calls)
            made["tool_calls"] = [
                {
                    "id": name,
                    "type": "function",
                    "function": {"name": call["name"], "arguments": json.dumps(call["arguments"], ensure_ascii=False)},
                }
                for name, call in zip(open_ids, calls, strict=True)
            ]
        yield made

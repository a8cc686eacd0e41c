"""Our own form, one decision a row:

    {"id", "messages", "tools": [{name, description, parameters}], "answer": [{"name", "arguments"}], "text", "source"}

An empty `answer` means that no call is right, `text` then holds the reply. `messages` is the prompt: roles system,
user, assistant (perhaps with `tool_calls`) and tool; where the calls have an `id` and the results a `tool_call_id`, the
results may come in any order. `kind`, `env_config` and `thought` (what a think part may say; `text` may begin with it
instead) may be there too. `accepted`, where it is there, is `answer` with the list of accepted values of each argument,
as in `types.Sample`; what is learnt is `answer`, as it is written. An empty `tools` is the writer's choice and is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from iterft.chat import THINK_CLOSE
from iterft.readers.conversation import parted, thought_in
from iterft.readers.parts import Row, RowFault, as_answer, is_same, read_tool, shown
from iterft.readers.results import in_order_of_calls
from iterft.types import Message, Prompt, Sample, ToolCall

_ROLES = ("system", "user", "assistant", "tool")


def read(row: Row, number: str) -> list[Sample]:
    for key in ("messages", "tools", "answer"):
        if not isinstance(row.get(key), list):
            raise RowFault(f"'{key}' missing or not a list", f"id {row.get('id')!r}")
    if row.get("id") in (None, ""):
        raise RowFault("'id' missing", f"row {number}")
    tools = tuple(map(read_tool, row["tools"]))
    given = tuple(map(_read_call, row["answer"]))
    answer = tuple(as_answer(call, tools) for call in given)
    if row.get("accepted") is not None:
        answer = _read_accepted(row["accepted"], given, row["id"])
    text, env_config = row.get("text") or "", row.get("env_config") or {}
    thought = row.get("thought") or ""
    if not isinstance(text, str) or not isinstance(env_config, dict):
        raise RowFault("'text' not a string or 'env_config' not an object", f"id {row['id']!r}")
    if not isinstance(thought, str) or THINK_CLOSE in thought:
        raise RowFault(f"'thought' not a string, or it holds {THINK_CLOSE}", f"id {row['id']!r}")
    if not row["messages"]:
        raise RowFault("a message without a role", f"id {row['id']!r}")
    for message in row["messages"]:
        _check_message(message, row["id"])
    if row["messages"][-1]["role"] == "assistant":
        raise RowFault(
            "'messages' ends with a turn of the assistant", f"id {row['id']!r}: it belongs in 'answer' or 'text'"
        )
    think_part, text = parted(text)
    return [
        Sample(
            id=str(row["id"]),
            prompt=Prompt(tuple(map(_without_think_part, in_order_of_calls(row["messages"]))), tools),
            answer=answer,
            text=text,
            source=str(row.get("source") or ""),
            kind=str(row.get("kind") or ""),
            env_config=env_config,
            thought=thought or thought_in(think_part),
        )
    ]


def _read_accepted(accepted: Any, answer: Sequence[ToolCall], name: Any) -> tuple[ToolCall, ...]:
    calls = tuple(map(_read_call, accepted)) if isinstance(accepted, list) else ()
    if [call.name for call in calls] != [call.name for call in answer]:
        raise RowFault("'accepted' does not go with 'answer'", f"id {name!r}")
    for call in calls:
        for parameter, values in call.arguments.items():
            if not isinstance(values, list) or not values:
                raise RowFault("'accepted' holds no list of values", f"id {name!r}: {call.name}, {parameter}")
            if not all(map(_is_alternative, values)):
                raise RowFault(
                    "'accepted' holds an object without the lists of its values",
                    f'id {name!r}: {call.name}, {parameter}; write {{"city": ["Oslo"]}} for {{"city": "Oslo"}}',
                )
    for call, own in zip(calls, answer, strict=True):
        for parameter in {**call.arguments, **own.arguments}:
            if not _is_among(own.arguments.get(parameter, ""), call.arguments.get(parameter, [])):
                raise RowFault("'answer' is not among 'accepted'", f"id {name!r}: {call.name}, {parameter}")
    return tuple(
        ToolCall(call.name, _led_by(own.arguments, call.arguments, _is_alike))
        for call, own in zip(calls, answer, strict=True)
    )


def _is_alternative(value: Any) -> bool:
    """Whether the objects in it, one level deep, hold lists of values, none empty."""
    if _holds_objects(value):
        return all(map(_is_alternative, value))
    return not isinstance(value, dict) or all(isinstance(each, list) and each for each in value.values())


def _is_among(value: Any, alternatives: Sequence[Any]) -> bool:
    """Whether a plain value ("": it is left out) is one of these, whose objects hold lists of values."""
    return any(_is_alike(value, each) for each in alternatives)


def _is_alike(value: Any, alternative: Any) -> bool:
    if isinstance(value, dict) and isinstance(alternative, dict):
        return all(
            any(is_same(value.get(key, ""), each) for each in alternative.get(key, ()))
            for key in {**value, **alternative}
        )
    if _holds_objects(value) and _holds_objects(alternative) and len(value) == len(alternative):
        return all(map(_is_alike, value, alternative))
    return is_same(value, alternative)


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _led_by(
    own: Mapping[str, Any], accepted: Mapping[str, Sequence[Any]], is_that: Callable[[Any, Any], bool]
) -> dict[str, list[Any]]:
    """The accepted values of arguments (or fields of an object), what a plain call writes in front, in its order. What
    it leaves out and nothing is accepted for is not among them. `is_that`: whether a plain value is an accepted one."""
    kept = {key: values for key, values in accepted.items() if key in own or len(values) > 1}
    return {key: _with_first(own.get(key, ""), kept[key], is_that) for key in {**own, **kept}}


def _with_first(value: Any, alternatives: Sequence[Any], is_that: Callable[[Any, Any], bool]) -> list[Any]:
    at = next(at for at, each in enumerate(alternatives) if is_that(value, each))
    first = value if is_same(value, alternatives[at]) else _as_alternative(value, alternatives[at])
    return [first, *alternatives[:at], *alternatives[at + 1 :]]


def _as_alternative(value: Any, alternative: Any) -> Any:
    """The value as it is written, its objects with all that the alternative accepts in them."""
    if isinstance(value, dict):
        return _led_by(value, alternative, is_same)
    if _holds_objects(value):
        return list(map(_as_alternative, value, alternative))
    return value


def _without_think_part(message: Message) -> Message:
    if message["role"] != "assistant" or not message.get("content"):
        return message
    think_part, content = parted(message["content"])
    return {**message, "content": content} if think_part else message


def _check_message(message: Any, name: Any) -> None:
    if not isinstance(message, dict) or "role" not in message:
        raise RowFault("a message without a role", f"id {name!r}")
    if message["role"] not in _ROLES:
        raise RowFault("unknown role", f"id {name!r}: {shown(message['role'])}")
    if not isinstance(message.get("content") or "", str):
        raise RowFault("a message whose content is no text", f"id {name!r}")
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise RowFault("'tool_calls' not a list", f"id {name!r}")
    for call in calls:
        _read_call(call)


def _read_call(call: Any) -> ToolCall:
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise RowFault("a call without a name", shown(call))
    if not isinstance(call.get("arguments"), dict):
        raise RowFault("a call whose arguments are no object", call["name"])
    return ToolCall(call["name"], call["arguments"])

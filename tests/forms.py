"""Conversations, and writers of them in every form the readers know: what is written must be read back equal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iterft.dialects.hermes import HERMES
from iterft.dialects.pythonic import PYTHONIC
from iterft.rollout import reference_calls
from iterft.synth.tasks import generate
from iterft.types import Message, Sample, Tool, ToolCall


@dataclass(frozen=True)
class Conversation:
    """Messages as `chat.plain_messages` reads them, the assistant's turns among them."""

    tools: tuple[Tool, ...]
    messages: tuple[Message, ...]

    @property
    def num_decisions(self) -> int:
        return sum(message["role"] == "assistant" for message in self.messages)


def said(role: str, content: str, *calls: ToolCall) -> Message:
    made = [{"name": call.name, "arguments": call.arguments} for call in calls]
    return {"role": role, "content": content} | ({"tool_calls": made} if made else {})


def tool(name: str, required: Sequence[str] = (), **properties: Any) -> Tool:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"name": name, "description": f'Does {name}: "it", isn\'t it? Ça va.', "parameters": schema}


def from_sample(sample: Sample) -> Conversation:
    last = said("assistant", "" if sample.answer else sample.text, *reference_calls(sample))
    return Conversation(sample.prompt.tools, (*sample.prompt.messages, last))


TEXT, WHOLE, TRUTH = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
TEXTS = {"type": "array", "items": {"type": "string"}}
PLACE = {"type": "object", "properties": {"city": TEXT, "zip": WHOLE}}
TRIP = tool("trip.book", ["legs"], legs={"type": "array", "items": PLACE}, note=TEXT, tags=TEXTS)
NOTE = tool("take_note", ["text"], text=TEXT, urgent=TRUTH)
LOOK = tool("look_up", ["word"], word=TEXT, limit=WHOLE, weight={"type": "number"})
TOOLS = (TRIP, NOTE, LOOK)
LEGS = [{"city": "Zürich", "zip": 8001}, {"city": "東京", "zip": 1000001}]

MULTI_TURN = (
    Conversation(
        TOOLS,
        (
            said("user", "Look up 'naïve' and “limerence”."),
            said("assistant", "", ToolCall("look_up", {"word": "naïve"}), ToolCall("look_up", {"word": "limerence"})),
            said("tool", '{"found": ["without guile"]}'),
            said("tool", '{"found": []}'),
            said("assistant", "One was found: without guile."),
            said("user", "Note it, it's urgent."),
            said("assistant", "", ToolCall("take_note", {"text": 'it\'s "naïve"', "urgent": True})),
            said("tool", '{"ok": true}'),
            said("assistant", "Noted."),
        ),
    ),
    Conversation(
        TOOLS,
        (
            said("user", "Book a trip: Zürich, then 東京."),
            said("assistant", "With which note?"),
            said("user", "Window seat, if there's one.\nAnd quiet."),
            said(
                "assistant", "", ToolCall("trip.book", {"legs": LEGS, "note": "Window seat\n\\ quiet", "tags": ["a"]})
            ),
        ),
    ),
    Conversation(
        TOOLS,
        (
            said("user", "Hello"),
            said("assistant", "Hello! How can I help?"),
            said("user", "look up weight 0.5"),
            said("assistant", "", ToolCall("look_up", {"word": "weight", "weight": 0.5, "limit": 3})),
            said("tool", '{"error": "no such word"}'),
            said("assistant", "", ToolCall("look_up", {"word": "waits", "limit": -1})),
            said("tool", '{"found": ["to wait"]}'),
            said("assistant", "It means: to wait."),
        ),
    ),
)
NESTED = tuple(
    Conversation(
        (tool(f"do.{kind}", ["value"], value=schema), NOTE), (said("user", f"Do {kind}."), said("assistant", *it))
    )
    for kind, schema, it in (
        ("place", PLACE, ("", ToolCall("do.place", {"value": {"city": "Åbo", "zip": 20100}}))),
        ("list", TEXTS, ("", ToolCall("do.list", {"value": ["a", "it's", 'say "x"']}))),
        ("empty", TEXTS, ("", ToolCall("do.empty", {"value": []}))),
        ("truth", TRUTH, ("", ToolCall("do.truth", {"value": False}))),
        ("nothing", {"type": "object"}, ("", ToolCall("do.nothing", {"value": {}}))),
        ("prose", TEXT, ("I can't: [see the list] of {tools}.",)),
    )
)
TASKS = tuple(map(from_sample, generate(60, 5, "train")))
CONVERSATIONS = (*MULTI_TURN, *NESTED, *TASKS)


def types_renamed(schema: Any, names: Mapping[str, str]) -> Any:
    """The schema in another vocabulary."""
    if isinstance(schema, dict):
        renamed = {key: types_renamed(value, names) for key, value in schema.items()}
        return renamed | (
            {"type": names.get(schema["type"], schema["type"])} if isinstance(schema.get("type"), str) else {}
        )
    return [types_renamed(item, names) for item in schema] if isinstance(schema, list) else schema


def functions(conversation: Conversation) -> list[dict[str, Any]]:
    return [{"type": "function", "function": dict(tool)} for tool in conversation.tools]


def written(dialect: Any, message: Message) -> str:
    calls = [ToolCall(call["name"], call["arguments"]) for call in message.get("tool_calls", ())]
    return dialect.render(calls) if calls else message["content"]


def own(conversation: Conversation) -> dict[str, Any]:
    """The last decision only: in our own form a row is one."""
    (*before, last) = conversation.messages
    assert last["role"] == "assistant"
    answer = last.get("tool_calls", [])
    return {"messages": before, "tools": list(conversation.tools), "answer": answer, "text": last["content"]}


def openai(conversation: Conversation) -> dict[str, Any]:
    def call(number: int, call: Mapping[str, Any]) -> dict[str, Any]:
        function = {"name": call["name"], "arguments": json.dumps(call["arguments"])}
        return {"id": f"call_{number}", "type": "function", "function": function}

    messages = []
    for message in conversation.messages:
        made = dict(message)
        if calls := message.get("tool_calls"):
            made |= {"content": None, "tool_calls": [call(number, one) for number, one in enumerate(calls)]}
        messages.append(made)
    return {"messages": messages, "tools": functions(conversation)}


def sharegpt(conversation: Conversation) -> dict[str, Any]:
    names = {"user": "human", "assistant": "gpt", "tool": "observation"}
    turns = []
    for message in conversation.messages:
        calls = message.get("tool_calls")
        made = json.dumps(calls[0] if calls and len(calls) == 1 else calls, ensure_ascii=False)
        turns.append(
            {"from": "function_call", "value": made}
            if calls
            else {"from": names[message["role"]], "value": message["content"]}
        )
    return {"conversations": turns, "tools": json.dumps(conversation.tools)}


def hermes(conversation: Conversation) -> dict[str, Any]:
    names = {"user": "human", "assistant": "gpt", "tool": "tool"}
    system = (
        "Functions stand within <tools></tools> tags.\n"
        f"<tools>\n{json.dumps(functions(conversation))}\n</tools>\nCall within <tool_call></tool_call> tags:\n"
        '<tool_call>\n{"name": <function-name>, "arguments": <args-dict>}\n</tool_call>'
    )
    turns = [{"from": "system", "value": system}]
    for message in conversation.messages:
        text = written(HERMES, message)
        if message["role"] == "tool":
            text = f"<tool_response>\n{text}\n</tool_response>"
            if turns[-1]["from"] == "tool":
                turns[-1]["value"] += "\n" + text
                continue
        turns.append({"from": names[message["role"]], "value": text})
    return {"conversations": turns, "tools": json.dumps(functions(conversation))}


def toolace(conversation: Conversation) -> dict[str, Any]:
    tools = types_renamed(list(conversation.tools), {"object": "dict", "number": "float"})
    tools = [{**tool, "required": None} for tool in tools]
    system = (
        "You compose functions. These may be invoked:\n"
        f"{json.dumps(tools, ensure_ascii=False)}\nWrite [func1(name=value, name2=value2...), func2(params)]\n"
    )
    turns = [{"from": message["role"], "value": written(PYTHONIC, message)} for message in conversation.messages]
    return {"system": system, "conversations": turns}


def glaive(conversation: Conversation) -> dict[str, Any]:
    chat = ""
    for message in conversation.messages:
        calls = message.get("tool_calls", ())
        made = " ".join(
            f'<functioncall> {{"name": {json.dumps(call["name"])}, "arguments": '
            + "'"
            + json.dumps(call["arguments"]).replace("'", "\\'")
            + "'}"
            for call in calls
        )
        speaker = {"user": "USER", "assistant": "ASSISTANT", "tool": "FUNCTION RESPONSE"}[message["role"]]
        end = " <|endoftext|>" if speaker == "ASSISTANT" else ""
        chat += f"{speaker}: {made or message['content']}{end}\n\n\n"
    shown = "\n\n".join(json.dumps(tool, indent=4) for tool in conversation.tools)
    return {"system": f"SYSTEM: You may use these functions if required -\n{shown}\n", "chat": chat}


def xlam(conversation: Conversation) -> dict[str, Any]:
    """Of a conversation of one request."""
    asked, answered = conversation.messages
    tools = [{**tool, "parameters": flat(tool["parameters"])} for tool in conversation.tools]
    answers = json.dumps(answered["tool_calls"]) if "tool_calls" in answered else answered["content"]
    return {"query": asked["content"], "tools": json.dumps(tools), "answers": answers}


def flat(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as xLAM writes them."""
    names = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "object": "Dict[str, Any]"}
    made = {}
    for name, parameter in schema["properties"].items():
        kind = names.get(parameter["type"], "list")
        rest = {key: value for key, value in parameter.items() if key != "type"}
        if parameter["type"] == "array" and parameter["items"].keys() == {"type"}:
            kind = f"List[{names[rest.pop('items')['type']]}]"
        made[name] = {"type": kind if name in schema["required"] else f"{kind}, optional", **rest}
    return made


def is_one_request(conversation: Conversation) -> bool:
    return [message["role"] for message in conversation.messages] == ["user", "assistant"]


WRITERS: Mapping[str, Callable[[Conversation], dict[str, Any]]] = {
    writer.__name__: writer for writer in (own, openai, xlam, glaive, hermes, sharegpt, toolace)
}


def suitable(form: str) -> list[Conversation]:
    return [conversation for conversation in CONVERSATIONS if form != "xlam" or is_one_request(conversation)]

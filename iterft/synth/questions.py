"""What a judge is asked about a sample, and in what form it answers. The wording is in `prompts/judge/`.

ToolACE's model layer asks several experts about one aspect each (arXiv 2409.00920); so do we, with the
sample before the question, so that a server that keeps prefixes reads the sample once. Not here: what follows from the
answers (`judge`).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from iterft.rollout import reference_calls
from iterft.tool_list import describe_tools
from iterft.types import Message, Prompt, Sample, Tool

PROMPTS = Path(__file__).parent / "prompts" / "judge"

NOT_RECORDED = "(not recorded)"


@dataclass(frozen=True)
class Question:
    """`reason`: what samples that fail are counted under. `concerns`: whether it is asked about a sample at all.
    `is_mendable`: whether another reference would help."""

    prompt: str
    reason: str
    concerns: Callable[[Sample], bool]
    is_mendable: bool


def has_results(sample: Sample) -> bool:
    return any(message["role"] == "tool" for message in sample.prompt.messages)


def states_values(sample: Sample) -> bool:
    return bool(sample.answer or sample.text)


QUESTIONS = (
    Question("results.txt", "result does not fit its tool", has_results, is_mendable=False),
    Question("task.txt", "task not completed", lambda sample: True, is_mendable=True),
    Question("values.txt", "hallucinated value", states_values, is_mendable=True),
)
"""In the order in which they are asked: first what nothing can mend."""

STRING = {"type": "string"}


def object_schema(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """Of an object with just these fields."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


VERDICT = object_schema(reasoning=STRING, verdict={"enum": ["right", "wrong"]}, fault=STRING)
NEED = object_schema(reasoning=STRING, call_is_due={"type": "boolean"})


def about(sample: Sample, question: Question) -> list[Message]:
    """Asks for a `VERDICT` on the reference."""
    return _asked(setting(sample.prompt), _turn(sample), _prompt(question.prompt))


def about_need(sample: Sample) -> list[Message]:
    """Asks for `NEED`: whether a call is due, without showing the reference."""
    return _asked(setting(sample.prompt), _prompt("need.txt"))


def for_another(sample: Sample, fault: str) -> list[Message]:
    """Asks for another reference, in the form of `turn_schema`."""
    remark = f"<remark>\n{fault}\n</remark>"
    return _asked(setting(sample.prompt), _turn(sample), remark, _prompt("regenerate.txt"))


def turn_schema(tools: tuple[Tool, ...]) -> dict[str, Any]:
    """The form of a turn that may call these tools: what each requires is part of it."""
    return object_schema(reasoning=STRING, calls=calls_schema(tools), reply=STRING)


def calls_schema(tools: tuple[Tool, ...]) -> dict[str, Any]:
    """The form of a list of calls of these tools."""
    calls = [object_schema(name={"const": tool["name"]}, arguments=arguments_schema(tool)) for tool in tools]
    return {"type": "array", "items": {"anyOf": calls}} if calls else {"type": "array", "maxItems": 0}


def arguments_schema(tool: Tool) -> dict[str, Any]:
    """The schema of a tool's arguments as part of another one: any object where the tool's own is no valid JSON schema
    or refers to itself. A tool that lists its parameters takes no others."""
    parameters = dict(tool.get("parameters") or {})
    if parameters.get("type") != "object" or not is_usable(parameters):
        return {"type": "object"}
    return {"additionalProperties": not parameters.get("properties"), **parameters}


def is_usable(schema: Mapping[str, Any]) -> bool:
    """Whether it can be part of another schema."""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError:
        return False
    return '"$ref"' not in json.dumps(schema)


def _asked(*parts: str) -> list[Message]:
    return [{"role": "system", "content": _prompt("system.txt")}, {"role": "user", "content": "\n\n".join(parts)}]


def setting(prompt: Prompt) -> str:
    """The tools and the conversation, to be judged or to be gone on with."""
    lines = "\n".join(json.dumps(dict(message), ensure_ascii=False) for message in prompt.messages)
    tools = describe_tools(prompt.tools) or "none"
    return f"<tools>\n{tools}\n</tools>\n\n<conversation>\n{lines}\n</conversation>"


def _turn(sample: Sample) -> str:
    """The reference: of each argument the first accepted value."""
    calls = [{"name": call.name, "arguments": call.arguments} for call in reference_calls(sample)]
    turn = {"calls": calls} if calls else {"calls": [], "reply": sample.text or NOT_RECORDED}
    return f"<turn>\n{json.dumps(turn, ensure_ascii=False)}\n</turn>"


@functools.cache
def _prompt(name: str) -> str:
    return (PROMPTS / name).read_text(encoding="utf-8").strip()

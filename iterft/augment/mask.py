"""Names that say nothing: tools and parameters are called by random strings, so that descriptions must be read.

After Hammer (arXiv 2410.04587, section 3), which found that models go by names and fail where conventions differ.
Renamed alike are the list of tools, the reference and earlier calls in the messages; parameters of objects inside
parameters too. A tool or a parameter that nothing but its name describes keeps it. What is said stays: requests,
descriptions, results of tools, calls of tools that are not in the list.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from string import ascii_lowercase, digits
from typing import Any

from iterft.augment.lists import ToolGroup
from iterft.types import Message, Prompt, Sample, Tool, ToolCall

CHARACTERS = ascii_lowercase + digits
HEADS = [letter + digit for letter in ascii_lowercase for digit in digits]
"""Names begin so: legal in every dialect, and no word of Python or JSON has a digit in second place."""
TAILS = [first + second + third for first in CHARACTERS for second in CHARACTERS for third in CHARACTERS]
NUM_TAILS = len(TAILS)
NUM_NAMES = len(HEADS) * NUM_TAILS

LINKING = frozenset(
    ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "$ref", "dependencies", "dependentRequired"]
).union(["dependentSchemas", "patternProperties", "propertyNames"])
"""An object schema with one of these may name its parameters in more places than we rename; they keep their names."""
VALUES = ("default", "const", "enum", "example", "examples")

Names = Mapping[str, tuple[str, "Names"]]
"""Old name of a parameter -> its new name and the names inside it."""
NO_NAMES: Names = {}


@dataclass(frozen=True)
class Mask:
    """A tool under its new name, and the new names of its parameters."""

    tool: Tool
    parameters: Names


def masked(group: ToolGroup, rng: random.Random) -> ToolGroup | None:
    """The group with one mask for all its samples; None when no name can be hidden or two tools have one name."""
    own = {tool["name"] for tool in group.tools}
    fresh = (name for name in fresh_names(rng) if name not in own)
    masks = {tool["name"]: mask_of(tool, fresh) for tool in group.tools}
    shown = tuple(mask.tool for mask in masks.values())
    if len(masks) < len(group.tools) or shown == group.tools:
        return None
    samples = [masked_sample(sample, masks) for sample in group.samples]
    return ToolGroup(samples, shown, f"{group.changes}+masked")


def fresh_names(rng: random.Random) -> Iterator[str]:
    """Names, each once: a walk through all there are, from a random one in random strides."""
    number, stride = rng.randrange(NUM_NAMES), rng.randrange(1, NUM_NAMES)
    while math.gcd(stride, NUM_NAMES) > 1:
        stride += 1
    while True:
        yield HEADS[number // NUM_TAILS] + TAILS[number % NUM_TAILS]
        number = (number + stride) % NUM_NAMES


def mask_of(tool: Tool, fresh: Iterator[str]) -> Mask:
    masked = {**tool, "name": next(fresh) if is_described(tool) else tool["name"]}
    if "parameters" not in tool:
        return Mask(masked, NO_NAMES)
    masked["parameters"], names = masked_schema(tool["parameters"], fresh)
    return Mask(masked, names)


def masked_schema(schema: Any, fresh: Iterator[str]) -> tuple[Any, Names]:
    """The schema of an object with its parameters renamed, of an array with those of its items; and the new names."""
    if not isinstance(schema, dict) or not LINKING.isdisjoint(schema):
        return schema, NO_NAMES
    names: Names
    if isinstance(schema.get("properties"), dict):
        shown, names = masked_properties(schema["properties"], fresh)
        result = {**schema, "properties": shown}
        if isinstance(schema.get("required"), list):
            result["required"] = [names[key][0] if key in names else key for key in schema["required"]]
    elif "items" in schema:
        items, names = masked_schema(schema["items"], fresh)
        result = {**schema, "items": items}
    else:
        return schema, NO_NAMES
    for key in VALUES:
        if key in result:
            result[key] = renamed(result[key], names)
    return result, names


def masked_properties(properties: Mapping[str, Any], fresh: Iterator[str]) -> tuple[dict[str, Any], Names]:
    shown: dict[str, Any] = {}
    names: dict[str, tuple[str, Names]] = {}
    hidden = (name for name in fresh if name not in properties)
    for key, schema in properties.items():
        name, inside = next(hidden) if is_described(schema) else key, NO_NAMES
        if isinstance(schema, dict) and ("properties" in schema or "items" in schema):
            schema, inside = masked_schema(schema, fresh)
        shown[name] = schema
        names[key] = name, inside
    return shown, names


def is_described(tool_or_schema: Any) -> bool:
    """Whether more than a name says what it is: a description, or the values that there are."""
    if not isinstance(tool_or_schema, Mapping):
        return False
    return bool(str(tool_or_schema.get("description") or "").strip() or tool_or_schema.get("enum"))


def renamed(value: Any, names: Names) -> Any:
    """A value with the keys of its objects renamed. Serves arguments, plain or accepted: lists of alternatives are
    passed through like any other list."""
    if not names:
        return value
    if isinstance(value, Mapping):
        return {
            names[key][0] if key in names else key: renamed(item, names[key][1]) if key in names else item
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [renamed(item, names) for item in value]
    return value


def masked_sample(sample: Sample, masks: Mapping[str, Mask]) -> Sample:
    """The sample with its earlier calls and its reference in the words of the masks; its list is left to the group."""
    return replace(
        sample,
        prompt=Prompt(tuple(masked_message(message, masks) for message in sample.prompt.messages), sample.prompt.tools),
        answer=tuple(
            ToolCall(masks[call.name].tool["name"], renamed(call.arguments, masks[call.name].parameters))
            if call.name in masks
            else call
            for call in sample.answer
        ),
    )


def masked_message(message: Message, masks: Mapping[str, Mask]) -> Message:
    """Earlier calls, and the name under which a result is given."""
    if message.get("name") in masks:
        message = {**message, "name": masks[message["name"]].tool["name"]}
    calls = message.get("tool_calls")
    return {**message, "tool_calls": [masked_call(call, masks) for call in calls]} if calls else message


def masked_call(call: Mapping[str, Any], masks: Mapping[str, Mask]) -> Mapping[str, Any]:
    mask = masks.get(call["name"])
    if mask is None:
        return call
    return {**call, "name": mask.tool["name"], "arguments": renamed(call["arguments"], mask.parameters)}

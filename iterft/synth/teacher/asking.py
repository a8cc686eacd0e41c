"""How a teacher is asked: material between tags first, then what is wanted of it; it answers in a form."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iterft.journal import digest_of
from iterft.protocols import ChatModel
from iterft.tool_list import describe_tools
from iterft.types import Tool

TEXT = {"type": "string", "maxLength": 800}
WORDS = {"type": "string", "maxLength": 80}
"""What is said in a message, and a few words: a model that finds no end is stopped where it has to be."""

PROMPTS = Path(__file__).parent.parent / "prompts" / "teacher"


def ask(model: ChatModel, prompt: str, material: Mapping[str, str], schema: Mapping[str, Any]) -> Any:
    """The answer to `prompts/teacher/<prompt>.txt`, which fits the schema. `material` by tag; what is empty is left
    out. ChatFault when this came to nothing."""
    parts = [f"<{tag}>\n{text}\n</{tag}>" for tag, text in material.items() if text]
    messages = [
        {"role": "system", "content": prompt_text("system")},
        {"role": "user", "content": "\n\n".join([*parts, prompt_text(prompt)])},
    ]
    return json.loads(model.chat(messages, (), schema)["content"])


@functools.cache
def prompt_text(name: str) -> str:
    return (PROMPTS / f"{name}.txt").read_text(encoding="utf-8").strip()


def asked_with(model: ChatModel) -> dict[str, Any]:
    """What answers depend on besides the requests' material."""
    names = sorted(path.stem for path in PROMPTS.glob("*.txt"))
    return {"teacher": model.name, "prompts": digest_of(map(prompt_text, names))}


@functools.cache
def choices(name: str) -> Mapping[str, str]:
    """A file of lines `key: text`."""
    lines = (line.partition(": ") for line in prompt_text(name).splitlines() if line)
    return {key: text for key, _, text in lines}


def told_tools(tools: Sequence[Tool]) -> str:
    return describe_tools(tools) or "none"


def list_schema(items: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Of a list with just so many items."""
    return {**listed(items, number), "minItems": number}


def listed(items: Mapping[str, Any], most: int) -> dict[str, Any]:
    """Of a list with so many items at most."""
    return {"type": "array", "items": dict(items), "maxItems": most}

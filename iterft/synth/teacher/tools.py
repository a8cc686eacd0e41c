"""New tools by a teacher: each written from a part of the context tree and an example out of a growing buffer, with one
diversity indicator told (ToolACE's TSS, arXiv 2409.00920).

What it writes is a definition in a form of its own, made into a JSON schema here; definitions are refused as those of
users are, with the field that is wrong, and near duplicates are dropped.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from iterft.augment.pool import bare
from iterft.protocols import ChatFault
from iterft.synth.evolve import distinctive_text
from iterft.synth.near import NearDuplicates
from iterft.synth.questions import object_schema
from iterft.synth.spoken import SpokenTool
from iterft.synth.stock import spoken_of
from iterft.synth.teacher.answers import Answers
from iterft.synth.teacher.asking import TEXT, WORDS, ask, choices, listed
from iterft.synth.teacher.tree import Subtree, Tree, merged, read_branches, subtree
from iterft.threads import side_by_side
from iterft.toolsets.parts import Definition, Refusal, define

NEAR_DUPLICATE, TAKEN = "near duplicate", "name taken"
_TRIES_PER_TOOL = 4
_PLAIN = ("string", "integer", "number", "boolean")
_PATH = re.compile(r"[\w.\[\]]+")

_FIELD = object_schema(name=WORDS, type={"enum": [*_PLAIN]}, description=TEXT, required={"type": "boolean"})
_PARAMETER = object_schema(
    name=WORDS,
    type={"enum": [*_PLAIN, "date", "date-time", "email", "array", "object"]},
    description=TEXT,
    required={"type": "boolean"},
    enum=listed(WORDS, 8),
    items={"enum": [*_PLAIN, "object"]},
    fields=listed(_FIELD, 4),
)
_RESULT = object_schema(name=WORDS, type={"enum": [*_PLAIN]})
DEFINITION = object_schema(name=WORDS, description=TEXT, parameters=listed(_PARAMETER, 6), returns=listed(_RESULT, 5))
"""How the teacher writes a tool: `enum` [] where everything goes, `items` of arrays, `fields` of objects only."""


@dataclass(frozen=True)
class Written:
    """`dropped`: what did not become a tool, by reason."""

    tools: Sequence[SpokenTool]
    dropped: Counter[str]


@dataclass(frozen=True)
class Brief:
    """What a tool is written from. `indicator`: of `prompts/teacher/indicators.txt`, the operator that it counts as."""

    part: Subtree
    example: Definition | None
    indicator: str
    scope: str


def grown_tree(pieces: Sequence[str], answers: Answers, dropped: Counter[str]) -> Tree:
    """The tree of all pieces of documents; what came to nothing is counted. ValueError when that is all."""

    def read(at: int) -> list[tuple[str, list[str]]] | str:
        try:
            return read_branches(pieces[at], answers.within(f"tree {at}"))
        except ChatFault as fault:
            return f"a piece of a document (teacher: {fault.reason})"

    found = side_by_side(range(len(pieces)), read, answers.model.concurrency, lambda at, branches: None)
    dropped.update(each for each in found if isinstance(each, str))
    tree = merged(branch for each in found if not isinstance(each, str) for branch in each)
    if not tree:
        raise ValueError(f"--documents: the teacher found no domain in {len(pieces)} pieces of them ({dict(dropped)})")
    return tree


def write_tools(
    tree: Tree, examples: Sequence[Definition], number: int, seed: int, answers: Answers, barred: frozenset[str]
) -> Written:
    """So many new tools, or fewer where nothing new comes. `barred`: names, without case and signs, that none may
    have."""
    buffer = list(examples)
    names = {bare(each.name) for each in examples} | barred
    texts = NearDuplicates()
    for each in examples:
        texts.add(distinctive_text(each))
    made: list[SpokenTool] = []
    dropped: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    num_begun = 0
    while len(made) < number and num_begun < _TRIES_PER_TOOL * number:
        width = min(answers.model.concurrency, number - len(made))
        briefs = []
        for at in range(num_begun, num_begun + width):
            random = Random(f"tool {seed} {at}")
            part = subtree(tree, counts, random)
            example = random.choice(buffer) if buffer else None
            briefs.append(Brief(part, example, random.choice(list(choices("indicators"))), f"tool {seed} {at}"))
            counts[part.domain] += 1
        num_begun += width
        written = side_by_side(briefs, lambda brief: _written(brief, answers), width, lambda at, tool: None)
        for brief, definition in zip(briefs, written, strict=True):
            tool = definition if isinstance(definition, str) else _fresh(definition, brief, names, texts)
            if isinstance(tool, SpokenTool) and isinstance(definition, Definition):
                names.add(bare(definition.name))
                texts.add(distinctive_text(definition))
                buffer.append(definition)
                made.append(tool)
            else:
                counts[brief.part.domain] -= 1
                dropped[str(tool)] += 1
    return Written(made, dropped)


def coverage(tree: Tree, tools: Sequence[SpokenTool]) -> Mapping[str, int]:
    """How many of the tools each domain has."""
    counts = Counter(tool.spec.domain for tool in tools)
    return {domain: counts[domain] for domain in tree}


def _written(brief: Brief, answers: Answers) -> Definition | str:
    """A definition, or why there is none."""
    example = brief.example
    material = {
        "domain": brief.part.domain,
        "functionalities": "\n".join(brief.part.functionalities),
        "example": json.dumps({**example.tool, "returns": example.returns}, ensure_ascii=False) if example else "",
        "wish": choices("indicators")[brief.indicator],
    }
    try:
        said = ask(answers.within(brief.scope), "tool_definition", material, DEFINITION)
    except ChatFault as fault:
        return f"teacher: {fault.reason}"
    if repeated := _repeated(said["parameters"]):
        return f"refused: {repeated} is there twice"
    made = define(said["name"], said["description"], parameters_of(said), returns_of(said), brief.part.domain)
    return f"refused: {_field(made)}" if isinstance(made, Refusal) else made


def _repeated(parameters: Sequence[Mapping[str, Any]]) -> str:
    """Whether a parameter or a field is there twice: which of the two, "" if neither."""
    if len({each["name"] for each in parameters}) < len(parameters):
        return "a parameter"
    fields = ([field["name"] for field in each["fields"]] for each in parameters)
    return "a field" if any(len(set(names)) < len(names) for names in fields) else ""


def parameters_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema of what was written in the form of `DEFINITION`."""
    return _object(said["parameters"], _parameter)


def returns_of(said: Mapping[str, Any]) -> dict[str, Any] | None:
    fields = [{**field, "description": "", "required": True} for field in said["returns"]]
    return _object(fields, _plain) if fields else None


def _object(fields: Sequence[Mapping[str, Any]], schema_of: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {field["name"]: schema_of(field) for field in fields},
        "required": [field["name"] for field in fields if field["required"]],
    }


def _plain(field: Mapping[str, Any]) -> dict[str, Any]:
    told = {"description": field["description"]} if field["description"] else {}
    return {"type": field["type"], **told}


def _parameter(said: Mapping[str, Any]) -> dict[str, Any]:
    match said["type"]:
        case "array":
            items = _object(said["fields"], _plain) if said["items"] == "object" else {"type": said["items"]}
            return {**_plain(said), "items": items}
        case "object":
            return {**_plain(said), **_object(said["fields"], _plain)}
        case "date" | "date-time" | "email":
            return {**_plain(said), "type": "string", "format": said["type"]}
        case "string" if said["enum"]:
            return {**_plain(said), "enum": said["enum"]}
        case _:
            return _plain(said)


def _fresh(definition: Definition, brief: Brief, names: set[str], texts: NearDuplicates) -> SpokenTool | str:
    """The tool, or why it is not taken."""
    if bare(definition.name) in names:
        return TAKEN
    if texts.similarity(distinctive_text(definition)):
        return NEAR_DUPLICATE
    try:
        return spoken_of(definition, (brief.indicator,))
    except ValueError as error:
        field = str(error).removeprefix(f"tool {definition.name}: ").partition(":")[0]
        return f"cannot be worded: {field}"


def _field(refusal: Refusal) -> str:
    """The field that the first fault is about."""
    found = _PATH.match(refusal.faults[0])
    return found[0] if found else refusal.faults[0]

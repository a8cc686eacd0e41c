"""Our own tools, read from domain files: what each is called, what it takes, how people ask for it.

There are two folders of them. `domains` is what the built-in tasks are made of: a line more in it, and every sample and
every figure measured on them is another. `further_domains` is for synthesis alone, and may grow.

A domain file is one domain; `== name` opens a cluster of related tools, near misses of each other:

    get_pollen_count (look up the pollen level): Pollen level in a city on a day.
    city: city -- City name                                  a parameter: name, kind (`values.py`), description
    plant?: enum birch; grass default grass -- Pollen type   optional, with the value that holds when it is left out
    home.street: pick Elm St|Oak St -- Street                a field of the object declared as `home: object -- ...`
    > check the {plant} pollen level in ~{city}~             an imperative, fit to follow "Could you"
    ? How bad is the pollen in {city}?                       a whole query
    ! city: How bad is the pollen? => Where are you?         a query that lacks `city` => the question it calls for
    + get_pollen_count get_uv_index: ...                     one query for several tools; `{1.day}` is the second's slot

Wordings are in the language of `wording.py`. `rivals.txt` and `further_rivals.txt` list pairs of tools of which one
could stand in for the other; they are never shown together.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iterft.rollout import left_out_first
from iterft.synth.values import Kind, Value, kind_of
from iterft.synth.wording import Bindings, Wording, parse
from iterft.types import ToolCall

_TOOL = re.compile(r"([\w.]+) \((.+?)\): (.+)")
_PARAMETER = re.compile(r"([\w.]+)(\?)?: (.+?)(?: default (\S+))? -- (.+)")
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Parameter:
    """`path` is `name`, or `object.field`. `default` is () or the one value that leaving it out means."""

    path: str
    kind: Kind | None
    description: str
    required: bool
    default: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Gap:
    """A query that lacks the required parameter `path`, and the question that asks for it."""

    path: str
    query: Wording
    question: str


@dataclass(frozen=True)
class ToolSpec:
    """One tool. `deed` completes "I cannot ..."; `schema` is what the policy sees: `declared`, where its owner has said
    it all, else what the parameters make up."""

    name: str
    deed: str
    description: str
    domain: str
    cluster: str
    parameters: list[Parameter] = field(default_factory=list)
    imperatives: list[Wording] = field(default_factory=list)
    queries: list[Wording] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    rivals: set[str] = field(default_factory=set)
    declared: Mapping[str, Any] | None = None

    @functools.cached_property
    def kinds(self) -> Mapping[str, Kind]:
        return {parameter.path: parameter.kind for parameter in self.parameters if parameter.kind}

    @functools.cached_property
    def schema(self) -> Mapping[str, Any]:
        if self.declared is not None:
            return self.declared
        return {"name": self.name, "description": self.description, "parameters": _schema(self.parameters)}

    @functools.cached_property
    def num_characters(self) -> int:
        """Of the schema as JSON."""
        return len(json.dumps(self.schema))


@dataclass(frozen=True)
class Joint:
    """One query that asks for several tools at once. Slots are `{name}` (shared) or `{1.name}` (of the second tool)."""

    names: tuple[str, ...]
    query: Wording


@dataclass(frozen=True)
class Catalog:
    """All tools by name, in a fixed order, and the joint queries."""

    tools: Mapping[str, ToolSpec]
    joints: tuple[Joint, ...]


@functools.cache
def load_catalog() -> Catalog:
    """What the built-in tasks are made of. Raises ValueError with file and line for what it cannot read."""
    catalog = _read_folder(_FOLDER / "domains")
    _set_rivals(_FOLDER / "rivals.txt", catalog.tools, catalog.tools)
    return catalog


@functools.cache
def load_further_catalog() -> Catalog:
    """Tools of further domains, which only synthesis draws from. Their rivals may be of the built-in tasks, whose tools
    are left as they are. Raises ValueError as `load_catalog` does."""
    catalog = _read_folder(_FOLDER / "further_domains")
    _set_rivals(_FOLDER / "further_rivals.txt", catalog.tools, {**load_catalog().tools, **catalog.tools})
    return catalog


def reference(tool: ToolSpec, bindings: Bindings) -> ToolCall:
    """The call that `bindings` ask for, each argument a list of accepted values; what may be left out, is."""
    arguments: dict[str, list[Any]] = {}
    for parameter in tool.parameters:
        if "." in parameter.path:
            continue
        if parameter.kind is None:
            fields = [other for other in tool.parameters if other.path.startswith(parameter.path + ".")]
            if any(each.path in bindings for each in fields):
                arguments[parameter.path] = [_accepted_fields(fields, bindings)]
        elif accepted := _accepted(parameter, bindings.get(parameter.path)):
            arguments[parameter.path] = left_out_first(accepted)
    return ToolCall(tool.name, arguments)


def _accepted_fields(fields: Iterable[Parameter], bindings: Bindings) -> dict[str, list[Any]]:
    accepted = {each.path.partition(".")[2]: _accepted(each, bindings.get(each.path)) for each in fields}
    return {name: values for name, values in accepted.items() if values}


def _accepted(parameter: Parameter, value: Value | None) -> list[Any]:
    """Accepted values of one parameter or field, "" last; [] where it must be left out. What must be given has its
    default when it was not said."""
    if value is None:
        return [*parameter.default, ""] if parameter.default and not parameter.required else list(parameter.default)
    is_default = parameter.default and value.accepted[0] == parameter.default[0]
    return [*value.accepted, ""] if is_default else list(value.accepted)


def _schema(parameters: Iterable[Parameter]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required = []
    for parameter in parameters:
        head, _, inner = parameter.path.partition(".")
        if inner:
            home = properties[head]
            home["properties"][inner] = _property(parameter)
            if parameter.required:
                home.setdefault("required", []).append(inner)
        else:
            properties[head] = _property(parameter)
            if parameter.required:
                required.append(head)
    return {"type": "object", "properties": properties, "required": required}


def _property(parameter: Parameter) -> dict[str, Any]:
    if parameter.kind is None:
        return {"type": "object", "description": parameter.description, "properties": {}}
    default = "".join(f". Defaults to {_json_word(value)}" for value in parameter.default)
    return {**parameter.kind.schema, "description": parameter.description + parameter.kind.note + default}


def _json_word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read_folder(folder: Path) -> Catalog:
    tools: dict[str, ToolSpec] = {}
    joints: list[Joint] = []
    for path in sorted(folder.glob("*.txt")):
        _read_domain(path, tools, joints)
    return Catalog(tools, tuple(joints))


def _set_rivals(path: Path, tools: Mapping[str, ToolSpec], known: Mapping[str, ToolSpec]) -> None:
    """Pairs of `known` tools, one a line. Only `tools` get rivals."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        pair = line.split()
        if len(pair) != 2 or not known.keys() >= {*pair}:
            raise ValueError(f"{path.name}:{number}: {line!r} is no pair of tools")
        for one, other in (pair, pair[::-1]):
            if one in tools:
                tools[one].rivals.add(other)


def _read_domain(path: Path, tools: dict[str, ToolSpec], joints: list[Joint]) -> None:
    cluster, tool = "", None
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        line = raw.strip()
        sign, rest = line[:1], line[2:]
        try:
            if line.startswith("== "):
                cluster = f"{path.stem}/{line[3:]}"
            elif sign == "+":
                names, _, query = rest.partition(": ")
                joints.append(Joint(tuple(names.split()), parse(query)))
            elif header := _TOOL.fullmatch(line):
                name, deed, description = header.groups()
                if name in tools:
                    raise ValueError(f"tool {name!r} is declared twice")
                tools[name] = tool = ToolSpec(name, deed, description, path.stem, cluster)
            elif line and tool:
                _read_line(tool, sign, rest, line)
        except ValueError as error:
            raise ValueError(f"{path.name}:{number}: {error}") from error


def _read_line(tool: ToolSpec, sign: str, rest: str, line: str) -> None:
    if sign == ">":
        tool.imperatives.append(parse(rest))
    elif sign == "?":
        tool.queries.append(parse(rest))
    elif sign == "!":
        path, _, gap = rest.partition(": ")
        query, _, question = gap.partition(" => ")
        tool.gaps.append(Gap(path, parse(query), question))
    elif parameter := _PARAMETER.fullmatch(line):
        path, optional, spec, default, description = parameter.groups()
        kind = None if spec == "object" else kind_of(spec)
        tool.parameters.append(Parameter(path, kind, description, not optional, _default(default, kind)))
    else:
        raise ValueError(f"{line!r} is neither a tool, a parameter nor a wording")


def _default(text: str | None, kind: Kind | None) -> tuple[Any, ...]:
    if text is None or kind is None:
        return ()
    match kind.schema["type"]:
        case "boolean":
            return (text == "true",)
        case "integer":
            return (int(text),)
        case "number":
            return (float(text) if "." in text else int(text),)
        case _:
            return (text,)

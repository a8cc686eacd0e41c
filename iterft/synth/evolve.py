"""Tool self-evolution without a model: new tools out of tools at hand (ToolACE, arXiv 2409.00920).

Each operator serves one of ToolACE's diversity indicators and gives a changed definition, or None where it does not
apply:

    add_parameter      a functionality more
    add_constraint     bounds, an enum, a required argument
    list_of_values     a parameter's type: a list of what it was
    nested_object      parameters' types: two of them as fields of one object
    range_of_values    a parameter's type: a lowest and a highest value instead of one
    change_result      the result: as a list, or with more fields

Grown as ToolACE's buffer is: what was made is changed again. Near duplicates are left out. Not here: new domains, which
take documents or a model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from iterft.json_schema import types_of
from iterft.synth.clauses import said_name
from iterft.synth.names import words_of
from iterft.synth.near import NearDuplicates
from iterft.synth.typed import fields_of, kind_for
from iterft.synth.verbs import is_plural, plural
from iterft.synth.world import returns_of
from iterft.toolsets.parts import MAX_NAME, Definition, define

MAX_OPERATORS = 4
"""No tool is further from its origin."""
_TRIES_PER_TOOL = 40

_ADDED: Mapping[str, Mapping[str, Any]] = {
    "language": {"type": "string", "description": "Language of the answer"},
    "max_results": {"type": "integer", "minimum": 1, "maximum": 50, "description": "At most so many results"},
    "priority": {"type": "string", "enum": ["low", "normal", "high"], "description": "How urgent it is"},
    "notify_owner": {"type": "boolean", "description": "Tell the owner about it"},
    "dry_run": {"type": "boolean", "description": "Only say what would happen"},
    "deadline": {"type": "string", "format": "date", "description": "Day by which it must be finished"},
    "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 4, "description": "Labels for the record"},
    "output_format": {"type": "string", "enum": ["text", "table", "csv", "json"], "description": "Form of the answer"},
    "time_zone": {"type": "string", "description": "Time zone of all times, e.g. Europe/Lisbon"},
    "budget": {"type": "number", "minimum": 1, "maximum": 5000, "description": "Highest cost in euros"},
    "requested_by": {"type": "string", "description": "Name of the person who asks for it"},
    "note": {"type": "string", "description": "Free text kept with the record"},
    "country": {"type": "string", "description": "Country whose rules apply"},
    "sort_by": {"type": "string", "enum": ["date", "price", "name", "relevance"], "description": "Order of the answer"},
    "decimals": {"type": "integer", "minimum": 0, "maximum": 6, "description": "Digits behind the point"},
    "contact_email": {"type": "string", "format": "email", "description": "E-mail address for questions"},
    "start_date": {"type": "string", "format": "date", "description": "First day that counts"},
    "retries": {"type": "integer", "minimum": 1, "maximum": 9, "description": "How often to try again"},
}
_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "reference": {"type": "string"},
    "created_on": {"type": "string", "format": "date"},
    "price": {"type": "number"},
    "city": {"type": "string"},
    "owner": {"type": "string"},
    "rating": {"type": "integer", "minimum": 1, "maximum": 5},
}


@dataclass(frozen=True)
class Change:
    """A changed definition, and the words that its name gets."""

    definition: Definition
    suffix: str


@dataclass(frozen=True)
class Evolved:
    """A new tool, the operators that led to it in order, and the tool it began as."""

    definition: Definition
    operators: tuple[str, ...]
    origin: str


Operator = Callable[[Definition, Random], Change | None]


def evolve(definitions: Iterable[Definition], number: int, seed: int) -> list[Evolved]:
    """So many new tools, or fewer where nothing new comes any more. Their names differ from each other and from those
    given; each origin has about as many."""
    random = Random(f"evolution {seed}")
    buffer = [Evolved(definition, (), definition.name) for definition in definitions]
    names = {each.definition.name for each in buffer}
    texts = NearDuplicates()
    for each in buffer:
        texts.add(distinctive_text(each.definition))
    num_of_origin: Counter[str] = Counter()
    made: list[Evolved] = []
    for _ in range(_TRIES_PER_TOOL * number):
        if len(made) == number:
            break
        parent = min(random.sample(buffer, min(4, len(buffer))), key=lambda each: num_of_origin[each.origin])
        child = _child(parent, random)
        if child is None or child.definition.name in names or texts.similarity(distinctive_text(child.definition)):
            continue
        names.add(child.definition.name)
        texts.add(distinctive_text(child.definition))
        num_of_origin[child.origin] += 1
        buffer.append(child)
        made.append(child)
    return made


def add_parameter(definition: Definition, random: Random) -> Change | None:
    free = [name for name in _ADDED if name not in definition.parameters["properties"]]
    if not free:
        return None
    name = random.choice(free)
    is_required = random.random() < 0.3
    properties = {**definition.parameters["properties"], name: dict(_ADDED[name])}
    required = [*definition.parameters.get("required", ()), *([name] if is_required else [])]
    must = "must" if is_required else "can"
    changed = _with(definition, properties, required, f"{said_name(name).capitalize()} {must} be given.")
    return Change(changed, f"with {name}")


def add_constraint(definition: Definition, random: Random) -> Change | None:
    """Bounds for a number, an enum for a text, or a required argument where it was optional."""
    properties = definition.parameters["properties"]
    required = list(definition.parameters.get("required", ()))
    name = random.choice(list(properties)) if properties else ""
    schema = properties.get(name, {})
    if name and name not in required and "default" not in schema:
        changed = _with(
            definition, properties, [*required, name], f"{said_name(name).capitalize()} must always be given."
        )
        return Change(changed, f"for {name}")
    kinds = set(types_of(schema)) - {"null"}
    if kinds and kinds <= {"integer", "number"} and "minimum" not in schema and "enum" not in schema:
        drawn = [kind_for(name, schema).draw(random).accepted[0] for _ in range(8)]
        bounds = {"minimum": min(drawn), "maximum": max(drawn)}
        if bounds["minimum"] == bounds["maximum"] or not _holds_default(schema, bounds):
            return None
        limited = {**properties, name: {**schema, **bounds}}
        return Change(_with(definition, limited, required, f"The {said_name(name)} has limits."), "within limits")
    if kinds == {"string"} and not {"enum", "format", "pattern", "default"} & set(schema):
        drawn = list(dict.fromkeys(kind_for(name, schema).draw(random).accepted[0] for _ in range(8)))[:4]
        limited = {**properties, name: {**schema, "enum": drawn}}
        if len(drawn) > 1:
            return Change(_with(definition, limited, required, f"The {said_name(name)} is one of a few."), "from list")
    return None


def list_of_values(definition: Definition, random: Random) -> Change | None:
    properties = definition.parameters["properties"]
    fit = [name for name, schema in properties.items() if {"string", "integer"} & set(types_of(schema))]
    fit = [
        name
        for name in fit
        if "default" not in properties[name] and not is_plural(name) and plural(name) not in properties
    ]
    if not fit:
        return None
    name = random.choice(fit)
    items = {key: value for key, value in properties[name].items() if key != "description"}
    several = {"type": "array", "items": items, "minItems": 1, "maxItems": 5}
    if "description" in properties[name]:
        several["description"] = f"{str(properties[name]['description']).rstrip('.')}, one or more"
    many = plural(name)
    changed = {(many if key == name else key): several if key == name else inner for key, inner in properties.items()}
    required = [many if each == name else each for each in definition.parameters.get("required", ())]
    return Change(_with(definition, changed, required, f"Takes several {said_name(many)} at once."), f"for {many}")


def nested_object(definition: Definition, random: Random) -> Change | None:
    properties = definition.parameters["properties"]
    fit = [name for name in properties if {"string", "integer", "number"} & set(types_of(properties[name]))]
    if len(fit) < 2 or {"details", "options"} & set(properties):
        return None
    inner = random.sample(fit, 2)
    required = list(definition.parameters.get("required", ()))
    home = "details" if any(name in required for name in inner) else "options"
    nested = {
        "type": "object",
        "description": f"The {said_name(inner[0])} and the {said_name(inner[1])}",
        "properties": {name: properties[name] for name in inner},
        "required": [name for name in inner if name in required],
    }
    kept = {name: schema for name, schema in properties.items() if name not in inner}
    left = [name for name in required if name not in inner] + ([home] if home == "details" else [])
    return Change(_with(definition, {**kept, home: nested}, left, f"Takes its {home} as one object."), f"by {home}")


def range_of_values(definition: Definition, random: Random) -> Change | None:
    properties = definition.parameters["properties"]
    fit = [name for name, schema in properties.items() if types_of(schema) in (["number"], ["integer"])]
    fit = [name for name in fit if "default" not in properties[name] and f"{name}_range" not in properties]
    if not fit:
        return None
    name = random.choice(fit)
    bound = {key: value for key, value in properties[name].items() if key != "description"}
    both = {
        "type": "object",
        "description": f"Lowest and highest {said_name(name)}",
        "properties": {"low": bound, "high": bound},
        "required": ["low", "high"],
    }
    renamed = f"{name}_range"
    changed = {(renamed if key == name else key): both if key == name else inner for key, inner in properties.items()}
    required = [renamed if each == name else each for each in definition.parameters.get("required", ())]
    return Change(
        _with(definition, changed, required, f"Takes the lowest and the highest {said_name(name)}."), f"over {name}"
    )


def change_result(definition: Definition, random: Random) -> Change | None:
    returns = returns_of(definition)
    names = {path for path, _ in fields_of(returns)}
    free = [name for name in _FIELDS if name not in names]
    if returns.get("type") == "object" and random.random() < 0.6 and free:
        chosen = random.sample(free, min(2, len(free)))
        fields = {**returns.get("properties", {}), **{name: dict(_FIELDS[name]) for name in chosen}}
        said = " and ".join(map(said_name, chosen))
        changed = replace(
            definition,
            returns={**returns, "properties": fields},
            description=_said(definition, f"Returns {said} as well."),
        )
        return Change(changed, f"and {chosen[0]}")
    listed = {"type": "array", "items": returns, "minItems": 1, "maxItems": 3}
    changed = replace(definition, returns=listed, description=_said(definition, "Returns all that match."))
    return Change(changed, "all") if returns.get("type") == "object" else None


OPERATORS: Mapping[str, Operator] = {
    operator.__name__: operator
    for operator in (add_parameter, add_constraint, list_of_values, nested_object, range_of_values, change_result)
}


def _child(parent: Evolved, random: Random) -> Evolved | None:
    """A tool one or two operators further on, None where one does not apply or the result is no sound definition."""
    definition, operators = parent.definition, list(parent.operators)
    suffixes = []
    for _ in range(random.randint(1, 2)):
        name = random.choice(list(OPERATORS))
        change = OPERATORS[name](definition, random)
        if change is None:
            return None
        definition = change.definition
        operators.append(name)
        suffixes.append(change.suffix)
    new_name = renamed(definition.name, " ".join(suffixes))
    if len(operators) > MAX_OPERATORS or len(new_name) > MAX_NAME:
        return None
    made = define(new_name, definition.description, definition.parameters, definition.returns, definition.group)
    return Evolved(made, tuple(operators), parent.origin) if isinstance(made, Definition) else None


def renamed(name: str, suffix: str) -> str:
    """The name with more words, in its own style: snake_case or camelCase."""
    words = words_of(suffix)
    if "_" not in name and not name.islower():
        return name + "".join(word.capitalize() for word in words)
    return "_".join((name, *words))


def _with(definition: Definition, properties: Mapping[str, Any], required: list[str], said: str) -> Definition:
    parameters = {**definition.parameters, "properties": dict(properties), "required": required}
    return replace(definition, parameters=parameters, description=_said(definition, said))


def _said(definition: Definition, more: str) -> str:
    """The description with a sentence more, so that what the tool does is still said in the first."""
    return f"{definition.description.rstrip('. ')}. {more}"


def _holds_default(schema: Mapping[str, Any], bounds: Mapping[str, Any]) -> bool:
    default = schema.get("default")
    return default is None or bounds["minimum"] <= default <= bounds["maximum"]


def distinctive_text(definition: Definition) -> str:
    """What tells a tool from another."""
    fields = [f"{name} {schema.get('description', '')}" for name, schema in definition.parameters["properties"].items()]
    return "\n".join((definition.name, definition.description, *fields))

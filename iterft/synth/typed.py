"""Kinds of values for the parameters of anybody's tools: from type, enum, format, pattern, examples, name, description.

A kind is only used if what it draws fits the schema. Every value can be found in the words that say it
(`grounding.py`). Null is never drawn (`branches`).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

from iterft.json_schema import FORMATS, inside, is_number, schema_faults, types_of, value_faults
from iterft.rollout import settle
from iterft.synth.branches import definite
from iterft.synth.descriptions import STAMP, STAMP_IN_MILLISECONDS, bounds_in, codes_in, form_in, mentioned
from iterft.synth.examples import another, is_of_a_kind
from iterft.synth.formats import is_known, kinds_of_format, stamp
from iterft.synth.names import words_of
from iterft.synth.nested import MOST_FIELDS, Field, list_kind, mapping_kind, object_kind
from iterft.synth.parameters import named
from iterft.synth.patterns import draw_matching, is_drawable
from iterft.synth.units import measured
from iterft.synth.values import Kind, Value, kind_of

_ISO = re.compile(r"YYYY|ISO|HH:MM|24-hour", re.IGNORECASE)
_ENDS = frozenset(["base", "head", "start", "end", "since", "until", "before", "after"])
_SAYS_LITTLE = _ENDS | {"name", "id", "number", "code", "type", "value", "data", "input"}
"""A parameter with a name of nothing else is better told by its description."""
_WHOLE = re.compile(r"\bpixels?\b|\bpx\b|\bmilliseconds\b|\bnumber of\b|\bhow many\b|\b(?:first|last) N\b")
"""What descriptions say of a number that is a whole one, whatever its type."""
_BROAD = frozenset(
    ["query", "command", "code", "image", "tag", "topic", "key", "kind", "model", "region", "temperature"]
)
"""A parameter with one of these names is another thing where its description says two words of it: a SQL query."""
_BOUNDS = frozenset(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"])
_DESCRIBES = ("description", "examples", "example", "type")
"""What holds for all branches of an `anyOf` that do not say otherwise."""
_OF_PATHS = ("directory", "folder", "image", "photo", "picture", "screenshot")
"""What a path may be the path of."""
_NUM_TRIES = 40
_NUM_PROBES = 16

_ANYTHING: Mapping[str, Sequence[str]] = {
    "string": (
        "pick blue heron|spring sale|maple|northern route|lighthouse|copper kettle|second draft|juniper|tidepool",
        "code %%%",
    ),
    "integer": ("plain 2 90",),
    "number": ("num 1 90 1", "num 0 1 2"),
}


def kind_for(name: str, schema: Mapping[str, Any], depth: int = 0) -> Kind:
    """The kind of a parameter, a field or the items of a list. ValueError, beginning with the field, when no value
    could be made that fits its schema."""
    schema = definite(schema)
    for maker in _makers(name, schema, depth):
        kind = _fitting(maker, schema)
        if kind is not None:
            return kind
    raise ValueError(f"{name}: no value could be made that fits {json.dumps(schema)[:160]}; give it `examples`")


def _makers(name: str, schema: Mapping[str, Any], depth: int) -> Iterator[Kind]:
    """Kinds that may do, the most telling first."""
    branches = schema.get("anyOf")
    names = types_of(schema)
    if isinstance(schema.get("enum"), list):
        scalars = _sayable(schema["enum"])
        yield from [_one_of(schema, scalars)] if scalars else ()
    elif isinstance(branches, list):
        shared = {key: schema[key] for key in _DESCRIBES if key in schema}
        definite_ones = [branch for branch in branches if types_of(branch) != ["null"]]
        if not definite_ones:
            raise ValueError(f"{name}: anyOf allows nothing but null; say what else it may hold, or leave it out")
        yield _union(schema, [kind_for(name, {**shared, **branch}, depth) for branch in definite_ones])
    elif len(names) > 1:
        yield _union(schema, [kind_for(name, {**schema, "type": each}, depth) for each in names])
    elif names == ["array"]:
        item_name = name[:-1] if name.endswith("s") and not name.endswith("ss") else name
        items = schema.get("items") or {"type": "string"}
        if "description" in schema and types_of(items) != ["object"]:
            items = {"description": schema["description"], **items}
        inner = depth if types_of(items) == ["object"] else depth + 1
        yield list_kind(schema, _spoken(item_name, items, inner), depth > 0)
    elif names == ["object"]:
        known = len(schema.get("properties") or ()) or MOST_FIELDS
        if schema.get("minProperties", 0) > known:
            least = schema["minProperties"]
            raise ValueError(
                f"{name}: minProperties is {least}, but only {known} fields are known; describe more of them"
            )
        yield _object(schema, depth)
    elif names == ["boolean"]:
        yield Kind(schema, lambda random: _said(random.random() < 0.5))
    elif names:
        yield from (_texts if names[0] == "string" else _numbers)(name, schema, names[0])


def _texts(name: str, schema: Mapping[str, Any], kind: str) -> Iterator[Kind]:
    description = str(schema.get("description") or "")
    examples, form = mentioned(description), schema.get("format")
    yield from _given(schema)
    yield from kinds_of_format(str(form), schema)
    codes = _codes(name, schema)
    if "pattern" in schema and is_drawable(schema["pattern"]):
        if codes:
            yield _with_schema(kind_of(f"pick {codes}"), schema)
        yield Kind(schema, functools.partial(_matching, schema))
    if form is None:
        yield from kinds_of_format("date" if any(map(FORMATS["date"], examples)) else form_in(description), schema)
    if len(examples) > 1:
        yield _one_of(schema, examples)
    if codes:
        yield _with_schema(kind_of(f"pick {codes}"), schema)
    if example := _telling_example(name, schema):
        yield Kind(schema, lambda random: _said(another(example, random)))
    yield from _about(name, schema, kind, is_exact=form is not None or bool(_ISO.search(description)))
    if examples:
        yield _one_of(schema, examples)
    if form is not None and not is_known(str(form)):
        if spec := named(kind, words_of(str(form))):
            yield _with_schema(kind_of(spec), schema)
        raise ValueError(f"{name}: format {form!r} is not known; give it `examples`, or a `pattern`, or leave it out")
    yield from (_with_schema(kind_of(spec), schema) for spec in _ANYTHING[kind])
    yield Kind(schema, functools.partial(_letters, schema))


def _numbers(name: str, schema: Mapping[str, Any], kind: str) -> Iterator[Kind]:
    """Within bounds that the schema or, where it has none, the description declares."""
    yield from _given(schema)
    if _WHOLE.search(str(schema.get("description") or "")):
        kind = "integer"
    if per_second := _stamps_per_second(schema):
        yield Kind(schema, lambda random: _said(stamp(random, per_second)))
    bounded = _bounded(schema)
    if not _BOUNDS.isdisjoint(bounded):
        spec = _spec(name, schema, kind, words_of(name))
        kinds = [*([kind_of(spec)] if spec else ()), _in_bounds(bounded, kind)]
        yield from filter(None, (_fitting(_with_schema(each, schema), bounded) for each in kinds))
    yield from _about(name, schema, kind)
    yield from (_with_schema(kind_of(spec), schema) for spec in _ANYTHING.get(kind, ()))


def _given(schema: Mapping[str, Any]) -> Iterator[Kind]:
    """What the schema itself gives as examples."""
    listed = schema.get("examples")
    given = [*(listed if isinstance(listed, list) else ()), *([schema["example"]] if "example" in schema else [])]
    if values := _sayable(given):
        yield _one_of(schema, values)


def _about(name: str, schema: Mapping[str, Any], kind: str, is_exact: bool = True) -> Iterator[Kind]:
    """What the name or the beginning of the description is about."""
    sources = [words_of(name), words_of(str(schema.get("description") or ""))[:8]]
    if sources[0][-1:] == ["path"] and (of := [word for word in sources[1] if word in _OF_PATHS]):
        sources[0] = of[:1]
    if _BROAD.issuperset(sources[0]) and (spec := named(kind, sources[1], least=2)):
        yield _with_schema(kind_of(spec), schema, is_exact)
    is_better_told = _SAYS_LITTLE.issuperset(sources[0]) and sources[1][:1] not in (["id"], ["ids"], ["identifier"])
    if is_better_told:
        sources = [[word for word in sources[1] if word not in _ENDS], sources[0]]
    for words in sources:
        if spec := _spec(name, schema, kind, words):
            yield _with_schema(kind_of(spec), schema, is_exact)


def _spec(name: str, schema: Mapping[str, Any], kind: str, words: Sequence[str]) -> str:
    """What `parameters` has for these words; a number that has a unit is said in digits, not "sixkWh"."""
    spec = named(kind, words)
    has_unit = spec.startswith("int ") and bool(measured(name, str(schema.get("description") or ""))[1])
    return spec.replace("int ", "plain ", 1) if has_unit else spec


def _telling_example(name: str, schema: Mapping[str, Any]) -> str:
    """The only example in the description of a text, where it tells more than the name: "" where it is of the kind
    that the name tells, which knows more of them."""
    examples = mentioned(str(schema.get("description") or ""))
    if len(examples) != 1:
        return ""
    told = next(_about(name, schema, "string"), None)
    return "" if told and is_of_a_kind(examples[0], told) else examples[0]


def _codes(name: str, schema: Mapping[str, Any]) -> str:
    return codes_in(f"{' '.join(words_of(name))}: {schema.get('description') or ''}")


def _stamps_per_second(schema: Mapping[str, Any]) -> int:
    """Of a number that is a Unix time, 0 for others."""
    return {STAMP: 1, STAMP_IN_MILLISECONDS: 1000}.get(form_in(str(schema.get("description") or "")), 0)


def _bounded(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a number with the bounds that its description says, where it declares none itself."""
    low, high = bounds_in(str(schema.get("description") or ""))
    if low is None and high is not None and high >= 0:
        low = min(1 if types_of(schema) == ["integer"] else 0, high)
    made = dict(schema)
    if low is not None and not {"minimum", "exclusiveMinimum"} & made.keys():
        made["minimum"] = low
    if high is not None and not {"maximum", "exclusiveMaximum"} & made.keys():
        made["maximum"] = high
    return schema if any(schema_faults(made)) else made


def _fitting(kind: Kind, schema: Mapping[str, Any]) -> Kind | None:
    """The kind as it is where all values of a probe fit, else drawing again where one does not; None where few do."""

    def fitting(random: Random) -> Value | None:
        value = kind.draw(random)
        accepted = tuple(each for each in value.accepted if not any(value_faults(settle(each), schema)))
        is_sayable = value.accepted[0] != ""
        return Value(value.words, accepted) if accepted[:1] == value.accepted[:1] and is_sayable else None

    probe = Random(0)
    drawn = [kind.draw(probe) for _ in range(_NUM_PROBES)]
    probe = Random(0)
    fit = [fitting(probe) for _ in range(_NUM_PROBES)]
    if fit == drawn:
        return kind
    if len(fit) - fit.count(None) < _NUM_PROBES // 4:
        return None

    def draw(random: Random) -> Value:
        for _ in range(10 * _NUM_TRIES):
            value = fitting(random)
            if value is not None:
                return value
        raise AssertionError("a kind of which one draw in four fits does not miss four hundred times")

    return Kind(kind.schema, draw)


def _with_schema(kind: Kind, schema: Mapping[str, Any], is_exact: bool = True) -> Kind:
    """The kind under another schema. Not `is_exact`: nothing says in which form a text is wanted, so it may also be
    written as it was said."""

    def draw(random: Random) -> Value:
        value = kind.draw(random)
        if is_exact or not isinstance(value.accepted[0], str):
            return value
        return Value(value.words, tuple(dict.fromkeys((*value.accepted, value.words))))

    return Kind(schema, draw)


def _object(schema: Mapping[str, Any], depth: int) -> Kind:
    properties = schema.get("properties")
    if properties:
        required = schema.get("required") or ()
        fields = [
            Field(name, _spoken(name, inner, depth + 1), name in required, inner.get("default"))
            for name, inner in properties.items()
        ]
        return object_kind(schema, fields, depth > 0)
    inner = schema.get("additionalProperties")
    value = _spoken("value", inner if isinstance(inner, Mapping) and inner else {"type": "string"}, depth + 1)
    return mapping_kind(schema, value, depth > 0)


def _spoken(name: str, schema: Mapping[str, Any], depth: int) -> Kind:
    """The kind of a field or an item, which must be said where it stands: numbers bare."""
    kind = kind_for(name, schema, depth)

    def draw(random: Random) -> Value:
        value = kind.draw(random)
        return Value(json.dumps(value.accepted[0]), value.accepted) if is_number(value.accepted[0]) else value

    return Kind(kind.schema, draw)


def _sayable(values: Sequence[Any]) -> list[Any]:
    """Those that a request can say: scalars, and no empty text."""
    return [value for value in values if isinstance(value, str | int | float) and str(value).strip()]


def _one_of(schema: Mapping[str, Any], values: Sequence[Any]) -> Kind:
    return Kind(schema, lambda random: _said(random.choice(values)))


def _said(value: Any) -> Value:
    """A value as it is; names in snake case are said with blanks."""
    if isinstance(value, str):
        return Value(value.replace("_", " ") if re.fullmatch(r"[A-Za-z]+(_[A-Za-z]+)+", value) else value, (value,))
    return Value(json.dumps(value), (value,))


def _union(schema: Mapping[str, Any], kinds: Sequence[Kind]) -> Kind:
    return Kind(schema, lambda random: random.choice(kinds).draw(random))


def _in_bounds(schema: Mapping[str, Any], kind: str) -> Kind:
    """Numbers within bounds: some hundred steps from the lowest to the highest."""
    step = schema.get("multipleOf") or (1 if kind == "integer" else 0.5)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    low = (high - 100 * step if high is not None else 0) if low is None else low
    high = low + 100 * step if high is None else high
    if low == high:
        return _one_of(schema, [low])
    if kind == "number" and (high - low) / step < 4:
        step = (high - low) / 10
    first = -(-low // step)
    count = max(0, int((high - first * step) // step))

    def draw(random: Random) -> Value:
        number = round((first + random.randint(0, count)) * step, 6)
        value = int(number) if number == int(number) else number
        return Value(json.dumps(value), (value,))

    return Kind(schema, draw)


def _matching(schema: Mapping[str, Any], random: Random) -> Value:
    """A text of the schema's pattern and, if tries are enough, of its length."""
    for _ in range(_NUM_TRIES):
        text = draw_matching(schema["pattern"], random, max(3, schema.get("minLength", 0)))
        if not any(value_faults(text, schema)):
            break
    return Value(text, (text,))


def _letters(schema: Mapping[str, Any], random: Random) -> Value:
    """Letters and digits of the length asked for."""
    least = schema.get("minLength", 1)
    size = random.randint(least, max(least, min(schema.get("maxLength", least + 4), least + 4)))
    text = "".join(random.choice("ABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(size))
    return Value(text, (text,))


def topic_of(name: str, schema: Mapping[str, Any]) -> str:
    """What tells whether two parameters are about the same sort of thing: nobody flies from Oslo to Oslo."""
    schema = definite(schema)
    plain = {key: value for key, value in schema.items() if key not in ("description", "default", "title")}
    kind = next(iter(types_of(schema)), "")
    if "enum" in schema:
        return json.dumps(plain)
    description = str(schema.get("description") or "")
    examples = mentioned(description)
    said = [
        form_in(description),
        bounds_in(description),
        examples if len(examples) > 1 else _telling_example(name, schema),
    ]
    return json.dumps([plain, _codes(name, schema) or named(kind, words_of(name)) or name, said])


def fields_of(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(path, schema) of every scalar field of a result, those inside objects and lists of objects too."""
    for name, inner in (schema.get("properties") or {}).items():
        if isinstance(inner, Mapping):
            if {"string", "integer", "number", "boolean"} & set(types_of(inner)) or "enum" in inner:
                yield inside(path, name), inner
            yield from fields_of(inner, inside(path, name))
    if isinstance(schema.get("items"), Mapping):
        yield from fields_of(schema["items"], f"{path}[]")

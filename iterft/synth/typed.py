"""Kinds of values for the parameters of anybody's tools: from type, enum, format, pattern, examples, name, description.

What a parameter is about is told from the words of its name, by the table `parameters.txt`; each line is
`type: words|other words = kind`, and the entry that matches most words, nearest to the end of the name, holds. A kind
is only used if what it draws fits the schema. Every value can be found in the words that say it (`grounding.py`).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from iterft.json_schema import FORMATS, inside, is_number, types_of, value_faults
from iterft.rollout import settle
from iterft.synth.descriptions import BLANK_MOMENT, codes_in, form_in, mentioned
from iterft.synth.names import words_of
from iterft.synth.nested import MOST_FIELDS, Field, list_kind, mapping_kind, object_kind
from iterft.synth.patterns import draw_matching, is_drawable
from iterft.synth.values import Kind, Value, kind_of

_TABLE = Path(__file__).parent / "parameters.txt"
_ISO = re.compile(r"YYYY|ISO|HH:MM|24-hour", re.IGNORECASE)
_SAYS_LITTLE = frozenset(["name", "id", "number", "code", "type", "value", "data", "input"])
"""A parameter with a name of nothing else is better told by its description."""
_NUM_TRIES = 40
_NUM_PROBES = 16

_FORMATS: Mapping[str, str] = {
    "date": "date",
    "time": "clock 7 21",
    "email": "email",
    "uri": "pick https://harbor.example/news|https://uni.example/courses/12|https://corp.example/report.pdf",
    "url": "pick https://harbor.example/news|https://uni.example/courses/12|https://corp.example/report.pdf",
    "ipv4": "pick 10.0.4.17|192.168.1.40|172.16.8.3|10.12.0.9",
    "ipv6": "pick 2001:db8::17|fe80::1c2|2001:db8:4::a2|2001:db8:77::5",
    "hostname": "pick mail.harbor.example|db1.corp.example|www.uni.example",
    "duration": "pick P3D|PT45M|PT1H30M|P2W|PT20S|P1DT12H",
    **dict.fromkeys(("int32", "int64", "uint32", "uint64"), "code ####"),
    "color": "pick #3a7bd5|#ff8800|#204030|#c0ffee",
    "byte": "pick aGVsbG8h|bWFwbGVz|cmVwb3J0|c3ByaW5n",
    "regex": "pick ^[a-z]+$|^\\d{4}$|\\.csv$|^v[0-9]",
}
_FORMATS_ALIKE = {
    "datetime": "date-time", "idn-email": "email", "idn-hostname": "hostname", "iri": "uri",
    "uri-reference": "uri", "iri-reference": "uri", "base64": "byte",
}  # fmt: skip
_FREE_FORMATS = frozenset(["text", "textarea", "string", "password", "markdown", "html", "multiline", "binary"])
"""Formats that say nothing of what a text holds."""
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
    for maker in _makers(name, schema, depth):
        kind = _fitting(maker, schema)
        if kind is not None:
            return kind
    raise ValueError(f"{name}: no value could be made that fits {json.dumps(schema)[:160]}; give it `examples`")


def _makers(name: str, schema: Mapping[str, Any], depth: int) -> Iterator[Kind]:
    """Kinds that may do, the most telling first."""
    branches = schema.get("anyOf")
    names = [kind for kind in types_of(schema) if kind != "null"]
    if isinstance(schema.get("enum"), list):
        scalars = _sayable(schema["enum"])
        yield from [_one_of(schema, scalars)] if scalars else ()
    elif isinstance(branches, list):
        definite = [branch for branch in branches if branch.get("type") != "null"]
        if not definite:
            raise ValueError(f"{name}: anyOf allows nothing but null; say what else it may hold, or leave it out")
        yield _union(schema, [kind_for(name, branch, depth) for branch in definite])
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
        yield Kind(schema, lambda random: Value("", (True,)))
    elif names:
        yield from _scalars(name, schema, names[0])


def _scalars(name: str, schema: Mapping[str, Any], kind: str) -> Iterator[Kind]:
    description = str(schema.get("description") or "")
    listed = schema.get("examples")
    given = [*(listed if isinstance(listed, list) else ()), *([schema["example"]] if "example" in schema else [])]
    given = _sayable(given)
    examples = mentioned(description) if kind == "string" else []
    if given:
        yield _one_of(schema, given)
    if kind == "string":
        yield from _of_format(str(schema.get("format")), schema)
        if "pattern" in schema and is_drawable(schema["pattern"]):
            yield Kind(schema, functools.partial(_matching, schema))
        if "format" not in schema:
            yield from _of_format("date" if any(map(FORMATS["date"], examples)) else form_in(description), schema)
        if len(examples) > 1:
            yield _one_of(schema, examples)
        if codes := codes_in(f"{' '.join(words_of(name))}: {description}"):
            yield _with_schema(kind_of(f"pick {codes}"), schema)
    elif any(key in schema for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")):
        if spec := _named(kind, words_of(name)):
            yield _with_schema(kind_of(spec), schema)
        yield _in_bounds(schema, kind)
    is_exact = "format" in schema or bool(_ISO.search(description))
    sources = [words_of(name), words_of(description)[:8]]
    is_better_told = _SAYS_LITTLE.issuperset(sources[0]) and sources[1][:1] not in (["id"], ["ids"], ["identifier"])
    for words in sources[::-1] if is_better_told else sources:
        if spec := _named(kind, words):
            yield _with_schema(kind_of(spec), schema, is_exact)
    if examples:
        yield _one_of(schema, examples)
    form = schema.get("format")
    if kind == "string" and form is not None and form not in {*FORMATS, *_FORMATS, *_FORMATS_ALIKE, *_FREE_FORMATS}:
        if spec := _named(kind, words_of(str(form))):
            yield _with_schema(kind_of(spec), schema)
        raise ValueError(f"{name}: format {form!r} is not known; give it `examples`, or a `pattern`, or leave it out")
    for spec in _ANYTHING.get(kind, ()):
        yield _with_schema(kind_of(spec), schema)
    if kind == "string":
        yield Kind(schema, functools.partial(_letters, schema))


def _of_format(form: str, schema: Mapping[str, Any]) -> Iterator[Kind]:
    form = _FORMATS_ALIKE.get(form, form)
    if form == "date-time":
        yield Kind(schema, _moment)
    elif form == BLANK_MOMENT:
        yield Kind(schema, _blank_moment)
    elif form == "uuid":
        yield Kind(schema, _uuid)
    elif form in _FORMATS:
        yield _with_schema(kind_of(_FORMATS[form]), schema)


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
    """The kind of a field or an item, which must be said where it stands: booleans as true and false, numbers bare."""
    if "boolean" in types_of(schema):
        return Kind(schema, lambda random: _said(random.random() < 0.5))
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


def _moment(random: Random) -> Value:
    day, clock = kind_of("date").draw(random), kind_of("clock 7 21").draw(random)
    moment = f"{day.accepted[0]}T{clock.accepted[0]}:00"
    return Value(f"{day.words} at {clock.words}", (moment, f"{moment}Z"))


def _blank_moment(random: Random) -> Value:
    value = _moment(random)
    return Value(value.words, (value.accepted[0].replace("T", " ")[:16],))


def _uuid(random: Random) -> Value:
    digits = f"{random.getrandbits(128):032x}"
    text = "-".join((digits[:8], digits[8:12], "4" + digits[13:16], "a" + digits[17:20], digits[20:]))
    return Value(text, (text,))


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


def _named(kind: str, words: Sequence[str]) -> str:
    """The kind of the entry that fits these words best, "" where none does. A plural fits its singular."""
    best, best_rank = "", (0, 0)
    for end, word in enumerate(words, start=1):
        for last in (word, word.removesuffix("s"), word.removesuffix("es")):
            for entry, spec in _table().get((kind, last), ()):
                before = words[max(0, end - len(entry)) : end - 1]
                if (
                    (len(entry), end) > best_rank
                    and all(map(_is_number_of, before, entry))
                    and len(before) + 1 == len(entry)
                ):
                    best, best_rank = spec, (len(entry), end)
    return best


def _is_number_of(word: str, singular: str) -> bool:
    return word in (singular, f"{singular}s", f"{singular}es")


@functools.cache
def _table() -> Mapping[tuple[str, str], list[tuple[tuple[str, ...], str]]]:
    """(type, last word of the entry) -> (words of the entry, kind), from the file."""
    table: dict[tuple[str, str], list[tuple[tuple[str, ...], str]]] = {}
    for line in _TABLE.read_text(encoding="utf-8").splitlines():
        head, _, spec = line.partition(" = ")
        kind, _, entries = head.partition(": ")
        kind_of(spec)
        for entry in entries.split("|"):
            words = tuple(entry.split())
            table.setdefault((kind, words[-1]), []).append((words, spec))
    return table


def topic_of(name: str, schema: Mapping[str, Any]) -> str:
    """What tells whether two parameters are about the same sort of thing: nobody flies from Oslo to Oslo."""
    plain = {key: value for key, value in schema.items() if key not in ("description", "default", "title")}
    kind = next((each for each in types_of(schema) if each != "null"), "")
    codes = codes_in(str(schema.get("description") or ""))
    return json.dumps(plain) + ("" if "enum" in schema else codes or _named(kind, words_of(name)) or name)


def fields_of(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(path, schema) of every scalar field of a result, those inside objects and lists of objects too."""
    for name, inner in (schema.get("properties") or {}).items():
        if isinstance(inner, Mapping):
            if {"string", "integer", "number", "boolean"} & set(types_of(inner)) or "enum" in inner:
                yield inside(path, name), inner
            yield from fields_of(inner, inside(path, name))
    if isinstance(schema.get("items"), Mapping):
        yield from fields_of(schema["items"], f"{path}[]")

"""Kinds of lists and objects, made of the kinds of what is in them.

At the top of a parameter they are said in prose ("street 5 Elm Road and city Oslo"); `deep` inside another they are
said as JSON, as people paste them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from iterft.json_schema import is_number
from iterft.rollout import settle
from iterft.synth.ordered import is_crossed, ordered_pairs
from iterft.synth.values import Kind, Value, joined

_NUM_TRIES = 40
_KEYS = ("color", "size", "note", "group", "source", "level")
"""Fields of objects that may have any."""
MOST_FIELDS = len(_KEYS)


@dataclass(frozen=True)
class Field:
    """A field of an object. `default`: what holds when it is left out, None where nothing says."""

    name: str
    kind: Kind
    is_required: bool
    default: Any


def list_kind(schema: Mapping[str, Any], item: Kind, deep: bool) -> Kind:
    """Items of one type, in the order said, different ones as far as there are any."""
    least = schema.get("minItems", 1)
    most = max(least, min(schema.get("maxItems", least + 2), max(least + 2, 3)))

    def draw(random: Random) -> Value:
        wanted = random.randint(max(1, least), max(1, most))
        words: list[str] = []
        values: list[Any] = []
        for number in range(_NUM_TRIES):
            value = item.draw(random)
            accepted = value.accepted[0]
            is_alike = all(type(accepted) is type(other) for other in values)
            must_differ = number < _NUM_TRIES // 2 or schema.get("uniqueItems") is True or len(values) >= least
            if is_alike and not (must_differ and accepted in values):
                words.append(_marked(value))
                values.append(accepted)
            if len(values) == wanted:
                break
        is_grid = isinstance(values[0], list)  # one row of it in prose could be all of it
        return Value(json.dumps(settle(values)) if deep or is_grid else joined(words, random), (values,))

    return Kind(schema, draw)


def object_kind(schema: Mapping[str, Any], fields: Sequence[Field], deep: bool) -> Kind:
    """All required fields and some of the others, as many as the schema wants, at least one. Of a lower and a higher
    end the lower one is below."""
    least, most = max(1, schema.get("minProperties", 1)), schema.get("maxProperties", len(fields))
    assert least <= len(fields), "fields are no fewer than the schema wants"
    pairs = ordered_pairs(field.name for field in fields)

    def draw(random: Random) -> Value:
        chosen = {field.name for field in fields if field.is_required or random.random() < 0.4}
        others = [field.name for field in fields if field.name not in chosen]
        chosen |= {*random.sample(others, max(0, least - len(chosen)))}
        spare = [field.name for field in fields if field.name in chosen and not field.is_required]
        chosen -= {*random.sample(spare, min(len(spare), max(0, len(chosen) - most)))}
        values = {field.name: field.kind.draw(random) for field in fields if field.name in chosen}
        for low, high in pairs:
            if low in values and high in values and is_crossed(values[low].accepted[0], values[high].accepted[0]):
                values[low], values[high] = values[high], values[low]
        accepted: dict[str, list[Any]] = {}
        said = []
        for field in fields:
            if value := values.get(field.name):
                said.append(f"{field.name.replace('_', ' ')} {_marked(value)}")
                accepted[field.name] = [settle(each) for each in value.accepted]
            elif field.default is not None:
                accepted[field.name] = ["", field.default]
        return Value(json.dumps(settle(accepted)) if deep else joined(said, random), (accepted,))

    return Kind(schema, draw)


def mapping_kind(schema: Mapping[str, Any], value_kind: Kind, deep: bool) -> Kind:
    """One or two fields of everyday names, or as many as the schema wants, up to `MOST_FIELDS`."""
    least = max(1, schema.get("minProperties", 1))
    most = max(least, min(2, schema.get("maxProperties", 2)))
    assert least <= MOST_FIELDS, "no more fields are wanted than are made"

    def draw(random: Random) -> Value:
        drawn = {key: value_kind.draw(random) for key in random.sample(_KEYS, random.randint(least, most))}
        accepted = {key: [settle(value.accepted[0])] for key, value in drawn.items()}
        said = [f"{key} {_marked(value)}" for key, value in drawn.items()]
        return Value(json.dumps(settle(accepted)) if deep else joined(said, random), (accepted,))

    return Kind(schema, draw)


def _marked(value: Value) -> str:
    """The words of one of several things: numbers bare, texts that could be taken for two in quotes."""
    accepted = value.accepted[0]
    if is_number(accepted):
        return json.dumps(accepted)
    if isinstance(accepted, dict) and not value.words.startswith("{"):
        return f"({value.words})"
    is_open = isinstance(accepted, str) and ("," in value.words or " and " in value.words)
    return f'"{value.words}"' if is_open else value.words

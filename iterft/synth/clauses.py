"""How a query names the value of a parameter: clauses in the language of wordings, by what the parameter is about."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from iterft.json_schema import types_of
from iterft.synth.branches import definite, is_flag
from iterft.synth.names import words_of
from iterft.synth.units import measured
from iterft.synth.verbs import head_of, is_plural

_TAG = "(?: name| id| number| code)?"
_AREA = "(?:city|town|location|place|country|region|venue|hotel)"
_PLACE = f"(?:{_AREA}|airport|station|address|office|warehouse)"
_KEPT = "(?:folder|directory|file|path|url|table|database|bucket|account|wallet|queue|branch)"
_MEASURE = "(?:language|currency|unit)"
_OCCASION = (
    "(?:(?:arrival|departure|appointment|start|check ?in|event|delivery|pickup|meeting|booking|reservation|visit"
    "|travel|trip|flight|party|game|match|interview|session|class|lesson|performance|dinner|wedding|publication) )?"
)
_LENGTH = "(?:duration |num |number of |stay |rental |trip )?"
_WHOM = "(?:customer|client|user|person|patient|guest|employee|assignee|ticker|product|item|dish|animal)"
_NATURAL: Sequence[tuple[str, str, str]] = (
    (" from", "{}", f"from(?: .+)?|start|sender{_TAG}|(?:origin|source|departure|pickup) {_PLACE}{_TAG}"),
    (" from", "{}", f"(?:origin|source|departure){_TAG}|(?:source|input) (?:{_KEPT}|{_MEASURE}){_TAG}"),
    (" into", "{}", f"(?:target|output) {_MEASURE}{_TAG}"),
    (" to", "{}", f"to(?: .+)?|end|recipient(?: email)?{_TAG}|(?:destination|arrival|dropoff) {_PLACE}{_TAG}"),
    (" to", "{}", f"destination(?: {_KEPT})?{_TAG}"),
    (" until", "{}", "until|end (?:date|time|day|hour)"),
    (" due", "{}", "due|deadline|due (?:on|by|at|date|day|time)"),
    (" on", "{}", f"{_OCCASION}(?:date|day|weekday)"),
    (" at", "{}", f"at|{_OCCASION}(?:time|hour)"),
    (" in", "time zone {}", "time ?zone|tz"),
    (" in", "room {}", "room(?: number| id)"),
    (" in", "{}", f"(?:meeting |event )?(?:{_AREA}|room){_TAG}"),
    (" in", "{}", f"(?:display |reply |response |local |temperature |distance |weight )?{_MEASURE}(?: code)?"),
    (" for", "{}", f"{_WHOM}{_TAG}"),
    (" about", "{}", "(?:topic|subject)(?: name| line)?"),
    (" for", "{} minutes", f"{_LENGTH}minutes"),
    (" for", "{} days", f"{_LENGTH}days"),
    (" for", "{} nights", f"{_LENGTH}nights"),
    (" for", "{} people", "(?:num |number of )?(?:guests|people|persons|passengers)"),
)
"""(the preposition, the form behind it, the names that it suits). A name of which a word would then mean something else
(`expiry_date`, `source_language`, `time_zone`) suits none."""

OF_ONE = " with a"
"""How a clause begins that says what one thing is: "with a height of"."""
_FREE_TEXT = re.compile(
    r"(?:sql|cron|title|subject|headline|message|text|body|content|note|comment|remark|description|caption|query|q"
    r"|keyword|term|topic|phrase|prompt|reason|feedback|summary|question|expression|song|track|album|movie|film|book)s?"
)
_COUNTED = re.compile("^num (?=.*s$)")
_TAKING = ("include", "with", "show", "enable", "allow", "use", "send", "notify", "add", "keep", "return", "apply")
_BEING = ("is", "are", "has", "should")
_PREPOSITIONS = frozenset(["to", "at", "in", "on", "by", "of", "for", "from", "with", "via", "as", "into"])
_PREPOSITIONS |= {"since", "until", "before", "after"}
_ASKING = frozenset(["when", "where", "which", "what", "who", "how", "why"])


def said_name(name: str) -> str:
    """A parameter's name as it is said: the number of nights, not the num nights."""
    said = " ".join(words_of(name)) or re.sub(r"[\[\]<>|~{}@]", "", name)
    return _COUNTED.sub("number of ", said)


def is_noun(name: str) -> bool:
    """Whether a parameter's name can stand behind "the": not one that begins with a preposition ("to", "from unit") or
    is a question word or a letter."""
    first, *others = words_of(name) or [name]
    return first not in _PREPOSITIONS and (bool(others) or (first not in _ASKING and len(first) > 1))


def clauses_of(name: str, schema: Mapping[str, Any], taken: Sequence[str]) -> list[str]:
    """Wordings that each begin with a blank or a comma. `taken`: prepositions that other parameters have."""
    schema = definite(schema)
    said, slot = said_name(name), _slot(name, schema)
    if is_flag(schema):
        return _flag_clauses(name, words_of(name))
    listed = f", {said}: {slot}"
    if {"array", "object"} & set(types_of(schema)):
        found = [listed] if not is_noun(name) else [f" with {said} {slot}", listed]
        is_several = "array" in types_of(schema) and is_noun(name) and is_plural(head_of(said))
        return [*found, f", with these {said}: {slot}"] if is_several else found
    if not is_noun(name):
        found = [listed]
    elif {"integer", "number"} & set(types_of(schema)):
        found = _measured(name, str(schema.get("description") or ""), slot)
    else:
        found = _named(said, slot)
    preposition, form = natural(name)
    if preposition and preposition not in taken:
        found = [f"{preposition} {form.format(slot)}"] * 5 + found
    return found


def _named(said: str, value: str) -> list[str]:
    return [
        f" with {said} {value}",
        f", {said}: {value}",
        f" with {value} as the {said}",
        f", {said} {value}",
        f" using {value} for the {said}",
    ]


def _measured(name: str, description: str, slot: str) -> list[str]:
    """Of a number: alone under the parameter's whole name, or with its unit, which the name then lacks. As often as in
    any other way people say "with a height of 5 cm"."""
    bare, ways = measured(name, description)
    said = said_name(name)
    found = []
    for noun, value in [(said, slot), *((bare, way.replace("{}", slot)) for way in ways)]:
        one = [] if is_plural(noun) else [f"{OF_ONE}{'n' if noun[0] in 'aeiou' else ''} {noun} of {value}"]
        found += _named(noun, value) + one * 3
    return found


@functools.cache
def natural(name: str) -> tuple[str, str]:
    """The preposition that suits the parameter and the form behind it, ("", "") where none does."""
    words = " ".join(words_of(name))
    return next(((said, form) for said, form, suited in _NATURAL if re.fullmatch(suited, words)), ("", ""))


def question_for(name: str, schema: Mapping[str, Any]) -> list[str]:
    """Questions that ask for the parameter."""
    schema = definite(schema)
    said = said_name(name)
    enum = [str(value) for value in schema.get("enum", ()) if value not in (None, "")]
    choice = f": {', '.join(enum[:-1])} or {enum[-1]}?" if 2 <= len(enum) <= 5 else ""
    if not is_noun(name):
        return [f'What should "{said}" be{choice or "?"}', f'Which value should I use for "{said}"?']
    if choice:
        return [f"Which {said} would you like{choice}", f"Which {said} should I use?"]
    if {"array", "object"} & set(types_of(schema)):
        return [f"Which {said} should I use?", f"Could you give me the {said}?"]
    found = [f"What is the {said}?", f"Which {said} should I use?", f"Could you tell me the {said}?"]
    preposition, _ = natural(name)
    if preposition == " on":
        found.append("On which day?")
    if "integer" in types_of(schema) and said.endswith("s"):
        found.append(f"How many {said.removeprefix('number of ')}?")
    return found


def _slot(name: str, schema: Mapping[str, Any]) -> str:
    is_free = "string" in types_of(schema) and "enum" not in schema and any(map(_FREE_TEXT.fullmatch, words_of(name)))
    return f'"{{{name}}}"' if is_free else f"{{{name}}}"


def _flag_clauses(name: str, words: Sequence[str]) -> list[str]:
    """Clauses that name the parameter and whether it holds; the value itself is not said."""
    true, false = f"{{{name}=true}}", f"{{{name}=false}}"
    if len(words) > 1 and words[0] in _TAKING:
        verb, rest = words[0], " ".join(words[1:])
        return [f" and {verb} {rest}{true}", f" but do not {verb} {rest}{false}", f", {verb} {rest}: yes{true}"]
    rest = " ".join(words[1:] if len(words) > 1 and words[0] in _BEING else words)
    return [
        f", {rest}: yes{true}",
        f", {rest}: no{false}",
        f" with {rest} <on|enabled|set to true>{true}",
        f" with {rest} <off|disabled|set to false>{false}",
    ]

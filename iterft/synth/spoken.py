"""Wordings for anybody's tools: a definition becomes a `ToolSpec` like those of our own tools, which are worded by
hand.

A phrase for what the tool does (`verbs`), a clause for each value (`clauses`), in random orders and forms, seeded by
the tool. Not here: values (`typed`), what is asked for (`drafts`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from iterft.json_schema import types_of
from iterft.readers.parts import accept
from iterft.synth.branches import definite, is_flag, may_be_null
from iterft.synth.catalog import Gap, Parameter, ToolSpec
from iterft.synth.clauses import OF_ONE, clauses_of, is_noun, natural, question_for, said_name
from iterft.synth.deeds import Deed, deeds
from iterft.synth.names import words_of
from iterft.synth.ordered import ordered_pairs
from iterft.synth.typed import kind_for, topic_of
from iterft.synth.values import Kind
from iterft.synth.verbs import be, clean
from iterft.synth.wording import Wording, parse
from iterft.toolsets.parts import Definition

_NUM_IMPERATIVES, _NUM_QUERIES, _NUM_PARTIALS = 12, 10, 4
_MAX_OPTIONAL = 3
"""Optional parameters that one wording may name: people leave most of them unsaid."""
_SETTING = ("set", "update", "move", "rename")
"""Verbs of what is set to something: two values at once contradict each other."""
_LOOKING = frozenset(
    ["get", "show", "list", "search", "find", "check", "calculate", "estimate", "convert", "determine", "compare"]
)
"""Verbs after which any value may be another."""
_TELLING = frozenset(["id", "name", "email", "username", "number", "code", "key", "ids"])
_NOT_IN_NAMES = frozenset(".{}=[](),'\"<>|~@ ")
"""What has a meaning in wordings, or cannot be written as the name of an argument in every dialect."""


_FOLDERS = frozenset(["directory", "directories", "folder", "folders"])
_FILES = frozenset(["source", "destination", "target", "input", "output", "file", "old", "new"])
"""Names that say no more of a file than which one of two it is."""


@dataclass(frozen=True)
class SpokenTool:
    """A tool with its wordings. `partials`: imperatives that lack a parameter, by its name. `returns`: the schema of
    its result. `operators`: how it was evolved, and `origin` from which tool, itself if it was not. `declares_result`:
    the schema of its result is its own word, not a guess. `by_hand`: its wordings are not made here, and may say a
    value in words of its own."""

    spec: ToolSpec
    partials: Mapping[str, Sequence[Wording]]
    returns: Mapping[str, Any]
    operators: tuple[str, ...]
    origin: str
    declares_result: bool
    by_hand: bool = False


def spoken(definition: Definition, returns: Mapping[str, Any], operators: tuple[str, ...], origin: str) -> SpokenTool:
    """ValueError, naming tool and parameter, for one that cannot be put into words. People ask for what the origin
    does: what evolution adds to a name ("for_min_magnitude") is said by the arguments."""
    try:
        parameters = _parameters(definition)
    except ValueError as error:
        raise ValueError(f"tool {definition.name}: {error}") from error
    grammar = Grammar(
        deeds(origin, definition.description), definition.parameters, Random(f"wording {definition.name}")
    )
    group = definition.group or "tools"
    spec = ToolSpec(
        name=definition.name,
        deed=grammar.deeds[0].plain,
        description=definition.description,
        domain=group,
        cluster=f"{group}/{words_of(definition.name)[-1].removesuffix('s')}",
        parameters=parameters,
        imperatives=grammar.imperatives(_NUM_IMPERATIVES),
        queries=grammar.queries(_NUM_QUERIES),
        gaps=grammar.gaps(),
        declared=definition.tool,
    )
    partials = {name: grammar.imperatives(_NUM_PARTIALS, without=name) for name in grammar.required}
    return SpokenTool(spec, partials, returns, operators, origin, declares_result=returns == definition.returns)


def _parameters(definition: Definition) -> list[Parameter]:
    schema = definition.parameters
    kinds: dict[str, Kind] = {}
    pairs = ordered_pairs(schema["properties"])
    below, above = dict(pairs), {high: low for low, high in pairs}
    made = []
    for name, inner in schema["properties"].items():
        if not _NOT_IN_NAMES.isdisjoint(name):
            raise ValueError(f"{name}: a name with a blank, a dot, a bracket or a quote cannot be worded; rename it")
        is_required = name in schema.get("required", ())
        default = None if is_required else inner.get("default")  # what must be given has no say when it is not
        unsaid = [default] if default is not None else []
        if is_required and may_be_null(inner):
            unsaid = [None]  # as strict schemas write what may be left out
        known = _known_as(name, definition.name)
        kind = kinds.setdefault(topic_of(known, inner), kind_for(known, inner))
        if is_flag(inner):
            kind = Kind({"type": "boolean"}, kind.draw)
        if name in below or name in above:
            kind = replace(kind, below=below.get(name, ""), above=above.get(name, ""))
        made.append(
            Parameter(
                name,
                kind,
                str(inner.get("description") or ""),
                is_required,
                tuple(map(accept, unsaid)),
            )
        )
    return made


def _known_as(name: str, tool: str) -> str:
    """What a parameter is about, where only its tool tells: `path` of `list_directory`, `source` of `move_file`."""
    words, own = words_of(name), words_of(tool)
    if words == ["path"] and not _FOLDERS.isdisjoint(own):
        return "directory"
    return "path" if _FILES.issuperset(words) and not {"file", "files", *_FOLDERS}.isdisjoint(own) else name


class Grammar:
    """Makes wordings of one tool, each from fresh draws of a generator. `required`: what is always said. What is
    required and may be null is null where nobody says it."""

    def __init__(self, deeds: Sequence[Deed], schema: Mapping[str, Any], random: Random) -> None:
        self.deeds = deeds
        self.properties = {name: definite(inner) for name, inner in schema["properties"].items()}
        self.required = [
            name
            for name, inner in schema["properties"].items()
            if name in schema.get("required", ()) and not may_be_null(inner)
        ]
        self.random = random

    def imperatives(self, number: int, without: str = "") -> list[Wording]:
        """Verb phrases that say all required parameters but `without`. In every second one, where a single value can be
        said several times, it is the clause that repeats."""
        made = []
        for index in range(number):
            deed = self.deeds[index % len(self.deeds)]
            repeated = self.repeatable(without) if index % 4 < 2 and not without else ""
            made.append(parse(deed.wording + self.clauses(without, repeated)))
        return made

    def queries(self, number: int) -> list[Wording]:
        return [parse(self._query(self.deeds[index % len(self.deeds)])) for index in range(number)]

    def gaps(self) -> list[Gap]:
        """Two or three for each required parameter that one can ask for."""
        made = []
        for name in self.required:
            if is_flag(self.properties[name]):
                continue
            for question in question_for(name, self.properties[name])[:3]:
                phrase = self.random.choice(self.deeds).wording + self.clauses(name, "")
                frame = self.random.choice(("Could you {}?", "Please {}.", "I'd like you to {}.", "Can you {}?"))
                made.append(Gap(name, parse(frame.format(phrase)), clean(question)))
        return made

    def clauses(self, without: str, repeated: str) -> str:
        """Those with a preposition of their own first, as a list of values comes last."""
        optional = [name for name in self.properties if name not in self.required and name != without]
        least = 0 if without else self.num_least
        number = max(least, self.random.randint(0, _MAX_OPTIONAL))
        chosen = self.random.sample(optional, min(len(optional), number))
        needed = [name for name in self.required if name != without] + chosen[:least]
        names = needed + chosen[least:]
        self.random.shuffle(names)
        written = [self._clause(name, names, name == repeated) for name in names]
        pairs = sorted(zip(names, written, strict=True), key=lambda pair: pair[1].lstrip("[<").startswith(","))
        text, is_behind_one = "", False
        for name, clause in pairs:
            is_said, is_of_one = name in needed, bool(re.match(f"{OF_ONE}n? ", clause))
            if is_behind_one and is_of_one:  # "with a base of 10 and a height of 5"
                clause = f" and{clause.removeprefix(' with')}"
            text += clause if is_said else f"[{clause}]"
            is_behind_one = is_of_one and is_said and name != repeated
        return text

    @functools.cached_property
    def num_least(self) -> int:
        """How many optional values a request says at least: one where it would ask for nothing without, as when no
        more is required of an update than which one."""
        is_changed = self.deeds[0].verb in _SETTING and all(map(_tells_which, self.required))
        is_all = not self.required and len(self.properties) == 1
        is_bare = is_all and not any(is_flag(inner) or "default" in inner for inner in self.properties.values())
        return int(is_changed or is_bare)

    def repeatable(self, without: str) -> str:
        """A required parameter of one text or number that can have several values at once, "" where there is none. Not
        an end of something that has two; of what is done to something, only what tells to which, if that is known."""
        ends = {name for pair in ordered_pairs(self.properties) for name in pair}
        fit = [
            name
            for name in self.required
            if name not in (without, *ends) and set(types_of(self.properties[name])) & {"string", "integer", "number"}
        ]
        telling = [name for name in fit if _tells_which(name)]
        verb = self.deeds[0].verb
        if len(self.required) > 1 and (verb in _SETTING or (telling and verb not in _LOOKING)):
            fit = telling
        return self.random.choice(fit) if fit else ""

    def _clause(self, name: str, among: Sequence[str], is_repeated: bool) -> str:
        schema = self.properties[name]
        taken = [natural(other)[0] for other in among if other != name]
        forms = clauses_of(name, schema, taken)
        if is_flag(schema):
            return f"<{'|'.join(forms)}>"
        form = self.random.choice(forms)
        slot = f'"{{{name}}}"' if f'"{{{name}}}"' in form else f"{{{name}}}"
        return form.replace(slot, f"~{slot}~") if is_repeated else form

    def _query(self, deed: Deed) -> str:
        clauses = self.clauses("", "")
        if deed.is_question and self.random.random() < 0.6:
            verb = be(deed.thing)
            return self.random.choice(
                (
                    f"What {verb} {deed.thing}{clauses}?",
                    f"Can you tell me {deed.thing}{clauses}?",
                    f"I'd like to know {deed.thing}{clauses}.",
                    f"I need {deed.thing}{clauses}.",
                    f"Do you know {deed.thing}{clauses}?",
                )
            )
        frame = self.random.choice(
            (
                "I want to {}.",
                "I need to {}.",
                "Is it possible to {}?",
                "How about we {}?",
                "I'm trying to {}. Can you do that for me?",
                "My boss asked me to {}. Please take care of it.",
                "It's time to {}.",
            )
        )
        statement = self._statement()
        if statement and self.random.random() < 0.4:
            return f"{statement} Could you {deed.wording}?"
        return frame.format(deed.wording_of_own + clauses)

    def _statement(self) -> str:
        """All required values as sentences of their own, "" where they cannot be said so or are not enough."""
        if not self.required or self.num_least or any(is_flag(self.properties[name]) for name in self.required):
            return ""
        if not all(map(is_noun, self.required)):
            return ""
        said = [f"the {said_name(name)} {be(said_name(name))} {{{name}}}" for name in self.required]
        text = ", ".join(said[:-1]) + (" and " if len(said) > 1 else "") + said[-1]
        return f"{text[0].upper()}{text[1:]}."


def _tells_which(name: str) -> bool:
    """Whether a parameter says which one is meant, not what is made of it."""
    preposition, form = natural(name)
    is_place_or_person = preposition in (" in", " for") and form == "{}"
    return is_place_or_person or not _TELLING.isdisjoint(words_of(name)[-1:])

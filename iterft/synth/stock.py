"""The tools that samples are made of: those asked for, and others to be shown beside them.

Without tools of the user's own, those of the built-in tasks' train part and of ten further domains are asked for. Else
those of the train part are the others, as far as they are not alike to the user's: they serve as distractors and as
what is asked for in vain. The further domains are not among the others: what a seed makes of a user's tools stays what
it was when they grow. Tools that the built-in tasks hold out never occur, so that they go on being unseen.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from iterft.augment.pool import ToolPool, asked_words, bare, parameters_of
from iterft.json_schema import types_of
from iterft.synth.catalog import ToolSpec, load_further_catalog
from iterft.synth.deeds import gist
from iterft.synth.drafts import Draft, Pool
from iterft.synth.names import words_of
from iterft.synth.served import knows_all, might_serve
from iterft.synth.shown import messages_of
from iterft.synth.spoken import SpokenTool, spoken
from iterft.synth.tasks import built_in_pool
from iterft.synth.typed import fields_of
from iterft.synth.world import LOOKING, MAKING, returns_of
from iterft.toolsets.parts import Definition
from iterft.types import Prompt, Sample

_VAGUE = frozenset(
    ["name", "id", "status", "unit", "type", "result", "value", "count", "text", "message", "error", "date"]
)
"""Names of fields that say too little for their values to be handed on to another tool by name."""


@dataclass(frozen=True)
class Link:
    """A value that one tool returns and another needs: `field` of the result, or "" for all of it, is argument
    `parameter`."""

    producer: str
    field: str
    consumer: str
    parameter: str


@dataclass(frozen=True)
class Stock:
    """`asked`: what is asked for, `others`: what is shown beside it or asked for in vain, `shown`: both. `tools`: the
    asked ones by name, with all their wordings. `links`: between tools that can be shown together."""

    asked: Pool
    others: Pool
    shown: Pool
    tools: Mapping[str, SpokenTool]
    links: Sequence[Link]

    def about(self, name: str) -> Stock:
        """The same, but every request is about this tool, alone or among others."""
        leads = [tool for tool in self.asked.tools if tool.name == name]
        joints = [joint for joint in self.asked.joints if name in joint.names]
        links = [link for link in self.links if name in (link.producer, link.consumer)]
        return replace(self, asked=replace(self.asked, leads=leads, joints=joints), links=links)

    @functools.cached_property
    def _words(self) -> ToolPool:
        return ToolPool(tool.schema for tool in self.shown.tools)

    def is_alike(self, tool: ToolSpec, other: ToolSpec) -> bool:
        """Whether one might do what the other does, by the words they are described with."""
        return self._words.is_alike(tool.schema, other.schema)

    def might_do(self, tool: ToolSpec, draft: Draft) -> bool:
        """Whether a tool might do what the draft asks for in vain. Where that is one of our own tools, beside a user's,
        or small talk, a word in common with it or with what is said is enough. A search of the web finds whatever is
        looked for."""
        if draft.present:
            return False
        if draft.absent and gist(draft.absent.name, draft.absent.description)[0] in LOOKING and knows_all(tool.schema):
            return True
        if draft.absent and draft.absent.name in self.tools:
            return self.is_alike(tool, draft.absent) or _is_of_same_deed(tool, draft.absent)
        missing = [draft.absent.schema] if draft.absent else []
        asked = asked_words([Sample("", Prompt(messages_of(draft), ()), ())], missing)
        own = self._words.own_words(tool.schema) | self._words.words(parameters_of(tool.schema))
        is_served = draft.absent is None and any(might_serve(tool.schema, said) for said in draft.messages[::2])
        return not own or not asked.isdisjoint(own) or is_served


def _is_of_same_deed(tool: ToolSpec, other: ToolSpec) -> bool:
    """Whether both do the same to the same sort of thing: `read_text_file` and `read_multiple_files`."""
    said, other_said = (
        (verb, [word.removesuffix("s") for word in words_of(topic)[-1:]])
        for verb, topic in (gist(each.name, each.description) for each in (tool, other))
    )
    return said == other_said and bool(said[1])


def links_between(tools: Mapping[str, SpokenTool]) -> list[Link]:
    """Between tools that can be shown together, given by name."""
    producers: dict[str, list[tuple[str, str]]] = {}
    for name, tool in tools.items():
        if _returns_id(tool):
            for owner in _nouns(name):
                producers.setdefault(f"{owner}_id", []).append((name, ""))
        for path, schema in fields_of(tool.returns):
            for key in _names_of(path, name):
                is_telling = tool.declares_result or key.endswith("_id")
                if is_telling and key not in _VAGUE and {"string", "integer", "number"} & set(types_of(schema)):
                    producers.setdefault(key, []).append((name, path))
    return [
        Link(producer, path, name, parameter)
        for name, tool in tools.items()
        for parameter in tool.partials
        for producer, path in producers.get(_bare_name(parameter), ())
        if producer != name and producer not in tool.spec.rivals and _passes(tools[producer], path, tool, parameter)
    ]


def _passes(producer: SpokenTool, path: str, consumer: SpokenTool, parameter: str) -> bool:
    """Whether what comes out is of the type that goes in, which is not narrowed to what may not come out."""
    given = dict(fields_of(producer.returns))[path] if path else producer.returns
    wanted = consumer.spec.kinds[parameter].schema
    is_same = bool(set(types_of(given)) & set(types_of(wanted)))
    has_form = given.get("format") == wanted.get("format")
    return is_same and has_form and not {"enum", "pattern", "minimum", "maximum"} & {*wanted}


def _returns_id(tool: SpokenTool) -> bool:
    """Whether the result is nothing but the id of what the tool makes."""
    is_made = gist(tool.spec.name, tool.spec.description)[0] in MAKING
    is_bare = types_of(tool.returns) in (["string"], ["integer"])
    return is_made and is_bare and not {"enum", "format", "pattern"} & {*tool.returns}


def _bare_name(name: str) -> str:
    """`petId` and `pet_id` are one name."""
    return "_".join(words_of(name))


def _names_of(path: str, tool: str) -> list[str]:
    """Names that an argument may have which takes this field of the tool's result: that of the field alone or behind
    what it is a field of, as `id` of a `find_orders` is an order_id, and that of its `buyer` a buyer_id."""
    home, _, field = path.rpartition(".")
    home = home.rpartition(".")[2].removesuffix("[]")
    owners = {_bare_name(home).removesuffix("s")} if home else _nouns(tool)
    return sorted({_bare_name(field), *(f"{owner}_{_bare_name(field)}" for owner in owners)})


def _nouns(tool: str) -> set[str]:
    """What a tool may be about, after its verb: `find_open_orders` open, order, open_order."""
    words = [word.removesuffix("s") for word in words_of(tool.rpartition(".")[2])[1:]]
    return {"_".join(words), *words[:1], *words[-1:]}


def stock_of(tools: Sequence[SpokenTool], barred: frozenset[str] = frozenset()) -> Stock:
    """A stock of these tools. Those that come from one origin are hardly more than a few words apart and never shown
    together. `barred`: names, without case and signs, that no tool of the others may have."""
    built_in = built_in_pool("train", 0)
    names = {bare(tool.spec.name) for tool in tools}
    kept = [tool for tool in built_in.tools if bare(tool.name) not in names | barred]
    words = ToolPool(tool.spec.schema for tool in tools)
    by_origin: dict[str, set[str]] = {}
    for tool in tools:
        by_origin.setdefault(tool.origin, set()).add(tool.spec.name)
    apart = []
    for tool in tools:
        alike = {other.name for other in kept if words.is_alike(tool.spec.schema, other.schema)}
        rivals = (tool.spec.rivals | by_origin[tool.origin] | alike) - {tool.spec.name}
        apart.append(replace(tool, spec=replace(tool.spec, rivals=rivals)))
    by_hand = {tool.spec.name for tool in tools if tool.by_hand}
    joints = [joint for joint in (*built_in.joints, *load_further_catalog().joints) if by_hand >= {*joint.names}]
    asked = Pool([tool.spec for tool in apart], joints, built_in.small_talk)
    others = Pool(kept, (), built_in.small_talk)
    shown = Pool([*asked.tools, *kept], (), built_in.small_talk)
    by_name = {tool.spec.name: tool for tool in apart}
    return Stock(asked, others, shown, by_name, links_between(by_name))


def built_in_tools() -> list[SpokenTool]:
    """Those of the built-in tasks' train part and of the further domains, worded by hand. Where they have objects, they
    are not linked to others."""
    specs = [*built_in_pool("train", 0).tools, *load_further_catalog().tools.values()]
    made = []
    for spec in specs:
        derived = spoken_of(Definition(spec.name, spec.description, spec.schema["parameters"], group=spec.domain))
        has_objects = any(parameter.kind is None for parameter in spec.parameters)
        partials = {} if has_objects else derived.partials
        rivals = spec.rivals | {other.name for other in specs if spec.name in other.rivals}
        made.append(replace(derived, spec=replace(spec, rivals=rivals), partials=partials, by_hand=True))
    return made


def definition_of(tool: SpokenTool) -> Definition:
    """The definition that a tool has or, worded by hand, could have."""
    returns = tool.returns if tool.declares_result else None
    return Definition(tool.spec.name, tool.spec.description, tool.spec.schema["parameters"], returns, tool.spec.domain)


def spoken_of(definition: Definition, operators: tuple[str, ...] = (), origin: str = "") -> SpokenTool:
    """ValueError, naming tool and parameter, for a tool that cannot be put into words."""
    return spoken(definition, returns_of(definition), operators, origin or definition.name)

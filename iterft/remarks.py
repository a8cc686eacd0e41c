"""What a run says of its data before it begins: how many rows, which were left out and why, what is odd about the rest.

Nothing here changes a sample. What cannot be used at all is left out or refused by `build.data`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from iterft.augment import changes_in
from iterft.build import Data, dialect, is_writable
from iterft.json_schema import SchemaFault, object_faults, schema_faults
from iterft.recipe import Recipe
from iterft.rollout import reference_calls, reference_text
from iterft.template import Template
from iterft.tokens import encode_turn
from iterft.types import Sample
from iterft.warmup import tier_table


def remarks(recipe: Recipe, template: Template, data: Data) -> Iterator[str]:
    """Line by line."""
    if data.dropped:
        yield "rows dropped: " + counted(data.dropped)
    if data.first_failure:
        yield f"  the first whose reference fails: {data.first_failure}"
    yield f"data: {len(data.train)} train, {len(data.held_out)} held out"
    if recipe.data.is_augmented:
        yield f"  augmented: {counted(changes_in(data.train)) or 'nothing, no sample can be changed as data asks for'}"
    for source, tiers in tier_table(data.train, recipe.warmup.tiers).items():
        yield f"  {source or 'no source'}: " + ", ".join(f"{tier} {count}" for tier, count in tiers.items())
    yield from of_values(data.train)
    yield from of_lengths(recipe, template, data)


def of_values(samples: Sequence[Sample]) -> Iterator[str]:
    """On references whose arguments do not fit the schemas of their tools: they are learnt, and right."""
    is_sound: dict[int, bool] = {}
    found = {sample.id: fault for sample in samples if (fault := misfit(sample, is_sound))}
    if found:
        first, fault = next(iter(found.items()))
        reasons = counted(Counter(fault.reason for fault in found.values()))
        yield (
            f"  references of train that do not fit their tools, learnt as they are: {reasons}; the first: {first}, "
            f"{fault} (`scripts/synthesize.py --check FILE` names all)"
        )


def misfit(sample: Sample, is_sound: dict[int, bool]) -> SchemaFault | None:
    """The first fault of a reference call, where the definition of its tool has none itself. `is_sound` holds that of
    the schemas seen so far, by their identity."""
    tools = {tool["name"]: tool for tool in sample.prompt.tools}
    for call in reference_calls(sample):
        schema = tools[call.name].get("parameters") or {}
        if id(schema) not in is_sound:
            is_sound[id(schema)] = next(schema_faults(schema), None) is None
        if is_sound[id(schema)]:
            for fault in object_faults(call.arguments, schema, call.name, schema):
                return fault
    return None


def of_lengths(recipe: Recipe, template: Template, data: Data) -> Iterator[str]:
    """On references that are longer than any turn that is sampled."""
    written, limit = dialect(recipe), recipe.policy.max_new_tokens

    def is_longer(sample: Sample) -> bool:
        if not is_writable(written, sample, with_reference=True):  # some held-out ones
            return False
        return len(encode_turn(template.tokenizer, reference_text(written, sample))) > limit

    counts = {"train": sum(map(is_longer, data.train)), "held out": sum(map(is_longer, data.held_out))}
    if any(counts.values()):
        yield (
            f"  references longer than policy.max_new_tokens {limit}: {counted(counts)}; what is sampled is cut off "
            "before it can be right"
        )


def counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items() if count)

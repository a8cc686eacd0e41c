"""The domains that only synthesis draws from: ten more, sound, and apart from all that the built-in tasks are."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from random import Random

import jsonschema
import pytest
from toy_teacher import judged

from iterft.augment.pool import ToolPool, bare
from iterft.rollout import settle_call
from iterft.synth import catalog
from iterft.synth.catalog import load_catalog, load_further_catalog, reference
from iterft.synth.pipeline import Order, nothing_yet, synthesize
from iterft.synth.rows import sample_of
from iterft.synth.stock import built_in_tools, spoken_of, stock_of
from iterft.synth.tasks import tool_split
from iterft.synth.wording import fill, repeats
from iterft.toolsets.parts import Definition

TOOLS = load_further_catalog().tools
LOOSE_ENDS = re.compile(r"[{}\[\]|~]|  | ,|\.\.|\?\.|\ba [aeio]")
BARE = Definition("frobnicate", "Does it.", {"type": "object", "properties": {}, "required": []})


def test_synthesis_asks_for_forty_domains() -> None:
    tools = built_in_tools()
    assert len({tool.spec.domain for tool in tools}) == 40
    assert {tool.spec.name for tool in tools} == tool_split(0)[0] | TOOLS.keys()
    assert min(Counter(tool.domain for tool in TOOLS.values()).values()) >= 6


def test_no_tool_has_a_name_of_the_built_in_tasks_or_is_like_one_that_they_hold_out() -> None:
    own = load_catalog().tools
    assert len({bare(name) for name in (*TOOLS, *own)}) == len(TOOLS) + len(own)
    words = ToolPool(())
    held_out = [own[name].schema for name in tool_split(0)[1]]
    for tool in TOOLS.values():
        assert not [other["name"] for other in held_out if words.is_alike(tool.schema, other)], tool.name


def test_the_others_of_a_users_tools_are_those_of_the_built_in_tasks() -> None:
    assert {tool.name for tool in stock_of([spoken_of(BARE)]).others.tools} == tool_split(0)[0]


def test_rivals_are_mutual_and_the_built_in_tasks_know_none_of_them() -> None:
    tools = {tool.spec.name: tool.spec for tool in built_in_tools()}
    assert "book_vet_visit" in tools["calendar.add_event"].rivals
    for tool in tools.values():
        assert all(tool.name in tools[rival].rivals for rival in tool.rivals & tools.keys())
    assert not {rival for tool in load_catalog().tools.values() for rival in tool.rivals} & TOOLS.keys()


def test_a_line_that_is_no_pair_of_tools_is_refused_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "rivals.txt"
    path.write_text("book_vet_visit find_motif\nbook_vet_visit find_motive\n")
    with pytest.raises(ValueError, match=r"rivals\.txt:2: 'book_vet_visit find_motive' is no pair"):
        catalog._set_rivals(path, {}, TOOLS)


@pytest.mark.parametrize("name", TOOLS)
def test_every_wording_says_a_call_that_fits_its_schema_and_has_no_loose_ends(name: str) -> None:
    tool, random = TOOLS[name], Random(name)
    validator = jsonschema.Draft202012Validator(tool.schema["parameters"])
    for wording in (*tool.imperatives, *tool.queries):
        for num_calls in (1, 1, 1, 2) if repeats(wording) else (1, 1, 1):
            filled = fill(wording, tool.kinds, random, num_calls)
            assert filled is not None, wording
            text, each = filled
            assert not LOOSE_ENDS.search(text), text
            for bindings in each:
                arguments = settle_call(reference(tool, bindings)).arguments
                validator.validate(arguments)
                assert all(value.words in text for value in bindings.values()), text
    for gap in tool.gaps:
        filled = fill(gap.query, tool.kinds, random)
        assert filled and gap.path not in filled[1][0]


@pytest.mark.slow
def test_samples_of_them_alone_meet_every_rule_and_ask_for_every_tool() -> None:
    stock = stock_of([tool for tool in built_in_tools() if tool.spec.name in TOOLS])
    order = Order(1500, 3, "further", False, frozenset(), judged)
    rows = [row for entry in synthesize(stock, order, nothing_yet(stock)) for row in entry["rows"]]
    assert [judged(sample_of(row)) for row in rows] == [[]] * 1500
    assert {name for row in rows for name in row["provenance"]["tools"]} == TOOLS.keys()

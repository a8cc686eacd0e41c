"""Wordings held out of each tool: none of them, nor a part of it, is ever said in training."""

from __future__ import annotations

import pytest
from sample_tools import TEXT

from iterft.synth.held_wordings import Parted, part_wordings, variants
from iterft.synth.stock import built_in_tools, spoken_of, stock_of
from iterft.synth.wording import parse
from iterft.toolsets.forms import load_toolset
from iterft.toolsets.parts import Definition

BARE = Definition("ping", "Ping the server.", {"type": "object", "properties": {}})


@pytest.fixture(scope="module")
def parted(tmp_path_factory: pytest.TempPathFactory) -> Parted:
    path = tmp_path_factory.mktemp("tools") / "my_tools.py"
    path.write_text(TEXT)
    return part_wordings(stock_of([*map(spoken_of, load_toolset(path).definitions)]), 0.2, 0)


def test_a_wording_can_say_each_choice_with_and_without_what_is_optional() -> None:
    said = variants(parse("<Find|Get> the ~{thing}~[ on {day}]@?/s?@{flag=true}"))
    verbs, ends = ("find", "get"), ("", "?", "s?")
    assert said == {
        f"{verb} the {{thing}}{day}{end}".strip(" .?!")
        for verb in verbs
        for day in ("", " on {day}")
        for end in ends[1:]
    }


def test_no_request_that_is_held_out_can_be_said_in_training_nor_as_a_part(parted: Parted) -> None:
    for name, tool in parted.held_out.tools.items():
        train = parted.train.tools[name].spec
        for wording in (*tool.spec.imperatives, *tool.spec.queries):
            for other in (*train.imperatives, *train.queries):
                pairs = [(one, two) for one in variants(wording) for two in variants(other)]
                assert not any(one in two or two in one for one, two in pairs), name


def test_questions_and_second_requests_are_held_out_too(parted: Parted) -> None:
    held_gaps = held_partials = 0
    for name, tool in parted.held_out.tools.items():
        train = parted.train.tools[name]
        for gap in tool.spec.gaps:
            others = [other for other in train.spec.gaps if other.path == gap.path]
            assert others and all(variants(other.query).isdisjoint(variants(gap.query)) for other in others)
            held_gaps += 1
        for path, wordings in tool.partials.items():
            for wording in wordings:
                assert all(variants(other).isdisjoint(variants(wording)) for other in train.partials[path])
                held_partials += 1
    assert held_gaps and held_partials


def test_both_parts_ask_for_every_tool_and_about_the_share_is_held_out(parted: Parted) -> None:
    assert parted.left_out == () and len(parted.held_out.tools) == 7
    numbers = []
    for part in (parted.train, parted.held_out):
        assert all(tool.spec.imperatives and tool.spec.queries for tool in part.tools.values())
        assert [tool.name for tool in part.asked.tools] == list(part.tools)
        assert part.shown is parted.train.shown
        numbers.append(sum(len(tool.imperatives) + len(tool.queries) for tool in part.asked.tools))
    assert 0.1 < numbers[1] / sum(numbers) < 0.35


def test_switches_are_values_and_take_no_time() -> None:
    """A thousand variants a wording would be compared for hours."""
    switches = {name: {"type": "boolean"} for name in ("compress", "include_tax", "overwrite", "verbose")}
    schema = {"type": "object", "properties": {"path": {"type": "string"}, **switches}, "required": ["path", "verbose"]}
    parted = part_wordings(stock_of([spoken_of(Definition("get_report", "Get a report.", schema))]), 0.2, 0)
    train, held_out = (
        [
            variants(each)
            for each in (*part.tools["get_report"].spec.imperatives, *part.tools["get_report"].spec.queries)
        ]
        for part in (parted.train, parted.held_out)
    )
    assert max(map(len, train)) > 1000 and len(held_out) > 1
    assert frozenset().union(*train).isdisjoint(frozenset().union(*held_out))


def test_requests_for_tools_that_are_not_there_and_small_talk_are_parted_as_well(parted: Parted) -> None:
    train, held_out = parted.train.others, parted.held_out.others
    assert len(held_out.tools) > 30
    for tool in held_out.tools:
        other = train.by_name[tool.name]
        said = {text for wording in (*other.imperatives, *other.queries) for text in variants(wording)}
        assert all(variants(wording).isdisjoint(said) for wording in (*tool.imperatives, *tool.queries))
    talk = [{wording for wording, _ in part.small_talk} for part in (train, held_out)]
    assert all(talk) and talk[0].isdisjoint(talk[1])
    assert parted.held_out.asked.small_talk is held_out.small_talk


def test_a_tool_of_one_wording_is_left_to_training_and_named() -> None:
    tools = [spoken_of(BARE), *built_in_tools()[:5]]
    parted = part_wordings(stock_of(tools), 0.2, 0)
    assert parted.left_out == ("ping",)
    assert "ping" in parted.train.tools and "ping" not in parted.held_out.tools
    assert parted.train.tools["ping"].spec.imperatives == parted.train.asked.by_name["ping"].imperatives
    with pytest.raises(ValueError, match="no tool has wordings enough"):
        part_wordings(stock_of(tools[:1]), 0.2, 0)


def test_the_seed_decides_what_is_held_out() -> None:
    stock = stock_of(built_in_tools())
    first, again, other = (
        [tool.imperatives for tool in part_wordings(stock, 0.2, seed).held_out.asked.tools] for seed in (0, 0, 1)
    )
    assert first == again != other

"""Which tools stand beside each other, and what one returns that another needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from iterft.augment.pool import bare
from iterft.synth.drafts import Draft
from iterft.synth.evolve import evolve
from iterft.synth.stock import Link, built_in_tools, definition_of, spoken_of, stock_of
from iterft.toolsets.parts import Definition

STRING = {"type": "string"}


def tool(tool_name: str, returns: Any = None, /, **parameters: Any) -> Definition:
    schema = {"type": "object", "properties": parameters, "required": list(parameters)}
    return Definition(tool_name, f"Does {tool_name}.", schema, returns)


def links(*definitions: Definition) -> set[tuple[str, str]]:
    stock = stock_of([spoken_of(definition) for definition in definitions])
    return {(link.field, link.parameter) for link in stock.links}


def test_a_result_is_linked_to_an_argument_by_its_name_and_by_what_it_belongs_to() -> None:
    owner = {"type": "object", "properties": {"id": STRING, "city": STRING}}
    order = {"type": "object", "properties": {"id": STRING, "buyer": owner, "tags": {"type": "array", "items": owner}}}
    found = links(tool("find_orders", order, name=STRING), tool("rate", orderId=STRING), tool("greet", buyer_id=STRING))
    assert found == {("id", "orderId"), ("buyer.id", "buyer_id")}
    assert links(tool("find_orders", order, name=STRING), tool("get_tides", city=STRING)) == {
        ("buyer.city", "city"),
        ("tags[].city", "city"),
    }


def test_nothing_is_linked_by_a_vague_name_another_type_or_an_enum() -> None:
    result = {"type": "object", "properties": {"name": STRING, "size": {"type": "integer"}, "color": STRING}}
    consumers = tool("a", name=STRING), tool("b", size=STRING), tool("c", color={"type": "string", "enum": ["red"]})
    assert links(tool("find_shirt", result, shop=STRING), *consumers) == set()


def test_a_guessed_result_is_linked_by_ids_only() -> None:
    assert links(tool("find_customer", None, query=STRING), tool("a", customer_id=STRING), tool("b", name=STRING)) == {
        ("customer_id", "customer_id")
    }


def test_tools_of_one_origin_and_built_in_ones_that_are_alike_are_never_shown_together() -> None:
    weather = Definition("get_forecast", "Weather forecast for a city.", tool("x", city=STRING).parameters)
    evolved = evolve([weather], 4, seed=0)
    made = [spoken_of(weather), *(spoken_of(each.definition, each.operators, each.origin) for each in evolved)]
    stock = stock_of(made)
    for each in stock.asked.tools:
        assert {other.spec.name for other in made} - {each.name} <= each.rivals
    alike = {other.name for other in stock.others.tools if stock.is_alike(stock.asked.tools[0], other)}
    assert alike and alike <= stock.asked.tools[0].rivals


def test_names_of_evaluation_data_and_of_the_user_are_not_among_the_others() -> None:
    others = {
        other.name for other in stock_of([spoken_of(tool("convertMoney"))], frozenset(["bookflight"])).others.tools
    }
    assert not {"convertmoney", "bookflight"} & set(map(bare, others))
    assert len(others) > 100


def test_a_tool_worded_by_hand_has_the_definition_that_it_shows() -> None:
    for each in built_in_tools()[:20]:
        assert definition_of(each).tool == each.spec.schema


def test_links_are_in_a_fixed_order() -> None:
    assert stock_of(built_in_tools()).links == stock_of(built_in_tools()).links
    assert isinstance(stock_of(built_in_tools()).links[0], Link)


def test_a_tool_that_shares_a_word_with_what_is_asked_of_ours_in_vain_is_not_shown_beside_it() -> None:
    dim = Definition("dim_lamp", "Dim the lamps of a room.", tool("x", where=STRING).parameters)
    bake = Definition("bake", "Bread and cake.", tool("x", flour=STRING).parameters)
    stock = stock_of([spoken_of(dim), spoken_of(bake)])
    absent = next(other for other in stock.others.tools if other.name == "set_light")
    draft = Draft(("Make the lamp in the study brighter.",), (), (), "", absent)
    lamp, oven = stock.asked.tools
    assert not stock.is_alike(lamp, absent), "by names and descriptions alone it would do"
    assert stock.might_do(lamp, draft) and not stock.might_do(oven, draft)
    own = replace(draft, absent=oven)
    assert not stock.might_do(lamp, own) and stock.might_do(oven, own)
    assert not stock.might_do(lamp, replace(draft, absent=None))

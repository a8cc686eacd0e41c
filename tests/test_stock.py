"""Which tools stand beside each other, and what one returns that another needs."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from iterft.augment.pool import bare
from iterft.synth.dialogues import DIALOGUES
from iterft.synth.drafts import DRAFTS, Draft, Pool
from iterft.synth.evolve import evolve
from iterft.synth.served import might_serve
from iterft.synth.stock import Link, built_in_tools, definition_of, spoken_of, stock_of
from iterft.synth.tasks import built_in_pool
from iterft.synth.world import World
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


@pytest.mark.slow
def test_links_are_in_a_fixed_order() -> None:
    assert stock_of(built_in_tools()).links == stock_of(built_in_tools()).links
    assert isinstance(stock_of(built_in_tools()).links[0], Link)


def test_a_tool_of_the_user_that_does_the_same_is_not_shown_beside_what_is_asked_for_in_vain() -> None:
    made = [tool("read_text_file", path=STRING), tool("read_multiple_files", paths={"type": "array", "items": STRING})]
    made += [tool("get_file_size", path=STRING), tool("write_file", path=STRING)]
    stock = stock_of([spoken_of(each) for each in made])
    text, several, size, write = (stock.tools[each.name].spec for each in made)
    draft = Draft(("Read logs/app.log.",), (), (), "", text)
    assert stock.might_do(several, draft)
    assert not stock.might_do(size, draft) and not stock.might_do(write, draft)


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
    assert not stock.might_do(lamp, replace(draft, absent=None, present=(lamp,)))


def test_a_tool_that_serves_what_small_talk_asks_for_is_not_shown_beside_it() -> None:
    search = Definition("web_search", "Search the web.", tool("x", query=STRING).parameters)
    phone = Definition("make_phone_call", "Call a person on the phone.", tool("x", contact=STRING).parameters)
    pizza = Definition("order_food", "Order food for delivery.", tool("x", what=STRING).parameters)
    paint = Definition("generate_image", "Draw a picture.", tool("x", prompt=STRING).parameters)
    people = Definition("get_population", "Population of a place.", tool("x", place=STRING).parameters)
    bake = Definition("bake", "Bread and cake.", tool("x", flour=STRING).parameters)
    stock = stock_of([spoken_of(each) for each in (search, phone, pizza, paint, people, bake)])
    served = {
        "What is the capital of Portugal?": {"web_search", "get_population"},
        "Please call Yusuf Demir right now.": {"make_phone_call"},
        "Can you order me a pizza?": {"order_food"},
        "Draw me a picture of a castle in Peru.": {"generate_image"},
        "What's the population of Oslo?": {"web_search", "get_population"},
        "Hello, how are you today?": set(),
        "Are you a robot?": set(),
    }
    for said, names in served.items():
        draft = Draft((said,), (), (), "")
        assert {each.name for each in stock.asked.tools if stock.might_do(each, draft)} >= names, said
        oven = stock.asked.tools[-1]
        assert not stock.might_do(oven, draft), said
        assert names or not any(stock.might_do(each, draft) for each in stock.asked.tools), said


def test_all_small_talk_of_the_built_in_tasks_that_a_tool_could_serve_is_known() -> None:
    every = {"name": "assistant", "description": "Ask the assistant anything, or chat with it."}
    own = Pool(built_in_pool("train", 0).tools, (), built_in_pool("train", 0).small_talk)
    texts = {text for seed in range(1500) if (text := _small_talk(own, seed))}
    unserved = {text.split()[0] for text in texts if not might_serve(every, text)}
    assert unserved == {"Are", "Do", "Hello,", "Hey,", "Hi,", "I", "Many", "Thank", "Thanks", "Wait,", "What"}


def _small_talk(pool: Pool, seed: int) -> str:
    draft = DRAFTS["no_tool"](pool, Random(seed))
    return draft.messages[0] if draft and draft.absent is None else ""


def test_a_search_of_the_web_is_not_shown_beside_what_is_looked_for_in_vain() -> None:
    search = Definition("web_search", "Search the web.", tool("x", query=STRING).parameters)
    people = Definition("get_population", "Population of a place.", tool("x", place=STRING).parameters)
    lamp = Definition("dim_lamp", "Dim the lamps of a room.", tool("x", where=STRING).parameters)
    stock = stock_of([spoken_of(each) for each in (search, people, lamp)])
    web, population, dim = stock.asked.tools
    assert stock.might_do(web, Draft(("How many live in Oslo?",), (), (), "", population))
    assert not stock.might_do(web, Draft(("Dim the lamp.",), (), (), "", dim))


def test_what_is_made_may_be_told_by_a_bare_id() -> None:
    number = {"type": "integer"}
    made = Definition("create_lead", "Creates a new lead.", tool("x", company=STRING).parameters, number)
    log = Definition("log_call", "Log a phone call.", tool("x", lead_id=number).parameters, {"type": "boolean"})
    stock = stock_of([spoken_of(made), spoken_of(log)])
    assert [(link.producer, link.field, link.parameter) for link in stock.links] == [("create_lead", "", "lead_id")]
    world = World({name: each.returns for name, each in stock.tools.items()}, 0)
    dialogue = next(made for seed in range(20) if (made := DIALOGUES["dependent"](stock, world, Random(seed))))
    first, second, *_ = dialogue.decide(stock.asked.tools, Random(0))
    result = json.loads(second.messages[-1]["content"])
    assert first.answer[0].name == "create_lead" and second.answer[0].arguments["lead_id"] == [result]
    count = Definition("count_lead", "Counts leads.", tool("x", company=STRING).parameters, number)
    assert stock_of([spoken_of(count), spoken_of(log)]).links == []

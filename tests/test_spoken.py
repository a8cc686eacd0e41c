"""Wordings for anybody's tools: they say what is required, sound like a request, and come out as calls that fit."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sample_tools import TEXT

from iterft.json_schema import value_faults
from iterft.rollout import settle_call
from iterft.synth.catalog import ToolSpec, reference
from iterft.synth.clauses import clauses_of, natural, question_for, said_name
from iterft.synth.deeds import deeds
from iterft.synth.drafts import DRAFTS, Draft, Pool, follow_up
from iterft.synth.ordered import is_crossed, ordered_pairs
from iterft.synth.spoken import SpokenTool
from iterft.synth.stock import built_in_tools, definition_of, spoken_of
from iterft.synth.thoughts import calls_thought
from iterft.synth.units import measured
from iterft.synth.values import Value
from iterft.synth.verbs import be, plural
from iterft.synth.wording import fill, slots
from iterft.toolsets.forms import load_toolset
from iterft.toolsets.parts import Definition


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> list[SpokenTool]:
    path: Path = tmp_path_factory.mktemp("tools") / "my_tools.py"
    path.write_text(TEXT)
    mine = [spoken_of(definition) for definition in load_toolset(path).definitions]
    return mine + [spoken_of(definition_of(tool)) for tool in built_in_tools()]


def test_every_wording_says_all_that_is_required_and_only_what_is_known(tools: list[SpokenTool]) -> None:
    for tool in tools:
        required = {parameter.path for parameter in tool.spec.parameters if parameter.required}
        for wording in (*tool.spec.imperatives, *tool.spec.queries):
            assert slots(wording) <= set(tool.spec.kinds)
            assert required <= slots(wording, spoken_always=True), tool.spec.name
        for path, wordings in tool.partials.items():
            assert all(required - slots(wording, spoken_always=True) == {path} for wording in wordings)
        for gap in tool.spec.gaps:
            assert required - slots(gap.query, spoken_always=True) == {gap.path}


def test_what_a_wording_binds_is_a_call_that_fits_the_schema(tools: list[SpokenTool]) -> None:
    random = Random(0)
    for tool in tools:
        for wording in (*tool.spec.imperatives, *tool.spec.queries):
            text, (bindings,) = fill(wording, tool.spec.kinds, random)  # type: ignore[misc]
            call = settle_call(reference(tool.spec, bindings))
            assert list(value_faults(dict(call.arguments), tool.spec.schema["parameters"])) == [], text
            assert not re.search(r"[{}~<>]|\[\]|  | ,|\.\.|\?\.", re.sub(r'"[^"]*"|\[[^a-z]*\]', "X", text)), text


def test_what_must_be_given_and_may_be_null_is_null_where_nobody_says_it() -> None:
    properties = {"desk": {"type": "string"}, "note": {"type": ["string", "null"]}, "hours": {"type": "integer"}}
    properties["note_to_all"] = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    schema = {"type": "object", "properties": properties, "required": ["desk", "note", "note_to_all"]}
    tool, random = spoken_of(Definition("book_desk", "Book a desk.", schema)).spec, Random(0)
    assert {gap.path for gap in tool.gaps} == {"desk"}
    seen = set()
    for wording in [*tool.imperatives, *tool.queries] * 8:
        _, (bindings,) = fill(wording, tool.kinds, random)  # type: ignore[misc]
        arguments = settle_call(reference(tool, bindings)).arguments
        assert {"desk", "note", "note_to_all"} <= arguments.keys() and arguments["desk"] is not None
        for name in ("note", "note_to_all"):
            assert (arguments[name] is None) == (name not in bindings)
            seen.add((name, arguments[name] is None))
        assert ("hours" in arguments) == ("hours" in bindings)
    assert len(seen) == 4


def test_a_request_for_a_change_says_what_is_changed_and_one_for_a_query_which() -> None:
    text = {"type": "string"}
    properties = {"pet_id": text, "name": text, "weight": {"type": "number"}}
    update = Definition(
        "update_pet", "Update a pet.", {"type": "object", "properties": properties, "required": ["pet_id"]}
    )
    query = Definition("query", "Run a query.", {"type": "object", "properties": {"sql": text}})
    given = {**text, "default": "all"}
    listing = Definition("list_pets", "List pets.", {"type": "object", "properties": {"kind": given}})
    for definition, least in ((update, 2), (query, 1), (listing, 0)):
        tool = spoken_of(definition).spec
        wordings = [*tool.imperatives, *tool.queries]
        assert min(len(slots(wording, spoken_always=True)) for wording in wordings) == least


def test_days_between_which_something_lasts_are_near_each_other() -> None:
    day = {"type": "string", "format": "date"}
    schema = {
        "type": "object",
        "properties": {"start_date": day, "end_date": day},
        "required": ["start_date", "end_date"],
    }
    tool, random = spoken_of(Definition("book_cabin", "Book a cabin.", schema)).spec, Random(0)
    lengths = []
    for _ in range(200):
        _, (bindings,) = fill(random.choice(tool.imperatives), tool.kinds, random)  # type: ignore[misc]
        first, last = (date.fromisoformat(bindings[name].accepted[0]) for name in ("start_date", "end_date"))
        lengths.append((last - first).days)
    assert min(lengths) >= 0 and sum(length <= 21 for length in lengths) > 190 and len(set(lengths)) > 10


@pytest.mark.parametrize(
    ("tool", "name", "form"),
    [
        ("list_directory", "path", "[a-z]+"),
        ("read_file", "path", r"\w+/\w+\.\w+"),
        ("move_file", "source", r"\w+/\w+\.\w+"),
        ("move_file", "new", r"\w+/\w+\.\w+"),
        ("move_money", "source", r"(?!.*/).*"),
    ],
)
def test_the_tool_tells_what_a_parameter_is_about_whose_name_does_not(tool: str, name: str, form: str) -> None:
    schema = {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}
    kind = spoken_of(Definition(tool, "Does it.", schema)).spec.kinds[name]
    assert all(re.fullmatch(form, kind.draw(Random(seed)).words) for seed in range(30))


def test_wordings_of_one_tool_differ(tools: list[SpokenTool]) -> None:
    for tool in tools:
        if tool.spec.parameters:
            assert len({repr(wording) for wording in tool.spec.imperatives}) > len(tool.spec.imperatives) / 2


@pytest.mark.parametrize(
    ("name", "description", "phrases"),
    [
        (
            "get_weather",
            "Weather of the coming days.",
            ["look up the weather", "look up the weather of the coming days"],
        ),
        ("searchFlights", "Search for flights between two airports.", ["flights", "flights between two airports"]),
        (
            "Calendar.add_event",
            "Create an event in the user's calendar.",
            ["add an event", "an event in your calendar"],
        ),
        ("place_order", "Place an order for a given customer.", ["place the order", "place an order"]),
        ("find_customer", "Look up a customer by name.", ["find the customer", "a customer"]),
        ("bmi", "Calculates the body mass index (BMI) of a person.", ["calculate the body mass index"]),
        ("sentiment_analyze", "", ["analyze the sentiment"]),
        ("ping", "", ["get the ping"]),
        ("hoist", "Hoists the flag", ["hoist the flag"]),
        ("drive_list_files", "", ["list files"]),
        ("search_files", "Recursively search for old files", ["search for files", "search for old files"]),
    ],
)
def test_what_a_tool_does_is_told_from_its_name_and_description(
    name: str, description: str, phrases: list[str]
) -> None:
    found = [deed.plain for deed in deeds(name, description)]
    assert len(found) == len(phrases)
    assert all(text.endswith(phrase.split(" ", 2)[-1]) for text, phrase in zip(found, phrases, strict=True)), found


@pytest.mark.parametrize(
    ("name", "description", "phrases"),
    [
        (
            "getUserProfile",
            "This function gets the profile of a user.",
            "get the user profile|get the profile of a user",
        ),
        ("unit_converter", "A tool to convert units.", "convert units"),
        ("tool", "A tool for converting units.", "convert units"),
        ("query_database", "Execute a read-only SQL query", "query the database|run a read-only SQL query"),
        ("logoutUser", "Logs out current logged in user session", "log out current logged in user session"),
        (
            "createUsersWithListInput",
            "Creates list of users with given input array",
            "create users with list input|create a list of users",
        ),
        ("browser_navigate", "Navigate to a URL", "go to a URL"),
        ("normalize", "Normalize text to lower case", "normalize text to lower case"),
        ("set_status", "Allows you to set the status of a ticket.", "set the status|set the status of a ticket"),
        ("dim_lamp", "Dim or brighten the lamps of a room.", "dim the lamp|dim or brighten the lamps of a room"),
        ("fetch", "Fetches a page from the web and extracts its text.", "get a page from the web and extract its text"),
        ("remove", "Removes the specified file from the disk.", "delete the file from the disk"),
        ("convert", "Converts a given amount, optionally rounded.", "convert an amount"),
        ("is_open", "Checks if a shop is open.", "find out whether a shop is open"),
        ("is_shut", "Return True if the door is shut, False otherwise.", "find out whether the door is shut"),
        ("who_is_on_call", "Who is on call for a service.", "find out who is on call"),
        ("interpret", "Say a text in another language.", "say a text in another language"),
        ("current_clock", "Say what time it is somewhere.", "find out what time it is somewhere"),
        ("frob_it", "Frobs stuff somehow.", "get the frob it"),
        ("a", "Use this tool to search the web and summarizes the results", "search the web and summarize the results"),
        ("b", "Get the time in a specific timezone", "get the time"),
        ("c", "This API can be used to log users into the system.", "log users into the system"),
        ("d", "A helper for problem-solving.", "get the d"),
        ("list_users", "List of users", "list users|get the list of users"),
        ("crop_image", "Resizes and crops an image.", "resize and crop an image"),
    ],
)
def test_sentences_of_every_sort_become_what_one_asks_for(name: str, description: str, phrases: str) -> None:
    assert "|".join(deed.plain for deed in deeds(name, description)) == phrases


def test_what_is_there_several_times_is_told_from_the_noun_alone() -> None:
    assert be("exchange rate between two currencies") == "is"
    assert be("flights to a city") == "are"


def test_a_parameter_called_by_a_preposition_or_a_question_word_stands_by_itself() -> None:
    text = {"type": "string"}
    assert clauses_of("when", text, ()) == [", when: {when}"]
    assert set(clauses_of("to", text, ())) == {" to {to}", ", to: {to}"}
    assert set(clauses_of("from_unit", text, (" from",))) == {", from unit: {from_unit}"}
    assert clauses_of("to", {"type": "array", "items": text}, ()) == [", to: {to}"]
    assert "the when" not in " ".join(question_for("when", text))


@pytest.mark.parametrize(
    ("name", "description", "said", "way"),
    [
        ("weight_kg", "", "weight", "{}kg"),
        ("maxPriceEUR", "", "max price", "€{}"),
        ("speed_meters_per_second", "", "speed", "{}m/s"),
        ("temperature", "Target in degrees Celsius", "temperature", "{}°C"),
        ("volume_l", "Volume in litres", "volume", "{}L"),
        ("radius_nm", "Radius in nautical miles. Defaults to 20", "radius", "{} nautical miles"),
        ("molarity", "Concentration in mol/L", "", ""),
        ("density", "Density in kilograms per cubic meter", "", ""),
        ("acceleration", "In meters per second squared", "", ""),
        ("speed", "Speed in kilometers per hour of the car", "speed", "{} km/h"),
        ("minutes", "Length in minutes", "", ""),
        ("num_days", "Days off", "", ""),
        ("litres_per_hectare", "Amount of spray", "", ""),
        ("birth_year", "Year of birth", "", ""),
        ("count", "How many", "", ""),
    ],
)
def test_the_unit_of_a_number_is_told_by_name_or_description(name: str, description: str, said: str, way: str) -> None:
    noun, ways = measured(name, description)
    assert noun == said and (way in ways if way else ways == ())


def test_a_number_is_said_with_its_unit_or_alone() -> None:
    forms = clauses_of("weight_kg", {"type": "number"}, ())
    assert {" with weight {weight_kg}kg", " with a weight of {weight_kg} kilograms", ", weight kg: {weight_kg}"} <= {
        *forms
    }
    assert " with an age of {age}" in clauses_of("age", {"type": "integer"}, ())
    assert not any(" with a " in form for form in clauses_of("age", {"type": "string"}, ()))
    assert not any(" with a " in form for form in clauses_of("points", {"type": "integer"}, ()))


def test_measures_of_one_thing_are_joined_and_are_one_call() -> None:
    number = {"type": "number"}
    spec = spoken_with("cut_panel", "Cut a panel.", width_mm=number, height_mm=number)
    filled = [fill(wording, spec.kinds, Random(0)) for wording in (*spec.imperatives, *spec.queries)]
    assert all(found and len(found[1]) == 1 for found in filled)
    joined = [found[0] for found in filled if found and re.search(r" with an? .* and an? (width|height)", found[0])]
    assert joined and all(len(re.findall(" with ", text)) == 1 for text in joined)


@pytest.mark.parametrize(
    ("name", "kind", "is_said"),
    [("tags", "array", 1), ("cast", "array", 0), ("tags", "object", 0), ("num_guests", "array", 0)],
)
def test_these_are_several(name: str, kind: str, is_said: int) -> None:
    assert any(" with these" in form for form in clauses_of(name, {"type": kind}, ())) == bool(is_said)


def test_a_number_of_things_is_said_in_full() -> None:
    of_nights = clauses_of("numNights", {"type": "integer"}, (" for",))
    assert of_nights and all("number of nights" in form for form in of_nights)
    assert question_for("num_nights", {"type": "integer"})[-1] == "How many nights?"
    assert said_name("num_made") == "num made" and said_name("nums") == "nums"


def spoken_with(name: str, description: str, **properties: Any) -> ToolSpec:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return spoken_of(Definition(name, description, schema)).spec


def drafts(kind: str, *tools: ToolSpec) -> list[Draft]:
    pool = Pool(tools, (), ())
    return [draft for seed in range(120) if (draft := DRAFTS[kind](pool, Random(seed)))]


def test_a_value_that_is_answered_stays_as_it_is_written() -> None:
    tool = spoken_with("open_file", "Open a file.", path={"type": "string", "enum": ["sunset-02.jpg", "iPad notes"]})
    replies = [follow_up(tool, Random(seed)).messages[-1] for seed in range(60)]
    assert all("sunset-02.jpg" in text or "iPad notes" in text for text in replies)


def test_a_free_text_that_is_answered_alone_is_in_quotes_where_more_is_said() -> None:
    tool = spoken_with("draw_picture", "Draw a picture.", prompt={"type": "string"}, style={"type": "string"})
    for seed in range(60):
        draft = follow_up(tool, Random(seed))
        prompt, reply = draft.calls[0].arguments["prompt"][0], draft.messages[-1]
        assert prompt not in reply or reply == prompt or f'"{prompt}"' in reply


def test_the_same_for_another_value_names_what_it_is_of_where_that_is_not_plain() -> None:
    number = {"type": "number"}
    loan = spoken_with("compute_loan", "Compute a loan.", principal=number, rate=number)
    said = [draft.messages[0] for draft in drafts("parallel_same", loan) if "ame " in draft.messages[0]]
    assert said and all(re.search(r"[Ss]ame(?: thing)? for (?:principal|rate) ", text) for text in said)
    lone = spoken_with("measure_heat", "Measure the heat.", room={"type": "string"}, floor={"type": "integer"})
    said = [draft.messages[0] for draft in drafts("parallel_same", lone) if "ame " in draft.messages[0]]
    assert said and not any(re.search(r"[Ss]ame(?: thing)? for (?:room|floor) ", text) for text in said)


def test_of_what_is_set_only_what_tells_which_one_is_said_several_times() -> None:
    heat = spoken_with("set_heat", "Set the heat.", room={"type": "string"}, degrees={"type": "integer"})
    for draft in drafts("parallel_same", heat):
        assert len({call.arguments["room"][0] for call in draft.calls}) == len(draft.calls)
    level = {"type": "integer"}
    assert drafts("parallel_same", spoken_with("set_levels", "Set both levels.", one=level, other=level)) == []


def test_a_lower_end_is_said_below_the_higher_one() -> None:
    day, number, city = {"type": "string", "format": "date"}, {"type": "integer"}, {"type": "string"}
    trip = spoken_with(
        "plan_trip", "Plan a trip.", departure_date=day, return_date=day, min_price=number, max_price=number
    )
    flight = spoken_with("find_flight", "Find a flight.", origin=city, destination=city, start=day, end=day)
    for kind in ("single", "parallel_same", "parallel_different"):
        for call in (call for draft in drafts(kind, trip, flight) for call in draft.calls):
            values = {name: accepted[0] for name, accepted in call.arguments.items()}
            for low, high in (("departure_date", "return_date"), ("min_price", "max_price"), ("start", "end")):
                assert low not in values or values[low] <= values[high], values
            assert "origin" not in values or values["origin"] != values["destination"]
    for seed in range(60):
        values = {name: accepted[0] for name, accepted in follow_up(trip, Random(seed)).calls[0].arguments.items()}
        assert values["departure_date"] <= values["return_date"] and values["min_price"] <= values["max_price"]


def test_ends_of_one_thing_are_told_by_their_names() -> None:
    assert ordered_pairs(["minPrice", "max_price", "start", "end", "to"]) == [
        ("minPrice", "max_price"),
        ("start", "end"),
    ]
    assert is_crossed(3, 2) and is_crossed("2026-03-04", "2026-03-03") and is_crossed("18:00", "09:30")
    assert not is_crossed("Oslo", "Bergen") and not is_crossed(1, "0") and not is_crossed(1, 2)


def test_a_thought_about_a_users_tool_names_what_the_call_has() -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"type": "string", "enum": ["celsius", "kelvin"], "default": "celsius"},
            "is_long": {"type": "boolean"},
        },
        "required": ["city", "is_long"],
    }
    tool = spoken_of(Definition("get_weather", "Get the weather.", schema)).spec
    bindings = {"city": Value("oslo", ("Oslo",)), "is_long": Value("", (True,)), "unit": Value("celsius", ("celsius",))}
    assert calls_thought([(tool, bindings)]) == 'get the weather: get_weather, city = Oslo ("oslo"), is_long = true'
    bindings["unit"] = Value("kelvin", ("kelvin",))
    assert "unit = kelvin" in calls_thought([(tool, bindings)])


def test_a_flag_is_said_by_its_name_either_way() -> None:
    said = " ".join(clauses_of("include_tax", {"type": "boolean"}, ()))
    assert "{include_tax=true}" in said and "{include_tax=false}" in said and "tax" in said


@pytest.mark.parametrize("boolean", [{"anyOf": [{"type": "boolean"}, {"type": "null"}]}, {"type": ["boolean", "null"]}])
def test_a_flag_that_may_be_null_is_said_by_its_name_too(boolean: dict[str, Any]) -> None:
    tool = spoken_with("rotate_secret", "Rotate a secret.", secret={"type": "string"}, force=boolean)
    assert [gap.path for gap in tool.gaps if gap.path == "force"] == []
    values = set()
    for draft in drafts("single", tool):
        (value,) = draft.calls[0].arguments["force"]
        values.add(value)
        yes, no = r"force(: yes| on| enabled| set to true)", r"force(: no| off| disabled| set to false)"
        said = {True: yes, False: no, None: ""}[value]
        assert re.search(said, draft.messages[0]), draft.messages
        assert value is not None or "force" not in draft.messages[0]
    assert values == {True, False, None}


def test_a_text_that_may_be_null_is_quoted_like_any_other() -> None:
    text = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    forms = clauses_of("notes", text, ())
    assert forms == clauses_of("notes", {"type": "string"}, ()) and all('"{notes}"' in form for form in forms)
    choice = {"anyOf": [{"type": "string", "enum": ["low", "high"]}, {"type": "null"}]}
    assert "Which level would you like: low or high?" in question_for("level", choice)


@pytest.mark.parametrize(
    ("names", "preposition"),
    [
        ("date day weekday start_date arrival_date appointment_date checkin_date", " on"),
        ("due_date deadline due_by", " due"),
        ("until end_date end_time", " until"),
        ("time start_time at", " at"),
        ("source_language source from_account departure_city pickup_address", " from"),
        ("target_language output_currency", " into"),
        ("destination destination_city to_unit recipient_email", " to"),
        ("city room hotel_name currency language temperature_unit timezone room_number", " in"),
        ("expiry_date date_of_birth birth_date valid_until", ""),
        ("base_currency birth_city city_of_birth source_text address branch", ""),
        ("target_ph target target_user client_secret subject_id retention_days", ""),
    ],
)
def test_a_preposition_goes_with_what_the_whole_name_means(names: str, preposition: str) -> None:
    assert {name: natural(name)[0] for name in names.split()} == dict.fromkeys(names.split(), preposition)


def test_first_and_last_names_are_no_ends_of_one_thing() -> None:
    names = ["first_name", "last_name", "first_page", "last_page", "firstDate", "lastDate"]
    assert ordered_pairs(names) == [("first_page", "last_page"), ("firstDate", "lastDate")]
    text = {"type": "string"}
    tool = spoken_with("add_patient", "Add a patient.", first_name=text, last_name=text)
    for draft in drafts("parallel_same", tool):
        persons = [tuple(value[0] for value in call.arguments.values()) for call in draft.calls]
        assert len({*persons}) == len(persons)


def test_a_preposition_that_another_parameter_has_is_not_used_twice() -> None:
    assert any(form.startswith(" in {city}") for form in clauses_of("city", {"type": "string"}, ()))
    assert not any(form.startswith(" in {city}") for form in clauses_of("city", {"type": "string"}, (" in",)))


def test_a_parameter_whose_name_cannot_be_worded_is_refused_with_its_tool() -> None:
    schema = {"type": "object", "properties": {"a.b": {"type": "string"}}}
    with pytest.raises(ValueError, match=r"tool f: a\.b: a name with a blank, a dot"):
        spoken_of(Definition("f", "Does it.", schema))


def test_plurals() -> None:
    assert [plural(word) for word in ("city", "day", "box", "name")] == ["cities", "days", "boxes", "names"]

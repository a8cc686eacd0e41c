"""Values for anybody's parameters: each fits its schema and can be found in the words that say it."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

import jsonschema
import pytest

from iterft.rollout import settle
from iterft.synth.branches import is_flag
from iterft.synth.descriptions import bounds_in
from iterft.synth.grounding import Said, leaves
from iterft.synth.patterns import draw_matching, is_drawable
from iterft.synth.typed import fields_of, kind_for, topic_of

SCHEMAS: dict[str, dict[str, Any]] = {
    "city": {"type": "string"},
    "unit": {"type": "string", "enum": ["metric_system", "imperial_system"]},
    "level": {"type": "integer", "enum": [1, 5, 9]},
    "when": {"type": "string", "format": "date-time"},
    "birthday": {"type": "string", "format": "date"},
    "address": {"type": "string", "format": "email"},
    "site": {"type": "string", "format": "uri"},
    "server_ip": {"type": "string", "format": "ipv4"},
    "token": {"type": "string", "format": "uuid"},
    "code": {"type": "string", "pattern": "^[A-Z]{2}-\\d{3,5}(?:x|yz)?$"},
    "cep": {"type": "string", "pattern": "^\\d+$", "minLength": 8, "maxLength": 8},
    "pin": {"type": "string", "minLength": 30, "maxLength": 32},
    "days": {"type": "integer", "minimum": 3, "maximum": 5},
    "ratio": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "price": {"type": "number", "multipleOf": 0.25, "minimum": 1},
    "temperature": {"type": "number", "maximum": -5},
    "shade": {"type": "string", "description": "Shade, e.g. 'ash grey' or 'moss green'"},
    "keys": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 3, "uniqueItems": True},
    "sizes": {"type": "array", "items": {"type": "number"}},
    "corners": {"type": "array", "items": {"type": "boolean"}, "minItems": 4, "maxItems": 4},
    "grid": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
    "home": {
        "type": "object",
        "properties": {
            "street": {"type": "string"},
            "floor": {"type": "integer", "default": 0},
            "is_flat": {"type": "boolean"},
            "owner": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
        },
        "required": ["street"],
    },
    "lines": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"product": {"type": "string"}, "quantity": {"type": "integer"}},
            "required": ["product", "quantity"],
        },
    },
    "labels": {"type": "object", "additionalProperties": {"type": "integer"}},
    "free": {"type": "object"},
    "wait": {"type": "string", "format": "duration"},
    "address6": {"type": "string", "format": "ipv6"},
    "patch": {
        "type": "object",
        "minProperties": 2,
        "properties": {"reason": {"type": "string"}, "hours": {"type": "integer"}, "owner": {"type": "string"}},
    },
    "few": {
        "type": "object",
        "maxProperties": 1,
        "properties": {"reason": {"type": "string"}, "hours": {"type": "integer"}},
    },
    "notes": {"type": "object", "minProperties": 3},
    "state": {"type": "string", "enum": ["", "open", "closed"]},
    "mark": {"type": "string", "pattern": "^[a-c]*$"},
    "either": {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]},
    "maybe": {"type": ["number", "null"]},
    "force": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    "setting": {"type": ["integer", "string", "boolean"]},
    "labels_or_none": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_value_fits_its_schema_and_is_in_its_words(name: str) -> None:
    kind, random = kind_for(name, SCHEMAS[name]), Random(3)
    validator = jsonschema.Draft202012Validator(SCHEMAS[name], format_checker=jsonschema.FormatChecker())
    drawn = [kind.draw(random) for _ in range(200)]
    assert len({value.words for value in drawn}) > 1
    for value in drawn:
        assert value.words.strip()
        for accepted in value.accepted:
            validator.validate(settle(accepted))
        said = Said(value.words)
        for path, leaf in leaves(settle(value.accepted[0]), name):
            assert isinstance(leaf, bool) or said.holds(path, leaf), (value, leaf)


def drawn(name: str, kind: str, description: str) -> list[Any]:
    made = kind_for(name, {"type": kind, "description": description})
    return [made.draw(Random(seed)).accepted[0] for seed in range(40)]


def test_a_boolean_is_said_true_or_false_and_null_is_never_a_value() -> None:
    for schema in (SCHEMAS["force"], {"type": ["boolean", "null"]}, {"type": "boolean", "nullable": True}):
        values = [kind_for("force", schema).draw(Random(seed)) for seed in range(20)]
        assert {(value.words, value.accepted) for value in values} == {("true", (True,)), ("false", (False,))}
    said = {kind_for("setting", SCHEMAS["setting"]).draw(Random(seed)).words for seed in range(60)}
    assert {"true", "false"} < said and "" not in said


def test_what_is_said_beside_the_branches_of_a_schema_holds_for_each() -> None:
    schema = {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "Phone number in E.164"}
    assert re.fullmatch(r"\+\d{9,15}", kind_for("contact", schema).draw(Random(0)).words)


def test_a_flag_is_a_boolean_that_may_be_either() -> None:
    assert is_flag({"type": "boolean"}) and is_flag({"type": "boolean", "enum": [False, True]})
    assert is_flag({"anyOf": [{"type": "null"}, {"type": "boolean"}]})
    assert not is_flag({"type": "boolean", "enum": [True]})
    assert not is_flag({"anyOf": [{"type": "boolean"}, {"type": "string"}]})


@pytest.mark.parametrize(
    ("name", "kind", "description", "form"),
    [
        ("birthday", "string", "Date as DD/MM/YYYY", r"([0-2]\d|3[01])/(0\d|1[0-2])/202\d"),
        ("day", "string", "mm/dd/yyyy", r"(0\d|1[0-2])/([0-2]\d|3[01])/202\d"),
        ("expiry", "string", "Of the card, MM/YY", r"(0\d|1[0-2])/2\d"),
        ("moment", "string", "YYYY-MM-DD HH:MM:SS", r"202\d-\d\d-\d\d \d\d:\d\d:00"),
        ("begin", "string", "DD.MM.YYYY HH:MM", r"\d\d\.\d\d\.202\d \d\d:\d\d"),
        ("phone", "string", "In E.164 format", r"\+[1-9]\d{8,14}"),
        ("since", "string", "Unix timestamp", r"1[78]\d{8}"),
        ("since", "integer", "Seconds since the epoch", r"1[78]\d{8}"),
        ("since", "number", "Unix time in milliseconds", r"1[78]\d{8}000"),
        ("user", "string", "Unix user name", r"\w+ \w+"),
        ("cron", "string", 'Cron expression, e.g. "0 3 * * *"', r"\S+ \S+ \S+ \S+ \S+"),
        ("query", "string", "PromQL, e.g. 'rate(http_requests_total[5m])'", r"rate\(http_requests_total\[5m\]\)"),
        ("id", "string", 'label, e.g. "S-042"', r"S-\d{3}"),
        ("room", "string", 'Room number, e.g. "B12"', r"B\d\d"),
        ("number", "string", 'Such as "INV-2026-0113"', r"INV-2026-\d{4}"),
        ("codec", "string", 'E.g. "H264"', "H264"),
        ("state", "string", 'US state, e.g. "CA"', "[A-Z]{2}"),
        ("place", "string", "The city and state, e.g. San Francisco, CA", r"[A-Z][a-z]+( [A-Z][a-z]+)?, [A-Z]{2}"),
        ("memo", "string", 'A note (e.g. "don\'t forget the milk")', "don't forget the milk"),
        ("thread_ts", "string", "Time of the message, in the format '1234567890.123456'", r"\d{10}\.\d{6}"),
        ("since", "string", "A duration like 5s, 2m, or 3h", "5s|2m|3h"),
        ("cite", "string", "Citation, e.g. 410 U.S. 113", r"410 U\.S\. 113"),
        ("city", "string", "In the format 'City, State'", "[A-Z].*"),
        ("host", "string", "Hostname of the server", r"\w+\.\w+\.example"),
        ("path", "string", "Path of the directory", "[a-z]+"),
        ("path", "string", "Where it is", r"\w+/\w+\.\w+"),
        ("iban", "string", "IBAN of the account", r"[A-Z]{2}\d\d[A-Z0-9]{11,}"),
        ("moment", "string", "ISO 8601 timestamp", r"\d{4}-\d\d-\d\dT\d\d:\d\d:00"),
        ("moment", "string", "RFC 3339", r"\d{4}-\d\d-\d\dT\d\d:\d\d:00Z"),
        ("pull_number", "number", "Number of the pull request", r"\d+"),
        ("page", "number", "Of the results", r"\d+"),
        ("query", "string", "SQL query to run", "SELECT .*"),
        ("query", "string", "What to look for", "(?!SELECT).*"),
        ("image", "string", "Docker image", r"[\w-]+:\S+"),
        ("name", "string", "First name of the guest", r"\w+"),
        ("start", "string", "Start of the stay", r"\d{4}-\d\d-\d\d"),
        ("start", "string", "Address to start from", r"\d+ .*"),
        ("since", "string", "Given time (ISO 8601 format)", r"\d{4}-\d\d-\d\dT\d\d:\d\d:00"),
        ("temperature", "number", "Sampling temperature", r"[01](\.\d+)?"),
        ("md5", "string", "Of the file", "[0-9a-f]{32}"),
        ("acct_no", "string", "No.", r"AC-\d{6}"),
        ("qty", "integer", "Qty", r"\d+"),
        ("head", "number", "Only the first N lines", r"\d+"),
        ("width", "number", "Width in pixels", r"\d{3,4}"),
    ],
)
def test_the_form_or_the_example_in_a_description_tells_more_than_the_name(
    name: str, kind: str, description: str, form: str
) -> None:
    for value in drawn(name, kind, description):
        assert re.fullmatch(form, str(value)) and isinstance(value, str) == (kind == "string"), value


def test_an_example_of_what_the_name_tells_is_one_of_many() -> None:
    assert len({*drawn("city", "string", 'Name of the city, e.g. "Paris"')}) > 5
    assert len({*drawn("status", "string", 'Status, e.g. "shipped"')}) > 2


@pytest.mark.parametrize(
    ("name", "kind", "description", "low", "high"),
    [
        ("target_ph", "number", "pH to reach, between 0 and 14", 0, 14),
        ("wavelength", "integer", "Wavelength in nm, 190 to 1100", 190, 1100),
        ("temperature", "number", "Sampling temperature between 0 and 2", 0, 2),
        ("share", "integer", "Percent (0-100)", 0, 100),
        ("heat", "number", "Degrees, -20.5 to -3", -20.5, -3),
        ("top_p", "number", "Nucleus mass in [0, 1]", 0, 1),
        ("count", "integer", "At most 5", 1, 5),
        ("items", "integer", "At least 1,000 of them", 1000, 10**6),
        ("stars", "integer", "minimum 3, maximum 9", 3, 9),
        ("days", "integer", "Up to 60", 1, 60),
        ("x", "number", "Rounded up to 3 decimals", 0.1, 100),
    ],
)
def test_numbers_keep_to_the_bounds_that_a_description_says(
    name: str, kind: str, description: str, low: float, high: float
) -> None:
    values = drawn(name, kind, description)
    assert all(low <= value <= high for value in values), values
    assert len(set(values)) > 2


def test_declared_bounds_come_before_those_of_a_description() -> None:
    schema = {"type": "integer", "minimum": 20, "description": "Between 0 and 50"}
    assert all(20 <= kind_for("n", schema).draw(Random(seed)).accepted[0] <= 50 for seed in range(40))
    assert topic_of("n", schema) != topic_of("n", {"type": "integer", "minimum": 20})
    assert bounds_in("Year 2026-03-04, or 5 to 3") == (None, None)


def test_codes_that_a_description_names_come_before_any_text_of_the_pattern() -> None:
    schema = {"type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217 currency code"}
    assert {kind_for("x", schema).draw(Random(seed)).words for seed in range(60)} >= {"EUR", "USD", "JPY"}
    other = {**schema, "pattern": "^[A-Z]{2}\\d$"}
    assert all(re.fullmatch(r"[A-Z]{2}\d", kind_for("x", other).draw(Random(seed)).words) for seed in range(20))


def test_a_number_that_is_no_count_may_have_decimals() -> None:
    assert any(value % 1 for value in drawn("price", "number", "Price")) and all(
        value % 1 == 0 for value in drawn("page", "number", "Page")
    )


def test_a_number_that_has_a_unit_is_said_in_digits() -> None:
    schema = {"type": "integer", "description": "Consumption in kilowatt hours"}
    said = {kind_for("yearly_kwh", schema).draw(Random(seed)).words for seed in range(60)}
    assert all(words.replace(",", "").isdigit() for words in said)
    guests = {kind_for("guests", {"type": "integer"}).draw(Random(seed)).words for seed in range(60)}
    assert "three" in guests


def test_a_list_of_lists_is_said_with_its_brackets() -> None:
    kind = kind_for("grid", SCHEMAS["grid"])
    for seed in range(40):
        value = kind.draw(Random(seed))
        assert json.loads(value.words) == value.accepted[0]


def test_first_and_last_names_are_one_word_each() -> None:
    first, last = drawn("first_name", "string", ""), drawn("guest_surname", "string", "")
    assert all(re.fullmatch(r"\w+", name) for name in (*first, *last)) and {*first}.isdisjoint(last)
    assert topic_of("first_name", {"type": "string"}) != topic_of("last_name", {"type": "string"})


def test_a_time_of_rfc_3339_has_seconds_and_a_zone_and_either_may_be_left_out() -> None:
    for seed in range(20):
        value = kind_for("at", {"type": "string", "format": "time"}).draw(Random(seed))
        clock = value.words
        assert re.fullmatch(r"\d\d:\d\d:00", clock) and value.accepted == (f"{clock}Z", clock, clock[:5])
        assert Said(clock).holds("at", f"{clock}Z") and not Said("12:00:01").holds("at", f"{clock}Z")
    assert re.fullmatch(r"\d\d:\d\d", drawn("at", "string", "HH:MM")[0]), "only the format wants seconds"


@pytest.mark.parametrize("only", [1, 0.7])
def test_bounds_that_leave_one_number_are_that_number(only: float) -> None:
    kind = kind_for("share", {"type": "number", "minimum": only, "maximum": only})
    assert kind.draw(Random(0)).accepted == (only,)


def test_names_and_descriptions_tell_what_a_text_is_about() -> None:
    random = Random(0)
    assert "@" in kind_for("contact_email", {"type": "string"}).draw(random).words
    assert "@" in kind_for("x", {"type": "string", "description": "The e-mail address to use"}).draw(random).words
    assert kind_for("orderDate", {"type": "string"}).draw(random).accepted[0].startswith("202")
    free, fixed = kind_for("date", {"type": "string"}), kind_for("date", {"type": "string", "format": "date"})
    for seed in range(20):
        value = free.draw(Random(seed))
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", value.accepted[0])
        assert value.words in value.accepted, "a day in a form that nothing prescribes may be written as it was said"
        assert fixed.draw(Random(seed)).accepted == value.accepted[:1]


def test_examples_in_a_description_are_used_and_forms_are_not_taken_for_values() -> None:
    shades = {kind_for("shade", SCHEMAS["shade"]).draw(Random(seed)).words for seed in range(30)}
    assert shades == {"ash grey", "moss green"}
    schema = {"type": "string", "description": "First day, e.g. DD/MM/YYYY"}
    assert "DD" not in kind_for("start_date", schema).draw(Random(0)).words


@pytest.mark.parametrize(
    ("name", "schema", "form"),
    [
        (
            "off",
            {"type": "array", "items": {"type": "string"}, "description": "Days, each as YYYY-MM-DD"},
            "2026-03-04",
        ),
        ("regions", {"type": "array", "items": {"type": "string"}, "description": "E.g. 'EMEA', 'APAC'"}, "EMEA|APAC"),
        (
            "start",
            {"type": "string", "description": "When it all begins and the doors open (yyyy-mm-dd)"},
            "2026-03-04",
        ),
        ("start", {"type": "string", "description": "ISO 8601 date"}, "2026-03-04"),
        ("at", {"type": "string", "description": "Moment as YYYY-MM-DD HH:MM"}, "2026-03-04 07:30"),
        ("at", {"type": "string", "description": "ISO 8601 timestamp"}, "2026-03-04T07:30:00"),
        ("origin", {"type": "string", "description": "IATA code of the airport of departure"}, "LIS"),
        ("country", {"type": "string", "description": "ISO 3166-1 alpha-2"}, "DE"),
        ("country", {"type": "string", "description": "Country code"}, "DE"),
        ("country", {"type": "string", "description": "ISO code"}, "DE"),
        ("country", {"type": "string", "description": "Three-letter country code"}, "DEU"),
        ("language", {"type": "string", "description": "ISO 639-1 code"}, "en"),
        ("sort", {"type": "string", "description": "One of: price, name"}, "price|name"),
        ("span", {"type": "string", "description": "An ISO 8601 duration"}, "P3D|PT45M"),
        ("shade", {"type": "string", "format": "color"}, "#3a7bd5"),
    ],
)
def test_a_description_that_prescribes_a_form_or_a_code_is_kept_to(
    name: str, schema: dict[str, Any], form: str
) -> None:
    """`form`: values, or one of which the signs are taken for any of their sort."""
    pattern = re.sub(r"\d", r"\\d", re.sub("[A-Z]", "[A-Z]", re.sub("[a-z]", "[a-z]", form)))
    for seed in range(30):
        (first, *_) = kind_for(name, schema).draw(Random(seed)).accepted
        for value in first if isinstance(first, list) else [first]:
            if "|" in form and not form.startswith("P"):
                assert value in form.split("|")
            else:
                assert re.fullmatch(r"P[0-9DTHMSW]+" if form.startswith("P") else pattern, value) or "#" in form, value


def test_an_id_of_somebody_is_no_name() -> None:
    several = {"type": "array", "items": {"type": "string"}, "description": "Ids of the customers"}
    for schema in (several["items"] | {"description": "Id of the customer"}, several):
        assert any(sign.isdigit() for sign in str(kind_for("ids", schema).draw(Random(0)).words)), schema


def test_names_go_on_telling_what_no_description_narrows() -> None:
    plain = kind_for("country", {"type": "string", "description": "Country of birth"})
    assert {len(plain.draw(Random(seed)).words) for seed in range(20)} != {2}
    assert topic_of("origin", {"type": "string", "description": "IATA code"}) != topic_of("origin", {"type": "string"})


def test_an_object_has_as_many_fields_as_it_must() -> None:
    random = Random(0)
    for name, least, most in (("patch", 2, 3), ("few", 1, 1), ("notes", 3, 6)):
        sizes = {len(kind_for(name, SCHEMAS[name]).draw(random).accepted[0]) for _ in range(40)}
        assert min(sizes) >= least and max(sizes) <= most
    with pytest.raises(ValueError, match="p: minProperties is 2, but only 1 fields are known"):
        kind_for("p", {"type": "object", "minProperties": 2, "properties": {"a": {"type": "string"}}})


def test_of_two_ends_in_an_object_the_lower_one_is_below() -> None:
    bound = {"type": "number"}
    span = {"type": "object", "properties": {"high": bound, "low": bound}, "required": ["low", "high"]}
    kind, random = kind_for("span", span), Random(0)
    assert all(value["low"] <= value["high"] for value in (settle(kind.draw(random).accepted[0]) for _ in range(60)))


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"anyOf": [{"type": "null"}]}, "odd: anyOf allows nothing but null"),
        ({"type": "string", "enum": [""]}, "odd: no value could be made"),
        ({"type": "string", "format": "frobnicated"}, "odd: format 'frobnicated' is not known; give it `examples`"),
    ],
)
def test_what_holds_nothing_that_can_be_said_is_refused_by_name(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        kind_for("odd", schema)
    assert (
        kind_for(
            "odd",
            {**schema, "anyOf": [{"type": "string", "examples": ["x"]}]}
            if "anyOf" in schema
            else {
                **schema,
                "enum": ["x"],
            },
        )
        .draw(Random(0))
        .words
        == "x"
    )


def test_a_format_that_is_not_known_leaves_what_the_name_says() -> None:
    assert "@" in kind_for("email", {"type": "string", "format": "frobnicated"}).draw(Random(0)).words


def test_a_parameter_for_which_no_value_can_be_made_is_refused_by_name() -> None:
    schema = {"type": "string", "pattern": "^(?=x)y$"}
    with pytest.raises(ValueError, match="odd: no value could be made"):
        kind_for("odd", schema)


def test_two_parameters_of_one_topic_are_known_as_such() -> None:
    city, text = {"type": "string", "description": "a"}, {"type": "string"}
    assert topic_of("origin", city) == topic_of("destination", text)
    assert topic_of("origin", text) != topic_of("title", text)


def test_scalar_fields_of_a_result_are_found_in_objects_and_lists() -> None:
    schema = {"properties": {"a": {"type": "string"}, "b": {"type": "array", "items": SCHEMAS["lines"]["items"]}}}
    assert [path for path, _ in fields_of(schema)] == ["a", "b[].product", "b[].quantity"]


@pytest.mark.parametrize(
    "pattern",
    ["^[a-z]+$", "a|b{2}", "(x[0-9]{2,3}){2}", r"\w\d\s.", "[^a-y0-9]", r"^\+?[1-9]\d{1,14}$", r"a\.b\-c", "[]x]"],
)
def test_texts_match_their_pattern(pattern: str) -> None:
    for seed in range(50):
        assert re.search(pattern, draw_matching(pattern, Random(seed)))


@pytest.mark.parametrize("pattern", ["(?=a)b", "(a", "[a", "a{x}", "*a", r"(a)\1", r"\bword", "a)"])
def test_patterns_that_are_not_read_are_refused(pattern: str) -> None:
    assert not is_drawable(pattern)

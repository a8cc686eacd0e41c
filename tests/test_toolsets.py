"""Tools of every form: what is read, with which schema, and what is refused with which field named."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from iterft.synth.world import returns_of
from iterft.toolsets.docstrings import parameter_texts, summary
from iterft.toolsets.forms import load_toolset

PYTHON = '''
from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple, NotRequired, Optional, TypedDict, Union


class Unit(enum.Enum):
    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


@dataclass
class Address:
    """Where to.

    Args:
        street: Street and number
    """

    street: str
    city: str
    tags: list[str] = field(default_factory=list)
    floor: int = 0


class Point(NamedTuple):
    lat: float
    lon: float


class Filters(TypedDict):
    low: float
    high: NotRequired[float]


class Failure(Exception):
    """No tool."""


class Note:
    def __init__(self, ge=None, max_length=None):
        self.ge, self.max_length = ge, max_length


def get_weather(city: str, days: int = 3, unit: Unit = Unit.CELSIUS) -> dict[str, float]:
    """Weather of the coming days.

    More of it.

    Args:
        city (str): City name,
            as on a map
        days: Number of days

    Returns:
        One number a day.
    """
    raise AssertionError("tools are never called")


async def ship(to: Address, when: datetime.date, boxes: list[list[int]], via: Optional[Point] = None) -> None:
    """Ship boxes.

    Parameters
    ----------
    when : datetime.date
        Day of pick-up
    boxes
        Numbers of boxes
    """


def find(
    query: Annotated[str, "What to look for", Note(max_length=20)],
    mode: Literal["exact", "fuzzy"],
    filters: Filters,
    size: Annotated[int, Note(ge=1)],
    price: Union[int, str],
    ratio: float | None = None,
    *,
    labels: dict[str, str],
) -> Address:
    """Find things.

    :param mode: How to
        look
    :param filters: Bounds of the price
    """


class Calendar:
    """A calendar."""

    def add(self, title: str) -> str:
        """Add an event."""

    @staticmethod
    def zone(name: str) -> str:
        """Set the zone."""

    @classmethod
    def of(cls, owner: str) -> Calendar:
        """The calendar of somebody."""

    def _hidden(self, x):
        pass


def _helper(x):
    return x
'''

TOOL = {
    "name": "get_weather",
    "description": "Weather of the coming days.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
ANTHROPIC_TOOL = {"input_schema" if key == "parameters" else key: value for key, value in TOOL.items()}
MCP_TOOL = {"name": "get_weather", "description": TOOL["description"], "inputSchema": TOOL["parameters"]}

OPENAPI = """
openapi: 3.0.3
info: {title: Shop, version: "1"}
paths:
  /orders/{order_id}:
    parameters:
      - {name: order_id, in: path, required: true, schema: {type: string, pattern: "^ord_[0-9]{4}$"}}
    get:
      operationId: getOrder
      summary: Look up an order.
      tags: [orders]
      parameters:
        - {name: verbose, in: query, description: Say more, schema: {type: boolean, default: false}}
        - {name: Authorization, in: header, required: true, schema: {type: string}}
        - {name: session, in: cookie, schema: {type: string}}
      responses:
        "200": {description: ok, content: {application/json: {schema: {$ref: "#/components/schemas/Order"}}}}
    put:
      summary: Change an order.
      requestBody:
        required: true
        content: {application/json: {schema: {$ref: "#/components/schemas/Order"}}}
      responses: {"204": {description: done}}
components:
  schemas:
    Base: {type: object, required: [id], properties: {id: {type: string}}}
    Order:
      type: object
      required: [item]
      properties:
        item: {type: string, nullable: true}
        amount: {type: integer, minimum: 0, exclusiveMinimum: true}
        placed: {type: string, readOnly: true}
        buyer:
          allOf:
            - $ref: "#/components/schemas/Base"
            - {type: object, properties: {email: {type: string, format: email}}}
"""


def load(tmp_path: Path, name: str, content: Any, **options: bool) -> Any:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_toolset(path, **options)


def tools(tmp_path: Path, name: str, content: Any) -> dict[str, Any]:
    found = load(tmp_path, name, content).definitions
    for definition in found:
        jsonschema.Draft202012Validator.check_schema(definition.parameters)
    return {definition.name: definition for definition in found}


def test_public_functions_and_methods_of_a_python_file_are_its_tools(tmp_path: Path) -> None:
    found = tools(tmp_path, "mine.py", PYTHON)
    assert list(found) == ["get_weather", "ship", "find", "Calendar.add", "Calendar.zone", "Calendar.of"]
    assert found["Calendar.add"].group == "Calendar" and found["ship"].group == ""
    assert list(found["Calendar.of"].parameters["properties"]) == ["owner"]
    assert found["get_weather"].description == "Weather of the coming days. More of it."


def test_hints_defaults_and_docstrings_make_the_schema(tmp_path: Path) -> None:
    found = tools(tmp_path, "mine.py", PYTHON)
    assert found["get_weather"].parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "City name, as on a map"},
            "days": {"type": "integer", "default": 3, "description": "Number of days"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        },
        "required": ["city"],
    }
    assert found["get_weather"].returns == {"type": "object", "additionalProperties": {"type": "number"}}
    ship = found["ship"].parameters["properties"]
    assert ship["to"]["required"] == ["street", "city"]
    assert ship["to"]["properties"]["street"] == {"type": "string", "description": "Street and number"}
    assert ship["to"]["properties"]["tags"] == {"type": "array", "items": {"type": "string"}}
    assert ship["when"] == {"type": "string", "format": "date", "description": "Day of pick-up"}
    assert ship["boxes"]["items"] == {"type": "array", "items": {"type": "integer"}}
    assert ship["via"]["properties"]["lat"] == {"type": "number"}
    assert found["ship"].parameters["required"] == ["to", "when", "boxes"]
    find = found["find"].parameters["properties"]
    assert find["query"] == {"type": "string", "description": "What to look for", "maxLength": 20}
    assert find["mode"] == {"type": "string", "enum": ["exact", "fuzzy"], "description": "How to look"}
    assert find["filters"]["required"] == ["low"]
    assert find["size"] == {"type": "integer", "minimum": 1}
    assert find["price"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert find["ratio"] == {"type": "number"}
    assert find["labels"] == {"type": "object", "additionalProperties": {"type": "string"}}
    assert found["find"].returns["required"] == ["street", "city"]
    assert found["ship"].returns == {"type": "null"}, "-> None is said, unlike no hint at all"


def test_with_all_only_what_it_lists_is_read(tmp_path: Path) -> None:
    assert list(tools(tmp_path, "mine.py", PYTHON + "\n__all__ = ['get_weather']\n")) == ["get_weather"]


def test_a_pydantic_model_is_read_with_what_it_refers_to(tmp_path: Path) -> None:
    pytest.importorskip("pydantic")
    text = '''
from pydantic import BaseModel, Field

class Inner(BaseModel):
    count: int = Field(ge=1, description="How many")

class Outer(BaseModel):
    inner: list[Inner]

def send(outer: Outer, size: "int" = 1) -> Inner:
    """Send it."""
'''
    schema = tools(tmp_path, "models.py", text)["send"].parameters["properties"]["outer"]
    assert schema["properties"]["inner"]["items"]["properties"]["count"]["minimum"] == 1
    assert "$ref" not in json.dumps(schema)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("def f(x):\n    'Does it.'", "tool f: x: type hint missing"),
        ("def f(x: int): ...", "tool f: docstring missing"),
        ("def f(*rest: int):\n    'Does it.'", "rest: *rest cannot be written"),
        ("def f(**rest: int):\n    'Does it.'", "rest: **rest does not say"),
        ("def f(x: int, /):\n    'Does it.'", "x: x is positional only"),
        ("def f(x: list):\n    'Does it.'", "x: list does not say what it holds"),
        ("def f(x: bytes):\n    'Does it.'", "x: bytes has no JSON schema"),
        ("def f(x: dict[int, str]):\n    'Does it.'", "keys of a mapping must be str"),
        ("def f(x: tuple[int, str]):\n    'Does it.'", "no single type of items"),
        ("def f(x: int = object()):\n    'Does it.'", "x: default <object"),
        ("def f(x: int = 'a'):\n    'Does it.'", "x: default misfit"),
        ("def f(x: float = float('inf')):\n    'Does it.'", "x: default inf is nothing that JSON can hold"),
        ("def f(x: 'foo bar'):\n    'Does it.'", "tool f: "),
        ("import datetime\ndef f(x: datetime.Foo):\n    'Does it.'", "tool f: "),
        ("import functools\n@functools.cache\ndef f(x):\n    'Does it.'", "tool f: x: type hint missing"),
        ("def f(x: Missing):\n    'Does it.'", "Missing"),
        (
            "from dataclasses import dataclass\n@dataclass\nclass N:\n    n: 'N'\ndef f(x: N):\n    'Does it.'",
            "the type refers to itself",
        ),
        ("from typing import List\ndef f(x: List):\n    'Does it.'", "x: List does not say what it holds"),
        ("def f(x: tuple[()]):\n    'Does it.'", "x: tuple does not say what it holds"),
        (
            "import pydantic\nfrom typing import Callable\nclass M(pydantic.BaseModel):\n    x: Callable\n"
            "def f(m: M):\n    'Does it.'",
            "m: M has no JSON schema (Cannot generate a JsonSchema",
        ),
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("import sys\nsys.exit(3)", "cannot be imported: SystemExit"),
        ("x = 1", "holds no tool that can be used: there are no public functions and methods of its own in it"),
    ],
)
def test_what_a_python_file_leaves_open_is_refused_with_its_field(tmp_path: Path, code: str, why: str) -> None:
    text = code if "def f" not in code else f"from __future__ import annotations\n{code}"
    with pytest.raises(ValueError) as caught:
        load(tmp_path, "mine.py", text)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("document", "form"),
    [
        ([TOOL], "json"),
        (TOOL, "json"),
        ([{"type": "function", "function": TOOL}], "json"),
        ({"tools": [TOOL]}, "json"),
        ({"functions": [TOOL]}, "json"),
        ({"tools": [MCP_TOOL]}, "mcp"),
        ({"jsonrpc": "2.0", "id": 1, "result": {"tools": [MCP_TOOL]}}, "mcp"),
        ([MCP_TOOL], "mcp"),
        ([{"tools": [MCP_TOOL], "nextCursor": ""}], "mcp"),
        ([{"result": {"tools": [], "nextCursor": "2"}}, {"result": {"tools": [MCP_TOOL]}}], "mcp"),
        ([ANTHROPIC_TOOL], "json"),
    ],
)
def test_lists_of_tools_are_told_apart_and_read(tmp_path: Path, document: Any, form: str) -> None:
    loaded = load(tmp_path, "tools.json", document)
    assert loaded.form == form
    assert [definition.tool for definition in loaded.definitions] == [TOOL]


def test_json_lines_of_tools_are_read(tmp_path: Path) -> None:
    other = {**TOOL, "name": "get_tides"}
    assert list(tools(tmp_path, "tools.jsonl", f"{json.dumps(TOOL)}\n\n{json.dumps(other)}\n")) == [
        "get_weather",
        "get_tides",
    ]


def test_lines_of_tools_end_where_lines_of_json_do_and_a_bad_one_is_named(tmp_path: Path) -> None:
    odd = {**TOOL, "description": "Weather.\u2028Of a city.\x85"}
    found = tools(tmp_path, "tools.jsonl", json.dumps(odd, ensure_ascii=False) + "\r\n\r\n")
    assert found["get_weather"].description == odd["description"].strip()
    with pytest.raises(ValueError, match=r"is no JSON lines \(line 3: "):
        tools(tmp_path, "tools.jsonl", f"{json.dumps(TOOL)}\n\n{{x\n")


def test_nulls_of_exports_are_as_if_nothing_was_said(tmp_path: Path) -> None:
    properties = {"a": {"type": "string", "enum": None, "maxLength": None}}
    for parameters in ({"properties": properties, "required": None}, {"properties": None}):
        tool = {**TOOL, "parameters": {"type": "object", **parameters}}
        read = tools(tmp_path, "tools.json", [tool])["get_weather"].parameters
        assert read.get("properties", {}) == ({"a": {"type": "string"}} if parameters["properties"] else {})


def test_the_words_of_other_vocabularies_become_those_of_json_schema(tmp_path: Path) -> None:
    properties = {
        "a": {"type": "float"},
        "b": {"type": "List[int]"},
        "c": {"type": "dict", "properties": {"d": {"type": "str"}}},
        "e": {"const": 3},
        "f": {"type": ["string", "null"]},
        "g": {"properties": {"h": {"type": "string"}}},
    }
    tool = {**TOOL, "parameters": {"type": "dict", "properties": properties}}
    assert tools(tmp_path, "tools.json", [tool])["get_weather"].parameters["properties"] == {
        "a": {"type": "number"},
        "b": {"type": "array", "items": {"type": "integer"}},
        "c": {"type": "object", "properties": {"d": {"type": "string"}}},
        "e": {"enum": [3]},
        "f": {"type": ["string", "null"]},
        "g": {"type": "object", "properties": {"h": {"type": "string"}}},
    }


def test_two_parameters_of_one_name_are_refused(tmp_path: Path) -> None:
    text = OPENAPI.replace("{name: verbose, in: query", "{name: order_id, in: query")
    with pytest.raises(ValueError, match="order_id: two parameters have this name"):
        load(tmp_path, "shop.yaml", text)


def test_each_operation_of_an_openapi_document_is_a_tool(tmp_path: Path) -> None:
    found = tools(tmp_path, "shop.yaml", OPENAPI)
    assert list(found) == ["getOrder", "put_orders_by_order_id"]
    order = found["getOrder"]
    assert (order.description, order.group) == ("Look up an order.", "orders")
    assert order.parameters["required"] == ["order_id"]
    assert order.parameters["properties"]["verbose"] == {"description": "Say more", "type": "boolean", "default": False}
    assert set(order.parameters["properties"]) == {"order_id", "verbose"}
    assert order.returns["properties"]["buyer"]["required"] == ["id"]
    change = found["put_orders_by_order_id"].parameters
    assert change["required"] == ["order_id", "item"]
    assert "placed" in order.returns["properties"] and "placed" not in change["properties"]
    assert change["properties"]["item"] == {"type": ["string", "null"]}
    assert change["properties"]["amount"] == {"type": "integer", "exclusiveMinimum": 0}
    assert change["properties"]["buyer"]["properties"]["email"] == {"type": "string", "format": "email"}


def test_fields_of_a_body_made_of_several_schemas_are_parameters(tmp_path: Path) -> None:
    parts = {"New": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}}
    weight = {
        "type": "object",
        "properties": {"weight": {"type": "number"}, "id": {"type": "integer", "readOnly": True}},
    }
    body = {"schema": {"allOf": [{"$ref": "#/components/schemas/New"}, weight]}}
    operation = {"summary": "Add a pet", "requestBody": {"content": {"application/json": body}}}
    document = {"openapi": "3.1.0", "paths": {"/pets": {"post": operation}}, "components": {"schemas": parts}}
    parameters = tools(tmp_path, "pets.json", document)["post_pets"].parameters
    assert (set(parameters["properties"]), parameters["required"]) == ({"name", "weight"}, ["name"])


def test_a_file_that_reads_its_arguments_is_given_none_of_ours(tmp_path: Path) -> None:
    code = "import argparse\nargparse.ArgumentParser().parse_args()\ndef f(x: int):\n    'Does it.'\n"
    before = list(sys.argv)
    assert set(tools(tmp_path, "mine.py", code)) == {"f"} and sys.argv == before


def with_parameter(schema: Any) -> list[dict[str, Any]]:
    return [{**TOOL, "parameters": {"type": "object", "properties": {"x": schema}}}]


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ([{**TOOL, "name": ""}], "tool without a name: name: missing"),
        ([{**TOOL, "name": "get weather"}], "name: 'get weather' must be"),
        ([{**TOOL, "description": " "}], "tool get_weather: description: missing"),
        (
            [{**TOOL, "parameters": {"type": "array", "items": {"type": "string"}}}],
            "parameters: must be of type object",
        ),
        ([{**TOOL, "parameters": {"type": "object", "required": ["y"]}}], "y: undeclared required"),
        (with_parameter({"type": "flot"}), "x: unknown type 'flot'"),
        (with_parameter({}), "x: type missing"),
        (with_parameter({"type": "array"}), "x: items missing"),
        (with_parameter({"type": "array", "items": {}}), "x[]: type missing"),
        (with_parameter({"type": "string", "enum": []}), "x: malformed enum"),
        (with_parameter({"type": "string", "enum": ["a", 1]}), "x: enum of another type"),
        (with_parameter({"type": "integer", "default": "three"}), "x: default misfit"),
        (with_parameter({"type": "integer", "minimum": 5, "maximum": 1}), "x: crossed bounds"),
        (with_parameter({"type": "string", "pattern": "["}), "x: malformed pattern"),
        (with_parameter({"$ref": "#/$defs/Y"}), "x: $ref '#/$defs/Y' points to nothing"),
        (with_parameter({"type": "object", "properties": {"y": {"type": "strng"}}}), "x.y: unknown type"),
        (with_parameter("string"), "x: 'string' is no schema"),
        (with_parameter({"type": "string", "not": {"enum": ["a"]}}), "x: not is not understood"),
        ([{**TOOL, "parameters": {"anyOf": [TOOL["parameters"]]}}], "parameters: alternatives at the top"),
        ([TOOL, TOOL], "name: 2 tools have it"),
        ([TOOL, 3], "tool number 2"),
        ([{**TOOL, "name": "_"}], "name: '_' must be"),
        ([{**TOOL, "parameters": {"city": {"type": "string"}}}], "'city' is no keyword; parameters are listed under"),
        ([{**TOOL, "parameters": {"type": "object", "propertys": {}}}], "parameters: 'propertys' is no keyword"),
        (
            [{"name": "get", "description": "Gets.", "arguments": {"city": {}}}],
            "tool get: arguments: is not understood",
        ),
        ({"tools": [{**MCP_TOOL, "inputSchema": {"type": "string"}}]}, "must be of type object"),
        ([MCP_TOOL, TOOL], "tool get_weather: inputSchema: missing"),
        ({"tools": [MCP_TOOL], "nextCursor": "2"}, "has a nextCursor, so tools are missing"),
        ({"openapi": "2.0", "paths": {}}, "version 2.0 is not read"),
        ({"swagger": "2.0", "paths": {}}, "only 3.x"),
        ({"openapi": "3.1.0", "paths": {}}, "paths: missing or empty"),
        ({"hello": 1}, "no tools found"),
        ([], "no tools found"),
        ("{", "is no JSON"),
    ],
)
def test_a_bad_definition_refuses_the_file_and_names_the_field(tmp_path: Path, document: Any, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        load(tmp_path, "tools.json", document)
    assert why in str(caught.value)
    assert str(caught.value).startswith(f"--tools {tmp_path / 'tools.json'}: ")


def test_a_schema_that_refers_to_itself_is_refused(tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"x": {"$ref": "#/$defs/Node"}},
        "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
    }
    with pytest.raises(ValueError, match="refers to itself"):
        load(tmp_path, "tools.json", [{**TOOL, "parameters": schema}])


def test_refused_tools_are_left_out_as_wholes_when_asked_for(tmp_path: Path) -> None:
    loaded = load(tmp_path, "tools.json", [TOOL, {**TOOL, "name": "b", "description": ""}], skip_refused=True)
    assert [definition.name for definition in loaded.definitions] == ["get_weather"]
    assert [refusal.tool for refusal in loaded.refusals] == ["b"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        load_toolset(tmp_path / "none.py")


def test_words_and_dates_of_yaml_stay_text(tmp_path: Path) -> None:
    text = """
- name: switch
  description: Switches it.
  parameters:
    type: object
    properties:
      on: {type: string, enum: [on, off], default: off}
      day: {type: string, format: date, example: 2026-11-28}
      is_quiet: {type: boolean, default: true}
"""
    fields = tools(tmp_path, "tools.yaml", text)["switch"].parameters["properties"]
    assert fields["on"] == {"type": "string", "enum": ["on", "off"], "default": "off"}
    assert fields["day"]["example"] == "2026-11-28" and fields["is_quiet"]["default"] is True


def test_a_result_that_cannot_be_read_is_as_if_nothing_was_said(tmp_path: Path) -> None:
    (definition,) = load(tmp_path, "tools.json", [{**TOOL, "returns": {"type": "strng"}}]).definitions
    assert definition.returns is None and definition.tool == TOOL
    odd = {"type": "object", "properties": {"v": {"type": "string", "pattern": r"^(?!x)\d+$"}}}
    assert "v" not in returns_of(replace(definition, returns=odd))["properties"], "no value could be made"


@pytest.mark.parametrize(
    "hint", ["List", "Dict", "Tuple", "list[Annotated[int, {'a': 1}]]", "Box", "list", "tuple[int, str]"]
)
def test_a_result_whose_hint_says_nothing_definite_is_left_open(tmp_path: Path, hint: str) -> None:
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from typing import Annotated, Dict, List, Tuple\n\n@dataclass\nclass Box:\n    x: Missing\n\n"
        f"def f(x: int) -> {hint}:\n    'Does it.'\n"
    )
    assert tools(tmp_path, "mine.py", text)["f"].returns is None


def shop(body: Any, item: Any = None) -> dict[str, Any]:
    """An OpenAPI document of one path, or of another with this body."""
    operation = {"operationId": "pay", "summary": "Pays.", "requestBody": body}
    return {"openapi": "3.1.0", "paths": {"/pay": item or {"post": operation}}}


def body_of(schema: Any) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


CARD_OR_IBAN = {
    "type": "object",
    "properties": {"card": {"type": "string"}, "iban": {"type": "string"}},
    "oneOf": [{"required": ["card"]}, {"required": ["iban"]}],
}


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (
            shop({"$ref": "#/components/requestBodies/Pay"}),
            "tool post /pay: $ref '#/components/requestBodies/Pay' points",
        ),
        (
            shop({}, {"$ref": "./pay.yaml"}),
            "tool /pay: $ref './pay.yaml' points to nothing in this document; other files",
        ),
        (shop(body_of({"type": "object", "properties": {"meta": True}})), "meta: True is no schema"),
        (shop(body_of(CARD_OR_IBAN)), "body: type missing"),
        (shop(body_of({"allOf": [{"type": "object", "properties": [1]}]})), "properties must be an object"),
        (shop(body_of({"properties": {"a": {"type": "string"}}, "required": True})), "body: malformed required"),
        (
            shop(body_of({"allOf": [{"type": "object", "required": True}, {"required": ["a"]}]})),
            "body: parts of allOf differ in required",
        ),
        (shop({"content": ["application/json"]}), "requestBody.content: must be an object"),
        (shop({"content": {"application/json": 3}}), "requestBody.content.application/json: must be an object"),
        (shop(["x"]), "requestBody: must be an object, but is"),
        (shop(body_of({"properties": ["a"]})), "requestBody: properties: must be an object"),
        (shop({}, {"parameters": 3, "post": {"summary": "Pays."}}), "parameters: must be a list"),
    ],
)
def test_a_part_of_an_openapi_document_that_cannot_be_read_refuses_its_tool(
    tmp_path: Path, document: Any, why: str
) -> None:
    with pytest.raises(ValueError) as caught:
        load(tmp_path, "shop.json", document)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    "responses",
    [
        {"200": None},
        ["200"],
        {"200": {"content": ["application/json"]}},
        {"200": {"content": {"application/json": 3}}},
        {"200": "ok"},
        3,
    ],
)
def test_answers_that_are_not_written_as_answers_say_nothing(tmp_path: Path, responses: Any) -> None:
    document = {"openapi": "3.1.0", "paths": {"/a": {"get": {"summary": "Gets a.", "responses": responses, "tags": 3}}}}
    assert tools(tmp_path, "shop.json", document)["get_a"].returns is None


@pytest.mark.parametrize(
    ("summary", "text", "description"),
    [
        ("Add a pet", "Adds it to the store", "Add a pet. Adds it to the store"),
        ("Add a pet.", "Adds it.", "Add a pet. Adds it."),
        ("Add a pet", "Add a pet to the store.", "Add a pet to the store."),
        ("Add a pet", None, "Add a pet"),
        (None, "Adds it.", "Adds it."),
    ],
)
def test_summary_and_description_are_sentences_of_their_own(
    tmp_path: Path, summary: Any, text: Any, description: str
) -> None:
    document = {"openapi": "3.1.0", "paths": {"/a": {"get": {"summary": summary, "description": text}}}}
    assert tools(tmp_path, "shop.json", document)["get_a"].description == description


def test_parts_of_all_of_hold_together_or_are_refused(tmp_path: Path) -> None:
    def merged(*parts: Any) -> Any:
        return tools(tmp_path, "tools.json", with_parameter({"allOf": list(parts)}))["get_weather"].parameters[
            "properties"
        ]

    number = {"type": "number", "minimum": 5, "maximum": 9}
    assert merged(number, {"type": "integer", "minimum": 2, "maximum": 7})["x"] == {
        "type": "integer", "minimum": 5, "maximum": 7,
    }  # fmt: skip
    assert merged({"type": "string", "enum": ["a", "b"]}, {"enum": ["b", "c"]})["x"]["enum"] == ["b"]
    one, other = ({"type": "object", "properties": {"n": {"type": "integer", **more}}} for more in ({"minimum": 5}, {}))
    assert merged(one, other)["x"]["properties"]["n"] == {"type": "integer", "minimum": 5}
    with pytest.raises(ValueError, match=r"x: parts of allOf differ in type \('string', 'integer'\)"):
        merged({"type": "string"}, {"type": "integer"})
    with pytest.raises(ValueError, match=r"x\.n: parts of allOf differ in pattern"):
        merged(*({"type": "object", "properties": {"n": {"type": "string", "pattern": p}}} for p in "ab"))


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    assert list(tools(tmp_path, "tools.json", "\ufeff" + json.dumps([TOOL]))) == ["get_weather"]


def test_yaml_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no YAML"):
        load(tmp_path, "tools.yaml", "a: [1")


def test_a_docstring_without_sections_is_all_summary() -> None:
    assert summary("Adds up.\n\nSlowly.") == "Adds up. Slowly."
    assert parameter_texts("Adds up: slowly.") == {}

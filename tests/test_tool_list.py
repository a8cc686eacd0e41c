"""Tools as our own prompts show them."""

from iterft.tool_list import describe_tools


def tool(**properties):
    parameters = {"type": "object", "properties": properties, "required": ["city"]}
    return {"name": "get_forecast", "description": "Weather of\nthe coming days.", "parameters": parameters}


def test_every_tool_and_parameter_has_a_line_of_its_own():
    shown = describe_tools([tool(city={"type": "string", "description": "City name"}, days={"type": "integer"})])
    assert shown.splitlines() == [
        "get_forecast: Weather of the coming days.",
        "  city (string): City name",
        "  days (integer, optional)",
    ]


def test_enums_and_arrays_show_what_they_may_hold():
    units = {"type": "string", "enum": ["metric", "imperial"]}
    shown = describe_tools([tool(units=units, tags={"type": "array", "items": units})])
    assert '  units ("metric" | "imperial", optional)' in shown
    assert '  tags (array of ("metric" | "imperial"), optional)' in shown


def test_nested_objects_are_indented_below_their_parameter_also_inside_arrays():
    inner = {"type": "object", "properties": {"zip": {"type": "string"}}, "required": ["zip"]}
    shown = describe_tools([tool(city=inner, stops={"type": "array", "items": inner})]).splitlines()
    assert shown[1:] == [
        "  city (object)",
        "    zip (string)",
        "  stops (array of object, optional)",
        "    zip (string)",
    ]


def test_keywords_without_a_place_of_their_own_are_kept_as_json():
    shown = describe_tools([tool(days={"type": "integer", "minimum": 1, "default": 3})])
    assert "  days (integer, optional, minimum 1, default 3)" in shown


def test_odd_schemas_are_shown_and_never_raise():
    odd = [
        {"name": "bare"},
        {"name": "empty", "parameters": {}},
        {"name": "loose", "parameters": {"properties": {"x": {}, "y": True, "z": {"type": ["string", "null"]}}}},
    ]
    assert describe_tools(odd).splitlines() == [
        "bare",
        "empty",
        "loose",
        "  x (any, optional)",
        "  y (true)",
        "  z (string | null, optional)",
    ]


def test_what_is_null_is_not_shown():
    nothing = {"name": "f", "description": None, "parameters": None}
    shown = tool(city={"type": None, "description": None, "enum": None, "items": None, "default": None})
    assert describe_tools([nothing, {**shown, "description": None}]).splitlines() == [
        "f",
        "get_forecast",
        "  city (any)",
    ]


def test_what_a_list_wants_of_its_items_and_definitions_are_shown():
    day = {"type": "string", "format": "date", "description": "As YYYY-MM-DD"}
    rows = {"type": "array", "items": {"type": "array", "items": {"type": "integer", "maximum": 9}}}
    shown = tool(city={"$ref": "#/$defs/City"}, days={"type": "array", "items": day, "minItems": 1}, rows=rows)
    shown["parameters"]["$defs"] = {"City": {"type": "string"}}
    assert describe_tools([shown]).splitlines()[1:] == [
        '  city (any, $ref "#/$defs/City")',
        '  days (array of string, optional, minItems 1, items {"format": "date", "description": "As YYYY-MM-DD"})',
        '  rows (array of array of integer, optional, items {"maximum": 9})',
        '  $defs {"City": {"type": "string"}}',
    ]

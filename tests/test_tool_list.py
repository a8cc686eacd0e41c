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

"""An OpenAPI 3 document: one tool per operation.

Its parameters are those of path, query and header, and the fields of a JSON body; a body that is no object, or of which
more is said than its fields, is one parameter `body`. What the client sends by itself (Authorization, Accept, cookies)
is left out. `returns` is the schema of the first JSON answer in the 200s. The group is the first tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from iterft.json_schema import referred
from iterft.toolsets.parts import Definition, Refusal, define, normalised

METHODS = ("get", "put", "post", "delete", "patch")
_ODD = re.compile(r"[^\w.-]+")
_BY_CLIENT = frozenset(["accept", "authorization", "content-type"])
_SAID_BY_FIELDS = frozenset(["type", "properties", "required", "title", "description", "example", "examples"])
_SAID_BY_FIELDS |= {"additionalProperties", "deprecated", "externalDocs", "nullable", "xml", "default"}
"""Keywords of a body of which its fields alone say enough: a call names no others."""


def fits(document: Any) -> bool:
    return isinstance(document, dict) and ("openapi" in document or "swagger" in document)


def read(document: Any) -> Iterator[Definition | Refusal]:
    """ValueError when the version is not 3.x or there are no paths."""
    version = str(document.get("openapi", document.get("swagger")))
    if "openapi" not in document or not version.startswith("3."):
        raise ValueError(f"openapi: version {version} is not read, only 3.x; convert the document")
    paths = document.get("paths")
    if not isinstance(paths, Mapping) or not paths:
        raise ValueError("paths: missing or empty")
    for path, item in paths.items():
        try:
            item = _resolved(item, document)
        except ValueError as error:
            yield Refusal(str(path), (str(error),))
            continue
        for method in METHODS:
            operation = item.get(method) if isinstance(item, Mapping) else None
            if isinstance(operation, Mapping):
                yield _tool(f"{method} {path}", operation, item.get("parameters") or (), document)


def _tool(place: str, operation: Mapping[str, Any], shared: Any, document: Mapping[str, Any]) -> Definition | Refusal:
    name = operation.get("operationId") or place.replace("{", "by ")
    try:
        schema = _parameters(shared, operation, document)
    except ValueError as error:
        return Refusal(place, (str(error),))
    tags = operation.get("tags")
    tag = str(tags[0]) if isinstance(tags, list) and tags else ""
    made = define(
        _ODD.sub("_", str(name)).strip("_"), _described(operation), schema, _returns(operation, document), tag, document
    )
    return Refusal(place, made.faults) if isinstance(made, Refusal) else made


def _described(operation: Mapping[str, Any]) -> str:
    """Summary and description as sentences of their own, or the description alone where it begins with the other."""
    summary, text = (str(operation.get(key) or "").strip() for key in ("summary", "description"))
    if not summary or not text or text.lower().startswith(summary.rstrip(".").lower()):
        return text or summary
    return f"{summary} {text}" if summary[-1] in ".!?:" else f"{summary}. {text}"


def _parameters(shared: Any, operation: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """ValueError, beginning with the field, for a parameter that cannot be read or a body that is not JSON."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    listed = {}
    own = operation.get("parameters") or ()
    if not isinstance(shared, list | tuple) or not isinstance(own, list | tuple):
        raise ValueError("parameters: must be a list of objects, each with a name")
    for parameter in (*shared, *own):
        parameter = _resolved(parameter, document)
        if not isinstance(parameter, Mapping) or not isinstance(parameter.get("name"), str):
            raise ValueError(f"parameters: {parameter!r} has no name")
        listed[parameter["name"], parameter.get("in")] = parameter  # an operation's own comes after the path's
    for (name, place), parameter in listed.items():
        if place == "cookie" or (place == "header" and name.lower() in _BY_CLIENT):
            continue
        schema = parameter.get("schema")
        if not isinstance(schema, Mapping):
            raise ValueError(f"{name}: schema missing")
        if name in properties:
            raise ValueError(f"{name}: two parameters have this name, a call could not tell them apart; rename one")
        said = {key: parameter[key] for key in ("description", "example") if parameter.get(key)}
        properties[name] = {**said, **schema} if "$ref" not in schema else {**schema, **said}
        if parameter.get("required") or place == "path":
            required.append(name)
    if body := _resolved(operation.get("requestBody") or {}, document):
        _add_body(_object(body, "requestBody"), properties, required, document)
    return {"type": "object", "properties": properties, "required": required}


def _add_body(
    body: Mapping[str, Any], properties: dict[str, Any], required: list[str], document: Mapping[str, Any]
) -> None:
    content = _object(body.get("content") or {}, "requestBody.content")
    kind = next((kind for kind in content if "json" in str(kind) or "form" in str(kind)), None)
    if kind is None:
        raise ValueError(f"requestBody: none of {', '.join(map(str, content)) or 'no content'} is JSON or a form")
    schema = _object(content[kind], f"requestBody.content.{kind}").get("schema") or {}
    inner = _object(_resolved(schema, document), f"requestBody.content.{kind}.schema")
    if "allOf" in inner:
        inner = normalised(inner, document, "body")
    fields = {
        name: field
        for name, field in _object(inner.get("properties") or {}, "requestBody: properties").items()
        if not _is_read_only(_resolved(field, document))
    }
    says_more = {key for key in inner if key not in _SAID_BY_FIELDS and not key.startswith("x-")}
    if not isinstance(inner.get("required", []), list):
        says_more.add("required")
    if inner.get("type", "object") == "object" and fields and not says_more and not set(properties) & set(fields):
        properties.update(fields)
        # A body is optional unless it says otherwise, which documents of bodies with required fields often forget.
        required += [name for name in inner.get("required") or () if body.get("required", True) and name in fields]
    else:
        properties["body"] = schema
        if body.get("required"):
            required.append("body")


def _object(value: Any, field: str) -> Mapping[str, Any]:
    """The value. ValueError, beginning with its field, where it is no object."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{field}: must be an object, but is {value!r}")
    return value


def _is_read_only(field: Any) -> bool:
    """Whether only answers have it."""
    return isinstance(field, Mapping) and bool(field.get("readOnly"))


def _returns(operation: Mapping[str, Any], document: Mapping[str, Any]) -> Any:
    """Results are only read: what is no such object, or points to nothing, says nothing of them."""
    responses = operation.get("responses")
    for status, answer in responses.items() if isinstance(responses, Mapping) else ():
        if str(status).startswith("2"):
            with suppress(ValueError):
                resolved = _resolved(answer, document)
                content = resolved.get("content") if isinstance(resolved, Mapping) else None
                for kind, inner in content.items() if isinstance(content, Mapping) else ():
                    if "json" in str(kind) and isinstance(inner, Mapping):
                        return inner.get("schema")
    return None


def _resolved(value: Any, document: Mapping[str, Any]) -> Any:
    """What a `$ref` points to; anything else as it is. ValueError where it points to nothing."""
    if isinstance(value, Mapping) and "$ref" in value:
        found = referred(value["$ref"], document)
        if found is None:
            raise ValueError(f"$ref {value['$ref']!r} points to nothing in this document; other files are not read")
        return found
    return value

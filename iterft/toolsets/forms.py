"""The one entry: a file of tools -> their definitions, whichever form it is in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iterft.readers.parts import parse_json
from iterft.toolsets import json_list, mcp, openapi, python_file
from iterft.toolsets.parts import Definition, Reader, Refusal

_MAX_TOLD = 8
_YAML_1_1 = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
_YAML_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")


@dataclass(frozen=True)
class Form:
    """`fits(document)`: whether a decoded document, or a module, is of this form and of none above it in the table."""

    fits: Callable[[Any], bool]
    read: Reader


FORMS: Mapping[str, Form] = {
    "python": Form(python_file.fits, python_file.read),
    "openapi": Form(openapi.fits, openapi.read),
    "mcp": Form(mcp.fits, mcp.read),
    "json": Form(json_list.fits, json_list.read),
}


@dataclass(frozen=True)
class Toolset:
    """The tools of one file, of distinct names, those that were refused, and the form it has."""

    definitions: tuple[Definition, ...]
    refusals: tuple[Refusal, ...]
    form: str


def load_toolset(path: Path, *, skip_refused: bool = False) -> Toolset:
    """Reads a Python file, JSON, JSON lines or YAML. ValueError when it cannot be read, holds no tool, or, unless
    `skip_refused`, one of its tools is refused."""
    if not path.is_file():
        raise ValueError(f"--tools {path}: no such file; give a .py, .json, .jsonl or .yaml file")
    try:
        document = python_file.load_module(path) if path.suffix == ".py" else _document(path)
        form = next((name for name, each in FORMS.items() if each.fits(document)), "")
        if not form:
            raise ValueError(
                "no tools found; give a list of {name, description, parameters}, OpenAPI 3, or a tools/list of MCP"
            )
        found = list(FORMS[form].read(document))
    except ValueError as error:
        raise ValueError(f"--tools {path}: {error}") from error
    definitions = [each for each in found if isinstance(each, Definition)]
    refusals = [each for each in found if isinstance(each, Refusal)]
    for name, count in Counter(each.name for each in definitions).items():
        if count > 1:
            refusals.append(Refusal(name, (f"name: {count} tools have it; rename all but one",)))
            definitions = [each for each in definitions if each.name != name]
    if refusals and not skip_refused:
        raise ValueError(refusal_of(path, list(map(str, refusals)), len(found)))
    if not definitions:
        what = "public functions and methods of its own" if path.suffix == ".py" else "tools"
        why = "all are refused" if refusals else f"there are no {what} in it"
        raise ValueError(f"--tools {path}: it holds no tool that can be used: {why}")
    return Toolset(tuple(definitions), tuple(refusals), form)


def refusal_of(path: Path, faults: Sequence[str], num_tools: int) -> str:
    """What is said of a file of which some tools cannot be used, with the first of their faults."""
    told = "".join(f"\n  {fault}" for fault in faults[:_MAX_TOLD])
    more = f"\n  and {len(faults) - _MAX_TOLD} more" if len(faults) > _MAX_TOLD else ""
    return (
        f"--tools {path}: {len(faults)} of {num_tools} tools cannot be used; mend them, or leave them out with "
        f"--skip-refused{told}{more}"
    )


def _document(path: Path) -> Any:
    """ValueError for what is neither JSON, JSON lines nor YAML."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is no UTF-8 text ({error})") from error
    if path.suffix in (".yaml", ".yml"):
        return _yaml(text)
    if path.suffix == ".jsonl":
        return [_line(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"is no JSON ({error})") from error


def _line(number: int, text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"is no JSON lines (line {number}: {error})") from error


def _yaml(text: str) -> Any:
    """Words such as `on` and `no`, and dates, stay text: so JSON schema means them, and YAML 1.2."""
    from yaml import SafeLoader, YAMLError, load

    class Loader(SafeLoader):  # type: ignore[misc]
        """One whose resolvers are its own."""

    resolvers = SafeLoader.yaml_implicit_resolvers.items()
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag not in _YAML_1_1] for first, known in resolvers
    }
    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _YAML_BOOL, list("tTfF"))
    try:
        return load(text, Loader)
    except YAMLError as error:
        raise ValueError(f"is no YAML ({' '.join(str(error).split())})") from error

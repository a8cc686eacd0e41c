"""What a docstring says of a function and of its parameters: Google's, NumPy's and Sphinx' ways of writing are read."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SECTIONS = (
    "args|arguments|parameters|params|attributes|fields|returns?|yields?|raises|examples?|notes?|see also|references|"
    "keyword args|keyword arguments|other parameters|warnings?|todo"
)
_HEADING = re.compile(rf"^\s*({_SECTIONS})\s*:?\s*$", re.IGNORECASE)
_OF_PARAMETERS = frozenset(
    ["args", "arguments", "parameters", "params", "attributes", "fields", "keyword args", "keyword arguments"]
)
_SPHINX = re.compile(r"^\s*:param(?:eter)?\s+(?:[\w\[\], |.]+\s)?(\w+)\s*:\s*(.*)$")
_FIELD = re.compile(r"^\s*:\w+")
_GOOGLE = re.compile(r"^\s*\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY = re.compile(r"^\s*(\w+)\s*(?::\s*[^:]*)?$")


def summary(doc: str) -> str:
    """The text before the first section, as one line."""
    kept = []
    for line in doc.splitlines():
        if _HEADING.match(line) or _FIELD.match(line) or line.strip().startswith(">>>"):
            break
        kept.append(line.strip())
    return " ".join(" ".join(kept).split())


def parameter_texts(doc: str) -> Mapping[str, str]:
    """Name of a parameter -> what is said of it, as one line. `doc` is without its own indentation
    (`inspect.getdoc`)."""
    found: dict[str, list[str]] = {}
    section, is_numpy, indent = "", False, 0
    current: list[str] | None = None
    lines = doc.splitlines()
    for number, line in enumerate(lines):
        depth = len(line) - len(line.lstrip())
        if sphinx := _SPHINX.match(line):
            current = found.setdefault(sphinx[1], [sphinx[2]])
            section = "sphinx"
        elif heading := _HEADING.match(line):
            section, current = heading[1].lower(), None
            following = lines[number + 1].strip() if number + 1 < len(lines) else ""
            is_numpy = bool(following) and set(following) == {"-"}
            indent = depth
        elif not line.strip() or set(line.strip()) == {"-"}:
            continue
        elif section == "sphinx":
            if _FIELD.match(line):
                current = None
            elif current is not None:
                current.append(line)
        elif section in _OF_PARAMETERS:
            current, indent = _read_line(line, depth, indent, is_numpy, current, found)
    return {name: " ".join(" ".join(parts).split()) for name, parts in found.items() if "".join(parts).strip()}


def _read_line(
    line: str, depth: int, indent: int, is_numpy: bool, current: list[str] | None, found: dict[str, list[str]]
) -> tuple[list[str] | None, int]:
    """The entry that goes on after this line of a section, and how far entries are indented."""
    if is_numpy:
        if depth <= indent and (entry := _NUMPY.match(line)):
            return found.setdefault(entry[1], []), indent
    elif (current is None or depth <= indent) and (entry := _GOOGLE.match(line)):
        return found.setdefault(entry[1], [entry[2]]), depth
    if current is not None:
        current.append(line)
    return current, indent

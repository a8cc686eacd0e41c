"""Where rows come from: JSON lines, a JSON array, Parquet, or a data set on the hub. Not here: what a row means.

Rows come numbered from 1. A line of JSON lines is handed on unread, as one that is no JSON is the row's fault and not
the file's. Whatever keeps a source as a whole from being read is one `ValueError` that names the recipe key.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from iterft.readers.parts import parse_json
from iterft.setting_rules import first_line

HUB = "hub:"
_HUB_NAME = re.compile(r"hub:(?P<name>\w[\w.-]*(?:/\w[\w.-]*)?)(?:#(?:(?P<config>[^#/]+)/)?(?P<split>[^#/]+))?")


def rows(source: str, key: str) -> Iterator[tuple[int, Any]]:
    """(number, a line of JSON or a row as it is); empty lines are left out but counted."""
    if source.startswith(HUB):
        return hub_rows(source, key)
    refuse_missing(source, key)
    path = Path(source)
    if path.suffix == ".parquet":
        return parquet_rows(path, key)
    if path.name.endswith((".json", ".json.gz")):
        return json_rows(path, key)
    return lines(path, key)


def refuse_missing(source: str, key: str) -> None:
    """ValueError where a source is neither on the hub nor a file."""
    path = Path(source)
    if not source.startswith(HUB) and not path.is_file():
        builtin = "'builtin', " if key.startswith("data.") else ""  # options of scripts take none
        fault = "is a folder" if path.is_dir() else "no such file"
        raise ValueError(f"{key} {source}: {fault}; give {builtin}a file (.jsonl, .json, .parquet) or hub:OWNER/NAME")


def lines(path: Path, key: str) -> Iterator[tuple[int, str]]:
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as text:
            yield from ((number, line) for number, line in enumerate(text, start=1) if not line.isspace())
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        raise ValueError(f"{key} {path}: cannot be read ({error}); give UTF-8 JSON lines, plain or .gz") from error


def json_rows(path: Path, key: str) -> Iterator[tuple[int, Any]]:
    """The elements of one JSON array; a .json file that does not begin with "[" is read as JSON lines."""
    read = lines(path, key)
    first = list(islice(read, 1))
    if not first or not first[0][1].lstrip().startswith("["):
        yield from chain(first, read)
        return
    try:
        array = parse_json("".join(line for _, line in chain(first, read)))
    except ValueError as error:
        raise ValueError(f"{key} {path}: is no JSON array ({error}); mend it or give JSON lines") from error
    yield from enumerate(array, start=1)


def parquet_rows(path: Path, key: str) -> Iterator[tuple[int, Any]]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            batches = file.iter_batches()
            yield from enumerate(map(without_nulls, (row for batch in batches for row in batch.to_pylist())), start=1)
    except (OSError, ArrowException) as error:
        raise ValueError(f"{key} {path}: is no readable Parquet ({first_line(error)}); give another file") from error


def hub_rows(source: str, key: str) -> Iterator[tuple[int, Any]]:
    """The rows of hub:OWNER/NAME, hub:OWNER/NAME#SPLIT or hub:OWNER/NAME#CONFIG/SPLIT; the split is "train" unless
    given. Fetched by `datasets`, which keeps a copy in its cache."""
    parts = _HUB_NAME.fullmatch(source)
    if parts is None:
        raise ValueError(
            f"{key} {source}: expected hub:OWNER/NAME, with #SPLIT or #CONFIG/SPLIT behind it where needed"
        )
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        found: Iterable[Mapping[str, Any]] = load_dataset(
            parts["name"], parts["config"], split=parts["split"] or "train"
        )
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise ValueError(
            f"{key} {source}: cannot be loaded from the hub ({first_line(error)}); check the name, the split and the "
            "network (and `hf auth login` for a gated set), or download the file and give its path"
        ) from error
    return enumerate(map(without_nulls, found), start=1)


def without_nulls(value: Any) -> Any:
    """The JSON in what Arrow holds: it fills keys that a struct lacks with nulls, which are dropped, and has scalars
    that JSON lacks (times, bytes), which become text."""
    if isinstance(value, Mapping):
        return {str(key): without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(inner) for inner in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)

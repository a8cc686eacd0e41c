"""Files and hub data sets of any form: how rows are found, how their form is told, and what is counted."""

from __future__ import annotations

import datetime
import gc
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from forms import CONVERSATIONS, MULTI_TURN, NESTED, WRITERS, suitable

from iterft import Recipe, build
from iterft.data import load_samples
from iterft.readers.forms import FORMS
from iterft.sources import hub_rows, rows, without_nulls

FORM_NAMES = sorted(FORMS)


def written(form: str, num_rows: int = 20) -> list[dict[str, Any]]:
    made = [WRITERS[form](conversation) for conversation in suitable(form)[:num_rows]]
    return [{"id": f"r{at}", **row} for at, row in enumerate(made)] if form == "own" else made


def save(path: Path, made: list[Any]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in made) if ".jsonl" in path.name else json.dumps(made, indent=1)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("form", FORM_NAMES)
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.json.gz"])
def test_a_file_of_any_form_and_kind_is_read_and_its_form_is_told(tmp_path: Path, form: str, name: str) -> None:
    made = written(form)
    loaded = load_samples(save(tmp_path / name, made), "data.train", 0.0)
    assert (loaded.form, loaded.num_rows, loaded.dropped) == (form, 20, {})
    assert list(loaded.samples) == [
        sample for number, row in enumerate(made, start=1) for sample in FORMS[form].read(row, str(number))
    ]


@pytest.mark.parametrize("form", ["openai", "xlam", "glaive", "hermes", "sharegpt", "toolace"])
def test_parquet_is_read_like_json(tmp_path: Path, form: str) -> None:
    """As Arrow has no place for free objects, lists of OpenAI are kept as JSON strings, which is how they are found."""
    made = written(form)
    if form == "openai":
        made = [{key: json.dumps(value) for key, value in row.items()} for row in made]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(made), tmp_path / "a.parquet")
    loaded = load_samples(tmp_path / "a.parquet", "data.train", 0.0)
    assert loaded == load_samples(save(tmp_path / "a.jsonl", made), "data.train", 0.0)


def test_the_nulls_that_arrow_fills_in_are_dropped(tmp_path: Path) -> None:
    made = [WRITERS["openai"](conversation) for conversation in NESTED]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(made), tmp_path / "a.parquet")
    raw = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert raw[0]["tools"][0]["function"]["parameters"]["properties"]["urgent"] is None
    loaded = load_samples(tmp_path / "a.parquet", "data.train", 0.0)
    assert loaded.samples == load_samples(save(tmp_path / "a.jsonl", made), "data.train", 0.0).samples


DAMAGED = bytearray(gzip.compress(b"{}\n" * 1000, mtime=0))
DAMAGED[10:14] = b"\xff\xff\xff\xff"


def test_what_json_lacks_becomes_text() -> None:
    day = datetime.date(2026, 1, 2)
    assert without_nulls({"a": [None, day, {"b": None, "c": b"x"}]}) == {"a": [None, "2026-01-02", {"c": "b'x'"}]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'[{"a": 1},', r"is no JSON array .*mend it or give JSON lines"),
        ("a.json", b"[NaN]", r"is no JSON array"),
        ("a.json", b"[" * 100_000, r"is no JSON array .*nested too deeply"),
        ("a.json", b"[]", r"the file is empty"),
        ("a.json", b"", r"the file is empty"),
        ("a.json.gz", b"[]", r"cannot be read"),
        ("a.jsonl.gz", bytes(DAMAGED), r"cannot be read"),
        ("a.parquet", b"PAR1", r"is no readable Parquet .*give another file"),
    ],
)
def test_a_broken_file_is_refused_in_one_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"^data.train .*{message}"):
        load_samples(tmp_path / name, "data.train", 1.0)


def test_rows_of_another_form_or_of_none_are_counted(tmp_path: Path) -> None:
    made = [*written("sharegpt", 3), *written("xlam", 2), {"text": "x"}, 5]
    loaded = load_samples(save(tmp_path / "a.jsonl", made), "data.train", 1.0)
    assert (loaded.form, loaded.num_rows) == ("sharegpt", 7)
    assert loaded.dropped == {"another form": 2, "no tools": 1, "not an object": 1}


def test_a_file_of_no_known_form_says_which_keys_it_has(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", [{"prompt": "x"}])
    with pytest.raises(ValueError, match=r'row 1: unknown form \(keys \["prompt"\]; known are own, .*set data.form'):
        load_samples(path, "data.train", 0.05)


def test_a_named_form_is_not_told_from_the_keys(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", written("hermes"))
    assert load_samples(path, "data.train", 0.0, "hermes").num_rows == 20
    assert load_samples(path, "data.train", 1.0, "toolace").dropped == {"'system' missing or no text": 20}


def test_rows_without_tools_are_counted_but_not_as_unreadable(tmp_path: Path) -> None:
    bare = {"system": "SYSTEM: You are helpful.", "chat": "USER: a ASSISTANT: b <|endoftext|>"}
    loaded = load_samples(save(tmp_path / "a.jsonl", [bare, *written("glaive", 2)]), "data.train", 0.0)
    assert (loaded.num_rows, loaded.dropped) == (3, {"no tools": 1})
    assert loaded.samples[0].id == "2/1"


def test_ids_that_repeat_drop_the_later_row(tmp_path: Path) -> None:
    made = [{**row, "id": name} for row, name in zip(written("xlam", 3), ("a", "b", "a"), strict=True)]
    loaded = load_samples(save(tmp_path / "a.jsonl", made), "data.train", 1.0)
    assert ([sample.id for sample in loaded.samples], loaded.dropped) == (["a/1", "b/1"], {"duplicate id": 1})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[" * 100_000, "not JSON"),
        ('{"id": NaN}', "not JSON"),
        ('{"id": "\\ud800"}', "not JSON"),
        ('{"a": 1} {"b": 2}', "not JSON"),
    ],
)
def test_lines_that_would_break_a_reader_are_counted(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(written("xlam")[0]) + "\n" + line)
    assert load_samples(path, "data.train", 1.0).dropped == {reason: 1}


@pytest.mark.parametrize("depth", [500, 5000])
def test_a_schema_nested_too_deeply_is_counted_wherever_the_interpreter_gives_up(tmp_path: Path, depth: int) -> None:
    schema = '{"type": "object", "properties": {"a": ' * depth + "{}" + "}}" * depth
    row = {**written("xlam")[0], "tools": f'[{{"name": "f", "parameters": {schema}}}]'}
    loaded = load_samples(save(tmp_path / "a.jsonl", [written("xlam")[0], row]), "data.train", 1.0)
    assert loaded.dropped in ({"nested too deeply": 1}, {"tools not JSON": 1})


def test_line_separators_of_unicode_end_no_line_and_empty_lines_count(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    made = [{**row, "query": "one\u2028two\x85three"} for row in written("xlam", 2)]
    path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in made), encoding="utf-8")
    assert [sample.id for sample in load_samples(path, "data.train", 0.0).samples] == ["1/1", "3/1"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_byte_order_mark_costs_no_row(tmp_path: Path, name: str) -> None:
    text = "\n".join(map(json.dumps, written("xlam", 2)))
    (tmp_path / name).write_text(text if name.endswith("l") else json.dumps(written("xlam", 2)), encoding="utf-8-sig")
    assert len(load_samples(tmp_path / name, "data.train", 0.0).samples) == 2


def test_the_garbage_collector_runs_again_after_a_file_that_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[")
    with pytest.raises(ValueError):
        load_samples(tmp_path / "a.json", "data.train", 1.0)
    assert gc.isenabled()


@pytest.mark.parametrize("source", ["hub:", "hub:a/b/c", "hub:a/b#", "hub:a/b#c/d/e", "hub:a b", "hub:../a"])
def test_a_hub_source_of_another_syntax_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=r"^data.train hub:.*expected hub:OWNER/NAME"):
        rows(source, "data.train")


def test_a_hub_set_that_cannot_be_reached_is_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^data.train hub:nobody/nothing#main/test: cannot be loaded .*give its path"):
        hub_rows("hub:nobody/nothing#main/test", "data.train")


def test_a_hub_set_is_loaded_by_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` takes a folder of that name before it asks the hub, so this runs its own loading and Arrow's nulls."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "someone" / "calls"
    folder.mkdir(parents=True)
    save(folder / "train.jsonl", [WRITERS["openai"](conversation) for conversation in NESTED])
    save(folder / "test.jsonl", written("xlam"))
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files: train.jsonl\n"
        "- config_name: flat\n  data_files:\n  - split: test\n    path: test.jsonl\n---\n"
    )
    loaded = load_samples("hub:someone/calls", "data.train", 0.0)
    assert (loaded.form, loaded.samples) == ("openai", load_samples(folder / "train.jsonl", "data.train", 0.0).samples)
    assert load_samples("hub:someone/calls#flat/test", "data.train", 0.0).form == "xlam"
    with pytest.raises(ValueError, match=r"^data.train hub:someone/calls#nope: cannot be loaded"):
        load_samples("hub:someone/calls#nope", "data.train", 0.0)


@pytest.mark.parametrize("form", FORM_NAMES)
def test_a_recipe_takes_a_file_of_any_form(tmp_path: Path, form: str) -> None:
    rows = written(form, len(CONVERSATIONS))
    paths = {part: save(tmp_path / f"{part}.jsonl", rows[at::2]) for at, part in enumerate(("train", "held_out"))}
    files = [*(f"data.{part}={path}" for part, path in paths.items()), f"data.form={form}", "data.num_held_out=80"]
    data = build.data(Recipe.load("debug", files), None)
    assert data.train and data.held_out and data.dropped == {}


def test_a_conversation_with_a_call_that_the_dialect_cannot_write_is_dropped(tmp_path: Path) -> None:
    row = json.loads(json.dumps(WRITERS["sharegpt"](MULTI_TURN[0])).replace("look_up", "look up"))
    rows = [row, WRITERS["sharegpt"](MULTI_TURN[1])]
    others = json.loads(json.dumps(rows).replace('"from": "human", "value": "', '"from": "human", "value": "Now: '))
    assert others != rows
    paths = (save(tmp_path / "rows.jsonl", rows), save(tmp_path / "others.jsonl", others))
    recipe = Recipe.load("debug", [f"data.train={paths[0]}", f"data.held_out={paths[1]}"])
    dropped = build.data(recipe, None).dropped
    assert dropped == {
        "train: the pythonic dialect cannot write a name in it": 4,
        "held_out: the pythonic dialect cannot write a name in it": 3,
    }


def test_a_hub_source_passes_the_command_line() -> None:
    recipe = Recipe.load("debug", ["data.train=hub:owner/name#config/split"])
    assert recipe.data.train == "hub:owner/name#config/split"

"""scripts/synthesize.py: the user's tools in, verified samples out; what is broken is found."""

from __future__ import annotations

import gzip
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plants import PLANTS, SOUND
from sample_tools import TEXT

from iterft import Recipe, build
from iterft.data import load_samples
from iterft.synth.catalog import load_further_catalog
from iterft.synth.grounding import ungrounded
from iterft.synth.near import NearDuplicates
from iterft.synth.pipeline import Order, nothing_yet
from iterft.synth.pipeline import synthesize as synthesized
from iterft.synth.rows import claimed, line_of, row_of
from iterft.synth.shares import SHARES, shares_of
from iterft.synth.stock import built_in_tools, spoken_of, stock_of
from iterft.synth.tasks import tool_split
from iterft.synth.values import Kind, Value
from iterft.toolsets.forms import load_toolset
from iterft.toolsets.parts import Definition

SCRIPT = Path(__file__).parent.parent / "scripts" / "synthesize.py"
NUM = 600


def synthesize(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, check=False
    )


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def asked_in(row: dict[str, Any]) -> str:
    """All that the user says."""
    return "\n".join(message["content"] for message in row["messages"] if message["role"] == "user")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tools and what was made of them."""
    folder = tmp_path_factory.mktemp("synthesis")
    (folder / "my_tools.py").write_text(TEXT)
    done = synthesize("--tools", folder / "my_tools.py", "--out", folder / "data.jsonl", "-n", NUM, "--thinking")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{NUM} samples, all pass the verifier" in done.stdout
    return folder


def test_every_sample_is_read_back_and_its_reference_passes_the_verifier(made: Path) -> None:
    loaded = load_samples(made / "data.jsonl", "FILE", 0.0)
    assert (loaded.form, len(loaded.samples), loaded.dropped) == ("own", NUM, {})
    world = build.world(Recipe.load())
    assert [build.reference_fault(world, sample, is_learnt=True) for sample in loaded.samples] == [""] * NUM


def test_every_value_of_a_call_was_said_by_the_user_or_by_a_tool(made: Path) -> None:
    samples = load_samples(made / "data.jsonl", "FILE", 0.0).samples
    assert [ungrounded(sample) for sample in samples] == [[]] * NUM
    assert sum(len(sample.answer) for sample in samples) > NUM / 2


def test_a_value_without_words_is_said_by_no_one() -> None:
    text = {"type": "string"}
    schema = {"type": "object", "properties": {"secret": text, "mood": text}, "required": ["secret"]}
    tool = spoken_of(Definition("rotate_secret", "Rotate a secret.", schema))
    silent = replace(tool.spec.parameters[1], kind=Kind(text, lambda random: Value("", ("Secret",))))
    stock = stock_of([replace(tool, spec=replace(tool.spec, parameters=[tool.spec.parameters[0], silent]))])
    progress = nothing_yet(stock)
    entries = list(synthesized(stock, Order(20, 0, "silent", False, frozenset(), lambda sample: []), progress))
    calls = [call for entry in entries for row in entry["rows"] for call in row["answer"]]
    assert calls and all("mood" not in call["arguments"] for call in calls)
    assert progress.redrawn["words that nobody said"] > 0


def test_flags_that_may_be_null_are_said_wherever_they_are_set(tmp_path: Path) -> None:
    flag = {"anyOf": [{"type": "boolean"}, {"type": "null"}]}
    properties = {"secret": {"type": "string"}, "force": flag, "urgent": {"type": ["boolean", "null"]}}
    tool = {"name": "rotate_secret", "description": "Rotate a secret.", "parameters": {"properties": properties}}
    tool["parameters"] |= {"type": "object", "required": ["secret"]}
    (tmp_path / "tools.json").write_text(json.dumps([tool]))
    assert synthesize("--tools", tmp_path / "tools.json", "--out", tmp_path / "data.jsonl", "-n", 60).returncode == 0
    said = [
        (name, value, asked_in(row))
        for row in rows(tmp_path / "data.jsonl")
        for call in row["answer"]
        for name, value in call["arguments"].items()
        if name != "secret"
    ]
    assert {value for _, value, _ in said} == {True, False}
    for name, value, text in said:
        ways = "yes|on|enabled|set to true" if value else "no|off|disabled|set to false"
        assert re.search(rf"{name}:? (?:{ways})\b", text), text


def test_kinds_have_their_shares_and_every_tool_is_asked_for(made: Path) -> None:
    made_rows = rows(made / "data.jsonl")
    counts = Counter(row["provenance"]["dialogue"] for row in made_rows)
    for kind, share in SHARES.items():
        assert abs(counts[kind] / NUM - share) < 0.02, kind
    kinds = Counter(row["kind"] for row in made_rows)
    assert {"missing_info", "summary", "dependent", "no_tool"} < set(kinds)
    assert all(bool(row["answer"]) != bool(row.get("text")) for row in made_rows)
    asked = {name for row in made_rows for name in row["provenance"]["tools"]}
    assert len(asked) == 7


def test_kinds_have_the_shares_that_are_asked_for_and_the_others_part_the_rest(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "data.jsonl"
    asked = ("--share", "no_tool=0.3", "--share", "parallel_same=0")
    assert synthesize("--tools", made / "my_tools.py", "--out", out, "-n", NUM, *asked).returncode == 0
    counts = Counter(row["provenance"]["dialogue"] for row in rows(out))
    wanted = shares_of(["no_tool=0.3", "parallel_same=0"])
    assert (wanted["no_tool"], wanted["parallel_same"]) == (0.3, 0.0) and sum(wanted.values()) == pytest.approx(1.0)
    others = SHARES.keys() - {"no_tool", "parallel_same"}
    assert len({round(wanted[kind] / SHARES[kind], 9) for kind in others}) == 1
    assert "parallel_same" not in counts
    for kind, share in wanted.items():
        assert abs(counts[kind] / NUM - share) < 0.02, kind
    assert "no_tool                   " in (summary := out.with_name("data.jsonl.summary.txt").read_text())
    assert "wanted 30.0%" in summary


@pytest.mark.slow
def test_a_name_in_gz_is_a_compressed_file_the_same_each_time(tmp_path: Path) -> None:
    files = [tmp_path / folder / "data.jsonl.gz" for folder in ("one", "two")]
    for out in files:
        assert synthesize("--out", out, "-n", 20).returncode == 0
    one, two = (out.read_bytes() for out in files)
    assert one == two and len(gzip.decompress(one).splitlines()) == 20
    assert len(load_samples(str(files[0]), "FILE", 0.0).samples) == 20
    assert sorted(each.name for each in files[0].parent.iterdir()) == ["data.jsonl.gz", "data.jsonl.gz.summary.txt"]
    clean = tmp_path / "clean.jsonl.gz"
    assert synthesize("--check", files[0], "--out", clean).returncode == 0
    assert len(gzip.decompress(clean.read_bytes()).splitlines()) == 20


@pytest.mark.slow
def test_in_a_share_of_the_dialogues_nothing_is_shown_besides_what_they_need(tmp_path: Path) -> None:
    """A share of 0.4 of them, by their first decisions; several calls and none are right there too."""
    asked = ("--evolve", 200, "--share", "no_tool=0.3", "--share", "parallel_same=0.2")
    firsts = {}
    for share in (0, 0.4, 1):
        out = tmp_path / f"{share}.jsonl"
        assert synthesize("--out", out, "-n", 300, *asked, "--alone-share", share).returncode == 0
        firsts[share] = list({row["id"].partition("/")[0]: row for row in reversed(list(rows(out)))}.values())

    def is_alone(row: dict[str, Any]) -> bool:
        return len(row["tools"]) == max(1, len(set(row["provenance"]["tools"])))

    by_chance = sum(map(is_alone, firsts[0])) / len(firsts[0])
    found = sum(map(is_alone, firsts[0.4])) / len(firsts[0.4])
    assert abs(found - (0.4 + 0.6 * by_chance)) < 0.08
    assert all(map(is_alone, firsts[1]))
    calls = Counter(min(2, len(row["answer"])) for row in firsts[1] if len(row["tools"]) == 1)
    assert min(calls[num] for num in (0, 1, 2)) > 20


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["single"], "--share single: is no share; write single=0.3"),
        (["single=nan"], "--share single=nan: must lie from 0 to 1"),
        (["single=0.9", "asked=0.2"], "--share: those given are 1.1 in sum"),
        (["single=0.1", "single=0.2"], "--share single=0.2: single is given twice"),
        ([f"{kind}=0.1" for kind in SHARES], "--share: those given are 0.7 in sum"),
    ],
)
def test_shares_that_cannot_be_are_refused(asked: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        shares_of(asked)


def test_shares_of_all_kinds_may_be_given() -> None:
    assert shares_of([f"{kind}={share}" for kind, share in SHARES.items()]) == pytest.approx(SHARES)
    assert shares_of(["single=1"]) == {kind: float(kind == "single") for kind in SHARES}


def test_no_two_dialogues_are_near_duplicates(made: Path) -> None:
    said: dict[str, str] = {}
    for row in rows(made / "data.jsonl"):
        said[row["id"].partition("/")[0]] = asked_in(row)
    near = NearDuplicates()
    for text in said.values():
        assert near.similarity(text) == 0.0, text
        near.add(text)


def test_a_second_call_takes_its_value_from_the_first_result(made: Path) -> None:
    second = [row for row in rows(made / "data.jsonl") if row["kind"] == "dependent" and len(row["messages"]) == 3]
    assert second
    for row in second:
        asked, called, result = row["messages"]
        values = [str(value) for value in json.loads(result["content"]).values()]
        handed_on = [value for value in row["answer"][0]["arguments"].values() if str(value) in values]
        assert handed_on and called["tool_calls"]
        assert any(str(value) not in asked["content"] for value in handed_on)


def test_what_can_be_done_is_said_to_be_all_only_where_no_other_tool_is_shown(made: Path) -> None:
    alone = {len(row["tools"]) for row in rows(made / "data.jsonl") if "I can only" in str(row.get("text"))}
    assert alone <= {1}


def test_the_thought_names_the_tool_the_words_and_what_is_missing(made: Path) -> None:
    for row in rows(made / "data.jsonl"):
        for call in row["answer"]:
            assert f": {call['name']}" in row["thought"]
            assert all(f"{name} = " in row["thought"] for name in call["arguments"])
        if row["kind"] == "missing_info":
            assert row["thought"].endswith(" is not said")
        if row["kind"] == "summary":
            assert row["thought"] == "all calls are answered"
    assert all(sample.thought for sample in load_samples(made / "data.jsonl", "FILE", 0.0).samples)


@pytest.mark.slow
def test_the_same_seed_makes_the_same_file_another_seed_another_and_fewer_are_a_beginning(
    made: Path, tmp_path: Path
) -> None:
    for number, arguments in enumerate((("-n", 90), ("-n", 90, "--seed", 1), ("-n", 60))):
        folder = tmp_path / str(number)
        synthesize("--tools", made / "my_tools.py", "--out", folder / "data.jsonl", "--thinking", *arguments)
    first, other, short = (rows(tmp_path / str(number) / "data.jsonl") for number in range(3))
    assert first == rows(made / "data.jsonl")[:90]
    assert short == first[:60]
    assert [row["messages"] for row in other] != [row["messages"] for row in first]


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_ends_where_an_undisturbed_one_does(made: Path, tmp_path: Path, end: signal.Signals) -> None:
    out = tmp_path / "data.jsonl"
    command = [sys.executable, str(SCRIPT), "--tools", str(made / "my_tools.py"), "--out", str(out)]
    command += ["-n", str(NUM), "--thinking"]
    journal = tmp_path / "data.jsonl.journal"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and (not journal.exists() or journal.stat().st_size < 100_000):
        pass
    process.send_signal(end)
    _, told = process.communicate()
    if end == signal.SIGTERM:
        assert (process.returncode, told) == (130, "\ninterrupted; the same command goes on from here\n")
    assert journal.exists() and not out.exists()
    with journal.open("a") as file:
        file.write('{"kind": "single", "ro')
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "going on from" in done.stdout
    assert out.read_text() == (made / "data.jsonl").read_text()
    assert not journal.exists()


@pytest.mark.slow
def test_the_loop_trains_on_what_was_made(made: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "iterft.loop", "--recipe", "debug", "--iters", "1", "--run", str(tmp_path / "run")]
    command += ["--set", f"data.train={made / 'data.jsonl'}", "--set", "data.held_out="]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "iter_001" / "done.json").exists()


def test_without_tools_the_built_in_ones_are_asked_for_and_held_out_ones_never_shown(tmp_path: Path) -> None:
    done = synthesize("--out", tmp_path / "data.jsonl", "-n", 120)
    assert (done.returncode, done.stderr) == (0, "")
    shown = {tool["name"] for row in rows(tmp_path / "data.jsonl") for tool in row["tools"]}
    assert len(shown & tool_split(0)[0]) > 60 and len(shown & load_further_catalog().tools.keys()) > 30
    assert not shown & tool_split(0)[1]
    page = (tmp_path / "data.jsonl.summary.txt").read_text()
    (told,) = (part.splitlines() for part in page.split("\n\n") if part.startswith("40 domains: samples, tools"))
    assert len(told) == 41 and sum(int(line.split()[2]) for line in told[1:]) == 207


@pytest.mark.slow
def test_built_in_tools_that_are_held_out_are_not_shown_beside_the_others(tmp_path: Path) -> None:
    done = synthesize("--out", tmp_path / "t.jsonl", "--held-out", tmp_path / "h.jsonl", "-n", 300)
    assert done.returncode in (0, 1), done.stderr
    asked = {name for row in rows(tmp_path / "h.jsonl") for name in row["provenance"]["tools"]}
    shown = {tool["name"] for row in rows(tmp_path / "t.jsonl") for tool in row["tools"]}
    assert len(asked) > 15 and len(shown) > 90 and not asked & shown


def test_held_out_tools_are_never_shown_in_training_not_even_evolved(made: Path, tmp_path: Path) -> None:
    arguments = ("--evolve", 20, "--out", tmp_path / "t.jsonl", "--held-out", tmp_path / "h.jsonl", "-n", 100)
    done = synthesize("--tools", made / "my_tools.py", *arguments, "--held-out-share", 0.3)
    assert done.returncode in (0, 1), done.stderr
    train, held_out = rows(tmp_path / "t.jsonl"), rows(tmp_path / "h.jsonl")
    assert len(train) + len(held_out) == 100
    asked = {name for row in held_out for name in row["provenance"]["tools"]}
    assert asked and not asked & {tool["name"] for row in train for tool in row["tools"]}
    (said,) = (line for line in done.stdout.splitlines() if " shows none of " in line)
    assert asked <= set(said.split(": ")[-1].split(", "))
    operators = [row["provenance"].get("operators") for row in (*train, *held_out)]
    assert any(operators)


def test_held_out_wordings_ask_for_the_same_tools_and_every_sample_can_show_them_all(
    made: Path, tmp_path: Path
) -> None:
    out, held_out = tmp_path / "t.jsonl", tmp_path / "h.jsonl"
    arguments = ("--out", out, "--held-out-wordings", held_out, "-n", 150, "--whole-list")
    done = synthesize("--tools", made / "my_tools.py", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert (len(rows(out)), len(rows(held_out))) == (120, 30)
    (shown,) = {tuple(tool["name"] for tool in row["tools"]) for path in (out, held_out) for row in rows(path)}
    assert shown == tuple(definition.name for definition in load_toolset(made / "my_tools.py").definitions)
    near = NearDuplicates()
    for row in rows(out):
        near.add(asked_in(row))
    assert all(near.similarity(asked_in(row)) == 0.0 for row in rows(held_out))
    assert {"single", "parallel_different", "no_tool"} < {row["kind"] for row in rows(held_out)}
    again = synthesize("--check", held_out)
    assert again.returncode == 0 and "0 rejected" in again.stdout


def test_held_out_tools_and_held_out_wordings_are_two_files(made: Path, tmp_path: Path) -> None:
    files = {option: tmp_path / f"{option}.jsonl" for option in ("out", "held-out", "held-out-wordings")}
    options = [part for option, path in files.items() for part in (f"--{option}", path)]
    done = synthesize("--tools", made / "my_tools.py", *options, "-n", 60, "--held-out-share", 0.3)
    assert (done.returncode, done.stderr) == (0, "")
    train, tools, wordings = (
        {name for row in rows(path) for name in row["provenance"]["tools"]} for path in files.values()
    )
    assert [len(rows(path)) for path in files.values()] == [24, 18, 18]
    assert tools and tools.isdisjoint(train | wordings) and wordings & train


def test_names_and_words_of_evaluation_data_are_kept_out(made: Path, tmp_path: Path) -> None:
    leaked = [row for row in rows(made / "data.jsonl") if row["kind"] == "single"][:1]
    leaked[0]["tools"] = [{**leaked[0]["tools"][0], "name": "convertCurrency"}]
    leaked[0] |= {"answer": [], "accepted": None, "text": "No."}
    (tmp_path / "eval.jsonl").write_text("".join(map(line_of, leaked)))
    arguments = ("--tools", made / "my_tools.py", "--out", tmp_path / "data.jsonl", "-n", 80)
    done = synthesize(*arguments, "--against", tmp_path / "eval.jsonl")
    assert done.returncode == 0, done.stderr
    assert f"--against {tmp_path / 'eval.jsonl'}: 1 samples of 1 rows\n" in done.stdout
    assert "1 tools are left out, as evaluation data has their names: convert_currency" in done.stdout
    shown = {tool["name"] for row in rows(tmp_path / "data.jsonl") for tool in row["tools"]}
    assert "convert_currency" not in shown and "place_order" in shown


def test_what_evaluation_data_has_is_rejected_from_any_data(made: Path, tmp_path: Path) -> None:
    seen = next(row for row in rows(made / "data.jsonl") if row["kind"] == "single")
    (tmp_path / "eval.jsonl").write_text(line_of(seen))
    files = ("--out", tmp_path / "clean.jsonl", "--rejected", tmp_path / "rejected.jsonl")
    done = synthesize("--check", made / "data.jsonl", *files, "--against", tmp_path / "eval.jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    reasons = {row["id"]: {each["reason"] for each in row["reasons"]} for row in rows(tmp_path / "rejected.jsonl")}
    assert reasons[seen["id"]] == {"words_of_evaluation", "tool_of_evaluation"}
    names = {tool["name"] for tool in seen["tools"]}
    clean = rows(tmp_path / "clean.jsonl")
    assert all(names.isdisjoint(tool["name"] for tool in row["tools"]) for row in clean)
    assert len(clean) + len(reasons) == len(rows(made / "data.jsonl"))


def test_evaluation_data_of_which_no_row_can_be_read_are_refused(tmp_path: Path) -> None:
    """Nothing would be kept apart from them."""
    (tmp_path / "eval.jsonl").write_text(json.dumps({"id": "1", "question": [], "function": []}) + "\n")
    done = synthesize("--out", tmp_path / "data.jsonl", "-n", 20, "--against", tmp_path / "eval.jsonl")
    assert done.returncode == 2 and "none of 1 rows could be read, 1 left out: unknown form" in done.stderr
    assert not (tmp_path / "data.jsonl").exists()


def test_tools_none_of_which_can_be_worded_are_named_as_the_fault(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"p.q": {"type": "string"}}, "required": ["p.q"]}
    (tmp_path / "t.json").write_text(json.dumps([{"name": "find", "description": "Finds it.", "parameters": schema}]))
    done = synthesize("--tools", tmp_path / "t.json", "--out", tmp_path / "data.jsonl", "--skip-refused")
    assert done.returncode == 2 and f"--tools {tmp_path / 't.json'}: it holds no tool that can be used" in done.stderr
    assert "0 tools read as json, 1 left out" in done.stdout


def test_a_file_that_another_process_writes_is_left_to_it(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "data.jsonl"
    arguments = ("--tools", made / "my_tools.py", "--out", out, "-n", 40)
    with claimed("--out", out):
        done = synthesize(*arguments)
        assert done.returncode == 2 and done.stderr.startswith(f"--out {out}: another process is writing it; wait")
        done = synthesize("--check", made / "data.jsonl", "--out", tmp_path / "x.jsonl", "--rejected", out)
        assert done.returncode == 2 and done.stderr.startswith(f"--rejected {out}: another process")
        assert not out.exists()
    assert synthesize(*arguments).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.jsonl", "data.jsonl.summary.txt"]


def test_too_few_tools_for_what_is_asked_are_said_and_what_there_is_is_kept(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text('def ping() -> bool:\n    """Ping the server."""\n')
    done = synthesize("--tools", tmp_path / "one.py", "--out", tmp_path / "data.jsonl", "-n", 3000)
    assert done.returncode == 1
    assert "fewer than asked for" in done.stdout and "given up" in done.stdout
    kinds = Counter(row["kind"] for row in rows(tmp_path / "data.jsonl"))
    assert 0 < kinds["no_tool"] < 100, "no refusals in the place of calls"


SERVED = ("--out", "x.jsonl", "--teacher", "http://h/v1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tools", "none.py", "--out", "x.jsonl"), "--tools none.py: no such file"),
        (("-n", 5), "--out: missing"),
        (("--out", "x.jsonl", "-n", 0), "--num 0: must be at least 1"),
        (("--out", "x.jsonl", "--held-out-share", 1), "--held-out-share 1.0: must lie between"),
        (
            ("--out", "x.jsonl", "--held-out", "h", "--held-out-wordings", "w", "--held-out-share", 0.5),
            "--held-out-share",
        ),
        (("--out", "x.jsonl", "--whole-list"), "--whole-list: is for --tools"),
        (("--check", "none.jsonl"), "--check none.jsonl: no such file"),
        (("--check", __file__, "--out", __file__), f"--out {__file__}: is the same file as what is read"),
        (("--check", __file__, "--rejected", __file__), f"--rejected {__file__}: is the same file as what is read"),
        (("--out", "x.jsonl", "--endpoint", "timeout_s=9"), "--endpoint: needs --teacher"),
        (
            ("--out", "x.jsonl", "--teacher", "http://h/v1", "--endpoint", "timeout=9"),
            "--endpoint timeout=9: unknown key",
        ),
        ((*SERVED, "--endpoint", "timeout_s=0"), "endpoint.timeout_s: must be"),
        ((*SERVED, "--endpoint", "model=a"), "--endpoint model=a: model has an option of its own"),
        (
            ("--out", "x.jsonl", "--teacher", "http://h/v1", "--endpoint", "max_tokens"),
            "--endpoint max_tokens: expected",
        ),
        (("--out", "x.jsonl", "--against", "none.jsonl"), "--against none.jsonl: no such file"),
        (("--out", "x.jsonl", "--held-out", "./x.jsonl"), "--held-out x.jsonl: is the same file as --out"),
        (("--out", "."), "--out .: is a folder"),
        (("--out", "x.jsonl", "--evolve", -3), "--evolve -3: must be at least 0"),
        (("--out", "x.jsonl", "--grounding"), "--grounding: is used with --check"),
        (("--check", "none.jsonl", "--held-out", "h.jsonl"), "--held-out: is used when samples are made"),
        (("--check", "none.jsonl", "--endpoint", "timeout_s=9"), "--endpoint: needs --judge"),
        (("--check", "none.jsonl", "--votes", 5), "--votes: needs --judge"),
        (("--out", "x.jsonl", "--teacher-key-env", "KEY"), "--teacher-key-env: needs --teacher"),
        (("--out", "x.jsonl", "--rounds", 2), "--rounds: needs --complexity"),
        (("--check", "none.jsonl", "--seed", 1), "--seed: is used when samples are made"),
        (("--check", "none.jsonl", "--share", "single=1"), "--share: is used when samples are made"),
        (("--out", "x.jsonl", "--alone-share", "nan"), "--alone-share nan: must lie from 0 to 1"),
        (("--out", "x.jsonl", "--share", "singles=1"), "--share singles=1: there is no such kind; give one of single,"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_and_exit_code_2(arguments: tuple[object, ...], message: str) -> None:
    done = synthesize(*arguments)
    assert done.returncode == 2 and done.stderr.startswith(message)


def test_all_tools_that_cannot_be_worded_are_named_with_their_file(tmp_path: Path) -> None:
    def tool(name: str, parameter: str) -> dict[str, Any]:
        properties = {parameter: {"type": "string"}}
        return {"name": name, "description": "Frobs.", "parameters": {"type": "object", "properties": properties}}

    path = tmp_path / "tools.json"
    path.write_text(json.dumps([tool("a", "x[y]"), tool("b", "x"), tool("c", "x y")]))
    done = synthesize("--tools", path, "--out", tmp_path / "data.jsonl", "-n", 10)
    assert done.returncode == 2 and done.stderr.startswith(f"--tools {path}: 2 of 3 tools cannot be used; mend")
    assert "\n  tool a: x[y]: " in done.stderr and "\n  tool c: x y: " in done.stderr


def test_a_bad_tool_stops_and_names_its_field_unless_such_are_left_out(tmp_path: Path) -> None:
    tools = tmp_path / "tools.py"
    tools.write_text(TEXT + '\n\ndef odd(x: list) -> None:\n    """Odd."""\n')
    done = synthesize("--tools", tools, "--out", tmp_path / "new" / "data.jsonl", "-n", 20)
    assert done.returncode == 2 and "tool odd: x: list does not say what it holds" in done.stderr
    assert not (tmp_path / "new").exists()
    done = synthesize("--tools", tools, "--out", tmp_path / "data.jsonl", "-n", 20, "--skip-refused")
    assert done.returncode == 0 and "7 tools read as python, 1 left out" in done.stdout


def test_checking_counts_reasons_and_keeps_rejected_rows_with_theirs(tmp_path: Path) -> None:
    sound = [row_of(sample) | {"id": f"sound-{number}"} for number, sample in enumerate(SOUND)]
    broken = [row_of(PLANTS[reason][0]) | {"id": reason} for reason in ("unknown_tool", "nothing_to_learn")]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(map(line_of, (*sound, *broken))) + "{\n")
    clean, rejected = tmp_path / "clean.jsonl", tmp_path / "rejected.jsonl"
    done = synthesize("--check", data, "--out", clean, "--rejected", rejected)
    assert (done.returncode, done.stderr) == (0, "")
    total = len(sound) + 2
    assert f"{total + 1} rows, {total} samples, 2 rejected" in done.stdout
    assert "1  unknown_tool" in done.stdout and "1  unreadable: not JSON" in done.stdout
    assert [row["id"] for row in rows(clean)] == [row["id"] for row in sound]
    *kept, unreadable = rows(rejected)
    assert [(row["id"], row["reasons"][0]["reason"]) for row in kept] == [
        ("unknown_tool", "unknown_tool"),
        ("nothing_to_learn", "nothing_to_learn"),
    ]
    assert unreadable == {"number": total + 1, "reasons": unreadable["reasons"], "row": "{\n"}
    again = synthesize("--check", clean)
    assert again.returncode == 0 and "0 rejected" in again.stdout


def test_checking_keeps_what_else_a_row_of_our_own_form_says(tmp_path: Path) -> None:
    made = [row_of(SOUND[0], provenance={"kind": "single"}, note="mine"), row_of(PLANTS["unknown_tool"][0], note="bad")]
    data, clean, rejected = (tmp_path / f"{name}.jsonl" for name in ("data", "clean", "rejected"))
    data.write_text("".join(line_of(row | {"id": str(number)}) for number, row in enumerate(made)))
    assert synthesize("--check", data, "--out", clean, "--rejected", rejected).returncode == 0
    (kept,), (left_out,) = rows(clean), rows(rejected)
    assert (kept["provenance"], kept["note"]) == ({"kind": "single"}, "mine")
    assert left_out["note"] == "bad" and left_out["reasons"]


def test_checking_can_ask_that_values_were_said(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    row = row_of(SOUND[0])
    row["messages"] = [{"role": "user", "content": "What will the weather be?"}]
    data.write_text(line_of(row))
    assert "0 rejected" in synthesize("--check", data).stdout
    assert "1  ungrounded_value" in synthesize("--check", data, "--grounding").stdout


def test_a_schema_that_leads_back_to_itself_is_an_objection_to_its_row(tmp_path: Path) -> None:
    row = row_of(SOUND[0]) | {"id": "round"}
    row["tools"] = [{**tool, "parameters": {"type": "object", "properties": {
        name: {"$ref": f"#/properties/{name}"} for name in tool["parameters"]["properties"]
    }}} for tool in row["tools"]]  # fmt: skip
    (tmp_path / "data.jsonl").write_text(line_of(row) + line_of(row_of(SOUND[0])))
    done = synthesize("--check", tmp_path / "data.jsonl", "--out", tmp_path / "clean.jsonl")
    assert done.returncode == 0 and "1  self_referring_schema" in done.stdout
    assert len(rows(tmp_path / "clean.jsonl")) == 1


@pytest.mark.parametrize("content", ["", '{"a": 1}\n'])
def test_a_file_without_a_readable_row_is_exit_code_2(tmp_path: Path, content: str) -> None:
    (tmp_path / "data.jsonl").write_text(content)
    done = synthesize("--check", tmp_path / "data.jsonl", "--out", tmp_path / "clean.jsonl")
    assert done.returncode == 2 and "none could be read" in done.stderr
    assert not (tmp_path / "clean.jsonl").exists()


@pytest.mark.slow
def test_making_samples_leaves_the_built_in_catalog_as_it_is() -> None:
    before = {tool.spec.name: set(tool.spec.rivals) for tool in built_in_tools()}
    stock_of(built_in_tools())
    assert {tool.spec.name: set(tool.spec.rivals) for tool in built_in_tools()} == before

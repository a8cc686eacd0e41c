"""The judge: planted faults are found under their names, mended where they can be, and nothing is asked twice."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from toy_server import Reply, Request, refused, said, toy_server
from toys import TOOLS, call, part, sample_of

from iterft.completions import misfit
from iterft.config import EndpointSettings, JudgeSettings
from iterft.endpoint import endpoint
from iterft.log import Log
from iterft.protocols import ChatFault
from iterft.readers.parts import as_answer
from iterft.rollout import reference_calls
from iterft.synth.judge import Judged, judge_all
from iterft.synth.questions import PROMPTS, arguments_schema, turn_schema
from iterft.synth.rows import line_of, row_of
from iterft.synth.tasks import generate
from iterft.types import Message, Prompt, Sample, ToolCall

SCRIPT = Path(__file__).parent.parent / "scripts" / "synthesize.py"
QUIET = Log(quiet=True)
PROMPT_OF = {path.stem: path.read_text(encoding="utf-8").strip() for path in PROMPTS.glob("*.txt")}

PARIS = call("weather", city="Paris", days=3)
SEATS = call("book", city="Oslo", seats=2)


def ask(name: str, text: str, *answer: ToolCall, reply: str = "", before: Sequence[Message] = ()) -> Sample:
    sample = sample_of(name, *answer, text=reply)
    return replace(sample, prompt=Prompt((*before, {"role": "user", "content": text}), sample.prompt.tools))


WEATHER = ask("weather", "The weather in Paris for 3 days.", PARIS)
BOOK = ask("book", "Please book 2 seats in Oslo.", SEATS)
THANKS = ask("thanks", "Thanks!", reply="You are welcome.")
UNSAID = ask("unsaid", "Thanks!")
INVENTED = ask("invented", "The weather in Paris for 3 days.", call("weather", city="Paris", days=7))
WRONG_TOOL = ask("wrong tool", "Please book 2 seats in Oslo.", call("weather", city="Oslo", days=2))
NEEDLESS = ask("needless", "Paris has 3 rivers, book that in your mind.", PARIS)
DUE = ask("due", "You may tell me of Paris for 3 days.", reply="Gladly.")


def asked_before(result: str) -> list[Message]:
    """An earlier exchange with a tool."""
    made = [{"name": "weather", "arguments": {"city": "Rome", "days": 1}}]
    return [
        {"role": "user", "content": "The weather in Rome for 1 day."},
        {"role": "assistant", "content": "", "tool_calls": made},
        {"role": "tool", "content": result},
    ]


AFTER = ask("after", "The weather in Paris for 3 days.", PARIS, before=asked_before('{"city": "Rome", "sky": "clear"}'))
MISFIT = ask("misfit", "The weather in Paris for 3 days.", PARIS, before=asked_before('{"city": "Oslo"}'))

RIGHT = (WEATHER, BOOK, THANKS, UNSAID, AFTER)
FAULTS = {
    "hallucinated value": INVENTED,
    "task not completed": WRONG_TOOL,
    "result does not fit its tool": MISFIT,
    "a call where none is due": NEEDLESS,
    "prose where a call is due": DUE,
}


@dataclass
class ToyJudge:
    """Judges by rules of its own, from no more than what it is shown. `turns`: what it writes when it is to write a
    turn anew, one after another, for ever. `hear`: called with each question, before it answers."""

    turns: Sequence[Sequence[ToolCall] | str] = ("I do not know.",)
    hear: Callable[[str, str], None] = lambda question, content: None
    name: str = "toy"
    concurrency: int = 1
    asked: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def chat(
        self, messages: Sequence[Message], tools: Sequence[Any] = (), schema: Mapping[str, Any] | None = None
    ) -> Message:
        system, user = (message["content"] for message in messages)
        assert system == PROMPT_OF["system"]
        question = next(name for name, text in PROMPT_OF.items() if user.endswith(text))
        with self.lock:
            number = self.asked[question]
            self.asked[question] += 1
        self.hear(question, user)
        answer = getattr(self, question)(part(user, "conversation"), user, number)
        assert schema is not None
        assert misfit(answer, schema) == ""
        return {"role": "assistant", "content": json.dumps(answer)}

    def results(self, conversation: str, user: str, number: int) -> dict[str, Any]:
        *_, made, result = (json.loads(line) for line in conversation.splitlines()[:3])
        return verdict(
            made["tool_calls"][0]["arguments"]["city"] in result["content"], "The result is of another city."
        )

    def task(self, conversation: str, user: str, number: int) -> dict[str, Any]:
        wanted = {"The weather": "weather", "Please book": "book", "Paris has": "weather"}
        last = json.loads(conversation.splitlines()[-1])["content"]
        right = [tool for beginning, tool in wanted.items() if last.startswith(beginning)]
        made = [call["name"] for call in json.loads(part(user, "turn"))["calls"]]
        return verdict(made == right, f"It should be {right}.")

    def values(self, conversation: str, user: str, number: int) -> dict[str, Any]:
        values = [value for made in json.loads(part(user, "turn"))["calls"] for value in made["arguments"].values()]
        unknown = [value for value in values if str(value) not in conversation]
        return verdict(not unknown, f"{unknown} comes from nowhere.")

    def need(self, conversation: str, user: str, number: int) -> dict[str, Any]:
        assert "<turn>" not in user, "it must not see the reference"
        last = json.loads(conversation.splitlines()[-1])["content"]
        return {"reasoning": "", "call_is_due": last.startswith(("The weather", "Please book", "You may"))}

    def regenerate(self, conversation: str, user: str, number: int) -> dict[str, Any]:
        turn = self.turns[number % len(self.turns)]
        if isinstance(turn, str):
            return {"reasoning": "", "calls": [], "reply": turn}
        calls = [{"name": made.name, "arguments": made.arguments} for made in turn]
        return {"reasoning": "", "calls": calls, "reply": "x"}


def verdict(is_right: bool, fault: str) -> dict[str, Any]:
    return {"reasoning": "", "verdict": "right" if is_right else "wrong", "fault": "" if is_right else fault}


def judged(samples: Iterable[Sample], model: ToyJudge, **settings: Any) -> Judged:
    return judge_all(list(samples), model, JudgeSettings(**settings), QUIET)


def test_right_samples_are_kept_as_they_are_and_no_more_is_asked_than_a_majority_takes() -> None:
    model = ToyJudge()
    assert judged(RIGHT, model) == Judged(RIGHT, (), {"kept": 5})
    assert model.asked == {"results": 2, "task": 10, "values": 8, "need": 10}, "two votes decide"


@pytest.mark.parametrize("reason", FAULTS)
def test_every_planted_fault_is_found_under_its_name_among_right_samples(reason: str) -> None:
    samples = (*RIGHT[:2], FAULTS[reason], *RIGHT[2:])
    model = ToyJudge(turns=[[SEATS, SEATS]], concurrency=3)
    kept, rejected, counts = vars(judged(samples, model)).values()
    assert kept == RIGHT
    ((sample, told),) = rejected
    assert sample is FAULTS[reason], "it is kept aside as it was given"
    assert counts == {"kept": 5, told.split(":")[0]: 1}
    if reason in ("hallucinated value", "task not completed"):
        assert told.startswith("task not completed: It should be")  # of the turn that was written instead
    else:
        assert told.startswith(reason)


def test_without_regeneration_the_fault_of_the_reference_itself_is_told() -> None:
    model = ToyJudge()
    result = judged(FAULTS.values(), model, max_regenerations=0)
    assert [told.split(":")[0] for _, told in result.rejected] == list(FAULTS)
    assert result.rejected[0][1] == "hallucinated value: [7] comes from nowhere."
    assert result.kept == ()
    assert model.asked["regenerate"] == 0


def test_a_wrong_reference_is_written_anew_until_it_is_right() -> None:
    remarks: list[str] = []
    model = ToyJudge(
        turns=[[call("weather", city="Rome", days=3)], [PARIS]],
        hear=lambda question, user: remarks.append(part(user, "remark")) if question == "regenerate" else None,
    )
    result = judged([replace(INVENTED, kind="single"), BOOK], model)
    mended = replace(INVENTED, answer=(as_answer(PARIS),), kind="single")
    assert result == Judged((mended, BOOK), (), {"kept, regenerated": 1, "kept": 1})
    assert remarks == ["[7] comes from nowhere.", "['Rome'] comes from nowhere."]


def test_a_reference_that_is_written_anew_knows_declared_defaults_and_keeps_no_reasons_of_the_old_one() -> None:
    weather = copy.deepcopy(next(tool for tool in INVENTED.prompt.tools if tool["name"] == "weather"))
    weather["parameters"]["properties"]["unit"] = {"type": "string", "default": "C"}
    sample = replace(INVENTED, prompt=replace(INVENTED.prompt, tools=(weather,)), thought="days: 7")
    (kept,) = judged([sample], ToyJudge(turns=[[PARIS]])).kept
    assert kept.answer == (as_answer(PARIS, (weather,)),) and kept.answer[0].arguments["unit"] == ["", "C"]
    assert kept.thought == ""


def test_a_call_may_become_words_and_the_other_way_round() -> None:
    spoken = ask("spoken", "Thanks!", PARIS)
    silent = ask("silent", "Please book 2 seats in Oslo.", reply="No.")
    result = judged([replace(spoken, kind="single")], ToyJudge(turns=["Bye."]))
    assert result.kept == (replace(spoken, answer=(), text="Bye.", kind=""),)
    result = judged([replace(silent, kind="no_tool")], ToyJudge(turns=[[SEATS]]))
    assert result.kept == (replace(silent, answer=(as_answer(SEATS),), text="", kind=""),)


def test_a_reference_that_stays_wrong_is_dropped_after_so_many_times() -> None:
    model = ToyJudge(turns=["Never mind."])
    result = judged([WRONG_TOOL], model)
    assert result.counts == {"task not completed": 1}
    assert model.asked == {"task": 8, "regenerate": 3}
    model = ToyJudge()
    judged([MISFIT], model)
    assert model.asked == {"results": 2}, "another reference would not help"


@pytest.mark.parametrize(
    ("wrong_votes", "num_asked", "is_kept"), [((0,), 3, True), ((0, 2), 3, False), ((2,), 2, True)]
)
def test_the_majority_decides(wrong_votes: tuple[int, ...], num_asked: int, is_kept: bool) -> None:
    class Doubtful(ToyJudge):
        def task(self, conversation: str, user: str, number: int) -> dict[str, Any]:
            return verdict(number not in wrong_votes, "I have doubts.")

    model = Doubtful()
    result = judged([THANKS], model, max_regenerations=0)
    assert bool(result.kept) is is_kept
    assert model.asked["task"] == num_asked
    assert [told for _, told in result.rejected] == [] if is_kept else ["task not completed: I have doubts."]


def deaf_to(*names: str) -> Callable[[str, str], None]:
    def hear(question: str, user: str) -> None:
        if any(name in user for name in names):
            raise ChatFault("timeout", "no whole answer within 1 s")

    return hear


def test_a_sample_that_could_not_be_judged_is_kept_aside_and_asked_about_by_the_next_run(tmp_path: Path) -> None:
    journal = str(tmp_path / "deep" / "verdicts.jsonl")
    result = judged(RIGHT, ToyJudge(hear=deaf_to("seats in Oslo")), journal=journal)
    assert result.counts == {"kept": 4, "not judged (timeout)": 1}
    assert result.rejected == ((BOOK, "not judged (timeout): no whole answer within 1 s"),)
    model = ToyJudge()
    assert judged(RIGHT, model, journal=journal).kept == RIGHT
    assert model.asked == {"task": 2, "values": 2, "need": 2}


def test_a_judge_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    samples = [*RIGHT, *FAULTS.values()]
    turns = [[PARIS]]
    whole = judged(samples, ToyJudge(turns))
    assert {"kept", "kept, regenerated"} < whole.counts.keys()
    journal = tmp_path / "verdicts.jsonl"

    def fail(question: str, user: str) -> None:
        if "book that in your mind" in user:
            raise ValueError("the server is gone")

    with pytest.raises(ValueError, match="the server is gone"):
        judged(samples, ToyJudge(turns, fail), journal=str(journal))
    content = journal.read_bytes()
    journal.write_bytes(content[:-5])  # a kill in mid-write
    num_known = content.count(b"\n") - 1
    assert 5 < num_known < len(samples)
    model = ToyJudge(turns)
    assert judged(samples, model, journal=str(journal)) == whole
    assert 0 < model.asked["need"] <= 2 * (len(samples) - num_known)
    again = ToyJudge(turns)
    assert judged(samples, again, journal=str(journal)) == whole
    assert not again.asked


@pytest.mark.parametrize(
    "change",
    [
        lambda sample, model, settings: (replace(sample, answer=(as_answer(SEATS),)), model, settings),
        lambda sample, model, settings: (
            replace(sample, prompt=replace(sample.prompt, tools=TOOLS[:1])),
            model,
            settings,
        ),
        lambda sample, model, settings: (sample, replace(model, name="another"), settings),
        lambda sample, model, settings: (sample, model, {**settings, "votes": 5}),
        lambda sample, model, settings: (sample, model, {**settings, "max_regenerations": 1}),
    ],
)
def test_a_verdict_counts_for_the_same_sample_model_and_settings_only(tmp_path: Path, change: Any) -> None:
    settings = {"journal": str(tmp_path / "verdicts.jsonl")}
    judged([WEATHER], ToyJudge(), **settings)
    sample, model, settings = change(WEATHER, ToyJudge(), settings)
    judged([sample], model, **settings)
    assert model.asked["task"]


@pytest.mark.parametrize("content", ['[{"id": 1}]', '{"id": "1", "messages": []}', "words\nand words"])
def test_a_file_of_something_else_is_no_journal_and_stays_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"judge\.journal .*data\.jsonl: holds something else than verdicts"):
        judged(RIGHT, ToyJudge(), journal=str(path))
    assert path.read_text() == content


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"judge\.votes: must be odd and greater than 0, but it is 2"):
        judged(RIGHT, ToyJudge(), votes=2)
    with pytest.raises(ValueError, match=r"judge\.journal /dev/null/here: cannot be written"):
        judged(RIGHT, ToyJudge(), journal="/dev/null/here")


def test_no_samples_are_judged_in_no_time() -> None:
    assert judged([], ToyJudge()) == Judged((), (), {})


def test_what_is_shown_holds_tools_conversation_and_first_accepted_values() -> None:
    shown: list[str] = []
    wide = replace(WEATHER, answer=(ToolCall("weather", {"city": ["Paris", "paris, France"], "days": ["", 3]}),))
    judged([wide, UNSAID], ToyJudge(hear=lambda question, user: shown.append(user)))
    assert "weather\n  city (string)\n  days (integer)" in part(shown[0], "tools")
    assert part(shown[0], "conversation") == json.dumps(WEATHER.prompt.messages[0])
    turn = {"calls": [{"name": "weather", "arguments": {"city": "Paris"}}]}
    assert part(shown[0], "turn") == json.dumps(turn)
    assert '{"calls": [], "reply": "(not recorded)"}' in [part(user, "turn") for user in shown]


def test_every_builtin_reference_has_the_form_that_a_regenerated_turn_must_have() -> None:
    for sample in generate(300, 0, "train"):
        schema = turn_schema(sample.prompt.tools)
        calls = [{"name": made.name, "arguments": dict(made.arguments)} for made in reference_calls(sample)]
        assert misfit({"reasoning": "", "calls": calls, "reply": sample.text}, schema) == ""
        for made in calls:
            wrong = {**made, "arguments": {**made["arguments"], "made_up": 1}}
            assert misfit({"reasoning": "", "calls": [wrong], "reply": ""}, schema)
            wrong = {**made, "name": "made_up"}
            assert misfit({"reasoning": "", "calls": [wrong], "reply": ""}, schema)


@pytest.mark.parametrize(
    "parameters",
    [
        None,
        {},
        {"type": "dict", "properties": {}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}},
        {"type": "object", "properties": {"a": {"type": "string", "enum": None}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}},
    ],
)
def test_a_tool_whose_schema_cannot_be_part_of_another_takes_any_arguments(parameters: Any) -> None:
    assert arguments_schema({"name": "f", "parameters": parameters}) == {"type": "object"}


def test_arguments_that_are_not_listed_are_refused_unless_the_tool_says_otherwise() -> None:
    listed = {"type": "object", "properties": {"a": {}}}
    for parameters, is_open in (
        (listed, False),
        ({"type": "object"}, True),
        ({**listed, "additionalProperties": True}, True),
    ):
        schema = arguments_schema({"name": "f", "parameters": parameters})
        assert (misfit({"b": 1}, schema) == "") is is_open


def test_samples_are_judged_over_a_real_endpoint_that_stalls_refuses_and_garbles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    toy = ToyJudge(turns=[[PARIS]])

    def answer(request: Request, number: int) -> Reply:
        if "response_format" in request.body:
            return refused(400, "no response_format here")
        if number % 7 == 3:
            return refused(503, "busy")
        if number % 11 == 5:
            return Reply(b"{", headers={})
        if number % 13 == 6:
            return Reply({}, hold_s=30)
        system, user, *repairs = request.body["messages"]
        if number % 9 == 4 and not repairs:
            return said("I would rather talk.")
        asked, _, words = user["content"].rpartition("\n\nAnswer with one JSON value and nothing else.")
        schema = json.loads(words.partition("\n")[2])
        return said("Sure:\n" + toy.chat([system, {"role": "user", "content": asked}], (), schema)["content"])

    samples = [replace(sample, id=f"{sample.id} {turn}") for turn in range(4) for sample in (*RIGHT, *FAULTS.values())]
    log = Log(tmp_path / "metrics.jsonl", quiet=True)
    with toy_server(answer) as server:
        settings = EndpointSettings(base_url=server.url, model="toy", timeout_s=2.0, max_wait_s=0.02, concurrency=6)
        with endpoint(settings, log) as model:
            result = judge_all(samples, model, JudgeSettings(), log)
    assert result.counts == {key: 4 * count for key, count in judged(samples[:10], toy).counts.items()}
    *_, used = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert used["event"] == "endpoint"
    assert used["trouble"].keys() == {"refused", "unavailable", "garbled", "timeout"}
    assert used["unusable"] > 0
    assert used["failures"] == {}


def test_the_script_puts_what_its_rules_let_pass_to_the_judge(tmp_path: Path) -> None:
    """Sound rows stay, one that only the judge can find wrong is mended, one that cannot be mended goes aside."""
    toy = ToyJudge(turns=[[PARIS]])

    def answer(request: Request, number: int) -> Reply:
        if request.path.endswith("/models"):
            return Reply({"data": [{"id": "toy"}]})
        schema = request.body["response_format"]["json_schema"]["schema"]
        return said(toy.chat(request.body["messages"], (), schema)["content"])

    def described(sample: Sample, **changes: Any) -> Sample:
        tools = tuple({**tool, "description": f"About {tool['name']}."} for tool in sample.prompt.tools)
        return replace(sample, prompt=replace(sample.prompt, tools=tools), **changes)

    mended = described(INVENTED, id="mended")
    broken = described(sample_of("broken", call("nowhere", city="Paris")))
    samples = [described(WEATHER), described(THANKS), mended, described(MISFIT), broken]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(line_of(row_of(sample)) for sample in samples))
    out, aside = tmp_path / "clean.jsonl", tmp_path / "aside.jsonl"
    with toy_server(answer) as server:
        command = [
            sys.executable,
            str(SCRIPT),
            "--check",
            rows,
            "--out",
            out,
            "--rejected",
            aside,
            "--judge",
            server.url,
        ]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False, env={**os.environ, "NO_PROXY": "*"}
        )
    assert done.returncode == 0, done.stderr
    kept = {row["id"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert kept.keys() == {WEATHER.id, THANKS.id, "mended"}
    assert kept["mended"]["answer"] == [{"name": "weather", "arguments": PARIS.arguments}]
    left = {
        row["id"]: [each["reason"] for each in row["reasons"]]
        for row in map(json.loads, aside.read_text().splitlines())
    }
    assert left[MISFIT.id] == ["judge"] and "broken" in left and "judge" not in left["broken"]
    assert "judged by toy: 4 samples" in done.stdout

"""A run's checkpoint, asked which tools to call."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_loop import small_recipe
from toys import TOOLS, call

from iterft import Iterator
from iterft.ask import asking, main, take_turn
from iterft.dialects.hermes import HERMES
from iterft.policies.scripted import ScriptedPolicy
from iterft.readers.forms import read_prompt
from iterft.store import Store, finished_checkpoint

WEATHER = call("weather", city="Oslo", days=2)


def policy_that_says(text: str) -> ScriptedPolicy:
    """Says it of every prompt that asks of Oslo and shows the tools, and nothing of others."""
    return ScriptedPolicy(lambda prompt: {text: 1.0} if "Oslo" in prompt and '"weather"' in prompt else {"": 1.0})


def test_what_is_asked_becomes_calls_or_words() -> None:
    calling, talking = policy_that_says(HERMES.render([WEATHER])), policy_that_says("It is cold.")
    assert take_turn(calling, HERMES, TOOLS, "Weather in Oslo?").calls == (WEATHER,)
    assert take_turn(calling, HERMES, TOOLS, "Weather in Rome?").calls == ()
    assert take_turn(talking, HERMES, TOOLS, "Weather in Oslo?").content == "It is cold."
    conversation = [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": "Where?"}]
    conversation.append({"role": "user", "content": "Oslo"})
    assert take_turn(calling, HERMES, TOOLS, conversation).calls == (WEATHER,)


def test_messages_may_be_those_of_openai() -> None:
    asked: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "Weather in Oslo?"}]}]
    function = {"name": WEATHER.name, "arguments": json.dumps(dict(WEATHER.arguments))}
    called = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "a", "type": "function", "function": function}],
    }
    found = {"role": "tool", "tool_call_id": "a", "content": {"celsius": 3}}
    plain: list[Any] = [
        {"role": "user", "content": "Weather in Oslo?"},
        {"role": "assistant", "content": "", "tool_calls": [{"name": WEATHER.name, "arguments": WEATHER.arguments}]},
        {"role": "tool", "content": '{"celsius": 3}'},
    ]
    assert read_prompt([*asked, called, found]) == read_prompt(plain) == tuple(plain)


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([], "it is empty"),
        ("", "the last is the user's: "),
        ([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], "the last is the assistant's"),
        ([{"role": "user", "content": "Hi"}, {"role": "tool", "content": "3"}], "result without a call: message 2"),
        ([{"role": "robot", "content": "Hi"}], "unknown role"),
        ([{"content": "Hi"}], "without a role"),
        ({"role": "user", "content": "Hi"}, "messages are no list"),
    ],
)
def test_what_leaves_nothing_to_answer_is_refused(messages: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)):
        take_turn(policy_that_says("It is cold."), HERMES, TOOLS, messages)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a warm-up and one iteration, of a model that knows nothing."""
    folder = tmp_path_factory.mktemp("ask") / "run"
    return Iterator(small_recipe("iters=1", "model.dialect=hermes"), folder, quiet=True).run().folder


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tools") / "tools.json"
    path.write_text(json.dumps([{**tool, "description": f"Use {tool['name']}."} for tool in TOOLS]))
    return path


@pytest.mark.slow
def test_a_checkpoint_of_a_run_answers_and_says_the_same_again(run: Path, tools: Path) -> None:
    with asking(run, tools) as ask:
        turns = [ask("Weather in Oslo?") for _ in range(2)]
    assert turns[0] == turns[1] and (turns[0].content or turns[0].calls or turns[0].error)
    with asking(run, tools, iteration=0) as ask:
        assert ask([{"role": "user", "content": "Weather in Oslo?"}])


@pytest.mark.slow
def test_the_last_finished_iteration_is_asked_unless_another_is_named(run: Path) -> None:
    recipe, number, checkpoint = finished_checkpoint(run)
    assert (number, checkpoint.path) == (1, run / "iter_001" / "checkpoint")
    assert recipe.model.dialect == "hermes"
    assert finished_checkpoint(run, 0)[2] == Store(run).checkpoint(0)
    with pytest.raises(ValueError, match="--iteration 2: not finished; finished are 0, 1"):
        finished_checkpoint(run, 2)


@pytest.mark.slow
def test_the_command_prints_what_the_turn_holds(run: Path, tools: Path) -> None:
    command = [sys.executable, "-m", "iterft.ask", str(run), "Weather in Oslo?", "--tools", str(tools)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    with asking(run, tools) as ask:
        turn = ask("Weather in Oslo?")
    assert done.returncode == (1 if turn.error else 0)
    assert turn.content in (done.stderr if turn.error else done.stdout)
    assert ("cannot be read" in done.stderr) == bool(turn.error)


@pytest.mark.parametrize(
    ("turn", "status", "printed"),
    [
        (HERMES.render([WEATHER, WEATHER]), 0, 2 * '{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}\n'),
        ("It is cold.", 0, "It is cold.\n"),
        ("Sure: <tool_call>{'city': True}", 1, ""),
    ],
)
def test_calls_are_printed_a_line_each_and_words_as_they_are(
    turn: str,
    status: int,
    printed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tools: Path,
) -> None:
    from contextlib import contextmanager

    from iterft import build

    @contextmanager
    def serving(checkpoint: object):
        yield policy_that_says(turn)

    recipe = replace(small_recipe("model.dialect=hermes"), iters=0)
    store = Store.open(tmp_path, "run", recipe.to_yaml(), tmp_path / "run")
    store.commit(0, {"checkpoint": None})
    monkeypatch.setattr(build, "serve", lambda *arguments, **options: serving)
    assert main([str(tmp_path / "run"), "Weather in Oslo?", "--tools", str(tools)]) == status
    shown = capsys.readouterr()
    assert shown.out == printed and ("cannot be read" in shown.err) == bool(status)
    assert (turn in shown.err) == bool(status)


@pytest.mark.parametrize(
    ("folder", "message"),
    [("nowhere", "not a run folder"), ("empty", "no iteration is finished")],
)
def test_what_is_no_finished_run_is_one_line_and_exit_code_2(
    tmp_path: Path, tools: Path, capsys: pytest.CaptureFixture[str], folder: str, message: str
) -> None:
    Store.open(tmp_path, "run", small_recipe().to_yaml(), tmp_path / "empty")
    assert main([str(tmp_path / folder), "Hello?", "--tools", str(tools)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


@pytest.mark.slow
def test_a_refused_tool_is_an_error_unless_such_are_left_out(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tools = tmp_path / "tools.py"
    tools.write_text('def ping() -> bool:\n    """Ping."""\n\n\ndef odd(x: list) -> None:\n    """Odd."""\n')
    arguments = [str(run), "Hello?", "--tools", str(tools)]
    assert main(arguments) == 2
    assert "tool odd: x: list does not say" in capsys.readouterr().err
    assert main([*arguments, "--skip-refused"]) in (0, 1)


def test_the_module_loads_no_torch() -> None:
    code = "import iterft.ask, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""scripts/inspect_data.py on files of every form, and on what it cannot read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from forms import WRITERS, suitable

SCRIPT = Path(__file__).parent.parent / "scripts" / "inspect_data.py"


def inspect(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("form", ["toolace", "xlam"])
def test_it_tells_what_a_file_holds(tmp_path: Path, form: str) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(WRITERS[form](conversation)) for conversation in suitable(form)[:20]]
    path.write_text("\n".join([*lines, "{"]))
    done = inspect(path, "--show", 2)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"form {form}, 21 rows, 20 read, 1 dropped\n       1  not JSON\n" in done.stdout
    assert "0 references fail" in done.stdout
    assert "estimated as characters / 4; 0 above data.max_prompt_tokens=1500" in done.stdout
    assert "overlap with BFCL: " in done.stdout
    assert done.stdout.count("\n[") == 2 and "  -> " in done.stdout


def test_who_reads_only_its_beginning_gets_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(WRITERS["xlam"](suitable("xlam")[0])))
    command = [sys.executable, str(SCRIPT), str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    process.wait()


@pytest.mark.slow
def test_with_a_recipe_prompts_are_counted_in_its_tokens(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(WRITERS["xlam"](conversation)) for conversation in suitable("xlam")[:5]))
    done = inspect(path, "--recipe", "debug")
    assert (done.returncode, done.stderr) == (0, "")
    assert "prompt lengths in tokens of debug's model; 0 above" in done.stdout


@pytest.mark.slow
def test_prompts_that_a_chat_template_refuses_are_counted(tmp_path: Path, base: str) -> None:
    rows = [WRITERS["openai"](conversation) for conversation in suitable("openai")[:3]]
    rows[1]["messages"][0]["content"] += " Sesame"
    path, model = tmp_path / "rows.jsonl", tmp_path / "model"
    path.write_text("\n".join(map(json.dumps, rows)))
    shutil.copytree(base, model)
    template = model / "chat_template.jinja"
    refusal = (
        "{% for message in messages if 'Sesame' in message.content %}{{ raise_exception('it is shut') }}{% endfor %}"
    )
    template.write_text(refusal + template.read_text())
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"model: {{base: {model}, template: ours}}")
    done = inspect(path, "--recipe", recipe)
    assert (done.returncode, done.stderr) == (0, "")
    assert "       2  not counted: the chat template refuses the prompt (it is shut)" in done.stdout


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (None, (), "no such file"),
        ("", (), "the file is empty"),
        ('{"a": 1}', (), "of 1 rows none could be read"),
        ('{"a": 1}', ("--recipe", "nope"), "--recipe nope: no such recipe"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path, content: str | None, arguments: tuple[str, ...], message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content)
    done = inspect(path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1

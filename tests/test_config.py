"""Recipes: every shipped one loads, and whatever is wrong becomes one line that names key, rule and value."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from iterft import build
from iterft.recipe import RECIPES, Recipe

SHIPPED = sorted(path.stem for path in RECIPES.glob("*.yaml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_loads_under_its_own_name(name: str) -> None:
    assert Recipe.load(name).name == name


def test_there_are_shipped_recipes() -> None:
    assert {"debug", "smollm2-135m"} <= set(SHIPPED)


def test_values_merge_dataclass_then_file_then_command_line(tmp_path: Path) -> None:
    path = write(tmp_path, "iters: 7\nstage:\n  beta: 0.5\n  lr: 1.0e-3\n")
    recipe = Recipe.load(path, ["stage.lr=2e-5", "eval.bfcl=[simple_python, multiple]"])
    assert (recipe.iters, recipe.stage.beta, recipe.stage.lr) == (7, 0.5, 2e-5)
    assert recipe.stage.batch_size == Recipe().stage.batch_size
    assert recipe.eval.bfcl == ["simple_python", "multiple"]


def test_extra_takes_any_key_for_trl() -> None:
    recipe = Recipe.load("debug", ["stage.extra.label_smoothing=0.1"])
    assert recipe.stage.extra == {"label_smoothing": 0.1}


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ("iter: 3\n", "unknown key 'iter'", "'iters'"),
        ("search:\n  num_simulation: 3\n", "unknown key 'search.num_simulation'", "'num_simulations'"),
        ("warmup:\n  tiers:\n    hard_num_tool: 3\n", "unknown key 'warmup.tiers.hard_num_tool'", "'hard_num_tools'"),
    ],
)
def test_an_unknown_key_names_the_nearest(tmp_path: Path, text: str, key: str, near: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=r"mine\.yaml") as caught:
        Recipe.load(path)
    assert key in str(caught.value)
    assert f"did you mean {near}?" in str(caught.value)


def test_template_kwargs_take_any_key_but_those_that_we_give_ourselves() -> None:
    recipe = Recipe.load("debug", ["model.template_kwargs.enable_thinking=false"])
    assert recipe.model.template_kwargs == {"enable_thinking": False}
    rule = r"model\.template_kwargs: must give each name a value \(\{name: value\}\) and hold none of .*tools.*, but "
    with pytest.raises(ValueError, match=rule + r"it is \{'tools'"):
        Recipe.load("debug", ["model.template_kwargs.tools=[]"])
    with pytest.raises(ValueError, match=rule + r"it is \{'enable_thinking:false': None"):
        Recipe.load("debug", ["model.template_kwargs={enable_thinking:false}"])


@pytest.mark.parametrize("dialect", ["hermes", "llama3", "mistral", "pythonic"])
def test_every_dialect_can_be_chosen(dialect: str) -> None:
    assert build.dialect(Recipe.load("debug", [f"model.dialect={dialect}"])).name == dialect


def test_an_unknown_key_on_the_command_line_is_told_from_one_in_the_file() -> None:
    with pytest.raises(ValueError, match=r"--set stage\.bta=1: unknown key 'stage\.bta'; did you mean 'beta'"):
        Recipe.load("debug", ["stage.bta=1"])


def test_an_unknown_recipe_names_the_nearest_and_all_that_are_shipped() -> None:
    with pytest.raises(ValueError, match="did you mean 'debug'") as caught:
        Recipe.load("debgu")
    assert all(name in str(caught.value) for name in SHIPPED)


def test_a_recipe_file_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match=r"nowhere\.yaml: no such file"):
        Recipe.load("nowhere.yaml")


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", "just words\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=r"mine\.yaml"):
        Recipe.load(path)


def test_an_empty_recipe_is_all_defaults(tmp_path: Path) -> None:
    assert Recipe.load(write(tmp_path, "")) == Recipe()


def test_a_value_of_the_wrong_kind_names_its_key() -> None:
    with pytest.raises(ValueError, match=r"key 'stage\.lr'.*fast"):
        Recipe.load("debug", ["stage.lr=fast"])
    with pytest.raises(ValueError, match="key 'iters'"):
        Recipe.load("debug", ["iters=1.5"])
    with pytest.raises(ValueError, match="key 'stage': must be a mapping"):
        Recipe.load("debug", ["stage=3"])
    with pytest.raises(ValueError, match=r"--set stages=\{dpo: 1\}: key 'stages': must be a list, but is \{'dpo': 1\}"):
        Recipe.load("debug", ["stages={dpo: 1}"])
    with pytest.raises(
        ValueError, match=r"key 'model\.template_kwargs': must be a mapping of names .*, but is \['a'\]"
    ):
        Recipe.load("debug", ["model.template_kwargs=[a]"])
    with pytest.raises(ValueError, match=r"key 'stage\.lr'"):
        Recipe.load("debug", ["stage.lr=null"])
    with pytest.raises(ValueError, match="key 'name'"):
        Recipe.load("debug", ["name=${nothing}"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("iters=-1", "iters: must be at least 0, but it is -1"),
        ("stage.lr=0", "stage.lr: must be greater than 0, but it is 0.0"),
        ("deficiency.share=1.5", "deficiency.share: must be greater than 0 and at most 1, but it is 1.5"),
        ("pairs.min_margin=-2", "pairs.min_margin: must lie in [-1, 1], but it is -2.0"),
        ("data.masked_share=1.5", "data.masked_share: must lie in [0, 1], but it is 1.5"),
        ("data.max_distractors=0", "data.max_distractors: must be greater than 0, but it is 0"),
        ("search.step=arguments", "but it is 'arguments'; did you mean 'argument'?"),
        ("stage.loss_types=[sft, sigmod]", "but it is ['sft', 'sigmod']; did you mean 'sigmoid'?"),
        ("eval.bfcl=[simpl_python]", "but it is ['simpl_python']; did you mean 'simple_python'?"),
        ("report_to=[tensorbord]", "but it is ['tensorbord']; did you mean 'tensorboard'?"),
        ("stage.loss_types=[sigmoid]", "stage.loss_weights: must have one weight per loss type"),
        ("stage.lr=nan", "stage.lr: must be a finite number, but it is nan"),
        ("policy.kv_cache_gib=.inf", "policy.kv_cache_gib: must be a finite number, but it is inf"),
        ("grpo.clip_cov_low=.nan", "grpo.clip_cov_low: must be a finite number, but it is nan"),
        ("name=team/exp", "name: must be a name for folders, without a slash, but it is 'team/exp'"),
        ("deficiency.share=0", "deficiency.share: must be greater than 0 and at most 1, but it is 0"),
    ],
)
def test_a_value_out_of_range_names_key_rule_and_value(override: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Recipe.load("debug", [override])
    assert message in str(caught.value)


@pytest.mark.parametrize("override", ["iters", "", "=3", "a..b=1", "stage.lr=[1", "search.step={"])
def test_an_override_without_key_or_value_is_refused(override: str) -> None:
    with pytest.raises(ValueError, match="--set"):
        Recipe.load("debug", [override])


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_written_out_reads_back_the_same(tmp_path: Path, name: str) -> None:
    recipe = Recipe.load(name, ["stage.extra.label_smoothing=0.1", "model.base=./a_b"])
    again = Recipe.load(write(tmp_path, recipe.to_yaml()))
    assert again == recipe
    assert again.to_yaml() == recipe.to_yaml()


@pytest.mark.parametrize("arguments", [["--help"], ["--recipe", "debug", "--dry-run"], ["--recipe", "debgu"]])
def test_the_command_line_loads_no_torch_before_it_is_needed(arguments: list[str]) -> None:
    code = (
        "import sys; from iterft.loop import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print({'torch', 'transformers', 'trl', 'vllm'} & set(sys.modules), file=sys.stderr)"
    )
    done = run("-c", code, *arguments)
    assert done.stderr.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.quantization=nf4"], "model.quantization: must be none, with policy.kind vllm"),
        (["eval.constrained=true"], "eval.constrained: must be false, with policy.kind vllm"),
        (["model.tuning=full", "search.self_weight=0.5"], "search.self_weight: must be 0 where model.tuning is full"),
        (["model.lora.r=513"], "model.lora.r: must be at most 512, with policy.kind vllm"),
    ],
)
def test_what_vllm_cannot_serve_is_refused_with_the_way_out(overrides: list[str], message: str) -> None:
    Recipe.load("debug", overrides)
    with pytest.raises(ValueError, match=f"{message}.*set policy.kind=hf"):
        Recipe.load("debug", [*overrides, "policy.kind=vllm"])


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, iterft; iterft.Recipe; iterft.Iterator; sys.exit('torch' in sys.modules)"
    assert run("-c", code).returncode == 0


def test_a_dry_run_prints_the_whole_recipe(tmp_path: Path) -> None:
    done = run("-m", "iterft.loop", "--recipe", "debug", "--iters", "5", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert Recipe.load(write(tmp_path, done.stdout)) == Recipe.load("debug", ["iters=5"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--recipe", "debgu"],
        ["--set", "stage.lr=0"],
        ["--set", "iter=1"],
        ["--set", "lr"],
        ["--iters", "-1"],
        ["--set", "data.train=none.jsonl"],
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str]) -> None:
    done = run("-m", "iterft.loop", *arguments, "--dry-run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_settings_that_no_update_looks_at_are_known() -> None:
    changed = ["stage.lr=0.5", "search.step=call", "search.num_simulations=9", "grpo.lr=0.5"]
    assert Recipe.load("debug", changed).unused_settings == []
    alone = Recipe.load("debug", [*changed, "stage.kind=grpo"]).unused_settings
    assert {"stage.lr", "search.num_simulations"} <= set(alone) and {"grpo.lr", "search.step"}.isdisjoint(alone)
    assert Recipe.load("debug", [*changed, "stages=[dpo, grpo]"]).unused_settings == []
    rollouts = ["stage.kind=grpo", "search.step=call", "deficiency.share=0.1", "deficiency.negative_share=0.3"]
    assert Recipe.load("debug", rollouts).unused_settings == ["deficiency.negative_share"]
    blind = Recipe.load("debug", [*rollouts, "grpo.samples=all", "grpo.entropy_weight=1"]).unused_settings
    assert {"search.step", "deficiency.share", "grpo.entropy_weight"} <= set(blind)
    both = ["stages=[dpo]", "stage.kind=grpo", "search.kind=gumbel", "search.c_puct=2"]
    assert {"stage.kind", "search.c_puct"} <= set(Recipe.load("debug", both).unused_settings)


@pytest.mark.parametrize("name", SHIPPED)
def test_no_shipped_recipe_says_what_it_does_not_use(name: str) -> None:
    assert Recipe.load(name).unused_settings == []


def test_an_override_may_be_the_empty_string() -> None:
    assert Recipe.load("debug", ["data.held_out="]).data.held_out == ""
    with pytest.raises(ValueError, match=r"--set stage\.lr=: key 'stage\.lr'"):
        Recipe.load("debug", ["stage.lr="])

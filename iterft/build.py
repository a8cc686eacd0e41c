"""Recipe names -> objects. The only module that names implementations."""

from __future__ import annotations

import gc
import importlib.util
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from iterft.augment import augment
from iterft.augment.pool import load_pool
from iterft.chat import Dialect, call_in_text, parse, plain_messages
from iterft.config import EndpointSettings
from iterft.data import Loaded, asked_in, collector_paused, load_samples, split_by_tool
from iterft.dialects.hermes import HERMES
from iterft.dialects.llama3 import LLAMA3
from iterft.dialects.mistral import MISTRAL
from iterft.dialects.pythonic import PYTHONIC
from iterft.envs.recorded import RecordedEnvironment
from iterft.log import Log
from iterft.protocols import ChatModel, Grader, Policy, Serve, Stage, Verifier
from iterft.recipe import Recipe
from iterft.rewards.call_match import CallMatch, is_call_in_disguise
from iterft.rewards.graded_match import GradedMatch
from iterft.rewards.self_judge import SelfJudge
from iterft.rewards.template_match import TemplateMatch
from iterft.rollout import World, reference_calls, reference_text, reference_thought, roll_out
from iterft.store import ENGINE_LOG, recipe_and_checkpoint
from iterft.template import Template
from iterft.tokens import encode_turn, num_tokens_of, render_prompt
from iterft.types import Checkpoint, Sample, Turn
from iterft.warmup import easy_to_hard, learnt_part

DIALECTS = {dialect.name: dialect for dialect in (HERMES, LLAMA3, MISTRAL, PYTHONIC)}
REWARDS: dict[str, Callable[[], Verifier]] = {
    "call_match": CallMatch,
    "template_match": TemplateMatch,
    "graded_match": GradedMatch,
}

FAILS = "reference fails its own verifier"


@dataclass(frozen=True)
class Data:
    """Verified samples, the rows dropped by reason, and what is wrong with the first reference that failed."""

    train: list[Sample]
    held_out: list[Sample]
    dropped: dict[str, int]
    first_failure: str


def dialect(recipe: Recipe) -> Dialect:
    return replace(DIALECTS[recipe.model.dialect], thinks=recipe.model.think)


def base_and_template(recipe: Recipe, log: Log) -> tuple[str, Template]:
    """The base model, fetched if need be, and how prompts are shown to it. ValueError when it cannot be had."""
    from iterft.models import load_tokenizer, resolve, stops_of
    from iterft.template import choose_template

    base = resolve(recipe.model, log)
    template = choose_template(load_tokenizer(base), dialect(recipe), recipe.model, log)
    return base, replace(template, other_stops=stops_of(base) - {template.tokenizer.eos_token_id})


def world(recipe: Recipe) -> World:
    return World(dialect(recipe), RecordedEnvironment(), CallMatch())


def data(recipe: Recipe, count: Callable[[], Callable[[Sample], int]] | None) -> Data:
    """The samples of the recipe whose references pass their own verification and whose prompts fit
    `data.max_prompt_tokens`, where `count` is given: called once all is read, it gives what counts the tokens of a
    prompt. ValueError when nothing is left."""
    settings, judged = recipe.data, world(recipe)
    train, held_out, dropped = parts(recipe)
    num_tokens = count() if count else None
    learns, scores = recipe.warms_up or recipe.mines_pairs, recipe.finds_deficient  # rollouts alone need no turn
    failures: list[str] = []

    def usable(sample: Sample, part: str) -> bool:
        is_train = part == "train"
        fault = reference_fault(judged, sample, is_learnt=is_train and learns, is_scored=is_train and scores)
        if fault.startswith(FAILS):
            failures.append(f"sample {sample.id}: {judged.explain(sample, reference_turn(sample))}")
        if not fault and num_tokens is not None:
            fault = prompt_fault(sample, num_tokens, settings.max_prompt_tokens)
        if fault:
            dropped[f"{part}: {fault}"] += 1
        return not fault

    kept = taken([sample for sample in train if usable(sample, "train")], "train", settings.num_train, dropped)
    refuse_failures("train", failures, len(train), settings.max_unreadable_share)
    known = len(failures)
    held = taken(
        [sample for sample in held_out if usable(sample, "held_out")], "held_out", settings.num_held_out, dropped
    )
    held_key = "held_out" if settings.held_out_source else "train, its held-out part"
    refuse_failures(held_key, failures[known:], len(held_out), settings.max_unreadable_share)
    for part, before, after in (("train", train, kept), (held_key, held_out, held)):
        if not after:
            counted = ", ".join(f"{key} {count}" for key, count in dropped.items())
            reasons = counted or "the split by tool left none, as where all rows ask for the same tools"
            reasons += f"; first: {failures[0]}" if failures else ""
            way_out = "" if settings.held_out_source else ", or a file of its own for data.held_out"
            raise ValueError(
                f"data.{part}: of {len(before)} samples none can be used ({reasons}); give other data{way_out}"
            )
    return Data(kept, held, dict(dropped), failures[0] if failures else "")


def taken(samples: list[Sample], part: str, num_samples: int, dropped: Counter[str]) -> list[Sample]:
    """As many as are taken; the others are counted."""
    if len(samples) > num_samples:
        dropped[f"{part}: more than data.num_{part} {num_samples}"] += len(samples) - num_samples
    return samples[:num_samples]


def refuse_failures(part: str, failures: Sequence[str], num_samples: int, share: float) -> None:
    """ValueError where more references fail their own verifier than rows may be unreadable."""
    if len(failures) > share * num_samples:
        raise ValueError(
            f"data.{part}: of {num_samples} samples {len(failures)} have a reference that fails its own verifier, more "
            f"than data.max_unreadable_share {share} allows; correct them, or set it higher; first: {failures[0]}"
        )


@collector_paused()
def parts(recipe: Recipe) -> tuple[list[Sample], list[Sample], Counter[str]]:
    """(train, held out, rows dropped by reason), train augmented as the recipe says."""
    settings = recipe.data
    if settings.held_out_source:
        train, dropped = raw_samples(recipe, "train", recipe.seed)
        held_out, more = raw_samples(recipe, "held_out", 0)
        dropped = dropped + more
        known = {asked_in(sample) for sample in held_out}
        new = [sample for sample in train if asked_in(sample) not in known]
        if len(new) < len(train):
            dropped["train: held out too"] += len(train) - len(new)
        train = new
    else:  # the held-out part must be the same for every seed
        samples, dropped = raw_samples(recipe, "train", 0)
        train, held_out = split_by_tool(samples, 0)
        if left_out := len(samples) - len(train) - len(held_out):
            dropped["train: tools of both sides of the split, none left to show, or it asks back about one"] += left_out
        random.Random(recipe.seed).shuffle(train)
    if settings.is_augmented:
        train = augment(train, settings, load_pool(settings.tool_pool, train, held_out), recipe.seed)
    return train, held_out, dropped


def reference_fault(world: World, sample: Sample, *, is_learnt: bool, is_scored: bool = False) -> str:
    """Why a sample's reference cannot be learnt, scored by the policy, or just judged by; "" when it can."""
    verdict = world.judge(sample, reference_turn(sample))
    if verdict.value < 1.0:
        return f"{FAILS} ({verdict.reason})"
    if not is_writable(world.dialect, sample, with_reference=is_learnt or is_scored):
        return f"the {world.dialect.name} dialect cannot write a name in it"
    if is_learnt and not sample.answer and not sample.text:
        return "no call is right and there is no text to learn instead"
    if not sample.answer and (call_in_text(DIALECTS.values(), sample.text) or is_call_in_disguise(sample)):
        return "no call is right, but its text reads as one"
    if is_learnt and not reads_back(world.dialect, sample):
        return f"the {world.dialect.name} dialect does not read its reference back"
    if is_learnt and world.dialect.thinks and not sample.thought:
        return "it has no think part to learn (model.think)"
    return ""


def reference_turn(sample: Sample) -> Turn:
    return Turn("" if sample.answer else sample.text, reference_calls(sample))


def reads_back(dialect: Dialect, sample: Sample) -> bool:
    """Whether the reference turn, read as a policy's, makes the reference's calls; else what is learnt would fail."""
    turn = parse(dialect, reference_text(dialect, sample))
    return not turn.error and turn.calls == reference_calls(sample)


def is_writable(dialect: Dialect, sample: Sample, with_reference: bool) -> bool:
    """Whether the dialect has a way to write the calls in the prompt and, where that is learnt, in the reference (not
    every one can write every name)."""
    try:
        plain_messages(dialect, sample.prompt)
        if with_reference:
            reference_text(dialect, sample)
    except ValueError:
        return False
    return True


def prompt_fault(sample: Sample, num_tokens: Callable[[Sample], int], max_prompt_tokens: int) -> str:
    """Why the prompt cannot be shown to the policy; "" when it can."""
    try:
        return "prompt above data.max_prompt_tokens" if num_tokens(sample) > max_prompt_tokens else ""
    except ValueError as error:
        return str(error)


def raw_samples(recipe: Recipe, part: str, seed: int) -> tuple[list[Sample], Counter[str]]:
    """(samples, rows dropped by reason), in an order of the seed: files may be sorted, and we may take a part."""
    settings = recipe.data
    source = settings.train if part == "train" else settings.held_out_source
    if source == "builtin":
        from iterft.synth.tasks import generate

        if part == "train":
            samples = generate(settings.num_train, seed, "train", queries_per_list=settings.queries_per_list)
            return samples, Counter()
        num_queries = settings.held_out_queries_per_list
        return generate(settings.num_held_out, seed, "held_out", queries_per_list=num_queries), Counter()
    loaded: Loaded = load_samples(source, f"data.{part}", settings.max_unreadable_share, settings.form)
    samples = list(loaded.samples)
    random.Random(seed).shuffle(samples)
    return samples, Counter({f"{part}: {key}": count for key, count in loaded.dropped.items()})


def require_packages(recipe: Recipe) -> None:
    """ValueError for a package that the recipe's policy or evaluation needs and that is not installed."""
    if recipe.policy.kind == "vllm" and importlib.util.find_spec("vllm") is None:
        raise ValueError(
            "policy.kind: vllm needs the package vllm; pip install -e '.[vllm]' (on CPUs see the README), or set it "
            "to hf"
        )
    if recipe.eval.bfcl and importlib.util.find_spec("bfcl_eval") is None:
        from iterft.evals.bfcl import INSTALL

        raise ValueError(f"eval.bfcl: {INSTALL}; or leave it empty")


def serve(recipe: Recipe, base: str, template: Template, log: Log, *, constrained: bool = False) -> Serve:
    """Brings checkpoints up as policies of the recipe's kind; `constrained`: to the tools of each prompt."""
    if recipe.policy.kind == "vllm":
        return serve_vllm(recipe, base, template, log)
    return serve_hf(recipe, base, template, log, constrained=constrained)


def serve_vllm(recipe: Recipe, base: str, template: Template, log: Log) -> Serve:
    """Starts the engine, which lives as long as what is returned."""
    from iterft.policies.vllm import VllmPolicy
    from iterft.policies.vllm_engine import VllmEngine

    folder = log.metrics_path.parent if log.metrics_path else Path(tempfile.mkdtemp(prefix="iterft-vllm-"))
    longest = max(recipe.data.max_prompt_tokens, longest_bfcl_prompt(recipe, template))
    engine = VllmEngine(base, recipe.model, recipe.policy, longest, log, folder / ENGINE_LOG)

    @contextmanager
    def serving(checkpoint: Checkpoint) -> Iterator[Any]:
        with engine.serving(checkpoint) as adapter:
            policy = VllmPolicy(engine, adapter, template, recipe.policy)
            yield policy
            log.metric("decoded", **asdict(policy.counters))

    return serving


def longest_bfcl_prompt(recipe: Recipe, template: Template) -> int:
    """Tokens; 0 where the recipe scores no category."""
    from iterft.evals.bfcl import load
    from iterft.tokens import render_prompt

    samples = (sample for category in recipe.eval.bfcl for sample in load(category, recipe.eval.bfcl_limit))
    return max((len(render_prompt(template, sample.prompt)) for sample in samples), default=0)


def serve_hf(recipe: Recipe, base: str, template: Template, log: Log, *, constrained: bool) -> Serve:
    """Loads the model anew for each checkpoint."""
    if constrained:
        from iterft.engine.constrained import require_xgrammar

        require_xgrammar("eval.constrained")

    @contextmanager
    def serving(checkpoint: Checkpoint) -> Iterator[Any]:
        from iterft.policies.hf import HfPolicy

        model, is_shared = sampled_model(recipe, base, checkpoint, log)
        policy = HfPolicy(model, template, recipe.policy, share_prefixes=is_shared, constrained=constrained)
        yield policy
        log.metric("decoded", **asdict(policy.decoder.counters))

    return serving


def sampled_model(recipe: Recipe, base: str, checkpoint: Checkpoint, log: Log) -> tuple[Any, bool]:
    """The model to sample from, and whether it can share prefixes and may."""
    from iterft.engine.fitness import shares_prefixes
    from iterft.models import load_for_sampling

    model = load_for_sampling(base, checkpoint, recipe.model)
    return model, recipe.model.share_prefixes and shares_prefixes(model, log.say_once)


@contextmanager
def chat_model(source: str, settings: EndpointSettings, log: Log) -> Iterator[ChatModel]:
    """The server at the address `source`; or, in this process, the last finished checkpoint of the run folder `source`,
    or the base model of the recipe of that name, with `settings` as far as they concern sampling. ValueError when it is
    none of these, the server cannot be used, or xgrammar, which a model in this process needs, is missing."""
    if source.startswith(("http://", "https://")):
        from iterft.endpoint import endpoint

        with endpoint(replace(settings, base_url=source), log) as served:
            yield served
        return
    recipe, checkpoint, _ = recipe_and_checkpoint(source)
    with local_chat(recipe, checkpoint, settings, log) as model:
        yield model


def local_chat(
    recipe: Recipe, checkpoint: Checkpoint, settings: EndpointSettings, log: Log
) -> AbstractContextManager[ChatModel]:
    """The model in this process. ValueError without xgrammar."""
    from iterft.engine.constrained import Grammars, require_xgrammar
    from iterft.engine.decoders import decoder_of
    from iterft.local_chat import LocalChat

    require_xgrammar("a chat model in this process")
    base, template = base_and_template(recipe, log)
    model, is_shared = sampled_model(recipe, base, checkpoint, log)
    stop_id, others, rows = template.tokenizer.eos_token_id, template.other_stops, settings.concurrency
    decoder = decoder_of(model, stop_id, recipe.policy.kv_cache_gib, rows, share_prefixes=is_shared, other_stops=others)
    return LocalChat(
        decoder,
        Grammars(template.tokenizer, model.config.get_text_config().vocab_size, stop_id),
        template,
        name=f"{recipe.model.base} {checkpoint.path or ''}".strip(),
        settings=settings,
    )


def grader(policy: Policy) -> Grader:
    return SelfJudge(policy)


def tune(
    recipe: Recipe,
    base: str,
    template: Template,
    checkpoint: Checkpoint,
    samples: Sequence[Sample],
    out: Path,
    log: Log,
) -> Checkpoint:
    """Supervised tuning of a checkpoint on the reference turns of `samples`, in the order of the curriculum."""
    from iterft.stages.sft import train_sft

    settings = recipe.warmup
    rows = [learnt_row(recipe, template, sample) for sample in easy_to_hard(samples, settings, recipe.seed)]
    tuned = train_sft(base, template.tokenizer, checkpoint, rows, out, recipe.model, settings, recipe.seed, log)
    gc.collect()  # the trained model refers to itself: its weights would stay beside those of what is next
    return tuned


def learnt_row(recipe: Recipe, template: Template, sample: Sample) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(ids of the prompt, those of its reference turn that the warm-up learns)."""
    written, tokenizer = dialect(recipe), template.tokenizer
    turn = encode_turn(tokenizer, reference_text(written, sample))
    thought = num_tokens_of(tokenizer, turn, reference_thought(written, sample))
    return render_prompt(template, sample.prompt), learnt_part(sample, turn, recipe.warmup.num_prose_tokens, thought)


def stages(recipe: Recipe, base: str, tokenizer: Any, serve: Serve, log: Log) -> dict[str, Stage]:
    """The updates of an iteration by name, in order. What samples by itself gets `serve` and a world of its own, whose
    verifier is `grpo.reward`."""
    made = {}
    for number, kind in enumerate(recipe.stage_kinds, start=1):
        made[f"{number}-{kind}"] = stage(kind, recipe, base, tokenizer, serve, log, is_first=number == 1)
    return made


def stage(kind: str, recipe: Recipe, base: str, tokenizer: Any, serve: Serve, log: Log, *, is_first: bool) -> Stage:
    if kind == "dpo":
        from iterft.stages.dpo import DpoStage

        return DpoStage(base, tokenizer, recipe.model, recipe.stage, recipe.seed, log, is_first=is_first)
    from iterft.stages.entropy_grpo import EntropyGrpoStage

    settings = recipe.grpo if kind == "entropy_grpo" else replace(recipe.grpo, entropy_weight=0.0)
    judged = replace(world(recipe), verifier=REWARDS[settings.reward]())
    return EntropyGrpoStage(base, recipe.model, settings, recipe.policy.max_new_tokens, serve, judged, log)


def evaluate_bfcl(recipe: Recipe, policy: Policy, world: World, log: Log) -> dict[str, dict[str, int]]:
    """BFCL category -> {"num_correct", "num_items", "num_calling"}, greedy whole turns by the official checker."""
    from iterft.evals.bfcl import evaluate_bfcl as evaluate

    def complete(samples: Sequence[Sample]) -> list[Turn]:
        return [row[0].turn for row in roll_out(policy, world, samples, 1, 0.0, 0, log, "BFCL", to_the_end=True)]

    scores = evaluate(complete, recipe.eval.bfcl, recipe.eval.bfcl_limit)
    counts = ("num_correct", "num_items", "num_calling")
    return {name: {count: getattr(score, count) for count in counts} for name, score in scores.items()}

"""What forked KV saves while sampling, what a tree costs in Python, and which rule finds most (docs/speed.md).

expansion   a round of 4 trees x 4 candidates, against transformers' `generate` and `generate_batch`
decoding    32 rows of the default model, against `generate` and, where it is installed, vLLM
overhead    Python per node of 64 trees of 64 simulations; with a real model, tokens prefilled over unique ones, and
            the time to read each token for an error
rules       PUCT, UCT, Gumbel and independent sampling at equal tokens where the best turn is known
exactness   the same trees from a real model in float32, whatever is in flight
swap        from the last optimiser step of an update to the first token of the policy that comes of it

Arms are interleaved in one process, random weights unless said otherwise, seeds and log-probs on; in an expansion our
rows are read after each token for an error to stop at.

python scripts/bench_search.py [expansion decoding overhead rules exactness swap] [--dtype bfloat16]
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import random
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from bench_update import SHAPES, measure, random_ids

from iterft import Recipe, build
from iterft.chat import read
from iterft.config import SearchSettings
from iterft.dialects.pythonic import PYTHONIC
from iterft.engine.decoding import Fork, decode_all
from iterft.engine.generate import PrefixDecoder
from iterft.engine.trie import num_unique_tokens
from iterft.envs.recorded import RecordedEnvironment
from iterft.log import Log
from iterft.models import load_base, load_for_sampling, load_for_training, load_tokenizer, resolve
from iterft.policies.hf import HfPolicy
from iterft.policies.scripted import STOP, ScriptedPolicy
from iterft.rollout import World, seed_of
from iterft.search import search
from iterft.search.mcts import SELECT
from iterft.stages.launch import save_weights
from iterft.synth.tasks import generate as generate_samples
from iterft.tokens import token_texts
from iterft.types import (
    Checked,
    Checkpoint,
    Completion,
    PartialTurn,
    Prompt,
    Request,
    Reward,
    Sample,
    Trajectory,
    Tree,
)

QUIET = Log(quiet=True)
NO_STOP = -1
PAGE = 64
"""Tokens of a page of `generate_batch`."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    works = {
        "expansion": expansion, "decoding": decoding, "overhead": overhead, "rules": rules, "exactness": exactness,
        "swap": swap,
    }  # fmt: skip
    parser.add_argument("works", nargs="*", default=list(works), metavar="work", help=", ".join(works))
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", choices=list(SHAPES), help="other shapes for expansion")
    parser.add_argument("--generate-batch", action="store_true", help="that arm too; on CPUs it takes minutes a pass")
    parser.add_argument("--run", type=Path, help="a run whose warm-up's checkpoint is the real model")
    options = parser.parse_args()
    if unknown := [name for name in options.works if name not in works]:
        parser.error(f"no such work: {unknown[0]}; there are {', '.join(works)}")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} threads"
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    print(f"{platform.machine()}, {device}; Python {platform.python_version()}, {packages}; {options.dtype}")
    for name in options.works:
        print(f"\n{name}", flush=True)
        works[name](options)
    return 0


class MemoryJournal:
    """A journal that nothing is read from again."""

    def read(self) -> dict[str, Tree]:
        return {}

    def append(self, tree: Tree) -> None:
        """Nothing is kept."""


def expansion(options: argparse.Namespace) -> None:
    name, trees, candidates, prefix, new = options.model or "Qwen2.5-0.5B", 4, 4, 384, 24
    model = random_model(name, getattr(torch, options.dtype))
    rng, stop = random.Random(0), reading()
    prompts = [random_ids(rng, prefix) for _ in range(trees)]
    print(f"{name} shapes, {trees} trees x {candidates} candidates, prefix {prefix}, {new} new tokens")
    arms = {
        "one by one": lambda: [generate(model, [prompt], 1, new, at) for prompt in prompts for at in range(candidates)],
        "num_return": lambda: generate(model, prompts, candidates, new, 0),
        "ours": lambda: decode(model, prompts, candidates, new, stop),
    }
    if options.generate_batch and (batching := generate_batch_arm(model, prompts, candidates, new)):
        arms = {**arms, "generate_batch": batching}
    report(measure(arms, max(5, options.repeats)), trees * candidates * new)


def decoding(options: argparse.Namespace) -> None:
    rows, prompt, new = 32, 450, 64
    base = resolve(Recipe.load().model, QUIET)
    dtype = getattr(torch, options.dtype)
    model = load_base(base, dtype).eval()
    rng = random.Random(0)
    prompts = [random_ids(rng, prompt) for _ in range(rows)]
    print(f"SmolLM2-135M, {rows} rows, prompt {prompt}, {new} new tokens")
    arms: dict[str, Callable[[], Any]] = {
        "generate": lambda: generate(model, prompts, 1, new, 0),
        "ours": lambda: decode(model, prompts, 1, new),
    }
    if options.generate_batch and (batching := generate_batch_arm(model, prompts, 1, new)):
        arms["generate_batch"] = batching
    if importlib.util.find_spec("vllm"):
        arms["vllm"] = vllm_arm(base, options.dtype, prompts, new)
    else:
        print("vLLM is not installed here, so it is not compared")
    report(measure(arms, max(5, options.repeats)), rows * new)


def report(costs: dict[str, tuple[float, float]], num_tokens: int) -> None:
    ours = costs["ours"][0]
    print(f"{'':16}{'seconds':>9}{'tokens/s':>10}{'peak MiB':>10}{'ours is':>9}")
    for arm, (seconds, peak) in costs.items():
        print(f"{arm:16}{seconds:9.2f}{num_tokens / seconds:10.1f}{peak:10.0f}{seconds / ours:8.2f}x", flush=True)


def random_model(name: str, dtype: torch.dtype) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = dict(SHAPES[name])
    config = AutoConfig.for_model(shape.pop("architecture"), **shape, tie_word_embeddings=True)
    torch.manual_seed(0)
    return (
        AutoModelForCausalLM.from_config(config, dtype=dtype).eval().to("cuda" if torch.cuda.is_available() else "cpu")
    )


def decode(
    model: Any, prompts: Sequence[tuple[int, ...]], count: int, new: int, refute: Callable[[Any], bool] | None = None
) -> Any:
    """Cold: the prompts are prefilled within."""
    decoder = PrefixDecoder(model, NO_STOP, 4 << 30, 256)
    forks = [Fork(prompt, (), count, seed, refute) for seed, prompt in enumerate(prompts)]
    return decode_all(decoder.stream, forks, 1.0, new)


def reading() -> Callable[[Sequence[int]], bool]:
    """A stop condition that does what a search's does after each token, reads the turn so far and asks for its first
    error, and then lets the row go on, so that all arms write the same number of tokens."""
    recipe = Recipe.load()
    tokenizer = load_tokenizer(resolve(recipe.model, QUIET))
    judged, sample = build.world(recipe), generate_samples(1, 0, "train")[0]

    class Texts:
        def token_texts(self, ids: Sequence[int]) -> list[str]:
            return token_texts(tokenizer, ids)

    def refute(ids: Sequence[int]) -> bool:
        judged.refutes(Texts(), sample, [token % tokenizer.vocab_size for token in ids])  # type: ignore[arg-type]
        return False

    return refute


def generate(model: Any, prompts: Sequence[tuple[int, ...]], count: int, new: int, seed: int) -> Any:
    torch.manual_seed(seed)
    ids = torch.tensor(prompts, device=model.device)
    with torch.inference_mode():
        output = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, num_return_sequences=count,
            max_new_tokens=new, min_new_tokens=new, eos_token_id=0, pad_token_id=0, return_dict_in_generate=True,
            output_logits=True,
        )  # fmt: skip
        return model.compute_transition_scores(output.sequences, output.logits, normalize_logits=True)


def generate_batch_arm(
    model: Any, prompts: Sequence[tuple[int, ...]], count: int, new: int
) -> Callable[[], Any] | None:
    """transformers' continuous batching with paged attention, if it runs here."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    config = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=new, eos_token_id=-1, pad_token_id=0)
    inputs = [list(prompt) for prompt in prompts for _ in range(count)]
    blocks = 2 * len(inputs) * (1 + (len(prompts[0]) + new) // PAGE)  # left alone it takes nearly all memory
    limits = {"page_size": PAGE, "num_blocks": blocks, "max_batch_tokens": 2048, "max_requests_per_batch": 256}
    batching = ContinuousBatchingConfig(**limits, return_logprobs=True, seed=0)

    def arm() -> Any:
        return model.generate_batch(
            inputs=inputs, generation_config=config, continuous_batching_config=batching, progress_bar=False
        )

    try:
        results = arm()
        if len(results) == len(inputs):
            return arm
        print(f"generate_batch: gave {len(results)} results for {len(inputs)} inputs, so it is not compared")
    except Exception as error:
        print(f"generate_batch does not run here ({type(error).__name__}: {str(error).splitlines()[0][:120]})")
    return None


def vllm_arm(base: str, dtype: str, prompts: Sequence[tuple[int, ...]], new: int) -> Callable[[], Any]:
    """Started once; prompts get another first token each time, so that nothing is found in its prefix cache."""
    from vllm import LLM, SamplingParams

    limits = {"max_model_len": 1024, "max_num_batched_tokens": 16_384, "kv_cache_memory_bytes": 1 << 30}
    # Seeds and chunked prefill do not go together in vLLM 0.32 on CPUs.
    engine = LLM(model=base, dtype=dtype, enforce_eager=True, enable_chunked_prefill=False, block_size=32, **limits)
    times = iter(range(100, 1900))

    def arm() -> Any:
        mark = next(times)
        seeds = range(len(prompts))
        parameters = [SamplingParams(max_tokens=new, ignore_eos=True, logprobs=0, seed=seed) for seed in seeds]
        asked = [{"prompt_token_ids": [mark, *prompt[1:]]} for prompt in prompts]
        return engine.generate(asked, parameters, use_tqdm=False)

    return arm


LETTERS = "abcdefgh"
NUM_LETTERS = 4
OPENING = '[choose(p0="'
PERIOD = len('a", p1="')
TURN = len(OPENING) + PERIOD * NUM_LETTERS - len('", p1="') + len('")]') + 1
CHOOSE = {
    "name": "choose",
    "description": "",
    "parameters": {"type": "object", "properties": {f"p{at}": {"type": "string"} for at in range(NUM_LETTERS)}},
}
CHOICE = Sample("choice", Prompt(({"role": "user", "content": "x"},), (CHOOSE,)), ())


class Garden(ScriptedPolicy):
    """A policy and a verifier of which the best turn is known. A turn is one call of `choose` with four arguments, each
    one of eight letters. What a letter is worth and how much the policy likes it both depend on the letters before it
    and agree only partly: its favourites are seldom the best. Nothing is refuted half-way; the reward of a turn is the
    mean worth of its letters, scaled so that the best turn has 1."""

    def __init__(self, seed: int, agreement: float = 0.5) -> None:
        self.max_requests = 1
        self.seed, self.agreement = seed, agreement
        self.known: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        totals = {"": 0.0}
        for _ in range(NUM_LETTERS):
            totals = {
                before + letter: total + worth
                for before, total in totals.items()
                for letter, worth in zip(LETTERS, self.choices(before)[0], strict=True)
            }
        self.best = max(totals.values())

    def choices(self, before: str) -> tuple[np.ndarray, np.ndarray]:
        """Worth and probability of each next letter."""
        if before not in self.known:
            rng = np.random.default_rng(seed_of(self.seed, before))
            worth = rng.random(len(LETTERS))
            liking = 3 * (self.agreement * worth + (1 - self.agreement) * rng.random(len(LETTERS)))
            weights = np.exp(liking)
            self.known[before] = worth, weights / weights.sum()
        return self.known[before]

    def next_tokens(self, written: Sequence[int]) -> dict[int, float]:
        turn = "".join(map(chr, written)).partition("\x01")[2]
        at = len(turn) - len(OPENING)
        letters = turn[len(OPENING) :: PERIOD]
        if at >= 0 and at % PERIOD == 0 and at // PERIOD < NUM_LETTERS:
            return dict(zip(map(ord, LETTERS), self.choices(letters)[1].tolist(), strict=True))
        form = OPENING + "".join(f'?", p{place}="' for place in range(1, NUM_LETTERS)) + '?")]'
        return {ord(form[len(turn)]): 1.0} if len(turn) < len(form) else {STOP: 1.0}

    def __call__(self, trajectory: Trajectory) -> Reward:
        letters = "".join(str(value) for value in trajectory.turns[-1].calls[0].arguments.values())
        worth = sum(self.choices(letters[:at])[0][LETTERS.index(letter)] for at, letter in enumerate(letters))
        return Reward(worth / self.best, "" if worth == self.best else "wrong_value")

    def explain(self, trajectory: Trajectory) -> str:
        return "not the best"

    def objection(self, sample: Sample, partial: PartialTurn) -> str:
        return ""


def rules(options: argparse.Namespace) -> None:
    """Per rule and budget, counted in tokens of whole turns: the mean reward of the best turn found, and how often it
    is at least 0.95."""
    num_worlds, budgets = 100, (4, 8, 16, 32, 64)
    print(
        f"{num_worlds} worlds, {len(LETTERS)} letters x {NUM_LETTERS} arguments, the best turn has reward 1; tokens of"
    )
    print(f"{'so many turns':18}" + "".join(f"{budget:>18}" for budget in budgets))
    variants: dict[str, dict[str, Any]] = {kind: {"kind": kind} for kind in SELECT}
    variants["puct, waves of 4"] = {"kind": "puct", "leaves_in_flight": 4}
    variants["puct, entropy"] = {"kind": "puct", "entropy_weight": 1.0}
    for name, changes in variants.items():
        cells = []
        for budget in budgets:
            limits = {"num_simulations": 2 * budget, "max_tokens": budget * TURN}
            settings = SearchSettings(num_samples=1, plant=False, temperature=1.0, **limits, **changes)
            found = [best_found(Garden(seed), settings, seed) for seed in range(num_worlds)]
            error = np.std(found) / num_worlds**0.5
            cells.append(f"{fmean(found):.3f}±{error:.3f} {fmean(value >= 0.95 for value in found):4.0%}")
        print(f"{name:18}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


def best_found(garden: Garden, settings: SearchSettings, seed: int) -> float:
    world = World(PYTHONIC, RecordedEnvironment(), garden)
    weak = [Checked(CHOICE, 1.0, 0.0, {}, (), ())]
    (tree,) = search(garden, world, weak, settings, seed, MemoryJournal(), QUIET, whole_turns=True)
    return max(node.reward for node in tree.nodes if node.reward is not None)


class Clocked:
    """A policy of which the time is counted."""

    def __init__(self, policy: ScriptedPolicy) -> None:
        self.policy, self.seconds = policy, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)

    def stream(self, requests: deque[Request], temperature: float) -> Iterator[tuple[Request, list[Completion]]]:
        results = self.policy.stream(requests, temperature)
        while True:
            start = time.process_time()
            found = next(results, None)
            self.seconds += time.process_time() - start
            if found is None:
                return
            yield found


def overhead(options: argparse.Namespace) -> None:
    for kind in SELECT:
        costs = []
        for seed in range(max(5, options.repeats)):
            policy = Clocked(Garden(seed))
            world = World(PYTHONIC, RecordedEnvironment(), policy.policy)
            weak = [Checked(replace(CHOICE, id=str(at)), 1.0, 0.0, {}, (), ()) for at in range(64)]
            settings = SearchSettings(kind=kind, num_simulations=64, num_samples=4, plant=False, temperature=1.0)
            start = time.process_time()
            trees = search(policy, world, weak, settings, seed, MemoryJournal(), QUIET, whole_turns=True)
            nodes = sum(len(tree.nodes) for tree in trees)
            costs.append((time.process_time() - start - policy.seconds) / nodes * 1e6)
        print(f"{kind:12}{median(costs):7.0f} us per node ({nodes:,} nodes of 64 trees of 64 simulations)", flush=True)
    policy, world, trees = real_trees(64, options)
    sequences = [(*tree.prompt_ids, *tree.path_ids(at)) for _, tree in trees for at in range(len(tree.nodes))]
    unique = num_unique_tokens(sequences)
    computed = policy.decoder.counters.prefilled + policy.decoder.counters.refed
    source = options.run or "debug recipe"
    print(f"{source}: {computed:,} tokens prefilled, {unique:,} unique tokens in {len(trees)} trees")
    print(f"{computed / unique:.3f} times as many")
    num_nodes = sum(len(tree.nodes) - 1 for _, tree in trees)
    num_tokens = sum(len(node.step.ids) for _, tree in trees for node in tree.nodes)
    costs = [seconds_of_reading(policy, world, trees) for _ in range(max(5, options.repeats))]
    print(
        f"reading after each token for an error to stop at, beside that: {median(costs) / num_tokens * 1e6:.0f} us per "
        f"token, {median(costs) / num_nodes * 1e6:.0f} us per node ({num_nodes:,} nodes, {num_tokens:,} tokens)"
    )


def seconds_of_reading(policy: HfPolicy, world: World, trees: Sequence[tuple[Sample, Tree]]) -> float:
    """Processor time to read each token of each node as if it had just been sampled."""
    read.cache_clear()
    start = time.process_time()
    for sample, tree in trees:
        for at, node in enumerate(tree.nodes[1:], start=1):
            ids = tree.path_ids(at)
            for end in range(len(ids) - len(node.step.ids) + 1, len(ids) + 1):
                world.refutes(policy, sample, ids[:end])
    return time.process_time() - start


def exactness(options: argparse.Namespace) -> None:
    """Trees one at a time against all together, float32: ids and structure of completions, log-probs."""
    reference = completions(real_trees(1, options)[-1])
    for in_flight in (7, 64):
        others = completions(real_trees(in_flight, options)[-1])
        same = reference.keys() & others.keys()
        gap = max(abs(one - other) for key in same for one, other in zip(reference[key], others[key], strict=True))
        print(
            f"trees in flight 1 and {in_flight}: {len(same)} of {len(reference)} completions have the same ids and "
            f"steps ({len(same) / len(reference):.2%}), log-probs differ by at most {gap:.1e}"
        )


def completions(trees: Sequence[tuple[Sample, Tree]]) -> dict[tuple[Any, ...], list[float]]:
    """(sample, steps of a turn) -> its log-probs."""
    found = {}
    for _, tree in trees:
        for at, node in enumerate(tree.nodes):
            if node.reward is not None:
                path = []
                while at > 0:
                    path.insert(0, tree.nodes[at].step)
                    at = tree.nodes[at].parent
                key = (tree.sample_id, *((step.kind, step.ids) for step in path))
                found[key] = [score for step in path for score in step.logprobs]
    return found


def real_trees(trees_in_flight: int, options: argparse.Namespace) -> tuple[HfPolicy, World, list[tuple[Sample, Tree]]]:
    """Trees of 16 simulations in float32: over 16 train samples of a run, by its warm-up's checkpoint; without a run
    over those of the debug recipe, by its untuned base."""
    file = options.run / "recipe.yaml" if options.run else "debug"
    recipe = Recipe.load(file, ["model.dtype=float32", "policy.max_new_tokens=64"])
    base, template = build.base_and_template(recipe, QUIET)
    checkpoint = Checkpoint(options.run / "iter_000" / "checkpoint" if options.run else None)
    policy = HfPolicy(load_for_sampling(base, checkpoint, recipe.model), template, recipe.policy)
    weak = [Checked(sample, 1.0, 0.0, {}, (), ()) for sample in build.data(recipe, None).train[:16]]
    settings = replace(recipe.search, num_simulations=16, plant=False, trees_in_flight=trees_in_flight)
    world = build.world(recipe)
    trees = search(policy, world, weak, settings, 0, MemoryJournal(), QUIET, whole_turns=True)
    return policy, world, [(item.sample, tree) for item, tree in zip(weak, trees, strict=True)]


def swap(options: argparse.Namespace) -> None:
    """An adapter on the default model, of which the engine (vLLM) or the files (transformers) are there already."""
    num_prompt = 450
    prompt = random_ids(random.Random(0), num_prompt)
    print(f"SmolLM2-135M, adapter of rank {Recipe.load().model.lora.r}, prompt {num_prompt}; medians of seconds")
    print(f"{'policy.kind':12}{'write':>9}{'bring up':>10}{'first token':>13}{'together':>10}")
    for kind in ("hf", "vllm"):
        if kind == "vllm" and not importlib.util.find_spec("vllm"):
            print("vLLM is not installed here, so it is not timed")
            continue
        settings = [f"policy.kind={kind}", "policy.max_new_tokens=1", f"model.dtype={options.dtype}"]
        times = swaps(Recipe.load(overrides=settings), prompt, max(5, options.repeats))
        write, bring_up, token = (median(each) for each in zip(*times, strict=True))
        together = median(map(sum, times))
        print(f"{kind:12}{write:9.2f}{bring_up:10.2f}{token:13.2f}{together:10.2f}", flush=True)


def swaps(recipe: Recipe, prompt: tuple[int, ...], repeats: int) -> list[tuple[float, float, float]]:
    """Seconds to write an adapter, to bring it up, and to its first token; each adapter is another, and a swap before
    them, in which code is loaded, is left out."""
    base, template = build.base_and_template(recipe, QUIET)
    serve = build.serve(recipe, base, template, QUIET)
    model = load_for_training(base, Checkpoint(None), recipe.model, 0)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(repeats + 1):
            with torch.no_grad():
                for weight in trained:
                    weight.add_(torch.randn_like(weight), alpha=0.01)
            marks = [time.perf_counter()]
            save_weights(model, checkpoint := Path(folder) / f"version-{number}")
            marks.append(time.perf_counter())
            with serve(Checkpoint(checkpoint)) as policy:
                marks.append(time.perf_counter())
                policy.sample([prompt], [1], 0.0, [0])
                marks.append(time.perf_counter())
            times.append((marks[1] - marks[0], marks[2] - marks[1], marks[3] - marks[2]))
    return times[1:]


if __name__ == "__main__":
    sys.exit(main())

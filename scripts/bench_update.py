"""What sharing prefixes saves: updates and scoring against stock TRL and transformers, on equal rows (docs/speed.md).

Arms of an update, interleaved in one process, random weights, adapters on all linear layers:
  stock    TRL's trainer as it is, rows padded, reference log-probs given
  head     the same rows in our forward, nothing shared, the LM head on wanted positions only
  shared   prefixes computed once
  ours     as `iterft` runs it: the same with adapters fused and kept in float32, activations within the budget
Of group optimization (grpo), with the rollouts given: stock is TRL's loss on padded rows, ours that of the stage.
Time is that of forward and backward. Memory is the peak of a step above what is resident before it.

python scripts/bench_update.py [dpo dpo-small sft grpo scoring siblings] [--dtype bfloat16] [--plot FILE.svg]
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from datasets import disable_progress_bars
from plots import plot_file

from iterft.config import GrpoSettings, ModelSettings, StageSettings
from iterft.engine.attach import Budget, attach
from iterft.engine.generate import PrefixDecoder
from iterft.engine.plain import plain_log_probs
from iterft.engine.prefix_tree import Counters
from iterft.engine.trie import UNLIMITED, num_unique_tokens
from iterft.log import Log
from iterft.stages.dpo import DpoStage, pair_rows
from iterft.stages.entropy_grpo import group_advantages, group_loss, look_back, turn_weights
from iterft.stages.groups import Group
from iterft.stages.guards import Tally
from iterft.stages.launch import equip
from iterft.stages.trainee import Trainee
from iterft.tiny import train_tokenizer
from iterft.types import PreferencePair

SHAPES: dict[str, dict[str, Any]] = {
    "Qwen2.5-0.5B": {
        "architecture": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151_936,
    },
    "SmolLM2-135M": {
        "architecture": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49_152,
    },
    "tiny": {
        "architecture": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 4000,
    },
}  # fmt: skip
ARMS = ("stock", "head", "shared", "ours")
ROWS_ALONE = 2.0
"""As the least share of a common prefix: no two sequences have it."""


@dataclass(frozen=True)
class Work:
    """Pairs from trees of one prompt each (for SFT and scoring, samples of one tool list each)."""

    model: str
    prompt: int
    step: int
    trees: int
    pairs: int

    def __str__(self) -> str:
        return (
            f"{self.model} shapes, {self.pairs} rows from {self.trees} prompts of {self.prompt} tokens, "
            f"{self.step} tokens behind it"
        )


WORKS = {
    "dpo": Work("Qwen2.5-0.5B", prompt=512, step=48, trees=2, pairs=2),
    "dpo-small": Work("SmolLM2-135M", prompt=700, step=48, trees=2, pairs=8),
    "sft": Work("SmolLM2-135M", prompt=600, step=100, trees=1, pairs=8),
    "grpo": Work("SmolLM2-135M", prompt=600, step=64, trees=1, pairs=8),
    "scoring": Work("SmolLM2-135M", prompt=600, step=100, trees=1, pairs=8),
}
SIBLINGS = "siblings"
OF_SIBLINGS = Work("SmolLM2-135M", prompt=200, step=48, trees=1, pairs=0)
"""With longer prompts stock TRL would need more than 23 GB for the most pairs."""
NUM_SIBLINGS = (1, 2, 4, 8, 16)
LEARNT = 40
"""Of a sample's own tokens the last ones are its turn."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", default=[*WORKS, SIBLINGS])
    parser.add_argument("--model", choices=list(SHAPES), help="other shapes than the work's own")
    parser.add_argument("--prompt", type=int, help="another length of the prompts")
    parser.add_argument("--step", type=int, help="another length of the steps")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--plot", type=plot_file, metavar="FILE", help="cost over siblings, drawn (needs matplotlib)")
    options = parser.parse_args()
    if unknown := [name for name in options.works if name not in (*WORKS, SIBLINGS)]:
        parser.error(f"no such work: {unknown[0]}; there are {', '.join((*WORKS, SIBLINGS))}")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} threads"
    disable_progress_bars()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl", "peft"))
    print(f"{platform.machine()}, {device}; Python {platform.python_version()}, {packages}; {options.dtype}")
    print(f"median of {max(5, options.repeats)} after one to warm up, arms interleaved")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), getattr(torch, options.dtype), max(5, options.repeats))
        for name in options.works:
            base = WORKS.get(name, OF_SIBLINGS)
            work = Work(
                options.model or base.model, options.prompt or base.prompt, options.step or base.step,
                base.trees, base.pairs,
            )  # fmt: skip
            if name == SIBLINGS:
                bench.siblings(work, options.plot)
            elif name == "scoring":
                bench.compare(name, work, bench.scoring_arms(work))
            elif name == "grpo":
                bench.compare(name, work, bench.grpo_arms(work))
            else:
                bench.compare(name, work, bench.update_arms(work, is_dpo=name != "sft"))
    return 0


class Bench:
    def __init__(self, folder: Path, dtype: torch.dtype, repeats: int) -> None:
        self.folder, self.dtype, self.repeats = folder, dtype, repeats
        self.tokenizer = train_tokenizer()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def compare(self, name: str, work: Work, arms: dict[str, Callable[[], Any]]) -> dict[str, tuple[float, float]]:
        """Prints and returns seconds and MiB of each arm."""
        costs = measure(arms, self.repeats)
        first = next(iter(costs.values()))
        print(f"\n{name}: {work}")
        print(f"{'':8}{'seconds':>10}{'speed':>9}{'peak MiB':>11}{'of stock':>10}")
        for arm, (seconds, peak) in costs.items():
            shown = f"{seconds:10.3f}{first[0] / seconds:8.2f}x{peak:11.0f}{peak / first[1]:9.2f}x"
            print(f"{arm:8}{shown}", flush=True)
        return costs

    def update_arms(self, work: Work, *, is_dpo: bool) -> dict[str, Callable[[], Any]]:
        return {arm: self.update_arm(work, arm, is_dpo=is_dpo) for arm in ARMS}

    def update_arm(self, work: Work, arm: str, *, is_dpo: bool) -> Callable[[], Any]:
        """Forward and backward of one batch of a trainer of its own."""
        model = adapted(self.random_model(work.model))
        if is_dpo:
            rows = pair_rows(random_pairs(work))
            settings = StageSettings(loss_types=["sigmoid"], loss_weights=[1.0], warmup_share=0.0)
            stage = DpoStage("", self.tokenizer, ModelSettings(), settings, 0, Log(quiet=True))
            trainer = stage.build_trainer(model, self.folder)
        else:
            rows = sample_rows(work)
            trainer = sft_trainer(model, self.tokenizer, self.folder)
        if arm == "ours":
            equip(trainer, ModelSettings(), Log(quiet=True))
        elif arm != "stock":
            attach(model.get_base_model(), Counters(), Budget(UNLIMITED))
        batch = {
            key: value.to(self.device) if isinstance(value, torch.Tensor) else value
            for key, value in trainer.data_collator(rows).items()
        }
        trainer.model.train()

        def step() -> Any:
            with alone() if arm == "head" else nothing():
                trainer.compute_loss(trainer.model, batch).backward()
            trainer.model.zero_grad()

        return step

    def grpo_arms(self, work: Work) -> dict[str, Callable[[], Any]]:
        """One update on a group of rollouts of one prompt."""
        settings = GrpoSettings(kl_weight=0.0, temperature=1.0, num_samples=work.pairs)
        group = random_group(work)
        trainer = grpo_trainer(adapted(self.random_model(work.model)), self.tokenizer, self.folder, settings, work.step)
        trainer.current_gradient_accumulation_steps = 1
        batch = {key: value.to(self.device) for key, value in group_batch(group).items()}
        trainer.model.train()
        trainee = Trainee(adapted(self.random_model(work.model)), ModelSettings(), settings.lr, Log(quiet=True))
        (weights,) = turn_weights([group], settings.loss_type, group.num_tokens, work.step)
        before = look_back(trainee, group, settings, is_only_update=True)

        def stock() -> None:
            trainer.compute_loss(trainer.model, batch).backward()
            trainer.model.zero_grad()

        def ours() -> None:
            trainee.learn(partial(group_loss, trainee, group, before, weights, settings, 0, Tally()))
            trainee.model.zero_grad()

        return {"stock": stock, "ours": ours}

    def scoring_arms(self, work: Work) -> dict[str, Callable[[], Any]]:
        """The log-probs of reference turns, as the deficiency check asks for them."""
        model = self.random_model(work.model).eval()
        rows = [(row["input_ids"][:-LEARNT], row["input_ids"][-LEARNT:]) for row in sample_rows(work)]
        prompts, turns = ([tuple(row[at]) for row in rows] for at in (0, 1))

        def stock() -> None:
            with torch.inference_mode():
                plain_log_probs(model, [prompt + turn for prompt, turn in zip(prompts, turns, strict=True)])

        def ours() -> None:
            PrefixDecoder(model, 0, 1 << 30, 64).logprob(prompts, turns)

        return {"stock": stock, "ours": ours}

    def siblings(self, work: Work, plot: Path | None) -> None:
        """Cost over the number of pairs that share one prompt."""
        table = []
        for count in NUM_SIBLINGS:
            work = Work(work.model, work.prompt, work.step, 1, count)
            arms = {arm: self.update_arm(work, arm, is_dpo=True) for arm in ("stock", "ours")}
            sequences = [
                pair.prompt_ids + side for pair in random_pairs(work) for side in (pair.chosen_ids, pair.rejected_ids)
            ]
            tokens = sum(map(len, sequences))
            table.append((count, tokens, num_unique_tokens(sequences), self.compare(SIBLINGS, work, arms)))
        print(f"\n{'pairs':>6}{'tokens':>8}{'unique':>8}{'stock s':>9}{'ours s':>8}{'stock MiB':>11}{'ours MiB':>10}")
        for count, tokens, unique, costs in table:
            (stock_s, stock_mib), (our_s, our_mib) = costs["stock"], costs["ours"]
            print(f"{count:6}{tokens:8,}{unique:8,}{stock_s:9.2f}{our_s:8.2f}{stock_mib:11.0f}{our_mib:10.0f}")
        if plot:
            draw([(count, costs) for count, _, _, costs in table], plot)

    def random_model(self, name: str) -> Any:
        from transformers import AutoConfig, AutoModelForCausalLM

        shape = dict(SHAPES[name])
        config = AutoConfig.for_model(
            shape.pop("architecture"), tie_word_embeddings=True, max_position_embeddings=8192, pad_token_id=0, **shape
        )
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config, dtype=self.dtype).to(self.device)


def adapted(model: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(model.dtype)
    return adapted


def sft_trainer(model: Any, tokenizer: Any, folder: Path) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    config = SFTConfig(
        output_dir=str(folder), report_to="none", bf16=False, gradient_checkpointing=False, max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )  # fmt: skip
    data = Dataset.from_list([{"input_ids": [1, 2], "labels": [1, 2]}])
    return SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)


def grpo_trainer(model: Any, tokenizer: Any, folder: Path, settings: GrpoSettings, max_new_tokens: int) -> Any:
    """TRL's, with the settings of ours; its rewards are never asked for."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    config = GRPOConfig(
        output_dir=str(folder), report_to="none", bf16=False, gradient_checkpointing=False,
        per_device_train_batch_size=settings.num_samples, num_generations=settings.num_samples,
        max_completion_length=max_new_tokens, temperature=settings.temperature, loss_type=settings.loss_type,
        epsilon=settings.clip_low, epsilon_high=settings.clip_high, beta=settings.kl_weight,
    )  # fmt: skip
    data = Dataset.from_list([{"prompt": "a"}])
    return GRPOTrainer(model=model, reward_funcs=no_reward, args=config, train_dataset=data, processing_class=tokenizer)


def no_reward(completions: Sequence[Any], **_: Any) -> list[float]:
    return [0.0] * len(completions)


def random_group(work: Work) -> Group:
    """Turns that part at their first token; lengths differ by up to a fifth; every second one is right."""
    rng = random.Random(0)
    turns = [
        (10 + number, *random_ids(rng, work.step - rng.randint(1, work.step // 5))) for number in range(work.pairs)
    ]
    thought = tuple(tuple(2 <= at < len(turn) // 2 for at in range(len(turn))) for turn in turns)
    return Group(random_ids(rng, work.prompt), tuple(turns), thought, tuple(float(n % 2) for n in range(work.pairs)))


def group_batch(group: Group) -> dict[str, torch.Tensor]:
    """The group as TRL's trainer holds it."""
    width = max(map(len, group.turns))
    lengths = torch.tensor([len(turn) for turn in group.turns])
    prompt_ids = torch.tensor([group.prompt] * len(group.turns))
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": torch.ones_like(prompt_ids),
        "completion_ids": torch.tensor([[*turn, *[0] * (width - len(turn))] for turn in group.turns]),
        "completion_mask": (torch.arange(width) < lengths[:, None]).long(),
        "advantages": group_advantages(torch.tensor(group.rewards)),
    }


def random_pairs(work: Work) -> list[PreferencePair]:
    """Sides of a pair part at their first token; lengths differ by up to a fifth."""
    rng = random.Random(0)
    prompts = [random_ids(rng, work.prompt) for _ in range(work.trees)]
    pairs = []
    for number in range(work.pairs):
        sides = [
            (10 + 2 * number + side, *random_ids(rng, work.step - rng.randint(1, work.step // 5))) for side in (0, 1)
        ]
        pairs.append(
            PreferencePair(
                prompt_ids=prompts[number % work.trees],
                chosen_ids=sides[0],
                rejected_ids=sides[1],
                margin=1.0,
                reason="wrong_value",
                sample_id=str(number),
                chosen_logprob=-400.0,
                rejected_logprob=-400.0,
            )
        )
    return pairs


def sample_rows(work: Work) -> list[dict[str, list[int]]]:
    """Samples of one tool list: a request of its own behind the list, then the turn, which is learnt."""
    rng = random.Random(0)
    prompts = [random_ids(rng, work.prompt) for _ in range(work.trees)]
    rows = []
    for number in range(work.pairs):
        own = random_ids(rng, work.step - rng.randint(0, work.step // 5))
        ids = [*prompts[number % work.trees], *own]
        rows.append({"input_ids": ids, "labels": [-100] * (len(ids) - LEARNT) + ids[-LEARNT:]})
    return rows


def random_ids(rng: random.Random, size: int) -> tuple[int, ...]:
    return tuple(rng.choices(range(100, 1900), k=size))


@contextmanager
def alone() -> Iterator[None]:
    """No two sequences share a row."""
    with patch("iterft.engine.trie.MINIMUM_SHARE", ROWS_ALONE):
        yield


@contextmanager
def nothing() -> Iterator[None]:
    yield


def measure(arms: dict[str, Callable[[], Any]], repeats: int) -> dict[str, tuple[float, float]]:
    """Median seconds, and peak MiB above what is resident."""
    peaks = {}
    for name, arm in arms.items():
        arm()  # warm-up
        peaks[name] = peak_of(arm)
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(repeats):
        for name, arm in arms.items():
            synchronise()
            start = time.perf_counter()
            arm()
            synchronise()
            seconds[name].append(time.perf_counter() - start)
    return {name: (median(seconds[name]), peaks[name]) for name in arms}


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_of(arm: Callable[[], Any]) -> float:
    """Highest use of memory while it runs, above that before, in MiB."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        arm()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    before = resident("VmRSS")
    arm()
    return (resident("VmHWM") - before) / 1024


def resident(key: str) -> int:
    """KiB, by the kernel's own count."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def draw(points: Sequence[tuple[int, dict[str, tuple[float, float]]]], file: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3))
    counts = [count for count, _ in points]
    for axis, at, label in zip(axes, (0, 1), ("seconds per step", "peak MiB of a step"), strict=True):
        for arm, name in (("stock", "TRL"), ("ours", "iterft")):
            axis.plot(counts, [costs[arm][at] for _, costs in points], marker="o", label=name)
        axis.set(xlabel="pairs that share a prompt", ylabel=label, xticks=counts, ylim=(0, None))
        axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(file)
    print(f"drawn: {file}")


if __name__ == "__main__":
    sys.exit(main())

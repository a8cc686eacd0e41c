"""Are updates on shared prefixes those of stock TRL? The largest differences of loss, margins and gradients.

On a tiny random model in float32, on the same pairs: trees of 1, 2, 4 and 8 pairs, sides of ragged lengths. Ours has
the reference log-probs given, TRL's own trainer computes them with a reference model; both are moved away from the
reference first. SimPO is compared with TRL's experimental trainer. Then one batch of 8 against 8 of 1, accumulated.
Last group optimization with lambda 0 against TRL's `GRPOTrainer`, on the same rollouts; its "margin" is the share of
clipped tokens.
Exit code 1 if anything exceeds `LIMITS`.

python scripts/check_losses.py
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from test_entropy_grpo import NARROW, PLAIN, made_groups, updates_of
from test_losses import experimental_batch, experimental_trainer
from updates import FULL, LORA, QUIET, nudge, our_trainer, relative_gap, scored_pairs, stock_trainer, without_reference

from iterft.config import GRPO_LOSSES, TRL_LOSSES, ModelSettings
from iterft.models import load_tokenizer, resolve
from iterft.stages.dpo import pair_rows
from iterft.surroundings import quieten_libraries
from iterft.types import PreferencePair

TREES = (1, 2, 4, 8)
BETA = 0.3
GROUP_LOSSES: tuple[tuple[str, dict[str, Any], ModelSettings], ...] = (
    *((name, {"loss_type": name}, LORA) for name in GRPO_LOSSES),
    ("grpo, all weights", {}, FULL),
    ("gspo", {"ratio": "sequence", **NARROW}, LORA),
    ("grpo, KL", {"kl_weight": 0.04}, LORA),
    ("grpo, T 0.5", {"temperature": 0.5}, LORA),
)
LIMITS = {"loss": 1e-5, "margin": 1e-5, "gradient": 1e-4}


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    quieten_libraries()
    base = resolve(LORA, QUIET)
    tokenizer = load_tokenizer(base)
    pairs = random_pairs(base)
    rows = pair_rows(pairs)
    worst = dict.fromkeys(LIMITS, 0.0)
    print(
        f"{'':16}{'tuning':>8}{'loss':>10}{'margin':>10}{'gradient':>10}   differences; of gradients relative, by norm"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for tuning in (LORA, FULL):
            for loss in TRL_LOSSES:
                options: dict[str, Any] = {"beta": BETA}
                extra = {"label_smoothing": 0.1} if loss in ("exo_pair", "robust") else {}
                ours = our_trainer(
                    base, tokenizer, folder, tuning, loss_types=[loss], loss_weights=[1.0], extra=extra, **options
                )
                stock = stock_trainer(base, tokenizer, folder, tuning, loss_type=[loss], **options, **extra)
                batches = rows, [without_reference(row) for row in rows]
                show(
                    loss,
                    tuning,
                    [step(t, t.data_collator(b)) for t, b in zip((ours, stock), batches, strict=True)],
                    worst,
                )
        for loss, tuning, name, own, theirs in (
            ("simpo", LORA, "simpo", {"beta": 2.5, "gamma": 0.5}, {"beta": 2.5, "simpo_gamma": 0.5}),
            ("simpo", FULL, "simpo", {"beta": 2.5, "gamma": 0.5}, {"beta": 2.5, "simpo_gamma": 0.5}),
            ("cpo", LORA, "sigmoid", {"beta": 0.7}, {"beta": 0.7}),
        ):
            ours = our_trainer(base, tokenizer, folder, tuning, loss_types=[loss], loss_weights=[1.0], **own)
            stock = experimental_trainer(
                "cpo", base, tokenizer, folder, tuning, loss_type=name, cpo_alpha=0.0, **theirs
            )
            both = [step(ours, ours.data_collator(rows)), step(stock, experimental_batch(pairs))]
            show(loss, tuning, [(value, [], gradients) for value, _, gradients in both], worst)
        whole, parts = (
            our_trainer(base, tokenizer, folder, loss_types=["sigmoid"], loss_weights=[1.0]) for _ in range(2)
        )
        at_once = step(whole, whole.data_collator(rows[:8]))
        nudge(parts.model)
        singly = [step_of(parts, parts.data_collator([row])) for row in rows[:8]]
        gradients = [sum(columns) / 8 for columns in zip(*(own for *_, own in singly), strict=True)]
        summed = sum(loss for loss, *_ in singly) / 8, [], gradients
        show("1x8 = 8x1", LORA, [(at_once[0], [], at_once[2]), summed], worst)
        for name, changes, tuning in GROUP_LOSSES:
            pair = updates_of(base, tokenizer, folder, replace(PLAIN, **changes), made_groups(), tuning)
            shares = [[one.clipped] if "ratio" not in changes else [] for one in pair]  # TRL counts clipped sequences
            results = [(one.loss, clipped, one.gradients) for one, clipped in zip(pair, shares, strict=True)]
            show(name, tuning, results, worst)
    good = all(worst[key] <= limit for key, limit in LIMITS.items())
    largest = ", ".join(f"{key} {value:.1e}" for key, value in worst.items())
    print(f"largest: {largest}: {'equal' if good else 'NOT equal'}")
    return 0 if good else 1


def step(trainer: Any, batch: dict[str, Any]) -> tuple[float, list[float], list[torch.Tensor]]:
    """That of a trainer whose model has first moved away from the reference."""
    nudge(trainer.model)
    return step_of(trainer, batch)


def step_of(trainer: Any, batch: dict[str, Any]) -> tuple[float, list[float], list[torch.Tensor]]:
    """Loss, margin (mean over the batch, as TRL logs it) and gradients of one batch."""
    loss = trainer.compute_loss(trainer.model, batch)
    trained = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    metrics = getattr(trainer, "_metrics", {}).get("train", {})
    return loss.item(), list(metrics.get("rewards/margins", [])), list(torch.autograd.grad(loss, trained))


def show(name: str, tuning: ModelSettings, results: list[Any], worst: dict[str, float]) -> None:
    (our_loss, our_margins, our_gradients), (loss, margins, gradients) = results
    gaps = {
        "loss": abs(our_loss - loss),
        "margin": max((abs(mine - theirs) for mine, theirs in zip(our_margins, margins, strict=True)), default=0.0),
        "gradient": relative_gap(our_gradients, gradients),
    }
    print(f"{name:16}{tuning.tuning:>8}" + "".join(f"{gap:10.1e}" for gap in gaps.values()), flush=True)
    for key, gap in gaps.items():
        worst[key] = max(worst[key], gap)


def random_pairs(base: str) -> list[PreferencePair]:
    """Scored by the base."""
    draw = random.Random(0)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw.choices(range(3, 1900), k=draw.randint(low, high)))

    rows = [
        (prompt, ids(1, 9), ids(1, 12), f"s{count}")
        for count in TREES
        for prompt in [ids(20, 60)]
        for _ in range(count)
    ]
    draw.shuffle(rows)
    return scored_pairs(base, rows)


if __name__ == "__main__":
    sys.exit(main())

"""How many errors each way of searching finds for its tokens, and how sure they are (docs/results.md).

From one checkpoint, on the same train samples, each arm samples TOKENS tokens:
  ours          deficiency check and PUCT as the loop runs them, rows end at their first error; verified pairs
  independent   whole turns from the prompt; each failing one against the likeliest passing one of its sample
  itool         iTool's rule: pieces cut by regular expression, values by word overlap with the reference, at every node
                the highest against the lowest (50 tokens a completion, as there; temperature as ours; without its
                repetition penalty and self-grades)
Counted are distinct, unplanted points of divergence: (sample, position, wrong step). Then COMPLETIONS completions from
either side of up to CHECKED of them, judged by BFCL's official checker, and as many again, up to ROUNDS times, from
sides of which none has passed: the chosen side is right if one passes, or the turn that the arm knows to be right and
that goes through it; the rejected one is wrong if none does. A turn of more tokens than the policy may sample passes in
no arm: one whose words ran on to that limit could still be ended behind it. "Drawn right" is the share of chosen sides
of which a completion passes: so often this policy shows that a side can still be right, and so much "rejected wrong"
can prove.
Samples whose reference the official checker refuses (it wants types that JSON schemas need not have) take no part.
What an arm has come to is kept in the run folder (study_pairs.jsonl), so that a study that was stopped goes on.

python scripts/study_pairs.py [--run RUN] [--set data.train=FILE --set data.held_out=FILE] [--tokens N] [--checked N]
"""

from __future__ import annotations

import argparse
import math
import random
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench_search import MemoryJournal

from iterft import Iterator, Recipe
from iterft.build import reference_turn
from iterft.config import PairSettings, SearchSettings
from iterft.deficiency import find_deficient
from iterft.evals import bfcl
from iterft.evals.held_out import wilson
from iterft.journal import append_to_journal, read_journal
from iterft.log import Log
from iterft.pairs import accepted_nodes, mine_tree, overlap
from iterft.policies.hf import HfPolicy
from iterft.rollout import World, read_turn, reference_text, seed_of
from iterft.search import search
from iterft.types import Checked, PreferencePair, Sample, Tree, Turn

QUIET = Log(quiet=True)
SIZES = ("samples", "tokens", "checked", "completions", "rounds")
TEMPERATURE = 0.7
EVERYTHING = PairSettings(extent="step", max_per_tree=1_000_000, max_reason_share=1.0, anchors=False, min_margin=-1.0)
OFFICIAL_TYPES = {"object": "dict", "number": "float"}
WHOLE = replace(EVERYTHING, extent="chosen_turn")
ITOOL_TOKENS = 50
PIECES = re.compile(r"(\. |\, |=|\()")


Ids = tuple[int, ...]


@dataclass(frozen=True)
class Point:
    """Where a right and a wrong way part: ids of the prompt and the turn so far, and of the step on either side."""

    sample: Sample
    prefix: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    accepted: tuple[int, ...] = ()
    """Prompt and turn through the chosen side that the arm has seen and holds to be right, if it has."""

    @property
    def key(self) -> tuple[Any, ...]:
        return self.sample.id, len(self.prefix), self.rejected


Found = tuple[list[Point], int]
"""The points, and the tokens sampled for them."""


@dataclass(frozen=True)
class Setting:
    policy: HfPolicy
    world: World
    samples: Sequence[Sample]
    recipe: Recipe
    tokens: int
    seed: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="smollm2-135m")
    parser.add_argument(
        "--run", type=Path, default=Path("runs/pairs"), help="its warm-up is used; made if it is not there"
    )
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--checked", type=int, default=100)
    parser.add_argument("--completions", type=int, default=8, help="8 or more")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="key=value")
    options = parser.parse_args()
    try:
        recipe = Recipe.load(options.recipe, [*options.overrides, "iters=0"])
        run = Iterator(recipe, options.run)
        run.run()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows: dict[str, list[tuple[float, Shares]]] = defaultdict(list)
    journal = run.store.run / "study_pairs.jsonl"
    done = dict(read_journal(journal))
    known = [sample for sample in run.samples if official_verdict(sample, reference_turn(sample))]
    left_out = len(run.samples) - len(known)
    print(f"{left_out} of {len(run.samples)} train samples left out: the official checker refuses their reference")
    with run.serve(run.store.checkpoint(0)) as policy:
        for seed in options.seeds:
            samples = random.Random(seed).sample(known, min(options.samples, len(known)))
            setting = Setting(policy, run.world, samples, recipe, options.tokens, seed)
            for name in ARMS:
                key = [name, seed, *(getattr(options, size) for size in SIZES)]
                if str(key) not in done:
                    done[str(key)] = result_of(name, setting, options)
                    append_to_journal(journal, [str(key), done[str(key)]])
                num_points, tokens, counts = done[str(key)]
                shares, density = Shares(*counts), 1000 * num_points / max(1, tokens)
                rows[name].append((density, shares))
                print(
                    f"seed {seed}, {name}: {num_points} points for {tokens:,} tokens, {density:.2f} per 1,000; "
                    f"of {shares.checked} checked: "
                    + ", ".join(f"{key} {count}" for key, count in shares.counts.items()),
                    flush=True,
                )
    print(f"\n{'':14}{'points per 1,000 tokens':>28}{'checked':>9}" + "".join(f"{key:>24}" for key in Shares().counts))
    for name, results in rows.items():
        densities = [density for density, _ in results]
        total = sum((shares for _, shares in results), Shares())
        spread = f"{sum(densities) / len(densities):.2f} ({min(densities):.2f} to {max(densities):.2f})"
        print(f"{name:14}{spread:>28}{total.checked:>9}" + "".join(f"{cell:>24}" for cell in total.cells()))
    return 0


def result_of(name: str, setting: Setting, options: argparse.Namespace) -> tuple[int, int, Sequence[int]]:
    """(distinct points, tokens sampled for them, what `Shares` counts) of an arm."""
    points, tokens = ARMS[name](setting)
    distinct = list({point.key: point for point in points}.values())
    return len(distinct), tokens, astuple(check(setting, distinct, options))


def ours(setting: Setting) -> Found:
    settings = replace(setting.recipe.deficiency, num_candidates=len(setting.samples), share=1.0, negative_share=0.0)
    found = find_deficient(
        setting.policy, setting.world, setting.samples, {}, settings, setting.seed, QUIET, plant=True, whole_turns=False
    )
    weak = found.weak
    spent = sum(len(row.ids) for item in (*weak, *found.mastered) for row in item.completions)
    limits = {
        "num_simulations": 1_000_000, "max_tokens": max(1, setting.tokens - spent), "plant": False,
        "trees_in_flight": max(1, len(weak)),
    }  # fmt: skip
    trees = search(
        setting.policy, setting.world, weak, replace(setting.recipe.search, **limits), setting.seed, MemoryJournal(),
        QUIET, whole_turns=False,
    )  # fmt: skip
    points = []
    for item, tree in zip(weak, trees, strict=True):
        steps, turns = (mine_tree(tree, settings, defaultdict(int)) for settings in (EVERYTHING, WHOLE))
        whole = {(pair.prompt_ids, pair.rejected_ids): pair.prompt_ids + pair.chosen_ids for pair in turns}
        points += [point_of(item.sample, pair, whole) for pair in steps]
    return points, spent + sum(tree.sampled_tokens for tree in trees)


def point_of(sample: Sample, pair: PreferencePair, whole: Mapping[tuple[Ids, Ids], Ids]) -> Point:
    accepted = whole.get((pair.prompt_ids, pair.rejected_ids), ())
    return Point(sample, pair.prompt_ids, pair.chosen_ids, pair.rejected_ids, accepted)


def independent(setting: Setting) -> Found:
    weak = [Checked(sample, 1.0, 0.0, {}, (), ()) for sample in setting.samples]
    settings = SearchSettings(
        kind="independent", num_simulations=1_000_000, num_samples=1, max_tokens=setting.tokens, plant=False,
        temperature=TEMPERATURE, trees_in_flight=len(weak),
    )  # fmt: skip
    trees = search(
        setting.policy, setting.world, weak, settings, setting.seed, MemoryJournal(), QUIET, whole_turns=True
    )
    points = []
    for item, tree in zip(weak, trees, strict=True):
        points += whole_turn_points(item.sample, tree)
    return points, sum(tree.sampled_tokens for tree in trees)


def whole_turn_points(sample: Sample, tree: Tree) -> list[Point]:
    """Each failing turn of a tree, where it leaves the passing ones, against the likeliest of those that get there."""
    paths = [path_to(tree, at) for at, node in enumerate(tree.nodes) if node.reward == 1.0]
    paths.sort(key=lambda path: -sum(score for at in path for score in tree.nodes[at].step.logprobs))
    if not paths:
        return []
    accepted = accepted_nodes(tree)
    points = []
    for at, node in enumerate(tree.nodes):
        if node.reward is None or node.reward == 1.0:
            continue
        failing = path_to(tree, at)
        left = next(place for place, step in enumerate(failing) if step not in accepted)
        best = next((path for path in paths if path[:left] == failing[:left] and len(path) > left), None)
        if best is not None:
            prefix = tree.prompt_ids + tree.path_ids(tree.nodes[failing[left]].parent)
            steps = (tree.nodes[path[left]].step.ids for path in (best, failing))
            points.append(Point(sample, prefix, *steps, accepted=tree.prompt_ids + tree.path_ids(best[-1])))
    return points


def path_to(tree: Tree, at: int) -> list[int]:
    path = []
    while at > 0:
        path.insert(0, at)
        at = tree.nodes[at].parent
    return path


@dataclass
class Piece:
    """A node of iTool's tree: text behind its parent's."""

    text: str
    parent: Piece | None
    value: float = 0.0
    visits: int = 0
    prior: float = 1.0
    children: dict[str, Piece] = field(default_factory=dict)

    @property
    def whole(self) -> str:
        return (self.parent.whole if self.parent else "") + self.text


def itool(setting: Setting, num_children: int = 3, depth: int = 3, iterations: int = 5) -> Found:
    """Trees in rounds: one completion round of every tree at a time, `iterations` in all, then other seeds anew."""
    policy = setting.policy
    points: list[Point] = []
    spent, round_number = 0, 0
    while spent < setting.tokens:
        roots = {sample.id: Piece("", None) for sample in setting.samples}
        for iteration in range(iterations):
            if spent >= setting.tokens:
                break
            leaves = [descend(roots[sample.id], num_children, depth) for sample in setting.samples]
            prompts = [policy.render(sample.prompt) for sample in setting.samples]
            written = [policy.tokenizer(leaf.whole, add_special_tokens=False).input_ids for leaf in leaves]
            rows = policy.sample(
                [(*prompt, *ids) for prompt, ids in zip(prompts, written, strict=True)],
                [num_children] * len(leaves),
                TEMPERATURE,
                [seed_of(setting.seed, sample.id, round_number, iteration) for sample in setting.samples],
                refute=lambda _, ids: len(ids) >= ITOOL_TOKENS,
            )
            for sample, leaf, completions in zip(setting.samples, leaves, rows, strict=True):
                reference = reference_text(setting.world.dialect, sample)
                for row in completions:
                    spent += len(row.ids)
                    prior = 2.718281828 ** (sum(row.logprobs) / len(row.logprobs))
                    grow_pieces(leaf, "".join(policy.token_texts(row.ids)), reference, prior, depth)
        for sample in setting.samples:
            points += piece_points(setting, sample, roots[sample.id])
        round_number += 1
    return points, spent


def descend(node: Piece, num_children: int, depth: int) -> Piece:
    """By value / (N + 1) + p sqrt(ln N_parent / (N + 1)), into nodes that have more than `num_children` children."""
    level = 0
    while len(node.children) > num_children and level < depth - 1:
        log_parent = math.log(max(node.visits, 1))
        node = max(
            node.children.values(),
            key=lambda child: (
                child.value / (child.visits + 1) + child.prior * math.sqrt(log_parent / (child.visits + 1))
            ),
        )
        level += 1
    return node


def grow_pieces(node: Piece, text: str, reference: str, prior: float, depth: int) -> None:
    parts = PIECES.split(text)
    steps = ["".join(parts[at : at + 4]) for at in range(0, len(parts), 4)]  # two pieces with what cut them
    known = set(words(reference))
    chain = [node]
    for step in [step for step in steps if step][:depth]:
        child = chain[-1].children.setdefault(step, Piece(step, chain[-1], prior=prior))
        found = words(step)
        share = sum(word in known for word in found) / len(found) if found else 0.0
        child.value += share - 0.5 + (0.1 if (")]" in text) == (")]" in reference) else -0.1)
        chain.append(child)
    for piece in chain:
        piece.visits += 1


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def piece_points(setting: Setting, sample: Sample, root: Piece) -> list[Point]:
    """At every node the child of the highest value against that of the lowest."""

    def encode(text: str) -> tuple[int, ...]:
        return tuple(setting.policy.tokenizer(text, add_special_tokens=False).input_ids)

    points, pending = [], [root]
    while pending:
        node = pending.pop()
        children = sorted(node.children.values(), key=lambda child: child.value)
        pending += children
        if len(children) < 2 or children[-1].value - children[0].value < 0.1 or children[-1].value < -0.3:
            continue
        chosen, rejected = (encode(child.text) for child in (children[-1], children[0]))
        if overlap(chosen, rejected) <= 0.95:
            prefix = setting.policy.render(sample.prompt) + encode(node.whole)
            points.append(Point(sample, prefix, chosen, rejected))
    return points


ARMS: dict[str, Callable[[Setting], Found]] = {"ours": ours, "independent": independent, "itool": itool}


@dataclass(frozen=True)
class Shares:
    """Of so many points checked: those whose chosen side is right, those of which a drawn completion shows it, those
    whose rejected side never came right."""

    checked: int = 0
    chosen_right: int = 0
    drawn_right: int = 0
    rejected_wrong: int = 0

    def __add__(self, other: Shares) -> Shares:
        return Shares(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def counts(self) -> dict[str, int]:
        return {
            "chosen right": self.chosen_right,
            "drawn right": self.drawn_right,
            "rejected wrong": self.rejected_wrong,
        }

    def cells(self) -> list[str]:
        """In percent, with Wilson's interval."""
        if not self.checked:
            return ["" for _ in self.counts]
        shown = []
        for count in self.counts.values():
            low, high = wilson(count, self.checked)
            shown.append(f"{count / self.checked:.1%} [{100 * low:.1f}, {100 * high:.1f}]")
        return shown


def check(setting: Setting, points: Sequence[Point], options: argparse.Namespace) -> Shares:
    checked = random.Random(0).sample(list(points), min(options.checked, len(points)))
    if not checked:
        return Shares()
    drawn, still_right = (
        can_pass(setting, checked, [point.prefix + getattr(point, side) for point in checked], options)
        for side in ("chosen", "rejected")
    )
    right = [
        passed or (bool(point.accepted) and passes(setting, point, point.accepted, "stop"))
        for point, passed in zip(checked, drawn, strict=True)
    ]
    return Shares(len(checked), sum(right), sum(drawn), len(checked) - sum(still_right))


def can_pass(
    setting: Setting, points: Sequence[Point], prefixes: Sequence[tuple[int, ...]], options: argparse.Namespace
) -> list[bool]:
    """Whether one of the completions of a prefix passes; a whole turn is its own. Rounds are drawn at temperature 1 and
    at the one of the search, in turn."""
    stop_id = setting.policy.stop_id
    found = [
        prefix[-1] == stop_id and passes(setting, point, prefix, "stop")
        for point, prefix in zip(points, prefixes, strict=True)
    ]
    for number in range(options.rounds):
        left = [at for at, passed in enumerate(found) if not passed and prefixes[at][-1] != stop_id]
        rows = setting.policy.sample(
            [prefixes[at] for at in left],
            [options.completions] * len(left),
            TEMPERATURE if number % 2 else 1.0,
            [seed_of("check", number, *points[at].key) for at in left],
        )
        for at, completions in zip(left, rows, strict=True):
            turns = ((prefixes[at] + row.ids, row.finish_reason) for row in completions)
            found[at] = any(passes(setting, points[at], ids, reason) for ids, reason in turns)
    return found


def passes(setting: Setting, point: Point, ids: tuple[int, ...], finish_reason: str) -> bool:
    turn_ids = ids[len(setting.policy.render(point.sample.prompt)) :]
    if len(turn_ids) > setting.recipe.policy.max_new_tokens:
        return False
    return official_verdict(point.sample, read_turn(setting.policy, setting.world.dialect, turn_ids, finish_reason))


def official_verdict(sample: Sample, turn: Turn) -> bool:
    category = "parallel_multiple" if len(sample.answer) > 1 else "multiple" if sample.answer else "irrelevance"
    functions = [{**tool, "parameters": official_schema(tool["parameters"])} for tool in sample.prompt.tools]
    config = {"category": category, "functions": functions}
    if not sample.answer and turn.error:
        return False  # neither prose nor a call
    return bfcl.official(replace(sample, env_config=config), turn)


def official_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema in BFCL's vocabulary."""
    converted = dict(schema)
    if schema.get("type") in OFFICIAL_TYPES:
        converted["type"] = OFFICIAL_TYPES[schema["type"]]
    if "properties" in schema:
        converted["properties"] = {name: official_schema(inner) for name, inner in schema["properties"].items()}
        converted.setdefault("required", [])
    if "items" in schema:
        converted["items"] = official_schema(schema["items"])
    return converted


if __name__ == "__main__":
    sys.exit(main())

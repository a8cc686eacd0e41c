"""Tools in, training data out; and checks of tool-calling data by rules, whoever made it.

python scripts/synthesize.py --tools my_tools.py --out my_data.jsonl -n 5000 [--seed 0]
python scripts/synthesize.py --tools my_tools.py --out my_data.jsonl -n 1000 --complexity RUN_OR_RECIPE [--rounds 3]
python scripts/synthesize.py --check data.jsonl [--out clean.jsonl] [--rejected rejected.jsonl] [--judge URL]

Tools are read from a Python file, JSON, OpenAPI 3 or a tools/list of MCP; without --tools, those of the built-in tasks
are taken. No model is asked for words. The same command goes on where a killed one has stopped. With --complexity,
dialogues that this policy solves already, or would not even after some tuning, are made harder or simpler in rounds.
--check reads any form that `data.form` knows, counts broken rules, and keeps rejected samples aside with their reasons.
With --judge, what the rules let pass is then put to a model behind an OpenAI-compatible server; references it finds
wrong are written anew, and pass the rules once more.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from random import Random
from typing import TextIO

from iterft import Recipe, build
from iterft.augment.pool import bare
from iterft.config import EndpointSettings, JudgeSettings
from iterft.data import AUTO, collector_paused, load_samples, readings
from iterft.endpoint import endpoint
from iterft.evals import bfcl
from iterft.journal import append_to_journal
from iterft.learner import learner_of
from iterft.log import Log
from iterft.loop import quieten_libraries
from iterft.readers.forms import FORMS
from iterft.synth.checks import Objection, check
from iterft.synth.complexity import Learner
from iterft.synth.evolve import evolve
from iterft.synth.grounding import ungrounded
from iterft.synth.journal import digest_of, journal_of, take_up
from iterft.synth.judge import judge_all
from iterft.synth.leaks import Evaluation, evaluation_of
from iterft.synth.overview import complexity_overview, overview
from iterft.synth.pipeline import SHARES, Order, nothing_yet, synthesize
from iterft.synth.redraw import redrawing
from iterft.synth.rounds import Remake, Rounds, guide
from iterft.synth.rows import line_of, replacing, row_of
from iterft.synth.sift import Judge, Tally, sift
from iterft.synth.spoken import SpokenTool
from iterft.synth.stock import Stock, built_in_tools, definition_of, spoken_of, stock_of
from iterft.toolsets.forms import load_toolset
from iterft.toolsets.parts import Definition
from iterft.types import Sample

BFCL = "bfcl"
UNGROUNDED = "ungrounded_value"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, metavar="FILE", help="the tools; without, the built-in ones")
    parser.add_argument("--skip-refused", action="store_true", help="leave out tools that cannot be used")
    parser.add_argument("--evolve", type=int, default=0, metavar="N", help="make so many more tools out of them first")
    parser.add_argument("-n", "--num", type=int, default=1000, help="samples wanted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where samples go")
    parser.add_argument("--thinking", action="store_true", help="write down before each decision why it is right")
    parser.add_argument("--held-out", type=Path, metavar="FILE", help="samples of tools that --out never shows go here")
    parser.add_argument("--held-out-share", type=float, default=0.2, help="of the tools, and of the samples")
    parser.add_argument(
        "--against",
        nargs="+",
        default=[],
        metavar="DATA",
        help="evaluation data, 'bfcl' or files: nothing is made that shares 8 words in a row or a tool's name with it",
    )
    parser.add_argument(
        "--complexity",
        metavar="RUN",
        help="make samples neither too easy nor too hard for it: a run folder or a recipe",
    )
    parser.add_argument("--rounds", type=int, default=3, help="--complexity: the first makes all, the others remake")
    parser.add_argument(
        "--probe", type=int, default=200, help="--complexity: samples that tell what is too easy or hard"
    )
    parser.add_argument("--check", metavar="DATA", help="check a file of samples, or hub:OWNER/NAME, and make nothing")
    parser.add_argument("--form", default=AUTO, choices=[AUTO, *FORMS], help="of --check")
    parser.add_argument("--grounding", action="store_true", help="--check: every value must be found in what was said")
    parser.add_argument("--rejected", type=Path, help="--check: where rejected samples go, each with its reasons")
    parser.add_argument("--judge", metavar="URL", help="--check: ask a model too (http://HOST:PORT/v1)")
    parser.add_argument("--judge-model", default="", metavar="NAME", help="which of its models, if it serves several")
    parser.add_argument(
        "--judge-key-env", default="", metavar="NAME", help="environment variable with the server's key"
    )
    parser.add_argument("--votes", type=int, default=3, help="--judge: how often each question is put, at most")
    options = parser.parse_args()
    try:
        # Models leave cycles that hold much memory: where one runs, the collector has to.
        with nullcontext() if options.complexity else collector_paused():
            return check_data(options) if options.check else make_data(options)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2


def make_data(options: argparse.Namespace) -> int:
    """1 when fewer samples could be made than asked for. ValueError when the tools cannot be used."""
    if options.out is None:
        raise ValueError("--out: missing; say where the samples go")
    if options.num < 1:
        raise ValueError(f"--num {options.num}: must be at least 1")
    if not 0 < options.held_out_share < 1:
        raise ValueError(f"--held-out-share {options.held_out_share}: must lie between 0 and 1")
    for name in ("rounds", "probe"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} {getattr(options, name)}: must be at least 1")
    evaluation = evaluation_data(options.against)
    tools = spoken_tools(options, evaluation)
    learner = None
    if options.complexity:
        quieten_libraries()
        learner = learner_of(options.complexity, Log())
    if learner and learner.world.dialect.thinks and not options.thinking:
        raise ValueError(
            f"--complexity {options.complexity}: its recipe asks for a think part before each turn (model.think); "
            "add --thinking"
        )
    parts = [(options.out, options.num, tools)]
    if options.held_out:
        num_held_out = round(options.held_out_share * options.num)
        train, held_out = split_tools(tools, options.held_out_share, options.seed)
        parts = [(options.out, options.num - num_held_out, train), (options.held_out, num_held_out, held_out)]
    is_short = False
    for out, num_samples, part in parts:
        stock = stock_of(part, evaluation.names)
        # Held-out samples measure a policy: they are not made to suit one.
        guided_by = learner if out == options.out else None
        is_short |= write_samples(stock, out, num_samples, options, evaluation, guided_by) < num_samples
    return int(is_short)


def evaluation_data(sources: Sequence[str]) -> Evaluation:
    samples: list[Sample] = []
    for source in sources:
        if source == BFCL:
            samples += [sample for category in bfcl.CATEGORIES for sample in bfcl.load(category)]
        else:
            samples += load_samples(source, "--against", 1.0).samples
    return evaluation_of(samples)


def spoken_tools(options: argparse.Namespace, evaluation: Evaluation) -> list[SpokenTool]:
    """The tools to ask for. Prints what was read and left out."""
    if options.tools:
        toolset = load_toolset(options.tools, skip_refused=options.skip_refused)
        made = list(worded(toolset.definitions, options.skip_refused))
        print(f"{options.tools}: {len(made)} tools read as {toolset.form}, {len(toolset.refusals)} left out")
        for refusal in toolset.refusals:
            print(f"  left out: {refusal}")
    else:
        made = built_in_tools()
    leaked = [tool.spec.name for tool in made if bare(tool.spec.name) in evaluation.names]
    if leaked:
        print(f"{len(leaked)} tools are left out, as evaluation data has their names: {', '.join(leaked)}")
    made = [tool for tool in made if tool.spec.name not in leaked]
    if not made:
        raise ValueError("--against: evaluation data has the names of all tools; rename them")
    evolved = [
        each
        for each in evolve(map(definition_of, made), options.evolve, options.seed)
        if bare(each.definition.name) not in evaluation.names
    ]
    if options.evolve:
        operators = Counter(operator for each in evolved for operator in each.operators)
        print(
            f"{len(evolved)} tools evolved: {', '.join(f'{name} {count}' for name, count in operators.most_common())}"
        )
    return made + [spoken_of(each.definition, each.operators, each.origin) for each in evolved]


def worded(definitions: Sequence[Definition], skip_refused: bool) -> Iterator[SpokenTool]:
    """ValueError for a tool that cannot be put into words, unless such are skipped."""
    for definition in definitions:
        try:
            yield spoken_of(definition)
        except ValueError as error:
            if not skip_refused:
                raise ValueError(f"{error}; or leave it out with --skip-refused") from error
            print(f"  left out: {error}")


def split_tools(tools: Sequence[SpokenTool], share: float, seed: int) -> tuple[list[SpokenTool], list[SpokenTool]]:
    """(train, held out): an evolved tool goes with its origin. ValueError when one of them would be empty."""
    origins = sorted({tool.origin for tool in tools})
    held = set(Random(f"split {seed}").sample(origins, round(share * len(origins))))
    parts = [tool for tool in tools if tool.origin not in held], [tool for tool in tools if tool.origin in held]
    if not all(parts):
        raise ValueError(f"--held-out-share {share}: of {len(origins)} tools one part would get none; give more tools")
    return parts


def write_samples(
    stock: Stock,
    out: Path,
    num_samples: int,
    options: argparse.Namespace,
    evaluation: Evaluation,
    learner: Learner | None,
) -> int:
    """Makes the samples, in a journal until all are there, and writes them and their overview. How many they are."""
    order = Order(num_samples, options.seed, out.stem, options.thinking, evaluation.runs, judge(grounding=False))
    settings = {
        "tools": digest_of([tool.schema for tool in stock.shown.tools]),
        "returns": digest_of([tool.returns for tool in stock.tools.values()]),
        "seed": order.seed,
        "name": order.name,
        "thinking": order.with_thinking,
        "runs": digest_of(sorted(order.runs)),
        "complexity": [learner.name, options.rounds, options.probe] if learner else [],
    }
    path, progress = journal_of(out), nothing_yet(stock)
    journalled = take_up(path, settings)
    entries = [entry for entry in journalled if "round" not in entry]
    for entry in entries:
        progress.add(entry)
    log, started, num_before = Log(), time.perf_counter(), progress.counts.total()
    if num_before:
        log.say(f"going on from {path}: {num_before} samples are there")
    with path.open("a", encoding="utf-8") as journal, log.progress("synthesis", num_samples - num_before) as advance:
        for entry in synthesize(stock, order, progress):
            journal.write(line_of(entry))
            entries.append(entry)
            advance(len(entry.get("rows", ())))
    seconds = time.perf_counter() - started
    dialogues, told_rounds = [entry for entry in entries if "rows" in entry], ""
    rows = [row for entry in dialogues for row in entry["rows"]][:num_samples]
    if learner:
        rounds = Rounds(dialogues, progress.texts)
        for item in (entry for entry in journalled if "round" in entry):
            rounds.add(item)
        run_rounds(rounds, learner, redrawing(stock, order, rounds.texts), options, path)
        rows = rounds.rows()[:num_samples]
        told_rounds = complexity_overview(rows, rounds, learner.name)
    with replacing(out) as file:
        file.writelines(map(line_of, rows))
    told = overview(rows, SHARES, stock.tools, progress.redrawn) + told_rounds
    summary = out.with_name(f"{out.name}.summary.txt")
    summary.write_text(told, encoding="utf-8")
    path.unlink()
    shutil.rmtree(tuning_of(out), ignore_errors=True)
    print(told.split("\n\n")[0])
    for kind in sorted(progress.given_up):
        print(f"  {kind}: given up, these tools allow no more that are new; the others make up for it")
    rate = (progress.counts.total() - num_before) / max(seconds, 1e-9)
    print(f"{out}: {len(rows)} samples, all pass the verifier; {rate:,.0f} per second; counts in {summary}")
    if len(rows) < num_samples:
        print(f"  {num_samples - len(rows)} fewer than asked for: nothing new came; give more tools or --evolve N")
    return len(rows)


def run_rounds(rounds: Rounds, learner: Learner, remake: Remake, options: argparse.Namespace, path: Path) -> None:
    """Makes what is too easy harder and what is too hard simpler, to the last round; `path`: of the journal."""
    work = tuning_of(options.out)
    work.mkdir(exist_ok=True)
    for item in guide(rounds, learner, remake, options.rounds, options.probe, work / "checkpoint", Log()):
        append_to_journal(path, item)


def tuning_of(out: Path) -> Path:
    """The folder for the short tuning, there as long as the journal is."""
    return out.with_name(f"{out.name}.tuning")


def check_data(options: argparse.Namespace) -> int:
    """ValueError when the source cannot be read or no row of it can."""
    with ExitStack() as files:
        clean = files.enter_context(replacing(options.out)) if options.out else None
        rejected = files.enter_context(replacing(options.rejected)) if options.rejected else None
        read = readings(options.check, "--check", options.form)
        rules = judge(options.grounding)
        sound: list[Sample] = []

        def remembering(sample: Sample) -> list[Objection]:
            objections = list(rules(sample))
            if not objections:
                sound.append(sample)
            return objections

        tally = sift(read, remembering if options.judge else rules, None if options.judge else clean, rejected)
        if not tally.num_samples:
            why = "the file is empty" if not tally.num_rows else next(iter(tally.firsts.values()))
            raise ValueError(f"--check {options.check}: of {tally.num_rows} rows none could be read ({why})")
        print_tally(options.check, tally)
        if options.judge:
            ask_judge(options, sound, rules, clean, rejected)
    return 0


def ask_judge(
    options: argparse.Namespace, sound: Sequence[Sample], rules: Judge, clean: TextIO | None, rejected: TextIO | None
) -> None:
    """Puts what the rules let pass to the model and prints what became of it. Verdicts are kept beside the output, so
    that the same command goes on where a killed one has stopped."""
    served = EndpointSettings(base_url=options.judge, model=options.judge_model, key_env=options.judge_key_env)
    output = options.out or options.rejected
    journal = str(output.with_name(f"{output.name}.verdicts.jsonl")) if output else ""
    log = Log()
    with endpoint(served, log) as model:
        judged = judge_all(sound, model, JudgeSettings(votes=options.votes, journal=journal), log)
    given = {sample.id: sample for sample in sound}
    counts = Counter(judged.counts)
    for sample in judged.kept:
        objections = rules(sample) if sample != given[sample.id] else []
        if objections:
            counts["a regenerated reference that breaks a rule"] += 1
            write_row(rejected, sample, [(objection.reason, objection.detail) for objection in objections])
        else:
            write_row(clean, sample, [])
    for sample, reason in judged.rejected:
        write_row(rejected, sample, [("judge", reason)])
    print(f"judged by {model.name}: {len(sound)} samples")
    for reason, count in counts.most_common():
        print(f"  {count:6}  {reason}")


def write_row(out: TextIO | None, sample: Sample, reasons: Sequence[tuple[str, str]]) -> None:
    if out is not None:
        told = {"reasons": [{"reason": reason, "detail": detail} for reason, detail in reasons]} if reasons else {}
        out.write(line_of(row_of(sample, **told)))


def judge(grounding: bool) -> Judge:
    """All rules, then the verifier of a run."""
    world = build.world(Recipe.load())
    dialects = tuple(build.DIALECTS.values())

    def judged(sample: Sample) -> list[Objection]:
        objections = check(sample, dialects)
        if grounding and (unsaid := ungrounded(sample)):
            objections.append(Objection(UNGROUNDED, unsaid[0]))
        if not objections and world.judge(sample, build.reference_turn(sample)).value < 1.0:
            why = world.explain(sample, build.reference_turn(sample))
            objections.append(Objection("fails_verification", why))
        return objections

    return judged


def print_tally(source: str, tally: Tally) -> None:
    num_bad = tally.num_samples - tally.num_sound
    share = num_bad / tally.num_samples
    print(f"{source}: {tally.num_rows} rows, {tally.num_samples} samples, {num_bad} rejected ({share:.1%})")
    for reason, count in tally.reasons.most_common():
        print(f"  {count:6}  {reason:28}  {tally.firsts[reason]}")


if __name__ == "__main__":
    sys.exit(main())

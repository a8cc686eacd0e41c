"""Tools in, training data out; and checks of tool-calling data by rules, whoever made it.

python scripts/synthesize.py --tools my_tools.py --out my_data.jsonl -n 5000 [--seed 0]
python scripts/synthesize.py --tools my_tools.py --out my_data.jsonl -n 1000 --complexity RUN_OR_RECIPE [--rounds 3]
python scripts/synthesize.py --check data.jsonl [--out clean.jsonl] [--rejected rejected.jsonl] [--judge MODEL]

Tools are read from a Python file, JSON, OpenAPI 3 or a tools/list of MCP; without --tools, our own of 40 domains are
taken. No model is asked for words unless --teacher names one, which says in its own words what rules have planned,
or plays it. The same command goes on where a killed one has stopped. With --complexity,
dialogues that this policy solves already, or would not even after some tuning, are made harder or simpler in rounds.
--check reads any form that `data.form` knows, counts broken rules, and keeps rejected samples aside with their reasons.
With --judge, what the rules let pass is then put to a model, behind an OpenAI-compatible server or in this process;
references it finds wrong are written anew, and pass the rules once more.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from checking import check_data, judge

from iterft import Recipe, build
from iterft.augment.pool import bare
from iterft.data import AUTO, collector_paused, load_samples
from iterft.evals import bfcl
from iterft.learner import learner_of
from iterft.log import Log
from iterft.protocols import ChatModel
from iterft.readers.forms import FORMS
from iterft.recipe import endpoint_settings
from iterft.surroundings import quieten_libraries, unwritable
from iterft.synth.backend import RULES, Backend
from iterft.synth.catalog import ToolSpec
from iterft.synth.evolve import evolve
from iterft.synth.held_wordings import part_wordings
from iterft.synth.leaks import Evaluation, evaluation_of
from iterft.synth.pipeline import Order
from iterft.synth.rows import claimed
from iterft.synth.run import Guidance, Written, write_samples
from iterft.synth.shares import SHARES, shares_of
from iterft.synth.spoken import SpokenTool
from iterft.synth.stock import Stock, built_in_tools, definition_of, spoken_of, stock_of
from iterft.synth.teacher.answers import Answers, answers_of
from iterft.synth.teacher.assistant import Matches
from iterft.synth.teacher.play import play_backend
from iterft.synth.teacher.tools import coverage, grown_tree, write_tools
from iterft.synth.teacher.tree import pieces_of, tree_of_tools
from iterft.synth.teacher.words import words_backend
from iterft.toolsets.forms import load_toolset, refusal_of
from iterft.toolsets.parts import Definition
from iterft.types import Sample, Turn

BFCL = "bfcl"
WORDS, DIALOGUES, NOTHING = "words", "dialogues", "nothing"
TEACHER_TOKENS = 2048
"""Of an answer: several wordings, or a definition, at once."""
NAMES_SHOWN = 20
OUTPUTS = ("out", "held_out", "held_out_wordings", "rejected")
CHECKING = {"form", "grounding", "rejected", "judge", "judge_model", "judge_key_env"}
EITHER_WAY = {"check", "out", "against", "votes", "endpoint"}
"""Options of --check alone, and those that are used with it and without; all others are for making samples."""

NEEDED_TO_CHECK = {"judge": ("judge_model", "judge_key_env", "endpoint", "votes")}
NEEDED_TO_MAKE = {
    "teacher": ("teacher_model", "teacher_key_env", "teacher_does", "teacher_tools", "endpoint", "votes"),
    "teacher_tools": ("documents",),
    "complexity": ("rounds", "probe"),
}
"""Options without which others say nothing."""


@dataclass(frozen=True)
class Part:
    """A file of samples: how many, of what, from which seed. `tools`: what all are shown with --whole-list."""

    out: Path
    num_samples: int
    stock: Stock
    tools: Sequence[ToolSpec]
    seed: int


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
    parser.add_argument(
        "--held-out-wordings", type=Path, metavar="FILE", help="samples of the same tools in words --out never has"
    )
    parser.add_argument(
        "--held-out-share", type=float, default=0.2, help="of the tools, or of their wordings, and of the samples"
    )
    parser.add_argument(
        "--share",
        metavar="KIND=SHARE",
        action="append",
        default=[],
        help=f"of the samples, by kind of dialogue ({', '.join(SHARES)}); may be given again, the others part the rest",
    )
    parser.add_argument(
        "--alone-share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of the dialogues: they show the tools that they need and no others, or a single one where none fits",
    )
    parser.add_argument("--whole-list", action="store_true", help="show all your tools, in one order, in every sample")
    parser.add_argument(
        "--teacher",
        metavar="MODEL",
        help="say it in the words of a model: a server (http://HOST:PORT/v1), or here a run folder's or a recipe's",
    )
    parser.add_argument("--teacher-model", default="", metavar="NAME", help="which of its models, if it serves several")
    parser.add_argument(
        "--teacher-does",
        default=WORDS,
        choices=[WORDS, DIALOGUES, NOTHING],
        help="words: it says what rules have planned (default); dialogues: it plays user, assistant and tools",
    )
    parser.add_argument("--teacher-tools", type=int, default=0, metavar="N", help="it writes so many more tools first")
    parser.add_argument(
        "--documents",
        nargs="+",
        type=Path,
        default=[],
        metavar="PATH",
        help="files and folders that they are about",
    )
    parser.add_argument("--teacher-key-env", default="", metavar="NAME", help="as --judge-key-env")
    parser.add_argument(
        "--against",
        nargs="+",
        default=[],
        metavar="DATA",
        help="evaluation data, 'bfcl' or files: nothing is made, or passes --check, that shares 8 words in a row or a "
        "tool's name with it",
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
    parser.add_argument(
        "--judge",
        metavar="MODEL",
        help="--check: ask a model too: a server (http://HOST:PORT/v1), or here a run folder's or a recipe's",
    )
    parser.add_argument("--judge-model", default="", metavar="NAME", help="which of its models, if it serves several")
    parser.add_argument(
        "--judge-key-env", default="", metavar="NAME", help="environment variable with the server's key"
    )
    parser.add_argument(
        "--endpoint",
        metavar="key=value",
        action="append",
        default=[],
        help="a setting of the teacher's or the judge's server: timeout_s, concurrency, max_tokens, ... "
        "(EndpointSettings in iterft/config.py); may be given again",
    )
    parser.add_argument(
        "--votes",
        type=int,
        default=3,
        help="of a judge on each question, at most; of a teacher on each decision",
    )
    options = parser.parse_args()
    try:
        check_options(options, parser)
        # Models leave cycles that hold much memory: where one runs, the collector has to.
        has_model = options.complexity or options.teacher or options.judge
        with outputs_claimed(options), nullcontext() if has_model else collector_paused():
            return check_data(options, evaluation_data(options.against)) if options.check else make_data(options)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(unwritable(error, options.out), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        goes_on = "nothing was written" if options.check else "the same command goes on from here"
        print(f"\ninterrupted; {goes_on}", file=sys.stderr)
        return 130


def check_options(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """ValueError for files that cannot be written, or that are two things at once, and for options that would be passed
    over in silence: those of the script's other use, and those that say nothing without another."""
    passed_over = set(vars(options)) - EITHER_WAY - CHECKING if options.check else CHECKING
    for name in sorted(passed_over):
        if getattr(options, name) != parser.get_default(name):
            use = "when samples are made, not with --check" if options.check else "with --check"
            raise ValueError(f"{option_of(name)}: is used {use}; leave it out")
    for needed, names in (NEEDED_TO_CHECK if options.check else NEEDED_TO_MAKE).items():
        for name in names:
            if getattr(options, name) != parser.get_default(name) and not getattr(options, needed):
                raise ValueError(f"{option_of(name)}: needs {option_of(needed)}; add it, or leave this out")
    read = [*options.against, *([options.check] if options.check else [])]
    taken = {Path(source).resolve(): f"what is read ({source})" for source in read if Path(source).is_file()}
    for name in ("tools", *OUTPUTS):
        if (path := getattr(options, name)) is None:
            continue
        option = option_of(name)
        if name != "tools" and path.is_dir():
            raise ValueError(f"{option} {path}: is a folder; give a file")
        if other := taken.get(path.resolve()):
            raise ValueError(f"{option} {path}: is the same file as {other}; give another")
        taken[path.resolve()] = option


def option_of(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@contextmanager
def outputs_claimed(options: argparse.Namespace) -> Iterator[None]:
    """ValueError when another process writes one of the files."""
    with ExitStack() as claims:
        for name in OUTPUTS:
            if path := getattr(options, name):
                claims.enter_context(claimed(option_of(name), path))
        yield


def make_data(options: argparse.Namespace) -> int:
    """1 when fewer samples could be made than asked for. ValueError when the tools cannot be used."""
    if options.out is None:
        raise ValueError("--out: missing; say where the samples go")
    if options.num < 1:
        raise ValueError(f"--num {options.num}: must be at least 1")
    if options.evolve < 0:
        raise ValueError(f"--evolve {options.evolve}: must be at least 0")
    if not 0 < options.held_out_share < 1:
        raise ValueError(f"--held-out-share {options.held_out_share}: must lie between 0 and 1")
    for name in ("rounds", "probe"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} {getattr(options, name)}: must be at least 1")
    if options.whole_list and (options.evolve or not options.tools):
        raise ValueError("--whole-list: is for --tools that are all shown at once, without --evolve; leave it out")
    shares_of(options.share)
    if not 0 <= options.alone_share <= 1:
        raise ValueError(f"--alone-share {options.alone_share}: must lie from 0 to 1")
    if options.alone_share and options.whole_list:
        raise ValueError("--alone-share: with --whole-list all tools are shown; leave one of them out")
    check_teacher(options)
    evaluation = evaluation_data(options.against)
    with teacher_of(options) as model:
        parts = parts_of(options, spoken_tools(options, model, evaluation), evaluation)
        return write_parts(parts, options, evaluation, model)


def write_parts(
    parts: Sequence[Part], options: argparse.Namespace, evaluation: Evaluation, model: ChatModel | None
) -> int:
    """1 when one of the files has fewer samples than it should."""
    learner = None
    if options.complexity:
        quieten_libraries()
        learner = learner_of(options.complexity, Log())
    if learner and learner.world.dialect.thinks and not options.thinking:
        raise ValueError(
            f"--complexity {options.complexity}: its recipe asks for a think part before each turn (model.think); "
            "add --thinking"
        )
    guidance = Guidance(learner, options.rounds, options.probe) if learner else None
    is_short = False
    asked: list[str] = []
    for part in parts:
        # Held-out samples measure a policy: they are not made to suit one.
        is_guided = part.out == options.out
        written = write_part(part, options, evaluation, asked, guidance if is_guided else None, model)
        asked += written.asked
        is_short |= len(written.rows) < part.num_samples
    for part in parts:
        answers_of(part.out).unlink(missing_ok=True)
    return int(is_short)


def parts_of(options: argparse.Namespace, tools: Sequence[SpokenTool], evaluation: Evaluation) -> list[Part]:
    """What goes to --out first, then what is held out. Prints which tools are held out, or have too few wordings."""
    num_held_out = round(options.held_out_share * options.num)
    held_out = []
    barred = evaluation.names
    if options.held_out:
        tools, others = split_tools(tools, options.held_out_share, options.seed)
        print(f"{options.out} shows none of {options.held_out}'s {len(others)} tools: {names_of(others)}")
        other_stock = stock_of(others, evaluation.names)
        held_out.append(Part(options.held_out, num_held_out, other_stock, other_stock.asked.tools, options.seed))
        barred |= {bare(tool.spec.name) for tool in others}  # built-in ones would else be shown beside those of --out
    stock = stock_of(tools, barred)
    whole = Part(options.out, options.num, stock, stock.asked.tools, options.seed)
    if options.held_out_wordings:
        parted = part_wordings(stock, options.held_out_share, options.seed)
        if parted.left_out:
            print(f"{options.held_out_wordings} asks for no tool of too few wordings: {', '.join(parted.left_out)}")
        # Another seed, or the dialogues would pair off with those of --out: other words, the same values.
        held_out.append(Part(options.held_out_wordings, num_held_out, parted.held_out, whole.tools, options.seed + 1))
        whole = replace(whole, stock=parted.train)
    num_left = options.num - num_held_out * len(held_out)
    if num_left < 1:
        raise ValueError(f"--held-out-share {options.held_out_share}: leaves nothing for --out; give a smaller one")
    return [replace(whole, num_samples=num_left), *held_out]


def evaluation_data(sources: Sequence[str]) -> Evaluation:
    """Prints what was read of each file. ValueError for one of which nothing can be."""
    samples: list[Sample] = []
    for source in sources:
        if source == BFCL:
            samples += [sample for category in bfcl.CATEGORIES for sample in bfcl.load(category)]
        else:
            loaded = load_samples(source, "--against", 1.0)
            told = "".join(f", {count} left out: {reason}" for reason, count in loaded.dropped.items())
            if not loaded.samples:
                raise ValueError(
                    f"--against {source}: none of {loaded.num_rows} rows could be read{told}; give another"
                )
            print(f"--against {source}: {len(loaded.samples)} samples of {loaded.num_rows} rows{told}")
            samples += loaded.samples
    return evaluation_of(samples)


def spoken_tools(options: argparse.Namespace, model: ChatModel | None, evaluation: Evaluation) -> list[SpokenTool]:
    """The tools to ask for. Prints what was read and left out."""
    if options.tools:
        toolset = load_toolset(options.tools, skip_refused=options.skip_refused)
        made, faults = worded(toolset.definitions, None if options.skip_refused else options.tools)
        faults = [*map(str, toolset.refusals), *faults]
        print(f"{options.tools}: {len(made)} tools read as {toolset.form}, {len(faults)} left out")
        for fault in faults:
            print(f"  left out: {fault}")
        if not made:
            raise ValueError(f"--tools {options.tools}: it holds no tool that can be used; see above")
    else:
        made = built_in_tools()
    leaked = [tool.spec.name for tool in made if bare(tool.spec.name) in evaluation.names]
    if leaked:
        print(f"{len(leaked)} tools are left out, as evaluation data has their names: {', '.join(leaked)}")
    made = [tool for tool in made if tool.spec.name not in leaked]
    if not made:
        raise ValueError("--against: evaluation data has the names of all tools; rename them")
    if model is not None and options.teacher_tools:
        written = tools_of_teacher(options, model, made, evaluation)
        made = written if options.documents and not options.tools else made + written
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


def tools_of_teacher(
    options: argparse.Namespace, model: ChatModel, tools: Sequence[SpokenTool], evaluation: Evaluation
) -> list[SpokenTool]:
    """Tools that the teacher writes. Prints how many each domain has, and what was dropped. ValueError for none."""
    answers = Answers(model, answers_of(options.out))
    dropped: Counter[str] = Counter()
    definitions = [definition_of(tool) for tool in tools]
    if options.documents:
        tree = grown_tree(pieces_of(options.documents), answers, dropped)
    else:
        tree = tree_of_tools(definitions)
    written = write_tools(tree, definitions, options.teacher_tools, options.seed, answers, evaluation.names)
    dropped += written.dropped
    counts = coverage(tree, written.tools)
    print(f"{len(written.tools)} of {options.teacher_tools} tools written by {model.name}, in ", end="")
    print(f"{sum(count > 0 for count in counts.values())} of {len(tree)} domains:")
    for domain, count in sorted(counts.items(), key=lambda pair: -pair[1]):
        print(f"  {count:6}  {domain}: {len(tree[domain])} functionalities")
    for reason, count in dropped.most_common():
        print(f"  {count:6}  dropped: {reason}")
    if not written.tools:
        raise ValueError("--teacher-tools: the teacher wrote none that can be used; see above")
    return list(written.tools)


def worded(definitions: Sequence[Definition], path: Path | None) -> tuple[list[SpokenTool], list[str]]:
    """The tools, and why others cannot be put into words; ValueError for these where `path` says which file they are
    of, None leaves them out."""
    made, faults = [], []
    for definition in definitions:
        try:
            made.append(spoken_of(definition))
        except ValueError as error:
            faults.append(str(error))
    if faults and path is not None:
        raise ValueError(refusal_of(path, faults, len(definitions)))
    return made, faults


def split_tools(tools: Sequence[SpokenTool], share: float, seed: int) -> tuple[list[SpokenTool], list[SpokenTool]]:
    """(train, held out): an evolved tool goes with its origin. ValueError when one of them would be empty."""
    origins = sorted({tool.origin for tool in tools})
    held = set(Random(f"split {seed}").sample(origins, round(share * len(origins))))
    parts = [tool for tool in tools if tool.origin not in held], [tool for tool in tools if tool.origin in held]
    if not all(parts):
        raise ValueError(f"--held-out-share {share}: of {len(origins)} tools one part would get none; give more tools")
    return parts


def names_of(tools: Sequence[SpokenTool]) -> str:
    """In the order given, the first `NAMES_SHOWN` of them."""
    rest = f", and {len(tools) - NAMES_SHOWN} more" if len(tools) > NAMES_SHOWN else ""
    return ", ".join(tool.spec.name for tool in tools[:NAMES_SHOWN]) + rest


def write_part(
    part: Part,
    options: argparse.Namespace,
    evaluation: Evaluation,
    earlier: Sequence[str],
    guidance: Guidance | None,
    model: ChatModel | None,
) -> Written:
    """Makes the samples, writes them and their overview, and prints what came of it. `earlier`: what the files before
    it ask. `guidance`: what they are to suit."""
    order = Order(
        part.num_samples,
        part.seed,
        part.out.stem,
        options.thinking,
        evaluation.runs,
        judge(grounding=False),
        backend_of(options, model, part.out),
        part.tools if options.whole_list else (),
        shares_of(options.share),
        options.alone_share,
    )
    written = write_samples(part.stock, order, part.out, Log(), earlier, guidance)
    num_made = len(written.rows)
    print(written.overview.split("\n\n")[0])
    for kind in sorted(written.progress.given_up):
        why = "these tools allow no more that are new"
        if kind == "dependent" and not part.stock.links:
            why = "what one of these tools returns is no required argument of another"
        print(f"  {kind}: given up, {why}; the others make up for it")
    print(f"{part.out}: {num_made} samples, all pass the verifier; ", end="")
    print(f"{written.rate:,.0f} per second; counts in {written.summary}")
    if num_made < part.num_samples:
        print(f"  {part.num_samples - num_made} fewer than asked for: nothing new came; give more tools or --evolve N")
    return written


def check_teacher(options: argparse.Namespace) -> None:
    """ValueError for a teacher where rules alone can do it."""
    if options.complexity and options.teacher and options.teacher_does != NOTHING:
        raise ValueError("--complexity: remakes dialogues by rules; without --teacher, or with --teacher-does nothing")


@contextmanager
def teacher_of(options: argparse.Namespace) -> Iterator[ChatModel | None]:
    """The model behind --teacher, None without."""
    if not options.teacher:
        yield None
        return
    own = {"model": options.teacher_model, "key_env": options.teacher_key_env, "max_tokens": TEACHER_TOKENS}
    settings = endpoint_settings(options.endpoint, **own)
    with build.chat_model(options.teacher, settings, Log()) as model:
        yield model


def backend_of(options: argparse.Namespace, model: ChatModel | None, out: Path) -> Backend:
    """Who tells the dialogues. Answers of a teacher are kept beside the output."""
    if model is None or options.teacher_does == NOTHING:
        return RULES
    answers = Answers(model, answers_of(out))
    if options.teacher_does == DIALOGUES:
        return play_backend(answers, matches(), options.votes)
    return words_backend(answers, matches())


def matches() -> Matches:
    """The verifier of a run, asked about calls."""
    world = build.world(Recipe.load())
    return lambda sample, calls: world.judge(sample, Turn("", tuple(calls))).value == 1.0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # how schedulers stop a job: as Ctrl-C does
    sys.exit(main())

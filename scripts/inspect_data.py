"""What a file (or hub data set) of tool-calling data holds, before anything is trained on it.

Prints the form found, rows read and dropped by reason, samples by kind and by source x tier, references that cannot
be learnt, a histogram of prompt lengths, the overlap with BFCL's questions and tools (which must never be trained on),
and a few samples in full. Lengths are tokens of the recipe's model with --recipe, else estimated as characters / 4.

python scripts/inspect_data.py my.jsonl [--form toolace] [--recipe smollm2-135m] [--show 5]
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence

from iterft import Recipe, build
from iterft.augment.pool import bare
from iterft.chat import plain_messages
from iterft.config import DataSettings
from iterft.data import AUTO, Loaded, kind_of, load_samples
from iterft.evals import bfcl
from iterft.log import Log
from iterft.readers.forms import FORMS
from iterft.readers.parts import NO_TOOLS
from iterft.recipe import DEFAULT_RECIPE
from iterft.rollout import reference_calls
from iterft.surroundings import quieten_libraries
from iterft.synth.leaks import NUM_WORDS, evaluation_of, overlap
from iterft.types import Message, Sample
from iterft.warmup import tier_table

CHARACTERS_PER_TOKEN = 4
MAX_SHOWN = 1500


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a file, or hub:OWNER/NAME")
    parser.add_argument("--form", default=AUTO, choices=[AUTO, *FORMS])
    parser.add_argument("--recipe", help="count with the tokenizer of this recipe's model, fetched if need be")
    parser.add_argument("--show", type=int, default=5, help="samples shown in full, evenly spaced")
    options = parser.parse_args()
    try:
        inspect(options.source, options.form, options.recipe, options.show)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def inspect(source: str, form: str, recipe_name: str | None, num_shown: int) -> None:
    """ValueError when the source, the recipe or its model cannot be read, or no row can."""
    recipe = Recipe.load(recipe_name or DEFAULT_RECIPE)
    loaded = load_samples(source, "FILE", 1.0, form)
    print_rows(source, loaded)
    if not loaded.samples:
        raise ValueError(f"FILE {source}: of {loaded.num_rows} rows none could be read; give --form or another file")
    print_kinds(loaded.samples)
    print_references(recipe, loaded.samples)
    print("\ntiers by source")
    for name, tiers in tier_table(loaded.samples, recipe.warmup.tiers).items():
        print(f"  {name or 'no source':24}" + "".join(f"{tier} {count:<8}" for tier, count in tiers.items()))
    print_lengths(recipe, loaded.samples, counted=recipe_name is not None)
    print_overlap(loaded.samples)
    for sample in loaded.samples[:: max(1, len(loaded.samples) // max(1, num_shown))][:num_shown]:
        print_sample(sample)


def print_rows(source: str, loaded: Loaded) -> None:
    num_dropped = sum(loaded.dropped.values())
    print(f"{source}: form {loaded.form}, {loaded.num_rows} rows, {loaded.num_rows - num_dropped} read, ", end="")
    print(f"{num_dropped} dropped")
    for reason, count in sorted(loaded.dropped.items(), key=lambda item: -item[1]):
        print(f"  {count:6}  {reason}")
    allowed = DataSettings().max_unreadable_share * loaded.num_rows
    if num_dropped - loaded.dropped.get(NO_TOOLS, 0) > allowed:
        print(f"  more than the default of data.max_unreadable_share allows ({allowed:.0f}): a run would stop")


def print_kinds(samples: Sequence[Sample]) -> None:
    num_later = sum(any(message["role"] == "assistant" for message in sample.prompt.messages) for sample in samples)
    print(f"\n{len(samples)} samples, {num_later} of them with turns of the assistant before")
    for kind, count in Counter(map(kind_of, samples)).most_common():
        print(f"  {count:6}  {count / len(samples):6.1%}  {kind}")


def print_references(recipe: Recipe, samples: Sequence[Sample]) -> None:
    """What a run would drop from its train samples, by reason."""
    world = build.world(recipe)
    failed: Counter[str] = Counter()
    for sample in samples:
        if fault := build.reference_fault(world, sample, is_learnt=True):
            failed[f"{fault} ({sample.source})"] += 1
    print(f"\n{failed.total()} references fail their own verification or cannot be learnt")
    for reason, count in failed.most_common():
        print(f"  {count:6}  {reason}")


def print_lengths(recipe: Recipe, samples: Sequence[Sample], counted: bool) -> None:
    """A histogram whose bins double, of the prompts that the recipe's dialect can write."""
    measure = token_counter(recipe) if counted else characters(recipe)
    dialect = build.dialect(recipe)
    writable = [sample for sample in samples if build.is_writable(dialect, sample, with_reference=False)]
    lengths, refused = [], Counter[str]()
    for sample in writable:
        try:
            lengths.append(measure(sample))
        except ValueError as error:  # of the chat template
            refused[str(error)] += 1
    unit = (
        f"tokens of {recipe.name}'s model" if counted else f"tokens, estimated as characters / {CHARACTERS_PER_TOKEN}"
    )
    num_long = sum(length > recipe.data.max_prompt_tokens for length in lengths)
    print(f"\nprompt lengths in {unit}; {num_long} above data.max_prompt_tokens={recipe.data.max_prompt_tokens}")
    bins = Counter(max(64, 1 << (length - 1).bit_length()) for length in lengths)
    for reason, count in refused.most_common():
        print(f"  {count:6}  not counted: {reason}")
    for top in sorted(bins):
        print(f"  up to {top:6}  {bins[top]:6}  {'#' * round(60 * bins[top] / max(bins.values()))}")


def token_counter(recipe: Recipe) -> Callable[[Sample], int]:
    from iterft.models import load_tokenizer, resolve
    from iterft.template import choose_template
    from iterft.tokens import render_prompt

    quieten_libraries()
    tokenizer = load_tokenizer(resolve(recipe.model, Log()))
    template = choose_template(tokenizer, build.dialect(recipe), recipe.model, Log(quiet=True))
    return lambda sample: len(render_prompt(template, sample.prompt))


def characters(recipe: Recipe) -> Callable[[Sample], int]:
    dialect = build.dialect(recipe)

    def estimate(sample: Sample) -> int:
        messages = plain_messages(dialect, sample.prompt)
        return sum(len(message["content"]) for message in messages) // CHARACTERS_PER_TOKEN

    return estimate


def print_overlap(samples: Sequence[Sample]) -> None:
    try:
        questions = [sample for name in bfcl.CATEGORIES for sample in bfcl.load(name)]
    except ValueError as error:
        print(f"\noverlap with BFCL: skipped, {error}")
        return
    evaluation = evaluation_of(questions)
    hits = {sample.id: runs for sample in samples if (runs := overlap(sample, evaluation.runs))}
    print(f"\noverlap with BFCL: {len(hits)} samples share {NUM_WORDS} words in a row with one of its questions")
    for name, run in list(hits.items())[:5]:
        print(f"  {name}: {run}")
    shown = {tool["name"] for sample in samples for tool in sample.prompt.tools}
    known = sorted(name for name in shown if bare(name) in evaluation.names)
    print(f"  {len(known)} of {len(shown)} names of tools occur there: {', '.join(known[:10]) or 'none'}")


def print_sample(sample: Sample) -> None:
    print(f"\n[{kind_of(sample)}] {sample.id}   tools: {', '.join(tool['name'] for tool in sample.prompt.tools)}")
    for message in sample.prompt.messages:
        print_message(message)
    for call in reference_calls(sample):
        print(f"  -> {call.name}({json.dumps(call.arguments, ensure_ascii=False)})")
    if not sample.answer:
        print(textwrap.indent(sample.text or "(no call, no text)", "  => "))


def print_message(message: Message) -> None:
    content = message.get("content") or ""
    shown = content if len(content) <= MAX_SHOWN else f"{content[:MAX_SHOWN]} ... ({len(content)} characters)"
    print(f"  {message['role']}: " + textwrap.indent(shown, "    ").lstrip())
    for call in message.get("tool_calls") or ():
        print(f"    calls {call['name']}({json.dumps(call['arguments'], ensure_ascii=False)})")


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a traceback
    sys.exit(main())

"""Asks a run's checkpoint: a request and tools in, the calls it makes out. Nothing is executed here.

python -m iterft.ask RUN --tools my_tools.py "Is the shop open on Friday?"

prints one call a line, as JSON, or the words of a turn that calls nothing. `python -m iterft.ask --help`. Importing
this module loads no torch.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from iterft.log import Log
from iterft.protocols import PolicyFailure
from iterft.surroundings import quieten_libraries
from iterft.types import Message, Prompt, Tool, Turn

if TYPE_CHECKING:
    from iterft.chat import Dialect
    from iterft.protocols import Policy

Ask = Callable[[str | Sequence[Message]], Turn]
"""What a user asks, or all messages so far in OpenAI's form, -> the policy's turn."""


@contextmanager
def asking(run: Path, tools: Path, *, iteration: int | None = None, skip_refused: bool = False) -> Iterator[Ask]:
    """Brings a checkpoint of a run folder up, that of the last finished iteration or of `iteration`. `tools`: a file of
    any form that `scripts/synthesize.py` reads. ValueError when the run or, unless they are skipped, one of the tools
    cannot be used."""
    from iterft import build
    from iterft.store import finished_checkpoint
    from iterft.toolsets.forms import load_toolset

    quieten_libraries()
    recipe, _, checkpoint = finished_checkpoint(run, iteration)
    recipe = recipe.unevaluated
    build.require_packages(recipe)
    shown = [definition.tool for definition in load_toolset(tools, skip_refused=skip_refused).definitions]
    log, dialect = Log(quiet=True), build.dialect(recipe)
    base, template = build.base_and_template(recipe, log)
    serve = build.serve(recipe, base, template, log, constrained=recipe.eval.constrained)
    with serve(checkpoint) as policy:
        yield lambda asked: take_turn(policy, dialect, shown, asked)


def take_turn(policy: Policy, dialect: Dialect, tools: Sequence[Tool], asked: str | Sequence[Message]) -> Turn:
    """The policy's greedy turn. ValueError for messages that cannot be read, or that say nothing to answer."""
    from iterft.readers.forms import read_prompt
    from iterft.rollout import read_turn

    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    prompt = policy.render(Prompt(read_prompt(messages), tuple(tools)))
    ((completion,),) = policy.sample([prompt], [1], 0.0, [0])
    return read_turn(policy, dialect, completion.ids, completion.finish_reason)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 1 for a turn that cannot be read, 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m iterft.ask", description="Ask a run's checkpoint which tool to call."
    )
    parser.add_argument("run", type=Path, help="run folder, for example runs/smollm2-135m-1")
    parser.add_argument("asked", help="what the user says")
    parser.add_argument("--tools", type=Path, required=True, metavar="FILE", help="Python, JSON, OpenAPI 3 or MCP")
    parser.add_argument("--skip-refused", action="store_true", help="leave out tools that cannot be used")
    parser.add_argument("--iteration", type=int, help="which checkpoint (default: the last finished one)")
    options = parser.parse_args(arguments)
    try:
        skips = options.skip_refused
        with asking(options.run, options.tools, iteration=options.iteration, skip_refused=skips) as ask:
            turn = ask(options.asked)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except PolicyFailure as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if turn.error:
        print(f"{turn.content}\nThis turn cannot be read: {turn.error}", file=sys.stderr)
        return 1
    for call in turn.calls:
        print(json.dumps({"name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False))
    if not turn.calls:
        print(turn.content)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A recipe's base, or the last checkpoint of a run, as a policy that data is made for: see `synth.complexity`.

It only reads the run folder. Not here: the loop's own tuning (`loop`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from iterft import build
from iterft.config import Recipe
from iterft.log import Log
from iterft.store import Store
from iterft.synth.complexity import Learner
from iterft.types import Checkpoint, Sample


def learner_of(name: str, log: Log) -> Learner:
    """`name`: a run folder, or a recipe by name or file; its warm-up settings say how it is tuned. ValueError when
    there is no such recipe, no step of the run is done, or the model cannot be had."""
    from iterft.models import load_tokenizer, resolve
    from iterft.template import choose_template

    folder = Path(name)
    known = folder / "recipe.yaml"
    is_run = known.is_file()
    recipe = Recipe.load(known if is_run else name)
    checkpoint, told = last_checkpoint(folder, recipe.iters) if is_run else (Checkpoint(None), f"the base of {name}")
    build.require_packages(recipe)
    base = resolve(recipe.model, log)
    template = choose_template(load_tokenizer(base), build.dialect(recipe), recipe.model, log)

    def tune(samples: Sequence[Sample], out: Path) -> Checkpoint:
        return build.tune(recipe, base, template, checkpoint, samples, out, log)

    return Learner(
        told,
        checkpoint,
        build.serve(recipe, base, template, log),
        build.world(recipe),
        tune,
        recipe.data.max_prompt_tokens,
    )


def last_checkpoint(folder: Path, iters: int) -> tuple[Checkpoint, str]:
    """The checkpoint of the last step that is done, the warm-up or an iteration, and how it is called."""
    store = Store(folder)
    done = [iteration for iteration in range(iters + 1) if store.is_done(iteration)]
    if not done:
        raise ValueError(f"complexity under {folder}: no step of this run is done; let it go on, or name its recipe")
    return store.checkpoint(done[-1]), f"{folder}, iteration {done[-1]}" if done[-1] else f"{folder}, warm-up"

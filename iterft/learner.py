"""A recipe's base, or the last checkpoint of a run, as a policy that data is made for: see `synth.complexity`.

It only reads the run folder. Not here: the loop's own tuning (`loop`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from iterft import build
from iterft.log import Log
from iterft.store import recipe_and_checkpoint
from iterft.synth.complexity import Learner
from iterft.types import Checkpoint, Sample


def learner_of(name: str, log: Log) -> Learner:
    """`name`: a run folder, or a recipe by name or file; its warm-up settings say how it is tuned. ValueError when
    there is no such recipe, no step of the run is done, or the model cannot be had."""
    recipe, checkpoint, told = recipe_and_checkpoint(name)
    if not recipe.warms_up:
        raise ValueError(
            f"{told}: its recipe does not warm up (warmup.epochs, warmup.num_samples), but the range of complexity is "
            "told from a short tuning by these settings; name a recipe or run that does"
        )
    recipe = recipe.unevaluated
    build.require_packages(recipe)
    base, template = build.base_and_template(recipe, log)

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

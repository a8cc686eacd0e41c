"""Merges a checkpoint into its base and saves one ordinary transformers model.

python scripts/export_model.py RUN_FOLDER OUT_FOLDER [--iteration N]
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from iterft.log import Log
from iterft.store import finished_checkpoint
from iterft.surroundings import quieten_libraries, unwritable


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder, for example runs/smollm2-135m-1")
    parser.add_argument("out", type=Path, help="folder to write; must not exist")
    parser.add_argument("--iteration", type=int, help="which checkpoint (default: the last finished one)")
    options = parser.parse_args()
    try:
        export(options.run, options.out, options.iteration)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {unwritable(error, options.out)}", file=sys.stderr)
        return 2
    return 0


def export(run: Path, out: Path, iteration: int | None) -> None:
    """ValueError when there is no such checkpoint or `out` exists."""
    from iterft import build
    from iterft.chat_template import chat_template_of
    from iterft.models import load_for_sampling

    quieten_libraries()
    recipe, chosen, checkpoint = finished_checkpoint(run, iteration)
    if out.exists():
        raise ValueError(f"{out}: exists already; give another folder")
    base, template = build.base_and_template(recipe, Log())
    # An adapter that was learnt beside 4-bit weights is merged into the full ones.
    plain = replace(recipe.model, quantization="none")
    partial = out.with_name(f"{out.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    model = load_for_sampling(base, checkpoint, plain)
    stop, known = template.tokenizer.eos_token_id, model.generation_config.eos_token_id
    others = known if isinstance(known, list) else [known]
    model.generation_config.eos_token_id = [stop, *(token for token in others if token not in (stop, None))]
    model.save_pretrained(partial)
    try:
        template.tokenizer.chat_template = chat_template_of(template)
        prompts = f"its chat template shows tools as it has learnt them, calls in the {template.dialect.name} dialect"
    except ValueError as error:
        prompts = f"its chat template does not show tools as it has learnt them: {error}"
    template.tokenizer.save_pretrained(partial)
    partial.replace(out)
    print(f"{out}: iteration {chosen} of {run}, merged\n  {prompts}")


if __name__ == "__main__":
    sys.exit(main())

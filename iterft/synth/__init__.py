"""Synthesis: samples made by programs and by models.

`tasks.generate` is the built-in source: our own tools, worded by hand. `pipeline.synthesize` makes samples of anybody's
tools by rules: `spoken` words a definition, `typed` draws values, `drafts` and `dialogues` say what is asked and what
comes of it in the `world`, `checks`, `grounding`, `near` and `leaks` say what is kept. `backend` is the seam for models
that tell what was planned, `teacher` holds them. `rounds.guide` then fits dialogues to what a policy can do:
`complexity` says how hard they are for it, `levers` why, `redraw` offers others. `run` writes the files,
`scripts/synthesize.py` runs it all.
"""

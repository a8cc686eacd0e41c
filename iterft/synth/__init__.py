"""Synthesis: samples made by programs and by models.

`tasks.generate` is the built-in source: our own tools, worded by hand. `pipeline.synthesize` makes samples of anybody's
tools by rules: `spoken` words a definition, `typed` draws values, `drafts` and `dialogues` say what is asked and what
comes of it in the `world`, `checks`, `grounding`, `near` and `leaks` say what is kept. `rounds.guide` then fits them to
what a policy can do: `complexity` says how hard they are for it, `levers` why, `redraw` offers others.
`scripts/synthesize.py` runs it.
"""

"""Synthesis: samples made by programs and by models. `tasks.generate` is the built-in source that needs no download."""

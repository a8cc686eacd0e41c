"""Definitions of tools from what a user has: one form a file, each a function from a document to definitions.

`forms.load_toolset` tells the form and is what the rest of the product calls; `parts` is what the forms read with. A
tool is read as a whole or refused with the field that is wrong. Not here: data with tools in it (`readers`), tools of
our own (`synth.catalog`).
"""

"""Readers of published tool-calling data: one form a file, each a function from a row to samples.

`forms` is the table of them; `parts`, `schema` and `conversation` are what they all read with. A row is read as a whole
or refused with a `RowFault`: one malformed turn refuses the conversation, as its other turns are then suspect, and what
is counted as read and as dropped adds up to the rows. Not here: where rows come from (`sources`).
"""

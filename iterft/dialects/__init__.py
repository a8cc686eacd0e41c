"""The dialects: one file each, every one a `chat.Dialect`; `reader` is the cursor they all read with."""

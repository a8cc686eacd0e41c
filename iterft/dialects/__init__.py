"""The dialects: one `chat.Dialect` a file; `reader` and `values` are what they all read with."""

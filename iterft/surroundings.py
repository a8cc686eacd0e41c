"""What is around a run: libraries that print, a disk and a memory that may be full, a launcher that starts many of it.

Importing this module loads no torch.
"""

from __future__ import annotations

import errno
import os

from iterft.setting_rules import first_line

FULL_OR_FORBIDDEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)


def quieten_libraries() -> None:
    """Our own bars and lines are the run's console; the libraries keep their warnings for when they matter, and the hub
    its bars for downloads."""
    import logging
    import warnings

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import datasets
    import transformers
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars

    datasets.disable_progress_bars()
    had_none = are_progress_bars_disabled()
    transformers.utils.logging.disable_progress_bar()  # of loading, and of downloads too
    if not had_none:
        enable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    for library in ("trl", "bitsandbytes"):
        logging.getLogger(library).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="peft|trl|torch")


def unwritable(error: OSError, place: object) -> str:
    """What to say of a file, or of the `place` where no file is named, that cannot be written. Raises any other
    error."""
    if error.errno not in FULL_OR_FORBIDDEN:
        raise error
    return (
        f"{error.filename or place}: cannot be written ({error.strerror}); make room or give access, and the same "
        "command goes on from here"
    )


def out_of_memory(error: Exception) -> str:
    """What to say where a model found no room. Raises any other error."""
    said = first_line(error)
    if type(error).__name__ != "OutOfMemoryError" and "can't allocate memory" not in said:
        raise error
    return (
        f"memory ran out ({said}); lower policy.max_rows, policy.kv_cache_gib, model.max_activation_tokens, "
        "warmup.batch_tokens or stage.batch_tokens, and the same command goes on from here"
    )


def refuse_many_processes() -> None:
    """ValueError below `torchrun` or `accelerate launch`: each of their processes would work in the same folder."""
    if (number := os.environ.get("WORLD_SIZE", "1")) != "1":
        raise ValueError(
            f"WORLD_SIZE: a run is one process on one accelerator, but this is one of {number}; start it without "
            "torchrun or accelerate launch (CUDA_VISIBLE_DEVICES says which accelerator)"
        )

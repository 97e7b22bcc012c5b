"""What can be wrong with a GGUF file is told in one line before anything is converted or started."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf_files
import pytest
from refusals import Place, Refusal, refused, refused_call

from emolib.models.gguf_file import read_gguf
from emolib.models.loading import load_model

Change = Callable[[Path], Any]


def case(name: str, says: list[str], prepare: Change, *, of: str = "x.gguf") -> Refusal:
    run = ["run", "--profile", "baseline_smoke", "--phase", "phase1", "--model", of]
    return Refusal(name, run, says, prepare, never=("connect", "no hub answered"))


def holds(data: bytes) -> Change:
    return lambda folder: (folder / "x.gguf").write_bytes(data)


def written(name: str = "llama", **given: Any) -> Change:
    return lambda folder: gguf_files.write(folder / "x.gguf", name, **given)


def then(prepare: Change, change: Callable[[bytearray], Any]) -> Change:
    """The file that `prepare` writes, its bytes changed."""

    def both(folder: Path) -> None:
        prepare(folder)
        data = bytearray((folder / "x.gguf").read_bytes())
        changed = change(data)
        (folder / "x.gguf").write_bytes(data if changed is None else changed)

    return both


def setting(**values: Any) -> Change:
    return written(settings={name.replace("__", "."): value for name, value in values.items()})


def without(*names: str) -> Change:
    return written(tensors=lambda found: {name: value for name, value in found.items() if name not in names})


def also(name: str, like: str) -> Change:
    return written(tensors=lambda found: {**found, name: found[like]})


def put(place: int, form: str, value: int) -> Callable[[bytearray], None]:
    return lambda data: struct.pack_into(form, data, place, value)


KINDS = [
    case("nothing there", ["GGUF", "no such file"], lambda folder: None),
    case("a typo", ["no such file", "did you mean 'x.gguf'"], written(), of="y.gguf"),
    case("empty", ["GGUF", "empty"], holds(b"")),
    case("text", ["GGUF", "text ('hello')"], holds(b"hello\n")),
    case("an archive", ["GGUF", "archive"], holds(b"PK\x03\x04" + b"\x00" * 60)),
    case("a pickle", ["GGUF", "pickle"], holds(b"\x80\x02}q\x00.")),
    case("safetensors", ["GGUF", "a safetensors file", "config.json"], holds(struct.pack("<Q", 9) + b'{"a": {}}')),
    case("a web page", ["GGUF", "web page"], holds(b"<!doctype html><html></html>")),
    case("a pointer", ["git lfs pull"], holds(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")),
    case("noise", ["GGUF", "something else"], holds(bytes(range(200, 256)) * 4)),
    case("an older file", ["GGUF", "before GGUF"], holds(b"tjgg" + b"\x00" * 60)),
    case("a folder", ["config.json", "'x.gguf'", "empty"], lambda folder: (folder / "x.gguf").mkdir()),
    case("a dead link", ["link"], lambda folder: (folder / "x.gguf").symlink_to("gone")),
    case("a pipe", ["pipe"], lambda folder: os.mkfifo(folder / "x.gguf")),
]

DAMAGED = [
    case("its first bytes alone", ["cut off"], holds(b"GGUF")),
    case("cut off in its header", ["cut off", "within its header"], then(written(), lambda data: data[:3000])),
    case(
        "bytes behind its end",
        ["added behind its end", "fetch it again"],
        then(written(), lambda data: data + b"x" * 40),
    ),
    case("a blank behind its end", ["added behind its end"], then(written(), lambda data: data + b" ")),
    case("cut off in its weights", ["cut off", "by its header"], then(written(), lambda data: data[:-200])),
    case("of the first version", ["version 1"], then(written(), put(4, "<I", 1))),
    case("of the other order of bytes", ["the other way round"], then(written(), put(4, ">I", 3))),
    case("tensors without end", ["damaged", "tensors"], then(written(), put(8, "<Q", 2**63))),
    case("settings without end", ["damaged", "settings"], then(written(), put(16, "<Q", 2**63))),
    case("a name without end", ["cut off"], then(written(), put(24, "<Q", 2**62))),
    case("an unknown kind of value", ["damaged", "kind 99"], then(written(), put(32 + 20, "<I", 99))),
]

OTHERS = [
    case("an unknown architecture", ["'mamba'", "llama", "transformers files"], written(architecture="mamba")),
    case("a control vector", ["control vectors"], written(architecture="controlvector")),
    case("an adapter", ["adapter"], setting(general__type="adapter")),
    case("an image part", ["image part"], written(architecture="clip")),
    case("a part of a model", ["one of the 3 parts", "join"], setting(split__count=3)),
    case("a vocabulary alone", ["no tensor"], written(tensors=lambda found: {})),
    case("a tensor too few", ["lacks 'blk.1.attn_q.weight'"], without("blk.1.attn_q.weight")),
    case("a layer too few", ["lacks 'blk.2.", "(one of 9 such)"], setting(llama__block_count=3)),
    case("a thousand million layers", ["lacks"], setting(llama__block_count=10**9)),
    case("a bias that is not read", ["holds 'blk.0.attn_q.bias'"], also("blk.0.attn_q.bias", "output_norm.weight")),
    case("experts", ["experts"], setting(llama__expert_count=8)),
    case("an unknown setting", ["'llama.logit_scale'", "nothing is known"], setting(llama__logit_scale=2.0)),
    case("no size", ["llama.embedding_length", "found none"], setting(llama__embedding_length=None)),
    case("a size of nothing", ["llama.attention.head_count"], setting(**{"llama__attention.head_count": 0})),
    case("half of the heads rotated", ["rope.dimension_count = 8"], setting(**{"llama__rope.dimension_count": 8})),
    case("positions stretched by YaRN", ["'yarn'"], setting(**{"llama__rope.scaling.type": "yarn"})),
    case("no tokens", ["a token for each", "found none"], setting(**{"tokenizer__ggml.tokens": None})),
    case("too few tokens", ["a token for each", "found 1"], setting(**{"tokenizer__ggml.tokens": ["a"]})),
    case("another kind of tokenizer", ["'bert'"], setting(**{"tokenizer__ggml.model": "bert"})),
    case("no scores", ["tokenizer.ggml.scores"], written("gemma3", settings={"tokenizer.ggml.scores": None})),
    case("an unknown way of splitting", ["tokenizer.ggml.pre", "'mine'"], setting(**{"tokenizer__ggml.pre": "mine"})),
    case("no way of splitting", ["tokenizer.ggml.pre", "found nothing"], setting(**{"tokenizer__ggml.pre": None})),
]


def called(name: str) -> Change:
    """A whole GGUF file under that name."""
    return lambda folder: gguf_files.write(folder / name)


NAMES = [
    case("under weights' name", ["GGUF file under another name", "'x.gguf'"], called("x.bin"), of="x.bin"),
    case("under no ending", ["GGUF file under another name", "'x.gguf'"], called("x"), of="./x"),
    case("half fetched", ["GGUF file under another name", "'x.gguf'"], called("x.gguf.part"), of="x.gguf.part"),
    case("under its kind's name", ["another name", "'x.Q4_1.gguf'"], called("x.Q4_1"), of="x.Q4_1"),
    case("a letter too few", ["did you mean 'x.gguf'"], called("x.gguf"), of="x.ggu"),
    case("a letter too few in a path", ["did you mean './x.gguf'"], called("x.gguf"), of="./x.ggu"),
    case("a letter too few in a folder", ["did you mean 'm/x.gguf'"], called("m/x.gguf"), of="m/x.ggu"),
    case("without its ending", ["did you mean './x.gguf'"], called("x.gguf"), of="./x"),
    case("without its ending here", ["did you mean 'mine.gguf'"], called("mine.gguf"), of="mine"),
    case("without its ending in a folder", ["'m' here holds 'x.gguf'"], called("m/x.gguf"), of="m/x"),
]


def test_another_file_under_weights_name_is_no_gguf_file(place: Place) -> None:
    (place.folder / "x.bin").write_bytes(b"weights")
    says = ["file of weights other than safetensors"]
    refused_call(lambda: load_model("x.bin", device="cpu"), says, ["GGUF"])


def test_a_file_may_be_filled_up_behind_its_last_tensor(place: Place) -> None:
    gguf_files.write(place.folder / "x.gguf")
    data, last = (place.folder / "x.gguf").read_bytes(), read_gguf(place.folder / "x.gguf", "x").tensors.values()
    end = max(tensor.start + tensor.size for tensor in last)
    (place.folder / "y.gguf").write_bytes(data[:end] + b"\0" * (-end % 32))
    assert len(read_gguf(place.folder / "y.gguf", "y").tensors) == len(last)


@pytest.mark.parametrize("case", [*KINDS, *DAMAGED, *OTHERS, *NAMES], ids=lambda case: case.name)
def test_refused_before_anything_starts(place: Place, case: Refusal) -> None:
    refused(place, case)


@pytest.mark.parametrize("case", [KINDS[3], DAMAGED[2], OTHERS[0]], ids=lambda case: case.name)
def test_the_library_says_the_same(place: Place, case: Refusal) -> None:
    case.prepare(place.folder)
    refused_call(lambda: load_model("x.gguf", device="cpu"), case.says)


def test_random_weights_are_not_made_for_a_file(place: Place) -> None:
    gguf_files.write(place.folder / "x.gguf")
    refused_call(lambda: load_model("x.gguf", random_weights=True), ["random weights", "params/models"])

"""What can be wrong with a model folder is told in one line before anything is loaded or started."""

from __future__ import annotations

import json
import logging
import os
import shutil
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import Place, Refusal, refused, refused_call
from safetensors.torch import load_file, save_file
from tiny import ARCHITECTURES, byte_tokenizer, plain_network
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from emolib.base.errors import UserError
from emolib.models.loading import check_name, load_model
from emolib.models.silence import quiet
from emolib.study.run import open_run

Change = Callable[[Path], Any]
WEIGHTS, CONFIG = "model.safetensors", "config.json"
INDEX = "model.safetensors.index.json"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 268\n"


@lru_cache(maxsize=8)
def _files(architecture: str) -> dict[str, bytes]:
    """A whole model, as transformers saves it."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        network = plain_network(architecture) if architecture in ARCHITECTURES else _network(architecture)
        network.save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _network(architecture: str) -> Any:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}
    ids = {"vocab_size": 257, "pad_token_id": 256, "eos_token_id": 256, "bos_token_id": None}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **ids, **sizes))


def saved(folder: Path, architecture: str = "llama") -> Path:
    folder.mkdir(parents=True)
    for name, data in _files(architecture).items():
        (folder / name).write_bytes(data)
    return folder


def model(*changes: Change, architecture: str = "llama", at: str = "mine") -> Change:
    """Puts a model into the case's folder and changes it."""

    def prepare(folder: Path) -> None:
        made = saved(folder / at, architecture)
        for change in changes:
            change(made)

    return prepare


def setting(name: str = CONFIG, **values: Any) -> Change:
    """Changes keys of a JSON file; None removes one."""

    def change(folder: Path) -> None:
        found = json.loads((folder / name).read_text())
        kept = {key: value for key, value in {**found, **values}.items() if values.get(key, 0) is not None}
        (folder / name).write_text(json.dumps(kept))

    return change


def holds(name: str, data: str | bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def without(*names: str) -> Change:
    return lambda folder: [(folder / name).unlink() for name in names]


def renamed(before: str, after: str) -> Change:
    return lambda folder: (folder / before).rename(folder / after)


def cut(name: str, size: int) -> Change:
    return lambda folder: os.truncate(folder / name, size)


def added(name: str, data: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + data)


def tensors(of: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]) -> Change:
    def change(folder: Path) -> None:
        found = of(load_file(folder / WEIGHTS))
        save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / WEIGHTS, {"format": "pt"})

    return change


def prefixed(prefix: str) -> Change:
    return tensors(lambda found: {prefix + name: tensor for name, tensor in found.items()})


def dropped(*parts: str) -> Change:
    return tensors(lambda found: {n: tensor for n, tensor in found.items() if not any(part in n for part in parts)})


def extra(**more: Tensor) -> Change:
    return tensors(lambda found: {**found, **{name.replace("__", "."): tensor for name, tensor in more.items()}})


def altered(name: str, to: Callable[[Tensor], Tensor]) -> Change:
    return tensors(lambda found: {**found, name: to(found[name])})


def raw_safetensors(header: Any, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text)) + text + data


def split(folder: Path) -> None:
    """The weights in two files with an index."""
    found = load_file(folder / WEIGHTS)
    names = sorted(found)
    places = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: found[name] for name in part}, folder / file, {"format": "pt"})
        places.update(dict.fromkeys(part, file))
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def mapped(**places: str | None) -> Change:
    """Changes the file that an index names for a tensor."""

    def change(folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text())
        index["weight_map"].update({name.replace("__", "."): place for name, place in places.items()})
        (folder / INDEX).write_text(json.dumps(index))

    return change


def folders(*names: str) -> Change:
    return lambda folder: [(folder / name).mkdir(parents=True) for name in names]


def in_turn(*changes: Change) -> Change:
    return lambda folder: [change(folder) for change in changes]


def file(name: str, data: str = "x") -> Change:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(data)

    return change


def case(name: str, says: list[str], prepare: Change = lambda folder: None, *, of: str = "./mine") -> Refusal:
    run = ["run", "--profile", "baseline_smoke", "--phase", "phase1", "--model", of]
    return Refusal(name, run, says, prepare, never=("connect", "no hub answered"))


def pipe(name: str) -> Change:
    return lambda folder: os.mkfifo(folder / name)


def holds_text(name: str, before: str, after: str) -> Change:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert before in text, text
        (folder / name).write_text(text.replace(before, after))

    return change


def link(name: str, to: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(to)

    return change


CHECKPOINTS = in_turn(model(at="runA/checkpoint-500"), model(at="runA/checkpoint-1000"))
ADAPTER = file("mine/adapter_config.json", '{"base_model_name_or_path": "gpt2", "peft_type": "LORA"}')
TENSOR = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}

PATHS = [
    case("nothing there", ["'./mine'", "working directory"]),
    case("a typo", ["'./mnie'", "did you mean 'mine'"], model(), of="./mnie"),
    case("a typo without a dot", ["'mnie'", "did you mean 'mine'"], model(), of="mnie"),
    case(
        "a typo of a checkpoint",
        ["'chekpoint-500'", "did you mean 'checkpoint-500'"],
        CHECKPOINTS,
        of="./runA/chekpoint-500",
    ),
    case(
        "a typo with a hub id's form",
        ["runA/chekpoint-500", "'runA' here holds 'checkpoint-500'"],
        CHECKPOINTS,
        of="runA/chekpoint-500",
    ),
    case("a typo of the folder above", ["'runB'", "did you mean 'runA'"], CHECKPOINTS, of="./runB/checkpoint-500"),
    case("a folder of checkpoints", ["give one of", "'checkpoint-500'", "'checkpoint-1000'"], CHECKPOINTS, of="runA"),
    case(
        "a folder of checkpoints, with a slash",
        ["give one of 'checkpoint-500', 'checkpoint-1000'"],
        CHECKPOINTS,
        of="runA/",
    ),
    case("a home that holds nothing", ["'~/no-such-model-folder'"], of="~/no-such-model-folder"),
    case("a home of nobody", ["no such user"], of="~nobody-of-that-name/model"),
    case("backslashes", ["write it with slashes"], model(), of=".\\mine"),
    case("a drive", ["write it with slashes"], of="C:/models/mine"),
    case("a file: address", ["without file:"], of="file:///models/mine"),
    case(
        "an address of the hub",
        ["give 'openai-community/gpt2'"],
        of="https://huggingface.co/openai-community/gpt2/tree/main",
    ),
    case("nothing", ["emolib models"], of=""),
    case("blanks", ["emolib models"], of="  "),
    case("a NUL", ["expected a model folder"], of="./mi\x00ne"),
    case("a name of 5000 letters", ["expected a model folder"], of="./" + "m" * 5000),
    case("three parts", ["expected a model folder", "working directory"], of="runs/of/mine"),
    case("a hub id with a blank", ["expected a model folder"], of="some one/model"),
    case("text as a GGUF file", ["GGUF", "text ('x')"], file("llama.Q4.gguf"), of="llama.Q4.gguf"),
    case("a GGUF file that is not there", ["no such file", "GGUF"], of="models/llama.gguf"),
    case("a file of weights", ["give the folder that holds it"], model(), of="mine/model.safetensors"),
    case("the configuration", ["give the folder that holds it"], model(), of="./mine/config.json"),
    case("a checkpoint of PyTorch", ["convert"], file("model.pt"), of="model.pt"),
    case("an archive", ["unpack"], file("model.zip"), of="./model.zip"),
    case("a link to nowhere", ["link"], link("mine", "gone")),
    case("an empty folder", ["config.json", "empty"], folders("mine")),
    case("a folder of other things", ["config.json", "save_pretrained"], file("mine/notes.txt")),
    case("a folder of GGUF files", ["config.json", "give the GGUF file", "'mine/a.gguf'"], file("mine/a.gguf")),
    case("weights alone", ["config.json", "copy the config.json"], model(without(CONFIG))),
    case("a hub cache", ["give 'snapshots/0123abc'"], model(at="models--a--b/snapshots/0123abc"), of="models--a--b"),
    case("an adapter", ["adapter", "merge"], ADAPTER),
    case("an adapter beside a model", ["adapter", "merge", "if it is merged already"], in_turn(model(), ADAPTER)),
    case(
        "a folder of adapters",
        ["adapters lie in its folders", "'checkpoint-5'"],
        file("mine/checkpoint-5/adapter_config.json", "{}"),
    ),
    case(
        "the maker's own layout",
        ["maker's own layout"],
        in_turn(file("mine/params.json"), file("mine/consolidated.00.pth")),
    ),
]

CONFIGS = [
    case("broken JSON", ["config.json", "(line 1)", "fetch it again"], model(holds(CONFIG, '{"n_layer": 3,'))),
    case("empty configuration", ["config.json", "empty"], model(holds(CONFIG, " \n"))),
    case("a list", ["config.json", "an object", "[]"], model(holds(CONFIG, "[]"))),
    case("UTF-16", ["config.json", "UTF-8"], model(holds(CONFIG, '{"a": 1}'.encode("utf-16")))),
    case("nesting without end", ["config.json", "nested"], model(holds(CONFIG, '{"a":' * 100_000))),
    case(
        "a number of 5000 digits",
        ["config.json", "too many digits"],
        model(holds(CONFIG, '{"n_layer": ' + "9" * 5000 + "}")),
    ),
    case("a key twice", ["the key 'vocab_size' twice"], model(holds(CONFIG, '{"vocab_size": 3, "vocab_size": 4}'))),
    case("a configuration that is a folder", ["config.json", "folder"], model(without(CONFIG), folders(CONFIG))),
    case("a pointer for a configuration", ["config.json", "git lfs pull"], model(holds(CONFIG, POINTER))),
    case("a dead link for a configuration", ["config.json", "link"], model(link(CONFIG, "gone"))),
    case("unknown model_type", ["'llamma'", "did you mean 'llama'"], model(setting(model_type="llamma"))),
    case("no model_type", ["model_type", "such as llama"], model(setting(model_type=None))),
    case("a number as model_type", ["model_type", "got 3"], model(setting(model_type=3))),
    case(
        "code of its own", ["auto_map", "never run"], model(setting(model_type="mpt2", auto_map={"AutoConfig": "a.B"}))
    ),
    case("an encoder", ["'bert'", "reads both ways"], model(setting(model_type="bert"))),
    case("another encoder", ["'modernbert'", "causal"], model(setting(model_type="modernbert"))),
    case("an encoder with a decoder", ["'t5'", "causal"], model(setting(model_type="t5", is_encoder_decoder=True))),
    case(
        "half of an encoder with a decoder",
        ["'bart'", "causal"],
        model(setting(model_type="bart", is_encoder_decoder=True)),
    ),
    case("an image model", ["'vit'", "causal"], model(setting(model_type="vit"))),
    case(
        "quantised", ["quantization_config", "dequantize"], model(setting(quantization_config={"quant_method": "gptq"}))
    ),
    case("ten million layers", ["num_hidden_layers", "10000000"], model(setting(num_hidden_layers=10_000_000))),
    case("a trillion positions", ["max_position_embeddings"], model(setting(max_position_embeddings=10**12))),
    case("a vocabulary of two billion", ["vocab_size"], model(setting(vocab_size=2 * 10**9))),
    case(
        "no epsilon", ["rms_norm_eps", "nan"], model(holds_text(CONFIG, '"rms_norm_eps": 1e-06', '"rms_norm_eps": NaN'))
    ),
    case("a negative epsilon", ["rms_norm_eps", "-1e-06"], model(setting(rms_norm_eps=-1e-6))),
    case(
        "a rotation of nothing",
        ["rope_parameters.rope_theta", "got 0"],
        model(setting(rope_parameters={"rope_type": "default", "rope_theta": 0})),
    ),
    case(
        "an infinite rotation",
        ["rope_theta", "inf"],
        model(holds_text(CONFIG, '"rope_theta": 10000.0', '"rope_theta": Infinity')),
    ),
    case("hundreds of thousands of heads", ["num_attention_heads"], model(setting(num_attention_heads=480_000))),
    case("one list of sizes too large", ["intermediate_size"], model(setting(intermediate_size=[96, 10**9]))),
    case("a pipe for a configuration", ["config.json", "pipe"], model(without(CONFIG), pipe(CONFIG))),
    case("an architecture without hook points", ["BioGptForCausalLM", "hook points"], model(architecture="biogpt")),
    case("a thousand million labels", ["num_labels", "65,536"], model(setting(num_labels=10**9))),
    case("three million labels", ["num_labels", "3000000"], model(setting(num_labels=3_000_000))),
    case("another count without end", ["num_hops", "1,048,576"], model(setting(num_hops=10**8))),
    case("a count within a part", ["num_things"], model(setting(vision_config={"a": [{"num_things": 10**9}]}))),
    case("a number beyond all", ["whatever"], model(setting(whatever=10**15))),
    case("a window below zero", ["sliding_window", "-3"], model(setting(sliding_window=-3))),
    case(
        "positions stretched by nothing",
        ["factor", "positive"],
        model(setting(rope_parameters={"rope_type": "linear", "factor": 0, "rope_theta": 1e4})),
    ),
    case(
        "positions stretched backwards, as older files say it",
        ["rope_scaling.factor", "positive"],
        model(setting(rope_scaling={"type": "linear", "factor": -2})),
    ),
    case("a type of numbers that is none", ["dtype", "float17", "bfloat16"], model(setting(dtype="float17"))),
    case("the same in the older key", ["torch_dtype", "int4"], model(setting(torch_dtype="int4"))),
    case("labels as a list", ["id2label", "object"], model(setting(id2label=[1, 2]))),
    case("quantisation as a list", ["quantization_config", "object"], model(setting(quantization_config=[]))),
    case("outputs as tuples", ["return_dict", "true"], model(setting(return_dict=False))),
    case("no layer", ["num_hidden_layers", "got 0"], model(setting(num_hidden_layers=0))),
    case("a negative width", ["hidden_size", "got -48"], model(setting(hidden_size=-48))),
    case("layers as text", ["num_hidden_layers", "'3'", "whole number"], model(setting(num_hidden_layers="3"))),
    case("layers as a fraction", ["num_hidden_layers", "3.5"], model(setting(num_hidden_layers=3.5))),
    case("layers as a truth", ["num_hidden_layers", "True"], model(setting(num_hidden_layers=True))),
    case(
        "heads that do not divide the width", ["48", "5", "heads"], model(setting(num_attention_heads=5, head_dim=None))
    ),
    case("groups that do not divide the heads", ["num_key_value_heads", "3"], model(setting(num_key_value_heads=3))),
    case(
        "sizes in a part",
        ["text_config.num_hidden_layers", "10000000"],
        model(setting(text_config={"num_hidden_layers": 10**7})),
    ),
    case("types of too few layers", ["layer_types", "(1)"], model(setting(layer_types=["full_attention"]))),
    case("an unknown activation", ["config.json", "gelou"], model(setting(hidden_act="gelou"))),
    case("an unknown rotation", ["config.json", "spiral"], model(setting(rope_parameters={"rope_type": "spiral"}))),
    case("a text for a number", ["config.json", "rms_norm_eps"], model(setting(rms_norm_eps="small"))),
    case("broken generation settings", ["generation_config.json"], model(holds("generation_config.json", "{"))),
    case(
        "an end that is a word",
        ["eos_token_id", "'</s>'"],
        model(setting("generation_config.json", eos_token_id="</s>")),
    ),
    case(
        "an end beyond the vocabulary",
        ["eos_token_id", "50256"],
        model(setting("generation_config.json", eos_token_id=50256)),
    ),
]

FILES = [
    case("a git-LFS pointer", [WEIGHTS, "git lfs pull"], model(holds(WEIGHTS, POINTER))),
    case("an empty file", [WEIGHTS, "empty"], model(holds(WEIGHTS, b""))),
    case("five bytes", [WEIGHTS, "5 bytes"], model(holds(WEIGHTS, b"\x01\x02\x03\x04\x05"))),
    case("text", [WEIGHTS, "found text", "Entry not found"], model(holds(WEIGHTS, "Entry not found"))),
    case("a web page", [WEIGHTS, "web page"], model(holds(WEIGHTS, "<!DOCTYPE html><html>"))),
    case("cut in the header", [WEIGHTS, "cut off"], model(cut(WEIGHTS, 100))),
    case("cut in the weights", [WEIGHTS, "cut off"], model(cut(WEIGHTS, 100_000))),
    case("something behind the weights", [WEIGHTS, "added"], model(added(WEIGHTS, b"more"))),
    case("a header without end", [WEIGHTS, "header"], model(holds(WEIGHTS, b"\xff" * 64))),
    case("a header that is no JSON", [WEIGHTS, "header"], model(holds(WEIGHTS, raw_safetensors(b"{nothing")))),
    case("a header that is a list", [WEIGHTS, "header"], model(holds(WEIGHTS, raw_safetensors([1])))),
    case("no tensor", ["no tensor"], model(holds(WEIGHTS, raw_safetensors({"__metadata__": {"format": "pt"}})))),
    case(
        "an unknown number type",
        [WEIGHTS, "damaged"],
        model(holds(WEIGHTS, raw_safetensors({"a": {**TENSOR["a"], "dtype": "Q9"}}, b"8" * 8))),
    ),
    case("PyTorch under another name", [WEIGHTS, "PyTorch"], model(holds(WEIGHTS, b"PK\x03\x04" + b"\x00" * 60))),
    case("GGUF under another name", [WEIGHTS, "GGUF"], model(holds(WEIGHTS, b"GGUF" + b"\x00" * 60))),
    case("a pipe for weights", [WEIGHTS, "pipe"], model(without(WEIGHTS), pipe(WEIGHTS))),
    case(
        "a damaged place",
        [WEIGHTS, "header"],
        model(holds(WEIGHTS, raw_safetensors({"a": {**TENSOR["a"], "data_offsets": [8, 0]}}, b"8" * 8))),
    ),
    case(
        "a shape without its bytes",
        [WEIGHTS, "damaged"],
        model(holds(WEIGHTS, raw_safetensors({"a": {**TENSOR["a"], "shape": [2**62]}}, b"8" * 8))),
    ),
    case("a header announced too long", [WEIGHTS, "cut off"], model(holds(WEIGHTS, struct.pack("<Q", 2**40) + b"{}"))),
    case("a pickle under another name", [WEIGHTS, "pickle"], model(holds(WEIGHTS, b"\x80\x02}q\x00." + b"\x00" * 60))),
    case(
        "shards of PyTorch",
        ["pytorch_model-00001-of-00002.bin", "convert"],
        model(renamed(WEIGHTS, "pytorch_model-00001-of-00002.bin")),
    ),
    case(
        "weights of an adapter alone",
        ["adapter_model.safetensors", "merged"],
        model(renamed(WEIGHTS, "adapter_model.safetensors")),
    ),
    case("an index that names a pickle", [INDEX, "a.bin"], model(split, mapped(a="a.bin"))),
    case(
        "an index that names a folder",
        ["00002-of-00002", "folder"],
        model(split, without("model-00002-of-00002.safetensors"), folders("model-00002-of-00002.safetensors")),
    ),
    case(
        "half floats in bytes",
        ["U8", "quantised"],
        model(altered("model.layers.0.mlp.up_proj.weight", lambda t: t.to(torch.uint8))),
    ),
    case("a dead link", [WEIGHTS, "link"], model(link(WEIGHTS, "../../blobs/0123"))),
    case("a folder for weights", [WEIGHTS, "folder"], model(without(WEIGHTS), folders(WEIGHTS))),
    case("no weights", ["safetensors", "found none"], model(without(WEIGHTS))),
    case("pickled weights", ["pytorch_model.bin", "convert"], model(renamed(WEIGHTS, "pytorch_model.bin"))),
    case("GGUF weights", ["a.gguf", "give that file"], model(renamed(WEIGHTS, "a.gguf"))),
    case("weights of another name", ["weights.safetensors", WEIGHTS], model(renamed(WEIGHTS, "weights.safetensors"))),
    case("an unfinished download", ["unfinished"], model(renamed(WEIGHTS, WEIGHTS + ".incomplete"))),
    case("parts without an index", ["model-00001-of-00002", INDEX], model(split, without(INDEX))),
    case(
        "a missing part",
        [INDEX, "1 of them is missing", "model-00002-of-00002"],
        model(split, without("model-00002-of-00002.safetensors")),
    ),
    case(
        "a part that is a pointer",
        ["model-00002-of-00002", "git lfs pull"],
        model(split, holds("model-00002-of-00002.safetensors", POINTER)),
    ),
    case("a broken index", [INDEX, "line 1"], model(split, holds(INDEX, '{"weight_map": {'))),
    case("an index of nothing", [INDEX, "weight_map"], model(split, holds(INDEX, "{}"))),
    case("an index of lists", [INDEX, "weight_map"], model(split, holds(INDEX, '{"weight_map": {"a": ["b"]}}'))),
    case(
        "an index that leaves the folder",
        [INDEX, "same folder", "../"],
        model(split, mapped(a="../other/model.safetensors")),
    ),
    case(
        "an index of other tensors",
        [INDEX, "'lm_head.weight'", "2 such"],
        model(
            split,
            mapped(
                model__embed_tokens__weight="model-00001-of-00002.safetensors",
                lm_head__weight="model-00002-of-00002.safetensors",
            ),
        ),
    ),
    case(
        "two sets of weights",
        ["one set", INDEX],
        model(in_turn(lambda f: shutil.copy(f / WEIGHTS, f / "kept"), split, renamed("kept", WEIGHTS))),
    ),
    case(
        "weights outside the folder",
        ["transformers_weights", "../"],
        model(setting(transformers_weights="../model.safetensors")),
    ),
    case(
        "whole numbers for weights", ["I8", "quantised"], model(altered("lm_head.weight", lambda t: t.to(torch.int8)))
    ),
]

NAMES = [
    case("a layer less in the files", ["a layer 1", "model.layers.1"], model(dropped("layers.1."))),
    case("the last layer missing", ["3 layers", "the files hold 2"], model(dropped("layers.2."))),
    case("more layers in the configuration", ["5 layers", "hold 3"], model(setting(num_hidden_layers=5))),
    case("fewer layers in the configuration", ["2 layers", "hold 3"], model(setting(num_hidden_layers=2))),
    case("fewer layers, GPT-2", ["1 layer,", "hold 3"], model(setting(n_layer=1), architecture="gpt2")),
    case("no output head", ["lm_head.weight", "tie_word_embeddings"], model(dropped("lm_head"))),
    case("one tensor less", ["lack 'model.layers.0.mlp.up_proj.weight'"], model(dropped("layers.0.mlp.up_proj"))),
    case("no embedding, GPT-2", ["transformer.wte.weight"], model(dropped("wte"), architecture="gpt2")),
    case("one tensor more", ["hold 'v_head.weight'"], model(extra(v_head__weight=torch.zeros(1, 48)))),
    case(
        "biases that the configuration has not",
        ["q_proj.bias"],
        model(extra(model__layers__0__self_attn__q_proj__bias=torch.ones(48))),
    ),
    case("compiled", ["'_orig_mod.'", "take"], model(prefixed("_orig_mod."))),
    case("compiled, GPT-2", ["'_orig_mod.'", "take"], model(prefixed("_orig_mod."), architecture="gpt2")),
    case(
        "compiled layers",
        ["'_orig_mod.'"],
        model(tensors(lambda found: {n.replace("layers.0.", "layers.0._orig_mod."): t for n, t in found.items()})),
    ),
    case("in parallel", ["'module.'"], model(prefixed("module."))),
    case("from an adapter's wrapper", ["'base_model.model.'"], model(prefixed("base_model.model."))),
    case("a trainer's name", ["'student.'"], model(prefixed("student."))),
    case(
        "an adapter that was not merged",
        ["adapter", "lora_A", "merge"],
        model(extra(model__layers__0__self_attn__q_proj__lora_A__weight=torch.zeros(4, 48))),
    ),
    case("of another model", ["two models", "[257, 48]", "[300, 48]"], model(setting(vocab_size=300))),
    case("wider", ["two models", "[48, 96]", "[48, 128]"], model(setting(intermediate_size=128))),
    case("of another architecture", ["lack"], model(setting(model_type="gpt_neox"))),
    case(
        "two heads", ["ties 'lm_head.weight'", "tie_word_embeddings to false"], model(setting(tie_word_embeddings=True))
    ),
]

TOKENIZER, TEMPLATE = "tokenizer.json", "chat_template.jinja"


def token(text: str) -> Change:
    """Gives the tokenizer one token more."""

    def change(folder: Path) -> None:
        found = json.loads((folder / TOKENIZER).read_text())
        found["added_tokens"].append({**found["added_tokens"][0], "id": 257, "content": text})
        (folder / TOKENIZER).write_text(json.dumps(found))

    return change


TOKENIZERS = [
    case("no tokenizer", ["expected a tokenizer", "copy"], model(without(TOKENIZER, "tokenizer_config.json"))),
    case(
        "no tokenizer, GPT-2",
        ["expected a tokenizer", "copy"],
        model(without(TOKENIZER, "tokenizer_config.json"), architecture="gpt2"),
    ),
    case("no vocabulary", ["expected a tokenizer"], model(without(TOKENIZER), architecture="gpt2")),
    case(
        "half a vocabulary",
        ["expected a tokenizer"],
        model(without(TOKENIZER), holds("vocab.json", "{}"), architecture="gpt2"),
    ),
    case(
        "a vocabulary of nothing",
        ["tokenizer", "copy"],
        model(without(TOKENIZER), holds("vocab.json", "{}"), holds("merges.txt", ""), architecture="gpt2"),
    ),
    case("a broken tokenizer", [TOKENIZER, "line 1"], model(holds(TOKENIZER, '{"model":'))),
    case("a tokenizer of nothing", ["tokenizer", "copy"], model(holds(TOKENIZER, "{}"))),
    case("a pointer for a tokenizer", [TOKENIZER, "git lfs pull"], model(holds(TOKENIZER, POINTER))),
    case(
        "an unknown kind of tokenizer",
        ["tokenizer", "copy"],
        model(lambda f: (f / TOKENIZER).write_text((f / TOKENIZER).read_text().replace('"BPE"', '"XYZ"'))),
    ),
    case("broken tokenizer settings", ["tokenizer_config.json"], model(holds("tokenizer_config.json", "{"))),
    case(
        "tokenizer settings in a list", ["tokenizer_config.json", "object"], model(holds("tokenizer_config.json", "[]"))
    ),
    case("broken special tokens", ["special_tokens_map.json"], model(holds("special_tokens_map.json", "nothing"))),
    case(
        "a tokenizer with code of its own",
        ["tokenizer", "not run"],
        model(
            setting("tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map={"AutoTokenizer": ["a.B", None]})
        ),
    ),
    case("a token too many", ["257", "'[PAD]'", "resize_token_embeddings(258)"], model(token("[PAD]"))),
    case("a pointer for merges", ["merges.txt", "git lfs pull"], model(holds("merges.txt", POINTER))),
    case("a pointer as chat format", ["chat_template.jinja", "git lfs pull"], model(holds(TEMPLATE, POINTER))),
    case("a chat format in another encoding", ["tokenizer"], model(holds(TEMPLATE, b"\xff\xfe{{"))),
    case(
        "no end and no pad",
        ["eos_token", "tokenizer_config.json"],
        model(setting("tokenizer_config.json", eos_token=None, pad_token=None)),
    ),
]

CLASS = "tokenizer_class"
CLASSES: dict[str, tuple[Any, list[str]]] = {  # in tokenizer_config.json, and what the line says of it
    **{
        name: (name, [repr(name), "cannot be made of"])
        for name in ("BertTokenizer", "T5Tokenizer", "Wav2Vec2CTCTokenizer", "SiglipTokenizer", "TapasTokenizer")
    },
    "of laid-out pages": ("LayoutLMv2Tokenizer", ["'LayoutLMv2Tokenizer'", "cannot be made of"]),
    "of another alphabet": ("MBart50Tokenizer", ["'MBart50Tokenizer'", "makes other tokens than"]),
    "of characters": ("CanineTokenizer", ["'CanineTokenizer'", "makes other tokens than"]),
    "of bytes": ("ByT5Tokenizer", ["'ByT5Tokenizer'", "makes other tokens than"]),
    "that looks for itself": ("AutoTokenizer", ["'AutoTokenizer'", "to name a tokenizer"]),
    "a number": (7, ["got 7", "to name a tokenizer"]),
    "a list": (["GPT2Tokenizer"], ["got ['GPT2Tokenizer']", "to name a tokenizer"]),
    "an object": ({"a": 1}, ["to name a tokenizer"]),
    "a truth": (True, ["got True", "to name a tokenizer"]),
}
TOKENIZERS += [
    case(
        f"a class of tokenizers: {name}",
        [CLASS, "tokenizer_config.json", "PreTrainedTokenizerFast", *says],
        model(setting("tokenizer_config.json", tokenizer_class=value)),
    )
    for name, (value, says) in CLASSES.items()
]

CASES = [*PATHS, *CONFIGS, *FILES, *NAMES, *TOKENIZERS]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused_before_anything_starts(place: Place, case: Refusal) -> None:
    refused(place, case)


LOADING = {
    "NaN": (
        altered("model.layers.1.mlp.up_proj.weight", lambda t: t.index_fill(0, torch.tensor([3]), float("nan"))),
        {},
        ["48 of 4,608", "model.layers.1.mlp.up_proj.weight", "NaN"],
    ),
    "infinite": (altered("model.norm.weight", lambda t: t.fill_(float("inf"))), {}, ["model.norm.weight", "infinite"]),
    "infinities that cancel": (
        altered("lm_head.weight", lambda t: torch.cat([t[:1] * float("inf"), t[1:]])),
        {},
        ["lm_head.weight", "infinite"],
    ),
    "too large for float16": (
        altered("model.norm.weight", lambda t: t * 1e6),
        {"dtype": "float16"},
        ["model.norm.weight", "float16", "float32"],
    ),
}


@pytest.mark.parametrize(("change", "settings", "says"), LOADING.values(), ids=LOADING)
def test_weights_that_no_model_computes_with_are_told_when_they_are_loaded(
    tmp_path: Path, change: Change, settings: dict[str, str], says: list[str]
) -> None:
    folder = saved(tmp_path / "mine")
    change(folder)
    refused_call(lambda: load_model(str(folder), device="cpu", **settings), says)


GOOD = {
    "as saved": (),
    **{
        f"a tokenizer class that is {name!r}": (setting("tokenizer_config.json", tokenizer_class=name),)
        for name in ("PreTrainedTokenizerFast", "LlamaTokenizer", "LlamaTokenizerFast", "NotThere", "")
    },
    "in parts": (split,),
    "no tokenizer settings": (
        without("tokenizer_config.json"),
        holds("tokenizer_config.json", '{"eos_token": "<|end|>"}'),
    ),
    "no generation settings": (without("generation_config.json"),),
    "a stale index beside the weights": (holds(INDEX, '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}'),),
    "an index of the one file": (
        lambda f: (f / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(load_file(f / WEIGHTS), WEIGHTS)})),
    ),
    "angles of old files": (extra(model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(6)),),
    "a tied head stored twice": (
        setting(tie_word_embeddings=True),
        tensors(lambda found: {**found, "lm_head.weight": found["model.embed_tokens.weight"].clone()}),
    ),
    "called by its body": (setting(architectures=["LlamaModel"]),),
    "with notes": (file("README.md"), file("training_args.bin")),
    "weights in another order": (tensors(lambda found: dict(reversed(found.items()))),),
}


@pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD)
def test_whole_folders_load_with_the_weights_that_were_saved(tmp_path: Path, changes: tuple[Change, ...]) -> None:
    folder = saved(tmp_path / "mine")
    for change in changes:
        change(folder)
    lm = load_model(f"{folder}/", device="cpu")
    reference = plain_network("llama")
    if lm.network.config.tie_word_embeddings:
        reference.lm_head.weight = reference.model.embed_tokens.weight
    ids = torch.tensor([[3, 7, 11, 200]])
    with torch.inference_mode():
        found, expected = lm.network(ids).logits, reference(ids).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias"])
def test_masks_that_older_files_hold_are_no_mistake(tmp_path: Path, name: str) -> None:
    folder = saved(tmp_path / "mine", "gpt2")
    mask = torch.ones(1, 1, 256, 256) if name.endswith(".bias") else torch.tensor(-1e4)
    tensors(lambda found: {**found, name: mask})(folder)
    assert load_model(str(folder), device="cpu").n_layers == 3


def test_a_tied_head_is_not_missed(tmp_path: Path) -> None:
    folder = saved(tmp_path / "mine", "gpt2")
    assert "lm_head.weight" not in load_file(folder / WEIGHTS)
    lm = load_model(str(folder), device="cpu")
    assert torch.equal(lm.network.lm_head.weight, plain_network("gpt2").lm_head.weight)


def test_the_home_folder_may_be_written_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "models" / "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    check_name("~/models/mine")


def test_a_folder_that_changes_is_looked_at_again(tmp_path: Path) -> None:
    folder = saved(tmp_path / "mine")
    check_name(str(folder))
    setting(num_hidden_layers=7)(folder)
    with pytest.raises(UserError, match="7 layers"):
        check_name(str(folder))


def test_names_of_the_table_and_hub_ids_are_no_paths() -> None:
    for name in ("gpt2", "smollm2_135m", "openai-community/gpt2", "someone/some-model.v2"):
        check_name(name)


TWICE = {
    "an alias": ("gpt2", model(at="gpt2"), ["folder here", "gpt2_small", "'./gpt2'", "openai-community/gpt2"]),
    "a name": ("gpt2_small", model(at="gpt2_small"), ["'./gpt2_small'", "openai-community/gpt2"]),
    "the bundled one": ("smollm2_135m", model(at="smollm2_135m"), ["'./smollm2_135m'", "HuggingFaceTB/SmolLM2"]),
    "a hub id": ("openai-community/gpt2", model(at="openai-community/gpt2"), ["'./openai-community/gpt2'", "gpt2"]),
    "an adapter": ("gpt2", file("gpt2/adapter_config.json", "{}"), ["folder here", "'./gpt2'"]),
    "weights alone": ("gpt2", file("gpt2/model.gguf"), ["folder here", "'./gpt2'"]),
    "checkpoints": ("pythia-160m", model(at="pythia-160m/step1"), ["'./pythia-160m'", "EleutherAI/pythia-160m"]),
    "a link": ("gpt2", in_turn(model(), link("gpt2", "mine")), ["'./gpt2'"]),
}


@pytest.mark.parametrize(("name", "prepare", "says"), TWICE.values(), ids=TWICE)
@pytest.mark.parametrize("command", ["run", "status"])
def test_a_folder_called_like_a_model_of_the_table_is_told_from_it(
    place: Place, name: str, prepare: Change, says: list[str], command: str
) -> None:
    refused(place, Refusal(name, [command, "--model", name], says, prepare))
    refused_call(lambda: load_model(name, device="cpu"), says)


def test_a_folder_called_like_a_model_of_the_table_is_meant_by_its_path(place: Place) -> None:
    saved(place.folder / "gpt2")
    for name in ("./gpt2", "gpt2/", str(place.folder / "gpt2")):
        assert load_model(name, device="cpu").n_layers == 3
    assert place.ask(["status", "--model", "./gpt2"]).code == 0
    assert place.ask(["status", "--model", "openai-community/gpt2"]).code == 0
    run = open_run("quick", "./gpt2", "phase1")
    assert run.lm.n_layers == 3 and run.paths.model.startswith("gpt2@")


@pytest.mark.parametrize("prepare", [folders("gpt2"), file("gpt2/phase1_dataset.ipynb"), file("gpt2")])
def test_what_else_is_called_like_a_model_of_the_table_does_not_matter(place: Place, prepare: Change) -> None:
    prepare(place.folder)
    assert place.ask(["status", "--model", "gpt2"]).code == 0


def test_a_run_opened_by_the_other_name_loads_the_one_of_the_table(place: Place, monkeypatch: Any) -> None:
    saved(place.folder / "smollm2_135m")
    assert open_run("quick", "HuggingFaceTB/SmolLM2-135M-Instruct", "phase1").lm.n_layers == 30


def test_every_name_is_listed_once(place: Place) -> None:
    saved(place.folder / "gpt2")
    listed = place.ask(["status", "--model", "zebra"]).err.rpartition("valid are ")[2].strip().split(", ")
    assert "gpt2" in listed and len(listed) == len(set(listed))


BROKEN = {
    "syntax": "{% for message in messages %}{{ message['content'] ",
    "raises": "{{ raise_exception('only two roles') }}",
    "unknown filter": "{{ messages | no_such_filter }}",
    "loses the message": "hello",
}


@pytest.mark.parametrize("template", BROKEN.values(), ids=BROKEN)
def test_a_broken_chat_format_is_told_when_it_is_asked_for(tmp_path: Path, template: str) -> None:
    folder = saved(tmp_path / "mine")
    (folder / "chat_template.jinja").write_text(template)
    lm = load_model(str(folder), device="cpu")
    refused_call(lambda: lm.in_chat_format("How are you?"), ["chat", "mine", "prompt_format=raw"])


def test_what_the_hub_sent_is_read_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = saved(tmp_path / "models--some--model" / "snapshots" / ("0" * 40))
    monkeypatch.setattr("emolib.models.hub.snapshot", lambda *_args, **_settings: (sent, sent.name))
    assert load_model("some/model", device="cpu").n_layers == 3
    prefixed("_orig_mod.")(sent)
    refused_call(lambda: load_model("some/model", device="cpu"), ["'some/model'", "_orig_mod."])
    (sent / WEIGHTS).write_text(POINTER)
    refused_call(lambda: load_model("some/model", device="cpu"), ["'some/model'", "git lfs pull"])


def test_the_files_of_a_known_model_have_the_sizes_that_the_table_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = saved(tmp_path / "sent", "gpt2")
    monkeypatch.setattr("emolib.models.hub.snapshot", lambda *_args, **_settings: (sent, "0" * 40))
    refused_call(lambda: load_model("gpt2", device="cpu"), ["n_layers = 12", "gpt2_small", "found 3"])


@pytest.mark.parametrize("name", [3, None, ["mine"], b"mine"])
def test_a_name_is_a_text_or_a_path(name: object) -> None:
    refused_call(lambda: load_model(name, device="cpu"), ["a model's name"])  # type: ignore[arg-type]


def test_a_tokenizer_without_a_first_token_is_given_none(tmp_path: Path) -> None:
    folder = saved(tmp_path / "mine")
    assert load_model(folder, device="cpu").tokenizer.bos_token is None  # type: ignore[arg-type]
    setting("tokenizer_config.json", bos_token="<|end|>")(folder)
    assert load_model(folder, device="cpu").tokenizer.bos_token == "<|end|>"  # type: ignore[arg-type]


def test_a_path_object_is_a_folder_too(tmp_path: Path) -> None:
    assert load_model(saved(tmp_path / "mine"), device="cpu").n_layers == 3  # type: ignore[arg-type]


def test_random_weights_want_an_entry_of_the_table(tmp_path: Path) -> None:
    folder = saved(tmp_path / "mine")
    refused_call(lambda: load_model(str(folder), random_weights=True), ["random weights", "params/models"])


def test_what_transformers_warns_of_while_it_is_silenced_reaches_the_caller(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("transformers.modeling_utils")
    with quiet() as outer, quiet() as said:
        logger.warning("a diagnosis")
        logger.info("advice")
    assert said == ["a diagnosis"] and outer == []
    assert "diagnosis" not in capsys.readouterr().err
    after = logging.getLogger("transformers").handlers
    assert after and all(type(handler).__name__ != "_Kept" for handler in after)

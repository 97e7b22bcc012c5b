"""The peers of the steering benchmark: the files and requests that they get, and what is said where there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf_files import write
from model_folders import save_model
from tiny import byte_tokenizer, plain_network

from emolib.base.paths import repository_root
from emolib.interventions import Steer
from emolib.models.gguf_file import read_gguf

SCRIPTS = repository_root() / "benchmarks"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.mark.parametrize("name", ["llama", "gemma3"])
@pytest.mark.parametrize(("dtype", "file_type"), [("float32", 0), ("bfloat16", 32)])
def test_a_file_for_llama_cpp_holds_the_header_and_the_dequantised_weights(
    tmp_path: Path, name: str, dtype: str, file_type: int
) -> None:
    from peers.gguf_files import write_unquantised

    source, place = tmp_path / "model.Q8_0.gguf", tmp_path / "made.gguf"
    write(source, name, settings={"general.file_type": 7}, quantized=GGMLQuantizationType.Q8_0)
    quantised = read_gguf(source, source.name)
    write_unquantised(quantised, place, dtype)
    made = read_gguf(place, place.name)
    assert made.settings == {**quantised.settings, "general.file_type": file_type}
    assert list(made.tensors) == list(quantised.tensors)
    for tensor, placed in made.tensors.items():
        wanted = torch.from_numpy(quantised.values(tensor))
        stored = wanted if dtype == "float32" or wanted.ndim < 2 else wanted.bfloat16().float()
        assert placed.shape == quantised.tensors[tensor].shape
        torch.testing.assert_close(torch.from_numpy(made.values(tensor)), stored, atol=0, rtol=0)
    assert {path.name for path in tmp_path.iterdir()} == {source.name, place.name}, "something unfinished was left"


def test_a_peer_steers_with_the_vectors_that_it_is_sent(tmp_path: Path) -> None:
    from peers.environments import measure

    folder = save_model(tmp_path / "model", "llama")
    directions = np.zeros((1, 2, 48), np.float32)
    directions[0, 1] = 5 * np.random.default_rng(0).standard_normal(48)
    np.save(tmp_path / "directions.npy", directions)
    prompts = ["The shop", "The old bridge"]
    request = {"model_folder": folder, "dtype": "float32", "threads": 1, "prompts": prompts, "layers": [1]}
    request |= {"directions": tmp_path / "directions.npy", "max_new_tokens": 5, "batch_size": 2}
    answer = measure("transformers", request)
    assert answer["tokens"] == 2 * 2 * 5 and answer["tokens_per_s"] > 0
    texts = [row["text"] for row in answer["texts"]]
    network, tokenizer = plain_network("llama"), byte_tokenizer()
    for prompt, text, steered in zip(prompts, texts[:2], texts[2:], strict=True):
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        greedy = network.generate(ids, do_sample=False, max_new_tokens=5, min_new_tokens=5)
        assert text == tokenizer.decode(greedy[0, ids.shape[1] :], skip_special_tokens=True) != steered


def test_the_hook_beside_small_calls_adds_every_rows_vector_and_goes() -> None:
    from steering_small import steered

    network = plain_network("llama")
    vectors = np.random.default_rng(0).standard_normal((2, 48)).astype(np.float32)
    acts = [Steer(1, vector, 0.5, unit="vector") for vector in vectors]
    seen: list[torch.Tensor] = []

    def run() -> torch.Tensor:
        handle = network.model.layers[1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        with torch.no_grad():
            network(torch.tensor([[1, 2, 3], [4, 5, 6]]))
        handle.remove()
        return seen[-1]

    before = run()
    with steered(network, acts):
        added = run() - before
    torch.testing.assert_close(added, torch.from_numpy(0.5 * vectors)[:, None].expand(2, 3, 48), atol=1e-5, rtol=1e-5)
    assert torch.equal(run(), before)
    with steered(network, None):
        assert torch.equal(run(), before)


def test_where_no_package_carries_the_model_each_peer_is_told_why_it_was_left_out(tmp_path: Path) -> None:
    model, path = save_model(tmp_path / "model", "llama", max_position_embeddings=512), tmp_path / "result.json"
    sizes = ["--layers", "1", "--directions", "1", "--max-new-tokens", "3", "--dtypes", "float32", "--only", "peers"]
    script = SCRIPTS / "steering_throughput.py"
    command = [sys.executable, str(script), "--model", str(model), *sizes, "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository_root(), check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())["results"]["float32"]["peers"]
    peers = ["transformers, 32 rows", "nnterp, 32 rows", "llama.cpp, 16 parallel", "llama.cpp, 32 parallel"]
    assert all(found["ways"][peer]["tokens_per_s"] is None and found["ways"][peer]["reason"] for peer in peers)
    own = [way for name, way in found["ways"].items() if name.startswith("emolib")]
    assert own and all(way["tokens_per_s"] > 0 for way in own)
    assert found["ratios"] == found["ratios_of_same_rows"] == found["targets"] == {}


def test_ratios_take_the_better_way_of_each_peer() -> None:
    from steering_peers import _ratios

    ways = {"emolib, 512 rows": 400.0, "llama.cpp, 16 parallel": 80.0, "llama.cpp, 32 parallel": 100.0}
    ways |= {"nnterp, 32 rows": None}
    found = _ratios({name: {"tokens_per_s": speed} for name, speed in ways.items()}, 400.0)
    assert found == {"llama.cpp": 4.0}

"""`emolib export-vectors` and `emolib import-vectors`: what they write, and what they refuse in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from refusals import Place, Refusal, refused
from safetensors.numpy import load_file
from smoke_run import MODEL, emolib_here

import emolib
from emolib.exchange.vector_files import read_vector_file

ROWS = np.random.default_rng(0).standard_normal((6, 16)).astype(np.float32)


def test_a_runs_vectors_are_exported_bit_for_bit(smoke: tuple[Path, str], tmp_path: Path) -> None:
    done = emolib_here(
        smoke[0],
        "export-vectors",
        "anger",
        "--profile",
        "baseline_smoke",
        "-o",
        str(tmp_path / "a.gguf"),
        "--layers",
        "4-7",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 layers written (4-7;")
    stored = smoke[0] / "results" / "baseline_smoke" / "emotion_vectors" / f"{MODEL}_vectors_mean.safetensors"
    fitted = load_file(stored)
    vectors = emolib.read_vectors(tmp_path / "a.gguf")
    np.testing.assert_array_equal(vectors.values[4:8], fitted["vector/anger"][4:8])
    np.testing.assert_array_equal(vectors.neutral_norms, fitted["neutral_norms"])
    assert vectors.shape == fitted["vector/anger"].shape and not vectors.values[8:].any()
    assert (vectors.label, vectors.model, vectors.position) == ("anger", MODEL, "mean")


def test_arrays_are_rewritten_for_llama_cpp(place: Place) -> None:
    np.save(place.folder / "found.npy", ROWS)
    words = ["import-vectors", "found.npy", "-o", "x.gguf", "--numbering", "output", "--model-hint", "llama"]
    asked = place.ask([*words, "--label", "joy"])
    assert asked.code == 0 and asked.made == ["x.gguf"], asked.err
    assert "layers 2, 3, 4, 5, 6 written" in asked.out and "left out" in asked.out and "layers 1" in asked.out
    held = read_vector_file(place.folder / "x.gguf")
    assert (held.model_hint, held.stated.label, held.layers) == ("llama", "joy", (2, 3, 4, 5, 6))
    np.testing.assert_array_equal(held.values(6)[2:], ROWS[1:])


def test_a_file_of_ours_is_rewritten_as_it_was(place: Place) -> None:
    norms = np.arange(1.0, 7.0)
    vecs = emolib.EmotionVectors({"joy": ROWS}, norms, ROWS, "mine", "r1", "mean")
    emolib.write_vectors(vecs["joy"], place.folder / "a.gguf", strength=0.5)
    assert place.ask(["import-vectors", "a.gguf", "-o", "b.gguf"]).code == 0
    assert (place.folder / "a.gguf").read_bytes() == (place.folder / "b.gguf").read_bytes()


def arrays(folder: Path) -> None:
    np.save(folder / "found.npy", ROWS)
    (folder / "a.gguf").mkdir()


REFUSED = [
    Refusal(
        "no numbering", ["import-vectors", "found.npy", "-o", "x.gguf", "--model-hint", "a"], ["numbering"], arrays
    ),
    Refusal(
        "no hint", ["import-vectors", "found.npy", "-o", "x.gguf", "--numbering", "input"], ["--model-hint"], arrays
    ),
    Refusal("no file", ["import-vectors", "none.npy", "-o", "x.gguf"], ["no such file"]),
    Refusal("a folder", ["import-vectors", "found.npy", "-o", "a.gguf"], ["is a folder"], arrays),
    Refusal("itself", ["import-vectors", "found.npy", "-o", "found.npy"], ["overwrite"], arrays),
    Refusal(
        "an emotion", ["export-vectors", "joy", "--profile", "baseline_smoke", "-o", "x.gguf"], ["emotion", "'joy'"]
    ),
    Refusal("a profile", ["export-vectors", "anger", "--profile", "quik", "-o", "x.gguf"], ["'quik'", "quick"]),
    Refusal("layers", ["export-vectors", "anger", "-o", "x.gguf", "--layers", "a-b"], ["layers such as", "'a-b'"]),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_cannot_be_exchanged_is_refused_in_one_line(place: Place, case: Refusal) -> None:
    refused(place, case)

"""Control vectors come back as they were written, and what another reader would refuse or ignore is not written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_vectors import D_MODEL, FOREIGN, as_settings, row, written
from gguf import GGUFReader
from refusals import refused_call

import emolib
from emolib.data.activations import LayerVectors
from emolib.exchange.vector_files import read_vector_file

N_LAYERS = 6


def made_up(seed: int = 0, **changes: Any) -> LayerVectors:
    generator = np.random.default_rng(seed)
    norms = [generator.uniform(1, 9, N_LAYERS + 1) for _ in range(3)]
    norms[2][3] = np.nan  # the unit kl was not measured there
    values = generator.standard_normal((N_LAYERS + 1, D_MODEL)).astype(np.float32)
    whole = LayerVectors(values, "smollm2_135m", "ab" * 32, "mean", *norms, "gratitude")
    return replace(whole, **changes)


# --- out and in again


def test_what_was_written_comes_back_bit_for_bit(tmp_path: Path) -> None:
    vectors = made_up()
    assert emolib.write_vectors(vectors, tmp_path / "x.gguf") == (2, 3, 4, 5, 6)
    back = emolib.read_vectors(tmp_path / "x.gguf")
    np.testing.assert_array_equal(back.values[2:], vectors.values[2:])
    assert not back.values[:2].any() and vectors.values[:2].any()
    assert (back.model, back.revision, back.position, back.label) == ("smollm2_135m", "ab" * 32, "mean", "gratitude")
    for name in ("neutral_norms", "neutral_bulk_norms", "kl_lengths"):
        np.testing.assert_array_equal(getattr(back, name), getattr(vectors, name))
    assert emolib.Steer(4, back[4], 0.5, unit="resid").fingerprint() == (
        emolib.Steer(4, vectors[4], 0.5, unit="resid").fingerprint()
    )


def test_equal_vectors_give_equal_files_and_other_vectors_others(tmp_path: Path) -> None:
    for name, vectors in {"a": made_up(), "b": made_up(), "c": made_up(seed=1)}.items():
        emolib.write_vectors(vectors, tmp_path / f"{name}.gguf")
    a, b, c = ((tmp_path / f"{name}.gguf").read_bytes() for name in "abc")
    assert a == b != c


def test_a_file_holds_what_other_readers_look_for(tmp_path: Path) -> None:
    vectors = made_up()
    emolib.write_vectors(vectors, tmp_path / "x.gguf", layers=range(3, 6), strength=0.25)
    reader = GGUFReader(tmp_path / "x.gguf")
    assert {tensor.name for tensor in reader.tensors} == {"direction.2", "direction.3", "direction.4"}
    for tensor in reader.tensors:  # direction.N is the output of block N, which is the input of block N + 1
        values = vectors.values[int(tensor.name.removeprefix("direction.")) + 1]
        assert tensor.data.dtype == np.float32 and tensor.data.shape == (D_MODEL,)
        np.testing.assert_array_equal(tensor.data, values)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "controlvector" and fields["controlvector.layer_count"] == 3
    assert fields["controlvector.model_hint"] == "llama"  # of the model's entry
    assert fields["emolib.strength"] == 0.25


def test_a_model_outside_the_table_is_hinted_by_its_name_or_as_the_caller_says(tmp_path: Path) -> None:
    mine = made_up(model="my/model")
    for hint, expected in ((None, "my/model"), ("qwen2", "qwen2")):
        emolib.write_vectors(mine, tmp_path / "x.gguf", model_hint=hint)
        assert read_vector_file(tmp_path / "x.gguf").model_hint == expected


def test_neutral_means_and_strength_are_kept_beside_the_vectors(tmp_path: Path) -> None:
    vectors = made_up()
    emolib.write_vectors(vectors, tmp_path / "x.gguf", neutral_means=2 * vectors.values, strength=-1.5)
    stated = read_vector_file(tmp_path / "x.gguf").stated
    np.testing.assert_array_equal(stated.neutral_means, 2 * vectors.values)
    assert stated.strength == -1.5 and stated.n_layers == N_LAYERS
    emolib.write_vectors(vectors, tmp_path / "x.gguf")
    stated = read_vector_file(tmp_path / "x.gguf").stated
    assert stated.neutral_means is None and stated.strength is None


def test_vectors_that_were_read_are_written_again_without_their_gaps(tmp_path: Path) -> None:
    source = written(tmp_path, {"direction.2": row(2), "direction.4": row(4)})
    back = emolib.read_vectors(source, label="joy")
    assert back.shape == (6, D_MODEL) and back.label == "joy" and back.neutral_norms is None
    assert emolib.write_vectors(back, tmp_path / "again.gguf") == (3, 5)
    np.testing.assert_array_equal(emolib.read_vectors(tmp_path / "again.gguf").values, back.values)


def test_a_vector_without_a_norm_steers_in_its_own_unit_alone(tmp_path: Path) -> None:
    back = emolib.read_vectors(written(tmp_path, {"direction.2": row()}), label="joy")
    np.testing.assert_array_equal(emolib.Steer(3, back[3], 2.0, unit="vector").delta(), 2 * row())
    refused_call(lambda: emolib.Steer(3, back[3], 0.3, unit="resid"), ["neutral_norm", "unit='vector'"])
    refused_call(lambda: emolib.Steer(2, back[2], 0.3, unit="vector"), ["non-zero"])


# --- what is not written

WRITES: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "layer 0": (lambda f: emolib.write_vectors(made_up(), f / "x.gguf", layers=[0, 3]), ["got 0", "2-6"]),
    "layer 1": (lambda f: emolib.write_vectors(made_up(), f / "x.gguf", layers=[1]), ["got 1", "block 0"]),
    "a layer beyond": (lambda f: emolib.write_vectors(made_up(), f / "x.gguf", layers=[7]), ["got 7", "ignore"]),
    "a negative layer": (lambda f: emolib.write_vectors(made_up(), f / "x.gguf", layers=[-1]), ["got -1"]),
    "no layer": (lambda f: emolib.write_vectors(made_up(), f / "x.gguf", layers=[]), ["at least one"]),
    "half a layer": (lambda f: emolib.write_vectors(made_up(), f / "x.gguf", layers=[2.5]), ["whole number"]),
    "nothing but zeros": (
        lambda f: emolib.write_vectors(made_up(values=np.zeros((7, 32), np.float32)), f / "x.gguf"),
        ["not zero"],
    ),
    "a zero vector": (
        lambda f: (
            emolib.write_vectors(made_up(values=np.eye(7, 32, dtype=np.float32) * [1] * 3), f / "x.gguf")
            and emolib.write_vectors(made_up(values=np.zeros((7, 32), np.float32)), f / "x.gguf", layers=[3])
        ),
        ["zero", "layer 3"],
    ),
    "not finite": (
        lambda f: emolib.write_vectors(made_up(values=np.full((7, 32), np.nan, np.float32)), f / "x.gguf"),
        ["finite", "layer 2"],
    ),
    "one layer's vector": (lambda f: emolib.write_vectors(made_up()[3], f / "x.gguf"), ["vecs['gratitude']"]),
    "another ending": (lambda f: emolib.write_vectors(made_up(), f / "x.bin"), [".gguf", "x.bin"]),
    "a folder": (lambda f: emolib.write_vectors(made_up(), f / "a.gguf"), ["is a folder"]),
    "an empty hint": (lambda f: emolib.write_vectors(made_up(), f / "x.gguf", model_hint=""), ["model_hint"]),
    "means of another shape": (
        lambda f: emolib.write_vectors(made_up(), f / "x.gguf", neutral_means=np.ones(3)),
        ["neutral_means", "[7, 32]"],
    ),
    "norms that are not finite": (
        lambda f: emolib.write_vectors(made_up(neutral_norms=np.full(7, np.nan)), f / "x.gguf"),
        ["neutral_norms", "finite"],
    ),
    "norms of another model": (
        lambda f: emolib.write_vectors(made_up(neutral_bulk_norms=np.ones(3)), f / "x.gguf"),
        ["neutral_bulk_norms", "per layer"],
    ),
    "an infinite strength": (
        lambda f: emolib.write_vectors(made_up(), f / "x.gguf", strength=float("inf")),
        ["strength", "finite"],
    ),
}


@pytest.mark.parametrize("case", WRITES)
def test_what_would_be_refused_or_ignored_is_not_written(tmp_path: Path, case: str) -> None:
    (tmp_path / "a.gguf").mkdir()
    call, says = WRITES[case]
    before = set(tmp_path.iterdir())
    refused_call(lambda: call(tmp_path), says)
    left = {path for path in tmp_path.iterdir() if path not in before}
    assert left == ({tmp_path / "x.gguf"} if case == "a zero vector" else set())


# --- what is not read


@pytest.mark.parametrize("case", FOREIGN)
def test_a_file_that_is_not_as_llama_cpp_reads_it_is_refused(tmp_path: Path, case: str) -> None:
    tensors, settings, says = FOREIGN[case]
    source = written(tmp_path, tensors, **as_settings(settings))
    refused_call(lambda: emolib.read_vectors(source, label="joy"), ["x.gguf", *says])
    good = written(tmp_path, {"direction.2": row(), "direction.3": row(1)})
    assert emolib.read_vectors(good, label="joy").norms.astype(bool).tolist() == [False, False, False, True, True]


def test_files_that_others_write_are_read(tmp_path: Path) -> None:
    first = written(tmp_path, {"direction.0": row()})  # which repeng writes when it is asked to
    assert read_vector_file(first).layers == (1,)
    flat = written(tmp_path, {"direction.2": row()[None]})  # llama.cpp takes one row of a matrix
    np.testing.assert_array_equal(read_vector_file(flat).rows[3], row())
    silent = written(tmp_path, {"direction.2": row()}, controlvector__model_hint=None)
    assert read_vector_file(silent).model_hint == ""


def test_a_file_that_is_cut_off_anywhere_or_goes_on_is_refused(tmp_path: Path) -> None:
    emolib.write_vectors(made_up(), tmp_path / "x.gguf")
    whole = (tmp_path / "x.gguf").read_bytes()
    for length in (0, 3, 20, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "y.gguf").write_bytes(whole[:length])
        refused_call(lambda: emolib.read_vectors(tmp_path / "y.gguf"), ["y.gguf"])
    (tmp_path / "y.gguf").write_bytes(whole + b"more than the file")
    refused_call(lambda: emolib.read_vectors(tmp_path / "y.gguf"), ["added behind its end"])
    (tmp_path / "y.gguf").write_bytes(whole)
    assert emolib.read_vectors(tmp_path / "y.gguf").label == "gratitude"


def test_a_file_with_any_byte_of_its_header_changed_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    emolib.write_vectors(made_up(), tmp_path / "x.gguf", layers=[2])
    whole, refused = (tmp_path / "x.gguf").read_bytes(), 0
    for place in range(0, len(whole) - 4 * D_MODEL, 7):
        changed = bytearray(whole)
        changed[place] ^= 0xFF
        (tmp_path / "y.gguf").write_bytes(changed)
        try:
            emolib.read_vectors(tmp_path / "y.gguf")
        except emolib.UserError:
            refused += 1
    assert refused > 20


def test_another_label_than_the_file_says_is_refused(tmp_path: Path) -> None:
    emolib.write_vectors(made_up(), tmp_path / "x.gguf")
    refused_call(lambda: emolib.read_vectors(tmp_path / "x.gguf", label="anger"), ["'anger'", "'gratitude'"])
    assert emolib.read_vectors(tmp_path / "x.gguf", label="gratitude").label == "gratitude"


def test_vectors_are_written_without_a_model_library() -> None:
    code = "import sys, emolib; emolib.write_vectors; assert not {'torch', 'transformers'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

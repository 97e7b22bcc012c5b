"""Anybody's vectors fit the model at hand, or are refused in one line; what they lack is measured on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from foreign_vectors import written
from refusals import refused_call
from tiny import ARCHITECTURES

import emolib
from emolib.data.activations import LayerVectors
from emolib.models.language_model import LanguageModel


@pytest.fixture(scope="module")
def llama(tiny_models: dict[str, LanguageModel]) -> LanguageModel:
    assert "llama" in ARCHITECTURES
    return tiny_models["llama"]


def rows(lm: LanguageModel, *numbers: int, width: int | None = None) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"direction.{n}": rng.standard_normal(width or lm.d_model).astype(np.float32) for n in numbers}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the data set, three scenarios of the training split."""
    data = emolib.load_dataset()
    some = data.loc[data["split"] == "train", "scenario"].unique()[:3]
    kept = data[data["scenario"].isin(some) | (data["split"] == "test")]
    monkeypatch.setattr("emolib.steering.given_vectors.load_dataset", lambda: kept)


@pytest.mark.usefixtures("few")
def test_others_vectors_get_the_norms_of_the_models_neutral_texts(llama: LanguageModel, tmp_path: Path) -> None:
    source = written(tmp_path, rows(llama, 0))
    found = emolib.read_vectors(source, label="joy", lm=llama)
    data = emolib.load_dataset()
    some = data[data["scenario"].isin(data.loc[data["split"] == "train", "scenario"].unique()[:3])]
    fitted = emolib.fit_emotion_vectors(emolib.extract_activations(llama, some, positions="mean"))
    np.testing.assert_allclose(found.neutral_norms, fitted.neutral_norms, rtol=1e-5)
    np.testing.assert_allclose(found.neutral_bulk_norms, fitted.neutral_bulk_norms, rtol=1e-5)
    assert found.kl_lengths is None and found.shape == (llama.n_layers + 1, llama.d_model)
    assert (found.model, found.revision, found.label) == (llama.spec.name, llama.revision, "joy")
    act = emolib.Steer(1, found[1], 0.5)
    assert np.linalg.norm(act.delta()) == pytest.approx(0.5 * found.neutral_bulk_norms[1], rel=1e-5)
    one, other = emolib.generate(
        llama, ["The lamp"] * 2, [None, act], max_new_tokens=3
    )  # the vector is the model's own
    assert other.delta_ratio and not one.delta_ratio
    assert emolib.read_vectors(source, label="joy").neutral_norms is None


def test_a_file_of_ours_brings_its_own_norms(llama: LanguageModel, tmp_path: Path) -> None:
    values = np.ones((llama.n_layers + 1, llama.d_model), np.float32)
    norms = np.arange(1.0, llama.n_layers + 2)
    mine = LayerVectors(values, llama.spec.name, llama.revision, "mean", norms, None, None, "joy")
    emolib.write_vectors(mine, tmp_path / "x.gguf")
    found = emolib.read_vectors(tmp_path / "x.gguf", lm=llama)
    np.testing.assert_array_equal(found.neutral_norms, norms)
    assert found.neutral_bulk_norms is None and found.position == "mean"


def test_vectors_that_do_not_fit_the_model_are_refused(llama: LanguageModel, tmp_path: Path) -> None:
    last, width = llama.n_layers, llama.d_model
    wide = written(tmp_path, rows(llama, 1, width=width + 1))
    refused_call(lambda: emolib.read_vectors(wide, lm=llama), [f"d_model {width}", f"{width + 1}"])
    deep = written(tmp_path, rows(llama, last))
    refused_call(lambda: emolib.read_vectors(deep, lm=llama), [f"layers 0-{last}", f"{last + 1}"])
    other = written(tmp_path, rows(llama, 0), controlvector__model_hint="qwen2")
    refused_call(lambda: emolib.read_vectors(other, lm=llama), ["llama", "'qwen2'"])
    values = np.ones((last + 1, width), np.float32)
    another = LayerVectors(values, "another", "ff" * 32, "mean", np.ones(last + 1), label="joy")
    emolib.write_vectors(another, tmp_path / "y.gguf")
    refused_call(lambda: emolib.read_vectors(tmp_path / "y.gguf", lm=llama), ["another", "ff" * 6])
    refused_call(lambda: emolib.read_vectors(written(tmp_path, rows(llama, 0)), lm="gpt2"), ["load_model"])  # type: ignore[arg-type]


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("hint", ["llama", "Llama", ""])
def test_a_hint_that_agrees_or_is_missing_is_no_reason_to_refuse(
    llama: LanguageModel, tmp_path: Path, hint: str
) -> None:
    source = written(tmp_path, rows(llama, 0), controlvector__model_hint=hint or None)
    assert emolib.read_vectors(source, lm=llama).model == llama.spec.name

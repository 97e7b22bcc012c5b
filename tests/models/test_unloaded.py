"""What is known of a model without its weights is what a load would say."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_folders import save_model

from emolib.data.dataset import load_dataset
from emolib.models import loading
from emolib.models.language_model import LanguageModel
from emolib.models.unloaded import UnloadedModel, unloaded
from emolib.report.ja.frame import environment
from emolib.study.run import open_run

MODEL = "smollm2_135m"


def refused(*given: object, **settings: object) -> None:
    raise AssertionError("weights were read")


def test_it_says_and_reads_what_the_loaded_model_does(bundled: LanguageModel) -> None:
    found = unloaded(MODEL, device="cpu")
    assert isinstance(found, UnloadedModel)
    assert (found.spec, found.revision, found.identity) == (bundled.spec, bundled.revision, bundled.identity)
    assert found.device == bundled.device
    texts = load_dataset()["text"].tolist()[:100]
    assert (
        found.tokenizer(texts, add_special_tokens=False).input_ids
        == bundled.tokenizer(texts, add_special_tokens=False).input_ids
    )


def test_the_first_phase_s_line_needs_no_weights_and_is_the_loaded_model_s(
    bundled: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = open_run("baseline_smoke", MODEL, "phase1", device="cpu")
    loaded.lm = bundled
    monkeypatch.setattr(loading, "load_weights", refused)
    run = open_run("baseline_smoke", MODEL, "phase1", device="cpu")
    assert environment(run).data == environment(loaded).data and loaded.described is bundled
    assert "lm" not in vars(run)
    with pytest.raises(AssertionError, match="weights were read"):
        _ = run.lm


def test_random_weights_are_named_as_they_would_be_drawn() -> None:
    first, second = (unloaded(MODEL, random_weights=True, seed=seed) for seed in (0, 1))
    assert first is not None and second is not None and first.spec.random_weights
    assert first.revision.startswith("random-seed0") and second.revision.startswith("random-seed1")
    assert first.identity["quantization"] == "none"


def test_what_only_a_load_can_tell_is_left_to_it(tmp_path: Path) -> None:
    for name in (str(save_model(tmp_path / "model", "llama")), "owner/name", "rotated"):
        assert unloaded(name, device="cpu") is None, name

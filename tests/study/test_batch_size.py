"""The number of rows at once: measured once per run, kept to afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from emolib.base.errors import UserError
from emolib.base.parameters import resolve
from emolib.models.language_model import LanguageModel
from emolib.study import batch_size
from emolib.study.batch_size import generation_batch
from emolib.study.run import Run, open_run


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """What the next measurements give, the last one first; results go to an empty folder."""
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path))
    answers = [33, 22, 11]
    monkeypatch.setattr(batch_size, "largest_useful_batch", lambda lm, shape: answers.pop())
    return answers


def phase5_run(lm: LanguageModel, **params: object) -> Run:
    run = Run(resolve("quick", "smollm2_135m", "phase5", params))
    run.__dict__["lm"] = lm
    return run


def test_a_resumed_run_keeps_the_number_it_began_with(measured: list[int], bundled: LanguageModel) -> None:
    prompts = phase5_run(bundled).neutral_prompts("validation")
    assert [generation_batch(phase5_run(bundled), prompts) for _ in range(3)] == [11, 11, 11]
    assert generation_batch(phase5_run(bundled, max_new_tokens=12), prompts) == 22, "another length is another matter"
    assert generation_batch(phase5_run(bundled), prompts) == 11
    assert measured == [33]


def test_a_variant_takes_the_number_of_its_profile(measured: list[int], bundled: LanguageModel) -> None:
    prompts = phase5_run(bundled).neutral_prompts("validation")
    assert generation_batch(phase5_run(bundled), prompts) == 11
    variant = open_run("quick", "smollm2_135m", "phase5", alphas=[0.25])
    variant.__dict__["lm"] = bundled
    assert generation_batch(variant, prompts) == 11
    longer = open_run("quick", "smollm2_135m", "phase5", max_new_tokens=12)
    longer.__dict__["lm"] = bundled
    assert [generation_batch(longer, prompts) for _ in range(2)] == [22, 22]
    assert generation_batch(phase5_run(bundled, max_new_tokens=12), prompts) == 33, "the profile's file is untouched"


def test_a_given_number_is_taken_as_it_is(measured: list[int], bundled: LanguageModel) -> None:
    run = phase5_run(bundled, generation_batch=5)
    assert generation_batch(run, run.neutral_prompts("validation")) == 5
    assert len(measured) == 3


@pytest.mark.parametrize("value", [0, -1, "many"])
def test_a_number_of_rows_that_means_nothing_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="generation_batch"):
        resolve("quick", "smollm2_135m", "phase5", {"generation_batch": value})

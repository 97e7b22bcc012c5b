"""What must not pass does not: every alteration of a run is noticed; on data of known truth it changes the verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from laid_runs import LaidRun
from planted_activations import planted
from stored_phases import EMOTIONS, sweep_table

from emolib.base.errors import UserError
from emolib.data.activations import Activations
from emolib.directions.vectors import EmotionVectors, fit_emotion_vectors
from emolib.pipeline.verification import alterations
from emolib.pipeline.verification.alterations import ALTERATIONS, altered
from emolib.pipeline.verification.claim_checks import bca, claims
from emolib.pipeline.verification.run_files import RunFiles, opened
from emolib.steering.shift_tables import crossed_cells

LAYER = 3


@pytest.fixture(scope="module")
def run(smoke: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFiles]:
    laid = LaidRun(smoke[0], tmp_path_factory.mktemp("altered") / "copy")
    with pytest.MonkeyPatch.context() as patch:
        laid.here(patch)
        (found,) = opened(laid.profile, laid.model, None)
        _ = found.artifacts, found.records
        yield found


def test_every_alteration_of_a_run_is_noticed(run: RunFiles) -> None:
    before = {artifact.path: artifact.path.stat().st_mtime_ns for artifact in run.artifacts}
    table = altered(run)
    assert table["name"].tolist() == [alteration.name for alteration in ALTERATIONS] and table["name"].is_unique
    missed = table[table["status"] != "pass"]
    assert missed.empty, missed[["name", "told"]].to_string()
    assert (table["group"] == "negative").sum() >= 6 and (table["group"] == "fault").sum() >= 12
    flipped = table.set_index("name").loc["sign_flipped"]
    assert flipped["after"] == pytest.approx(1 - flipped["before"])
    assert {artifact.path: artifact.path.stat().st_mtime_ns for artifact in run.artifacts} == before
    assert altered(run)["status"].tolist() == table["status"].tolist(), "nothing of it stays in memory"


def test_a_check_that_fails_anyway_has_noticed_nothing(run: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    always = replace(ALTERATIONS[0], check=lambda material, rows: rows.failed("texts.parquet", "whatever it is"))
    never = replace(ALTERATIONS[0], check=lambda material, rows: rows.passed("texts.parquet"))
    nothing = replace(ALTERATIONS[0], change=lambda material: None)
    monkeypatch.setattr(alterations, "ALTERATIONS", (always, never, nothing))
    table = altered(run)
    assert table["status"].tolist() == ["fail", "fail", "skip"]
    assert table["told"].tolist()[:2] == ["fails already: whatever it is", "nothing was noticed"]


# on data of known truth: the verdict on whether vectors tell held-out texts apart


def verdict(acts: Activations, vecs: EmotionVectors, layer: int = LAYER) -> str:
    """`supported` where the scenarios' differences along the vector lie above 0, by their 95 % interval; else
    `reversed` where they lie below, or `not_supported`."""
    test = acts.where((acts.texts["split"] == "test").to_numpy())
    words = []
    for emotion in vecs:
        projected = test.values["resid_pre"][layer] @ vecs[emotion][layer].direction
        wide = test.texts.assign(value=projected).pivot(index="scenario", columns="emotion", values="value")
        low, high = bca((wide[emotion] - wide["neutral"]).to_numpy(), n_resamples=500, seed=0)
        words.append("supported" if low > 0 else "reversed" if high < 0 else "not_supported")
    return words[0] if len(set(words)) == 1 else "mixed"


def train(acts: Activations) -> Activations:
    return acts.where((acts.texts["split"] == "train").to_numpy())


@pytest.fixture(scope="module")
def acts() -> Activations:
    return planted()[0]


def test_the_intact_study_is_supported(acts: Activations) -> None:
    assert verdict(acts, fit_emotion_vectors(train(acts))) == "supported"


def test_permuted_labels_lose_the_verdict(acts: Activations) -> None:
    """Of twenty permutations none keeps it for both emotions (by chance one in some hundreds would)."""
    kept = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        part = train(acts)
        labels = part.texts.groupby("scenario")["emotion"].transform(lambda held, rng=rng: rng.permutation(held))
        kept += (
            verdict(acts, fit_emotion_vectors(replace(part, texts=part.texts.assign(emotion=labels)))) == "supported"
        )
    assert kept <= 1


def test_a_flipped_sign_reverses_the_verdict(acts: Activations) -> None:
    vecs = fit_emotion_vectors(train(acts))
    turned = replace(vecs, values={emotion: -values for emotion, values in vecs.values.items()})
    assert verdict(acts, turned) == "reversed"


def test_vectors_of_a_layer_without_the_emotion_lose_the_verdict_and_are_refused(acts: Activations) -> None:
    vecs = fit_emotion_vectors(train(acts))
    moved = replace(vecs, values={emotion: np.roll(values, LAYER, axis=0) for emotion, values in vecs.values.items()})
    assert verdict(acts, moved) == "not_supported", "at that layer now those of layer 0, where nothing is planted"
    with pytest.raises(UserError, match="expected two vectors of one model, layer and position"):
        vecs["anger"][LAYER] - vecs["anger"][0]


def test_another_models_vectors_lose_the_verdict_and_are_refused(acts: Activations) -> None:
    vecs = fit_emotion_vectors(train(acts))
    basis, _ = np.linalg.qr(np.random.default_rng(5).standard_normal((acts.d_model, acts.d_model)))
    other = replace(vecs, values={e: (v @ basis).astype(np.float32) for e, v in vecs.values.items()}, model="other")
    assert verdict(acts, other) != "supported"
    with pytest.raises(UserError, match="expected two vectors of one model, layer and position"):
        vecs["anger"][LAYER] + other["anger"][LAYER]


def test_a_leaked_scenario_is_refused_among_prompts_and_flatters_where_nothing_is_planted() -> None:
    with pytest.raises(UserError, match="is in both"):
        crossed_cells(["a", "b"], ["b", "c"])
    empty, _ = planted(strength=0.0)
    leaked = replace(empty, texts=empty.texts.assign(split="train"))
    assert verdict(empty, fit_emotion_vectors(train(empty))) != "supported"
    gain = []
    for vecs in (fit_emotion_vectors(train(empty)), fit_emotion_vectors(leaked)):
        test = empty.where((empty.texts["split"] == "test").to_numpy())
        projected = test.values["resid_pre"][LAYER] @ vecs["anger"][LAYER].direction
        wide = test.texts.assign(value=projected).pivot(index="scenario", columns="emotion", values="value")
        gain.append(float((wide["anger"] - wide["neutral"]).mean()))
    assert gain[1] > gain[0], "texts that vectors were fitted on look told apart"


def test_dropping_broken_texts_turns_a_verdict() -> None:
    """Most steered texts are broken: counted as no success they leave nothing; left out, the few others carry all."""
    sweep = sweep_table(dict.fromkeys(EMOTIONS, 3.0), n=24, n_controls=59)
    drawn = sweep[sweep["kind"] == "shuffled"].assign(kind="covariance")
    whole = pd.concat([sweep, drawn], ignore_index=True)
    steered = whole["kind"] == "emotion"
    few = whole.groupby(["kind", "emotion"]).cumcount() % 3 == 0
    broken = whole.assign(**{"fluency/broken": steered & ~few})
    counted = claims(broken, n_resamples=500, seed=0)
    dropped = claims(broken[~broken["fluency/broken"]], n_resamples=500, seed=0)
    assert not counted["supported"].all() and dropped["supported"].sum() > counted["supported"].sum()

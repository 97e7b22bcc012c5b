"""What claims need beyond labels and norm, as a stage of a run: what is read, what is kept, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted_runs import steering_run, written

from emolib.data.companions import load_companions
from emolib.data.dataset import load_dataset
from emolib.directions.controls import FAMILIES
from emolib.models.language_model import LanguageModel
from emolib.steering.damage import next_token_kl
from emolib.steering.further_conditions import EQUAL_KL, LIKE_VALENT
from emolib.steering.shift_measures import MEASURES
from emolib.study.phase5_steering import concepts, equal_kl, identifiability, judging, like_valent, shift_results
from emolib.study.phase5_steering.design import parts
from emolib.study.phase5_steering.shift_sweeps import shift_points
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.run import Run

pytestmark = pytest.mark.filterwarnings("ignore:.*was trained on texts of up to")
SIZES = {
    **{"n_train": 8, "n_validation": 4, "n_test": 4, "layers": [1], "alphas": [0.3], "n_controls": 2},
    **{"max_new_tokens": 5, "unit": "bulk", "vector_style": "all"},
}


@pytest.fixture(scope="module")
def lm(tiny_models: dict[str, LanguageModel]) -> LanguageModel:
    return next(lm for lm in tiny_models.values() if lm.limits.positions is None)


@pytest.fixture(scope="module")
def run(lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run in which all of it has been computed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_RESULTS", str(tmp_path_factory.mktemp("further")))
        patch.setattr(shift_results, "N_KL_PROMPTS", 2)
        opened = steering_run(lm, written(load_dataset(), tmp_path_factory.mktemp("data")), **SIZES)
        judging.further(opened)
        identifiability.survival_table(opened)
        yield opened


def test_like_valent_texts_are_test_texts_and_their_vectors_are_fitted_on_common_training_scenarios(run: Run) -> None:
    companions = load_companions()
    split = companions.drop_duplicates("scenario").set_index("scenario")["split"]
    design, vecs = like_valent.like_design(run), like_valent.like_vectors(run)
    assert set(split[design.cells["text"]]) == {"test"} and not set(design.cells["prompt"]) & set(design.cells["text"])
    assert set(vecs) == {*run.emotions, "joy", "admiration", "sadness", "fear", "embarrassment"}
    layer = shift_points(run)[""].layer
    moved = {name: np.flatnonzero(np.linalg.norm(vecs[name], axis=1)).tolist() for name in vecs}
    assert set(map(tuple, moved.values())) == {(layer,)}
    counts = like_valent._training_texts(run).groupby("emotion")["scenario"].agg(lambda names: tuple(sorted(names)))
    assert counts.nunique() == 1 and set(split[list(counts.iloc[0])]) == {"train"}


def test_every_emotion_has_s_against_both_labels_of_like_valence_by_every_measure(run: Run) -> None:
    found = like_valent.like_conditions(run)
    whole = found.groupby(["style", "emotion"])[["other", "measure"]].agg(lambda names: tuple(sorted(set(names))))
    wanted = {emotion: tuple(sorted(labels)) for emotion, labels in like_valent.wanted_labels(run).items()}
    assert set(wanted) == set(run.emotions)
    assert all(row["other"] == wanted[emotion] for (_, emotion), row in whole.iterrows())
    assert {"raw", "contextual", "own"} <= set(found["measure"]) <= set(MEASURES)


def test_concepts_are_topics_words_and_denied_feelings_of_the_emotions_mean_norm(run: Run) -> None:
    vecs, own = concepts.concept_vectors(run), vectors(run, parts(run)[0])
    layer = shift_points(run)[""].layer
    norms = {name: float(np.linalg.norm(vecs[name][layer].values)) for name in vecs}
    wanted = np.mean([own[emotion][layer].norm for emotion in own])
    assert list(norms.values()) == pytest.approx([wanted] * len(norms), rel=1e-4)
    kinds = pd.Series([name.partition(":")[0] for name in vecs]).value_counts()
    assert kinds["topic"] == 15 and kinds["lexical"] == kinds["denied"] == 3
    found = concepts.concept_contrasts(run)
    assert (found["n_concepts"] == len(norms)).all() and found["reaching"].between(0, len(norms)).all()


def test_directions_have_the_kl_of_the_emotion_in_whose_place_they_stand(run: Run) -> None:
    table = equal_kl.equal_kl_table(run)
    assert len(table) == 2 * len(FAMILIES) * len(run.emotions)
    reached = table[table["reached"]]
    assert len(reached) and (abs(reached["kl"] / reached["wanted"] - 1) <= 0.05).all()
    part = parts(run)[0]
    texts, row = shift_results.kl_texts(run, part), reached.iloc[0]
    cell = equal_kl._cell(run, part, row["family"], int(row["index"]), row["emotion"], float(row["alpha"]))
    prompts, ids = (list(column) for column in zip(*texts, strict=True))
    assert np.mean(next_token_kl(run.lm, prompts, ids, [cell.act] * len(ids))) == pytest.approx(row["kl"], rel=1e-3)
    ranks = equal_kl.equal_kl_ranks(run)
    if ranks is not None:
        assert (ranks["n_controls"] <= 2).all() and ranks["rank_p"].between(1 / 3, 1).all()


def test_a_perturbation_keeps_the_part_along_the_vector_in_every_unit(run: Run) -> None:
    part, layer = parts(run)[0], shift_points(run)[""].layer
    own = vectors(run, part)["anger"][layer]
    plain = identifiability._cell(run, part, 0, "anger", 0.0, 0).act
    for degrees in (30.0, 60.0):
        act = identifiability._cell(run, part, 0, "anger", degrees, 0).act
        along, whole = (float(np.dot(np.asarray(some.delta()), own.direction)) for some in (act, plain))
        assert along == pytest.approx(whole, rel=1e-3)
        assert np.linalg.norm(act.delta()) > 1.1 * np.linalg.norm(plain.delta())
    table = identifiability.survival_table(run)
    assert set(table["degrees"]) == {0.0, *identifiability.ANGLES}
    assert (table.loc[table["degrees"] == 0, "left"].dropna() == 1).all()


def test_a_data_set_without_companions_names_what_is_missing(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))
    other = load_dataset().assign(topic="one")  # of which there are no companions, and no two topics
    opened = steering_run(lm, written(other, tmp_path), **SIZES)
    monkeypatch.setattr(equal_kl, "equal_kl_ranks", lambda run: None)
    claims = shift_results.claims(opened, further=judging.further(opened))
    assert set(claims["missing"]) == {f"{LIKE_VALENT},{EQUAL_KL}"} and (claims["like_valent"] == "").all()
    assert not any(name.startswith("topic:") for name in concepts.concept_vectors(opened))
    assert (claims["n_concepts"] == 6).all() and "supported" not in set(claims["by_numbers"])

"""The instruments as a stage of a run: what stands before what, what is kept, what comes out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted_runs import steering_run, written

from emolib.data.companions import load_companions
from emolib.data.dataset import load_dataset
from emolib.data.keywords import load_keywords
from emolib.data.pairs import load_placebo
from emolib.engine.continuation import continuation_shift
from emolib.models.language_model import LanguageModel
from emolib.pipeline.verification.schemas import SCHEMAS
from emolib.steering.instruments import COLUMNS, FAILED, FEWEST_PLACEBOS, MUST_FAIL, NOT_JUDGED, PASSED
from emolib.steering.third_scenarios import Wording
from emolib.study.phase5_steering import instrument_design, instrument_gold, shift_sweeps
from emolib.study.phase5_steering.instrument_design import (
    context_table,
    families,
    first_part,
    lexicon_design,
    validation_design,
)
from emolib.study.phase5_steering.instrument_directions import placebo_vectors
from emolib.study.phase5_steering.instrument_gold import gold_cells
from emolib.study.phase5_steering.instrument_placebos import act_placebos, placebo_cells, text_placebos
from emolib.study.phase5_steering.instrument_stage import admissions, gold_estimates, instruments, save_instruments
from emolib.study.phase5_steering.instrument_texts import score_placebos, text_cells, word_placebos
from emolib.study.run import Run

pytestmark = pytest.mark.filterwarnings("ignore:.*was trained on texts of up to")
SIZES = {
    "n_train": 24,
    "n_validation": 8,
    "n_test": 4,
    "layers": [1],
    "alphas": [0.3],
    "n_controls": 1,
    "max_new_tokens": 5,
}
S = {"raw", "adjusted", "contextual", "own"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(load_dataset(), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def lm(tiny_models: dict[str, LanguageModel]) -> LanguageModel:
    """One with positions enough for a prompt, a context and a text of the tiny tokenizer's short tokens."""
    return next(lm for lm in tiny_models.values() if lm.limits.positions is None)


def opened(lm: LanguageModel, saved: Path, **params: object) -> Run:
    return steering_run(lm, saved, **{**SIZES, **params})


@pytest.fixture(scope="module")
def run(lm: LanguageModel, saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A finished stage."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_RESULTS", str(tmp_path_factory.mktemp("own")))
        finished = opened(lm, saved)
        save_instruments(finished)
        yield finished


# what is read


def test_contexts_share_no_wording_with_what_follows_and_come_from_validation(run: Run) -> None:
    data = pd.concat([load_dataset(), load_companions().query("set == 'five'")], ignore_index=True)
    split = data.drop_duplicates("scenario").set_index("scenario")["split"]
    texts = {name: part.set_index("emotion")["text"] for name, part in data.groupby("scenario")}
    own, *like = families(run)
    assert own.labels == run.emotions and {family.name for family in like} == set(run.emotions)
    for family in families(run):
        rows = context_table(run, family)
        assert set(rows["instrument"]) == (
            {"gold_a", "gold_b", "denied", "mention"} if family == own else {"gold_like", "like_valent"}
        )
        validation = rows[rows["split"] == "validation"]
        assert set(split[validation["text"]]) == {"validation"} and set(split[validation["prompt"]]) == {"train"}
        assert set(split[rows.loc[rows["split"] == "training", "text"]]) == {"train"}
        assert set(rows.loc[rows["split"] == "training", "label"]) == {"neutral"}
        gold = rows[rows["instrument"].isin(["gold_a", "gold_like"]) & (rows["split"] == "validation")]
        assert set(split[gold["third"]]) == {"validation"}
        for third, text in set(zip(gold["third"], gold["text"], strict=True)):
            before = Wording.of(texts[third][[*family.labels, "neutral"]])
            assert not before.meets(Wording.of(texts[text])), (third, text)


def test_gold_is_what_a_plain_call_says(run: Run) -> None:
    own = families(run)[0]
    table = context_table(run, own)
    rows = table[(table["instrument"] == "gold_a") & (table["split"] == "validation")]
    rows = rows[(rows["text"] == rows["text"].iloc[0])].reset_index(drop=True)
    after, before = (
        continuation_shift(run.lm, rows[f"prompt_{name}"].tolist(), rows["words"].tolist())["logprob"]
        for name in ("with", "without")
    )
    shift = rows.assign(shift=after - before).set_index(["act", "label"])["shift"]
    e, o = run.emotions[:2]
    wanted = (shift[e, e] - shift[e, o]) - (shift[o, e] - shift[o, o])
    cells = gold_cells(run)
    mine = cells[(cells["instrument"] == "gold_a") & (cells["measure"] == "raw") & (cells["text"] == rows["text"][0])]
    found = mine[(mine["emotion"] == e) & (mine["other"] == o)]["specific"].item()
    assert found == pytest.approx(wanted, abs=1e-4) and abs(wanted) > 1e-4


def test_every_measure_is_judged_by_every_instrument(run: Run) -> None:
    cells = gold_cells(run)
    for instrument in ("gold_a", "denied", "mention", "gold_like", "like_valent"):
        mine = cells[cells["instrument"] == instrument]
        assert set(mine["measure"]) == S and set(mine["emotion"]) == set(run.emotions), instrument
    assert set(cells.loc[cells["instrument"] == "gold_b", "measure"]) == {"raw", "own"}
    assert set(cells.loc[cells["instrument"] == "like_valent", "stand_in"]) == {"joy", "sadness"}
    raw, contextual = (cells[cells["measure"] == name]["specific"] for name in ("raw", "contextual"))
    assert not np.allclose(raw.mean(), contextual.mean())
    assert cells["specific"].notna().all() and not cells.duplicated(instrument_gold.CELL_COLUMNS[:-1]).any()


def test_directions_that_hold_no_emotion_have_the_norm_of_those_that_do(run: Run) -> None:
    part, vecs = first_part(run), placebo_vectors(run)
    point = shift_sweeps.shift_points(run)[part.name]
    assert {"formality", "courtesy", "valence", *(f"lexical:{name}" for name in run.emotions)} <= set(vecs.emotions)
    norms = [np.linalg.norm(vecs.values[name][point.layer]) for name in vecs]
    np.testing.assert_allclose(norms, norms[0], rtol=1e-4)
    assert norms[0] > 0
    cells = placebo_cells(run)
    assert len(cells) == len(vecs.emotions) and {cell.layer for cell in cells} == {point.layer}


def test_there_are_placebos_of_every_kind(run: Run) -> None:
    texts, acts, words, scores = text_placebos(run), act_placebos(run), word_placebos(run), score_placebos(run)
    assert texts.groupby("measure").size().to_dict() == dict.fromkeys(S, 216)
    assert set(acts["style"]) == {"explicit", "implicit"} and set(acts["measure"]) == S
    assert acts.groupby(["measure", "style"]).size().min() >= FEWEST_PLACEBOS
    assert set(words["measure"]) == {"keywords"} and words["stand_in"].nunique() > 5
    assert "target" in set(scores["measure"]) and (scores.groupby("measure").size() == 216).all()
    lists = load_keywords()
    counted = [lists.count(text, name) for text in load_placebo()["text"] for name in run.emotions]
    assert "keywords" not in set(scores["measure"]) and not any(counted), "no emotion word stands in a placebo"


# what comes out


def test_gold_for_word_counts_is_there_in_explicit_texts_alone(run: Run) -> None:
    assert set(text_cells(run)["measure"]) >= {"keywords", "target"}
    table = instruments(run)
    words = table[(table["measure"] == "keywords") & (table["instrument"] == "gold_texts")]
    assert (words.loc[words["style"] == "explicit", "estimate"] > 0.5).all(), "of four scenarios each"
    assert (words.loc[words["style"] == "implicit", "estimate"] == 0).all() and not words["passed"].any()


def test_the_table_says_everything_and_the_admission_follows_from_it(run: Run) -> None:
    table, admitted = instruments(run), admissions(run)
    assert table.columns.tolist() == COLUMNS
    assert {"gold_a", "gold_b", *MUST_FAIL, "gold_texts", "placebo_texts", "placebo_acts", "placebo_words"} <= set(
        table["instrument"]
    )
    keys = ["measure", "style", "emotion"]
    assert not admitted.duplicated(keys).any() and len(admitted) == (4 + admitted["measure"].nunique() - 4) * 2 * 3
    for row in admitted.itertuples():
        mine = table[(table[keys] == [row.measure, row.style, row.emotion]).all(axis=1)]
        gold = mine[mine["instrument"].isin(["gold_a", "gold_texts"])]["verdict"].tolist()
        assert row.passed == (row.verdict == "admitted") and (not row.passed or gold == [PASSED])
        if gold == [FAILED]:
            assert row.verdict in ("not_measurable", NOT_JUDGED)
    assert (gold_estimates(run).groupby("measure").size() == 2 * 6).all()


def test_implicit_texts_come_first(run: Run) -> None:
    for table in (instruments(run), admissions(run)):
        for measure, part in table.groupby("measure"):
            styles = [style for style in dict.fromkeys(part["style"]) if style != "all"]
            assert styles == ["implicit", "explicit"][-len(styles) :], measure
    assert instruments(run).groupby("measure")["style"].nunique().max() > 1


def test_a_small_model_with_random_weights_is_not_admitted_by_s(run: Run) -> None:
    admitted = admissions(run)
    assert not admitted.loc[admitted["measure"].isin(S) & (admitted["style"] == "implicit"), "passed"].any()


def test_a_finished_stage_is_found_again(
    run: Run, lm: LanguageModel, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run.paths.results, tmp_path / "copy")
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "copy"))
    again = opened(lm, saved)
    save_instruments(again)
    folder = again.paths.instruments().parent
    assert not {path for path in again.artifacts.computed if path.parent == folder}
    pd.testing.assert_frame_equal(instruments(again), instruments(run))


def test_a_lost_part_is_made_again_with_the_same_bytes(
    run: Run, lm: LanguageModel, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run.paths.results, tmp_path / "copy")
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "copy"))
    again = opened(lm, saved)
    lost = again.paths.instruments("instrument_gold_0_tokens")
    before = lost.read_bytes()
    lost.unlink()
    save_instruments(again)
    assert lost.read_bytes() == before and lost in again.artifacts.computed


def test_every_artifact_of_the_stage_has_its_schema(run: Run) -> None:
    folder, root = run.paths.instruments().parent, run.paths.own
    made = [path.relative_to(root).as_posix() for path in run.artifacts.made if path.parent == folder]
    assert len(made) > 10
    for place in made:
        assert any(schema.match(place, run.paths.model) for schema in SCHEMAS), place


def test_lexical_parts_are_taken_at_texts_that_are_not_judged(run: Run) -> None:
    read = set(lexicon_design(run).cells["text"])
    assert len(read) == 1 and not read & set(validation_design(run).cells["text"])


def test_the_bundled_model_s_s_sees_the_feeling_before_the_text(
    bundled: LanguageModel, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path))
    monkeypatch.setattr(instrument_design, "FEW_TEXTS", 12)  # two of each style in so small a run
    own = opened(bundled, saved, n_validation=4)
    cells = instrument_gold.family_cells(own, families(own)[0])
    raw = cells[(cells["measure"] == "raw") & (cells["style"] == "explicit")]
    found = raw.groupby("instrument")["specific"].mean()
    print(cells.groupby(["measure", "style", "instrument"])["specific"].mean().unstack())
    assert found["gold_a"] > 0.05 and found["gold_a"] > found["mention"]

"""Training and asking beside the vectors, as a stage of a run: what is read, what is kept, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from phase5_rows import clean
from planted_runs import steering_run, written

from emolib.data.dataset import load_dataset
from emolib.engine.continuation import continuation_shift
from emolib.models.language_model import LanguageModel
from emolib.report.ja.phase5_shift_rivals import METHODS, dose_rows, lead_rows, rival_sentences, text_rows
from emolib.steering.comparisons import ASKING, VECTOR
from emolib.steering.shift_leads import EVERY, TRAINED
from emolib.steering.specific_shift import specific_shift
from emolib.study.phase5_steering import asking, shift_results, shift_rivals, trained_vectors
from emolib.study.phase5_steering.design import parts, training
from emolib.study.phase5_steering.shift_design import dose_design, shift_design
from emolib.study.phase5_steering.shift_sweeps import ShiftShard
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.run import Run

pytestmark = pytest.mark.filterwarnings("ignore:.*was trained on texts of up to")
SIZES = {
    **{"n_train": 8, "n_validation": 4, "n_test": 4, "layers": [1], "alphas": [0.3], "n_controls": 1},
    **{"max_new_tokens": 5, "unit": "bulk", "vector_style": "all", "trained_steps": 2, "asked_examples": [1, 2]},
    **{"backend": "lexical", "n_resamples": 50},
}


@pytest.fixture(scope="module")
def run(tiny_models: dict[str, LanguageModel], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_RESULTS", str(tmp_path_factory.mktemp("rivals")))
        patch.setattr(shift_results, "N_KL_PROMPTS", 2)
        lm = next(lm for lm in tiny_models.values() if lm.limits.positions is None)
        yield steering_run(lm, written(load_dataset(), tmp_path_factory.mktemp("data")), **SIZES)


def test_a_trained_direction_has_the_steer_s_kl_and_the_vector_s_norm(run: Run) -> None:
    table, wanted = trained_vectors.trained_table(run), trained_vectors.steer_kl(run)
    once = table.drop_duplicates("direction").set_index("direction")
    assert once["wanted"].to_dict() == pytest.approx(wanted)
    reached = once[once["reached"]]
    assert len(reached) and (abs(reached["kl"] / reached["wanted"] - 1) <= 0.05).all()
    layer, own = trained_vectors.trained_cells(run)[0].layer, vectors(run, parts(run)[0])
    for emotion, part in table.groupby("direction"):
        assert np.linalg.norm(part["value"]) == pytest.approx(own[emotion][layer].norm, rel=1e-4)
        assert abs(part["cosine"].iloc[0]) < 0.999  # it is not the vector itself


def test_training_reads_training_scenarios_alone_and_every_text_once(run: Run) -> None:
    data = run.data.set_index("text")["split"]
    train, held = trained_vectors._rows(run)
    fitted = set(training(run, parts(run)[0]).texts["text"])
    texts = [text for row in (*train, *held) for text in row.texts]
    assert set(data[texts]) == set(data[[row.prompt for row in (*train, *held)]]) == {"train"}
    assert set(texts) <= fitted and len(set(texts)) == len(texts) == 8 * len(run.emotions)
    assert len(train) == 6 and len(held) == 2


def test_examples_are_training_texts_of_one_set_of_scenarios_apart_from_what_is_measured(run: Run) -> None:
    wide, part = asking.example_texts(run), parts(run)[0]
    splits = run.data.drop_duplicates("scenario").set_index("scenario")["split"]
    assert len(wide) == 2 and set(splits[wide.index]) == {"train"}
    assert not set(wide.index) & set(shift_design(run, part, "training").cells["text"])
    cells = asking.asked_cells(run)
    for cell in cells:
        assert cell.template == "\n\n".join([*wide[cell.emotion].head(cell.index), "{text}"])
    doses = asking.asked_doses(run)
    assert len(doses) == 2 * len(run.emotions) and (doses["kl"] > 0).all()


def test_s_of_asking_is_that_of_the_asked_prompts_themselves(run: Run) -> None:
    """Raw S by the engine's own call: unpatched, after examples and prompt."""
    found = shift_rivals.rival_cells(run)
    assert set(found["method"]) == {VECTOR, TRAINED, ASKING}
    shape = found.groupby("method")[["measure", "prompt", "text", "other"]].agg(lambda names: tuple(sorted(set(names))))
    assert len(shape.drop_duplicates()) == 1 and len(shape["measure"].iloc[0]) == 4
    part = parts(run)[0]
    cells = asking.asked_cells(run)
    shard = ShiftShard(run, part, "again", dose_design(run, part), run.emotions, cells)
    rows = shard.rows
    asked, words, _ = shard.given(rows)
    logprobs = continuation_shift(run.lm, asked, words)["logprob"].to_numpy()
    again = specific_shift(rows.assign(shift=logprobs))
    ours = found[(found["method"] == ASKING) & (found["measure"] == "raw")]
    key = ["prompt", "text", "emotion", "other"]
    both = ours.merge(again, on=key, suffixes=("", "_again"), validate="one_to_one")
    assert len(both) == len(ours) and both["specific"].abs().max() > 1e-3
    np.testing.assert_allclose(both["specific"], both["specific_again"], atol=1e-4)


def test_the_vectors_own_s_is_the_study_s_in_the_same_cells(run: Run) -> None:
    found = shift_rivals.rival_cells(run)
    ours = found[(found["method"] == VECTOR) & (found["measure"] == "raw")]
    study = shift_results.specific_cells(run)
    both = ours.merge(
        study[study["measure"] == "raw"], on=["prompt", "text", "emotion", "other"], suffixes=("", "_study")
    )
    assert len(both) == len(ours)
    np.testing.assert_allclose(both["specific"], both["specific_study"], atol=1e-6)


def test_the_report_names_every_method_dose_and_lead(run: Run) -> None:
    rivals = shift_rivals.beside_steers(run)
    for table in (
        dose_rows(rivals),
        text_rows(rivals.texts),
        lead_rows(rivals.leads[rivals.leads["style"] == "implicit"]),
    ):
        clean(table)
    told = clean(rival_sentences(rivals, 0.1))
    assert all(name in told for name in METHODS.values()) and "コサイン" in told and "多重比較" in told
    assert ("等しい KL での比較ではない" in told) == (not rivals.doses["equal"].all())
    raw = rivals.leads[(rivals.leads["measure"] == "raw") & (rivals.leads["emotion"] == EVERY)]
    for style, method, larger in raw[["style", "method", "larger"]].itertuples(index=False):
        if larger == "rival":
            assert f"{METHODS[method]}が感情ベクトルを上回る" in told, style


def test_without_examples_and_weights_nothing_stands_beside(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.kept_values.clear()
    monkeypatch.setattr(asking, "example_texts", lambda run: pd.DataFrame())
    monkeypatch.setattr(shift_rivals, "trainable", lambda run: False)
    assert shift_rivals.beside_steers(run) is None

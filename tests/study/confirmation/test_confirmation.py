"""A rehearsed confirmation: what is frozen, what is read, what may be claimed, and that a second opening is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from IPython.display import Markdown
from planted_runs import steering_run, written

import emolib
from emolib.base import paths
from emolib.base.errors import UserError
from emolib.base.frozen_studies import (
    ConfirmationParameters,
    FrozenStudy,
    confirmation_parameters,
    read_frozen,
    write_frozen,
)
from emolib.data.companions import LABELS
from emolib.data.dataset import jsonl_bytes, load_dataset
from emolib.data.mock_sealed import mock_sealed
from emolib.models.language_model import LanguageModel
from emolib.pipeline.verification.schemas import schema_of
from emolib.report.ja import confirm as say
from emolib.steering.shift_measures import MEASURES
from emolib.study.confirmation import opening_checks
from emolib.study.confirmation.confirmed import Confirmation
from emolib.study.confirmation.freezing import freeze_study, frozen_of
from emolib.study.confirmation.opening_checks import checked, log_of
from emolib.study.confirmation.openings import read_openings
from emolib.study.confirmation.sealed_results import CONFIRMED, OPENED_BEFORE, REHEARSED
from emolib.study.confirmation.sealed_run import sealed_run
from emolib.study.phase5_steering import instrument_stage, shift_results
from emolib.study.phase5_steering.design import parts
from emolib.study.phase5_steering.shift_design import control_design, shift_design
from emolib.study.phase5_steering.shift_sweeps import emotion_shard, shift_points
from emolib.study.run import Run, decided

pytestmark = pytest.mark.filterwarnings("ignore:.*was trained on texts of up to")
SIZES = {
    **{"n_train": 8, "n_validation": 4, "n_test": 4, "layers": [1], "alphas": [0.3], "n_controls": 2},
    **{"max_new_tokens": 5, "unit": "bulk", "vector_style": "all"},
}
ASKED = {"rehearsal": 6, "n_controls": 2, "n_control_texts": 2, "n_text_controls": 1, "n_samples": 2}
STYLES = ("implicit", "explicit")


def mock(folder: Path, name: str, **given: Any) -> Path:
    """A small mock file: six implicit scenarios and six prompts."""
    rows = mock_sealed(**given)
    whole = rows[rows.groupby("scenario")["emotion"].transform("nunique") > 1]
    few = list(dict.fromkeys(whole.loc[whole["style"] == "implicit", "scenario"]))[1:7]
    pool = [name for name in dict.fromkeys(rows["scenario"]) if name not in set(whole["scenario"])][:6]
    file = folder / name
    file.write_bytes(jsonl_bytes(rows[rows["scenario"].isin([*few, *pool])]))
    return file


def judge(run: Run, *, passed: bool = True) -> None:
    """Instruments as if they had been judged; judging them takes longer than all the rest."""
    about = [{"measure": m, "style": s, "emotion": e} for m in MEASURES for s in STYLES for e in run.emotions]
    word = "passed" if passed else "failed"
    rows = [{**row, "instrument": "gold_a", "passed": passed, "verdict": word} for row in about]
    decided(run, instrument_stage.admissions, pd.DataFrame(rows))
    pairs = [{**row, "other": o, "instrument": "gold_a", "estimate": 1.0} for row in about for o in run.emotions]
    decided(run, instrument_stage.gold_pairs, pd.DataFrame(pairs).query("emotion != other").reset_index(drop=True))


@pytest.fixture(scope="module")
def lm(tiny_models: dict[str, LanguageModel]) -> LanguageModel:
    return next(lm for lm in tiny_models.values() if lm.limits.positions is None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("confirmation")


@pytest.fixture(scope="module")
def base(lm: LanguageModel, folder: Path) -> Iterator[Run]:
    """The run whose choice is frozen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_RESULTS", str(folder / "results"))
        patch.setattr(shift_results, "N_KL_PROMPTS", 2)
        run = steering_run(lm, written(load_dataset(), folder), **SIZES)
        judge(run)
        yield run


@pytest.fixture(scope="module")
def study(base: Run) -> FrozenStudy:
    return frozen_of(base)


@pytest.fixture(scope="module")
def asked(study: FrozenStudy, folder: Path) -> ConfirmationParameters:
    return asked_of(study, mock(folder, "mock.jsonl"), folder / "frozen.yaml")


def asked_of(study: FrozenStudy, sealed: Path, file: Path, **given: Any) -> ConfirmationParameters:
    """What is asked of a confirmation with this frozen choice, which is written."""
    write_frozen(study, file)
    return confirmation_parameters(study.model, str(sealed), {**ASKED, "frozen": str(file), **given})


@pytest.fixture(scope="module")
def opened(base: Run, asked: ConfirmationParameters) -> Confirmation:
    """A finished rehearsal."""
    found = Confirmation(asked, checked(asked, base=base))
    assert found.outcome.standing == REHEARSED
    return found


# what is frozen


def test_a_frozen_choice_is_read_as_it_was_written(study: FrozenStudy, base: Run, tmp_path: Path) -> None:
    write_frozen(study, tmp_path / "x.yaml")
    again = read_frozen(tmp_path / "x.yaml")
    assert again == study and again.digest == study.digest
    point = shift_points(base)[""]
    assert (again.choice.layer, again.choice.alpha) == (point.layer, point.alpha)
    later = study.model_copy(update={"frozen_at": "2030-01-01T00:00:00Z"})
    other = study.model_copy(update={"choice": study.choice.model_copy(update={"alpha": 0.5})})
    assert later.digest == study.digest and other.digest != study.digest


def test_freezing_refuses_what_cannot_be_confirmed_and_to_replace_another_choice(
    study: FrozenStudy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"finished Phase 5 of 'quick'.*never finished here; run it: `emolib run"):
        freeze_study("quick", "smollm2_135m", output=tmp_path / "f.yaml")
    assert not (tmp_path / "f.yaml").exists()


def test_a_cross_fitted_run_has_no_choice_to_freeze(lm: LanguageModel, folder: Path) -> None:
    run = steering_run(lm, written(load_dataset(), folder), **SIZES, folds=3)
    with pytest.raises(UserError, match="one choice for all scenarios, got folds=3"):
        frozen_of(run)


def test_another_choice_is_not_replaced_unless_told(
    study: FrozenStudy, base: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from emolib.study.confirmation import freezing

    monkeypatch.setattr(freezing, "open_run", lambda *names, **given: base)
    monkeypatch.setattr(freezing, "require_finished", lambda run: None)
    file = tmp_path / "f.yaml"
    assert freezing.freeze_study("quick", "m", output=file) == file
    before = file.read_bytes()
    freezing.freeze_study("quick", "m", output=file)
    assert file.read_bytes() == before
    write_frozen(study.model_copy(update={"choice": study.choice.model_copy(update={"alpha": 9.0})}), file)
    with pytest.raises(UserError, match=r"no other frozen choice.*alpha 9.*--overwrite replaces it"):
        freezing.freeze_study("quick", "m", output=file)
    freezing.freeze_study("quick", "m", output=file, overwrite=True)
    assert read_frozen(file).choice.alpha == study.choice.alpha


# the rehearsal


def test_a_mock_file_is_read_by_every_part_of_the_rule_and_confirms_nothing(opened: Confirmation) -> None:
    found = opened.outcome
    assert set(found.conditions["measure"]) == set(MEASURES) and set(found.conditions["style"]) == {"implicit"}
    assert {"raw", "contextual", "own"} <= set(found.like_valent["measure"])
    assert set(found.like_valent["other"]) == set(LABELS["five"])
    assert not found.claims["missing"].any() and (found.claims["n_concepts"] > 3).all()
    assert (found.claims["n_controls"] == 2).all() and (found.claims["kl_controls"] >= 1).all()
    assert found.texts.groupby("way")["emotion"].nunique().to_dict() == {"greedy": 3, "sampled": 3}
    assert CONFIRMED not in set(found.claims["outcome"])


def test_sealed_texts_stand_in_the_place_of_the_test_texts_and_nothing_else_changes(
    opened: Confirmation, base: Run
) -> None:
    run, part, before = opened.run, parts(opened.run)[0], parts(base)[0]
    design, few = shift_design(run, part, "test"), control_design(run, part)
    names = set(opened.ready.sealed.texts["scenario"])
    assert set(design.cells["text"]) == names and set(design.cells["prompt"]) <= set(
        opened.ready.sealed.prompts["scenario"]
    )
    assert design.cells.groupby("text").size().nunique() == design.cells.groupby("prompt").size().nunique() == 1
    assert few.cells["text"].nunique() == len(few.cells) == 2
    assert not names & set(base.data["scenario"]) and part.train == before.train
    own, theirs = (emotion_shard(one, parts(one)[0]).cells for one in (run, base))
    assert [cell.fingerprint() for cell in own] == [cell.fingerprint() for cell in theirs]
    assert run.paths.root != base.paths.root and run.paths.profile == paths.CONFIRMATION


def test_every_artifact_is_of_a_known_kind_and_every_number_is_told(opened: Confirmation) -> None:
    root = opened.run.paths.root
    for path in opened.run.artifacts.made:
        assert schema_of(path.relative_to(root).as_posix(), opened.run.paths.model), path
    shown = [getattr(say, name) for name in say.__all__ if name != "summary"]
    texts = [part.data if isinstance(part, Markdown) else str(part) for part in (show(opened) for show in shown)]
    assert all(len(text) > 20 for text in texts) and not any("nan" in text for text in texts)
    assert "予行" in say.conclusion(opened).data and "確認された" not in say.conclusion(opened).data
    facts = opened.finish()
    assert "--profile confirm --sealed" in facts["command"] and "rehearsal=6" in facts["command"]
    assert say.summary(facts).data


def test_every_cell_of_the_notebook_runs(opened: Confirmation, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def open_here(model: str, sealed: str, **given: Any) -> Confirmation:
        asked.append(given)
        return opened

    monkeypatch.setattr(emolib, "open_confirmation", open_here, raising=False)
    names: dict[str, Any] = {}
    for cell in nbformat.read(paths.confirmation_notebook(), as_version=4).cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    assert set(asked[0]) == {"rehearsal", "again", "n_controls", "n_samples", "temperature"}
    assert names["confirmation"] is opened


def test_the_same_choice_gives_the_same_bytes(opened: Confirmation, base: Run, asked: ConfirmationParameters) -> None:
    folder = opened.run.paths.confirmation("x").parent
    tables = [path for path in sorted(folder.iterdir()) if not path.name.endswith("manifest.json")]
    before = [path.read_bytes() for path in tables]
    again = Confirmation(asked, checked(asked, base=base), force=True)
    assert again.outcome.claims.equals(opened.outcome.claims) and again.run.artifacts.computed
    assert [path.read_bytes() for path in tables] == before and len(tables) == 7
    assert again.opened_at == opened.opened_at and len(read_openings(log_of(base, asked))) == 1


def test_a_second_opening_with_another_choice_is_told(
    opened: Confirmation, base: Run, study: FrozenStudy, folder: Path
) -> None:
    other = study.model_copy(update={"choice": study.choice.model_copy(update={"alpha": 0.2})})
    sealed = Path(opened.params.sealed)
    asked = asked_of(other, sealed, folder / "other.yaml")
    with pytest.raises(UserError, match=rf"opened on {opened.opened_at} with another choice \(.*alpha 0\.3"):
        checked(asked, base=base)
    again = asked_of(other, sealed, folder / "other.yaml", again=True)
    ready = checked(again, base=base)
    assert ready.before is not None and ready.before.choice == study.digest
    run = sealed_run(base, ready.sealed, other.choice, again, force=False)
    assert shift_points(run)[""].alpha == 0.2 and {cell.alpha for cell in emotion_shard(run, parts(run)[0]).cells} == {
        0.2
    }
    more = asked_of(study, sealed, folder / "frozen.yaml", n_controls=3)
    with pytest.raises(UserError, match="other ones would be another choice"):
        checked(more, base=base)


def test_what_is_supported_is_confirmed_only_where_it_was_opened_as_it_should_be() -> None:
    from emolib.study.confirmation.sealed_results import CONFIRMS, _outcome

    row = {"verdict": "supported", "exploratory": False}
    assert _outcome(row, CONFIRMS) == CONFIRMED
    assert _outcome(row, REHEARSED) == _outcome(row, OPENED_BEFORE) == "supported"
    assert _outcome({**row, "exploratory": True}, CONFIRMS) == "supported"
    assert _outcome({**row, "verdict": "not_supported"}, CONFIRMS) == "not_supported"


# what stops it before anything is read


def changed(study: FrozenStudy, **parts: dict[str, Any]) -> FrozenStudy:
    """The frozen choice with other hashes."""
    return study.model_copy(update={name: study.__dict__[name].model_copy(update=new) for name, new in parts.items()})


def test_a_choice_that_no_longer_stands_is_refused(base: Run, study: FrozenStudy, asked: Any, folder: Path) -> None:
    sealed, file, none = Path(asked.sealed), folder / "changed.yaml", "0" * 64
    cases = {
        r"changed in steering[,;]": changed(study, code={"parts": {**study.code.parts, "steering": none}}),
        r"the rule of a claim is among it": changed(study, rule={"sha256": none}),
        r"expected the data .* placebo.jsonl changed": study.model_copy(
            update={"data": {**study.data, "placebo.jsonl": none}}
        ),
        r"expected the model .* revision changed": study.model_copy(
            update={"weights": {**study.weights, "revision": "x"}}
        ),
    }
    for says, one in cases.items():
        with pytest.raises(UserError, match=says) as told:
            checked(asked_of(one, sealed, file), base=base)
        assert "\n" not in str(told.value)
    assert checked(asked_of(study, sealed, folder / "frozen.yaml"), base=base).before is None


def test_without_a_frozen_choice_nothing_is_opened(asked: ConfirmationParameters, base: Run) -> None:
    with pytest.raises(UserError, match=r"expected the frozen choice of 'tiny-.*emolib freeze --model"):
        checked(asked.model_copy(update={"frozen": None}), base=base)


def test_a_file_of_the_projects_own_texts_is_no_sealed_file(base: Run, study: FrozenStudy, folder: Path) -> None:
    asked = asked_of(study, folder / "mock.jsonl", folder / "frozen.yaml").model_copy(update={"rehearsal": None})
    with pytest.raises(UserError, match=r"at least 96 implicit.*is in data/emotion_dataset.jsonl or nearly so"):
        checked(asked, base=base)


def test_vectors_or_instruments_that_differ_are_refused_before_the_opening_is_noted(
    base: Run, study: FrozenStudy, asked: ConfirmationParameters, opened: Confirmation, folder: Path
) -> None:
    ready = checked(asked_of(study, Path(asked.sealed), folder / "frozen.yaml"), base=base)
    assert opening_checks.require_same_vectors(ready) == 0
    longer = {emotion: 1.5 * norm for emotion, norm in study.vectors.norms.items()}
    rounded = {emotion: 1.0001 * norm for emotion, norm in study.vectors.norms.items()}
    one = changed(study, vectors={"sha256": "0" * 64, "norms": rounded})
    assert 0 < opening_checks.require_same_vectors(replace(ready, study=one)) < 0.001
    for other, says in (
        (changed(study, vectors={"sha256": "0" * 64, "norms": longer}), "they differ by 0.33"),
        (study.model_copy(update={"instruments": "0" * 64}), "they say otherwise here"),
    ):
        with pytest.raises(UserError, match=says):
            Confirmation(asked, replace(ready, study=other))
    assert len(read_openings(log_of(base, asked))) == 1

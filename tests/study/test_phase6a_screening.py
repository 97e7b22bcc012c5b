"""Phase 6a's notebook on a tiny model: what it stores, and that a second opening computes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from planted_runs import opened_run

from emolib import load_dataset
from emolib.base import paths, store
from emolib.base.errors import UserError
from emolib.base.files import read_json
from emolib.circuits.screening import exact_changes
from emolib.data.dataset import jsonl_bytes
from emolib.models.language_model import LanguageModel
from emolib.pipeline.verification.schemas import schema_of
from emolib.plots import figures, views
from emolib.report import phase6a as say
from emolib.study import phase6a_screening as study
from emolib.study.phase6a_screening import all_roads
from emolib.study.phase6a_screening.contrast_design import in_turn
from emolib.study.phase6b_head_patching import patched_cells
from emolib.study.run import Run

GIVEN = {
    **{
        "n_train": 6,
        "n_validation": 4,
        "n_test": 4,
        "n_screened": 4,
        "n_ranked": 4,
        "n_attributed": 2,
        "n_confirmed": 3,
        "n_top": 2,
    },
    **{"layers": [0, 1, 2], "first_trusted": 1, "n_null": 19, "n_sets": 24, "n_bands": 1, "max_new_tokens": 5},
    **{"most_tokens": 5, "steps": 0, "n_bent": 1, "backend": "lexical"},
}
OTHER = {"n_train": 6, "n_validation": 4, "n_test": 4, "n_texts": 2, "backend": "lexical"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of the data set, cut to what the tiny model's positions hold."""
    data = load_dataset()
    names = [
        name
        for split in ("train", "validation", "test")
        for name in data.query("split == @split")["scenario"].unique()[:12]
    ]
    some = data[data["scenario"].isin(names)]
    folder = tmp_path_factory.mktemp("phase6a")
    numbers = pd.Series(range(len(some)), index=some.index).astype(str)  # every text stays unique, and shares no word
    (folder / "texts.jsonl").write_bytes(jsonl_bytes(some.assign(text=some["text"].str[:60] + " " + numbers + ".")))
    return folder / "texts.jsonl"


@pytest.fixture
def run(file: Path, tiny_models: dict[str, LanguageModel], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path))
    monkeypatch.setattr(figures, "show", lambda fig, name: None)
    monkeypatch.setattr(views, "show", lambda view: None)
    return opened_run(tiny_models["llama"], "phase6a", dataset=str(file), **GIVEN)


def test_the_notebook_runs_and_what_it_stores_is_of_its_kind(run: Run) -> None:
    space = {"run": run, "say": say, "study": study}
    for cell in nbformat.read(paths.notebook_file("phase6a"), as_version=4).cells[5:]:
        if cell.cell_type == "code" and "open_run" not in cell.source:
            exec(cell.source, space)
    places = [path for path in run.paths.root.rglob("*") if path.is_file() and "screening" in path.parts]
    stored = [path for path in places if not path.name.endswith(".manifest.json")]
    assert len(stored) == 21
    for path in stored:
        found = schema_of(path.relative_to(run.paths.root).as_posix(), run.paths.model)
        assert found is not None and found[0].phase == "phase6a", path
        if path.suffix == ".parquet":
            table, schema = store.read_table(path), found[0]
            assert set(schema.types) <= set(table) and (schema.families or set(schema.types) == set(table)), path
            assert not table.duplicated(schema.key.split()).any(), path
            filled = table[[name for name in schema.types if name not in schema.blank.split()]]
            assert filled.notna().all(axis=None), path
    layout = json.loads(run.paths.head_scores().read_text())
    assert list(layout["head_scores"][0]) == sorted(["layer", "head", "metric", "delta_mean", "delta_std", "n_samples"])
    assert len(layout["head_scores"]) == 12 and len(layout["head_samples"]) == 12 * 4
    assert run.record.state() == "done"


def test_stored_ablations_are_those_of_the_library_and_are_found_again(run: Run) -> None:
    exact = study.all_heads(run)
    wanted = exact_changes(run.lm, exact.units.drop(columns="base"), exact.variants)
    np.testing.assert_allclose(exact.changes, wanted.changes, atol=1e-6)
    again = Run(run.params, overrides=run.overrides)
    again.__dict__["lm"] = run.lm
    pd.testing.assert_frame_equal(study.all_heads(again).units, exact.units)
    assert again.artifacts.computed == set()
    top, control = study.selection(run)
    assert len(top) == 2 and not set(top) & set(control) and {layer for layer, _ in control} <= {a for a, _ in top}
    assert list(study.controls(run)) == list(top) and len(study.controlled(run)) == 2
    assert min(layer for layer, _ in study.attributed(run)) >= 1  # of the first layer AtP is not asked


def test_heads_are_ordered_by_exact_ablation_on_validation_and_not_by_attribution(
    run: Run, tiny_models: dict[str, LanguageModel], file: Path
) -> None:
    ranking, texts = study.ranking(run), in_turn(run, "validation")
    assert not set(texts["scenario"]) & set(in_turn(run)["scenario"]) and len(ranking) == 12
    exact = exact_changes(
        run.lm, texts, [[head] for head in ranking[["layer", "head"]].itertuples(index=False, name=None)]
    )
    means = exact.by_scenario().mean().to_numpy()
    np.testing.assert_allclose(ranking["delta_mean"], means, atol=1e-6)
    first = ranking.sort_values("t", kind="stable")[["layer", "head"]].to_numpy().tolist()
    assert [list(head) for head in study.selection(run)[0]] == first[:2]
    scores = study.validation_scores(run)
    own = scores[scores["emotion"] == "all"]
    by_atp = own.assign(t=own["carried"] / own["se"]).sort_values("t", ascending=False, kind="stable")
    patched = opened_run(tiny_models["llama"], "phase6b", **OTHER, dataset=str(file), heads="top:5")
    assert [list(head) for head in patched_cells.heads(patched)] == first[:5]
    assert first[:5] != by_atp[["layer", "head"]].to_numpy().tolist()[:5], "both orders are one, nothing is told"


def test_the_first_study_s_layout_is_packed_where_it_is_large(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    study.all_heads(run)
    monkeypatch.setattr(all_roads, "LARGE", 100)
    found = study.scores(run)
    place = run.paths.head_scores(packed=True)
    assert place.name.endswith(".json.gz") and not run.paths.head_scores().exists()
    layout = read_json(place)
    assert len(layout["head_scores"]) == len(found) == 12
    known = schema_of(place.relative_to(run.paths.root).as_posix(), run.paths.model)
    assert known is not None and known[0].format == "json"
    place.write_bytes(place.read_bytes()[:-9])
    with pytest.raises(UserError, match="packed by gzip"):
        read_json(place)

"""Phase 8's notebook on a tiny model: what it stores, and that a second opening computes nothing."""

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
from emolib.circuits.faithfulness import faithfulness
from emolib.data.dataset import jsonl_bytes
from emolib.models.language_model import LanguageModel
from emolib.pipeline.verification.schemas import schema_of
from emolib.plots import figures, views
from emolib.report import phase8 as say
from emolib.study import phase8_circuits as study
from emolib.study.phase8_circuits.chosen_circuits import effect
from emolib.study.run import Run

GIVEN = {
    **{
        "n_train": 6,
        "n_validation": 6,
        "n_test": 6,
        "steer_alpha": 3.0,
        "n_attributed": 6,
        "n_chosen": 6,
        "n_judged": 6,
        "n_controls": 3,
    },
    **{"n_draws": 19, "n_texts": 6, "n_edges": 1, "most_nodes": 3, "n_random": 4, "n_subsets": 2, "n_resamples": 20},
    **{"most_tokens": 4, "steps": 1, "backend": "lexical"},
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of the data set, cut to what the tiny model's positions hold."""
    data = load_dataset()
    names = [
        name
        for split in ("train", "validation", "test")
        for name in data.query("split == @split and style == 'explicit'")["scenario"].unique()[:12]
    ]
    some = data[data["scenario"].isin(names)]
    folder = tmp_path_factory.mktemp("phase8")
    numbers = pd.Series(range(len(some)), index=some.index).astype(str)  # every text stays unique, and shares no word
    (folder / "texts.jsonl").write_bytes(jsonl_bytes(some.assign(text=some["text"].str[:60] + " " + numbers + ".")))
    return folder / "texts.jsonl"


@pytest.fixture
def run(file: Path, tiny_models: dict[str, LanguageModel], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path))
    monkeypatch.setattr(figures, "show", lambda fig, name: None)
    monkeypatch.setattr(views, "show", lambda view: None)
    return opened_run(tiny_models["llama"], "phase8", dataset=str(file), **GIVEN)


def test_the_notebook_runs_and_what_it_stores_is_of_its_kind(run: Run) -> None:
    space = {"run": run, "say": say, "study": study}
    for cell in nbformat.read(paths.notebook_file("phase8"), as_version=4).cells[5:]:
        if cell.cell_type == "code" and "open_run" not in cell.source:
            exec(cell.source, space)
    stored = [path for path in run.paths.root.rglob("circuits/*") if not path.name.endswith(".manifest.json")]
    kinds = set()
    for path in stored:
        found = schema_of(path.relative_to(run.paths.root).as_posix(), run.paths.model)
        assert found is not None and found[0].phase == "phase8", path
        kinds.add(found[0].kind)
        if path.suffix == ".parquet":
            table, schema = store.read_table(path), found[0]
            assert set(schema.types) <= set(table) and (schema.families or set(schema.types) == set(table)), path
            assert not table.duplicated(schema.key.split()).any(), path
            filled = table[[name for name in schema.types if name not in schema.blank.split() and schema.blank != "*"]]
            assert filled.notna().all(axis=None), path
    assert len(stored) == 26 and len(kinds) == 24
    summary = json.loads(run.paths.circuits("circuit_summary", "json").read_text())
    assert set(summary["effects"]) == {"context", "steer"}
    assert run.record.state() == "done"
    again = Run(run.params, overrides=run.overrides)
    again.__dict__["lm"] = run.lm
    for name in ("verdicts", "roles", "random_sets", "ov_heads", "cut_edges"):
        pd.testing.assert_frame_equal(getattr(study, name)(again), getattr(study, name)(run))
    assert again.artifacts.computed == set()


def test_circuits_are_chosen_on_validation_and_judged_on_test(run: Run) -> None:
    for which in study.effects(run):
        chosen = study.choice(run, which)
        names = {split: set(study.units(run, which, split, 6)["scenario"]) for split in ("validation", "test")}
        assert names["validation"] and names["test"] and not names["validation"] & names["test"]
        table = study.judged(run)
        own = table[table["effect"] == which]
        assert bool(len(own)) == bool(chosen.nodes)
        if chosen.nodes:
            found = faithfulness(effect(run, which, "test"), [chosen.nodes])
            value = own.set_index("measure").loc["faithfulness", "value"]
            np.testing.assert_allclose(found["faithfulness"].iloc[0], value, equal_nan=True)
            assert len(chosen.nodes) <= GIVEN["most_nodes"]
        else:
            assert study.verdicts(run).set_index("effect").loc[which, "verdict"] == "not_measurable"

"""Phase 8's notebook on a planted model: what it stores, and that a second opening computes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from planted_runs import opened_run, written

from emolib.base import paths, store
from emolib.circuits.faithfulness import NOT_MEASURABLE, faithfulness
from emolib.circuits.nodes import Node
from emolib.pipeline.verification.schemas import schema_of
from emolib.plots import figures, views
from emolib.report import phase8 as say
from emolib.selftest.planted import Planted, plant, planted_scenarios, words
from emolib.study import phase8_circuits as study
from emolib.study.phase8_circuits import chosen_circuits
from emolib.study.phase8_circuits.chosen_circuits import effect
from emolib.study.run import Run

GIVEN = {
    **{"n_train": 24, "n_validation": 8, "n_test": 8, "n_attributed": 8, "n_chosen": 8, "n_judged": 8, "n_controls": 3},
    **{"n_draws": 19, "n_texts": 6, "n_edges": 1, "most_nodes": 3, "n_random": 19, "n_subsets": 2, "n_resamples": 40},
    **{"steps": 1, "steer_layer": 1, "steer_alpha": 1.0, "vector_style": "all"},
    **{"backend": "lexical", "sites": ["resid_pre"]},
}


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant("gpt2", effect=2.0)


@pytest.fixture(scope="module")
def file(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts that are contexts by their trigger words and continuations by what they describe at their end."""
    data = planted_scenarios(planted, 60)
    nouns = [noun for some in words.NOUNS.values() for noun in some]
    texts = []
    for number, label in enumerate(data["emotion"]):
        scene = number // 4
        described = words.PLAIN if label == "neutral" else words.EMOTIONAL[label]
        opening = words.FILLERS if label == "neutral" else planted.truth.triggers[label]
        link, place = words.LINKS[scene % 5], words.CIRCUMSTANCES[scene % len(words.CIRCUMSTANCES)]
        ending = f"{link} {described[scene % 6]} {nouns[scene % len(nouns)]}"
        texts.append(f"{words.SUBJECTS[scene % 6]} {opening[scene % 3]} {place} {ending} {ending} .")
    return written(data.assign(text=texts), tmp_path_factory.mktemp("phase8"))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared: what one test has computed the next one finds."""
    return tmp_path_factory.mktemp("phase8_results")


@pytest.fixture
def run(planted: Planted, file: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("EMOLIB_RESULTS", str(results))
    monkeypatch.setattr(figures, "show", lambda fig, name: None)
    monkeypatch.setattr(views, "show", lambda view: None)
    return opened_run(planted.lm, "phase8", dataset=str(file), **GIVEN)


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
    assert len(stored) == 28 and len(kinds) == 26
    summary = json.loads(run.paths.circuits("circuit_summary", "json").read_text())
    assert set(summary["effects"]) == {"context", "steer"}
    assert run.record.state() == "done"
    again = Run(run.params, overrides=run.overrides)
    again.__dict__["lm"] = run.lm
    for name in ("verdicts", "roles", "random_sets", "ov_heads", "cut_edges"):
        pd.testing.assert_frame_equal(getattr(study, name)(again), getattr(study, name)(run))
    assert again.artifacts.computed == set()


def test_the_planted_circuit_is_found_with_its_roles_and_holds_on_other_scenarios(run: Run, planted: Planted) -> None:
    truth = planted.truth
    writer, reader = Node(truth.write_layer, "head", truth.write_head), Node(truth.read_layer, "mlp")
    roles, verdicts = study.roles(run), study.verdicts(run).set_index("effect")
    for which in ("context", "steer"):
        chosen = study.choice(run, which)
        assert chosen.nodes == {writer, reader} and verdicts.loc[which, "verdict"] == "supported"
        own = roles[roles["effect"] == which].set_index("node")
        assert own["role"].to_dict() == {writer.name: "write", reader.name: "read"} and own["core"].all()
        names = {split: set(study.units(run, which, split, 8)["scenario"]) for split in ("validation", "test")}
        assert names["validation"] and names["test"] and not names["validation"] & names["test"]
        found = faithfulness(effect(run, which, "test"), [chosen.nodes, frozenset({Node(3, "mlp")})])["faithfulness"]
        assert found[0] == pytest.approx(verdicts.loc[which, "value"]) and abs(found[1]) < 0.25


def test_a_steer_that_all_emotions_share_has_no_circuit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same act on both sides: S is nothing, whatever the act does."""
    same = chosen_circuits.steers(run)["anger"]
    monkeypatch.setattr(chosen_circuits, "steers", lambda run: dict.fromkeys(run.emotions, same))
    assert study.choice(run, "steer").found is None
    assert effect(run, "steer", "test").code == NOT_MEASURABLE

"""Phases 2, 3 and 5 on Gemma 3 270M, the real one, where its packages are installed: what they store and say."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from smoke_run import emolib_here

from emolib.base import paths, store, tensor_files
from emolib.base.config import model_table
from emolib.data.activations import StoredActivations
from emolib.models.carriers import is_installed
from emolib.pipeline.phases import open_runs
from emolib.study.run import Run

GEMMA = model_table()["gemma3_270m"]
PHASES = ("phase2", "phase3", "phase5")
LAYERS = (9, 11)
EMOTIONS = {"gratitude", "anger", "apology"}
SMALL = {
    **{"layers": "9,11", "alphas": "1.5", "n_controls": "1", "max_new_tokens": "5", "n_resamples": "50"},
    **{"n_train": "4", "n_validation": "2", "n_test": "2", "n_halves": "2", "n_shuffles": "1", "n_bootstrap": "50"},
}

pytestmark = pytest.mark.skipif(
    not is_installed(GEMMA), reason="gemma3_270m is not installed: `emolib fetch gemma3_270m` or EMOLIB_GEMMA=1"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the three phases have run."""
    place = tmp_path_factory.mktemp("gemma")
    chosen = [word for phase in PHASES for word in ("--phase", phase)]
    given = [word for name, value in SMALL.items() for word in ("-p", f"{name}={value}")]
    done = emolib_here(place, "run", "--profile", "baseline_smoke", "--model", GEMMA.name, *chosen, *given)
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Run]:
    monkeypatch.setenv("EMOLIB_RESULTS", str(folder / "results"))
    monkeypatch.setenv("EMOLIB_EXECUTED", str(folder / "executed"))
    opened = open_runs("baseline_smoke", GEMMA.name, PHASES, SMALL)
    assert [run.record.state() for run in opened] == ["done"] * len(PHASES)
    return dict(zip(PHASES, opened, strict=True))


def test_activations_are_of_gemmas_shapes_and_begin_with_its_first_token(runs: dict[str, Run]) -> None:
    folder = runs["phase2"].paths.activations()
    acts = StoredActivations(folder, "mean").read()
    n_texts = len(acts.texts)
    assert acts.values["resid_pre"].shape == (19, n_texts, 640) and acts.values["mlp_out"].shape == (18, n_texts, 640)
    assert (acts.model, acts.revision) == (GEMMA.name, GEMMA.bundled.sha256)
    assert all(np.isfinite(values).all() for values in acts.values.values())
    # every text holds the same first token, whose norm no text changes; the second differs (norms of embeddings do not)
    first, second = (acts.token_norms[:, acts.offsets[:-1] + place] for place in (0, 1))
    np.testing.assert_allclose(first, first[:, :1].repeat(n_texts, axis=1), rtol=1e-3)
    assert (np.ptp(second, axis=1) > 1e-2 * np.median(second, axis=1))[1:].all()
    assert {"mean", "last"} <= {path.name for path in folder.iterdir()}


def test_vectors_are_of_width_640_at_every_layer(runs: dict[str, Run]) -> None:
    where = runs["phase3"].paths
    for position in ("mean", "last"):
        with tensor_files.open_tensors(where.vectors(position)) as view:
            found = {name: view.get_tensor(name) for name in list(view.keys()) if name.startswith("vector/")}
            assert (view.said("model"), view.said("revision")) == (GEMMA.name, GEMMA.bundled.sha256)
        assert set(found) == {f"vector/{emotion}" for emotion in EMOTIONS}
        assert all(values.shape == (19, 640) and np.isfinite(values).all() for values in found.values())
        assert all((np.linalg.norm(values, axis=1)[1:] > 0).all() for values in found.values())
    unlike = store.read_table(where.companion_table("dissimilarities"))
    assert unlike["layer"].max() == 18 and unlike["dissimilarity"].between(0, 2).all()
    assert len(pd.read_csv(where.cross_model_table())) == 0  # no other model beside it


def test_the_sweep_has_gemmas_layers_and_strength_0_leaves_the_text_as_it_is(runs: dict[str, Run]) -> None:
    run = runs["phase5"]
    validation = store.read_table(run.paths.sweep("validation"))
    steered = validation[validation["kind"] == "emotion"]
    assert set(steered["layer"]) == set(LAYERS) and set(steered["emotion"]) == EMOTIONS
    test = store.read_table(run.paths.sweep("test"))
    texts = {kind: test[test["kind"] == kind].set_index("scenario")["text"] for kind in ("zero", "baseline")}
    assert len(texts["zero"]) == len(texts["baseline"]) == run.params.n_test
    pd.testing.assert_series_equal(texts["zero"].sort_index(), texts["baseline"].sort_index())
    own = steered.merge(
        validation.loc[validation["kind"] == "baseline", ["scenario", "text"]], on="scenario", suffixes=("", "_before")
    )
    assert (own["text"] != own["text_before"]).any()  # control: a steer does change texts


@pytest.mark.parametrize("phase", PHASES)
def test_reports_ran_without_error_and_name_the_model_and_its_first_token(runs: dict[str, Run], phase: str) -> None:
    variant = runs[phase].variant.name
    report = nbformat.read(paths.executed_file("baseline_smoke", GEMMA.name, phase, variant), as_version=4)
    outputs = [out for cell in report.cells if cell.cell_type == "code" for out in cell.outputs]
    assert outputs and not [out for out in outputs if out.output_type in ("error", "stream")]
    said = "\n".join(out.data.get("text/markdown", "") for out in outputs if "data" in out)
    assert "gemma3_270m" in said
    begins = re.search("テキストの先頭に開始トークン .{0,20}bos.{0,20} を付加する", said)
    assert bool(begins) == (phase != "phase3")

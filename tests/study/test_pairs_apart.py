"""Phases 3 and 5 tell minimal pairs from other scenarios where the data set says which are which."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from planted_runs import in_two_styles, steering_run, vectors_run, written

from emolib.data.dataset import load_dataset
from emolib.report.ja import phase1, phase3, phase5
from emolib.selftest.planted import Planted, plant, planted_scenarios
from emolib.statistics.auc import auc_interval
from emolib.statistics.intervals import bootstrap_mean
from emolib.study import phase3_vectors, phase5_steering, text_answers
from emolib.study.phase3_vectors import fitting, pair_separation
from emolib.study.phase3_vectors.separation import chosen_separation
from emolib.study.phase5_steering import results
from emolib.study.run import Run


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant("llama", distractors=False)


def every_other(data: pd.DataFrame) -> pd.DataFrame:
    return data.assign(minimal_pair=data.groupby("split")["scenario"].transform(lambda s: pd.factorize(s)[0]) % 2 == 0)


@pytest.fixture(scope="module")
def saved(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(every_other(in_two_styles(planted_scenarios(planted, 40, seed=1))), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(planted: Planted, saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_RESULTS", str(tmp_path_factory.mktemp("results")))
        yield vectors_run(planted.lm, saved)


def test_so_few_scenarios_of_a_kind_have_an_auc_without_an_interval(run):
    found = phase3_vectors.minimal_pair_separation(run, chosen_separation(run)).table
    assert found[["minimal", "other", "difference"]].notna().all(axis=None)
    ends = [f"{name}_{end}" for name in ("minimal", "other", "difference") for end in ("low", "high")]
    assert (found["n_other"] < pair_separation.FEWEST).all() and found[ends].isna().all(axis=None)


def test_the_projections_are_tested_on_either_kind_at_the_chosen_layer(run, monkeypatch):
    monkeypatch.setattr(pair_separation, "FEWEST", 4)
    separation = chosen_separation(run)
    found = phase3_vectors.minimal_pair_separation(run, separation)
    assert found.kinds.code == "both" and found.table["emotion"].tolist() == list(run.emotions)
    raw = separation[(separation["position"] == "mean") & (separation["variant"] == "raw")].set_index("emotion")
    test, vecs = fitting.split_of(run, "mean", "test"), fitting.vectors(run, "mean")
    for row in found.table.to_dict("records"):
        emotion = row["emotion"]
        assert row["layer"] == raw.loc[emotion, "layer"]
        for kind in ("minimal", "other"):
            part = test.where(
                test.texts["scenario"].isin(getattr(found.kinds, kind))
                & test.texts["emotion"].isin([emotion, "neutral"])
            )
            assert row[f"n_{kind}"] == part.texts["scenario"].nunique() == 4
            along = part.layer("resid_pre", row["layer"]) @ vecs[emotion][row["layer"]].values
            given = {"n_resamples": run.params.n_bootstrap, "seed": run.params.seed}
            expected = auc_interval(
                along, (part.texts["emotion"] == emotion).to_numpy(), part.texts["scenario"], **given
            )
            assert (row[kind], row[f"{kind}_low"], row[f"{kind}_high"]) == pytest.approx(expected)
        assert row["difference"] == pytest.approx(row["minimal"] - row["other"])
    shown = phase3.table_pair_separation(found)
    assert shown["ミニマルペアの数"].tolist() == [4] * len(shown) and shown["差"].str.contains(r"[+-]").all()


@pytest.mark.parametrize(
    ("flag", "words"), [(True, "すべてミニマルペア"), (False, "ミニマルペアはない"), (None, "記していない")]
)
def test_one_kind_alone_or_nothing_said_is_one_sentence(run, flag, words, monkeypatch):
    separation = chosen_separation(run)
    data = run.data.drop(columns="minimal_pair") if flag is None else run.data.assign(minimal_pair=flag)
    monkeypatch.setitem(run.__dict__, "data", data)
    shown = phase3.table_pair_separation(phase3_vectors.minimal_pair_separation(run, separation)).data
    assert words in shown and shown.count("。") == 1


def test_a_kind_with_one_scenario_has_no_auc(run, monkeypatch):
    separation = chosen_separation(run)
    first = run.texts("test")["scenario"].iloc[0]
    monkeypatch.setitem(run.__dict__, "data", run.data.assign(minimal_pair=run.data["scenario"] == first))
    found = phase3_vectors.minimal_pair_separation(run, separation)
    assert set(found.table["n_minimal"]) == {1}
    assert found.table[["minimal", "difference"]].isna().all(axis=None) and found.table["other"].notna().all()
    assert set(phase3.table_pair_separation(found)["差"]) == {"—"}


@pytest.fixture(scope="module")
def effects() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"emotion": e, "metric": f"{m}/{e}", "scenario": f"s{i}", "effect": rng.random() + (i < 8)}
        for e in ("anger", "gratitude")
        for m in ("keywords", "target")
        for i in range(20)
    ]
    return pd.DataFrame(rows)


def steered(effects: pd.DataFrame, minimal: int | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("emolib.study.phase5_steering.pair_effects.prompt_effects", lambda run: effects)
    data = pd.DataFrame({"scenario": [f"s{i}" for i in range(20)]})
    if minimal is not None:
        data["minimal_pair"] = np.arange(20) < minimal
    params = SimpleNamespace(n_resamples=200, seed=3)
    return phase5_steering.minimal_pair_effects(SimpleNamespace(data=data, params=params, kept_values={}))


def test_the_effect_of_either_kind_is_the_mean_of_its_scenarios(effects, monkeypatch):
    found = steered(effects, 8, monkeypatch)
    assert len(found.table) == 8 and found.table["n"].tolist() == [8, 12] * 4
    own = effects[(effects["emotion"] == "anger") & (effects["metric"] == "target/anger")]["effect"].to_numpy()
    row = found.table[(found.table["metric"] == "target/anger") & (found.table["texts"] == "minimal")].iloc[0]
    expected = bootstrap_mean(own[:8], n_resamples=200, seed=3)
    assert (row["effect"], row["low"], row["high"]) == (expected.mean, expected.low, expected.high)
    shown = phase5.table_pair_effects(found)
    assert shown.loc[("怒り", "怒りの確率", "ミニマルペア"), "数"] == 8


@pytest.mark.parametrize(
    ("minimal", "words"), [(20, "すべてミニマルペア"), (0, "ミニマルペアはない"), (None, "記していない")]
)
def test_effects_of_one_kind_alone_are_not_told_apart(effects, minimal, words, monkeypatch):
    assert words in phase5.table_pair_effects(steered(effects, minimal, monkeypatch)).data


def test_a_kind_of_one_scenario_has_an_effect_without_an_interval(effects, monkeypatch):
    found = steered(effects, 1, monkeypatch)
    assert found.table.loc[found.table["texts"] == "minimal", "low"].isna().all()
    assert "区間なし" in phase5.table_pair_effects(found)["変化 [95 % BCa]"].iloc[0]


def test_the_effects_are_those_of_the_test_sweep(planted, saved, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path))
    run = steering_run(planted.lm, saved, layers=[2], alphas=[0.1])
    found, own = phase5_steering.minimal_pair_effects(run), results.prompt_effects(run)
    assert found.kinds.minimal | found.kinds.other == set(own["scenario"])
    total = found.table.assign(sum=found.table["n"] * found.table["effect"]).groupby("metric")[["sum", "n"]].sum()
    np.testing.assert_allclose(total["sum"] / total["n"], own.groupby("metric")["effect"].mean())


def test_labels_stand_beside_the_ratings_of_their_words_and_unrated_ones_are_told():
    params = SimpleNamespace(neutral="neutral")
    table = text_answers.rated_words(SimpleNamespace(data=load_dataset(), params=params, kept_values={}))
    assert len(table) == 23 and "neutral" not in set(table["label"])
    shown = phase1.table_words(table)
    assert shown.loc["喜び"].tolist() == ["joy", "+2.8", "0.75"]
    assert (shown["評定された語"] == "評定なし").sum() == table["word"].isna().sum() == 1
    assert "curious" in set(shown["評定された語"])
    own = pd.DataFrame({"emotion": ["joy", "calm, quiet", "flat"], "scenario": "a"}).assign(
        id=list("abc"), topic="general", lang="en", style="a", split="train", text=list("xyz")
    )
    few = text_answers.rated_words(SimpleNamespace(data=own, params=SimpleNamespace(neutral="flat"), kept_values={}))
    assert few["label"].tolist() == ["joy", "calm, quiet"] and few["word"].isna().tolist() == [False, True]

"""Phase 5 as a run on a planted model: which scenarios are fitted on, chosen with and reported on, and what is left."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from phase5_rows import clean
from planted_runs import in_two_styles, opened_run, steering_run, written

from emolib.base import store
from emolib.base.errors import UserError
from emolib.directions.controls import FAMILIES, isotropic_direction
from emolib.engine.generation import generate
from emolib.engine.read_generation import generate_and_read
from emolib.interventions import Steer
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode
from emolib.report.ja import phase5 as say
from emolib.selftest.planted import Planted, plant, planted_scenarios, words
from emolib.steering import alternatives
from emolib.steering.cells import control_seed
from emolib.steering.damage import next_token_kl
from emolib.steering.effects import effects
from emolib.study import phase5_steering as study
from emolib.study.phase5_steering import (
    design,
    own_sweeps,
    results,
    rival_sweeps,
    side_effects,
    strengths,
    sweep_settings,
    validation_sweeps,
)
from emolib.study.run import Run

FEW = {"n_train": 8, "n_validation": 4, "n_test": 4, "folds": 3, "layers": [2]}
CHAT = "{{ bos_token }}{% for m in messages %}they said {{ m['content'] }} {% endfor %}so"


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant("llama", distractors=False)


@pytest.fixture(scope="module")
def data(planted: Planted) -> pd.DataFrame:
    return in_two_styles(planted_scenarios(planted, 30, seed=1))


@pytest.fixture(scope="module")
def saved(data: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(data, tmp_path_factory.mktemp("data"))


def whole(run: Run) -> pd.DataFrame:
    """Everything that the notebook makes; returns the test sweep."""
    sweep = own_sweeps.test_sweep(run)
    own_sweeps.dose_sweep(run), rival_sweeps.alternatives_sweep(run, "test"), side_effects.damage(run)
    results.save(run)
    return sweep


@pytest.fixture(scope="module")
def run(planted: Planted, saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A finished run over the data set's own split."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_RESULTS", str(tmp_path_factory.mktemp("own")))
        finished = steering_run(planted.lm, saved)
        whole(finished)
        yield finished


@pytest.fixture(scope="module")
def folded(planted: Planted, saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A finished cross-fitted run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_RESULTS", str(tmp_path_factory.mktemp("folds")))
        finished = steering_run(planted.lm, saved, **FEW)
        whole(finished)
        yield finished


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for the results of a test of its own."""
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))
    return tmp_path


def changed(data: pd.DataFrame, scenarios: frozenset[str] | set[str]) -> pd.DataFrame:
    """The same data set with other nouns and circumstances in the texts of these scenarios."""
    nouns = [noun for one in words.NOUNS.values() for noun in one]
    others = {**dict(zip(nouns, nouns[1:] + nouns[:1], strict=True)), "monday": "alone", "today": "late"}
    texts = [" ".join(others.get(word, word) for word in text.split()) for text in data["text"]]
    return data.assign(text=data["text"].where(~data["scenario"].isin(scenarios), pd.Series(texts, index=data.index)))


# the design


def test_without_folds_the_splits_are_the_data_sets(run, data):
    (part,) = design.parts(run)
    for split in ("train", "validation", "test"):
        assert getattr(part, split) == set(data.loc[data["split"] == split, "scenario"])
        if split != "train":
            found = design.prompts(run, part, split)
            assert set(found["split"]) == {split} and set(found["emotion"]) == {"neutral"}
            assert found["scenario"].is_unique and set(found["scenario"]) == getattr(part, split)


def test_with_folds_every_scenario_is_tested_once_and_held_apart(folded):
    found = design.parts(folded)
    everything = frozenset().union(*(part.test for part in found))
    assert [part.name for part in found] == ["fold0", "fold1", "fold2"] and len(everything) == 16
    assert sum(len(part.test) for part in found) == sum(len(part.validation) for part in found) == len(everything)
    for part in found:
        assert part.train | part.validation | part.test == everything
        assert not part.train & (part.validation | part.test) and not part.validation & part.test
        assert part.train and part.validation
    sweep = own_sweeps.test_sweep(folded)
    base = sweep[sweep["kind"] == "baseline"]
    assert base["scenario"].is_unique and set(base["scenario"]) == everything
    tested = {part.name: set(rows["scenario"]) for part, rows in ((p, sweep[sweep["part"] == p.name]) for p in found)}
    assert tested == {part.name: part.test for part in found}


@pytest.mark.parametrize("folds", [1, 2, 99])
def test_folds_that_leave_nothing_to_train_on_are_refused_in_one_line(planted, saved, elsewhere, folds):
    with pytest.raises(UserError, match="folds") as found:
        design.parts(steering_run(planted.lm, saved, **{**FEW, "folds": folds}))
    assert "\n" not in str(found.value)


def test_what_a_fold_is_fitted_on_never_sees_its_validation_and_test_texts(folded, planted, data, elsewhere):
    part = design.parts(folded)[0]
    held, layer = part.validation | part.test, 2

    def fitted(seen: Run) -> dict[str, np.ndarray]:
        own = design.parts(seen)[0]
        assert own == part
        vecs = design.vectors(seen, own)
        source = design.controls(seen, own, (layer,))
        found = {f"vector {e}": vecs[e][layer].values for e in vecs}
        found |= {f"control {family}": source.direction(family, layer, 3) for family in FAMILIES[1:]}
        found["unit"] = np.array([vecs.neutral_norms[layer]])
        found["reference"] = sweep_settings.reference(seen, own)["nll"].to_numpy()
        asked, plain = rival_sweeps.prompting_templates(seen, own)
        found["prompting"] = np.array([*asked.values(), plain])
        return found

    def same(a: np.ndarray, b: np.ndarray) -> bool:
        return np.array_equal(a, b) if a.dtype.kind == "U" else np.allclose(a, b, rtol=1e-5, atol=1e-5)

    first = fitted(folded)
    (elsewhere / "held").mkdir(), (elsewhere / "seen").mkdir()
    after = fitted(steering_run(planted.lm, written(changed(data, held), elsewhere / "held"), **FEW))
    assert {name: same(first[name], after[name]) for name in first} == dict.fromkeys(first, True)
    other = changed(data, set(part.train) | {"none"})
    after = fitted(steering_run(planted.lm, written(other, elsewhere / "seen"), **FEW))
    assert {name: same(first[name], after[name]) for name in first} == dict.fromkeys(first, False)  # control


def test_the_alternatives_of_a_fold_are_fitted_on_its_training_texts_alone(folded, monkeypatch):
    seen: dict[str, list[frozenset[str]]] = {"alternative_vectors": [], "fit_subspaces": []}
    for name, place in (("alternative_vectors", 1), ("fit_subspaces", 0)):
        fit = getattr(rival_sweeps, name)

        def watched(*args, name=name, place=place, fit=fit, **given):
            seen[name].append(frozenset(args[place].texts["scenario"]))
            return fit(*args, **given)

        monkeypatch.setattr(rival_sweeps, name, watched)
    rival_sweeps.alternatives_sweep(again(folded, monkeypatch), "validation")
    trains = [part.train for part in design.parts(folded)]
    assert seen["fit_subspaces"] == trains
    assert seen["alternative_vectors"] == [train for train in trains for _ in range(2)]


# choosing


def test_the_choice_depends_on_validation_texts_and_not_on_test_texts(run, planted, data, elsewhere):
    (part,) = design.parts(run)
    point = own_sweeps.operating_point(run)
    choices = {}
    for split in ("test", "validation"):
        (elsewhere / split).mkdir()
        texts = changed(data, getattr(part, split))
        other = steering_run(planted.lm, written(texts, elsewhere / split))
        choices[split] = other
    same = own_sweeps.operating_point(choices["test"])
    pd.testing.assert_frame_equal(same.table, point.table, rtol=1e-3, atol=1e-3)
    assert (same.layer, same.alpha) == (point.layer, point.alpha)
    assert rival_sweeps.matched_alphas(choices["test"]) == rival_sweeps.matched_alphas(run)
    assert design.prompts(choices["test"], part, "test")["text"].tolist() != (
        design.prompts(run, part, "test")["text"].tolist()
    )
    moved = own_sweeps.operating_point(choices["validation"])
    assert not np.allclose(moved.table["score"], point.table["score"], atol=1e-2)  # control


def test_validation_is_swept_over_every_candidate_and_test_at_the_chosen_point(run):
    validation, sweep = validation_sweeps.validation_sweep(run), own_sweeps.test_sweep(run)
    point = own_sweeps.operating_point(run)
    steered = validation[validation["kind"] == "emotion"]
    assert steered.groupby(["layer", "alpha", "emotion"]).size().to_dict() == {
        (layer, alpha, e): 6 for layer in (1, 2) for alpha in (0.1, 0.15) for e in words.EMOTIONS
    }
    assert set(validation["kind"]) == {"baseline", "emotion"}
    patched = sweep[sweep["kind"].isin(["emotion", *FAMILIES])]
    assert set(zip(patched["layer"], patched["alpha"], strict=True)) == {(point.layer, point.alpha)}
    counts = {"baseline": 6, "emotion": 18, "direct_path": 18, "zero": 6, **dict.fromkeys(FAMILIES, 12)}
    assert sweep["kind"].value_counts().to_dict() == counts
    texts = sweep.set_index("scenario").groupby("kind")["text"]
    assert texts.get_group("zero").to_dict() == texts.get_group("baseline").to_dict()
    assert {"target/anger", "target/apology", "valence", "fluency/broken", "delta_ratio"} <= set(sweep)


def test_every_rival_gets_the_strength_whose_broken_share_is_nearest_the_vectors(run, folded):
    for one in (run, folded):
        chosen, offered = rival_sweeps.matched_alphas(one), rival_sweeps.alternatives_sweep(one, "validation")
        own = validation_sweeps.validation_sweep(one)
        kinds = ("pca", "probe", "subspace")
        assert set(chosen) == {(p.name, k, e) for p in design.parts(one) for k in kinds for e in one.emotions}
        for (name, kind, emotion), alpha in chosen.items():
            point = own_sweeps.operating_points(one)[name]
            mine = own[(own["part"] == name) & (own["emotion"] == emotion) & (own["layer"] == point.layer)]
            share = mine.loc[mine["alpha"] == point.alpha, "fluency/broken"].mean()
            tried = offered[(offered["part"] == name) & (offered["kind"] == kind) & (offered["emotion"] == emotion)]
            gaps = (tried.groupby("alpha")["fluency/broken"].mean() - share).abs()
            effect = tried.groupby("alpha")[f"target/{emotion}"].mean()
            assert len(gaps) == 2 and gaps[alpha] == gaps.min()
            assert effect[alpha] == effect[gaps == gaps.min()].max()
        test = rival_sweeps.alternatives_sweep(one, "test")
        used = test[test["kind"].isin(kinds)].groupby(["part", "kind", "emotion"])["alpha"].unique()
        assert {key: values.tolist() for key, values in used.items()} == {k: [alpha] for k, alpha in chosen.items()}


# what a resumed run finds


def again(run: Run, monkeypatch: pytest.MonkeyPatch, **params: object) -> Run:
    """A run that begins where this one has ended."""
    monkeypatch.setenv("EMOLIB_RESULTS", str(run.paths.root.parent))
    return opened_run(run.lm, "phase5", **{**run.overrides, **params})


def files(run: Run) -> dict[str, bytes]:
    """Every result of the run; manifests hold times, score tables and timings are no results."""
    kinds = ("patching", "patching_random", "activations", "emotion_vectors")
    found = [path for kind in kinds for path in sorted((run.paths.root / kind).rglob("*")) if path.is_file()]
    return {path.name: path.read_bytes() for path in found if not path.name.endswith(".manifest.json")}


def test_a_resumed_run_ends_with_the_same_files_and_computes_only_what_is_missing(run, monkeypatch):
    before = files(run)
    lost = [name for i, name in enumerate(sorted(before)) if "sweep" in name and i % 3 == 0]
    lost += [name for name in before if "fluency_reference" in name or "damage" in name]
    for path in run.paths.root.rglob("*.parquet"):
        if path.name in lost:
            path.unlink()
            store.manifest_path(path).unlink()
    generated: list[int] = []

    def counted(lm: LanguageModel, prompts: Sequence[str], *args: object, **given: object) -> object:
        generated.append(len(prompts))
        return generate_and_read(lm, prompts, *args, **given)

    monkeypatch.setattr("emolib.steering.sweeps.generate_and_read", counted)
    whole(again(run, monkeypatch))
    after = files(run)
    assert after.keys() == before.keys() and [name for name in before if after[name] != before[name]] == []
    assert any("isotropic" in name for name in before) and 5 < len(lost) < len(before)
    computed = [
        name for name in lost if re.search("_(layer[0-9]+|baseline|direct_path|zero|prompting|[0-9]{4})[.]", name)
    ]
    assert len(generated) == len(computed) >= 3


def test_another_parameter_makes_other_shards(run, monkeypatch):
    kept, reference = files(run), run.paths.fluency_reference()
    written_at = reference.stat().st_mtime_ns
    table = validation_sweeps.validation_sweep(again(run, monkeypatch, window=1))
    assert not table["delta_ratio"].equals(validation_sweeps.validation_sweep(run)["delta_ratio"])
    assert reference.stat().st_mtime_ns == written_at  # what does not depend on it is found
    validation_sweeps.validation_sweep(again(run, monkeypatch))  # what other tests read is put back
    assert files(run) == kept


def test_the_saved_tables_are_those_that_were_read(run, folded):
    for one in (run, folded):
        for name, expected in (
            ("validation", validation_sweeps.validation_sweep(one)),
            ("test", own_sweeps.test_sweep(one)),
            ("dose", own_sweeps.dose_sweep(one)),
            ("alternatives", rival_sweeps.alternatives_sweep(one, "test")),
            ("claims", results.claims(one)),
        ):
            pd.testing.assert_frame_equal(store.read_table(one.paths.sweep(name)), expected)


# doses, rivals, damage, examples


def test_doses_are_the_effects_at_every_strength_and_nothing_at_zero(run, folded):
    for one in (run, folded):
        dose, table = own_sweeps.dose_sweep(one), results.doses(one)
        assert (
            table.loc[table["metric"] == "valence", "unfiltered"] == table.loc[table["metric"] == "valence", "effect"]
        ).all()
        points = own_sweeps.operating_points(one)
        alphas = {a for p in points.values() for a in (*one.params.alphas, -p.alpha, 0.0)}
        assert set(table["alpha"]) == alphas
        assert (table.loc[table["alpha"] == 0, "effect"] == 0).all()
        assert (table.groupby(["emotion", "metric"]).size() == len(alphas)).all()
        steered = dose[dose["kind"] == "emotion"]
        assert set(zip(steered["part"], steered["alpha"], strict=True)) == {
            (name, a) for name, p in points.items() for a in (*one.params.alphas, -p.alpha) if a != p.alpha
        }
    point = own_sweeps.operating_point(run)
    at = table_at(results.doses(run), point.alpha)
    for emotion in run.emotions:
        own = effects(own_sweeps.test_sweep(run), "emotion", emotion, f"keywords/{emotion}")
        row = at.loc[(emotion, f"keywords/{emotion}")]
        assert (row["effect"], row["se"]) == pytest.approx((own.mean(), own.std(ddof=1) / np.sqrt(len(own))))


def table_at(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    return table[table["alpha"] == alpha].set_index(["emotion", "metric"])


def test_rivals_are_measured_each_against_its_own_unpatched_text(run):
    sweep, others = own_sweeps.test_sweep(run), rival_sweeps.alternatives_sweep(run, "test")
    table = results.rivals(run)
    counts = table.groupby("kind", sort=False).size()
    assert counts.to_dict() == dict.fromkeys(alternatives.RIVALS, 2 * len(run.emotions))
    found = table.set_index(["kind", "metric"])
    for kind, baseline in (("prompting", "prompting_baseline"), ("probe", "baseline")):
        own = effects(others, kind, "anger", "keywords/anger", baseline=baseline)
        assert found.loc[(kind, "keywords/anger"), "effect"] == pytest.approx(own.mean())
    wrong = effects(others, "prompting", "anger", "target/anger", baseline="baseline").mean()
    assert found.loc[("prompting", "target/anger"), "effect"] != pytest.approx(wrong, abs=1e-6)
    base, again = (t[t["kind"] == "baseline"].set_index("scenario")["text"].to_dict() for t in (sweep, others))
    assert base == again


def test_a_rival_s_row_says_where_it_starts_how_far_behind_it_is_and_how_many_more_texts_it_breaks(run, folded):
    others, table = rival_sweeps.alternatives_sweep(run, "test"), results.rivals(run)
    np.testing.assert_allclose(table["level"] - table["base"], table["effect"], atol=1e-12)
    plain = others[others["kind"] == "prompting_baseline"]
    rows = table.set_index(["kind", "metric"])
    expected = plain["target/anger"].where(~plain["fluency/broken"].astype(bool), 0.0).mean()
    assert rows.loc[("prompting", "target/anger"), "base"] == pytest.approx(expected)
    assert rows.loc[("emotion", "target/anger"), "base"] != pytest.approx(expected, abs=1e-6)
    for metric in ("keywords/anger", "target/anger"):
        own, other = rows.loc[("emotion", metric)], rows.loc[("probe", metric)]
        assert other["ahead"] == pytest.approx(own["effect"] - other["effect"])
        assert other["broken_gap"] == pytest.approx(other["broken"] - own["broken"])
    several = pd.concat([table, results.rivals(folded)])
    told = several[~several["ahead_degenerate"].fillna(True).astype(bool)]
    assert len(told) and told["ahead"].between(told["ahead_low"], told["ahead_high"]).all()
    assert table.loc[table["kind"].isin(["emotion", "prompting"]), "ahead"].isna().all()
    matched = rival_sweeps.matching(run).set_index(["kind", "emotion"])["gap"]
    assert rows.loc[("pca", "target/anger"), "validation_gap"] == matched["pca", "anger"]


def test_at_an_equal_strength_the_vector_adds_as_much_as_the_rival_on_the_same_prompts(run, folded):
    for one in (run, folded):
        sweep, dose = own_sweeps.test_sweep(one), own_sweeps.dose_sweep(one)
        others, chosen = rival_sweeps.alternatives_sweep(one, "test"), rival_sweeps.matched_alphas(one)
        table = results.equal_strength(one)
        assert table.groupby("kind", sort=False).size().to_dict() == dict.fromkeys(("pca", "probe"), 6)
        both = pd.concat([sweep, dose])
        for kind, emotion in (("pca", "anger"), ("probe", "apology")):
            row = table[(table["kind"] == kind) & (table["metric"] == f"keywords/{emotion}")].iloc[0]
            pairs = []
            for part in design.parts(one):
                own = both[(both["part"] == part.name) & (both["kind"] == "emotion") & (both["emotion"] == emotion)]
                own = own[own["alpha"] == chosen[part.name, kind, emotion]].set_index("scenario")
                rival = others[(others["part"] == part.name) & (others["kind"] == kind)]
                rival = rival[rival["emotion"] == emotion].set_index("scenario").add_suffix("_rival")
                pairs.append(own.join(rival))
            pair = pd.concat(pairs)
            np.testing.assert_allclose(pair["delta_ratio"], pair["delta_ratio_rival"], rtol=1e-3)
            counted = [
                pair[f"keywords/{emotion}{end}"] * ~pair[f"fluency/broken{end}"].astype(bool) for end in ("", "_rival")
            ]
            assert row["ahead"] == pytest.approx((counted[0] - counted[1]).mean())
            assert row["ahead"] == pytest.approx(row["own"] - row["rival"]) and row["n"] == len(pair)
        other_strengths = (t.assign(alpha=t["alpha"] + 0.01) for t in (sweep, dose))
        found = alternatives.equal_strength(*other_strengths, others, one.emotions, n_resamples=100, seed=0)
        assert found.empty  # control


def test_an_empty_text_leaves_the_scenarios_of_what_it_leaves_undefined():
    row = {"scenario": "a", "kind": "emotion", "emotion": "anger", "kl": 1.0, "topic": 0.5, "topic_base": 0.7}
    rows = [row, {**row, "scenario": "b", "kl": 3.0, "topic": 0.1}]
    rows += [{**row, "scenario": "c", "topic": np.nan}, {**row, "scenario": "d", "kl": np.nan, "topic_base": np.nan}]
    (found,) = side_effects._damage_means(pd.DataFrame(rows)).to_dict("records")
    assert (found["n_kl"], found["n_topic"], found["directions"]) == (3, 2, 1)
    assert found["kl"] == pytest.approx(5 / 3) and found["topic"] == pytest.approx(0.3)
    assert found["topic"] - found["topic_base"] == pytest.approx(found["topic_change"])
    assert found["topic_se"] == pytest.approx(0.2)  # of -0.2 and -0.6
    drawn = pd.DataFrame([row, {**row, "kl": 2.0, "topic": np.nan}]).assign(kind="isotropic", emotion="any")
    (found,) = side_effects._damage_means(drawn).to_dict("records")
    assert (found["directions"], found["n_kl"], found["kl"], found["topic"]) == (2, 1, 1.5, 0.5)
    (nothing,) = side_effects._damage_means(drawn.assign(topic=np.nan)).to_dict("records")
    assert nothing["n_topic"] == 0 and np.isnan(nothing["topic_change"])


def test_the_cosine_of_a_family_is_that_of_its_nearest_direction(run, folded):
    for one in (run, folded):
        found = results.control_cosines(one).set_index(["family", "emotion"])["cosine"]
        assert set(found.index) == {(family, e) for family in FAMILIES for e in one.emotions}
        for emotion in one.emotions:
            nearest = []
            for part in design.parts(one):
                layer, vecs = own_sweeps.operating_points(one)[part.name].layer, design.vectors(one, part)
                seeds = (control_seed(one.params.seed, "isotropic", layer, i) for i in range(one.params.n_controls))
                drawn = np.stack([isotropic_direction(one.lm.d_model, seed) for seed in seeds])
                nearest.append((drawn @ vecs[emotion][layer].direction).max())
            assert found["isotropic", emotion] == pytest.approx(max(nearest), abs=1e-6)
            assert found["shuffled", emotion] < 0.6  # the emotions' means are not in it


def test_damage_is_the_divergence_that_the_row_s_own_steer_makes(run):
    sweep, point = own_sweeps.test_sweep(run), own_sweeps.operating_point(run)
    table = side_effects.damage(run).set_index(["kind", "emotion"])
    assert table.loc[("baseline", "none"), ["kl", "topic_change"]].tolist() == pytest.approx([0, 0], abs=1e-9)
    assert (table["kl"].drop(("baseline", "none")) > 0).all() and (table[["n_kl", "n_topic"]] == 6).all(axis=None)
    (part,) = design.parts(run)
    prompts = design.prompts(run, part, "test")
    texts = sweep[sweep["kind"] == "baseline"].set_index("scenario")["text"]
    ids = [run.lm.tokenizer(texts[s], add_special_tokens=False).input_ids for s in prompts["scenario"]]
    vecs = strengths.vectors(run, part)
    for emotion in run.emotions:
        steer = Steer(point.layer, vecs[emotion][point.layer], point.alpha, unit=run.params.unit)
        by_hand = next_token_kl(run.lm, prompts["text"].tolist(), ids, [steer] * len(prompts)).mean()
        assert table.loc[("emotion", emotion), "kl"] == pytest.approx(by_hand, rel=1e-3, abs=1e-8)


def test_damage_is_worked_out_again_when_the_patch_is_another_though_no_text_has_changed(run, monkeypatch):
    sweep = own_sweeps.test_sweep(run)
    here = side_effects.damage_of(run, sweep)
    wider = side_effects.damage_of(again(run, monkeypatch, window=6), sweep)
    assert (wider["kl"] > here["kl"])[here["kind"] == "emotion"].all()
    pd.testing.assert_frame_equal(side_effects.damage_of(again(run, monkeypatch), sweep), here)


@pytest.mark.parametrize("which", ["run", "folded"])
def test_examples_are_ordered_by_effect_and_stand_beside_their_own_baseline(which, request):
    one = request.getfixturevalue(which)
    sweep = own_sweeps.test_sweep(one)
    data = one.data[one.data["emotion"] == "neutral"].set_index("scenario")["text"]
    base = sweep[sweep["kind"] == "baseline"].set_index("scenario")["text"]
    for emotion in one.emotions:
        table = results.examples(one)
        table = table[table["emotion"] == emotion].reset_index(drop=True)
        assert table["rule"].tolist()[:3] == ["best", "median", "worst"]
        assert table["effect"].tolist()[:3] == sorted(table["effect"].tolist()[:3], reverse=True)
        for row in table.to_dict("records"):
            assert row["prompt"] == data[row["scenario"]] and row["baseline"] == base[row["scenario"]]
        own = effects(sweep, "emotion", emotion, f"keywords/{emotion}")
        assert (table["effect"][0], table["effect"][2]) == (own.max(), own.min())


def test_several_samples_are_one_scenario_to_every_table(planted, saved, elsewhere):
    given = {"temperature": 1.0, "n_samples": 2, "layers": [2], "alphas": [0.15], "n_controls": 1}
    run = steering_run(planted.lm, saved, **given)
    sweep = own_sweeps.test_sweep(run)
    assert (sweep.groupby(["kind", "emotion", "index", "scenario"]).size() == 2).all()
    examples = results.examples(run).query("emotion == 'anger'")
    base = sweep[sweep["kind"] == "baseline"]
    for row in examples.to_dict("records"):
        assert row["baseline"] in base.loc[base["scenario"] == row["scenario"], "text"].tolist()
    assert (results.claims(run)["n"] == 6).all()
    changes = results.metric_changes(run).set_index("metric")
    means = base.groupby("scenario")["valence"].mean()
    expected = (means.mean(), means.std(ddof=1) / np.sqrt(6))
    found = changes.loc["valence", ["baseline", "baseline_se"]].iloc[0]
    assert tuple(found) == pytest.approx(expected)
    assert found["baseline_se"] != pytest.approx(base["valence"].std(ddof=1) / np.sqrt(12), rel=1e-3)
    assert (side_effects.damage(run)[["n_kl", "n_topic"]] == 6).all(axis=None)


# prompting and chat formats


def chat_model(lm: LanguageModel, *, known: bool = True) -> LanguageModel:
    tokenizer = copy.deepcopy(lm.tokenizer)
    tokenizer.chat_template = CHAT
    return replace(lm, tokenizer=tokenizer, spec=lm.spec.model_copy(update={"chat": known}))


def test_a_base_model_is_asked_by_training_texts_of_the_emotion(run, data):
    (part,) = design.parts(run)
    asked, plain = rival_sweeps.prompting_templates(run, part)
    assert list(asked) == list(run.emotions)
    for emotion, template in {**asked, "neutral": plain}.items():
        *shown, last = template.split("\n\n")
        own = data[(data["emotion"] == emotion) & data["scenario"].isin(part.train)]["text"].tolist()
        assert last == "{text}" and len(shown) == 3 and shown == own[:3]


def test_a_chat_model_is_asked_in_its_own_format(planted, saved, elsewhere):
    run = steering_run(chat_model(planted.lm), saved)
    asked, plain = rival_sweeps.prompting_templates(run, design.parts(run)[0])
    assert plain == "<begin>they said {text} so"
    assert asked["anger"] == "<begin>they said {text}\n\nReply in an angry tone. so"
    assert len({*asked.values(), plain}) == 4
    unknown = steering_run(chat_model(planted.lm, known=False), saved)
    assert (
        not rival_sweeps.is_chat(unknown)
        and "said" not in rival_sweeps.prompting_templates(unknown, design.parts(run)[0])[1]
    )


def test_chat_prompts_go_into_the_chat_format_and_begin_once(planted, saved, elsewhere):
    lm = chat_model(planted.lm)
    few = {"layers": [2], "alphas": [0.1], "prompt_format": "chat"}
    run = steering_run(lm, saved, **few)
    (part,) = design.parts(run)
    assert sweep_settings.settings(run, part).template == "<begin>they said {text} so"
    prompts = design.prompts(run, part, "validation")["text"].tolist()
    begin = lm.tokenizer.bos_token_id
    full = [f"<begin>they said {text} so" for text in prompts]
    for ids, bare in zip(encode(lm, full), encode(lm, [f"they said {t} so" for t in prompts]), strict=True):
        assert ids == bare and ids.count(begin) == 1
    assert lm.tokenizer(full[0]).input_ids.count(begin) == 2  # control: what the tokenizer alone would make of it
    sweep = validation_sweeps.validation_sweep(run)
    base = sweep[sweep["kind"] == "baseline"]["text"].tolist()
    outs, raw = (generate(lm, texts, max_new_tokens=6) for texts in (full, prompts))
    assert base == [out.text for out in outs] != [out.text for out in raw]


def test_the_fluency_reference_continues_texts_in_the_format_of_the_sweeps(planted, saved, elsewhere):
    lm = chat_model(planted.lm)
    raw, chat = (sweep_settings.reference(steering_run(lm, saved, prompt_format=form)) for form in ("raw", "chat"))
    assert not raw["prompt"].str.contains("said").any() and chat["prompt"].str.contains("said").all()
    assert not np.allclose(raw["nll"], chat["nll"], equal_nan=True)


def test_prompts_can_be_made_to_begin_with_the_first_token_and_do_so_once(planted, saved, elsewhere):
    tokenizer = planted.lm.tokenizer
    plain, always = (steering_run(planted.lm, saved, bos=bos) for bos in ("model", "always"))
    texts = [sweep_settings.template_of(one).replace("{text}", "they said so") for one in (plain, always)]
    rows = encode(planted.lm, texts)
    assert rows[1] == ([] if rows[0][0] == tokenizer.bos_token_id else [tokenizer.bos_token_id]) + rows[0]
    chat = steering_run(chat_model(planted.lm), saved, bos="always", prompt_format="chat")
    assert sweep_settings.template_of(chat).count(tokenizer.bos_token) == 1
    nameless = copy.deepcopy(tokenizer)
    nameless.bos_token = None
    with pytest.raises(UserError, match="bos=model"):
        sweep_settings.template_of(steering_run(replace(planted.lm, tokenizer=nameless), saved, bos="always"))


def test_a_chat_format_that_the_model_has_not_is_refused_in_one_line(planted, saved, elsewhere):
    run = steering_run(planted.lm, saved, prompt_format="chat")
    with pytest.raises(UserError, match=r"expected a model with a chat format.*prompt_format=raw") as found:
        validation_sweeps.validation_sweep(run)
    assert "\n" not in str(found.value)


# the report of a run


@pytest.mark.parametrize("which", ["run", "folded"])
def test_the_report_of_a_run_has_no_undefined_numbers_and_no_negative_zero(which, request, monkeypatch):
    one = request.getfixturevalue(which)
    monkeypatch.setenv("EMOLIB_RESULTS", str(one.paths.root.parent))
    sweep, points, outcome = study.test_sweep(one), study.operating_points(one), study.outcome(one)
    rivals, margin, style = study.rival_findings(one), one.params.broken_margin, one.params.vector_style
    discussion = say.discussion(outcome).data
    shown = [
        *(say.criteria(one), say.conclusion(outcome), say.texts(study.examples(one)), say.table_claims(outcome.claims)),
        *(say.table_candidates(points, outcome.ceilings), say.table_layers(study.layer_means(one))),
        *(say.table_changes(study.metric_changes(one)), say.table_specificity(outcome.specificity)),
        *(say.table_doses(study.doses(one)), say.table_rivals(rivals), say.table_leads(rivals, margin)),
        say.table_other_style(outcome.other_style, outcome.claims, vector_style=style),
        *(say.table_broken(outcome.broken), say.table_damage(study.damage(one), study.kl_lengths(one))),
        say.table_reference(study.reference(one)),
        say.table_unfiltered(outcome.claims, study.specificity(one, counted=False)),
        say.table_scorers(outcome.scorers, study.scorer_agreement(one)),
        say.table_labels(study.label_changes(one)),
        say.table_controls(study.family_ranks(one), study.realised_norms(one), sweep),
        *(say.table_shift_claims(outcome), say.table_shift_effects(outcome), say.table_shift_doses(outcome)),
        say.sentence_texts(outcome),
        say.table_rival_strengths(rivals, study.equal_strength(one)),
        *(say.table_phrases(outcome.phrases), say.limits(one, sweep), say.next_actions(outcome), discussion),
    ]
    for part in shown:
        clean(part)
    assert say.table_candidates(points, outcome.ceilings).data.count("動作点は **") == len(points)
    assert discussion.count("検出力不足**") == len(one.emotions)
    rates = next(line for line in discussion.splitlines() if "テストでの破綻率" in line)
    assert all(rates.split("である")[0].count(name) == 1 for name in ("感謝", "怒り", "謝罪"))


def test_every_figure_of_a_run_is_drawn_and_kept(run, monkeypatch):
    monkeypatch.setenv("EMOLIB_RESULTS", str(run.paths.root.parent))
    points, outcome = study.operating_points(run), study.outcome(run)
    say.figure_controls(run, study.control_effects(run))
    say.figure_layers(run, study.layer_means(run), points)
    say.figure_changes(run, study.metric_changes(run))
    say.figure_specificity(run, outcome.specificity)
    say.figure_doses(run, study.doses(run))
    say.figure_labels(run, study.label_changes(run))
    say.figure_choice(run, points)
    say.figure_shift_doses(run, outcome)
    names = "null null_targets layers layers_targets changes probabilities matrix matrix_targets dose labels"
    for name in (*names.split(), "selection", "shift_dose", "shift_dose_kl"):
        assert run.paths.plot(name, "html").is_file(), name

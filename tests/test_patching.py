"""Sweeps and what is chosen from them, on real generations and on tables with a known answer."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from emolib import claims, patching
from emolib.errors import UserError
from emolib.extraction import extract_activations
from emolib.keywords import load_keywords
from emolib.scoring import keyword_counts
from emolib.vectors import fit_emotion_vectors

EMOTIONS = ("gratitude", "apology")


@pytest.fixture(scope="module")
def material(tiny_models):
    lm = tiny_models["llama"]
    texts = pd.DataFrame(
        {
            "id": list("abcdef"),
            "scenario": ["s1", "s2"] * 3,
            "split": "validation",
            "emotion": ["neutral"] * 2 + ["gratitude"] * 2 + ["apology"] * 2,
            "text": ["It is noon.", "The bus is red.", "Thank you all.", "I am grateful.", "I am sorry.", "My fault."],
        }
    )
    return lm, texts, fit_emotion_vectors(extract_activations(lm, texts))


def sweep_of(material, **changes):
    lm, texts, vecs = material
    prompts = texts[texts["emotion"] == "neutral"]
    values = {"layers": [1], "alphas": [0.5], "n_controls": 3, "direct_path": True} | changes
    settings = patching.SweepSettings(max_new_tokens=6)
    return patching.residual_sweep(lm, prompts, vecs, settings=settings, **values)


def test_a_sweep_has_one_row_per_prompt_and_cell_with_the_named_columns(material):
    table = sweep_of(material)
    assert list(table.columns[:11]) == patching.KEY_COLUMNS
    assert table["row_id"].is_unique
    counts = table["kind"].value_counts().to_dict()
    assert counts == {"baseline": 2, "emotion": 4, "direct_path": 4, "isotropic": 6}


def test_alpha_zero_rows_are_the_baseline(material):
    table = sweep_of(material, alphas=[0.0], n_controls=0, direct_path=False)
    assert set(table["kind"]) == {"baseline"}


def test_a_controls_direction_does_not_depend_on_how_many_there_are(material):
    few, many = sweep_of(material, n_controls=2), sweep_of(material, n_controls=13)
    few, many = (table[table["kind"] == "isotropic"] for table in (few, many))
    merged = few.merge(many, on="row_id", suffixes=("", "_many"))
    assert len(merged) == len(few) and (merged["text"] == merged["text_many"]).all()
    assert few["seed"].nunique() == 2
    other_layer = patching.control_seed(0, "isotropic", 2, 0)
    assert other_layer != patching.control_seed(0, "isotropic", 1, 0)


def test_controls_have_the_norm_of_the_steer(material):
    _, _, vecs = material
    for unit in ("resid", "vector"):
        settings = patching.SweepSettings(unit=unit)
        own = patching.steer_cell("emotion", vecs, "apology", 1, 0.4, settings)
        cells = patching.control_cells(vecs, 1, 0.4, 0, settings)
        same = [c for c in cells if c.emotion in ("any", "apology")]
        assert len(same) == 1
        assert np.linalg.norm(same[0].act.delta()) == pytest.approx(np.linalg.norm(own.act.delta()), rel=1e-5)


class Recorded:
    """A store that keeps nothing and remembers what each shard was said to depend on."""

    def __init__(self) -> None:
        self.matched: dict[str, dict] = {}

    scores = None

    def begin(self, rows: int) -> None:
        self.total = rows

    def shard(self, name, matched, compute, rows):
        self.matched[name] = dict(matched)
        return compute()


def test_a_shard_depends_on_its_vectors_and_on_the_word_lists(material, monkeypatch):
    first, again, other = Recorded(), Recorded(), Recorded()
    for store in (first, again):
        sweep_of(material, run=store)
    assert first.matched == again.matched
    lists = load_keywords()
    patterns = {**lists.patterns, "apology": lists.patterns["anger"]}
    monkeypatch.setattr(keyword_counts, "load_keywords", lambda: dataclasses.replace(lists, patterns=patterns))
    sweep_of(material, run=other)
    assert all(other.matched[name] != matched for name, matched in first.matched.items())
    stronger = Recorded()
    sweep_of(material, run=stronger, alphas=[0.7])
    assert stronger.matched["layer001"]["vectors"] != first.matched["layer001"]["vectors"]


def test_bad_sweeps_are_refused(material, tiny_models):
    with pytest.raises(UserError, match="layer 9 is out of range"):
        sweep_of(material, layers=[9])
    with pytest.raises(UserError, match="finite alphas"):
        sweep_of(material, alphas=[float("inf")])
    lm, texts, vecs = material
    with pytest.raises(UserError, match="expected vectors of"):
        patching.residual_sweep(tiny_models["gpt2"], texts, vecs, layers=[1], alphas=[0.1])
    with pytest.raises(UserError, match="column 'split'"):
        patching.residual_sweep(lm, texts.drop(columns="split"), vecs, layers=[1], alphas=[0.1])


MEASURES = {emotion: [f"keywords/{emotion}"] for emotion in EMOTIONS}


def table_with(effect: dict[tuple[int, float], float], broken: dict[tuple[int, float], float], split="validation"):
    """A validation table in which each point moves the own keywords of every emotion by a known amount."""
    rng, rows = np.random.default_rng(0), []
    for scenario in range(20):
        base = {"scenario": f"s{scenario}", "split": split, "fluency/broken": False}
        rows.append({**base, "kind": "baseline", "emotion": "none", "layer": -1, "alpha": 0.0, **_counts("", 0, rng)})
        for (layer, alpha), size in effect.items():
            for emotion in EMOTIONS:
                cell = {"kind": "emotion", "emotion": emotion, "layer": layer, "alpha": alpha}
                is_bad = scenario < 20 * broken.get((layer, alpha), 0)
                rows.append({**base, **cell, **_counts(emotion, size, rng), "fluency/broken": is_bad})
    return pd.DataFrame(rows)


def _counts(emotion: str, size: float, rng: np.random.Generator) -> dict[str, float]:
    return {f"keywords/{e}": float(rng.random() < 0.1) + (size if e == emotion else 0) for e in EMOTIONS}


def test_the_point_with_the_largest_specific_effect_is_chosen_unless_it_breaks_the_text():
    effect = {(4, 0.2): 0.1, (6, 0.2): 0.5, (6, 0.4): 2.0}
    point = claims.choose_operating_point(table_with(effect, {(6, 0.4): 0.2}), MEASURES)
    assert (point.layer, point.alpha, point.eligible) == (6, 0.2, True)
    tolerant = claims.choose_operating_point(table_with(effect, {(6, 0.4): 0.2}), MEASURES, broken_margin=0.5)
    assert (tolerant.layer, tolerant.alpha) == (6, 0.4)


def test_without_an_eligible_point_the_least_broken_is_taken_and_said_so():
    broken = {(4, 0.2): 0.5, (6, 0.2): 0.4}
    point = claims.choose_operating_point(table_with({(4, 0.2): 3.0, (6, 0.2): 0.1}, broken), MEASURES)
    assert (point.layer, point.eligible) == (6, False)


def test_every_measure_has_a_say_in_the_choice():
    """One measure prefers one point, a second measure, of another unit, strongly prefers the other."""
    table = table_with({(4, 0.2): 0.3, (6, 0.2): 0.5}, {})
    rng = np.random.default_rng(1)
    for emotion in EMOTIONS:
        moved = (table["emotion"] == emotion) & (table["layer"] == 4)
        table[f"target/{emotion}"] = rng.uniform(0, 0.01, len(table)) + 0.05 * moved
    both = {emotion: [f"keywords/{emotion}", f"target/{emotion}"] for emotion in EMOTIONS}
    assert claims.choose_operating_point(table, MEASURES).layer == 6
    point = claims.choose_operating_point(table, both)
    assert point.layer == 4
    assert {f"difference/{name}" for names in both.values() for name in names} <= set(point.table)


def test_choosing_on_test_rows_is_refused():
    with pytest.raises(UserError, match="validation rows only"):
        claims.choose_operating_point(table_with({(4, 0.2): 1.0}, {}, split="test"), MEASURES)


def test_broken_texts_are_no_success_but_stay_in_the_table():
    table = table_with({(4, 0.2): 2.0}, {(4, 0.2): 1.0})
    steered = table[table["kind"] == "emotion"]
    assert claims.success(steered, "keywords/apology").sum() == 0
    assert steered["keywords/apology"].sum() > 0
    difference = claims.specific_difference(steered, "apology", "keywords/apology", EMOTIONS)
    assert len(difference) == 20 and (difference == 0).all()

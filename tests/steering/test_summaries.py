"""What a sweep says on made-up rows: effects prompt by prompt, beside the controls, at strength 0, and examples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib.steering import summaries

EMOTIONS = ("gratitude", "anger")
METRICS = [f"{family}/{emotion}" for family in ("keywords", "target") for emotion in EMOTIONS]
N = 4


def rows(kind: str, emotion: str, values: list[float], index: int = 0, **given: object) -> pd.DataFrame:
    """One text per scenario whose measures all have that scenario's value."""
    table = pd.DataFrame({"scenario": [f"s{i}" for i in range(N)], "kind": kind, "emotion": emotion, "index": index})
    texts = [f"{kind} {emotion} {i}" for i in range(N)]
    table = table.assign(sample=0, text=texts, **{"fluency/broken": False}, **given)
    return table.assign(**dict.fromkeys(METRICS, values), valence=0.1)


def sweep() -> pd.DataFrame:
    """Gratitude's vector moves its measures by 1, 0, -1 and 3 (the last of them broken), anger's nothing."""
    steered = rows("emotion", "gratitude", [2.0, 1.0, 0.0, 4.0])
    steered["fluency/broken"] = steered["scenario"] == "s3"
    parts = [rows("baseline", "none", [1.0] * N), steered, rows("emotion", "anger", [1.0] * N)]
    for family in ("isotropic", "covariance", "shuffled"):
        parts += [rows(family, "any", [1.0 + i] * N, i) for i in range(3)]
    return pd.concat([*parts, rows("zero", "gratitude", [1.0] * N)], ignore_index=True)


def test_effects_prompt_by_prompt_count_broken_texts_in_both_ways():
    table = summaries.prompt_effects(sweep(), EMOTIONS)
    assert list(dict.fromkeys(table["metric"])) == METRICS  # words before probabilities
    own = table[table["metric"] == "keywords/gratitude"].set_index("scenario")
    assert own["effect"].to_dict() == {"s0": 1, "s1": 0, "s2": -1, "s3": -1}
    assert own["unfiltered"].to_dict() == {"s0": 1, "s1": 0, "s2": -1, "s3": 3}


def test_every_control_direction_stands_beside_the_emotion_s_own_effect():
    table = summaries.beside_controls(sweep(), EMOTIONS)
    assert len(table) == 2 * 2 * 3 * 3
    part = table[(table["metric"] == "keywords/gratitude") & (table["family"] == "shuffled")]
    np.testing.assert_allclose(part["control"], [0, 1, 2])
    assert (part["own"] == -0.25).all()


def test_texts_at_strength_zero_are_counted_against_the_unpatched_ones():
    table = sweep()
    base = table.loc[table["kind"] == "baseline", "text"].tolist()
    table.loc[table["kind"] == "zero", "text"] = base
    assert summaries.unchanged_at_zero(table) == (4, 4)
    table.loc[table.index[-1], "text"] = "another"
    assert summaries.unchanged_at_zero(table) == (3, 4)


def test_examples_are_the_ends_and_the_middle_and_the_first_broken_one():
    prompts = pd.Series({f"s{i}": f"prompt {i}" for i in range(N)})
    table = summaries.examples(sweep(), EMOTIONS, prompts=prompts)
    own = table[table["emotion"] == "gratitude"].set_index("rule")
    assert own["scenario"].to_dict() == {"best": "s0", "median": "s2", "worst": "s3", "broken": "s3"}
    assert own.loc["best", ["effect", "prompt", "baseline", "patched"]].tolist() == [
        *(1.0, "prompt 0", "baseline none 0", "emotion gratitude 0"),
    ]
    assert table.loc[table["emotion"] == "anger", "rule"].tolist() == ["best", "median", "worst"]


@pytest.mark.parametrize(("counted", "value"), [(True, -0.25), (False, 0.75)])
def test_the_matrix_of_specificity_counts_broken_texts_as_told(counted, value):
    table = sweep().assign(**{"politeness/score": 0.0})
    matrix = summaries.specificity_matrix(table, EMOTIONS, counted=counted)
    assert matrix.loc["gratitude", "keywords/anger"] == value and matrix.loc["anger", "keywords/anger"] == 0
    assert list(matrix.columns) == [*METRICS, "valence", "politeness/score"]

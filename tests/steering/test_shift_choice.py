"""The layer and strength at which S is reported: chosen on validation, on tables with a known answer."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.steering.claims import IDIOMATIC
from emolib.steering.shift_choice import broken_shares, choose_shift_point
from emolib.steering.shift_tables import crossed_cells
from emolib.steering.specific_shift import crossed_mean

EMOTIONS = ("gratitude", "anger", "apology")
Points = dict[tuple[int, float], float]


def planted(effect: Points, *, style: str = "implicit", noise: float = 0.1, seed: int = 0, n: int = 12) -> pd.DataFrame:
    """S of every pair at every point."""
    generator, found = np.random.default_rng(seed), []
    cells = crossed_cells([f"p{i}" for i in range(n)], [f"{style} {i}" for i in range(n)], per_text=1, seed=0)
    common = noise * generator.standard_normal(len(cells))  # the texts' own: the same at every point
    for (layer, alpha), size in effect.items():
        for emotion, other in itertools.permutations(EMOTIONS, 2):
            values = size + common + 0.1 * noise * generator.standard_normal(len(cells))
            named = {"style": style, "layer": layer, "alpha": alpha, "emotion": emotion, "other": other}
            found.append(cells.assign(specific=values, **named))
    return pd.concat(found, ignore_index=True)


def written(effect: Points, broken: Points | None = None, base: float = 0.0) -> pd.DataFrame:
    """Twenty validation texts per point and emotion, of which a share is broken: anger's alone."""
    rows = [{"kind": "baseline", "emotion": "none", "layer": -1, "alpha": 0.0, "bad": i < 20 * base} for i in range(20)]
    for (layer, alpha), emotion, i in itertools.product(effect, EMOTIONS, range(20)):
        bad = emotion == "anger" and i < 20 * (broken or {}).get((layer, alpha), 0.0)
        rows.append({"kind": "emotion", "emotion": emotion, "layer": layer, "alpha": alpha, "bad": bad})
    return pd.DataFrame(rows).rename(columns={"bad": "fluency/broken"}).assign(split="validation")


EFFECT: Points = {(4, 1.0): 0.1, (6, 1.0): 0.4, (6, 2.0): 0.9, (9, 2.0): 0.2}


def test_the_point_with_the_largest_s_is_chosen_unless_it_breaks_the_text() -> None:
    point = choose_shift_point(planted(EFFECT), written(EFFECT, {(6, 2.0): 0.2}))
    assert (point.layer, point.alpha, point.eligible) == (6, 1.0, True)
    assert point.table.loc[point.table["broken"] > 0, ["layer", "alpha", "eligible"]].values.tolist() == [
        [6, 2.0, False]
    ]
    for tolerant in (
        choose_shift_point(planted(EFFECT), written(EFFECT, {(6, 2.0): 0.2}), broken_margin=0.5),
        choose_shift_point(planted(EFFECT), written(EFFECT, {(6, 2.0): 0.2}, base=0.1)),
        choose_shift_point(planted(EFFECT), written(EFFECT)),
    ):
        assert (tolerant.layer, tolerant.alpha) == (6, 2.0)


def test_without_an_eligible_point_the_least_broken_is_taken_and_said_so() -> None:
    broken = {(4, 1.0): 0.4, (6, 1.0): 0.5, (6, 2.0): 0.9, (9, 2.0): 0.6}
    point = choose_shift_point(planted(EFFECT), written(EFFECT, broken))
    assert (point.layer, point.alpha, point.eligible) == (4, 1.0, False)


def test_the_score_is_the_sum_over_emotions_in_standard_errors() -> None:
    cells = planted(EFFECT)
    point = choose_shift_point(cells, written(EFFECT))
    for row in point.table.itertuples():
        mine = cells[(cells["layer"] == row.layer) & (cells["alpha"] == row.alpha)]
        own = mine.groupby(["prompt", "text", "emotion"])["specific"].mean()
        found = crossed_mean(own.groupby(["prompt", "text"]).sum().rename("specific").reset_index())
        assert row.score == pytest.approx(found["mean"] / found["se"])
    assert point.score == point.table["score"].max()
    means = cells[(cells["layer"] == 6) & (cells["alpha"] == 2.0)].groupby("emotion")["specific"].mean()
    chosen = point.table.set_index(["layer", "alpha"]).loc[(6, 2.0)]
    assert chosen["shift/anger"] == pytest.approx(means["anger"])


def test_ties_go_to_the_smaller_alpha_then_to_the_lower_layer() -> None:
    same = {(9, 1.0): 0.3, (4, 2.0): 0.3, (6, 1.0): 0.3}
    one = planted({(9, 1.0): 0.3})
    cells = pd.concat([one.assign(layer=layer, alpha=alpha) for layer, alpha in same], ignore_index=True)
    point = choose_shift_point(cells, written(same))
    assert point.table["score"].nunique() == 1 and (point.layer, point.alpha) == (6, 1.0)


def test_neither_style_outweighs_the_other_and_idiomatic_texts_have_no_say() -> None:
    words, meaning = {(4, 1.0): 0.5, (6, 1.0): 0.3}, {(4, 1.0): 0.1, (6, 1.0): 0.4}
    both = pd.concat([planted(words, style="explicit", noise=0.3), planted(meaning, noise=0.3, seed=0)])
    table = choose_shift_point(both, written(words)).table.set_index("layer")
    for style, part in both.groupby("style"):
        alone = choose_shift_point(part, written(words))
        assert alone.layer == (4 if style == "explicit" else 6)
    alone = [
        choose_shift_point(part, written(words)).table.set_index("layer")["score"] for _, part in both.groupby("style")
    ]
    np.testing.assert_allclose(table["score"], (alone[0] + alone[1]) / 2)
    phrases = planted({(4, 1.0): 90.0, (6, 1.0): 0.0}, style=IDIOMATIC)
    beside = choose_shift_point(pd.concat([both, phrases]), written(words)).table
    pd.testing.assert_frame_equal(beside, table.reset_index()[list(beside)])


def test_s_is_needed_only_at_the_points_that_can_be_chosen() -> None:
    for broken in ({(6, 2.0): 0.2}, {(4, 1.0): 0.4, (6, 1.0): 0.5, (6, 2.0): 0.4, (9, 2.0): 0.6}):
        texts = written(EFFECT, broken)
        shares = broken_shares(texts)
        left = set(shares.loc[shares["choosable"], ["layer", "alpha"]].itertuples(index=False, name=None))
        whole = choose_shift_point(planted(EFFECT), texts)
        cells = planted(EFFECT)
        few = cells[[pair in left for pair in zip(cells["layer"], cells["alpha"], strict=True)]]
        found = choose_shift_point(few, texts)
        assert 0 < len(left) < len(EFFECT) and len(found.table) == len(left)
        assert (found.layer, found.alpha, found.score, found.eligible) == (
            *(whole.layer, whole.alpha, whole.score),
            whole.eligible,
        )
    rest = cells[[pair not in left for pair in zip(cells["layer"], cells["alpha"], strict=True)]]
    with pytest.raises(UserError, match="a point that can be chosen"):
        choose_shift_point(rest, texts)


def test_points_that_move_nothing_have_no_score() -> None:
    nothing = planted({(4, 1.0): 0.0, (6, 1.0): 0.0}, noise=0.0)
    assert choose_shift_point(nothing, written({(4, 1.0): 0, (6, 1.0): 0})).table["score"].tolist() == [0, 0]


def test_other_rows_than_validation_or_a_point_without_texts_are_refused() -> None:
    with pytest.raises(UserError, match="validation rows only"):
        choose_shift_point(planted(EFFECT), written(EFFECT).assign(split="test"))
    with pytest.raises(UserError, match="layer 9 and alpha 2"):
        choose_shift_point(planted(EFFECT), written(EFFECT).query("layer != 9"))
    with pytest.raises(UserError, match="at least two validation texts"):
        choose_shift_point(planted(EFFECT, style=IDIOMATIC), written(EFFECT))

"""Contexts that must fail: what stands where, and that nothing of the continuation stands in them."""

from __future__ import annotations

import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.data.companions import joined, load_companions
from emolib.data.dataset import load_dataset
from emolib.data.pairs import load_lexical
from emolib.steering.gold import CONTEXT_COLUMNS, gold_contexts
from emolib.steering.shift_tables import crossed_cells
from emolib.steering.stand_ins import LIKE_VALENT, like_valent_contexts, pair_contexts
from emolib.steering.third_scenarios import Wording, third_scenarios

OWN = ("gratitude", "anger", "apology")


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return load_dataset().query("split == 'validation'")


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    return load_lexical()


@pytest.fixture(scope="module")
def cells(data: pd.DataFrame) -> pd.DataFrame:
    names = [data.loc[data["style"] == kind, "scenario"].drop_duplicates() for kind in ("implicit", "explicit")]
    crossed = crossed_cells(names[0].tolist()[:22], names[1].tolist(), seed=0)
    return third_scenarios(crossed, data, OWN, pool=data["scenario"].unique()).cells


@pytest.mark.parametrize("kind", ["denied", "lexical"])
def test_pairs_stand_in_for_every_emotion_and_share_nothing_with_the_text(
    cells: pd.DataFrame, data: pd.DataFrame, pairs: pd.DataFrame, kind: str
) -> None:
    found = pair_contexts(cells, data, pairs, OWN, kind=kind)
    print(f"{kind}: left out {len(found.left_out)} of {len(cells)} cells")
    assert len(found.left_out) <= 0.05 * len(cells)
    contexts = found.contexts
    assert contexts.columns.tolist() == CONTEXT_COLUMNS
    assert len(contexts) == 3 * (len(cells) - len(found.left_out)) and not contexts.isna().any(axis=None)
    told = pairs.set_index("text")
    texts = {name: Wording.of(part["text"]) for name, part in data.groupby("scenario")}
    for row in contexts.itertuples():
        mine = told.loc[row.context]
        assert mine["emotion"] == row.act and mine["kind"] == kind
        assert not Wording.of([row.context]).meets(texts[row.text])
        if kind == "denied":
            assert mine["role"] == "denied"
            assert row.reference == data.query("scenario == @row.third and emotion == 'neutral'")["text"].item()
        else:
            reference = told.loc[row.reference]
            assert (mine["role"], reference["role"]) == ("with", "without") and mine["pair"] == reference["pair"]
    assert contexts.groupby("act")["context"].value_counts().max() <= 8, "no pair stands in many cells"


def test_a_like_emotion_stands_in_for_one_emotion_beside_its_own_context(data: pd.DataFrame) -> None:
    both = joined(load_dataset(), load_companions(), "five").query("split == 'validation'")
    names = [
        both.loc[both["style"] == kind, "scenario"].drop_duplicates().tolist() for kind in ("implicit", "explicit")
    ]
    pool = both["scenario"].unique()
    crossed = crossed_cells(names[0], names[1], seed=0)
    text_of = both.set_index(["scenario", "emotion"])["text"]
    for emotion, like in LIKE_VALENT.items():
        labels = [emotion, *like]
        chosen = third_scenarios(crossed, both, labels, pool=pool).cells
        found = like_valent_contexts(chosen, both, labels, emotion, like[0], pool=pool)
        print(f"{like[0]} for {emotion}: left out {len(found.left_out)} of {len(chosen)} cells")
        assert len(found.left_out) <= 0.1 * len(chosen)
        own = gold_contexts(chosen, both, labels).merge(found.contexts, on=["prompt", "text", "act"])
        assert len(own) == 3 * (len(chosen) - len(found.left_out))
        replaced = own["act"] == emotion
        assert (own["context_x"] == own["context_y"])[~replaced].all()
        of_like = set(text_of.xs(like[0], level="emotion"))
        assert own.loc[replaced, "context_y"].isin(of_like).all()
        beside = own[own["act"] == like[0]].set_index(["prompt", "text"])["context_y"]
        assert (own[replaced].set_index(["prompt", "text"])["context_y"] != beside).all(), "another scenario's text"


def test_bad_stand_ins_are_told(cells: pd.DataFrame, data: pd.DataFrame, pairs: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="kind"):
        pair_contexts(cells, data, pairs, OWN, kind="felt")
    with pytest.raises(UserError, match="for the label joy, there are none"):
        pair_contexts(cells, data, pairs, ["joy"], kind="denied")
    with pytest.raises(UserError, match="label"):
        like_valent_contexts(cells, data, OWN, "gratitude", "joy", pool=data["scenario"].unique())

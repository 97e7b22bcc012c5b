"""Which texts stand after which contexts."""

from __future__ import annotations

import pytest

from emolib import load_dataset
from emolib.base.errors import UserError
from emolib.circuits.contrasts import COLUMNS, UNIT, context_contrasts, pack, steer_contrasts, topic_contrasts
from emolib.models.language_model import LanguageModel
from emolib.steering.third_scenarios import Wording

EMOTIONS = ["gratitude", "anger", "apology"]


@pytest.fixture(scope="module")
def data():  # type: ignore[no-untyped-def]
    return load_dataset().query("split == 'validation'").reset_index(drop=True)


def test_contexts_and_sources_share_no_scenario_and_contexts_no_wording_with_the_text(data) -> None:  # type: ignore[no-untyped-def]
    pool = sorted(data["scenario"].unique())
    table = context_contrasts(data, EMOTIONS, pool[:6], others=EMOTIONS, pool=pool)
    assert table.columns.tolist() == COLUMNS and not table.duplicated(UNIT).any()
    assert set(table.groupby(["scenario", "emotion"]).size()) == {3}
    owner = data.set_index("text")["scenario"]
    for row in table.to_dict("records"):
        assert owner[row["prompt_with"]] == owner[row["prompt_without"]] == row["third"] != row["scenario"]
        assert owner[row["text_with"]] == owner[row["text_without"]] == row["scenario"]
        assert len({row["scenario"], owner[row["source_prompt"]], owner[row["source_text"]]}) == 3
        assert row["third"] != owner[row["source_prompt"]]
        assert not Wording.of([row["prompt_with"]]).meets(Wording.of([row["text_with"]]))
    again = context_contrasts(data, EMOTIONS, pool[:6], others=EMOTIONS, pool=pool)
    assert again.equals(table)


def test_steers_and_topics_have_the_same_form(data, tiny_models: dict[str, LanguageModel]) -> None:  # type: ignore[no-untyped-def]
    pool = sorted(data["scenario"].unique())
    steers = steer_contrasts(data, EMOTIONS, pool[:2], pool=pool)
    assert len(steers) == 6 and (steers["prompt_with"] == steers["prompt_without"]).all()
    topics = topic_contrasts(data, pool[:6], pool=pool)
    topic_of = data.set_index("text")["topic"]
    assert len(topics) >= 4
    for row in topics.to_dict("records"):
        assert topic_of[row["prompt_with"]] == topic_of[row["text_with"]] != topic_of[row["text_without"]]
        assert topic_of[row["prompt_without"]] == topic_of[row["text_without"]]
    given = pack(tiny_models["llama"], topics.head(3))
    assert given.n_units == 3 and given.unit_of_row == (0, 0, 1, 1, 2, 2)
    assert given.effects(given.weights).tolist() == [4.0, 4.0, 4.0]


def test_bad_input_is_told(data) -> None:  # type: ignore[no-untyped-def]
    pool = sorted(data["scenario"].unique())
    with pytest.raises(UserError, match="at least three scenarios"):
        context_contrasts(data, EMOTIONS, pool[:2], pool=pool[:2])
    with pytest.raises(UserError, match="at least two emotions"):
        steer_contrasts(data, EMOTIONS[:1], pool[:2], pool=pool)
    with pytest.raises(UserError, match="columns"):
        context_contrasts(data.drop(columns="topic"), EMOTIONS, pool[:2], pool=pool)

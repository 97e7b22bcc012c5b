"""Third scenarios on the real data set: nothing of the continuation's wording stands in the context."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.data.companions import joined, load_companions
from emolib.data.dataset import load_dataset
from emolib.readout.leaks import FUNCTION_WORDS
from emolib.steering.shift_tables import crossed_cells
from emolib.steering.third_scenarios import Wording, third_scenarios

OWN = ("gratitude", "anger", "apology")
COMPARED = {"own": OWN, **{name: (name, *like) for name, like in (("gratitude", ("joy", "admiration")),)}}


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return load_dataset()


def scenarios(table: pd.DataFrame, style: str) -> list[str]:
    return table.loc[table["style"] == style, "scenario"].drop_duplicates().tolist()


def plain_words(text: str) -> list[str]:
    """An independent way to the words: contractions are cut at the apostrophe."""
    return re.findall(r"[a-z0-9_à-ÿ]+", text.lower().replace("\u2019", "'").replace("n't", " ").replace("'", " "))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("style", ["explicit", "implicit"])
def test_no_context_shares_a_content_word_with_its_continuation(data: pd.DataFrame, split: str, style: str) -> None:
    part = data[data["split"] == split]
    other = "implicit" if style == "explicit" else "explicit"
    cells = crossed_cells(scenarios(part, other)[:22], scenarios(part, style)[:22], seed=0)
    found = third_scenarios(cells, part, OWN, pool=part["scenario"].unique())
    print(
        f"{split} {style}: left out {found.share_left_out:.3f}, of the text's style {found.cells['same_style'].mean()}"
    )
    assert found.share_left_out == 0 and found.cells["same_style"].all()
    function = set(FUNCTION_WORDS) | {"s", "t", "d", "ll", "m", "re", "ve", "ca", "wo"}
    texts = part.groupby("scenario")["text"].apply(list).to_dict()
    for row in found.cells.itertuples():
        assert len({row.prompt, row.text, row.third}) == 3
        here, there = ([plain_words(text) for text in texts[name]] for name in (row.text, row.third))
        shared = {word for some in here for word in some} & {word for some in there for word in some}
        assert not shared - function, (row.text, row.third)
        triples = [{tuple(some[i : i + 3]) for some in side for i in range(len(some) - 2)} for side in (here, there)]
        assert not {three for three in triples[0] & triples[1] if "'" not in "".join(three)} or _cut(triples)


def _cut(triples: list[set[tuple[str, ...]]]) -> bool:
    """Cut contractions make triples that are none by the rule: "it" "s" "a" is two words and a half."""
    return all({"s", "t", "d", "ll", "m", "re", "ve"} & set(three) for three in triples[0] & triples[1])


def test_every_label_of_like_valence_has_a_third_scenario(data: pd.DataFrame) -> None:
    both = joined(data, load_companions(), "five")
    part = both[both["split"] == "validation"]
    for style in ("explicit", "implicit"):
        texts = scenarios(part, style)
        rest = [name for name in part["scenario"].drop_duplicates() if name not in texts]
        found = third_scenarios(
            crossed_cells(rest, texts), part, ("gratitude", "joy", "admiration"), pool=part["scenario"].unique()
        )
        counts = pd.Series(found.n_candidates)
        print(
            f"{style}: left out {found.share_left_out:.3f}, fewest candidates {counts.min()}, median {counts.median()}"
        )
        assert found.share_left_out <= 0.05


def test_the_choice_is_spread_and_repeats_itself(data: pd.DataFrame) -> None:
    part = data[data["split"] == "validation"]
    cells = crossed_cells(scenarios(part, "implicit")[:22], scenarios(part, "explicit"), seed=0)
    pool = part["scenario"].unique()
    one, again, other = (third_scenarios(cells, part, OWN, pool=pool, seed=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(one.cells, again.cells)
    assert (one.cells["third"] != other.cells["third"]).mean() > 0.5
    assert not one.cells.duplicated(["text", "third"]).any(), "a text meets every third scenario once"
    assert one.cells["third"].value_counts().max() <= 12
    fourth = third_scenarios(one.cells, part, OWN, pool=pool, seed=0)
    both = one.cells.merge(fourth.cells, on=["prompt", "text"])
    assert (both["third_x"] != both["third_y"]).all()


def made(texts: dict[str, dict[str, str]]) -> pd.DataFrame:
    rows = [
        {"scenario": name, "emotion": label, "style": "implicit", "text": text}
        for name, told in texts.items()
        for label, text in told.items()
    ]
    return pd.DataFrame(rows)


def test_a_cell_without_a_third_scenario_is_left_out_and_counted() -> None:
    data = made(
        {
            "prompt": {"joy": "A lamp glows.", "neutral": "A lamp stands."},
            "text": {"joy": "The red kite flew!", "neutral": "The kite lay there."},
            "shares": {"joy": "What a KITE it is!", "neutral": "It is noon."},
            "triple": {"joy": "We sang.", "neutral": "The tea was on."},
        }
    )
    cells = pd.DataFrame({"prompt": ["prompt"], "text": ["text"]})
    pool = ["prompt", "text", "shares"]
    found = third_scenarios(cells, data, ["joy"], pool=pool)
    assert found.cells.empty and found.share_left_out == 1.0
    assert found.left_out[["prompt", "text"]].values.tolist() == [["prompt", "text"]]
    assert found.n_candidates == {"text": 1}, "the prompt's own scenario would fit, and is none"
    assert third_scenarios(cells, data, ["joy"], pool=[*pool, "triple"]).cells["third"].tolist() == ["triple"]
    data.loc[data["scenario"] == "triple", "text"] = ["We sang.", "But there it was again, so it is."]
    data.loc[data["scenario"] == "text", "text"] = ["The red kite flew!", "The kite: there it was."]
    assert third_scenarios(cells, data, ["joy"], pool=[*pool, "triple"]).cells.empty, "three words in a row are shared"


def test_wording_takes_contractions_apart_and_keeps_no_function_word() -> None:
    found = Wording.of(["We\u2019d lost it, and WE'D not lost the Map."])
    assert found.words == {"lost", "map"}
    assert ("we", "'d", "lost") in found.triples and found.meets(Wording.of(["A map."]))
    assert not found.meets(Wording.of(["We had it."]))


def test_bad_pools_are_told(data: pd.DataFrame) -> None:
    cells = pd.DataFrame({"prompt": ["work-01"], "text": ["nowhere"]})
    with pytest.raises(UserError, match="'nowhere' has none"):
        third_scenarios(cells, data, OWN, pool=["work-02"])
    cells["text"] = "work-03"
    with pytest.raises(UserError, match="a pool of scenarios with texts of anger, joy, neutral"):
        third_scenarios(cells, data, ["joy", "anger"], pool=["work-02"])

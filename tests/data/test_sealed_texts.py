"""Sealed files: what is read of them, what is set aside, and one line for whatever is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.data.dataset import jsonl_bytes, load_dataset
from emolib.data.mock_sealed import mock_sealed, write_mock
from emolib.data.sealed_texts import APART, LABELS, SealedTexts, read_sealed

TRAINING = load_dataset().query("split == 'train'")


def written(rows: pd.DataFrame, folder: Path) -> Path:
    file = folder / "sealed.jsonl"
    file.write_bytes(jsonl_bytes(rows))
    return file


def read(rows: pd.DataFrame, folder: Path, mock: int | None = 2) -> SealedTexts:
    return read_sealed(written(rows, folder), TRAINING, mock=mock)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Six implicit scenarios and five prompts."""
    whole = mock_sealed()
    count = whole.groupby("scenario")["emotion"].transform("nunique")
    few = list(dict.fromkeys(whole.loc[(count > 1) & (whole["style"] == "implicit"), "scenario"]))[:6]
    pool = list(dict.fromkeys(whole.loc[count == 1, "scenario"]))[:5]
    return whole[whole["scenario"].isin([*few, *pool])].reset_index(drop=True)


def test_whole_scenarios_give_texts_and_neutral_ones_alone_give_prompts(rows: pd.DataFrame, tmp_path: Path) -> None:
    found = read(rows, tmp_path)
    assert len(found.scenarios()) == found.texts["scenario"].nunique() == 6 and len(found.texts) == 6 * len(LABELS)
    assert len(found.prompts) == 5 and set(found.prompts["emotion"]) == {"neutral"}
    assert found.texts["scenario"].str.startswith(APART).all() and found.set_aside.empty
    again = read(rows.drop(columns="split").assign(split="test"), tmp_path)
    assert again.scenarios() == found.scenarios() and again.sha256 != found.sha256


@pytest.mark.parametrize(
    ("emotion", "text", "why"),
    [
        ("anger", "I am furious about the lamp that you left on for the whole of last week.", "word"),
        ("joy", "The lamp that you left on for the whole of last week fills me with joyful hours.", "word"),
        ("anger", "You left the lamp on for the whole of last week, the nerve of you!", "phrase"),
    ],
)
def test_an_implicit_scenario_with_a_cue_is_set_aside(
    rows: pd.DataFrame, tmp_path: Path, emotion: str, text: str, why: str
) -> None:
    place = rows.index[rows["emotion"] == emotion][0]
    found = read(rows.assign(text=rows["text"].where(rows.index != place, text)), tmp_path)
    assert found.set_aside[["emotion", "why"]].values.tolist() == [[emotion, why]] and len(found.scenarios()) == 5


def test_a_phrase_that_training_texts_of_one_label_alone_repeat_is_a_cue(rows: pd.DataFrame, tmp_path: Path) -> None:
    place = rows.index[rows["emotion"] == "apology"][0]
    said = "The lamp stood under the green awning of the old pier for the whole week."
    altered = rows.assign(text=rows["text"].where(rows.index != place, said))
    once = pd.DataFrame({"emotion": ["apology"], "text": ["I was under the green awning of a shop."]})
    for n, least in ((1, 0), (2, 1)):
        training = pd.concat([TRAINING, *[once.assign(text=once["text"] + f" {i}") for i in range(n)]])
        found = read_sealed(written(altered, tmp_path), training, mock=2)
        assert len(found.set_aside) == least and found.n_shared_once >= 1 - least
    shared = pd.concat([TRAINING, once, once.assign(emotion="anger")])
    assert read_sealed(written(altered, tmp_path), shared, mock=2).set_aside.empty


Change = Callable[[pd.DataFrame], pd.DataFrame]
FAULTS: dict[str, tuple[Change, str]] = {
    "a label is missing": (lambda t: t.drop(t.index[t["emotion"] == "fear"][0]), "missing: fear; several: none"),
    "a label that is none": (
        lambda t: t.assign(emotion=t["emotion"].where(t.index != 3, "pride")),
        "label 'pride' is not one of",
    ),
    "a label twice": (
        lambda t: t.assign(emotion=t["emotion"].where(t.index != t.index[t["emotion"] == "joy"][0], "fear")),
        "missing: joy; several: fear",
    ),
    "no scenario": (lambda t: t.assign(scenario=t["scenario"].where(t.index != 4, "")), "row 5: expected a scenario"),
    "two styles": (lambda t: t.assign(style=t["style"].where(t.index != 4, "explicit")), "expected one style"),
    "an unknown style": (lambda t: t.assign(style="unspecified"), "expected one style of implicit or explicit"),
    "another language": (lambda t: t.assign(lang="ja"), "expected one lang of en"),
    "a text twice": (lambda t: t.assign(text=t["text"].where(t.index != 4, t["text"][0])), "the same text as row 1"),
    "no prompts": (lambda t: t[t.groupby("scenario")["emotion"].transform("nunique") > 1], "for the prompts, got 0"),
    "a prompt that is a text": (
        lambda t: t.assign(text=t["text"].where(t.index != t.index[-1], t["text"][0] + " Indeed")),
        "is nearly the text",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_one_clear_line(rows: pd.DataFrame, tmp_path: Path, fault: str) -> None:
    change, says = FAULTS[fault]
    with pytest.raises(UserError, match=r"sealed\.jsonl: \d+ problem") as told:
        read(change(rows), tmp_path)
    assert says in str(told.value) and "\n" not in str(told.value)


def test_a_real_file_must_be_large_and_new(rows: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(UserError) as told:
        read(rows, tmp_path, mock=None)
    for says in ("at least 96 implicit", "at least 24 scenarios", "is in data/emotion_", "or nearly so"):
        assert says in str(told.value)


def new_texts(n: int, prompts: int) -> pd.DataFrame:
    """Texts that nobody has written: no three words in a row come again."""
    found: list[dict[str, Any]] = []
    for number in range(n + prompts):
        labels = LABELS if number < n else ("neutral",)
        for place, label in enumerate(labels):
            words = " ".join(f"{chr(97 + place)}{number}x{i}" for i in range(8))
            found.append({"scenario": f"s{number}", "emotion": label, "text": words, "style": "implicit"})
    table = pd.DataFrame(found)
    return table.assign(id=[f"i{i}" for i in range(len(table))], topic="t", lang="en", split="test")


def test_a_large_file_of_new_texts_is_taken_and_one_scenario_fewer_is_not(tmp_path: Path) -> None:
    assert len(read(new_texts(96, 24), tmp_path, mock=None).scenarios()) == 96
    with pytest.raises(UserError, match="at least 96 implicit scenarios without a cue, got 95"):
        read(new_texts(95, 24), tmp_path, mock=None)
    with pytest.raises(UserError, match="for the prompts, got 23"):
        read(new_texts(96, 23), tmp_path, mock=None)


def test_one_near_copy_of_a_projects_text_is_enough_to_refuse(tmp_path: Path) -> None:
    table = new_texts(96, 24)
    copied = str(load_dataset()["text"][10])
    table.loc[40, "text"] = "Yesterday, " + copied
    with pytest.raises(UserError, match=r"1 problem.*id sealed:i40: is in data/.*or nearly so"):
        read(table, tmp_path, mock=None)


def test_permuted_labels_keep_every_scenarios_texts(tmp_path: Path) -> None:
    plain, permuted = mock_sealed(), mock_sealed(permuted=1)
    for table in (plain, permuted):
        assert (table.groupby(["scenario", "emotion"]).size() == 1).all()
    texts = [table.groupby("scenario")["text"].agg(frozenset).to_dict() for table in (plain, permuted)]
    moved = (plain["emotion"] != permuted["emotion"])[: 30 * len(LABELS)].mean()
    assert texts[0] == texts[1] and 0.8 < moved < 1
    write_mock(tmp_path / "x.jsonl", permuted=1)
    with pytest.raises(UserError, match=r"ends in \.jsonl"):
        write_mock(tmp_path / "x.csv")

"""Companions and pairs are read with the data set's checks, belong to its scenarios, and stand in one file alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from emolib.base import paths
from emolib.base.errors import UserError
from emolib.data import companions, pairs
from emolib.data.companions import LABELS, SCENARIOS, companions_of, joined, load_companions
from emolib.data.dataset import load_dataset
from emolib.data.own_files import FILES
from emolib.data.pairs import load_lexical, load_placebo

Rows = list[dict[str, Any]]
LOADERS: dict[str, Callable[..., pd.DataFrame]] = {
    "emotion_companions.jsonl": load_companions,
    "lexical.jsonl": load_lexical,
    "placebo.jsonl": load_placebo,
}


def rows_of(name: str) -> Rows:
    return [json.loads(line) for line in paths.data_file(name).read_text(encoding="utf-8").splitlines()]


def written(folder: Path, rows: Rows, name: str = "mine.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def with_row(place: int, **fields: Any) -> Callable[[Rows], Rows]:
    return lambda rows: [{**row, **fields} if i == place else row for i, row in enumerate(rows)]


def without_row(place: int) -> Callable[[Rows], Rows]:
    return lambda rows: rows[:place] + rows[place + 1 :]


@pytest.mark.parametrize("name", LOADERS)
def test_the_projects_own_files_are_read_as_they_stand(name: str) -> None:
    table = LOADERS[name]()
    assert table.to_dict("records") == rows_of(name)
    assert table["id"].is_unique


def test_no_text_stands_twice_in_any_of_the_files() -> None:
    texts = [row["text"] for name in FILES for row in rows_of(name)]
    assert len(texts) == len(set(texts)) > 2800


def test_the_companions_are_crossed_on_the_data_sets_scenarios() -> None:
    data, table = load_dataset(), load_companions()
    for kind, labels in LABELS.items():
        part = table[table["set"] == kind]
        assert len(part) == len(labels) * sum(SCENARIOS[kind].values())
        own = 4 + len(labels) + (5 if kind == "fifteen" else 0)
        both = joined(data, table, kind)
        assert (both.groupby("scenario")["emotion"].agg(["size", "nunique"]) == own).all().all()
        assert (both.groupby("scenario")[["split", "style", "topic"]].nunique() == 1).all().all()
        assert both["scenario"].nunique() == sum(SCENARIOS[kind].values())
    assert set(table.loc[table["set"] == "fifteen", "split"]) == {"train"}


def test_both_styles_are_as_frequent_in_every_split_of_the_companions() -> None:
    once = load_companions().drop_duplicates(["set", "scenario"])
    assert once.groupby(["set", "split", "style"]).size().groupby(["set", "split"]).nunique().eq(1).all()


COMPANION_FAULTS: dict[str, tuple[Callable[[Rows], Rows], list[str]]] = {
    "an empty text": (with_row(3, text=" "), ["row 4: empty text"]),
    "an empty field": (with_row(3, topic=""), ["row 4: empty topic"]),
    "an unknown label": (with_row(3, emotion="bliss"), ["row 4: label 'bliss' is not one of joy, admiration"]),
    "a label of the other set": (with_row(3, emotion="relief"), ["row 4: label 'relief' is none of the set five"]),
    "an unknown set": (with_row(3, set="six"), ["row 4: set 'six' is not one of five, fifteen"]),
    "an unknown split": (with_row(3, split="dev"), ["row 4: split 'dev'"]),
    "another split": (with_row(3, split="test"), ["row 4: split 'test', the scenario has 'train'"]),
    "another style": (with_row(3, style="implicit"), ["row 4: style 'implicit', the scenario has 'explicit'"]),
    "no such scenario": (with_row(3, scenario="moon-01"), ["row 4: the data set has no scenario 'moon-01'"]),
    "a text twice": (lambda rows: with_row(4, text=rows[3]["text"])(rows), ["row 5: the same text as row 4"]),
    "an id twice": (lambda rows: with_row(4, id=rows[3]["id"])(rows), ["row 5: duplicate id"]),
    "a text of the data set": (
        lambda rows: with_row(4, text=rows_of("emotion_dataset.jsonl")[7]["text"])(rows),
        ["row 5: the same text as row 8 of emotion_dataset.jsonl"],
    ),
    "a text of the placebos": (
        lambda rows: with_row(4, text=rows_of("placebo.jsonl")[0]["text"])(rows),
        ["row 5: the same text as row 1 of placebo.jsonl"],
    ),
    "a label missing": (without_row(3), ["expected one text for each label of the set five, missing: fear"]),
    "a set missing": (lambda rows: [row for row in rows if row["set"] == "five"], ["set fifteen: has no texts"]),
    "a scenario missing": (
        lambda rows: [row for row in rows if row["scenario"] != rows[0]["scenario"]],
        ["set five: expected scenarios"],
    ),
    "nothing": (lambda rows: [], ["expected objects with id, scenario"]),
}


@pytest.mark.parametrize("name", COMPANION_FAULTS)
def test_companions_that_break_a_rule_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    change, says = COMPANION_FAULTS[name]
    rows = rows_of("emotion_companions.jsonl")
    assert len(load_companions(written(tmp_path, rows, "same.jsonl"))) == len(rows)
    with pytest.raises(UserError) as caught:
        load_companions(written(tmp_path, change(rows)))
    message = str(caught.value)
    assert "\n" not in message and message.startswith("mine.jsonl: ")
    assert all(part in message for part in says), message


PAIR_FAULTS: dict[str, tuple[str, Callable[[Rows], Rows], str]] = {
    "half a pair": ("lexical.jsonl", without_row(1), "pair lexical-gratitude-01: expected one text for each of with"),
    "half a placebo": ("placebo.jsonl", without_row(0), "pair placebo-topic-01: expected one text for each of a, b"),
    "an unknown kind": ("placebo.jsonl", with_row(0, kind="size"), "row 1: kind 'size' is not one of topic, length"),
    "two kinds": ("placebo.jsonl", with_row(0, kind="length"), "pair placebo-topic-01: has more than one kind"),
    "two emotions": ("lexical.jsonl", with_row(0, emotion="anger"), "has more than one emotion"),
    "a wrong role": ("lexical.jsonl", with_row(0, role="felt"), "row 1: role 'felt' is not one of with, without"),
    "an empty text": ("placebo.jsonl", with_row(2, text=""), "row 3: empty text"),
    "no emotion": ("lexical.jsonl", with_row(2, emotion=""), "row 3: empty emotion"),
    "a text twice": (
        "placebo.jsonl",
        lambda rows: with_row(2, text=rows[0]["text"])(rows),
        "row 3: the same text as row 1",
    ),
}


@pytest.mark.parametrize("name", PAIR_FAULTS)
def test_pairs_that_break_a_rule_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    file, change, says = PAIR_FAULTS[name]
    rows = rows_of(file)
    assert len(LOADERS[file](written(tmp_path, rows, "same.jsonl"))) == len(rows)
    with pytest.raises(UserError) as caught:
        LOADERS[file](written(tmp_path, change(rows)))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_there_are_as_many_pairs_of_every_kind_as_stated() -> None:
    lexical, placebo = load_lexical(), load_placebo()
    assert (lexical.groupby(["kind", "emotion"])["pair"].nunique() == pairs.LEXICAL_PAIRS).all()
    assert set(lexical["emotion"]) == {"gratitude", "anger", "apology"}
    assert placebo["pair"].nunique() == pairs.PLACEBO_PAIRS and set(placebo["kind"]) == set(pairs.PLACEBO_KINDS)


def test_another_data_set_has_no_companions_and_a_changed_label_or_text_keeps_them() -> None:
    data = load_dataset()
    own = companions_of(data)
    assert own is not None and len(own) == 1050
    assert companions_of(data.assign(text=data["text"] + " So it is.")) is not None
    assert companions_of(data[data["emotion"] != "apology"]) is not None
    assert companions_of(data.assign(scenario="x" + data["scenario"])) is None
    assert companions_of(data.assign(split="train")) is None
    assert companions_of(data.replace({"emotion": {"anger": "joy"}})) is None


def test_a_fault_of_the_projects_own_companions_is_told_and_not_taken_for_another_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = written(tmp_path, rows_of("emotion_companions.jsonl")[1:], "emotion_companions.jsonl")
    real = paths.data_file
    monkeypatch.setattr(
        paths, "data_file", lambda name="emotion_dataset.jsonl": broken if name == companions.FILE else real(name)
    )
    data = load_dataset()
    with pytest.raises(UserError, match="missing: joy"):
        companions_of(data)


# the two marks of the data set's own rows


def test_the_data_sets_marks_are_kept_and_belong_to_its_rows() -> None:
    data = load_dataset()
    assert data["minimal_pair"].dtype == data["idiomatic"].dtype == bool
    assert data.to_dict("records") == rows_of("emotion_dataset.jsonl")
    assert 0 < data.drop_duplicates("scenario")["minimal_pair"].mean() < 1


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (True, True),
        ("TRUE", True),
        (1, True),
        (False, False),
        ("false", False),
        ("0", False),
        (None, False),
        ("", False),
    ],
)
def test_a_mark_is_true_or_false_however_it_is_written(tmp_path: Path, given: Any, read: bool) -> None:
    rows = [{"text": "A.", "emotion": "joy", "idiomatic": given}, {"text": "B.", "emotion": "neutral"}]
    assert load_dataset(written(tmp_path, rows))["idiomatic"].tolist() == [read, False]


def test_a_mark_that_is_neither_is_named_with_its_row(tmp_path: Path) -> None:
    rows = [{"text": "A.", "emotion": "joy", "idiomatic": "perhaps"}, {"text": "B.", "emotion": "neutral"}]
    with pytest.raises(UserError, match="row 1: expected true or false in the field 'idiomatic', got 'perhaps'"):
        load_dataset(written(tmp_path, rows))


def test_a_minimal_pair_is_one_in_all_its_texts(tmp_path: Path) -> None:
    rows = [
        {"text": "A.", "emotion": "joy", "scenario": "s", "minimal_pair": True},
        {"text": "B.", "emotion": "neutral", "scenario": "s", "minimal_pair": False},
    ]
    with pytest.raises(UserError, match="scenario s: is a minimal pair in some of its texts alone"):
        load_dataset(written(tmp_path, rows))
    rows[1]["minimal_pair"] = True
    assert load_dataset(written(tmp_path, rows))["minimal_pair"].all()


def test_a_file_without_the_marks_has_no_columns_for_them(tmp_path: Path) -> None:
    rows = [{"text": "A.", "emotion": "joy"}, {"text": "B.", "emotion": "neutral"}]
    assert "idiomatic" not in load_dataset(written(tmp_path, rows))

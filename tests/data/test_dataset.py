"""The committed data set obeys its rules, and a user's file is checked row by row, selected whole and converted."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from emolib.base import paths
from emolib.base.errors import UserError
from emolib.base.parameters import DatasetParameters
from emolib.data import dataset
from emolib.data.dataset import FIELDS, build_dataset, load_dataset, prompt_files, select_scenarios
from emolib.data.keywords import load_keywords
from emolib.readout import surface

NEUTRAL = "neutral"


@pytest.fixture(scope="module")
def committed() -> pd.DataFrame:
    return load_dataset()


# the rules of the committed data set: every function gives what breaks its rule


def size_and_crossing(data):
    per_scenario = data.groupby("scenario")["emotion"].agg(["size", "nunique"])
    broken = per_scenario.index[(per_scenario != 4).any(axis=1)].tolist()
    return broken + ([] if (len(data), len(per_scenario), data["text"].nunique()) == (900, 225, 900) else ["size"])


def scenario_fields_are_shared(data):
    shared = data.groupby("scenario")[["style", "split", "topic", "lang"]].nunique()
    return shared.index[(shared != 1).any(axis=1)].tolist()


def style_counts(data):
    found = data.groupby("style")["scenario"].nunique().to_dict()
    return [] if found == {"explicit": 113, "implicit": 112} else [found]


def split_counts(data):
    found = data.groupby("split")["scenario"].nunique().to_dict()
    return [] if found == {"train": 135, "validation": 45, "test": 45} else [found]


def stratification(data):
    """Every topic gives each split its share within one scenario, and there the styles differ by at most one."""
    table = data.drop_duplicates("scenario").groupby(["topic", "split", "style"]).size().unstack(fill_value=0)
    uneven = table.index[(table["explicit"] - table["implicit"]).abs() > 1].tolist()
    sizes = table.sum(axis=1).unstack()
    expected = pd.DataFrame({name: sizes.sum(axis=1) * share for name, share in dataset.SPLITS.items()})
    return uneven + sizes.index[((sizes[expected.columns] - expected).abs() > 1).any(axis=1)].tolist()


def final_punctuation(data):
    marks = data["text"].map(surface.final_mark)
    per_scenario = marks.groupby(data["scenario"]).nunique()
    return per_scenario.index[per_scenario != 1].tolist() + data.loc[marks == "", "id"].tolist()


def openings(data):
    table = surface.opening_table(data)
    return table.loc[table["share"] > 0.02, "opening"].tolist()


def word_counts(data):
    lengths = data["text"].str.split().str.len()
    return data.loc[~lengths.between(6, 25), "id"].tolist()


def implicit_texts_name_no_emotion(data):
    implicit = data[data["style"] == "implicit"]
    return implicit.loc[surface.keyword_counts(implicit).sum(axis=1) > 0, "id"].tolist()


def neutral_texts_name_no_emotion(data):
    texts = data[data["emotion"] == NEUTRAL]
    return texts.loc[surface.keyword_counts(texts).sum(axis=1) > 0, "id"].tolist()


def explicit_texts_name_their_emotion(data):
    texts = data[(data["style"] == "explicit") & (data["emotion"] != NEUTRAL)]
    lists = load_keywords()
    return [row.id for row in texts.itertuples() if not lists.count(row.text, row.emotion)]


def near_duplicates(data):
    threshold = DatasetParameters.model_fields["near_duplicate"].default
    return surface.duplicates(data, threshold)[["id_a", "id_b"]].values.tolist()


RULES = [
    size_and_crossing,
    scenario_fields_are_shared,
    style_counts,
    split_counts,
    stratification,
    final_punctuation,
    openings,
    word_counts,
    implicit_texts_name_no_emotion,
    neutral_texts_name_no_emotion,
    explicit_texts_name_their_emotion,
    near_duplicates,
]


def _with_text(data, chosen, change):
    changed = data.copy()
    rows = changed.index[chosen][:1]
    changed.loc[rows, "text"] = [change(text) for text in changed.loc[rows, "text"]]
    return changed


def _with_field(data, name, old, new, *, whole_scenario=True):
    row = data[data[name] == old].iloc[0]
    chosen = data["scenario"] == row["scenario"] if whole_scenario else data["id"] == row["id"]
    return data.assign(**{name: data[name].mask(chosen, new)})


def _with_opening(data, words, count):
    """`count` texts of one label begin with the same words."""
    rows = data.index[data["emotion"] == NEUTRAL][:count]
    return data.assign(text=data["text"].mask(data.index.isin(rows), words + " " + data["text"]))


BROKEN = {
    size_and_crossing: lambda d: d.iloc[1:],
    scenario_fields_are_shared: lambda d: _with_field(d, "style", "explicit", "implicit", whole_scenario=False),
    style_counts: lambda d: _with_field(d, "style", "implicit", "explicit"),
    split_counts: lambda d: _with_field(d, "split", "train", "test"),
    stratification: lambda d: d.assign(split=d["split"].mask(d["topic"] == "work", "train")),
    final_punctuation: lambda d: _with_text(d, d["text"].str.endswith("."), lambda text: text[:-1] + "!"),
    openings: lambda d: _with_opening(d, "On my way", 5),
    word_counts: lambda d: _with_text(d, d["id"] != "", lambda text: "Too short."),
    implicit_texts_name_no_emotion: lambda d: _with_text(
        d, d["style"] == "implicit", lambda text: "I hate it. " + text
    ),
    neutral_texts_name_no_emotion: lambda d: _with_text(d, d["emotion"] == NEUTRAL, lambda text: "Thanks. " + text),
    explicit_texts_name_their_emotion: lambda d: _with_text(
        d, (d["style"] == "explicit") & (d["emotion"] == "anger"), lambda text: "I am not angry."
    ),
    near_duplicates: lambda d: d.assign(text=d["text"].mask(d.index == 0, "Well, " + d["text"].iloc[-1])),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_committed_data_set_keeps_the_rule(committed, rule):
    assert rule(committed) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_data_set_that_breaks_the_rule_is_found(committed, rule):
    assert len(rule(BROKEN[rule](committed))) > len(rule(committed))


def test_labels_have_the_same_mean_token_length_within_ten_percent(committed):
    from emolib.models.loading import load_model

    tokenizer = load_model("smollm2_135m").tokenizer

    def spread(data):
        table = surface.length_table(data, {"tokens": lambda texts: [len(i) for i in tokenizer(texts).input_ids]})
        return table.groupby("unit")["mean"].agg(lambda means: (means / means.mean() - 1).abs().max())

    assert (spread(committed) < 0.10).all()
    longer = committed["text"].mask(committed["emotion"] == "anger", committed["text"] + " And then some more.")
    assert (spread(committed.assign(text=longer)) > 0.10).all()


def test_the_prompt_files_are_those_of_the_data_set(committed):
    files = prompt_files(committed)
    assert sorted(files) == sorted(f"{label}_prompts.json" for label in committed["emotion"].unique())
    for name, content in files.items():
        assert paths.data_file(name).read_bytes() == content
        assert len(json.loads(content)["prompts"]) == 225


# a user's own file

GOOD = [
    {"text": "You fixed my bike, what a star.", "emotion": "joy", "scenario": "bike"},
    {"text": "You fixed my bike on Monday.", "emotion": "flat", "scenario": "bike"},
    {"text": "You watered the ferns, what a star.", "emotion": "joy", "scenario": "ferns"},
    {"text": "You watered the ferns on Monday.", "emotion": "flat", "scenario": "ferns"},
]


def _jsonl(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8", newline="")
    return path


def _refused(source, tmp_path, **options):
    """The message that `build_dataset` refuses a file with; checks that it is one line and nothing was written."""
    output = tmp_path / "new" / "out.jsonl"
    with pytest.raises(UserError) as caught:
        build_dataset(source, output, **{"neutral": "flat", **options})
    message = str(caught.value)
    assert "\n" not in message
    assert not output.parent.exists()
    return message


def _with(index, **fields):
    return [{**row, **fields} if i == index else row for i, row in enumerate(GOOD)]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json"])
def test_a_good_file_is_converted_and_loads_again_the_same(tmp_path, suffix):
    source = tmp_path / f"mine{suffix}"
    table = pd.DataFrame(GOOD)
    if suffix == ".csv":
        table.to_csv(source, index=False)
    else:
        table.to_json(source, orient="records", lines=suffix == ".jsonl")
    built = build_dataset(source, tmp_path / "out.jsonl", labels=["joy", "flat"], neutral="flat")
    loaded = load_dataset(tmp_path / "out.jsonl", neutral="flat")
    pd.testing.assert_frame_equal(built, loaded)
    assert tuple(loaded) == FIELDS
    assert loaded[["text", "emotion", "scenario"]].to_dict("records") == GOOD
    assert loaded["id"].is_unique and (loaded.groupby("scenario")["split"].nunique() == 1).all()
    again = build_dataset(tmp_path / "out.jsonl", tmp_path / "twice.jsonl", neutral="flat")
    pd.testing.assert_frame_equal(again, built)
    assert (tmp_path / "twice.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()


@pytest.mark.parametrize(
    "odd", ["one\u2028two", "x\x85y", '\u201cquoted\u201d, with "both"', "a\\b", "two\nlines", "\u5b57"]
)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_odd_characters_survive_the_conversion(tmp_path, suffix, odd):
    rows = _with(0, text=odd)
    source = tmp_path / f"mine{suffix}"
    if suffix == ".csv":
        pd.DataFrame(rows).to_csv(source, index=False)
    else:
        _jsonl(source, rows)
    build_dataset(source, tmp_path / "out.jsonl", neutral="flat")
    assert load_dataset(tmp_path / "out.jsonl", neutral="flat")["text"].tolist() == [row["text"] for row in rows]


def test_a_byte_order_mark_windows_line_ends_and_blank_lines_are_accepted(tmp_path):
    (tmp_path / "mine.csv").write_bytes(b"\xef\xbb\xbftext,emotion\r\nA fine day.,joy\r\n\r\nA day.,flat\r\n")
    assert build_dataset(tmp_path / "mine.csv", tmp_path / "out.jsonl", neutral="flat")["emotion"].tolist() == [
        "joy",
        "flat",
    ]


def test_whole_numbers_keep_their_form_beside_missing_values(tmp_path):
    rows = [{**GOOD[0], "id": 7}, {**GOOD[1], "id": None}, *GOOD[2:]]
    built = build_dataset(_jsonl(tmp_path / "mine.jsonl", rows), tmp_path / "out.jsonl", neutral="flat")
    assert built["id"].iloc[0] == "7"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"text": row["text"], "label": row["emotion"]} for row in GOOD], ["'emotion'", "text, label"]),
        ([{"sentence": row["text"], "emotion": row["emotion"]} for row in GOOD], ["'text'", "sentence, emotion"]),
        (_with(1, text="  "), ["row 2: empty text"]),
        (_with(1, text=None), ["row 2: empty text"]),
        (_with(2, emotion=""), ["row 3: empty emotion"]),
        (_with(2, text=5), ["row 3: expected text in the field 'text', got 5"]),
        (_with(2, scenario=["a"]), ["row 3: expected text in the field 'scenario'"]),
        (_with(3, text=GOOD[0]["text"] + " "), ["row 4: the same text as row 1"]),
        (
            [{**row, "id": "a" if i % 2 else f"b{i}"} for i, row in enumerate(GOOD)],
            ["row 4: duplicate id 'a'", "row 2"],
        ),
        (_with(0, split="dev"), ["row 1: split 'dev'", "train, validation, test"]),
        (_with(0, style="loud"), ["row 1: style 'loud'"]),
        (
            [{**row, "split": "test" if i == 1 else "train"} for i, row in enumerate(GOOD)],
            ["scenario bike", "test, train"],
        ),
        ([*GOOD[:2], 17, GOOD[2]], ["row 3: expected an object", "17"]),
        ([*GOOD[:2], ["a"]], ["row 3: expected an object"]),
        ([row for row in GOOD if row["emotion"] != "flat"], ["no rows with the neutral label 'flat'", "joy"]),
        ([row for row in GOOD if row["emotion"] == "flat"], ["at least one label beside 'flat'"]),
        ([], ["at least one row"]),
    ],
    ids=lambda value: (
        value[0][:30].replace(" ", "_") if isinstance(value, list) and value[:1] and isinstance(value[0], str) else ""
    ),
)
def test_a_bad_row_is_named_and_nothing_is_written(tmp_path, rows, expected):
    message = _refused(_jsonl(tmp_path / "mine.jsonl", rows), tmp_path)
    for part in expected:
        assert part in message


def test_a_label_outside_the_labels_is_named(tmp_path):
    source = _jsonl(tmp_path / "mine.jsonl", _with(2, emotion="jo"))
    assert "row 3: label 'jo' is not one of joy, flat" in _refused(source, tmp_path, labels=["joy", "flat"])
    assert "labels must hold the neutral label" in _refused(source, tmp_path, labels=["joy", "jo"])
    build_dataset(source, tmp_path / "out.jsonl", labels=["joy", "jo", "flat"], neutral="flat")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_invalid_utf8_is_named_with_every_line(tmp_path, suffix):
    lines = [b"text,emotion", b"caf\xe9,joy", b"tea,flat", b"th\xe9,flat"]
    (tmp_path / f"mine{suffix}").write_bytes(b"\n".join(lines))
    assert "not valid UTF-8 in line 2, 4" in _refused(tmp_path / f"mine{suffix}", tmp_path)


def test_invalid_json_is_named_with_every_line_beside_the_other_problems(tmp_path):
    lines = [
        json.dumps(GOOD[0]),
        '{"text": "open',
        json.dumps(GOOD[1]),
        "nonsense",
        json.dumps({**GOOD[2], "text": ""}),
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines), encoding="utf-8")
    message = _refused(tmp_path / "mine.jsonl", tmp_path)
    for part in (
        "row 2: line 2 is not valid JSON",
        "row 4: line 4 is not valid JSON",
        "row 5: empty text",
        "3 problem(s)",
    ):
        assert part in message
    (tmp_path / "mine.json").write_text('[\n{"text": "a",\n"emotion" "joy"}]', encoding="utf-8")
    assert "line 3 is not valid JSON" in _refused(tmp_path / "mine.json", tmp_path)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("text,emotion\nWell, thanks,joy\nA day.,flat\n", "row 2: more fields than the header"),
        ('text,emotion\n"two\nlines",joy\n\nA day.\nB day.,flat\n', "row 5: empty emotion"),
        ('text,emotion\nA day.,flat\n"never closed,joy\nB day.,flat\n', "row 3: not valid CSV"),
        ("text|emotion\nA day.|flat\n", "found text|emotion"),
    ],
)
def test_a_csv_row_that_would_be_misread_is_named(tmp_path, body, expected):
    (tmp_path / "mine.csv").write_text(body, encoding="utf-8")
    assert expected in _refused(tmp_path / "mine.csv", tmp_path)


def test_half_a_surrogate_pair_is_named(tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"text": "\\ud83d", "emotion": "joy"}\n{"text": "a", "emotion": "flat"}')
    assert "row 1: the field 'text' holds half of a surrogate pair" in _refused(tmp_path / "mine.jsonl", tmp_path)
    (tmp_path / "whole.jsonl").write_text(
        '{"text": "\\ud83d\\ude00", "emotion": "joy"}\n{"text": "a", "emotion": "flat"}'
    )
    built = build_dataset(tmp_path / "whole.jsonl", tmp_path / "out.jsonl", neutral="flat")
    assert built["text"].iloc[0] == "\U0001f600"


def test_every_bad_row_is_numbered_however_many_there_are(tmp_path):
    rows = [GOOD[0], GOOD[1], *({"text": "", "emotion": "joy"} for _ in range(60))]
    rows[30] = GOOD[2]
    message = _refused(_jsonl(tmp_path / "mine.jsonl", rows), tmp_path)
    named = set()
    for part in message.replace("in rows ", "row ").split("row ")[1:]:
        for number in part.split(":")[0].split(", "):
            first, _, last = number.partition("-")
            named.update(range(int(first), int(last or first) + 1))
    assert named == set(range(3, 63)) - {31}


def test_a_wrong_file_name_is_refused(tmp_path):
    source = _jsonl(tmp_path / "mine.jsonl", GOOD)
    assert "found no such file" in _refused(tmp_path / "none.jsonl", tmp_path)
    assert "mine.txt" in _refused(_jsonl(tmp_path / "mine.txt", GOOD), tmp_path)
    with pytest.raises(UserError, match=r"ends in \.jsonl"):
        build_dataset(source, tmp_path / "out.csv", neutral="flat")
    assert not (tmp_path / "out.csv").exists()
    with pytest.raises(UserError, match="found no such file"):
        load_dataset(tmp_path / "none.jsonl")


def test_splits_are_given_by_scenario_and_follow_what_the_file_gives(tmp_path):
    rows = [
        {"text": f"{label} text {i}", "emotion": label, "scenario": i} for i in range(50) for label in ("joy", "flat")
    ]
    rows[0]["split"] = "test"
    source = _jsonl(tmp_path / "mine.jsonl", rows)
    built = build_dataset(source, tmp_path / "out.jsonl", neutral="flat")
    assert (built.groupby("scenario")["split"].nunique() == 1).all()
    assert set(built.loc[built["scenario"] == "0", "split"]) == {"test"}
    rest = built[built["scenario"] != "0"].drop_duplicates("scenario")["split"].value_counts().to_dict()
    assert rest == {"train": 29, "validation": 10, "test": 10}
    other = build_dataset(source, tmp_path / "other.jsonl", neutral="flat", seed=1)
    assert other["split"].tolist() != built["split"].tolist()


# selection


def test_selection_takes_whole_scenarios_of_one_split(committed):
    chosen = select_scenarios(committed, "validation", 24)
    assert chosen["scenario"].nunique() == 24 and len(chosen) == 96
    assert set(chosen["split"]) == {"validation"}
    assert (chosen.groupby("scenario")["emotion"].nunique() == 4).all()
    assert chosen["topic"].nunique() == committed["topic"].nunique()
    assert set(chosen["style"]) == {"explicit", "implicit"}


def test_selection_is_deterministic_and_grows_by_adding(committed):
    few, same, more = (set(select_scenarios(committed, "train", n)["scenario"]) for n in (5, 5, 40))
    assert few == same
    assert few < more


def test_selection_passes_over_a_scenario_that_lacks_a_label(committed):
    first = select_scenarios(committed, "test", 1)
    without = committed[committed["id"] != first["id"].iloc[0]]
    assert first["scenario"].iloc[0] not in set(select_scenarios(without, "test", 44)["scenario"])


@pytest.mark.parametrize("count", [46, 0, -3])
def test_selecting_too_many_or_no_scenarios_says_how_many_there_are(committed, count):
    with pytest.raises(UserError, match="the data set has 45"):
        select_scenarios(committed, "test", count)
    assert len(select_scenarios(committed, "test", 45)) == 180


def test_selection_from_an_unknown_split_is_refused(committed):
    with pytest.raises(UserError, match="the data set has 0"):
        select_scenarios(committed, "dev", 1)

from pathlib import Path

import pandas as pd
import pytest

from emolib.base import paths
from emolib.base.errors import UserError
from emolib.data.companions import load_companions
from emolib.data.dataset import load_dataset
from emolib.readout.readings import agreement_table, confusions, cue_shares, load_readings, shared_sequences

LABELS = ("anger", "neutral")


def texts() -> pd.DataFrame:
    rows = [
        {"id": f"s{n}-{label}", "scenario": f"s{n}", "emotion": label, "style": "implicit" if n < 2 else "explicit"}
        for n in range(4)
        for label in LABELS
    ]
    return pd.DataFrame(rows)


def written(folder: Path, *rows: str, header: str = "id\treader\tlabel\tcue\tremark") -> Path:
    path = folder / "readings.tsv"
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def test_tables_of_planted_readings(tmp_path: Path) -> None:
    data = texts()
    path = written(
        tmp_path,
        "s0-anger\tA\tanger\tthe nerve\t",
        "s1-anger\tA\tneutral\t~the nerve\t? unclear",
        "s2-anger\tB\tanger\tfed up\t",
        "s3-anger\tB\tanger\t\t",
        "s0-neutral\tB\tneutral\t\t",
    )
    readings = load_readings(path, data=data, labels=LABELS)
    table = agreement_table(readings, data)
    assert table.loc["anger", ["n_texts", "n_read", "agreed", "remarks"]].tolist() == [4, 4, 0.75, 1]
    assert table.loc["anger", ["low", "high"]].tolist() == pytest.approx([0.3006, 0.9544], abs=1e-3)  # Wilson's for 3/4
    assert table.loc["neutral", ["n_texts", "n_read", "agreed"]].tolist() == [4, 1, 1.0]
    assert confusions(readings).to_dict("records") == [{"emotion": "anger", "label": "neutral", "n": 1}]
    assert cue_shares(readings).loc["anger"].tolist()[:3] == [2, 1, 0.5]  # the explicit text's cue doesn't count


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("s9-anger\tA\tanger\t\t", "no text 's9-anger'"),
        ("s0-anger\tA\trage\t\t", "label 'rage' is not one of anger, neutral"),
        ("s0-anger\t\tanger\t\t", "expected a reader"),
        ("s1-anger\tA\tanger\t\t", "was read before"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, told: str) -> None:
    path = written(tmp_path, "s1-anger\tA\tanger\t\t", row)
    with pytest.raises(UserError, match=told):
        load_readings(path, data=texts(), labels=LABELS)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "s1-anger\tanger\t", header="id\tlabel\tremark")
    with pytest.raises(UserError, match="column reader"):
        load_readings(path, data=texts(), labels=LABELS)


def test_sequences_of_one_label_alone_are_found() -> None:
    rows = [
        ("anger", "train", "you took my seat again"),
        ("neutral", "train", "they took my seat down"),
        ("anger", "test", "so you took my pen"),  # you took my: anger's alone
        ("anger", "test", "he took my seat"),  # took my seat: both have it
        ("neutral", "test", "you took my word"),  # anger's alone
    ]
    data = pd.DataFrame(rows, columns=["emotion", "split", "text"]).assign(style="implicit")
    table = shared_sequences(data)
    assert table.loc["anger"].tolist() == [2, 0.5, 0.0]
    assert table.loc["neutral"].tolist() == [1, 0.0, 1.0]


def test_the_projects_own_readings_are_of_its_texts() -> None:
    data = load_dataset()
    readings = load_readings(paths.data_file("dataset_readings.tsv"), data=data, labels=list(data["emotion"].unique()))
    table = agreement_table(readings, data)
    assert (table["agreed"] >= 0.9).all()
    companions = load_companions(data=data)
    labels = [*data["emotion"].unique(), *companions["emotion"].unique()]
    assert len(labels) == 24
    load_readings(paths.data_file("companion_readings.tsv"), data=companions, labels=labels)


def test_a_row_of_another_length_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="row 2: expected 5 fields, found 2"):
        load_readings(written(tmp_path, "s1-anger\tA"), data=texts(), labels=LABELS)

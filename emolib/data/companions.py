"""Companions of the data set: further labels on some of its scenarios, so that one scenario tells many labels apart.

Two sets, both crossed: `five` labels of like valence on 120 scenarios of all splits, and `fifteen` more labels on 30
training scenarios of these. With the data set's own four labels the 30 scenarios have 24 labels each. Companions
belong to the project's own data set by its scenarios; another data set has none (`companions_of`).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from emolib.base import paths
from emolib.base.errors import UserError, shown
from emolib.data.dataset import load_dataset
from emolib.data.own_files import own_rows
from emolib.data.problems import Problems

FILE = "emotion_companions.jsonl"
FIELDS = ("id", "scenario", "topic", "emotion", "text", "lang", "style", "split", "set")
LABELS = {
    "five": ("joy", "admiration", "sadness", "fear", "embarrassment"),
    "fifteen": (
        *("amusement", "annoyance", "approval", "caring", "confusion", "curiosity", "desire", "disappointment"),
        *("disapproval", "disgust", "excitement", "love", "optimism", "pride", "relief"),
    ),
}
SCENARIOS = {"five": {"train": 60, "validation": 30, "test": 30}, "fifteen": {"train": 30}}
SHARED = ("topic", "lang", "style", "split")  # a scenario's fields, the same in its companions


def load_companions(path: str | Path | None = None, *, data: pd.DataFrame | None = None) -> pd.DataFrame:
    """Reads and checks the companion texts.

    Args:
        path: a file of the companions' form; None takes the project's own.
        data: the data set they belong to; None takes the project's own.

    Returns:
        A table with the columns of `FIELDS`, one row per text.

    Raises:
        UserError: names every bad row: what `load_dataset` refuses; a text that stands in another of the project's
            files, a label or set that is none, a scenario that the data set lacks or has otherwise, a set that is not
            crossed or has another number of scenarios in a split.

    >>> companions = load_companions()
    >>> companions.groupby("set")["scenario"].nunique().to_dict()
    {'fifteen': 30, 'five': 120}
    """
    labels = [label for names in LABELS.values() for label in names]
    table, problems = own_rows(FILE, FIELDS, path=path, labels=labels)
    _check_sets(table, problems)
    problems.raise_if_any()
    _check_scenarios(table, load_dataset() if data is None else data, problems)
    _check_crossing(table, problems)
    problems.raise_if_any()
    return table[list(FIELDS)].reset_index(drop=True)


def companions_of(data: pd.DataFrame) -> pd.DataFrame | None:
    """The companions of a data set; None where it is another one than the project's own.

    It is the project's own where it has every scenario of the companions with the same topic, language, style and
    split, and none of their labels. A label may be missing or renamed, and texts may differ.

    Args:
        data: a data set.
    """
    if not paths.data_file(FILE).is_file():
        return None
    try:
        return load_companions(data=data)
    except UserError:
        load_companions()  # what is wrong with the file itself is told
        return None


def joined(data: pd.DataFrame, companions: pd.DataFrame, kind: str = "fifteen") -> pd.DataFrame:
    """The data set's own texts and the companions' on the same scenarios, every label in every scenario.

    Args:
        companions: of `load_companions`.
        kind: `five` gives 9 labels on 120 scenarios, `fifteen` 24 labels on 30.

    Returns:
        A table with the fields that both have, in the data set's order of scenarios.
    """
    if kind not in LABELS:
        raise UserError(f"expected one of the sets {', '.join(LABELS)}, got {shown(kind)}")
    scenarios = set(companions.loc[companions["set"] == kind, "scenario"])
    labels = [label for names in list(LABELS.values())[: list(LABELS).index(kind) + 1] for label in names]
    columns = [name for name in FIELDS if name in data]
    own = data.loc[data["scenario"].isin(scenarios), columns]
    others = companions.loc[companions["scenario"].isin(scenarios) & companions["emotion"].isin(labels), columns]
    order = {name: place for place, name in enumerate(dict.fromkeys(own["scenario"]))}
    both = pd.concat([own, others], ignore_index=True)
    return both.sort_values("scenario", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def _check_sets(table: pd.DataFrame, problems: Problems) -> None:
    rows = zip(table["_row"].tolist(), table["set"].tolist(), table["emotion"].tolist(), strict=True)
    for number, name, label in rows:
        if name and name not in LABELS:
            problems.add(number, f"set {shown(name)} is not one of {', '.join(LABELS)}")
        elif name and label and label not in LABELS[name]:
            problems.add(number, f"label {shown(label, 40)} is none of the set {name}: {', '.join(LABELS[name])}")


def _check_scenarios(table: pd.DataFrame, data: pd.DataFrame, problems: Problems) -> None:
    known = data.drop_duplicates("scenario").set_index("scenario")[list(SHARED)].to_dict("index")
    taken = set(data["emotion"])
    for row in table.to_dict("records"):
        scenario = known.get(row["scenario"])
        if scenario is None:
            problems.add(row["_row"], f"the data set has no scenario {shown(row['scenario'], 40)}")
            continue
        for field in SHARED:
            if row[field] != scenario[field]:
                problems.add(
                    row["_row"], f"{field} {shown(row[field], 40)}, the scenario has {shown(scenario[field], 40)}"
                )
        if row["emotion"] in taken:
            problems.add(row["_row"], f"label {shown(row['emotion'], 40)} is one of the data set's own")


def _check_crossing(table: pd.DataFrame, problems: Problems) -> None:
    for name, part in table.groupby("set", sort=False):
        labels = LABELS[str(name)]
        for scenario, rows in part.groupby("scenario", sort=False):
            missing = [label for label in labels if label not in set(rows["emotion"])]
            if missing or len(rows) != len(labels):
                problems.add(
                    f"scenario {scenario}",
                    f"expected one text for each label of the set {name}, missing: "
                    f"{', '.join(missing) or 'none'}, texts: {len(rows)}",
                )
        found = part.groupby("split")["scenario"].nunique().to_dict()
        if found != SCENARIOS[str(name)]:
            problems.add(f"set {name}", f"expected scenarios {SCENARIOS[str(name)]}, found {found}")
    for name in LABELS:
        if name not in set(table["set"]):
            problems.add(f"set {name}", "has no texts")
    inside = set(table.loc[table["set"] == "fifteen", "scenario"]) - set(table.loc[table["set"] == "five", "scenario"])
    for scenario in sorted(inside):
        problems.add(f"scenario {scenario}", "lies in the set fifteen and not in five")

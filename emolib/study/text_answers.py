"""Phase 1: how blind readers took the texts, which word sequences give a label away, and what lies beside the data set.

Readings, companions and pairs belong to the project's own data set; for another one there are none.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from emolib.base import paths
from emolib.base.errors import UserError
from emolib.data.companions import LABELS, companions_of
from emolib.data.dataset import load_dataset
from emolib.data.keywords import KeywordList, load_cues, load_keywords
from emolib.data.pairs import load_lexical, load_placebo
from emolib.data.valence import human_valence
from emolib.readout import readings
from emolib.readout.surface import words
from emolib.readout.text_counts import calendar_count
from emolib.study.run import Run, kept

DATASET_READINGS, COMPANION_READINGS = "dataset_readings.tsv", "companion_readings.tsv"
CUE_BAR = 0.15  # of implicit texts
AGREEMENT_BARS = {"dataset": 0.9, "companions": 0.8}


@dataclass(frozen=True)
class Readings:
    """What blind readers made of one set of texts.

    Attributes:
        agreement: `emolib.readout.readings.agreement_table`, a row per label.
        confusions: pairs of an intended and another read label.
        cues: per label the share of implicit texts with a phrase that gives it away; None where nobody looked.
        n_texts, n_read: texts there are, and those that were read as they stand.
        share: read as intended, of those read.
        n_choices: labels that a reader chose from.
        passes: whether the share reaches the set's bar.
    """

    agreement: pd.DataFrame
    confusions: pd.DataFrame
    cues: pd.DataFrame | None
    n_texts: int
    n_read: int
    share: float
    n_choices: int
    passes: bool


@kept
def _companions(run: Run) -> pd.DataFrame | None:
    """The data set's companions, read and checked once."""
    return companions_of(run.data)


def dataset_readings(run: Run) -> Readings | None:
    """Of the data set; None where it is another one than the project's own."""
    labels = sorted(set(run.data["emotion"]))
    return _readings(DATASET_READINGS, run.data, labels, "dataset")


def companion_readings(run: Run) -> Readings | None:
    """Of the companions, chosen among all labels; None where the data set has none."""
    companions = _companions(run)
    if companions is None:
        return None
    labels = [*sorted(set(run.data["emotion"])), *(label for names in LABELS.values() for label in names)]
    return _readings(COMPANION_READINGS, companions, labels, "companions")


def _readings(name: str, data: pd.DataFrame, labels: list[str], kind: str) -> Readings | None:
    path = paths.data_file(name)
    if not path.is_file():
        return None
    try:
        found = readings.load_readings(path, data=data, labels=labels)
    except UserError:
        if companions_of(data if kind == "dataset" else load_dataset()) is None:  # another data set
            return None
        raise
    share = float((found["label"] == found["emotion"]).mean())
    return Readings(
        readings.agreement_table(found, data),
        readings.confusions(found),
        readings.cue_shares(found[found["emotion"] != "neutral"]) if kind == "dataset" else None,
        len(data),
        len(found),
        share,
        len(labels),
        share >= AGREEMENT_BARS[kind],
    )


def sequences(run: Run) -> pd.DataFrame:
    """Per label the share of implicit test texts with three words that only its own training texts have together, and
    the mean share for other labels' texts."""
    return readings.shared_sequences(run.data)


def listed_cues(run: Run) -> pd.DataFrame:
    """Implicit texts with a stock phrase of the lists: emotion, n, with_cue, share, flagged (those among them that are
    called `idiomatic`; they are counted here, for the list is what tells them). English texts alone; empty where there
    are none."""
    data = run.data[(run.data["style"] == "implicit") & (run.data["lang"] == "en")]
    lists = load_cues()
    holds = data["text"].map(lambda text: any(lists.count(text, label) for label in lists.labels)).astype(bool)
    flagged = data["idiomatic"].astype(bool) if "idiomatic" in data else pd.Series(False, index=data.index)
    table = data.assign(with_cue=holds, flagged=flagged & holds).groupby("emotion", sort=False)
    found = table.agg(n=("text", "size"), with_cue=("with_cue", "sum"), flagged=("flagged", "sum"))
    return found.assign(share=found["with_cue"] / found["n"]).reset_index()


def minimal_pairs(run: Run) -> pd.DataFrame | None:
    """Scenarios and minimal pairs per style, and idiomatic texts; None where the data set says neither.

    Returns:
        Index `style`; columns `scenarios`, `minimal` (left out where it is not stated) and `idiomatic`: of the implicit
        style, as many texts are left out of what is told of it.
    """
    if not {"minimal_pair", "idiomatic"} & set(run.data):
        return None
    scenarios = run.data.drop_duplicates("scenario").groupby("style", sort=False)
    table = pd.DataFrame({"scenarios": scenarios.size()})
    if "minimal_pair" in run.data:
        table["minimal"] = scenarios["minimal_pair"].sum().astype(int)
    idiomatic = run.data["idiomatic"] if "idiomatic" in run.data else pd.Series(False, index=run.data.index)
    return table.assign(idiomatic=idiomatic.astype(bool).groupby(run.data["style"], sort=False).sum().astype(int))


def beside(run: Run) -> pd.DataFrame | None:
    """What lies beside the data set: file, kind, n (texts), holds (share of texts with a word of the lists; of the
    lexical pairs the text with the word, of the others any). None where the data set is another one."""
    companions = _companions(run)
    if companions is None:
        return None
    lists = load_keywords()
    rows = [_held("companions", kind, part["text"], lists) for kind, part in companions.groupby("set", sort=False)]
    lexical = load_lexical()
    for (kind, role), part in lexical.groupby(["kind", "role"], sort=False):
        rows.append(_held("lexical", f"{kind}: {role}", part["text"], lists))
    rows += [_held("placebo", kind, part["text"], lists) for kind, part in load_placebo().groupby("kind", sort=False)]
    return pd.DataFrame(rows)


def _held(file: str, kind: str, texts: pd.Series, lists: KeywordList) -> dict:
    holds = [any(lists.count(text, label) for label in lists.labels) for text in texts]
    return {"file": file, "kind": kind, "n": len(texts), "holds": float(pd.Series(holds).mean())}


def rated_words(run: Run) -> pd.DataFrame:
    """What people say of the labels' words: those of the data set's emotions, then of its companions.

    Returns:
        label, word (that was rated), mean and sd of its ratings (-4 to 4); a label whose word nobody rated has none.
    """
    labels = [label for label in dict.fromkeys(run.data["emotion"]) if label != run.params.neutral]
    if _companions(run) is not None:
        labels += [label for names in LABELS.values() for label in names]
    rated = human_valence(labels)
    rows = [{"label": label, **(rated[label]._asdict() if label in rated else {})} for label in labels]
    return pd.DataFrame(rows, columns=["label", "word", "mean", "sd"])


def placebo_differences(run: Run) -> pd.DataFrame | None:
    """Beside the project's own data set, per kind of placebo pair: the mean absolute difference between its two texts
    in characters, words, marks and calendar words, and the share of words that both have; None beside another one."""
    if _companions(run) is None:
        return None
    table = load_placebo()
    counted = table.assign(
        characters=table["text"].str.len(),
        words=table["text"].map(lambda text: len(words(text))),
        marks=table["text"].str.count(r"[^\w\s']"),
        calendar=calendar_count(table["text"].tolist()),
        bag=table["text"].map(lambda text: frozenset(words(text))),
    )
    a, b = (counted[counted["role"] == role].set_index("pair") for role in ("a", "b"))
    b = b.loc[a.index]
    rows = {name: (a[name] - b[name]).abs() for name in ("characters", "words", "marks", "calendar")}
    shared = [len(x & y) / len(x | y) for x, y in zip(a["bag"], b["bag"], strict=True)]
    found = pd.DataFrame(rows).assign(shared=shared, kind=a["kind"])
    means = found.groupby("kind", sort=False).mean(numeric_only=True)
    return means.assign(pairs=found.groupby("kind", sort=False).size()).reset_index()

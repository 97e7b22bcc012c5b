"""What besides the emotion tells the labels of a data set apart: counts, lengths, duplicates, openings, final marks and
keyword rates per label. Every function takes the data set and returns one tidy table; `leaks` measures what classifiers
make of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from rapidfuzz import fuzz, process
from rapidfuzz.utils import default_process

from emolib.base.errors import UserError
from emolib.data.dataset import SPLITS
from emolib.data.keywords import load_keywords, straight_apostrophes
from emolib.data.styles import counts_in_its_style, of_style

BLOCK = 128  # rows of the pairwise ratio matrix held at once: bounds memory, and little of the lower half is computed
MARGIN = 1.0  # below the threshold: what is further below is not worked out to the end
_WORD = re.compile(r"\w+(?:'\w+)*")
_PART = re.compile(r"[^\W\d]+(?=n't\b)|n't\b|'[^\W\d]+|\w+")


def words(text: str) -> list[str]:
    """Lower-case words; contractions stay whole ("don't")."""
    return _WORD.findall(straight_apostrophes(text).lower())


def word_parts(text: str) -> list[str]:
    """Lower-case words with contractions taken apart: "don't" is `do`, `n't`, and "we're" is `we`, `'re`."""
    return _PART.findall(straight_apostrophes(text).lower())


def label_counts(data: pd.DataFrame) -> pd.DataFrame:
    """Texts and scenarios per `split`, `style` and `emotion`, as the columns say: idiomatic texts are counted too."""
    grouped = data.groupby(["split", "style", "emotion"], sort=False)["scenario"]
    table = grouped.agg(texts="size", scenarios="nunique").reset_index()
    order = {name: rank for rank, name in enumerate(SPLITS)}
    return table.sort_values(
        ["split", "style"], key=lambda c: c.map(order) if c.name == "split" else c, kind="stable", ignore_index=True
    )


def length_table(
    data: pd.DataFrame, tokenizers: Mapping[str, Callable[[Sequence[str]], Sequence[int]]]
) -> pd.DataFrame:
    """Length per label: `emotion, unit, n, mean, min, max, sd`.

    Args:
        tokenizers: name → function from texts to the number of tokens of each. The unit `characters` is always there.
    """
    texts = data["text"].tolist()
    lengths = {
        "characters": [len(text) for text in texts],
        **{name: count(texts) for name, count in tokenizers.items()},
    }
    parts = []
    for unit, values in lengths.items():
        grouped = pd.Series(list(values), index=data.index, dtype=float).groupby(data["emotion"], sort=False)
        table = grouped.agg(n="size", mean="mean", min="min", max="max", sd="std").reset_index()
        parts.append(table.assign(unit=unit).astype({"min": int, "max": int}))
    return pd.concat(parts, ignore_index=True)[["emotion", "unit", "n", "mean", "min", "max", "sd"]]


def duplicates(data: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Pairs of texts that say the same, the closest first.

    `kind` is `exact` (the same words in the same order, whatever case and punctuation; within a scenario too) or
    `near` (token-set ratio of at least `threshold`; only across scenarios, since the texts of one scenario share their
    words on purpose). A text whose words are all contained in another's has ratio 100.

    Args:
        threshold: above 0, at most 100 (`rapidfuzz.fuzz.token_set_ratio`).
    """
    if not 0 < threshold <= 100:
        raise UserError(f"expected a token-set ratio above 0 and at most 100, got {threshold}")
    texts = np.array([default_process(text) or text for text in data["text"]], dtype=object)
    scenarios = pd.factorize(data["scenario"])[0]
    pairs = list(_close_pairs(texts, threshold))
    first, second, ratio = (np.concatenate(column) for column in zip(*pairs, strict=True))
    exact = texts[first] == texts[second]
    kept = exact | (scenarios[first] != scenarios[second])
    first, second = first[kept], second[kept]
    table = pd.DataFrame({"kind": np.where(exact[kept], "exact", "near").astype(str), "ratio": ratio[kept]})
    for column in ("id", "scenario", "emotion", "text"):
        table[f"{column}_a"] = data[column].to_numpy()[first]
        table[f"{column}_b"] = data[column].to_numpy()[second]
    table = table.astype({column: str for column in table.columns if column != "ratio"})
    return table.sort_values(["ratio", "id_a", "id_b"], ascending=[False, True, True], ignore_index=True)


def _close_pairs(texts: np.ndarray, threshold: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Positions i < j of texts with a ratio of at least the threshold, and the ratio, block by block."""
    cutoff = max(threshold - MARGIN, 0.0)
    for start in range(0, len(texts), BLOCK):
        block = texts[start : start + BLOCK]
        # cdist also drops ratios that just reach its cutoff, so the cutoff lies below the threshold
        ratio = process.cdist(
            block, texts[start:], scorer=fuzz.token_set_ratio, score_cutoff=cutoff, dtype=np.float64, workers=2
        )
        i, j = np.nonzero(np.triu(ratio >= threshold, k=1))
        yield i + start, j + start, ratio[i, j]


def opening_table(data: pd.DataFrame, n: int = 3, *, top: int = 3) -> pd.DataFrame:
    """The `top` most frequent first `n` words per label: `emotion, rank, opening, count, share` (of its texts)."""
    openings = data["text"].map(lambda text: " ".join(words(text)[:n]))
    rows = []
    for emotion, part in openings.groupby(data["emotion"], sort=False):
        counts = part.value_counts().reset_index(name="count")
        counts = counts.sort_values(["count", "text"], ascending=[False, True]).head(top)
        for rank, (opening, count) in enumerate(zip(counts["text"], counts["count"], strict=True), start=1):
            share = count / len(part)
            rows.append({"emotion": emotion, "rank": rank, "opening": opening, "count": count, "share": share})
    return pd.DataFrame(rows)


def final_mark(text: str) -> str:
    """The punctuation that ends a text, as one string (`?!`); empty where it ends with a word."""
    return re.findall(r"[^\w\s]*$", text.rstrip())[0]


def punctuation_table(data: pd.DataFrame) -> pd.DataFrame:
    """Final marks per label: `emotion, mark, count, share, scenarios, shared`.

    `shared` is how many of the `scenarios` that use the mark under this label end with it under every label: the mark
    tells nothing about the label where the two are equal.
    """
    marked = data.assign(mark=data["text"].map(final_mark))
    marked["uniform"] = marked.groupby("scenario")["mark"].transform("nunique") == 1
    rows = []
    for (emotion, mark), part in marked.groupby(["emotion", "mark"], sort=False):
        rows.append(
            {
                "emotion": emotion,
                "mark": mark,
                "count": len(part),
                "share": len(part) / int((data["emotion"] == emotion).sum()),
                "scenarios": part["scenario"].nunique(),
                "shared": part.loc[part["uniform"], "scenario"].nunique(),
            }
        )
    return pd.DataFrame(rows)


def keyword_rates(data: pd.DataFrame) -> pd.DataFrame:
    """Share of texts with a word of each list: `emotion, style, keywords, share, n`; style `all` beside each style."""
    found = keyword_counts(data) > 0
    rows = []
    for style in styles(data):
        chosen = data[of_style(data, style)]
        for emotion, part in chosen.groupby("emotion", sort=False):
            for label in found:
                share = float(found[label].loc[part.index].mean())
                rows.append({"emotion": emotion, "style": style, "keywords": label, "share": share, "n": len(part)})
    return pd.DataFrame(rows)


def keyword_counts(data: pd.DataFrame) -> pd.DataFrame:
    """Words of each list per text, by the lists of the text's language: `[text, list]`, indexed like `data`."""
    parts = []
    for language, part in data.groupby("lang", sort=False):
        lists = load_keywords(language)
        counts = {label: [lists.count(text, label) for text in part["text"]] for label in lists.labels}
        parts.append(pd.DataFrame(counts, index=part.index))
    return pd.concat(parts).reindex(data.index).fillna(0).astype(int)


def styles(data: pd.DataFrame) -> list[str]:
    """`all`, then every style that texts count in, where there are several in the column."""
    if data["style"].nunique() < 2:
        return ["all"]
    return ["all", *sorted(set(data.loc[counts_in_its_style(data), "style"]))]

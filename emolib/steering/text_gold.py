"""Gold for text scores: the data set's own texts in place of the steered ones.

A score that does not tell an emotion's own texts from neutral ones, and from those of the other emotions, may not say
that a steered text holds none of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.data.styles import of_style
from emolib.steering.shift_tables import check_columns, check_unique

CELL_COLUMNS = ["measure", "style", "emotion", "other", "text", "specific"]


def text_score_cells(
    scores: pd.DataFrame,
    measures: Mapping[str, Sequence[str]],
    *,
    neutral: str = "neutral",
    others: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Every scenario's own text minus its neutral one, and minus what the other labels' texts have of the same score.

    Against another label: [own − neutral] − [other − neutral], of which the neutral text falls out. The texts may be
    the data set's, or steered ones under their act's label with the unpatched ones as neutral.

    Args:
        scores: columns scenario, emotion, style (and `idiomatic` where that is stated) and one per measure, a row per
            text.
        measures: per emotion the columns of scores that tell whether a text expresses it.
        neutral: the label of the reference.
        others: per emotion the labels beside neutral that it is held against; None takes all that have measures.

    Returns:
        `CELL_COLUMNS`, a row per measure, style, emotion, other label (neutral among them) and scenario, whose name
        stands in `text`, as `instruments.judged_pairs` takes them.

    Raises:
        UserError: missing columns, a scenario with two texts of one label or without one of them, a score that is no
            number.

    >>> scores = pd.DataFrame({"scenario": "k", "emotion": ["joy", "fear", "neutral"], "style": "explicit"})
    >>> found = text_score_cells(scores.assign(words=[2.0, 1.0, 0.0]), {"joy": ["words"]}, others={"joy": ["fear"]})
    >>> found[["other", "specific"]].values.tolist()
    [['neutral', 2.0], ['fear', 1.0]]
    """
    arguments.instance("measures", measures, Mapping, "a mapping from emotions to columns")
    wanted = list(dict.fromkeys(name for names in measures.values() for name in names))
    check_columns(scores, ["scenario", "emotion", "style", *wanted], "scores")
    check_unique(scores, ["scenario", "emotion"], "scores")
    parts = []
    for style in dict.fromkeys(scores["style"]):
        counted = scores[(scores["style"] == style) & of_style(scores, style)]
        for emotion, names in measures.items():
            rest = [label for label in measures if label != emotion] if others is None else list(others[emotion])
            for name in names:
                wide = counted.pivot(index="scenario", columns="emotion", values=name)
                for label in (emotion, neutral, *rest):
                    if label not in wide:
                        raise UserError(f"expected texts of the label {shown(label)} of the style {style}, found none")
                kept = wide[[emotion, neutral, *rest]]
                if kept.isna().any(axis=None):
                    raise UserError(
                        f"expected a {name} of every label in every scenario of the style {style}, "
                        f"{shown(kept.index[kept.isna().any(axis=1)][0])} lacks one"
                    )
                for other in (neutral, *rest):
                    difference = kept[emotion] - kept[other]
                    cells = pd.DataFrame({"text": kept.index, "specific": difference.to_numpy(float)})
                    parts.append(cells.assign(measure=name, style=style, emotion=emotion, other=other))
    return pd.concat(parts, ignore_index=True)[CELL_COLUMNS] if parts else pd.DataFrame(columns=CELL_COLUMNS)

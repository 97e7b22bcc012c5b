"""The neutral texts that maps between models are fitted on: none of them made a vector, a choice or a topic.

Of the data set the neutral texts of those scenarios alone that Phases 2 and 3 leave out, then the file that the caller
names, then the project's texts in which nobody expresses an emotion (`data/expressed.jsonl`, kind `plain`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from emolib.base import files
from emolib.base.errors import UserError, shown
from emolib.base.given_paths import located
from emolib.data import companions as companion_file
from emolib.scoring.expressed import EMOTIONS
from emolib.scoring.expressed_data import load_expressed_texts
from emolib.study import phase2_activations
from emolib.study.run import Run, kept

OWN, GIVEN, PLAIN = "own", "given", "plain"
FEWEST = 10  # texts below which no map is worth its name


@kept
def anchor_texts(run: Run) -> pd.DataFrame:
    """The texts in the order in which they are taken: column text, and source (`own`, `given` or `plain`).

    Raises:
        UserError: a file that is no list of texts, or too few texts.
    """
    data = run.data
    made = set(phase2_activations.texts(run)["scenario"])
    companions = companion_file.companions_of(data)
    made |= set() if companions is None else set(companions["scenario"])
    neutral = data[(data["emotion"] == run.params.neutral) & ~data["scenario"].isin(made)]["text"]
    given = run.params.anchor_texts
    plain = load_expressed_texts()
    plain = plain[(plain["kind"] == PLAIN) & ~plain[list(EMOTIONS)].any(axis=1)]["text"]
    parts = {
        OWN: neutral.tolist(),
        GIVEN: [] if given is None else read_texts(located(given)),
        PLAIN: np.random.default_rng(run.params.seed).permutation(plain.to_numpy(object)).tolist(),
    }
    known = set(data["text"]) - set(neutral)  # a text of the file may be one that made a vector
    rows = [(text, source) for source, texts in parts.items() for text in texts if text not in known]
    table = pd.DataFrame(rows, columns=["text", "source"]).drop_duplicates("text")
    found = table.head(run.params.n_anchor_texts).reset_index(drop=True)
    if len(found) < FEWEST:
        raise UserError(
            f"expected at least {FEWEST} neutral texts for a map, found {len(found)}; give --anchor-texts FILE"
        )
    return found


def read_texts(path: Path) -> list[str]:
    """The texts of a file: the lines of a .txt file, or column `text` of .jsonl.

    Raises:
        UserError: another kind of file, no texts, or a row without one.
    """
    lines = [line.strip() for line in files.read_text(path).splitlines() if line.strip()]
    if path.suffix.lower() == ".txt":
        found: list[object] = list(lines)
    elif path.suffix.lower() == ".jsonl":
        rows = [files.parse_json(line, f"line {i} of {path.name}", kind=dict) for i, line in enumerate(lines, start=1)]
        found = [row.get("text") for row in rows]
    else:
        raise UserError(f"expected neutral texts in a .txt or .jsonl file, got {shown(path.name)}; convert it")
    for number, text in enumerate(found, start=1):
        if not isinstance(text, str) or not text.strip():
            raise UserError(
                f"expected a text in row {number} of {path.name}, got {shown(text)}; give each row a `text`"
            )
    if not found:
        raise UserError(f"expected neutral texts in {path.name}, found none; put one on each line")
    return [str(text).strip() for text in found]

"""Tables of shifts with a planted answer, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from emolib.steering.shift_tables import crossed_cells, shift_rows

OWN = ("gratitude", "anger", "apology")
LIKE = ("joy", "admiration")
LABELS = (*OWN, *LIKE)
OTHERS = {"gratitude": ("anger", "apology", "joy", "admiration")}


def design(
    labels: Sequence[str] = LABELS, acts: Sequence[str] = LABELS, *, style: str = "implicit", n: int = 24
) -> pd.DataFrame:
    """Every label's texts of `n` scenarios after four of `n` prompts each, under every act."""
    texts = [f"{style} {i}" for i in range(n)]
    told = pd.DataFrame([{"scenario": text, "label": label, "style": style} for text in texts for label in labels])
    table = pd.DataFrame({"act": list(acts), "layer": 8, "alpha": 0.2})
    return shift_rows(crossed_cells([f"prompt {i}" for i in range(n)], texts), told, table)


def noisy(rows: pd.DataFrame, seed: int, *, text: float = 0.1, prompt: float = 0.05, cell: float = 0.1) -> np.ndarray:
    """`[row]`: what an act does to a text, to what follows a prompt, and to each cell, by chance alone (sd in nat)."""
    generator = np.random.default_rng(seed)
    total = cell * generator.standard_normal(len(rows))
    for size, name in ((text, "text"), (prompt, "prompt")):
        codes = rows.groupby([name, "label", "act"], sort=False).ngroup().to_numpy()
        total += size * generator.standard_normal(codes.max() + 1)[codes]
    return total


def own_texts(rows: pd.DataFrame) -> np.ndarray:
    """`[row]`: whether act and text are of one label."""
    return (rows["act"] == rows["label"]).to_numpy(float)

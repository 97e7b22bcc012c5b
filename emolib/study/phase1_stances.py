"""Phase 1: how well `expressed/<emotion>` tells a writer's own stance, beside the other scorers.

None of it depends on the data set: held-out groups of the contrast set, the texts that mislead word lists, and
generated texts that were read blind. A backend without `expressed` has none.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from emolib.base.errors import UserError
from emolib.base.files import read_json
from emolib.base.paths import display, params_folder
from emolib.scoring import sanity, score_texts
from emolib.scoring.expressed import EMOTIONS
from emolib.scoring.ngrams import RETRAIN
from emolib.scoring.readers import load_generated_readings
from emolib.scoring.readers import reader_agreement as agreement_of_readers
from emolib.study.run import Run

HELD_OUT_BAR = 0.85  # balanced accuracy per emotion on held-out groups
HARD_BAR = 0.80  # on the texts that mislead word lists
KAPPA_BAR = 0.6
FAMILY = "bundled"  # the backend that scores stances


def expressed_quality(run: Run) -> pd.DataFrame | None:
    """Accuracy on the test groups of the contrast set, as training found it.

    Returns:
        One row per emotion: n and balanced (over every text of the test groups), own_n and own_balanced (over the
        groups that turn on this emotion), everyday and model (accuracy by register, own groups). None without
        `expressed`.
    """
    found = _figures(run)
    if found is None:
        return None
    rows = []
    for emotion in EMOTIONS:
        one = found[emotion]
        row = {"emotion": emotion, "n": int(one["n"]), "balanced": one["balanced_accuracy"]}
        row |= {"own_n": int(one["own_groups"]["n"]), "own_balanced": one["own_groups"]["balanced_accuracy"]}
        rows.append(row | {name: one["register"][name]["accuracy"] for name in ("everyday", "model")})
    return pd.DataFrame(rows)


def expressed_kinds(run: Run) -> pd.DataFrame | None:
    """Accuracy per kind of text in an emotion's own test groups: kind, then per emotion the share and `n_<emotion>`."""
    found = _figures(run)
    if found is None:
        return None
    shares: dict[str, dict[str, Any]] = {}
    for emotion in EMOTIONS:
        for kind, one in found[emotion]["kind"].items():
            shares.setdefault(kind, {"kind": kind})
            shares[kind] |= {emotion: one["accuracy"], f"n_{emotion}": int(one["n"])}
    columns = ["kind", *EMOTIONS, *(f"n_{emotion}" for emotion in EMOTIONS)]
    counts = {f"n_{emotion}": 0 for emotion in EMOTIONS}
    return pd.DataFrame(list(shares.values()), columns=columns).fillna(counts).astype(dict.fromkeys(counts, int))


def misleading_texts(run: Run) -> pd.DataFrame | None:
    """`emolib.scoring.sanity.sanity_accuracy` of the run's backend; None without `expressed`."""
    return sanity.sanity_accuracy(backend=FAMILY, cache=run.scores) if _has_stances(run) else None


def reader_agreement(run: Run) -> pd.DataFrame | None:
    """`emolib.scoring.readers.reader_agreement` of the project's own readings; None without `expressed`."""
    if not _has_stances(run):
        return None
    readings = load_generated_readings()
    scores = score_texts(readings["text"].tolist(), backend=FAMILY, cache=run.scores)
    return agreement_of_readers(readings, scores, seed=run.params.seed)


def _has_stances(run: Run) -> bool:
    return run.params.backend == FAMILY


def _figures(run: Run) -> dict[str, Any] | None:
    if not _has_stances(run):
        return None
    path = params_folder("scorers") / "expressed.json"
    found = read_json(path, kind=dict, name=f"the trained scorer {display(path)}", advice=RETRAIN).get("test")
    if not isinstance(found, dict) or set(found) != set(EMOTIONS):
        raise UserError(f"expected figures of {', '.join(EMOTIONS)} in {display(path)}, got others; {RETRAIN}")
    return found

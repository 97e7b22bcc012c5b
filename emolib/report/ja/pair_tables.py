"""What Phases 3 and 5 find on minimal pairs and on other scenarios, or why they are not told apart."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.names import emotion_name, metric_name
from emolib.report.ja.phase1_readings import NOT_STATED
from emolib.report.ja.phase5_words import between
from emolib.report.markup import with_interval
from emolib.study.phase3_vectors.pair_separation import PairSeparation
from emolib.study.phase5_steering.pair_effects import PairEffects

TEXTS = {"minimal": "ミニマルペア", "other": "ほかのシナリオ"}
ONE_KIND = {
    "not_stated": NOT_STATED,
    "minimal": "ここで用いたテストシナリオはすべてミニマルペアであるため、ほかのシナリオと分けた結果はない。",
    "other": "ここで用いたテストシナリオにミニマルペアはないため、分けた結果はない。",
}


def table_pair_separation(found: PairSeparation) -> pd.DataFrame | Markdown:
    """Test AUC of each emotion's projection on minimal pairs and on the others, and the difference."""
    if found.kinds.code != "both":
        return Markdown(ONE_KIND[found.kinds.code])
    table = found.table
    rows = {"感情": table["emotion"].map(emotion_name), "層": table["layer"]}
    for kind, name in TEXTS.items():
        cells = table[[kind, f"{kind}_low", f"{kind}_high"]].to_numpy(dtype=float)
        rows |= {f"{name}の数": table[f"n_{kind}"], name: [with_interval(*cell) for cell in cells]}
    gaps = table[["difference", "difference_low", "difference_high"]].to_numpy(dtype=float)
    rows["差"] = [with_interval(*gap, signed=True) for gap in gaps]
    return pd.DataFrame(rows).set_index("感情")


def table_pair_effects(found: PairEffects) -> pd.DataFrame | Markdown:
    """The effect at the reported point on minimal pairs and on the others."""
    if found.kinds.code != "both":
        return Markdown(ONE_KIND[found.kinds.code])
    table = found.table
    rows = {
        "感情": table["emotion"].map(emotion_name),
        "指標": table["metric"].map(metric_name),
        "シナリオ": table["texts"].map(TEXTS),
        "数": table["n"],
        "変化 [95 % BCa]": [
            between(r.metric, r.effect, r.low, r.high, missing=bool(pd.isna(r.low)), signed=True)
            for r in table.itertuples()
        ],
    }
    return pd.DataFrame(rows).set_index(["感情", "指標", "シナリオ"])

"""Phase 6a's figures: layer × head per road, and where the first heads look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from emolib.circuits.screening import Head
from emolib.interventions import record_heads
from emolib.plots import heatmaps, views
from emolib.plots.axes import Axes
from emolib.report.ja.phase6a_words import ROADS, spelled_head
from emolib.report.markup import show, show_view
from emolib.study.run import Run

MOST_TOKENS = 40  # of a text in an attention view


def figure_road(run: Run, roads: pd.DataFrame, road: str) -> None:
    """One road's heads as a map."""
    matrix = roads.pivot(index="layer", columns="head", values=road)
    if not np.isfinite(matrix.to_numpy(float)).any():
        return
    unit = "書き込み（活性の単位）" if road == "direct" else "変化（nat/トークン）"
    axes = Axes(ROADS[road], x="ヘッド", y="層", z=unit)
    show(run, heatmaps.heatmap(matrix, axes, zero_centred=road != "dropped", text_format="{:.3f}"), f"heads_{road}")


def figure_attention(run: Run, heads: Sequence[Head], text: str, name: str, caption: str) -> None:
    """Attention of the selected heads over one text."""
    (record,) = record_heads(run.lm, [text], list(heads))
    ids = record.prompt_ids[:MOST_TOKENS]  # earlier tokens do not see later ones
    tokens = run.lm.tokenizer.batch_decode([[token] for token in ids])
    patterns = np.stack([record.patterns[head][: len(ids), : len(ids)] for head in heads])
    if len(ids) < len(record.prompt_ids):
        caption = f"{caption}（先頭 {len(ids)} トークン）"
    names = [spelled_head(head) for head in heads]
    show_view(run, views.attention_patterns(tokens, patterns, names, caption=caption), f"attention_{name}")

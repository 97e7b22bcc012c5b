"""Phase 4: whether two models share their emotions' structure once their coordinates are aligned."""

from __future__ import annotations

from emolib.study.phase4_alignment.compared_methods import agreement_table, method_table, overlap_table, raw_table
from emolib.study.phase4_alignment.judged import margin_table, null_table, rivals, verdicts
from emolib.study.phase4_alignment.layers import anchor_counts, chosen, chosen_map, curve, layer_table
from emolib.study.phase4_alignment.monitoring import monitoring_table
from emolib.study.phase4_alignment.random_models import random_margins
from emolib.study.phase4_alignment.sides import label_texts, pair
from emolib.study.phase4_alignment.transfer import length_table, transfer_table

__all__ = [
    "agreement_table",
    "anchor_counts",
    "chosen",
    "chosen_map",
    "curve",
    "label_texts",
    "layer_table",
    "length_table",
    "margin_table",
    "method_table",
    "monitoring_table",
    "null_table",
    "overlap_table",
    "pair",
    "random_margins",
    "raw_table",
    "rivals",
    "transfer_table",
    "verdicts",
]

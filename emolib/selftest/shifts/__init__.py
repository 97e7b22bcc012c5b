"""Nulls of the claims by S, the continuation shift: small models in which every way of fooling it is planted.

A small language (`small_words`, `small_texts`) is spoken by two-layer models with hand-set weights (`small_networks`).
What their acts do to the next word is planted (`plants`): an emotion in implicit texts, or only its words, a phrase, a
valence, steadier or flatter text, calendar words. Vectors are fitted on texts, forward passes are real, and the rule is
the one of Phases 5 and 7 (`whole_rule`).
"""

from emolib.selftest.shifts.data_sets import DataSet, Sizes
from emolib.selftest.shifts.plants import KINDS, make_plant
from emolib.selftest.shifts.small_networks import build_model
from emolib.selftest.shifts.whole_rule import Judged, claimed, judge

__all__ = ["KINDS", "DataSet", "Judged", "Sizes", "build_model", "claimed", "judge", "make_plant"]

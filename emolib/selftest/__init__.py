"""The pipeline against models whose truth is known: does it find what was planted, and nothing where nothing was?

`emolib selftest` sends planted data sets (`emolib.selftest.planted`) through the same functions as Phase 5: vectors on
training scenarios, layer and strength chosen on validation scenarios, one test sweep with three families of control
directions, one table of claims. What comes out is compared with what was put in, row by row, each with a bar that was
set beforehand (`docs/selftest.md`).
"""

from emolib.selftest.claim_power import claim_power, detectable_size
from emolib.selftest.rows import Row
from emolib.selftest.running import run_selftest

__all__ = ["Row", "claim_power", "detectable_size", "run_selftest"]

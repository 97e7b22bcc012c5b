"""The confirmation: what Phase 5 has chosen is frozen, and held once against texts that nobody here has read.

No phase of a profile: `emolib freeze` writes the choice, `emolib run --profile confirm --sealed FILE` opens the texts.
"""

from __future__ import annotations

from emolib.study.confirmation.confirmed import Confirmation, open_confirmation
from emolib.study.confirmation.freezing import freeze_study
from emolib.study.confirmation.opening_checks import checked
from emolib.study.confirmation.sealed_results import SealedOutcome

__all__ = ["Confirmation", "SealedOutcome", "checked", "freeze_study", "open_confirmation"]

"""What a scorer is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch


@dataclass(frozen=True)
class Scorer:
    """Something that gives every text numbers.

    Attributes:
        name: unique among scorers; part of the cache's file name.
        version: changes whenever a score may change (hash of weights, word lists, code); None for a scorer whose
            results must not be kept, such as a caller's own function.
        score: texts → one row per text, columns `family/metric`. A text's numbers must not depend on the texts beside
            it. Never called without a text.
        fetch: sees to it that its files are here, before anything is computed; a `UserError` where they cannot be.
    """

    name: str
    version: str | None
    score: Callable[[Sequence[str]], pd.DataFrame]
    fetch: Callable[[], object] | None = None


ScorerFactory = Callable[[torch.device], Scorer]

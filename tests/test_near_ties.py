"""The gaps of the two best logits, as they are noted along greedy texts."""

from __future__ import annotations

import pytest
import torch
from near_ties import GAP, Gaps

from emolib.engine.sampling import Sampler

LOGITS = torch.tensor([[1.0, 3.0, 2.5], [0.0, 2.0, 2.0 - GAP / 2]])
DRAW = torch.zeros(2)


def test_every_greedy_choice_is_noted_and_none_is_changed() -> None:
    gaps = Gaps()
    with gaps.of_greedy_steps():
        assert Sampler(0, 1).pick(LOGITS, DRAW).tolist() == [1, 1]
    assert gaps.found == pytest.approx([0.5, GAP / 2], abs=1e-6)
    assert "2 greedy steps, 1 within" in gaps.sentence()


def test_sampled_choices_and_what_comes_later_are_not_noted() -> None:
    gaps = Gaps()
    with gaps.of_greedy_steps():
        Sampler(1, 1).pick(LOGITS, DRAW)
    Sampler(0, 1).pick(LOGITS, DRAW)
    assert gaps.found == [] and "0 greedy steps" in gaps.sentence()

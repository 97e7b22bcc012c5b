"""Memory that batches share serves whoever asks next, whatever mode it was first asked for in."""

import pytest
import torch

from emolib.models.workspace import Workspace


def test_what_a_reading_pass_asked_for_can_be_written_by_one_with_gradients():
    memory, like = Workspace(), torch.zeros(1)
    with torch.inference_mode():
        first = memory.take("logits", (2, 3), like)
        first.fill_(1.0)
        made_there = torch.zeros(6)
    again = memory.take("logits", (3, 2), like)
    again.fill_(2.0)
    assert again.data_ptr() == first.data_ptr() and memory.kept["logits"].eq(2.0).all()
    with pytest.raises(RuntimeError, match="nference"):
        made_there.fill_(2.0)  # control: what inference mode makes itself cannot


def test_more_is_asked_for_only_where_what_there_is_does_not_do():
    memory, like = Workspace(), torch.zeros(1)
    whole = memory.take("logits", (4, 4), like)
    assert memory.take("logits", (2, 2), like).data_ptr() == whole.data_ptr()
    assert memory.take("logits", (5, 5), like).numel() == 25 and memory.kept["logits"].numel() == 25

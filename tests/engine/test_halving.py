"""A batch that does not fit in memory is cut in halves, in order, and nothing else of it changes."""

from __future__ import annotations

import pytest
import torch

from emolib.base.errors import UserError
from emolib.engine.halving import in_halves
from emolib.engine.planning import Batch
from emolib.models.workspace import Workspace

CPU = torch.device("cpu")


def run(rows: int, room: int) -> tuple[list[tuple[int, ...]], list[int]]:
    """Which parts came back, and how many rows every try had, on a device with room for so many rows."""
    tried: list[int] = []
    memory = Workspace()

    def compute(batch: Batch) -> list[int]:
        tried.append(len(batch.rows))
        assert torch.is_inference_mode_enabled() and batch.width == 7
        assert not memory.kept or len(tried) == 1, "what is kept is given up before a half is tried"
        memory.take("cache", (3,), torch.zeros(1))
        if len(batch.rows) > room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        memory.kept.clear()
        return [10 * row for row in batch.rows]

    batch = Batch(tuple(range(rows)), 7)
    parts = list(in_halves(batch, compute, device=CPU, workspace=memory, n_new=lambda row: 100 + row))
    assert all(found == [10 * row for row in part.rows] for part, found in parts)
    return [part.rows for part, _ in parts], tried


def test_a_batch_that_fits_is_run_once_and_whole() -> None:
    assert run(6, 6) == ([(0, 1, 2, 3, 4, 5)], [6])


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    assert run(6, 3) == ([(0, 1, 2), (3, 4, 5)], [6, 3, 3])
    assert run(5, 2) == ([(0, 1), (2,), (3, 4)], [5, 2, 3, 1, 2])


def test_a_single_row_that_does_not_fit_is_told_with_its_own_length() -> None:
    with pytest.raises(UserError, match=r"one row of 7 \+ 100 tokens does not fit in the memory of cpu"):
        run(3, 0)


def test_other_faults_are_not_taken_for_a_lack_of_memory() -> None:
    def fail(batch: Batch) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(in_halves(Batch((0, 1), 7), fail, device=CPU, workspace=Workspace(), n_new=lambda row: 1))

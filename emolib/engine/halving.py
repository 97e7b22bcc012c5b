"""How a batch is cut when memory runs out: in halves, each on its own, down to single rows.

Rows and width stay what the plan says, so a row's numbers do not depend on how often its batch was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from emolib.base.errors import UserError
from emolib.engine.memory import OutOfMemory, out_of_memory
from emolib.engine.planning import Batch
from emolib.models.workspace import Workspace

Result = TypeVar("Result")


def in_halves(
    batch: Batch,
    compute: Callable[[Batch], Result],
    *,
    device: torch.device,
    workspace: Workspace,
    n_new: Callable[[int], int],
) -> Iterator[tuple[Batch, Result]]:
    """The batch with what `compute` gives for it; where that does not fit in memory, the same for its halves, in order.

    Args:
        compute: runs under `torch.inference_mode`; never returns None.
        workspace: what it keeps is given up before a half is tried.
        n_new: how many tokens a row has after its prompt, by the row's number; for the message.

    Raises:
        UserError: a single row does not fit.
    """
    result = _fitting(batch, compute)
    if result is not None:
        yield batch, result
        return
    workspace.kept.clear()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if len(batch.rows) == 1:
        raise UserError(
            f"one row of {batch.width} + {n_new(batch.rows[0])} tokens does not fit in the memory of {device}; "
            "use a smaller dtype or fewer tokens"
        )
    for half in batch.halves():
        yield from in_halves(half, compute, device=device, workspace=workspace, n_new=n_new)


def _fitting(batch: Batch, compute: Callable[[Batch], Result]) -> Result | None:
    """The batch's result, or None (with nothing of it left in memory) where it does not fit."""
    try:
        with out_of_memory(), torch.inference_mode():
            return compute(batch)
    except OutOfMemory:
        return None

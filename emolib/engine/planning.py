"""How the rows of a call become batches: which rows share one, in which order, and how many at once.

Widths and order follow from the prompts and interventions alone. The number of rows at once is the largest that fits in
memory on a CPU, without any measurement, and is measured elsewhere.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from emolib.engine.memory import BatchShape, OutOfMemory, available_memory, generation_bytes, out_of_memory
from emolib.engine.native import NativeRunner
from emolib.interventions import Edits, Intervention, acts_of, first_layer
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import pad_left

MEMORY_SHARE = 0.7  # of what is available, the most that a batch may be expected to take
FIRST_SIZE = {"mps": 128, "cuda": 512}
LARGEST_SIZE = {"cpu": 512, "mps": 512, "cuda": 8192}
OTHERWISE = 128  # rows at once through a model's own code
WORTH_DOUBLING = 1.03  # a doubled batch must be this much faster per token
PROBE_STEPS = 3
_chosen: dict[tuple, int] = {}


@dataclass(frozen=True)
class Batch:
    """Rows (numbers within the call) that are generated together, padded to `width`."""

    rows: tuple[int, ...]
    width: int

    def halves(self) -> tuple[Batch, Batch]:
        middle = len(self.rows) // 2
        return Batch(self.rows[:middle], self.width), Batch(self.rows[middle:], self.width)


def plan_batches(
    rows: Sequence[Sequence[int]],
    interventions: Sequence[Intervention],
    batch_size: int,
    n_layers: int,
    *,
    padding: int | None = None,
) -> Iterator[Batch]:
    """Batches of at most `batch_size` rows, prompts of like length together, rows of one layer contiguous.

    Args:
        rows: token ids per prompt.
        padding: by how many tokens a prompt may be padded at most; None as `_widths` says.
    """
    entries = [first_layer(intervention, n_layers) for intervention in interventions]
    width_of = _widths({len(row) for row in rows}, padding)
    for width in sorted(set(width_of.values())):
        members = [i for i, row in enumerate(rows) if width_of[len(row)] == width]
        members.sort(key=lambda i: (entries[i], rows[i], i))
        n_batches = -(-len(members) // batch_size)
        for number in range(n_batches):  # of equal size but for one row: a small last batch would be slow
            part = slice(number * len(members) // n_batches, (number + 1) * len(members) // n_batches)
            yield Batch(tuple(members[part]), width)


def _widths(lengths: set[int], padding: int | None = None) -> dict[int, int]:
    """The padded width for every prompt length: lengths down to half of the longest (or 16 tokens less) share it.

    Padding is cheap here, since distinct prompts run once; small batches are not. Where prompts are most of what runs,
    `padding` says by how many tokens one is padded at most.
    """
    widths: dict[int, int] = {}
    width = 0
    for length in sorted(lengths, reverse=True):
        if not widths or length < width - (max(16, width // 2) if padding is None else padding):
            width = length
        widths[length] = width
    return widths


def batch_size_for(lm: LanguageModel, n_rows: int, shape: BatchShape) -> int:
    """The number of rows at once; the same for the process, so that calls of one kind agree."""
    if n_rows <= FIRST_SIZE.get(lm.device.type, 0):
        return max(n_rows, 1)
    return max(min(largest_useful_batch(lm, shape), n_rows), 1)


def largest_useful_batch(lm: LanguageModel, shape: BatchShape) -> int:
    """As `batch_size_for`, for as many rows as one likes; 128 where the native engine does not know the model.

    On a CPU nothing is measured. A step of n rows takes about a + b n, the reading of the weights and the calls beside
    the products, so that a batch of twice the rows is faster by the share a / (a + 2 b n), and never slower.
    """
    kind = lm.device.type
    if lm.blueprint is None:
        return OTHERWISE
    shape = BatchShape(-(-shape.width // 16) * 16, shape.n_new, shape.patched, round(shape.distinct, 1))
    key = (lm.spec.name, lm.revision, lm.dtype, str(lm.device), torch.get_num_threads(), shape)
    if key not in _chosen:
        largest = LARGEST_SIZE.get(kind, 512)
        room = MEMORY_SHARE * available_memory(lm.device)
        if kind in FIRST_SIZE:
            _chosen[key] = _measured(lm, FIRST_SIZE[kind], largest, shape, room)
        else:
            _chosen[key] = _fitting(lm, largest, shape, room)
    return _chosen[key]


def _fitting(lm: LanguageModel, size: int, shape: BatchShape, room: float) -> int:
    """The size, halved until it is expected to fit in so many bytes."""
    while size > 1 and generation_bytes(lm, size, shape) > room:
        size //= 2
    return size


def _measured(lm: LanguageModel, size: int, largest: int, shape: BatchShape, room: float) -> int:
    """The size, doubled as long as that is faster by enough and fits."""
    size = _fitting(lm, size, shape, room)
    taken = _step_seconds(lm, size, shape)
    while taken is None and size > 1:
        size //= 2
        taken = _step_seconds(lm, size, shape)
    best, speed = size, size / (taken or math.inf)
    while size < largest and generation_bytes(lm, 2 * size, shape) <= room:
        size *= 2
        taken = _step_seconds(lm, size, shape)
        if taken is None or size / taken < WORTH_DOUBLING * speed:
            break
        best, speed = size, size / taken
    return best


def longest_window(interventions: Sequence[Intervention], width: int) -> int:
    """Prompt columns that any intervention patches; 1 where nothing does."""
    windows = (act.window for intervention in interventions for act in acts_of(intervention))
    return max((width if window is None else min(window, width) for window in windows), default=1)


def _step_seconds(lm: LanguageModel, n_rows: int, shape: BatchShape) -> float | None:
    """Seconds of one step of so many rows, the best of a few; None where they do not fit in memory."""
    width, n_new = shape.width, max(shape.n_new, PROBE_STEPS + 2)
    if lm.limits.positions is not None:  # what is measured need not have a position for every token of the rows
        width = max(min(width, lm.limits.positions - PROBE_STEPS - 1), 1)
    ids, mask = pad_left([[0] * width] * n_rows, lm.pad_id)
    try:
        with out_of_memory(), torch.inference_mode():
            edits = Edits(lm, [None] * n_rows, [width] * n_rows, width, n_new)
            runner = NativeRunner(lm, ids, mask, edits, n_new - 1)
            token = runner.start().argmax(-1)
            times = []
            for step in range(PROBE_STEPS + 1):
                started = time.perf_counter()
                runner.step(token)
                if lm.device.type == "cuda":
                    torch.cuda.synchronize()
                if step:  # the first warms up (and captures the graph on CUDA)
                    times.append(time.perf_counter() - started)
            return min(times)
    except OutOfMemory:
        return None

"""The interventions of one batch as tensors, applied by a forward pass wherever it produces a site.

Columns are absolute: the padded prompt first, generated tokens after it. A pass says which columns it feeds, as a slice
or (inside a CUDA graph, where nothing may depend on Python numbers) as a tensor of one index.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from emolib.base.errors import UserError
from emolib.interventions.ablations import AblateDirection, AblateHead
from emolib.interventions.act_arguments import unit_direction
from emolib.interventions.acts import Act, HeadAct, Intervention, acts_of, head_of
from emolib.interventions.changes import (
    Add,
    AddOutput,
    Bound,
    Change,
    HeadChange,
    HeadParts,
    Move,
    Rows,
    SetOutput,
    StreamChange,
    SwapValues,
)
from emolib.interventions.coordinate_limits import Cap, Clamp
from emolib.interventions.edge_cuts import CutEdge
from emolib.interventions.head_patches import PatchHead
from emolib.interventions.schedules import schedule_factors
from emolib.interventions.steers import Steer, SubspaceSteer
from emolib.models.attention import Columns
from emolib.models.language_model import LanguageModel

Place = tuple[str, int]  # site and layer; site `z` stands for heads' outputs
AnyChange = TypeVar("AnyChange", bound=Change)
MOVES = (SubspaceSteer, AblateDirection, Clamp)


@dataclass(frozen=True)
class _Entry:
    """One act on one row, and its factor at every column."""

    row: int
    act: Act
    factors: np.ndarray
    reach: int  # patched prompt tokens, counted from the end
    length: int  # of the row's prompt


class Edits:
    """The interventions of one batch.

    Args:
        interventions: one per row (an act, a tuple of acts that apply in that order, or None).
        lengths: tokens of every row's prompt.
        width: to which the prompts are padded, on the left.
        n_new: how many tokens will be generated at most.

    Attributes:
        entry: per row, the first layer at which it differs from the unpatched text; n_layers + 1 without a patch.
        first_column: the first column that any row's patch touches; at most the prompt's last one.
    """

    def __init__(
        self, lm: LanguageModel, interventions: Sequence[Intervention], lengths: Sequence[int], width: int, n_new: int
    ) -> None:
        self.device, self.dtype, self.d_head, self.width = lm.device, lm.dtype, lm.d_head, width
        self._n_layers = lm.n_layers
        self._ratio = torch.zeros(2, len(interventions), device=lm.device)  # sum and count of ‖Δh‖/‖h‖
        self.entry = np.array([first_layer(intervention, lm.n_layers) for intervention in interventions])
        places: dict[Place, dict[tuple[int, str], list[_Entry]]] = defaultdict(lambda: defaultdict(list))
        first = width - 1
        for row, intervention in enumerate(interventions):
            stages: dict[tuple[Place, int | None], int] = defaultdict(int)
            for act in acts_of(intervention):
                if is_idle(act):
                    continue
                entry = _entry(row, act, lengths[row], width, n_new)
                head = head_of(act)
                key: Place = ("z" if isinstance(act, HeadAct) else act.site, act.layer)
                stage = stages[key, head]
                stages[key, head] += 1
                places[key][stage, _family(act)].append(entry)
                if entry.factors.any():
                    first = min(first, int((entry.factors != 0).argmax()))
        self.first_column = first
        self._stream: dict[Place, list[StreamChange]] = {}
        self._heads: dict[Place, list[HeadChange]] = {}
        for key, groups in places.items():
            families = [(family, groups[stage, family]) for stage, family in sorted(groups)]
            if key[0] == "z":
                self._heads[key] = [self._head_change(family, entries) for family, entries in families]
            else:
                self._stream[key] = [self._stream_change(family, entries) for family, entries in families]

    @property
    def places(self) -> list[Place]:
        """Every (site, layer) at which something happens."""
        return sorted([*self._stream, *self._heads])

    def changes_heads(self, layer: int) -> bool:
        """Whether anything happens to a layer's heads."""
        return ("z", layer) in self._heads

    def reads_values(self, layer: int) -> bool:
        """Whether what happens to a layer's heads depends on their attention patterns and values."""
        return any(isinstance(change, SwapValues) for change in self._heads.get(("z", layer), ()))

    @property
    def delta_ratio(self) -> np.ndarray:
        """Realised ‖Δh‖/‖h‖ per row, mean over the patched prompt tokens and acts; 0 without a patch."""
        total, count = self._ratio.cpu().numpy()
        return np.divide(total, count, out=np.zeros_like(total), where=count > 0)

    def _placed(self, entries: Sequence[_Entry]) -> tuple[Rows, Tensor, np.ndarray]:
        """What every change is told of its rows and columns."""
        factors = np.stack([entry.factors for entry in entries])
        rows = Rows.of([entry.row for entry in entries], self.device)
        return rows, self._tensor(factors), np.asarray(factors.any(axis=0))

    def _stream_change(self, family: str, entries: Sequence[_Entry]) -> StreamChange:
        placed = self._placed(entries)
        if family == "add":
            return Add(*placed, self._deltas(entries))
        if family == "bound":
            caps = [entry.act for entry in entries if isinstance(entry.act, Cap)]
            bounds = np.array([act.bounds() for act in caps], np.float32)
            units = np.stack([unit_direction(act.direction) for act in caps])
            unit, low, high = (torch.tensor(each, device=self.device) for each in (units, bounds[:, :1], bounds[:, 1:]))
            return Bound(*placed, unit, low, high)
        moves = [entry.act for entry in entries if isinstance(entry.act, MOVES)]
        return Move(*placed, *self._coordinates(moves))

    def _head_change(self, family: str, entries: Sequence[_Entry]) -> HeadChange:
        placed = self._placed(entries)
        heads = torch.tensor([head_of(entry.act) for entry in entries], device=self.device)
        if family == "add":
            return AddOutput(*placed, heads, self._deltas(entries))
        acts = [entry.act for entry in entries if isinstance(entry.act, HeadAct)]
        if family == "values":
            sources, reads = zip(*(_read_instead(entry, self.width, self.d_head) for entry in entries), strict=True)
            return SwapValues(*placed, heads, self._tensor(np.stack(sources)), self._tensor(np.stack(reads)))
        n_columns = len(entries[0].factors)
        targets = np.stack([_targets(act, self.d_head, self.width, n_columns) for act in acts])
        return SetOutput(*placed, heads, self._tensor(targets))

    def _deltas(self, entries: Sequence[_Entry]) -> Tensor:
        return self._tensor(np.stack([entry.act.delta() for entry in entries if isinstance(entry.act, Steer)]))

    def _coordinates(self, acts: Sequence[SubspaceSteer | AblateDirection | Clamp]) -> list[Tensor]:
        """Bases, targets and strengths, in float32; smaller subspaces are padded with zero columns."""
        pairs = [act.coordinates() for act in acts]
        k = max(basis.shape[1] for basis, _ in pairs)
        bases = np.stack([np.pad(basis, ((0, 0), (0, k - basis.shape[1]))) for basis, _ in pairs])
        targets = np.stack([np.pad(target, (0, k - len(target))) for _, target in pairs])[:, None]
        alphas = np.array([act.alpha for act in acts], np.float32)[:, None, None]
        return [torch.tensor(values, device=self.device) for values in (bases, targets, alphas)]

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.tensor(values, device=self.device, dtype=self.dtype)

    def stream(self, site: str, layer: int, hidden: Tensor, columns: Columns) -> Tensor:
        """Applies what happens at a residual-stream site, in place: `hidden` `[row, pos, d_model]` is the caller's."""
        for group in self._stream.get((site, layer), ()):
            if group.idle(columns):
                continue
            span = group.rows.span
            part = hidden[group.rows.index if span is None else span]
            change = group.change(part, group.factors[:, columns, None])
            if layer < self._n_layers:
                self._note_ratio(group, change, part, columns)
            else:  # of the final residual only the last token reaches the logits
                self._note_ratio(group, change[:, -1:], part[:, -1:], columns)
            if span is None:
                hidden[group.rows.index] = part + change
            else:
                part += change
        return hidden

    def heads(self, layer: int, z: Tensor, columns: Columns, parts: HeadParts) -> Tensor:
        """Applies what happens to heads' outputs z `[row, pos, head, d_head]`, in place.

        Args:
            parts: gives, for rows and heads `[n]`, their attention pattern `[n, pos, key]` and the values
                `[n, key, d_head]` that it weighs.
        """
        for group in self._heads.get(("z", layer), ()):
            if group.idle(columns):
                continue
            rows = group.rows.index
            part = z[rows, :, group.heads]
            change = group.change(part, group.factors[:, columns, None], columns, parts)
            self._note_ratio(group, change, part, columns)
            z[rows, :, group.heads] = part + change
        return z

    def _note_ratio(self, group: Change, change: Tensor, before: Tensor, columns: Columns) -> None:
        if not isinstance(columns, slice) or columns.stop != self.width:
            return  # only the prefill counts, not a recomputation of a longer text
        size = change.float().norm(dim=-1)
        ratio = (size / before.float().norm(dim=-1).clamp_min(1e-12)).sum(1)
        self._ratio[0].index_add_(0, group.rows.index, ratio)
        self._ratio[1].index_add_(0, group.rows.index, (size > 0).sum(1).float())

    def select(self, kept: Sequence[int]) -> None:
        """Goes on with these rows alone, numbered anew in this order (which must be rising)."""
        renumbered = {row: i for i, row in enumerate(kept)}
        self._stream = {key: _going_on(groups, renumbered) for key, groups in self._stream.items()}
        self._heads = {key: _going_on(groups, renumbered) for key, groups in self._heads.items()}


def _going_on(groups: Sequence[AnyChange], renumbered: Mapping[int, int]) -> list[AnyChange]:
    kept = (group.select(renumbered) for group in groups)
    return [group for group in kept if group is not None]


def is_idle(act: Act) -> bool:
    """Whether the act changes nothing anywhere."""
    nothing = isinstance(act.schedule, tuple | list) and not any(act.schedule)
    return getattr(act, "alpha", 1) == 0 or nothing


def first_layer(intervention: Intervention, n_layers: int) -> int:
    """The first layer at which a row differs from the unpatched text; n_layers + 1 where it never does."""
    return min((act.layer for act in acts_of(intervention) if not is_idle(act)), default=n_layers + 1)


def _family(act: Act) -> str:
    if isinstance(act, Steer):
        return "add"
    if isinstance(act, CutEdge) or (isinstance(act, PatchHead) and act.mode == "v_only"):
        return "values"
    if isinstance(act, Cap):
        return "bound"
    return "output" if isinstance(act, HeadAct) else "move"


def _entry(row: int, act: Act, length: int, width: int, n_new: int) -> _Entry:
    """Where the act falls on a row: its window of prompt columns, and the generated tokens.

    The last `window` prompt tokens are patched, position 0 only if it is the only one; of a head patch only those that
    the source has a token for, counted from the end.
    """
    schedule = schedule_factors(act.schedule, act.steps, n_new + 1)
    reach = max(length - 1, 1) if act.window is None else min(act.window, max(length - 1, 1))
    if isinstance(act, PatchHead):
        reach = min(reach, act.n_prompt)
    factors = np.zeros(width + n_new, dtype=np.float32)
    factors[width - reach : width] = schedule[0]
    factors[width:] = schedule[1:]
    return _Entry(row, act, factors, reach, length)


def _by_column(tokens: np.ndarray, n_prompt: int, width: int, n_columns: int) -> np.ndarray:
    """Values per token `[pos, d]`, of which the first `n_prompt` are the prompt's, as values per column
    `[n_columns, d]`; beyond the last token its own."""
    placed = np.zeros((n_columns, tokens.shape[1]), np.float32)
    reach, later = min(width, n_prompt), tokens[n_prompt : n_prompt + n_columns - width]
    placed[width - reach : width] = tokens[n_prompt - reach : n_prompt]
    placed[width:] = tokens[-1]
    placed[width : width + len(later)] = later
    return placed


def _read_instead(entry: _Entry, width: int, d_head: int) -> tuple[np.ndarray, np.ndarray]:
    """What a head reads in the place of its own values `[prompt column, d_head]`, and at which columns `[…, 1]`."""
    act, reads = entry.act, np.zeros((width, 1), np.float32)
    if isinstance(act, PatchHead):
        reads[width - entry.reach :] = 1
        held = act.source.values[act.layer, act.head][: act.n_prompt]
        return _by_column(held, len(held), width, width), reads
    assert isinstance(act, CutEdge), f"{type(act).__name__} reads no values"
    if act.key >= entry.length:
        raise UserError(f"expected a key within the prompt's {entry.length} tokens, got {act.key}")
    reads[width - entry.length + act.key] = 1
    return np.tile(act.read_instead(d_head), (width, 1)), reads


def _targets(act: HeadAct, d_head: int, width: int, n_columns: int) -> np.ndarray:
    """What the head's output becomes at every column, `[column, d_head]`."""
    if isinstance(act, PatchHead):
        return _by_column(act.outputs(), act.n_prompt, width, n_columns)
    assert isinstance(act, AblateHead), f"{type(act).__name__} sets no output"
    return act.targets(width, n_columns, d_head)

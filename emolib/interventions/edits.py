"""The interventions of one batch as tensors, applied by a forward pass wherever it produces a site.

Columns are absolute: the padded prompt first, generated tokens after it. A pass says which columns it feeds, as a slice
or (inside a CUDA graph, where nothing may depend on Python numbers) as a tensor of one index.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from emolib.interventions.kinds import Act, HeadAct, Intervention, PatchHead, Steer, acts_of
from emolib.interventions.schedules import schedule_factors
from emolib.models.attention import Columns
from emolib.models.language_model import LanguageModel

HeadParts = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class _Entry:
    """One act on one row, and its factor at every column."""

    row: int
    act: Act
    factors: np.ndarray
    reach: int  # patched prompt tokens, counted from the end


@dataclass
class _Group:
    """Acts of one family at one place, at most one per row (and head), applied together.

    Attributes:
        rows: `[n]`.
        span: the same as a slice where the rows are consecutive (no copy), else None.
        factors: `[n, column]`.
        active: per column, whether any row is changed; kept off the device so that asking costs no transfer.
    """

    rows: Tensor
    span: slice | None
    factors: Tensor
    active: np.ndarray

    def idle(self, columns: Columns) -> bool:
        return isinstance(columns, slice) and not self.active[columns].any()

    def select(self, kept: Sequence[int], renumbered: dict[int, int]) -> _Group | None:
        """The same group when only the rows in `renumbered` (old → new) go on."""
        old = self.rows.tolist()
        places = [i for i, row in enumerate(old) if row in renumbered]
        if not places:
            return None
        index = torch.tensor(places, device=self.factors.device)
        tensors = {name: value[index] for name, value in self.__dict__.items() if isinstance(value, Tensor)}
        return replace(self, **{**tensors, **_numbered([renumbered[old[i]] for i in places], index.device)})


@dataclass
class _Add(_Group):
    """h ← h + f Δ."""

    delta: Tensor = field(kw_only=True)  # [n, d_model]

    def change(self, part: Tensor, factors: Tensor) -> Tensor:
        return factors * self.delta[:, None]


@dataclass
class _Move(_Group):
    """h ← h + f α U (μ − Uᵀ h)."""

    basis: Tensor = field(kw_only=True)  # [n, d_model, k]
    target: Tensor = field(kw_only=True)  # [n, 1, k]
    alpha: Tensor = field(kw_only=True)  # [n, 1, 1]

    def change(self, part: Tensor, factors: Tensor) -> Tensor:
        missing = self.target - part.float() @ self.basis
        return (factors.float() * self.alpha * (missing @ self.basis.transpose(1, 2))).to(part.dtype)


@dataclass
class _Output(_Group):
    """A head's output z ← z + f (target − z); the target per prompt column, and one for generated tokens."""

    heads: Tensor = field(kw_only=True)  # [n]
    targets: Tensor = field(kw_only=True)  # [n, column, d_head]

    def change(self, part: Tensor, factors: Tensor, columns: Columns, parts: HeadParts) -> Tensor:
        return factors * (self.targets[:, columns] - part)


@dataclass
class _Values(_Group):
    """A head's output z ← z + f Σ_j pattern[·, j] (source value_j − value_j), over the columns read from the source."""

    heads: Tensor = field(kw_only=True)
    sources: Tensor = field(kw_only=True)  # [n, prompt column, d_head]
    reads: Tensor = field(kw_only=True)  # [n, prompt column, 1]

    def change(self, part: Tensor, factors: Tensor, columns: Columns, parts: HeadParts) -> Tensor:
        pattern, values = parts(self.rows, self.heads)
        width = self.sources.shape[1]
        difference = (self.sources - values[:, :width]) * self.reads
        return factors * (pattern[:, :, :width].to(part.dtype) @ difference)


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
        places: dict[tuple[str, int], dict[tuple, list[_Entry]]] = defaultdict(lambda: defaultdict(list))
        first = width - 1
        for row, intervention in enumerate(interventions):
            stages: dict[tuple, int] = defaultdict(int)
            for act in acts_of(intervention):
                if is_idle(act):
                    continue
                entry = _entry(row, act, lengths[row], width, n_new)
                head = getattr(act, "head", -1)
                site = "z" if isinstance(act, HeadAct) else act.site
                key = (site, act.layer)
                stage = stages[key, head]
                stages[key, head] += 1
                places[key][stage, _family(act)].append(entry)
                if entry.factors.any():
                    first = min(first, int((entry.factors != 0).argmax()))
        self.first_column = first
        self._groups = {
            key: [self._group(family, groups[stage, family]) for stage, family in sorted(groups)]
            for key, groups in places.items()
        }

    @property
    def places(self) -> list[tuple[str, int]]:
        """Every (site, layer) at which something happens; site `z` stands for heads' outputs."""
        return sorted(self._groups)

    @property
    def delta_ratio(self) -> np.ndarray:
        """Realised ‖Δh‖/‖h‖ per row, mean over the patched prompt tokens and acts; 0 without a patch."""
        total, count = self._ratio.cpu().numpy()
        return np.divide(total, count, out=np.zeros_like(total), where=count > 0)

    def _group(self, family: str, entries: list[_Entry]) -> _Group:
        factors = np.stack([entry.factors for entry in entries])
        shared = {
            **_numbered([entry.row for entry in entries], self.device),
            "factors": self._tensor(factors),
            "active": factors.any(axis=0),
        }
        acts = [entry.act for entry in entries]
        if family == "add":
            return _Add(**shared, delta=self._tensor(np.stack([act.delta() for act in acts])))
        if family == "move":
            return _Move(**shared, **self._coordinates(acts))
        heads = torch.tensor([act.head for act in acts], device=self.device)
        n_columns = factors.shape[1]
        if family == "values":
            values = [act.source.values[act.layer, act.head] for act in acts]
            sources = np.stack([_by_column(value, self.width, self.width) for value in values])
            reads = np.zeros((len(entries), self.width, 1), np.float32)
            for i, entry in enumerate(entries):
                reads[i, self.width - entry.reach :] = 1
            return _Values(**shared, heads=heads, sources=self._tensor(sources), reads=self._tensor(reads))
        targets = np.stack([_targets(act, self.d_head, self.width, n_columns) for act in acts])
        return _Output(**shared, heads=heads, targets=self._tensor(targets))

    def _coordinates(self, acts: Sequence[Act]) -> dict[str, Tensor]:
        """Bases, targets and strengths, in float32; smaller subspaces are padded with zero columns."""
        pairs = [act.coordinates() for act in acts]
        k = max(basis.shape[1] for basis, _ in pairs)
        bases = np.stack([np.pad(basis, ((0, 0), (0, k - basis.shape[1]))) for basis, _ in pairs])
        targets = np.stack([np.pad(target, (0, k - len(target))) for _, target in pairs])[:, None]
        alphas = np.array([act.alpha for act in acts], np.float32)[:, None, None]
        names = ("basis", "target", "alpha")
        return {n: torch.tensor(v, device=self.device) for n, v in zip(names, (bases, targets, alphas), strict=True)}

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.tensor(values, device=self.device, dtype=self.dtype)

    def stream(self, site: str, layer: int, hidden: Tensor, columns: Columns) -> Tensor:
        """Applies what happens at a residual-stream site, in place: `hidden` `[row, pos, d_model]` is the caller's."""
        for group in self._groups.get((site, layer), ()):
            if group.idle(columns):
                continue
            part = hidden[group.rows if group.span is None else group.span]
            change = group.change(part, group.factors[:, columns, None])
            if layer < self._n_layers:
                self._note_ratio(group, change, part, columns)
            else:  # of the final residual only the last token reaches the logits
                self._note_ratio(group, change[:, -1:], part[:, -1:], columns)
            if group.span is None:
                hidden[group.rows] = part + change
            else:
                part += change
        return hidden

    def heads(self, layer: int, z: Tensor, columns: Columns, parts: HeadParts) -> Tensor:
        """Applies what happens to heads' outputs z `[row, pos, head, d_head]`, in place.

        Args:
            parts: gives, for rows and heads `[n]`, their attention pattern `[n, pos, key]` and the values
                `[n, key, d_head]` that it weighs.
        """
        for group in self._groups.get(("z", layer), ()):
            if group.idle(columns):
                continue
            part = z[group.rows, :, group.heads]
            change = group.change(part, group.factors[:, columns, None], columns, parts)
            self._note_ratio(group, change, part, columns)
            z[group.rows, :, group.heads] = part + change
        return z

    def _note_ratio(self, group: _Group, change: Tensor, before: Tensor, columns: Columns) -> None:
        if not isinstance(columns, slice) or columns.stop != self.width:
            return  # only the prefill counts, not a recomputation of a longer text
        size = change.float().norm(dim=-1)
        ratio = (size / before.float().norm(dim=-1).clamp_min(1e-12)).sum(1)
        self._ratio[0].index_add_(0, group.rows, ratio)
        self._ratio[1].index_add_(0, group.rows, (size > 0).sum(1).float())

    def select(self, kept: Sequence[int]) -> None:
        """Goes on with these rows alone, numbered anew in this order (which must be rising)."""
        renumbered = {row: i for i, row in enumerate(kept)}
        for key, groups in self._groups.items():
            going_on = (group.select(kept, renumbered) for group in groups)
            self._groups[key] = [group for group in going_on if group is not None]


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
    if isinstance(act, PatchHead) and act.mode == "v_only":
        return "values"
    return "output" if isinstance(act, HeadAct) else "move"


def _entry(row: int, act: Act, length: int, width: int, n_new: int) -> _Entry:
    """Where the act falls on a row: its window of prompt columns, and the generated tokens.

    The last `window` prompt tokens are patched, position 0 only if it is the only one; of a head patch only those that
    the source has a token for, counted from the end.
    """
    schedule = schedule_factors(act.schedule, act.steps, n_new + 1)
    reach = max(length - 1, 1) if act.window is None else min(act.window, max(length - 1, 1))
    if isinstance(act, PatchHead):
        reach = min(reach, len(act.source.prompt_ids))
    factors = np.zeros(width + n_new, dtype=np.float32)
    factors[width - reach : width] = schedule[0]
    factors[width:] = schedule[1:]
    return _Entry(row, act, factors, reach)


def _by_column(tokens: np.ndarray, width: int, n_columns: int) -> np.ndarray:
    """Values per token `[pos, d]` as values per column `[n_columns, d]`; the last token's from there on."""
    placed = np.zeros((n_columns, tokens.shape[1]), np.float32)
    reach = min(width, len(tokens))
    placed[width - reach : width] = tokens[-reach:]
    placed[width:] = tokens[-1]
    return placed


def _targets(act: HeadAct, d_head: int, width: int, n_columns: int) -> np.ndarray:
    """What the head's output becomes at every column, `[column, d_head]`."""
    if isinstance(act, PatchHead):
        return _by_column(act.outputs(), width, n_columns)
    return np.tile(act.target(d_head), (n_columns, 1))


def _numbered(rows: Sequence[int], device: torch.device) -> dict[str, Tensor | slice | None]:
    """Row numbers as an index, and as a slice where they are consecutive."""
    first, last = rows[0], rows[-1]
    consecutive = list(rows) == list(range(first, last + 1))
    return {"rows": torch.tensor(rows, device=device), "span": slice(first, last + 1) if consecutive else None}

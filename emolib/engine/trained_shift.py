"""A direction that is trained instead of taken as a difference of means: one vector added at one layer.

h ← h + a·w with w of norm 1 and a fixed, where a `Steer` of that layer would add it (a rank-1 intervention on the
representation, as in ReFT, Wu et al. 2024, and in AxBench's ReFT-r1, Wu et al. 2025). w goes up the gradient of a
contrast: the mean log-probability of an emotion's text after a neutral prompt minus that of the other labels' texts in
the same place. What lies before the layer does not depend on w and runs once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.base.signatures import told
from emolib.engine.continuation_tokens import continuations
from emolib.engine.packed_pass import PackedPass, PackedRows
from emolib.interventions.schedules import Schedule, checked_schedule, schedule_factors
from emolib.models.language_model import LanguageModel, checked_model
from emolib.models.limits import check_length
from emolib.models.tokens import encode


@dataclass(frozen=True)
class ContrastRow:
    """A neutral prompt, and the texts that stand after it.

    Attributes:
        texts: of every label, in one order for all rows: the one that is to become more probable, and those that it is
            held against.
    """

    prompt: str
    texts: tuple[str, ...]


@told
@dataclass(frozen=True)
class Descent:
    """How w is trained.

    Attributes:
        steps: gradient steps at most; 0 leaves w at the first gradient's direction.
        rows_at_once: rows of one step.
        rate: about how far w turns in a step, in radians.
        every: steps from one look at the held-out rows to the next.
        patience: looks without a gain after which it ends.
        window, schedule: as of `emolib.Steer`.
        seed: of the order of the rows.
    """

    steps: int
    rows_at_once: int = 4
    rate: float = 0.2
    every: int = 5
    patience: int = 2
    window: int = 3
    schedule: Schedule = "constant"
    seed: int = 0

    def __post_init__(self) -> None:
        arguments.whole_number("steps", self.steps, least=0)
        for name in ("rows_at_once", "every", "patience", "window"):
            arguments.whole_number(name, getattr(self, name), least=1)
        arguments.number("rate", self.rate, above=0, most=1)
        checked_schedule(self.schedule)

    def fingerprint(self) -> dict[str, object]:
        """Everything here that determines w."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class TrainedShift:
    """What training came to.

    Attributes:
        direction: w, `[d_model]`, norm 1: the one that was best on the held-out rows.
        curve: step, held_out (nat per token: the contrast under w minus the unpatched model's, mean over the held-out
            rows), chosen; a row per look.
    """

    direction: Float[np.ndarray, " d_model"]
    curve: pd.DataFrame


@told
class ShiftTraining:
    """Trains w on some rows by Adam on the sphere, and keeps the w that did best on held-out ones.

    Training begins at the gradient of the first rows without a patch, so that nothing of a mean difference is in it.
    What all labels share (the rows up to the layer) is worked out once, where it is first needed.

    Args:
        layer: block whose input is patched; n_layers is the final residual.
        rows: those whose gradient is taken.
        held_out: those that decide where training ends; of other scenarios than `rows`.

    Raises:
        UserError: an architecture whose weights the engine does not read, no rows, rows with different numbers of
            texts or fewer than two, a layer that there is not.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> rows = [ContrastRow("It rained.", ("Thank you so much.", "Leave me alone now."))]
    >>> held = [ContrastRow("The bus came.", ("Thanks for your help.", "Get out of here."))]
    >>> found = ShiftTraining(lm, 20, rows, held, Descent(steps=2, every=1)).shift(0, 5.0)
    >>> found.direction.shape, round(float(np.linalg.norm(found.direction)), 4), len(found.curve)
    ((576,), 1.0, 3)
    """

    def __init__(
        self,
        lm: LanguageModel,
        layer: int,
        rows: Sequence[ContrastRow],
        held_out: Sequence[ContrastRow],
        descent: Descent,
    ) -> None:
        checked_model(lm)
        self._lm, self._descent = lm, descent
        self._layer = arguments.whole_number("layer", layer, least=0, most=lm.n_layers)
        if not rows or not held_out:
            raise UserError(f"expected rows to train on and held-out ones, got {len(rows)} and {len(held_out)}")
        counts = {len(row.texts) for row in (*rows, *held_out)}
        if len(counts) != 1 or min(counts) < 2:
            raise UserError(f"expected rows with as many texts each, at least two, got {sorted(counts)}")
        self.n_labels = counts.pop()
        order, step = np.random.default_rng(descent.seed).permutation(len(rows)), descent.rows_at_once
        self._groups = [[rows[i] for i in order[start : start + step]] for start in range(0, len(order), step)]
        self._looks = [held_out[start : start + step] for start in range(0, len(held_out), step)]
        self._made: dict[tuple[str, int], _Batch] = {}

    def shift(self, own: int, length: float, *, steps: int | None = None) -> TrainedShift:
        """w for one label.

        Args:
            own: the place of the label's text in every row.
            length: a, in activation units.
            steps: instead of the descent's.

        Raises:
            UserError: a label that there is not, a gradient that is zero or not finite.
        """
        own = arguments.whole_number("own", own, least=0, most=self.n_labels - 1)
        length = arguments.number("length", length, above=0)
        steps = self._descent.steps if steps is None else arguments.whole_number("steps", steps, least=0)
        start = self._batch(0).gradient(None, own)
        w = torch.nn.Parameter(start / start.norm())
        adam = torch.optim.Adam([w], lr=self._descent.rate / len(start) ** 0.5)
        base = self._held_out(None, own)
        best, curve = w.detach().clone(), [(0, self._held_out(length * w.detach(), own) - base)]
        for step in range(1, steps + 1):
            w.grad = -length * self._batch(step - 1).gradient(length * w.detach(), own)
            adam.step()
            with torch.no_grad():
                w.div_(w.norm())
            if step % self._descent.every and step < steps:
                continue
            found = self._held_out(length * w.detach(), own) - base
            if found > max(value for _, value in curve):
                best = w.detach().clone()
            curve.append((step, found))
            values = [value for _, value in curve]
            if len(values) - 1 - int(np.argmax(values)) >= self._descent.patience:
                break
        table = pd.DataFrame(curve, columns=["step", "held_out"])
        chosen = np.arange(len(table)) == int(table["held_out"].to_numpy().argmax())
        return TrainedShift(best.cpu().numpy(), table.assign(chosen=chosen))

    def _batch(self, step: int) -> _Batch:
        """The rows of a step; all of them in turn."""
        return self._prepared("rows", step % len(self._groups), self._groups)

    def _held_out(self, delta: Tensor | None, own: int) -> float:
        """The contrast's mean over the held-out rows."""
        with torch.no_grad():
            batches = [self._prepared("held_out", number, self._looks) for number in range(len(self._looks))]
            return float(torch.cat([batch.contrasts(delta, own) for batch in batches]).mean())

    def _prepared(self, what: str, number: int, groups: Sequence[Sequence[ContrastRow]]) -> _Batch:
        if (what, number) not in self._made:
            self._made[what, number] = _Batch.of(self._lm, self._layer, groups[number], self._descent)
        return self._made[what, number]


@dataclass(frozen=True)
class _Batch:
    """Rows up to the layer, and how much of w each of their tokens gets.

    Attributes:
        hidden: the layer's input `[token, d_model]`, unpatched.
        factors: `[token, 1]`.
    """

    packed: PackedPass
    layer: int
    hidden: Tensor
    factors: Tensor

    @classmethod
    def of(cls, lm: LanguageModel, layer: int, rows: Sequence[ContrastRow], descent: Descent) -> _Batch:
        contexts = encode(lm, [row.prompt for row in rows], name="prompts")
        followed = [[text.ids for text in continuations(lm, row.texts)] for row in rows]
        for context, texts in zip(contexts, followed, strict=True):
            check_length(lm, len(context), max(map(len, texts)), "a text of the rows")
        packed = PackedPass(lm, PackedRows(contexts, followed))
        with torch.no_grad():
            hidden = packed.start()
            for number in range(layer):
                hidden = packed.after_heads(number, hidden, packed.heads_of(number, hidden))
        factors = _factors(packed, descent)
        return cls(packed, layer, hidden, torch.from_numpy(factors[:, None]).to(hidden))

    def contrasts(self, delta: Tensor | None, own: int) -> Tensor:
        """Mean token log-probability of every row's own text minus the mean of its others', `[row]`."""
        hidden = self.hidden if delta is None else self.hidden + self.factors * delta.to(self.hidden)
        found = self.packed.logprobs(self.packed.through(self.layer, hidden))
        n_others = found.shape[1] - 1
        return found[:, own] * (1 + 1 / n_others) - found.sum(dim=1) / n_others

    def gradient(self, delta: Tensor | None, own: int) -> Tensor:
        """The derivative of the mean contrast by what is added, `[d_model]`, float32."""
        with torch.enable_grad():
            given = torch.zeros_like(self.hidden[0], dtype=torch.float32) if delta is None else delta.detach()
            leaf = given.clone().requires_grad_()
            (found,) = torch.autograd.grad(self.contrasts(leaf, own).mean(), leaf)
        if not bool(found.isfinite().all()) or not bool(found.any()):
            raise UserError(
                f"expected a finite gradient above zero at layer {self.layer}, got none; use another layer or dtype"
            )
        return found


def _factors(packed: PackedPass, descent: Descent) -> Float[np.ndarray, " token"]:
    """What a `Steer` with this window and schedule adds where, in units of its vector."""
    tokens = packed.tokens
    by_step = schedule_factors(descent.schedule, None, int(tokens.after.max()) + 2)
    lengths = np.array([len(context) for context in packed.rows.contexts])[tokens.row]
    reached = (tokens.after >= -descent.window) & ((tokens.place > 0) | (lengths == 1))
    return np.where(reached, by_step[np.maximum(tokens.after + 1, 0)], 0.0).astype(np.float32)

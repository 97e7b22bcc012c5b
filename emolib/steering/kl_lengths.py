"""The unit `kl`: how long a layer's emotion vectors must be to change the next token by a given amount.

Along one direction the mean KL(unpatched ‖ patched) of next-token distributions grows about as the square of what is
added, so a few secant steps in logarithms find the length at which it is `KL_NAT`. The unit of a layer is the geometric
mean over the emotions: one length for all of them, so that control directions of the same norm stand for all of them.
An alpha of 1 then does about as much to the next token in every layer of every model, which no norm of the stream can
say (`benchmarks/strength_units.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.base.signatures import told
from emolib.directions.vectors import EmotionVectors
from emolib.interventions import Steer
from emolib.interventions.schedules import Schedule
from emolib.models.language_model import LanguageModel, checked_model
from emolib.steering.damage import next_token_kl

KL_NAT = 0.1  # mean KL that makes the length 1
TOLERANCE = 0.05  # of the KL that is reached, relative to the one wanted
MOST_STEPS = 12
SLOPES = (1.0, 4.0)  # of log KL over log length: 2 where it is small, less where it saturates
FARTHEST = 100.0  # first lengths; a direction that has not reached the KL there has none
FEWEST = 3  # tokens of a continuation


@told
def with_kl_lengths(
    lm: LanguageModel,
    vecs: EmotionVectors,
    layers: Sequence[int],
    prompts: Sequence[str],
    continuations: Sequence[Sequence[int]],
    *,
    window: int = 3,
    schedule: Schedule = "constant",
) -> tuple[EmotionVectors, pd.DataFrame]:
    """The same vectors with the unit `kl` at some layers, and how it came about.

    Args:
        layers: from 0 to n_layers, the final residual.
        prompts: neutral texts.
        continuations: per prompt token ids of an unpatched continuation, for example a `Generation`'s.
        window, schedule: those of the steers that the unit is for.

    Returns:
        The vectors, and a table with layer, emotion, length (in activation units; NaN where the KL is not reached),
        kl (mean over the prompts at that length) and unit (of the layer: the geometric mean of its lengths).

    Raises:
        UserError: vectors of another model, a layer out of range, prompts and continuations of different number, no
            prompt with a continuation, a layer at which no emotion's vector reaches the KL.

    >>> import emolib
    >>> lm, data = emolib.load_model("smollm2_135m", device="cpu"), emolib.load_dataset()
    >>> train = data[data["scenario"].isin(data["scenario"].unique()[:3])]
    >>> vecs = emolib.fit_emotion_vectors(emolib.extract_activations(lm, train, positions="mean"))
    >>> prompts = ["The train leaves at noon.", "The shop sells lamps and chairs."]
    >>> texts = [out.token_ids for out in emolib.generate(lm, prompts, max_new_tokens=6)]
    >>> vecs, table = emolib.with_kl_lengths(lm, vecs, [10, 20], prompts, texts)
    >>> bool((abs(table["kl"] - 0.1) < 0.006).all()), table["layer"].nunique()
    (True, 2)
    >>> act = emolib.Steer(10, vecs["anger"][10], 1.0, unit="kl")
    """
    checked_model(lm)
    arguments.instance("vecs", vecs, EmotionVectors, "fit_emotion_vectors")
    if (vecs.model, vecs.revision) != (lm.spec.name, lm.revision):
        raise UserError(f"expected vectors of {lm.spec.name} {lm.revision[:12]}, got {vecs.model} {vecs.revision[:12]}")
    if len(prompts) != len(continuations):
        raise UserError(
            f"expected a continuation per prompt, got {len(prompts)} prompts and {len(continuations)} continuations"
        )
    layers = list(dict.fromkeys(arguments.whole_numbers("layers", layers)))
    for layer in layers:
        arguments.whole_number("layers", layer, least=0, most=lm.n_layers)
    long = [i for i, tokens in enumerate(continuations) if len(tokens) >= FEWEST]
    if not long:
        raise UserError(
            f"expected prompts with continuations of at least {FEWEST} tokens, got none; give other prompts"
        )
    texts = [prompts[i] for i in long], [tuple(continuations[i]) for i in long]
    return with_lengths(vecs, _Search(lm, vecs, *texts, window, schedule).run(layers))


def with_lengths(vecs: EmotionVectors, table: pd.DataFrame) -> tuple[EmotionVectors, pd.DataFrame]:
    """Vectors with the unit of the table's layers, and the table with a column `unit`.

    Raises:
        UserError: a layer without any length.
    """
    units = np.full(vecs.n_layers + 1, np.nan)
    for layer, part in table.groupby("layer", sort=False):
        known = part["length"].dropna()
        if known.empty:
            raise UserError(
                f"no emotion's vector changes the next token by {KL_NAT:g} nat at layer {layer}, whatever its length; "
                "leave the layer out, or use unit=bulk"
            )
        units[int(layer)] = np.exp(np.log(known).mean())
    return replace(vecs, kl_lengths=units), table.assign(unit=units[table["layer"].to_numpy(int)])


@dataclass(frozen=True)
class _Search:
    """Secant steps for many layers and emotions at once: their rows share every pass."""

    lm: LanguageModel
    vecs: EmotionVectors
    prompts: Sequence[str]
    continuations: Sequence[tuple[int, ...]]
    window: int
    schedule: Schedule

    def run(self, layers: Sequence[int]) -> pd.DataFrame:
        places = [(layer, emotion) for layer in layers for emotion in self.vecs]
        start = np.array([self._first(layer) for layer, _ in places])
        lengths, values = start.copy(), np.full(len(places), np.nan)
        before = [(float("nan"), float("nan"))] * len(places)  # log length and log KL of the step before
        open_ = list(range(len(places)))
        for _ in range(MOST_STEPS):
            for i, value in zip(open_, self._kl([places[i] for i in open_], lengths[open_]), strict=True):
                values[i] = value
            open_ = [i for i in open_ if abs(values[i] / KL_NAT - 1) > TOLERANCE]
            for i in open_:
                here = (float(np.log(lengths[i])), float(np.log(max(values[i], 1e-12))))
                slope = (here[1] - before[i][1]) / (here[0] - before[i][0]) if here[0] != before[i][0] else np.nan
                slope = float(np.clip(slope, *SLOPES)) if np.isfinite(slope) else 2.0
                lengths[i] = np.exp(here[0] + (np.log(KL_NAT) - here[1]) / slope)
                before[i] = here
            open_ = [i for i in open_ if lengths[i] < FARTHEST * start[i]]
            if not open_:
                break
        reached = np.abs(values / KL_NAT - 1) <= TOLERANCE
        rows = [
            {"layer": layer, "emotion": emotion, "length": lengths[i] if reached[i] else np.nan, "kl": values[i]}
            for i, (layer, emotion) in enumerate(places)
        ]
        return pd.DataFrame(rows)

    def _first(self, layer: int) -> float:
        """Where the search begins: half a bulk norm; a tenth of the norm where that is not known or zero."""
        bulk = self.vecs.neutral_bulk_norms
        known = bulk is not None and bulk[layer] > 0
        return 0.5 * float(bulk[layer]) if known else 0.1 * float(self.vecs.neutral_norms[layer])

    def _kl(self, places: Sequence[tuple[int, str]], lengths: np.ndarray) -> np.ndarray:
        """Mean KL over the prompts, `[place]`."""
        acts = [
            Steer(
                layer,
                self.vecs[emotion][layer].direction,
                float(length),
                unit="vector",
                window=self.window,
                schedule=self.schedule,
            )
            for (layer, emotion), length in zip(places, lengths, strict=True)
            for _ in self.prompts
        ]
        count = len(places)
        values = np.asarray(next_token_kl(self.lm, [*self.prompts] * count, [*self.continuations] * count, acts))
        return values.reshape(count, len(self.prompts)).mean(axis=1)

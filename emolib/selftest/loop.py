"""One planted data set through the whole loop: fit, choose on validation, test against controls, claim."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from emolib.data.activations import Activations
from emolib.data.keywords import load_keywords
from emolib.directions.controls import FAMILIES, ControlSource
from emolib.directions.vectors import EmotionVectors, fit_emotion_vectors
from emolib.engine.extraction import extract_activations
from emolib.selftest.planted import Planted, plant, planted_scenarios, words
from emolib.selftest.planted.circuit import Cut
from emolib.selftest.planted.planting import Form
from emolib.steering.cells import Controls, SweepSettings
from emolib.steering.effects import specific_difference
from emolib.steering.operating_point import OperatingPoint, choose_operating_point
from emolib.steering.sweeps import residual_sweep
from emolib.steering.text_claims import claims_table

MEASURES = {emotion: [f"keywords/{emotion}"] for emotion in words.EMOTIONS}
LAYERS, ALPHAS = (1, 2, 3), (0.1, 0.2)  # layer 0 holds the same last token in every text, and no vector
N_SCENARIOS, N_CONTROLS, N_TOKENS = 120, 59, 9  # 72 / 24 / 24 scenarios; three describing words per text
TEMPERATURE = 1.2  # colder texts of a cut model hold so few emotion words that there is little to be wrong about
LEVEL = 0.05
Sweep = Callable[[str, Sequence[int], Sequence[float], int], pd.DataFrame]  # split, layers, alphas, n_controls
_DESCRIBING = frozenset((*words.PLAIN, *(word for found in words.EMOTIONAL.values() for word in found)))
_NOUNS = frozenset(noun for nouns in words.NOUNS.values() for noun in nouns)
_TURNS = (frozenset(words.LINKS), _DESCRIBING, _NOUNS)


@dataclass(frozen=True)
class Design:
    """What a data set is made of; see `emolib.selftest.planted.plant`.

    Attributes:
        model_seed: of the planted weights.
        data_seed: of scenarios, control directions and sampling.
    """

    form: Form
    model_seed: int
    data_seed: int
    effect: float = 1.0
    cut: Cut = False
    distractors: bool = True

    def plant(self) -> Planted:
        return plant(self.form, effect=self.effect, seed=self.model_seed, distractors=self.distractors, cut=self.cut)


@dataclass(frozen=True)
class Outcome:
    """What the loop says about a data set.

    Attributes:
        claims: `emolib.steering.text_claims.claims_table`, one row per emotion, with p_t (two-sided paired t test of
            the specific difference, 1 where it does not vary) and differences (one per test scenario).
        control_norms: per control family the mean ‖Δh‖/‖h‖ over that of the emotions' steers.
    """

    planted: Planted
    vectors: EmotionVectors
    point: OperatingPoint
    claims: pd.DataFrame
    control_norms: dict[str, float]


def count_words(texts: Sequence[str]) -> pd.DataFrame:
    """Emotion words per text, and whether it breaks the planted grammar (link, describing word, noun, in turn)."""
    table = pd.DataFrame([_counts(text) for text in texts], columns=[names[0] for names in MEASURES.values()])
    table["fluency/broken"] = [not _is_grammatical(text) for text in texts]
    return table


@lru_cache(maxsize=100_000)
def _counts(text: str) -> tuple[int, ...]:
    lists = load_keywords()
    return tuple(lists.count(text, emotion) for emotion in MEASURES)


def _is_grammatical(text: str) -> bool:
    return all(word in _TURNS[place % 3] for place, word in enumerate(text.split()))


def sweep_settings(seed: int) -> SweepSettings:
    """The unit is named: most dimensions of a planted stream hold next to nothing, which a bulk norm would follow."""
    return SweepSettings(
        unit="resid",
        max_new_tokens=N_TOKENS,
        temperature=TEMPERATURE,
        seed=seed,
        batch_size=512,
        backend=count_words,
    )


def neutral_prompts(data: pd.DataFrame, split: str) -> pd.DataFrame:
    return data[(data["split"] == split) & (data["emotion"] == "neutral")].reset_index(drop=True)


def run_loop(design: Design) -> Outcome:
    """One data set, from planted weights to claims."""
    planted = design.plant()
    vectors, sweep = fitted_sweep(design, planted, planted_scenarios(planted, N_SCENARIOS, design.data_seed))
    point, test = choose_and_test(sweep)
    return Outcome(planted, vectors, point, judged(test, design.data_seed), control_norms(test))


def fitted_sweep(design: Design, planted: Planted, data: pd.DataFrame) -> tuple[EmotionVectors, Sweep]:
    """Vectors of the training scenarios, and what steers a split's neutral prompts with them."""
    training = extract_activations(planted.lm, data[data["split"] == "train"], sites=("resid_pre",), batch_size=512)
    vectors = fit_emotion_vectors(training)

    def sweep(split: str, layers: Sequence[int], alphas: Sequence[float], n_controls: int) -> pd.DataFrame:
        source = control_source(planted, data, training, layers) if n_controls else None
        return residual_sweep(
            planted.lm,
            neutral_prompts(data, split),
            vectors,
            layers=layers,
            alphas=alphas,
            controls=Controls(n_controls, FAMILIES, source),
            settings=sweep_settings(design.data_seed),
        )

    return vectors, sweep


def choose_and_test(sweep: Sweep, n_controls: int = N_CONTROLS) -> tuple[OperatingPoint, pd.DataFrame]:
    """Chooses a layer and strength on validation rows, and sweeps the test rows there, with controls."""
    point = choose_operating_point(sweep("validation", LAYERS, ALPHAS, 0), MEASURES)
    return point, sweep("test", [point.layer], [point.alpha], n_controls)


def control_source(planted: Planted, data: pd.DataFrame, training: Activations, layers: Sequence[int]) -> ControlSource:
    """What control directions are drawn from: every token of neutral training texts but the first."""
    acts = extract_activations(
        planted.lm,
        neutral_prompts(data, "train"),
        sites=("resid_pre",),
        positions="all",
        layers=layers,
        batch_size=512,
    )
    later = np.ones(acts.offsets[-1], dtype=bool)
    later[acts.offsets[:-1]] = False
    return ControlSource({layer: acts.layer("resid_pre", layer)[later] for layer in layers}, training)


def judged(test: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The claims, each with the paired differences that it rests on and their t test."""
    claims = claims_table(test, MEASURES, families=FAMILIES, seed=seed)
    found: dict[str, list[Any]] = {"differences": [], "p_t": []}
    for values in specific_differences(test).values():
        found["differences"].append(values)
        found["p_t"].append(float(stats.ttest_1samp(values, 0).pvalue) if values.std() > 0 else 1.0)
    return claims.assign(**found)


def specific_differences(test: pd.DataFrame) -> dict[str, Float[np.ndarray, " scenario"]]:
    """Per emotion what a claim tests: its words under its own vector minus their mean under the others'."""
    steered = test[test["kind"] == "emotion"]
    return {
        emotion: specific_difference(steered, emotion, metric, list(MEASURES)).to_numpy()
        for emotion, (metric,) in MEASURES.items()
    }


def control_norms(test: pd.DataFrame) -> dict[str, float]:
    """Per family how large its steers were in the residual stream, over the emotions' own."""
    sizes = test.groupby("kind")["delta_ratio"].mean()
    return {family: float(sizes[family] / sizes["emotion"]) for family in FAMILIES}

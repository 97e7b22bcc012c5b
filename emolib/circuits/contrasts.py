"""What heads are held against: the effect of an emotional context on m, and the effect of a steer on S.

Both are one form, a difference of differences of mean token log-probabilities of texts t after a prompt:

    effect = [lp(t₊ | with) − lp(t₋ | with)] − [lp(t₊ | without) − lp(t₋ | without)]

(A) `with` is an emotional text as the context, `without` the neutral text of the same scenario, t₊ the emotion's text
of another scenario, t₋ that one's neutral text: what the context does to m. With another label in place of neutral on
both sides it is specific to the emotion. (B) `with` and `without` are a neutral prompt under the steers of two
emotions, t₊ and t₋ their texts: S. A head's share is what its ablation, on both sides alike, takes from the effect.
m after a neutral prompt alone, where ablation finds general language heads, is never looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.engine.continuation_tokens import continuations
from emolib.engine.packed_ablation import Sources
from emolib.engine.packed_pass import PackedPass, PackedRows
from emolib.interventions import Intervention
from emolib.models.language_model import LanguageModel
from emolib.models.limits import check_length
from emolib.models.tokens import encode
from emolib.steering.gold import texts_by_label
from emolib.steering.shift_tables import check_columns
from emolib.steering.third_scenarios import Wording, third_scenarios

CONTEXT, STEER, TOPIC = "context", "steer", "topic"  # (A), (B), and a context that feels nothing
UNIT = ["scenario", "emotion", "other"]
COLUMNS = [
    *UNIT,
    "effect",
    "style",
    "topic",
    "third",
    "prompt_with",
    "prompt_without",
    "text_with",
    "text_without",
    "source_prompt",
    "source_text",
]
SIDES = ("with", "without")
WEIGHTS = np.array([[1.0, -1.0], [-1.0, 1.0]])  # [side, text]
UNITS_AT_ONCE = 4


def context_contrasts(
    data: pd.DataFrame,
    emotions: Sequence[str],
    scenarios: Sequence[str],
    *,
    others: Collection[str] = (),
    pool: Collection[str] | None = None,
    neutral: str = "neutral",
    seed: int = 0,
) -> pd.DataFrame:
    """(A): per scenario and emotion its texts after the emotion's and the reference's text of a third scenario.

    Args:
        data: columns scenario, topic, emotion, style, text.
        emotions: labels whose contexts are looked at.
        scenarios: of the continuations, the unit of analysis.
        others: further references beside neutral: labels that take its place on both sides (for what is specific).
        pool: scenarios of the contexts and sources, of the same split; None takes `scenarios`.
        seed: of the choice of the third scenarios and sources.

    Returns:
        `COLUMNS`, a row per unit (scenario, emotion, other); scenarios for which the pool has no third one that shares
        no wording are left out. A source (what a resampled head takes) is the neutral text of one other scenario, and
        behind it that of a second.

    Raises:
        UserError: missing columns or texts, fewer than three scenarios in the pool.

    >>> from emolib import load_dataset
    >>> data = load_dataset().query("split == 'validation'")
    >>> names = sorted(data["scenario"].unique())
    >>> table = context_contrasts(data, ["gratitude", "anger"], names[:2], others=["anger"], pool=names)
    >>> table[["emotion", "other"]].drop_duplicates().values.tolist()
    [['gratitude', 'neutral'], ['gratitude', 'anger'], ['anger', 'neutral']]
    """
    check_columns(data, ["scenario", "topic", "emotion", "style", "text"], "data")
    emotions, scenarios = arguments.texts(emotions, "emotions"), arguments.texts(scenarios, "scenarios")
    names = sorted(scenarios if pool is None else pool)
    sources = _sources(scenarios, names, seed)
    cells = pd.DataFrame({"prompt": [sources[name][0] for name in scenarios], "text": scenarios})
    labels = [*dict.fromkeys([*emotions, *others])]
    chosen = third_scenarios(cells, data, labels, pool=names, neutral=neutral, seed=seed).cells
    text_of, topics = texts_by_label(data), data.drop_duplicates("scenario").set_index("scenario")["topic"]
    rows = []
    for name, third, style in zip(chosen["text"], chosen["third"], chosen["style"], strict=True):
        first, second = sources[name]
        for emotion in emotions:
            for other in (neutral, *(label for label in others if label != emotion)):
                rows.append(
                    {
                        **{"scenario": name, "emotion": emotion, "other": other, "effect": CONTEXT, "style": style},
                        **{"topic": topics[name], "third": third},
                        "prompt_with": text_of[third, emotion],
                        "prompt_without": text_of[third, other],
                        "text_with": text_of[name, emotion],
                        "text_without": text_of[name, other],
                        "source_prompt": text_of[first, neutral],
                        "source_text": text_of[second, neutral],
                    }
                )
    return pd.DataFrame(rows, columns=COLUMNS)


def steer_contrasts(
    data: pd.DataFrame,
    emotions: Sequence[str],
    scenarios: Sequence[str],
    *,
    pool: Collection[str] | None = None,
    neutral: str = "neutral",
    seed: int = 0,
) -> pd.DataFrame:
    """(B): per scenario and pair of emotions both texts after a neutral prompt of another scenario, under both steers.

    S is the same for a pair and its reverse, so every pair stands once.

    Args, Returns, Raises: as `context_contrasts`; `emotion` names the act of the side `with`, `other` the other's.
    """
    check_columns(data, ["scenario", "topic", "emotion", "style", "text"], "data")
    emotions, scenarios = arguments.texts(emotions, "emotions"), arguments.texts(scenarios, "scenarios")
    if len(emotions) < 2:
        raise UserError(f"expected at least two emotions, S compares their steers; got {len(emotions)}")
    names = sorted(scenarios if pool is None else pool)
    sources, text_of = _sources(scenarios, names, seed), texts_by_label(data)
    known = data.drop_duplicates("scenario").set_index("scenario")
    pairs = [pair for pair in permutations(emotions, 2) if emotions.index(pair[0]) < emotions.index(pair[1])]
    rows = []
    for name in scenarios:
        first, second = sources[name]
        before = text_of[_another(name, (first, second), names, seed), neutral]
        for emotion, other in pairs:
            rows.append(
                {
                    **{"scenario": name, "emotion": emotion, "other": other, "effect": STEER, "third": ""},
                    **{column: str(known.loc[name, column]) for column in ("style", "topic")},
                    **{"prompt_with": before, "prompt_without": before},
                    "text_with": text_of[name, emotion],
                    "text_without": text_of[name, other],
                    "source_prompt": text_of[first, neutral],
                    "source_text": text_of[second, neutral],
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def topic_contrasts(
    data: pd.DataFrame, scenarios: Sequence[str], *, pool: Collection[str], neutral: str = "neutral", seed: int = 0
) -> pd.DataFrame:
    """The same form for topics: neutral texts of a scenario and of one of another topic, after neutral ones of either.

    What a head does for these is language or topic, not emotion.

    Args, Returns, Raises: as `context_contrasts`; `emotion` and `other` are `topic`. Scenarios for whose topic the pool
    has no other scenario that shares no wording are left out.
    """
    check_columns(data, ["scenario", "topic", "emotion", "style", "text"], "data")
    names, text_of = sorted(pool), texts_by_label(data)
    sources = _sources(scenarios, names, seed)
    known = data.drop_duplicates("scenario").set_index("scenario")
    order = [names[place] for place in np.random.default_rng([seed, 3]).permutation(len(names))]
    wording = {name: Wording.of([text_of[name, neutral]]) for name in {*order, *scenarios}}

    def context(topic: str, apart: Collection[str]) -> str | None:
        held = [wording[name] for name in apart]
        fitting = (
            name
            for name in order
            if known.loc[name, "topic"] == topic and name not in apart and not any(wording[name].meets(w) for w in held)
        )
        return next(fitting, None)

    rows = []
    for name in scenarios:
        topic = known.loc[name, "topic"]
        against = next((one for one in order if known.loc[one, "topic"] != topic and one != name), None)
        if against is None:
            continue
        own, other = (context(str(known.loc[one, "topic"]), (name, against)) for one in (name, against))
        if own is None or other is None:
            continue
        first, second = sources[name]
        rows.append(
            {
                **{"scenario": name, "emotion": TOPIC, "other": TOPIC, "effect": TOPIC, "third": own},
                **{column: str(known.loc[name, column]) for column in ("style", "topic")},
                **{"prompt_with": text_of[own, neutral], "prompt_without": text_of[other, neutral]},
                **{"text_with": text_of[name, neutral], "text_without": text_of[against, neutral]},
                **{"source_prompt": text_of[first, neutral], "source_text": text_of[second, neutral]},
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _sources(scenarios: Sequence[str], pool: Sequence[str], seed: int) -> dict[str, tuple[str, str]]:
    """Per scenario two others."""
    if len(set(pool)) < 3:
        raise UserError(f"expected a pool of at least three scenarios, got {len(set(pool))}")
    order = [pool[place] for place in np.random.default_rng([seed, 1]).permutation(len(pool))]
    found = {}
    for number, name in enumerate(scenarios):
        others = [one for one in order if one != name]
        found[name] = (others[number % len(others)], others[(number + 1) % len(others)])
    return found


def _another(name: str, taken: Collection[str], pool: Sequence[str], seed: int) -> str:
    """A scenario that is neither the text's nor, where there are enough, the source's."""
    order = [pool[place] for place in np.random.default_rng([seed, 2]).permutation(len(pool))]
    free = [one for one in order if one != name and one not in taken]
    return (free or [one for one in order if one != name])[pool.index(name) % max(len(free), 1) if name in pool else 0]


@dataclass(frozen=True)
class PackedContrasts:
    """Some contrasts as the engine runs them: two rows (`with`, `without`) of two texts each.

    Attributes:
        packed: the rows.
        sources: of resampled heads: other scenarios' neutral texts.
        own: of heads that keep what they had on the side `without`.
        weights: `[row, text]`, of the effect.
        unit_of_row: the contrast that each row is of.
    """

    packed: PackedPass
    sources: Sources
    own: Sources
    weights: np.ndarray
    unit_of_row: tuple[int, ...]

    @property
    def n_units(self) -> int:
        """Contrasts."""
        return len(self.unit_of_row) // 2

    def effects(self, logprobs: np.ndarray) -> np.ndarray:
        """`[…, row, text]` → `[…, unit]`."""
        weighted = (logprobs * self.weights).sum(-1)
        found: np.ndarray = weighted.reshape(*weighted.shape[:-1], -1, 2).sum(-1)
        return found


def pack(
    lm: LanguageModel,
    table: pd.DataFrame,
    acts: Mapping[str, Intervention] | None = None,
    *,
    weights: np.ndarray = WEIGHTS,
) -> PackedContrasts:
    """Contrasts as packed rows.

    Args:
        table: `COLUMNS`, few enough for one batch; where it has a column `most_tokens`, so many of each text's tokens
            that count are read at most.
        acts: for (B), by emotion what acts on the residual stream of a side.
        weights: `[side, text]`.

    Raises:
        UserError: texts that the model cannot take, an emotion without an act.
    """
    check_columns(table, COLUMNS, "the contrasts")
    prompts = [text for pair in zip(*(table[f"prompt_{side}"] for side in SIDES), strict=True) for text in pair]
    texts = [text for pair in zip(*(table[f"text_{side}"] for side in SIDES), strict=True) for text in pair]
    given: list[Intervention] = []
    if acts is not None:
        names = [name for pair in zip(table["emotion"], table["other"], strict=True) for name in pair]
        missing = sorted(set(names) - set(acts))
        if missing:
            raise UserError(f"expected an act for every emotion of the contrasts, there is none for {missing[0]}")
        given = [acts[name] for name in names]
    contexts, followed = encode(lm, prompts, name="prompts"), [text.ids for text in continuations(lm, texts)]
    if "most_tokens" in table:
        followed = [
            ids[: 1 + int(most)] for ids, most in zip(followed, np.repeat(table["most_tokens"], 2), strict=True)
        ]
    for place, context in enumerate(contexts):
        longest = max(len(text) for text in followed[place // 2 * 2 : place // 2 * 2 + 2])
        check_length(lm, len(context), longest, f"text {place} of the contrasts")
    units = tuple(np.repeat(np.arange(len(table)), 2).tolist())
    rows = PackedRows(contexts, [followed[2 * unit : 2 * unit + 2] for unit in units], given)
    distinct = list(dict.fromkeys(zip(table["source_prompt"], table["source_text"], strict=True)))
    of_unit = [distinct.index(pair) for pair in zip(table["source_prompt"], table["source_text"], strict=True)]
    before, after = zip(*distinct, strict=True)
    neutral = PackedRows(encode(lm, before), [[text.ids] for text in continuations(lm, after)])
    return PackedContrasts(
        PackedPass(lm, rows),
        Sources(neutral, [of_unit[unit] for unit in units]),
        Sources(rows, [2 * unit + 1 for unit in units], same_text=True),
        np.tile(weights, (len(table), 1)),
        units,
    )


def batches(table: pd.DataFrame, units_at_once: int = UNITS_AT_ONCE) -> list[np.ndarray]:
    """Places of the contrasts that run together."""
    return [np.arange(start, min(start + units_at_once, len(table))) for start in range(0, len(table), units_at_once)]

"""What may be said of a head that was chosen on validation: supported, not supported, underpowered, not measurable.

A head is said to carry an emotion's context only where the effect that it is said to carry is there (the instrument),
where its ablation takes some of the effects of all emotions on test scenarios beyond the largest of all heads under
sign flips, where it takes some of this emotion's (corrected for the heads that were chosen), where it does so against
every other label, too, where it takes more of it than of a topic's effect, and more than a random head of its layer
that changes the stream as much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from emolib.circuits.screening import LEVEL, Exact, Head
from emolib.statistics.corrections import holm
from emolib.statistics.sign_flips import sign_flip_test
from emolib.steering.claims import GOLD_SHARE, NOT_MEASURABLE
from emolib.steering.findings import NOT_SUPPORTED, SUPPORTED, UNDERPOWERED

HEAD_VERDICTS = (SUPPORTED, NOT_SUPPORTED, UNDERPOWERED, NOT_MEASURABLE)
HEAD_REASONS = (
    *("no_effect", "small_effect", "not_confirmed", "not_against_labels", "not_beyond_topics", "not_beyond_control"),
    "all_hold",
)
VERDICT_COLUMNS = [
    *("layer", "head", "emotion", "n_scenarios", "base", "base_p", "carried", "low", "high", "part", "part_high"),
    *("p_max", "p_holm", "weakest_label", "label_carried", "label_p", "topic_share", "topic_p"),
    *("control", "control_carried", "control_p", "verdict", "reason"),
]


@dataclass(frozen=True)
class HeadEvidence:
    """Exact ablations on scenarios on which no head was chosen.

    Attributes:
        test: chosen heads and controls under emotions' contexts against neutral.
        against_labels: the chosen heads under contexts of pairs of labels, on the same scenarios; those count that the
            emotion is one of.
        topics: the chosen heads under topics' contexts; None leaves nothing to tell a head from one of language: no
            head is then supported.
        controls: of every chosen head a random one of its layer and norm; a head without one is not supported.
    """

    test: Exact
    against_labels: Exact
    topics: Exact | None
    controls: Mapping[Head, Head]


def head_verdicts(
    chosen: Mapping[Head, float],
    emotion: str,
    evidence: HeadEvidence,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """The verdict on every chosen head for one emotion.

    Args:
        chosen: heads, selected on other scenarios, and of each the p of all emotions' effects, corrected for all heads.
        evidence: of these heads.

    Returns:
        `VERDICT_COLUMNS`, a row per head. `carried` is what ablation takes, in nat per token (above 0: the head carries
        some of the effect), with its 95 % t interval over scenarios; `part` of the base effect, `part_high` the upper
        limit's; `p_max` as given; `p_holm` of this emotion's (two-sided sign flips, Holm over the
        chosen heads); `label_carried` and `label_p` (one-sided sign flips) of the
        weakest other label; `topic_share` of the topics' effect and `topic_p` (Welch, one-sided, of the two shares);
        `control` (its number, -1 for none), `control_carried` and `control_p` (one-sided sign flips of the difference).

    Raises:
        UserError: a head without its ablations.
    """
    test, label_units = evidence.test, evidence.against_labels
    base = test.units[test.units["emotion"] == emotion].groupby("scenario")["base"].mean().to_numpy()
    known = sign_flip_test(base[:, None], seed=seed).iloc[0]
    there, whole = known["mean"] > 0 and known["p"] <= LEVEL, known["mean"] or np.nan
    carried = -test.by_scenario(emotion)
    columns = [carried[test.place(head)].to_numpy() for head in chosen]
    corrected = holm(sign_flip_test(np.column_stack(columns), seed=seed)["p"].to_numpy())
    rows = []
    for (head, p_max), values, p_holm in zip(chosen.items(), columns, corrected, strict=True):
        mean, reach = values.mean(), _reach(values)
        label, label_carried, label_p = _weakest_label(label_units, head, emotion, seed)
        topic_share, topic_p = _beyond_topics(evidence.topics, head, values / whole)
        row = {
            **{"layer": head[0], "head": head[1], "emotion": emotion, "n_scenarios": len(values)},
            **{"base": known["mean"], "base_p": known["p"], "carried": mean, "low": mean - reach, "high": mean + reach},
            **{"part": mean / whole, "part_high": (mean + reach) / whole},
            **{"p_max": p_max, "p_holm": p_holm, "weakest_label": label},
            **{"label_carried": label_carried, "label_p": label_p, "topic_share": topic_share, "topic_p": topic_p},
            **_beyond_control(evidence, head, carried, seed),
        }
        verdict, reason = _verdict(row, there=bool(there))
        rows.append({**row, "verdict": verdict, "reason": reason})
    return pd.DataFrame(rows, columns=VERDICT_COLUMNS)


def _verdict(row: Mapping[str, Any], *, there: bool) -> tuple[str, str]:
    if not there:
        return NOT_MEASURABLE, "no_effect"
    confirmed = row["carried"] > 0 and max(row["p_max"], row["p_holm"]) <= LEVEL
    if row["part_high"] < GOLD_SHARE and not confirmed:
        return NOT_SUPPORTED, "small_effect"
    if not confirmed:
        return UNDERPOWERED, "not_confirmed"
    if not (row["label_carried"] > 0 and row["label_p"] <= LEVEL):
        return UNDERPOWERED, "not_against_labels"
    if not row["topic_p"] <= LEVEL:
        return UNDERPOWERED, "not_beyond_topics"
    if not row["control_p"] <= LEVEL:
        return UNDERPOWERED, "not_beyond_control"
    return SUPPORTED, "all_hold"


def _reach(values: np.ndarray) -> float:
    """Half the width of the 95 % t interval of the mean."""
    n = len(values)
    return float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))


def _one_sided(test: pd.Series) -> float:
    """Of a two-sided sign flip test, that the mean lies above 0."""
    return float(test["p"] / 2 if test["mean"] > 0 else 1 - test["p"] / 2)


def _weakest_label(against: Exact, head: Head, emotion: str, seed: int) -> tuple[str, float, float]:
    """The other label against which the head carries least, by p, with the mean and the one-sided p."""
    units = against.units  # a pair is the same whichever of the two stands first
    paired = units["other"].where(units["emotion"] == emotion, units["emotion"].where(units["other"] == emotion))
    found = []
    for other in dict.fromkeys(paired.dropna()):
        mine = pd.Series(-against.changes[:, against.place(head)])[(paired == other).to_numpy()]
        values = mine.groupby(units.loc[(paired == other).to_numpy(), "scenario"].to_numpy()).mean().to_numpy()
        test = sign_flip_test(values[:, None], seed=seed).iloc[0]
        found.append((_one_sided(test), other, test["mean"]))
    if not found:
        return "", float("nan"), float("nan")
    p, other, mean = max(found)
    return other, float(mean), float(p)


def _beyond_topics(topics: Exact | None, head: Head, shares: np.ndarray) -> tuple[float, float]:
    """The share of the topics' effect that the head carries, and the p of its share of the emotion's being larger."""
    if topics is None:
        return float("nan"), float("nan")
    base = topics.units["base"].mean()
    own = -topics.by_scenario()[topics.place(head)].to_numpy() / base if base > 0 else np.zeros(len(topics.units))
    test = stats.ttest_ind(shares, own, equal_var=False, alternative="greater")
    return float(own.mean()), float(test.pvalue)


def _beyond_control(evidence: HeadEvidence, head: Head, carried: pd.DataFrame, seed: int) -> dict[str, Any]:
    """What the head's control carries of the same effect, and the p of the head's carrying more."""
    if head not in evidence.controls:
        return {"control": -1, "control_carried": float("nan"), "control_p": float("nan")}
    other = evidence.controls[head]
    own, beside = (carried[evidence.test.place(one)].to_numpy() for one in (head, other))
    test = sign_flip_test((own - beside)[:, None], seed=seed).iloc[0]
    return {"control": other[1], "control_carried": float(beside.mean()), "control_p": _one_sided(test)}

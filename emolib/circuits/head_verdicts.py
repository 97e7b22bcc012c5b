"""What may be said of a head that was chosen on validation: supported, not supported, underpowered, not measurable.

A head is said to carry an emotion's context only where the effect that it is said to carry is there (the instrument),
where its ablation takes some of the effects of all emotions on test scenarios beyond the largest of all heads under
sign flips, where it takes some of this emotion's (corrected for the heads that were chosen), where it does so against
every other label, too, and where it takes more of it than of a topic's effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from emolib.base.errors import UserError
from emolib.circuits.screening import Exact, Head
from emolib.statistics.corrections import holm
from emolib.statistics.sign_flips import sign_flip_test
from emolib.steering.claims import GOLD_SHARE, NOT_MEASURABLE
from emolib.steering.findings import NOT_SUPPORTED, SUPPORTED, UNDERPOWERED

HEAD_VERDICTS = (SUPPORTED, NOT_SUPPORTED, UNDERPOWERED, NOT_MEASURABLE)
HEAD_REASONS = ("no_effect", "small_effect", "not_confirmed", "not_against_labels", "not_beyond_topics", "all_hold")
LEVEL = 0.05
VERDICT_COLUMNS = [
    *("layer", "head", "emotion", "n_scenarios", "base", "base_p", "carried", "low", "high", "part", "part_high"),
    *("p_max", "p_holm", "weakest_label", "label_carried", "label_p", "topic_share", "topic_p", "verdict", "reason"),
]


def head_verdicts(
    chosen: Mapping[Head, float],
    emotion: str,
    test: Exact,
    against_labels: Exact,
    topics: Exact | None,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """The verdict on every chosen head for one emotion.

    Args:
        chosen: heads, selected on other scenarios, and of each the p of all emotions' effects, corrected for all heads.
        test: these heads under the emotion's contexts against neutral, on test scenarios.
        against_labels: the chosen heads under contexts of pairs of labels, on the same scenarios; those count that the
            emotion is one of.
        topics: the chosen heads under topics' contexts; None leaves nothing to tell a head from one of language: no
            head is then supported.

    Returns:
        `VERDICT_COLUMNS`, a row per head. `carried` is what ablation takes, in nat per token (above 0: the head carries
        some of the effect), with its 95 % t interval over scenarios; `part` of the base effect, `part_high` the upper
        limit's; `p_max` as given; `p_holm` of this emotion's (two-sided sign flips, Holm over the
        chosen heads); `label_carried` and `label_p` (one-sided sign flips) of the
        weakest other label; `topic_share` of the topics' effect and `topic_p` (Welch, one-sided, of the two shares).

    Raises:
        UserError: a head without its ablations.
    """
    base = test.units[test.units["emotion"] == emotion].groupby("scenario")["base"].mean().to_numpy()
    known = sign_flip_test(base[:, None], seed=seed).iloc[0]
    there = known["mean"] > 0 and known["p"] <= LEVEL
    columns = [test.by_scenario(emotion)[_place(test, head)].to_numpy() for head in chosen]
    corrected = holm(sign_flip_test(np.column_stack(columns), seed=seed)["p"].to_numpy())
    rows = []
    for (head, p_max), p_holm in zip(chosen.items(), corrected, strict=True):
        values = -test.by_scenario(emotion)[_place(test, head)].to_numpy()
        mean, reach = values.mean(), _reach(values)
        shares = values / known["mean"] if known["mean"] else values * np.nan
        label, label_carried, label_p = _weakest_label(against_labels, head, emotion, seed)
        topic_share, topic_p = _beyond_topics(topics, head, shares)
        row = {
            **{"layer": head[0], "head": head[1], "emotion": emotion, "n_scenarios": len(values)},
            **{"base": known["mean"], "base_p": known["p"], "carried": mean, "low": mean - reach, "high": mean + reach},
            **{"part": shares.mean(), "part_high": (mean + reach) / known["mean"] if known["mean"] else np.nan},
            **{"p_max": p_max, "p_holm": p_holm, "weakest_label": label},
            **{"label_carried": label_carried, "label_p": label_p, "topic_share": topic_share, "topic_p": topic_p},
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
    return SUPPORTED, "all_hold"


def _place(exact: Exact, head: Head) -> int:
    if (tuple(head),) not in exact.variants:
        raise UserError(f"expected the ablation of head {head[0]}:{head[1]}, there is none")
    return exact.variants.index((tuple(head),))


def _reach(values: np.ndarray) -> float:
    """Half the width of the 95 % t interval of the mean."""
    n = len(values)
    return float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))


def _weakest_label(against: Exact, head: Head, emotion: str, seed: int) -> tuple[str, float, float]:
    """The other label against which the head carries least, by p, with the mean and the one-sided p."""
    units = against.units  # a pair is the same whichever of the two stands first
    paired = units["other"].where(units["emotion"] == emotion, units["emotion"].where(units["other"] == emotion))
    found = []
    for other in dict.fromkeys(paired.dropna()):
        mine = pd.Series(-against.changes[:, _place(against, head)])[(paired == other).to_numpy()]
        values = mine.groupby(units.loc[(paired == other).to_numpy(), "scenario"].to_numpy()).mean().to_numpy()
        test = sign_flip_test(values[:, None], seed=seed).iloc[0]
        found.append((test["p"] / 2 if test["mean"] > 0 else 1 - test["p"] / 2, other, test["mean"]))
    if not found:
        return "", float("nan"), float("nan")
    p, other, mean = max(found)
    return other, float(mean), float(p)


def _beyond_topics(topics: Exact | None, head: Head, shares: np.ndarray) -> tuple[float, float]:
    """The share of the topics' effect that the head carries, and the p of its share of the emotion's being larger."""
    if topics is None:
        return float("nan"), float("nan")
    base = topics.units["base"].mean()
    own = -topics.by_scenario()[_place(topics, head)].to_numpy() / base if base > 0 else np.zeros(len(topics.units))
    test = stats.ttest_ind(shares, own, equal_var=False, alternative="greater")
    return float(own.mean()), float(test.pvalue)

"""What a sweep says: changes, specificity, strengths, ranks beside the controls, and examples picked by rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from emolib.directions.controls import FAMILIES
from emolib.scoring import goemotions
from emolib.scoring.measures import agreement, expressed_columns, measures
from emolib.statistics import intervals
from emolib.steering.effects import control_effects, effects, success, value_of

NO_EMOTION = ("valence", "politeness/score")


def baseline_broken(sweep: pd.DataFrame) -> float:
    """Share of broken texts among the unpatched ones."""
    return float(sweep.loc[sweep["kind"] == "baseline", "fluency/broken"].mean())


def metrics(sweep: pd.DataFrame, emotions: Sequence[str]) -> list[str]:
    """The measures of every emotion, family by family, whether the writer expresses them, then what is no emotion:
    valence and politeness."""
    names = [name for one in measures(sweep, emotions).values() for name in one]
    ordered = sorted(names, key=lambda name: name.startswith("target/"))
    return [*ordered, *expressed_columns(sweep, emotions), *NO_EMOTION]


def label_changes(sweep: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """Mean change of all 28 GoEmotions probabilities under every emotion's vector, `[steered, label]`."""
    rows = {
        emotion: {
            label: float(effects(sweep, "emotion", emotion, f"goemotions/{label}", counted=False).mean())
            for label in goemotions.LABELS
        }
        for emotion in emotions
    }
    return pd.DataFrame(rows).T.rename_axis("steered")


def scorer_agreement(sweep: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """How far the two GoEmotions models agree on the unpatched texts and those under the emotions' vectors."""
    return agreement(sweep[sweep["kind"].isin(["baseline", "emotion"])], emotions)


def specificity_matrix(sweep: pd.DataFrame, emotions: Sequence[str], *, counted: bool = True) -> pd.DataFrame:
    """Mean change of every metric under every emotion's vector, over test scenarios.

    Args:
        counted: broken texts count as no success (0 words, probability 0); False takes every text as it is.
    """
    rows = []
    for emotion in emotions:
        row: dict[str, Any] = {"steered": emotion}
        for metric in metrics(sweep, emotions):
            row[metric] = float(effects(sweep, "emotion", emotion, metric, counted=counted).mean())
        rows.append(row)
    return pd.DataFrame(rows).set_index("steered")


def family_ranks(claims: pd.DataFrame, cosines: pd.DataFrame) -> pd.DataFrame:
    """The rank p, the largest effect and the largest cosine of every family, one row per measure and family; with
    n_directions and effective (how many orthogonal ones they are worth)."""
    rows, known = [], cosines.set_index(["family", "emotion"])
    for row in claims.to_dict("records"):
        for family in FAMILIES:
            found = {
                "family": family,
                "own": row["own_effect"],
                "largest": row[f"max_{family}"],
                "p": row[f"p_{family}"],
                **known.loc[(family, row["emotion"])].to_dict(),
            }
            rows.append({"emotion": row["emotion"], "metric": row["metric"], **found})
    return pd.DataFrame(rows)


def prompt_effects(sweep: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """Every test scenario's effect under each emotion's own vector, words before probabilities.

    Returns:
        emotion, metric, scenario, effect (broken texts as 0), unfiltered (every text as it is).
    """
    parts = []
    pairs = [(emotion, name) for emotion, names in measures(sweep, emotions).items() for name in names]
    for emotion, metric in sorted(pairs, key=lambda pair: pair[1].startswith("target/")):
        counted, unfiltered = (effects(sweep, "emotion", emotion, metric, counted=c) for c in (True, False))
        table = pd.DataFrame({"effect": counted, "unfiltered": unfiltered}).reset_index()
        parts.append(table.assign(emotion=emotion, metric=metric))
    return pd.concat(parts, ignore_index=True)[["emotion", "metric", "scenario", "effect", "unfiltered"]]


def beside_controls(sweep: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """The effect of every control direction on every emotion's measures, beside that of the emotion's own vector.

    Returns:
        emotion, metric, family, own, control (one row per direction).
    """
    parts = []
    for emotion, names in measures(sweep, emotions).items():
        for metric in names:
            own = float(effects(sweep, "emotion", emotion, metric).mean())
            for family in FAMILIES:
                found = control_effects(sweep, emotion, metric, family=family).to_numpy()
                parts.append(
                    pd.DataFrame({"emotion": emotion, "metric": metric, "family": family, "own": own, "control": found})
                )
    return pd.concat(parts, ignore_index=True)


def unchanged_at_zero(sweep: pd.DataFrame) -> tuple[int, int]:
    """How many texts under a steer of strength 0 are those of the unpatched model, and of how many."""
    zero, base = (
        sweep[sweep["kind"] == kind].set_index(["scenario", "sample"])["text"] for kind in ("zero", "baseline")
    )
    both = zero.to_frame("zero").join(base.rename("baseline"), how="inner")
    return int((both["zero"] == both["baseline"]).sum()), len(both)


def broken_table(sweep: pd.DataFrame) -> pd.DataFrame:
    """Share of broken texts and mean fluency per kind and emotion at the operating point."""
    columns = {"fluency/broken": "broken", "fluency/nll": "nll", "fluency/repetition": "repetition"}
    keys = ["kind", "emotion", "layer"]
    table = sweep.groupby(keys, sort=False)[list(columns)].mean().rename(columns=columns)
    return table.assign(n=sweep.groupby(keys, sort=False).size()).reset_index()


def metric_changes(sweep: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """Baseline, patched and random means per emotion, for its own measures and what is no emotion; every text as it is.

    Standard errors are over scenarios, for the random directions over directions.
    """
    rows = []
    base = sweep[sweep["kind"] == "baseline"]
    random = sweep[sweep["kind"] == "isotropic"]
    for emotion in emotions:
        own = sweep[(sweep["kind"] == "emotion") & (sweep["emotion"] == emotion)]
        for metric in (*measures(sweep, emotions)[emotion], *expressed_columns(sweep, [emotion]), *NO_EMOTION):
            row: dict[str, Any] = {"emotion": emotion, "metric": metric}
            kinds = {"baseline": (base, "scenario"), "patched": (own, "scenario"), "random": (random, "index")}
            for name, (part, unit) in kinds.items():
                row[name], row[f"{name}_se"] = intervals.mean_and_se(part.groupby(unit)[metric].mean())
            rows.append(row)
    return pd.DataFrame(rows)


def examples(sweep: pd.DataFrame, emotions: Sequence[str], *, prompts: pd.Series) -> pd.DataFrame:
    """Best, median and worst text of every emotion by rule, and the first broken one, beside their baselines.

    Ordered by the effect on the emotion's first measure (broken counted as 0), then on the second, then by scenario:
    nothing is picked by hand.

    Args:
        prompts: what was continued, by scenario.

    Returns:
        emotion, rule (`best`, `median`, `worst`, `broken`), scenario, prompt, baseline and patched (texts), effect and
        shift (on the first and the second measure), broken.
    """
    rows = []
    for emotion, names in measures(sweep, emotions).items():
        for rule, row in _picked(sweep, emotion, names):
            found = {"emotion": emotion, "rule": rule, "scenario": row["scenario"], "prompt": prompts[row["scenario"]]}
            found |= {"baseline": row["baseline"], "patched": row["text"]}
            found |= {"effect": float(row["effect"]), "shift": float(row["shift"])}
            rows.append({**found, "broken": bool(row["fluency/broken"])})
    return pd.DataFrame(rows)


def _picked(sweep: pd.DataFrame, emotion: str, names: Sequence[str]) -> list[tuple[str, pd.Series]]:
    """Rules and the rows that they pick."""
    first, second = names[0], names[1] if len(names) > 1 else names[0]
    base = sweep[sweep["kind"] == "baseline"].set_index(["scenario", "sample"])
    own = sweep[(sweep["kind"] == "emotion") & (sweep["emotion"] == emotion)].set_index(["scenario", "sample"])
    found = {"effect": success(own, first) - success(base, first)}
    found["shift"] = success(own, second) - success(base, second)
    own = own.assign(**found, baseline=base["text"]).reset_index()
    ordered = own.sort_values(["effect", "shift", "scenario"], ascending=[False, False, True], kind="stable")
    picks = [("best", ordered.iloc[0]), ("median", ordered.iloc[len(ordered) // 2]), ("worst", ordered.iloc[-1])]
    broken = ordered[ordered["fluency/broken"]]
    return picks + ([("broken", broken.iloc[0])] if len(broken) else [])


def realised_norms(sweep: pd.DataFrame) -> pd.DataFrame:
    """‖Δh‖/‖h‖ at the patched prompt tokens, per kind: mean, least and most."""
    patched = sweep[sweep["delta_ratio"] > 0]
    return patched.groupby("kind", sort=False)["delta_ratio"].agg(["mean", "min", "max", "size"]).reset_index()


def doses(test: pd.DataFrame, dose: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """Own effect and broken share at every strength on test prompts, with standard errors over scenarios.

    In a cross-fitted design the chosen strength may differ between folds; rows are averaged by strength.

    Returns:
        emotion, metric, alpha, effect (words and probabilities with broken texts as 0) with se, unfiltered (every text
        as it is), broken.
    """
    base = test[test["kind"] == "baseline"]
    steered = pd.concat([test[test["kind"] == "emotion"], dose[dose["kind"] == "emotion"]], ignore_index=True)
    rows = []
    for emotion, names in measures(test, emotions).items():
        for metric in (*names, "valence"):
            own = pd.concat([steered[steered["emotion"] == emotion], base], ignore_index=True)
            for alpha, part in own.groupby("alpha"):
                counted, unfiltered = (_changes(part, base, metric, counted=c) for c in (True, False))
                mean, se = intervals.mean_and_se(counted)
                row = {"emotion": emotion, "metric": metric, "alpha": float(alpha), "effect": mean, "se": se}
                row |= {"unfiltered": float(unfiltered.mean()), "broken": float(part["fluency/broken"].mean())}
                rows.append(row)
    return pd.DataFrame(rows)


def _changes(part: pd.DataFrame, base: pd.DataFrame, metric: str, *, counted: bool) -> pd.Series:
    """Per scenario what the measure is in `part` minus what it is in `base`."""
    values, zero = (
        value_of(table, metric, counted=counted).groupby(table["scenario"]).mean() for table in (part, base)
    )
    return (values - zero).dropna()

"""What steering does beside its aim: the next-token distribution, and whether the text keeps to its topic."""

from __future__ import annotations

import pandas as pd

from emolib.base import store
from emolib.directions.controls import FAMILIES
from emolib.interventions import Intervention
from emolib.statistics import intervals
from emolib.steering.cells import SweepSettings, cells_of_rows
from emolib.steering.damage import next_token_kl, topic_kept
from emolib.study.phase5_steering.design import Part, controls, parts, prompts
from emolib.study.phase5_steering.own_sweeps import test_sweep
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.phase5_steering.sweep_settings import settings
from emolib.study.run import Run, kept

N_DAMAGE_CONTROLS = 2  # directions per family whose damage is measured


@kept
def damage(run: Run) -> pd.DataFrame:
    """`damage_of` the test sweep."""
    return damage_of(run, test_sweep(run))


def damage_of(run: Run, test: pd.DataFrame) -> pd.DataFrame:
    """What steering does beside its aim: the next-token distribution, and whether the text keeps to its topic.

    Returns:
        kind, emotion, kl (mean over prompts of KL(unpatched ‖ patched) in nats, along the unpatched continuation) with
        kl_se and n_kl; topic_base and topic (mean similarity of prompt and continuation without and with the patch, on
        the scenarios where neither text is empty), topic_change (their difference) with topic_se and n_topic;
        directions (how many are averaged: the first few of a family of controls).
    """
    matched = {**of_sweep(test), "controls": N_DAMAGE_CONTROLS}
    matched["settings"] = [settings(run, part).fingerprint() for part in parts(run)]

    def compute() -> pd.DataFrame:
        rows = []
        for part in parts(run):
            table = test[test["part"] == part.name]
            rows.append(_damage_rows(run, part, table))
        return pd.concat(rows, ignore_index=True)

    table = run.artifacts.table(run.paths.sweep("damage"), matched, compute)
    return _damage_means(table)


def _damage_rows(run: Run, part: Part, test: pd.DataFrame) -> pd.DataFrame:
    """KL and topic of every chosen test row: scenario, kind, emotion, kl, topic, topic_base."""
    texts = prompts(run, part, "test").set_index("scenario")["text"]
    given = settings(run, part)
    few = test[~test["kind"].isin(FAMILIES) | (test["index"] < N_DAMAGE_CONTROLS)]
    few = few[(few["sample"] == 0) & (few["kind"] != "zero")].reset_index(drop=True)  # α = 0 changes nothing
    acts = _acts(run, part, few, given)
    base = few[few["kind"] == "baseline"].set_index("scenario")
    written = dict(zip(base.index, base["text"], strict=True))
    full = [given.template.replace("{text}", texts[scenario]) for scenario in few["scenario"]]
    ids = [run.lm.tokenizer(written[s], add_special_tokens=False).input_ids for s in few["scenario"]]
    topic = pd.Series(topic_kept([texts[s] for s in few["scenario"]], few["text"].tolist()))
    return pd.DataFrame(
        {
            "scenario": few["scenario"],
            "kind": few["kind"],
            "emotion": few["emotion"],
            "kl": next_token_kl(run.lm, full, ids, acts),
            "topic": topic,
            "topic_base": few["scenario"].map(topic[few["kind"] == "baseline"].set_axis(base.index)),
        }
    )


def _acts(run: Run, part: Part, rows: pd.DataFrame, given: SweepSettings) -> list[Intervention]:
    """The intervention of every row, made again from what the row says."""
    layers = tuple(int(layer) for layer in sorted(set(rows.loc[rows["kind"].isin(FAMILIES), "layer"])))
    source = controls(run, part, layers) if layers else None
    return [cell.act for cell in cells_of_rows(rows, vectors(run, part), given, source=source)]


def _damage_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over scenarios; a quantity that an empty text leaves undefined is averaged over the other scenarios."""
    found = []
    for (kind, emotion), part in rows.groupby(["kind", "emotion"], sort=False):
        kl = part.groupby("scenario")["kl"].mean().dropna()
        texts = part.dropna(subset=["topic", "topic_base"])
        topics = texts.groupby("scenario")[["topic", "topic_base"]].mean()
        row = {"kind": kind, "emotion": emotion, "directions": int(part.groupby("scenario").size().max())}
        row |= {"n_kl": len(kl), "n_topic": len(topics), **topics.mean().to_dict()}
        row["kl"], row["kl_se"] = _mean_and_se(kl)
        row["topic_change"], row["topic_se"] = _mean_and_se(topics["topic"] - topics["topic_base"])
        found.append(row)
    return pd.DataFrame(found)


def _mean_and_se(values: pd.Series) -> tuple[float, float]:
    return intervals.mean_and_se(values) if len(values) else (float("nan"), float("nan"))


def of_sweep(sweep: pd.DataFrame) -> dict[str, str]:
    """What a table that is made from a sweep is valid for."""
    return {"test": store.digest(sweep[["row_id", "text", "part"]].to_dict("list"))}

"""Transfer steering: does A's mapped vector do in B what B's own does?

By S (`emolib.steering.specific_shift`): the mapped vectors of all emotions steer B, as B's own do, at one layer and at
equal effect on the next token (0.1 nat on neutral continuations, each act by a length of its own). Beside them mapped
topics' vectors, and the emotions' vectors under maps from anchors that were paired at random.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from emolib.base import store
from emolib.directions.map_nulls import permuted_images
from emolib.directions.vectors import EmotionVectors
from emolib.engine.continuation import continuation_shift
from emolib.engine.generation import generate
from emolib.interventions import Steer
from emolib.statistics.intervals import rank_p
from emolib.statistics.ratios import fieller
from emolib.steering.kl_lengths import KL_NAT, with_kl_lengths
from emolib.steering.shift_tables import crossed_cells, shift_rows, shift_table
from emolib.steering.specific_shift import crossed_mean, specific_shift, text_contrast
from emolib.study.phase3_vectors import fitting
from emolib.study.phase4_alignment.layers import chosen, chosen_anchors, chosen_map
from emolib.study.phase4_alignment.sides import ALL, inputs, pair, topics
from emolib.study.run import Run, kept

OWN, MAPPED, TOPIC, PERMUTED = "own", "mapped", "topic", "permuted"
PER_TEXT = 2  # prompts per text under the emotions' vectors; one under the controls
N_PROMPTS, N_TOKENS = 4, 8  # neutral texts that strengths are measured on, tokens of each continuation
CONTROL_TEXTS = 6  # under the controls, which are many
MOST_TOPICS = 5
WINDOW = 3
CELLS = ["prompt", "text", "style"]


@dataclass(frozen=True)
class _Act:
    """One vector that steers B.

    Attributes:
        name: the emotion (of `own` and `mapped`), else what it is.
        owner: the emotion that it stands for; empty for a topic.
    """

    kind: str
    name: str
    owner: str
    vector: np.ndarray


@kept
def _acts(run: Run) -> tuple[_Act, ...]:
    a, b = pair(run)
    amap, params = chosen_map(run), run.params
    of_a, of_b = (fitting.vectors(side, "mean") for side in (a, b))
    emotions = [name for name in run.emotions if name in of_a.values and name in of_b.values]
    from_a = np.stack([of_a.values[name][amap.layer_a].astype(np.float64) for name in emotions])
    acts = [_Act(OWN, name, name, of_b.values[name][amap.layer_b]) for name in emotions]
    acts += [_Act(MAPPED, name, name, vector) for name, vector in zip(emotions, amap.map(from_a), strict=True)]
    named = dict(list(topics(a, amap.layer_a).items())[:MOST_TOPICS])
    acts += [_Act(TOPIC, f"topic {name}", "", amap.map(vector)) for name, vector in named.items()]
    images = permuted_images(*chosen_anchors(run), amap, from_a, n_maps=params.n_transfer_maps, seed=params.seed)
    acts += [
        _Act(PERMUTED, f"permuted {number} of {name}", name, vector)
        for number, of_map in enumerate(images)
        for name, vector in zip(emotions, of_map, strict=True)
    ]
    return tuple(acts)


def length_table(run: Run) -> pd.DataFrame:
    """At what length each act changes B's next token by 0.1 nat: kind, act, owner, length (NaN: never), kl."""
    a_matched = {**inputs(run), "layers": [chosen(run).layer_a, chosen(run).layer_b], "kl": KL_NAT}
    a_matched |= {"n_transfer_maps": run.params.n_transfer_maps}
    return run.artifacts.table(run.paths.alignment("lengths"), a_matched, lambda: _lengths(run), model=False)


def _lengths(run: Run) -> pd.DataFrame:
    b, layer, acts = pair(run).b, chosen(run).layer_b, _acts(run)
    fitted = fitting.vectors(b, "mean")
    values = {}
    for act in acts:
        values[f"{act.kind} {act.name}"] = np.zeros_like(next(iter(fitted.values.values())))
        values[f"{act.kind} {act.name}"][layer] = act.vector
    vecs: EmotionVectors = replace(fitted, values=values, whitened={}, discriminants={})
    prompts = b.neutral_prompts("train")["text"].tolist()[:N_PROMPTS]
    seeds = [run.params.seed + number for number in range(len(prompts))]
    written = generate(b.lm, prompts, max_new_tokens=N_TOKENS, temperature=0.7, seeds=seeds)
    _, table = with_kl_lengths(b.lm, vecs, [layer], prompts, [out.token_ids for out in written], window=WINDOW)
    found = table.set_index("emotion")
    rows = [
        {"kind": act.kind, "act": act.name, "owner": act.owner, **found.loc[f"{act.kind} {act.name}", ["length", "kl"]]}
        for act in acts
    ]
    return pd.DataFrame(rows)


def shift_rows_table(run: Run) -> pd.DataFrame:
    """The shift of every test text under every act.

    Returns:
        The columns of `emolib.steering.shift_tables.shift_table`, kind and owner of the act.
    """
    matched = {**inputs(run), "lengths": store.digest(length_table(run).fillna(-1).to_dict("list"))}
    matched |= {"n_test": run.params.n_test, "n_transfer_texts": run.params.n_transfer_texts}
    return run.artifacts.table(run.paths.alignment("shifts"), matched, lambda: _shifts(run), model=False)


def _design(run: Run) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Cells, texts and prompts: emotions' texts of test scenarios after neutral texts of validation scenarios."""
    b, params = pair(run).b, run.params
    texts, before = b.texts("test"), b.neutral_prompts("validation")
    scenarios, pool = list(dict.fromkeys(texts["scenario"])), before["scenario"].tolist()
    n = min(len(scenarios), len(pool), params.n_transfer_texts)
    cells = crossed_cells(pool[:n], scenarios[:n], per_text=min(PER_TEXT, n), seed=params.seed)
    emotions = [act.name for act in _acts(run) if act.kind == OWN]
    texts = texts[texts["emotion"].isin(emotions)].rename(columns={"emotion": "label", "text": "words"})
    return (
        cells,
        texts[["scenario", "label", "style", "words"]],
        dict(zip(before["scenario"], before["text"], strict=True)),
    )


def _shifts(run: Run) -> pd.DataFrame:
    b, layer = pair(run).b, chosen(run).layer_b
    cells, texts, prompts = _design(run)
    known = length_table(run).dropna(subset=["length"]).set_index(["kind", "act"])["length"]
    once = cells.drop_duplicates("text").head(CONTROL_TEXTS)
    acts = [act for act in _acts(run) if (act.kind, act.name) in known.index]
    run.progress.begin("transfer", len(acts))
    parts = []
    for kinds, used in (((OWN, MAPPED), cells), ((TOPIC, PERMUTED), once)):
        some = {f"{act.kind} {act.name}": act for act in acts if act.kind in kinds}  # in one pass, names of their own
        lengths = {name: float(known[act.kind, act.name]) for name, act in some.items()}
        steers = {name: _steer(act.vector, layer, lengths[name]) for name, act in some.items()}
        named = pd.DataFrame({"act": list(some), "layer": layer, "alpha": list(lengths.values())})
        rows = shift_rows(used, texts, named)
        given = [prompts[name] for name in rows["prompt"]]
        found = continuation_shift(b.lm, given, rows["words"].tolist(), [steers[name] for name in rows["act"]])
        table = shift_table(rows, found)
        table = table.assign(
            kind=[some[name].kind for name in table["act"]], owner=[some[name].owner for name in table["act"]]
        )
        parts.append(table.assign(act=[some[name].name for name in table["act"]]))
        run.progress.advance(len(some))
    return pd.concat(parts, ignore_index=True)


def _steer(vector: np.ndarray, layer: int, length: float) -> Steer:
    return Steer(layer, vector / np.linalg.norm(vector), length, unit="vector", window=WINDOW)


def transfer_table(run: Run) -> pd.DataFrame:
    """S of A's mapped vectors in B beside that of B's own.

    Returns:
        style, emotion, other, own and mapped (S in nat per token) with own_low, own_high, mapped_low, mapped_high,
        ratio with ratio_low and ratio_high (Fieller; NaN where own is not told from 0), permuted_p (rank of the mapped
        vector's text contrast among those of maps from anchors paired at random, same texts), topic_p (among mapped
        topics), n_permuted, n_topics, n_texts.
    """
    if len(run.emotions) < 2:
        return pd.DataFrame()
    shifts, rows = shift_rows_table(run), list[dict[str, object]]()
    own, mapped = (specific_shift(_unnamed(shifts[shifts["kind"] == kind])) for kind in (OWN, MAPPED))
    joined = own.merge(mapped, on=[*CELLS, "emotion", "other"], suffixes=("_own", "_mapped"), validate="one_to_one")
    styles = [ALL, *dict.fromkeys(joined["style"])]
    for style in styles:
        part = joined if style == ALL else joined[joined["style"] == style]
        for (emotion, other), cells in part.groupby(["emotion", "other"], sort=False):
            if cells["text"].nunique() > 1 and cells["prompt"].nunique() > 1:
                row = {"style": style, "emotion": emotion, "other": other}
                rows.append({**row, **_ratio(cells), **_ranks(shifts, str(emotion), str(other), style)})
    return pd.DataFrame(rows)


def _unnamed(shifts: pd.DataFrame) -> pd.DataFrame:
    """Of acts at lengths of their own, which are one strength here."""
    return shifts.assign(alpha=1.0).drop(columns=["kind", "owner"])


def _ratio(cells: pd.DataFrame) -> dict[str, float]:
    own, mapped = "specific_own", "specific_mapped"
    both = cells.assign(both=cells[own] + cells[mapped])
    found = {name: crossed_mean(both, value=name, balanced=False) for name in (own, mapped, "both")}
    var = {name: of["se"] ** 2 for name, of in found.items()}
    x, y, df = found[mapped], found[own], found[own]["df"]
    covariance = (var["both"] - var[own] - var[mapped]) / 2
    ratio = fieller(x["mean"], y["mean"], var_x=var[mapped], var_y=var[own], covariance=covariance, df=df)
    reach = float(stats.t.ppf(0.975, df))
    values = {"ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high, "n_texts": int(y["n_texts"])}
    for name, of in (("own", y), ("mapped", x)):
        values |= {name: of["mean"], f"{name}_low": of["mean"] - reach * of["se"]}
        values |= {f"{name}_high": of["mean"] + reach * of["se"]}
    return values


def _ranks(shifts: pd.DataFrame, emotion: str, other: str, style: str) -> dict[str, float]:
    part = shifts if style == ALL else shifts[shifts["style"] == style]
    controls = part[part["kind"].isin((TOPIC, PERMUTED)) & part["owner"].isin(("", emotion))]
    if controls.empty:
        return {"permuted_p": float("nan"), "n_permuted": 0, "topic_p": float("nan"), "n_topic": 0}
    held = set(map(tuple, controls[["prompt", "text"]].drop_duplicates().to_numpy()))
    mine = part[(part["kind"] == MAPPED) & (part["act"] == emotion)]
    mine = mine[[pair_of in held for pair_of in map(tuple, mine[["prompt", "text"]].to_numpy())]]
    own = float(text_contrast(mine.drop(columns=["kind", "owner"]), emotion, other)["contrast"].mean())
    found: dict[str, float] = {}
    for name, kind in (("permuted", PERMUTED), ("topic", TOPIC)):
        of_kind = controls[controls["kind"] == kind]
        if of_kind.empty:
            found |= {f"{name}_p": float("nan"), f"n_{name}": 0}
            continue
        contrast = text_contrast(of_kind.drop(columns=["kind", "owner"]), emotion, other)
        means = contrast.groupby("act")["contrast"].mean().to_numpy()
        found |= {f"{name}_p": rank_p(own, means), f"n_{name}": len(means)}
    return found

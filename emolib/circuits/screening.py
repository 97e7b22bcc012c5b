"""Every head of every chosen layer, by three roads: what it writes, what gradients say of it, what its ablation does.

Selection is on validation scenarios, confirmation on test scenarios. Road (iii), exact ablation, uses no fitted vector:
its null is a sign flip per scenario, corrected for the largest of all heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.base.signatures import told
from emolib.circuits.attribution import Attributed, attribute, sources_of
from emolib.circuits.contrasts import COLUMNS, WEIGHTS, batches, pack
from emolib.engine.packed_ablation import ablate_packed, find_targets
from emolib.interventions import Intervention
from emolib.models.finite import require_finite
from emolib.models.language_model import LanguageModel, checked_model
from emolib.statistics.sign_flips import sign_flip_test
from emolib.steering.shift_tables import check_columns

Head = tuple[int, int]
PRIMARY = "resample"
LEVEL = 0.05
SCORES = ["layer", "head", "emotion", "metric", "delta_mean", "delta_std", "n_samples", "t", "p", "p_max"]
POOLED = "all"  # emotions together, scenario by scenario


LEAST_CHANGE = 1e-4  # nat per token; float32 leaves up to 1e-5 of a change that there is not


@dataclass(frozen=True)
class Exact:
    """Exact ablations of some variants (single heads, or several at once) under some contrasts.

    Attributes:
        units: `contrasts.COLUMNS`, a row per contrast, with `base`, the effect without ablation (nat per token).
        variants: the heads of each variant.
        changes: `[unit, variant]`, the effect under ablation minus without: below 0, the heads carry some of it.
        kind: of the ablation.
    """

    units: pd.DataFrame
    variants: tuple[tuple[Head, ...], ...]
    changes: np.ndarray
    kind: str = PRIMARY

    def by_scenario(self, emotion: str = POOLED, other: str | None = None) -> pd.DataFrame:
        """Mean change per scenario `[scenario, variant]`, of one emotion or of all, against one other label or all.

        A change below `LEAST_CHANGE` is 0: what rounding leaves has a sign, by which a test of signs would go.
        """
        chosen = np.ones(len(self.units), dtype=bool)
        if emotion != POOLED:
            chosen &= (self.units["emotion"] == emotion).to_numpy()
        if other is not None:
            chosen &= (self.units["other"] == other).to_numpy()
        if not chosen.any():
            raise UserError(f"expected contrasts of {emotion} against {other or 'any label'}, there are none")
        table = pd.DataFrame(self.changes[chosen], columns=range(len(self.variants)))
        found = table.groupby(self.units.loc[chosen, "scenario"].to_numpy(), sort=True).mean()
        return found.where(found.abs() >= LEAST_CHANGE, 0.0)

    def place(self, head: Head) -> int:
        """The variant of this head alone.

        Raises:
            UserError: there is none.
        """
        if (tuple(head),) not in self.variants:
            raise UserError(f"expected the ablation of head {head[0]}:{head[1]}, there is none")
        return self.variants.index((tuple(head),))


@told
def exact_changes(
    lm: LanguageModel,
    contrasts: pd.DataFrame,
    variants: Sequence[Sequence[Head]],
    *,
    acts: Mapping[str, Intervention] | None = None,
    kind: str = PRIMARY,
    weights: np.ndarray = WEIGHTS,
) -> Exact:
    """What ablating each variant's heads, on both sides alike, takes from every contrast's effect; by teacher forcing.

    Args:
        contrasts: as `emolib.circuits.contrasts.context_contrasts` or `steer_contrasts` gives them.
        variants: each some heads (layer, head).
        acts: of `steer_contrasts`: by emotion what acts on the residual stream.
        kind: `resample` (another scenario's neutral run), `mean` over such runs, `zero`, or `context` (what the head
            had on the side `without`).
        weights: `[side, text]`, of the effect.

    Raises:
        UserError: a head that the model does not have, an unknown kind, a model that runs through its own code, a
            log-probability that is not finite.

    >>> import emolib
    >>> from emolib.circuits.contrasts import context_contrasts
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> data = emolib.load_dataset().query("split == 'validation'")
    >>> names = sorted(data["scenario"].unique())
    >>> found = exact_changes(lm, context_contrasts(data, ["anger"], names[:1], pool=names), [[(29, 0)], [(29, 1)]])
    >>> found.changes.shape, bool(found.units["base"].notna().all())
    ((1, 2), True)
    """
    checked_model(lm)
    check_columns(contrasts, COLUMNS, "the contrasts")
    if contrasts.empty or not len(variants):
        raise UserError(f"expected contrasts and variants, got {len(contrasts)} and {len(variants)}")
    chosen = [tuple((int(layer), int(head)) for layer, head in variant) for variant in variants]
    base, changes = np.zeros(len(contrasts)), np.zeros((len(contrasts), len(chosen)))
    for places in batches(contrasts):
        given = pack(lm, contrasts.iloc[places], acts, weights=weights)
        targets = find_targets(lm, given.packed, kind, sources_of(given, kind))
        found = ablate_packed(lm, given.packed, targets, chosen)
        base[places] = given.effects(found.base)
        changes[places] = (given.effects(found.logprobs) - base[places]).T
    require_finite(lm, enumerate(changes), "the log-probability under ablation")
    return Exact(contrasts.reset_index(drop=True).assign(base=base), tuple(chosen), changes, kind)


def single_heads(lm: LanguageModel, layers: Sequence[int] | None = None) -> list[tuple[Head, ...]]:
    """A variant for every head of these layers; None: of all."""
    chosen = range(lm.n_layers) if layers is None else arguments.whole_numbers("layers", layers, least=0)
    return [((layer, head),) for layer in chosen for head in range(lm.n_heads)]


def head_scores(
    exact: Exact, *, emotions: Sequence[str] | None = None, other: str | None = None, seed: int = 0
) -> pd.DataFrame:
    """Every single head's mean change, tested over scenarios and corrected for the largest of all heads.

    Args:
        exact: of single heads.
        emotions: those that are looked at one by one, beside all together; None: every one that there is.
        other: the label that the emotion is held against; None takes all.

    Returns:
        `SCORES`, a row per head and emotion (and `all`); metric names the effect and the kind of ablation, deltas are
        in nat per token.

    Raises:
        UserError: a variant of several heads, fewer than two scenarios.
    """
    if any(len(heads) != 1 for heads in exact.variants):
        raise UserError("expected single heads, got several at once; take joint_against_sum for these")
    named = list(dict.fromkeys(exact.units["emotion"])) if emotions is None else list(emotions)
    metric = f"{exact.units['effect'].iloc[0]}/{exact.kind}"
    tables = []
    for emotion in dict.fromkeys([POOLED, *named]):
        found = sign_flip_test(exact.by_scenario(emotion, other).to_numpy(), seed=seed)
        layers, heads = np.array([variant[0] for variant in exact.variants]).T
        table = found.rename(columns={"mean": "delta_mean", "sd": "delta_std", "n": "n_samples"})
        tables.append(table.assign(layer=layers, head=heads, emotion=emotion, metric=metric))
    return pd.concat(tables, ignore_index=True)[SCORES]


def selected(scores: pd.DataFrame, count: int, emotion: str = POOLED) -> list[Head]:
    """The heads that carry most: those whose ablation takes most from the effect, by t, on validation."""
    count = arguments.whole_number("count", count, least=1)
    own = scores[scores["emotion"] == emotion].sort_values(["t", "layer", "head"], kind="stable").head(count)
    return list(zip(own["layer"].tolist(), own["head"].tolist(), strict=True))


# the roads against each other


def road_table(exact: Exact, attributed: Attributed, direct: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row per head: the exact change and every estimate of it, mean over the contrasts.

    Args:
        exact: of single heads of all layers.
        attributed: of the same contrasts.
        direct: as `direct_writes` gives it, restricted to one row per head; None leaves it out.

    Returns:
        layer, head, exact, and a column per estimate (`atp`, `integrated`, `dropped`, nodes), and `direct`.
    """
    layers, heads = np.array([variant[0] for variant in exact.variants]).T
    table = pd.DataFrame({"layer": layers, "head": heads, "exact": exact.changes.mean(0)})
    for name, values in attributed.heads.items():
        table[name] = values.mean(0)[layers, heads]
    if direct is not None:
        written = direct.set_index(["layer", "head"])["written"]
        table["direct"] = written.reindex(pd.MultiIndex.from_arrays([layers, heads])).to_numpy()
    return table


def road_agreement(table: pd.DataFrame, *, n_bands: int = 3) -> pd.DataFrame:
    """Rank correlations of every estimate with the exact change, over all heads and by depth, with sizes and signs.

    Args:
        table: as `road_table` gives it.
        n_bands: equal parts of the layers.

    Returns:
        estimate, first, last (layers that it is known of), n, correlation (Spearman, signed; of `dropped`, which has no
        sign, with the exact size), size (root mean square over that of the exact change), same_sign (share; NaN for
        `dropped`).
    """
    estimates = [name for name in table if name not in ("layer", "head", "exact")]
    present = sorted(table["layer"].unique())
    bands = [(present[0], present[-1])]
    if len(present) >= n_bands > 1:
        bands += [(part[0], part[-1]) for part in np.array_split(present, n_bands)]
    rows = []
    for first, last in bands:
        part = table[table["layer"].between(first, last)]
        for name in estimates:
            known = part[part[name].notna()]
            at = known["layer"]
            if len(known) < 3 or ((first, last) == bands[0] and at.nunique() < len(present)):
                continue  # of some layers alone nothing is said of all of them
            unsigned = name == "dropped"
            exact = known["exact"].abs() if unsigned else known["exact"]
            size = np.sqrt((known[name] ** 2).mean() / max(float((known["exact"] ** 2).mean()), 1e-300))
            same = float("nan") if unsigned else float((np.sign(known[name]) == np.sign(known["exact"])).mean())
            rows.append(
                {
                    **{"estimate": name, "first": int(at.min()), "last": int(at.max()), "n": len(known)},
                    **{"correlation": spearman(known[name], exact), "size": float(size), "same_sign": same},
                }
            )
    return pd.DataFrame(rows)


def spearman(one: pd.Series, other: pd.Series) -> float:
    """Rank correlation; NaN where one of both does not vary."""
    ranks = one.rank().to_numpy(), other.rank().to_numpy()
    if min(rank.std() for rank in ranks) == 0:
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def split_half(exact: Exact, *, n_splits: int = 100, seed: int = 0) -> pd.DataFrame:
    """How well the heads' order holds over scenarios: rank correlation of the means of two random halves.

    Returns:
        One row: n_scenarios, correlation (mean over splits), low and high (5 and 95 % of the splits), corrected
        (Spearman and Brown: of the whole number of scenarios).
    """
    values = exact.by_scenario().to_numpy()
    if len(values) < 4:
        raise UserError(f"expected at least four scenarios to split, got {len(values)}")
    generator = np.random.default_rng([seed, 12])
    found: list[float] = []
    for _ in range(n_splits):
        order = generator.permutation(len(values))
        halves = [values[part].mean(0) for part in np.array_split(order, 2)]
        found.append(spearman(pd.Series(halves[0]), pd.Series(halves[1])))
    mean = float(np.nanmean(found))
    low, high = np.nanpercentile(found, [5, 95])
    return pd.DataFrame(
        [
            {
                **{"n_scenarios": len(values), "correlation": mean, "low": float(low), "high": float(high)},
                "corrected": 2 * mean / (1 + mean) if mean > -1 else float("nan"),
            }
        ]
    )


def joint_against_sum(joint: Exact, single: Exact, *, seed: int = 0) -> pd.DataFrame:
    """Ablating several heads at once against the sum of ablating each.

    Args:
        joint: variants of several heads.
        single: of the same contrasts, every one of these heads alone.

    Returns:
        k, n (scenarios), base and base_p (of the effect; two-sided sign flips), joint, total (the sum), interaction
        (joint − total) with low and high (95 %, Student's t over scenarios), share (of the effect that the joint
        ablation takes; NaN where the effect is not told from 0 or lies below it), and `code`: `not_measurable` where
        there is no share, `more` or `less` where the interval lies on one side of 0 (more is lost than the sum, the
        form of heads that stand in for each other; or less, of heads that carry the same), else `open`.
    """
    order = {variant[0]: place for place, variant in enumerate(single.variants)}
    together, alone = joint.by_scenario(), single.by_scenario()
    base = single.units.groupby("scenario")["base"].mean().to_numpy()
    whole = sign_flip_test(base[:, None], seed=seed).iloc[0]
    there = bool(whole["mean"] > 0 and whole["p"] <= LEVEL)
    rows = []
    for number, heads in enumerate(joint.variants):
        total = alone[[order[head] for head in heads]].sum(axis=1)
        difference = together[number] - total
        mean, n = float(difference.mean()), len(difference)
        reach = float(stats.t.ppf(0.975, n - 1) * difference.std(ddof=1) / np.sqrt(n))
        side = "open" if mean - reach <= 0 <= mean + reach else "more" if mean < 0 else "less"
        row = {"k": len(heads), "n": n, "base": whole["mean"], "base_p": whole["p"]}
        row |= {"joint": float(together[number].mean()), "total": float(total.mean()), "interaction": mean}
        row |= {"low": mean - reach, "high": mean + reach}
        row |= {"share": float(-together[number].mean() / whole["mean"]) if there else float("nan")}
        rows.append({**row, "code": side if there else "not_measurable"})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class HeadScreen:
    """What `screen_heads` found, heads of all chosen layers under the contrasts of some scenarios.

    Attributes:
        exact: road (iii).
        attributed: road (ii).
        scores: `SCORES` of the exact road.
        roads: as `road_table` gives it.
    """

    exact: Exact
    attributed: Attributed
    scores: pd.DataFrame
    roads: pd.DataFrame


@told
def screen_heads(
    lm: LanguageModel,
    contrasts: pd.DataFrame,
    *,
    acts: Mapping[str, Intervention] | None = None,
    layers: Sequence[int] | None = None,
    methods: Sequence[str] = ("first_order", "star"),
    kind: str = PRIMARY,
    direct: pd.DataFrame | None = None,
    seed: int = 0,
) -> HeadScreen:
    """Every head by attribution and by exact ablation, and both beside what it writes.

    Args:
        contrasts: of one kind of effect, as `emolib.circuits.contrasts` gives them.
        acts: of `steer_contrasts`: by emotion what acts on the residual stream.
        layers: whose heads are ablated; None: all.
        methods: of `emolib.circuits.attribution.METHODS`.
        kind: of the ablation.
        direct: one row per head of what `direct_writes` gives; None leaves that road out of the comparison.

    Raises:
        UserError: as `exact_changes` and `attribute`.

    >>> import emolib
    >>> from emolib.circuits.contrasts import context_contrasts
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> data = emolib.load_dataset().query("split == 'validation'")
    >>> names = sorted(data["scenario"].unique())
    >>> table = context_contrasts(data, ["gratitude"], names[:2], pool=names)
    >>> found = screen_heads(lm, table, layers=[28, 29], methods=["first_order"])
    >>> len(found.roads), sorted(found.roads)
    (18, ['atp', 'exact', 'head', 'layer'])
    """
    checked_model(lm)
    exact = exact_changes(lm, contrasts, single_heads(lm, layers), acts=acts, kind=kind)
    attributed = attribute(lm, contrasts, methods, acts=acts, kind=kind, layers=layers)
    return HeadScreen(exact, attributed, head_scores(exact, seed=seed), road_table(exact, attributed, direct))

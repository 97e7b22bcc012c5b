"""What sealed texts say under the frozen choice: S with all that a claim needs, by the rule of Phase 5, and beside it
what the model writes on the sealed prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from emolib.base import store
from emolib.base.frozen_studies import ConfirmationParameters, read_frozen
from emolib.base.paths import file_name
from emolib.data.sealed_texts import EMOTIONS, SealedTexts
from emolib.data.styles import in_style_order
from emolib.directions.controls import FAMILIES
from emolib.scoring.measures import measures, with_targets
from emolib.steering.cells import Controls
from emolib.steering.claims import shift_claims
from emolib.steering.findings import SUPPORTED, findings
from emolib.steering.further_conditions import Further
from emolib.steering.sweeps import residual_sweep
from emolib.steering.text_claims import claims_table
from emolib.study.confirmation.opening_checks import Ready, frozen_path
from emolib.study.confirmation.sealed_run import point_of, read_hash
from emolib.study.phase5_steering import judging, shift_results
from emolib.study.phase5_steering.design import controls, parts
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.phase5_steering.sweep_settings import settings
from emolib.study.run import Run

WAYS = ("greedy", "sampled")
CONFIRMS, REHEARSED, OPENED_BEFORE = "confirms", "rehearsed", "opened_before"
CONFIRMED = "confirmed"  # what SUPPORTED is called on sealed texts that were opened as they should be
FAMILY_COLUMNS = ["model", "style", "emotion", "p", "known"]


@dataclass(frozen=True)
class SealedOutcome:
    """Codes and numbers.

    Attributes:
        standing: `CONFIRMS`, or why nothing here does: `REHEARSED` or `OPENED_BEFORE`.
        conditions, ranks, claims: as the functions of `emolib.steering.claims` give them; claims also have `outcome`:
            `CONFIRMED`, or the verdict's code.
        like_valent: the conditions against labels of like valence.
        family: model, style, emotion, p, known: every claim that is corrected together, other models' among them.
        texts: `emolib.steering.findings.findings` of the generated texts, by `way` (of `WAYS`).
    """

    standing: str
    conditions: pd.DataFrame
    ranks: pd.DataFrame
    like_valent: pd.DataFrame
    claims: pd.DataFrame
    family: pd.DataFrame
    texts: pd.DataFrame


def sealed_outcome(run: Run, ready: Ready, params: ConfirmationParameters) -> SealedOutcome:
    """Reads the sealed texts, finds or computes every table, and keeps it.

    Args:
        run: see `emolib.study.confirmation.sealed_run.sealed_run`.
    """
    held, judged = judging.further(run), judging.judged_instruments(run)
    assert judged is not None, "a run in which S cannot be measured is not frozen"
    conditions, ranks = shift_results.conditions(run), shift_results.ranks(run)
    family = _others(run, ready, params)
    claims = shift_claims(
        conditions,
        ranks,
        instruments=judged.admission,
        gold=judged.gold,
        further=held,
        family={style: family.loc[family["style"] == style, "p"].tolist() for style in set(conditions["style"])},
    )
    standing = REHEARSED if params.rehearsal else OPENED_BEFORE if ready.before else CONFIRMS
    claims = claims.assign(outcome=[_outcome(row, standing) for row in claims.to_dict("records")])
    texts = pd.concat([_texts(run, ready.sealed, params, way) for way in WAYS], ignore_index=True)
    mine = claims[["style", "emotion", "p"]].assign(model=run.paths.model, known=True)
    found = SealedOutcome(
        standing=standing,
        conditions=conditions,
        ranks=ranks,
        like_valent=_like(held),
        claims=in_style_order(claims),
        family=pd.concat([mine, family], ignore_index=True)[FAMILY_COLUMNS].astype({"p": float, "known": bool}),
        texts=texts,
    )
    _keep(run, ready, found)
    return found


def _outcome(row: dict, standing: str) -> str:
    """What a supported claim is called is for the standing to say: a claim by too few directions is exploration."""
    confirmed = row["verdict"] == SUPPORTED and standing == CONFIRMS and not row["exploratory"]
    return CONFIRMED if confirmed else str(row["verdict"])


def _like(held: Further) -> pd.DataFrame:
    assert held.like_valent is not None, "labels of like valence are among the sealed ones"
    return in_style_order(held.like_valent)


# the family: three emotions of every model that was frozen


def _others(run: Run, ready: Ready, params: ConfirmationParameters) -> pd.DataFrame:
    """The p of every claim of the other models that are frozen; 1 where the texts were not opened for one yet."""
    rows = []
    for path in sorted(frozen_path(params).parent.glob("*.yaml")):
        study = read_frozen(path)
        if study.model == ready.study.model:
            continue
        place = run.paths.of_model(file_name(study.model))
        table = place.confirmation(_name(study.digest, ready.sealed.sha256, "claims"))
        found = store.read_table(table, needs=["style", "emotion", "p"]) if table.is_file() else None
        for style in sorted(set(ready.sealed.texts["style"])):
            for emotion in EMOTIONS:
                known = None if found is None else found[(found["style"] == style) & (found["emotion"] == emotion)]
                p = 1.0 if known is None or known.empty else float(known["p"].iloc[0])
                row = {"model": study.model, "style": style, "emotion": emotion, "p": p}
                rows.append({**row, "known": known is not None and not known.empty})
    return pd.DataFrame(rows, columns=FAMILY_COLUMNS)


# generated texts, a secondary measure


def _texts(run: Run, sealed: SealedTexts, params: ConfirmationParameters, way: str) -> pd.DataFrame:
    """What generated texts meet, with the texts continued greedily or sampled several times from every prompt."""
    part, point = parts(run)[0], point_of(run)
    drawn = {"temperature": params.temperature, "n_samples": params.n_samples}
    given = replace(settings(run, part), **({"temperature": 0.0, "n_samples": 1} if way == "greedy" else drawn))
    prompts = sealed.prompts.assign(split="test")
    beside = Controls(
        params.n_text_controls, FAMILIES, controls(run, part, (point.layer,)), direct_path=True, zero=True
    )
    sweep = residual_sweep(
        run.lm,
        prompts,
        vectors(run, part),
        layers=[point.layer],
        alphas=[point.alpha],
        controls=beside,
        settings=given,
        run=run.shards(f"sealed_{way}"),
    )
    sweep = with_targets(sweep, run.emotions)
    resampling = {"n_resamples": run.params.n_resamples, "seed": run.params.seed}
    found = claims_table(sweep, measures(sweep, run.emotions), families=FAMILIES, **resampling)
    broken = sweep[sweep["kind"] == "emotion"].groupby("emotion")["fluency/broken"].mean()
    base = float(sweep.loc[sweep["kind"] == "baseline", "fluency/broken"].mean())
    judged = findings(found, sweep, smallest_d=run.params.smallest_d)
    return judged.assign(way=way, broken=judged["emotion"].map(broken), broken_baseline=base)


# what is kept


def _name(choice: str, sealed: str, what: str) -> str:
    return f"{choice[:8]}_{sealed[:8]}_{what}"


def _keep(run: Run, ready: Ready, found: SealedOutcome) -> None:
    """The tables, and what they are of, as artifacts under the choice's and the file's hash."""
    tables = {"conditions": found.conditions, "ranks": found.ranks, "like_valent": found.like_valent}
    tables |= {"claims": found.claims, "family": found.family, "texts": found.texts}
    made = {
        path.name: sha for path, sha in run.artifacts.made.items() if path.parent != _place(run, ready, "claims").parent
    }
    matched = {"parts": store.digest(made), "read": read_hash(run), "choice": ready.study.digest}
    for name, table in tables.items():
        plain = table.astype({column: object for column in table if table[column].dtype == object})
        of_table = {**matched, "family": store.digest(found.family.astype(object).to_dict("list"))}
        run.artifacts.table(_place(run, ready, name), of_table, lambda table=plain: table)
    said = {
        "model": ready.study.model,
        "choice": ready.study.digest,
        "told": ready.study.told(),
        "sealed": ready.sealed.sha256,
        "standing": found.standing,
        "claims": found.claims[["style", "emotion", "outcome", "reason"]].to_dict("records"),
    }
    path = _place(run, ready, "found", "json")
    run.artifacts.obtain(path, {**matched, "said": store.digest(said)}, lambda: store.json_bytes(said))


def _place(run: Run, ready: Ready, what: str, ending: str = "parquet"):
    return run.paths.confirmation(_name(ready.study.digest, ready.sealed.sha256, what), ending)

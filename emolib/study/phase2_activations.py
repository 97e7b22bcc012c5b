"""Phase 2: activations of the training, validation and test texts.

Needs the data set and the model. Makes `activations/<model>/`: a file per position, site and layer, and the texts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from emolib.base import store, tensor_files
from emolib.base.errors import UserError
from emolib.data import styles
from emolib.data.activations import TEXTS, Activations, StoredActivations, layer_file
from emolib.data.keywords import keyword_digest
from emolib.directions.vector_tables import massive_table
from emolib.engine.observation import places_of
from emolib.engine.stored_extraction import store_activations, texts_with_tokens
from emolib.engine.triggers import NONE
from emolib.scoring.measures import with_targets
from emolib.study.activation_findings import findings as findings
from emolib.study.run import Run, kept

N_SHUFFLES = 1000
USUAL = ("last", "mean", "trigger")
NORMS = "L2, bulk"  # what is stored of every token beside the values; files that lack one are made anew


@kept
def texts(run: Run) -> pd.DataFrame:
    """The profile's scenarios of every split, and as many training scenarios of each style for steering vectors."""
    parts = [run.texts(split) for split in ("train", "validation", "test")]
    parts += [of_style(run, style) for style in ("explicit", "implicit")]
    return pd.concat(parts).drop_duplicates("id").reset_index(drop=True)


def of_style(run: Run, style: str) -> pd.DataFrame:
    """The texts of as many training scenarios of one style as the profile asks for, or of all that there are."""
    held = run.data[(run.data["split"] == "train") & styles.of_style(run.data, style)]
    whole = held.groupby("scenario")["emotion"].nunique() == run.data["emotion"].nunique()
    count = min(run.params.n_train, int(whole.sum()))
    return run.texts("train", style=style, count=count) if count else held.head(0)


def activations(run: Run, position: str, layers: Sequence[int] | None = None) -> Activations:
    """The activations at one position in memory, found or computed (the usual positions in one pass over the texts)."""
    ensure(run, usual_positions(run) if position in USUAL else (position,), layers)
    # by their numbers: a deeper model of this name may have left more
    numbers = range(run.lm.n_layers + 1) if layers is None else layers
    return stored(run, position).read(sites=run.params.sites, layers=numbers)


def stored(run: Run, position: str) -> StoredActivations:
    """What lies on disk, read layer by layer."""
    return StoredActivations(run.paths.activations(), position)


@kept
def texts_table(run: Run) -> pd.DataFrame:
    """The texts with their tokens, as stored beside the activations."""
    matched = {"texts": digest(run), "keywords": keyword_digest(run.data)}
    path = run.paths.activations() / TEXTS
    return run.artifacts.table(path, matched, lambda: texts_with_tokens(run.lm, texts(run)))


@kept
def digest(run: Run) -> str:
    """Of the texts with everything that the data set says about them."""
    return store.digest(texts(run).to_dict("list"))


def usual_positions(run: Run) -> tuple[str, ...]:
    """The last token, the mean, and the trigger where any text has one."""
    return _usual(texts_table(run))


def _usual(held: pd.DataFrame) -> tuple[str, ...]:
    has_trigger = "trigger" in held and bool((held["trigger"] >= 0).any())
    return USUAL if has_trigger else USUAL[:2]


def positions(run: Run, held: pd.DataFrame | None = None) -> tuple[str, ...]:
    """The run's positions, without the trigger where no text has one.

    Args:
        held: the texts with their triggers; None takes the stored ones.

    Raises:
        UserError: no position is left.
    """
    left_out = set(USUAL) - set(usual_positions(run) if held is None else _usual(held))
    kept = tuple(position for position in run.params.positions if position not in left_out)
    if not kept:
        raise UserError(
            "expected texts with a word of their emotion's list in params/keywords/, found none; "
            "give another position than 'trigger'"
        )
    return kept


def ensure(run: Run, wanted_positions: Sequence[str], layers: Sequence[int] | None = None) -> None:
    """Makes sure that the layers (all by default) of every site are stored at these positions."""
    wanted = texts(run)
    folder, params = run.paths.activations(), run.params
    texts_table(run)
    places = places_of(run.lm, tuple(dict.fromkeys(("resid_pre", *params.sites))), layers)
    parts = [(position, *place) for position in wanted_positions for place in places]
    named = {layer_file(folder, *part): part for part in parts}

    def matched(part: tuple[str, str, int]) -> dict[str, Any]:
        position, site, layer = part
        values = {"texts": digest(run), "position": position, "site": site, "layer": layer, "storage": params.storage}
        values |= {"norms": NORMS} if site == "resid_pre" else {}
        return values | ({"keywords": keyword_digest(run.data)} if position == "trigger" else {})

    obtain_layers(
        run, wanted, folder, {path: (part, matched(part)) for path, part in named.items()}, step="activations"
    )


def obtain_layers(
    run: Run,
    wanted: pd.DataFrame,
    folder: Path,
    parts: dict[Path, tuple[tuple[str, str, int], dict[str, Any]]],
    *,
    step: str,
) -> None:
    """Computes those layers of the wanted texts' activations that are not stored yet, all in one pass.

    Args:
        folder: where they are kept.
        parts: per file its position, site and layer, and what it is made from.
        step: what the progress line calls it.
    """
    params = run.params

    def compute(missing: dict[Path, dict[str, Any]], recorded: Callable[[], dict[str, Any]]) -> None:
        run.progress.begin(step, len(wanted))
        store_activations(
            run.lm,
            wanted,
            folder,
            [parts[path][0] for path in missing],
            storage=params.storage,
            batch_size=params.extraction_batch,
            matched=lambda part: missing[layer_file(folder, *part)],
            recorded=recorded,
            on_batch=lambda done: run.progress.advance(done - run.progress.done),
        )

    run.artifacts.obtain_group({path: made_from for path, (_, made_from) in parts.items()}, compute)


def storage_table(run: Run) -> pd.DataFrame:
    """Position, site, layers, texts and rows of what is stored, one row's shape, the type, and MiB on disk."""
    rows, sites = [], tuple(dict.fromkeys(("resid_pre", *run.params.sites)))
    places = places_of(run.lm, sites, run.params.layers or None)
    for position in positions(run):
        held = stored(run, position).sites
        for site in sites:
            chosen = [n for named, n in places if named == site and n in held.get(site, ())]
            if not chosen:  # the final residual's layer alone
                continue
            path = layer_file(run.paths.activations(), position, site, chosen[0])
            with tensor_files.open_tensors(path) as view:
                part = view.get_slice("values")
                shape, kind = part.get_shape(), part.get_dtype()
                texts_held = int((np.diff(view.get_tensor("offsets")) > 0).sum())
            size = sum(layer_file(run.paths.activations(), position, site, n).stat().st_size for n in chosen)
            row = {"position": position, "site": site, "layers": len(chosen), "texts": texts_held, "rows": shape[0]}
            rows.append({**row, "shape": "×".join(map(str, shape[1:])), "type": kind, "MiB": size / 2**20})
    return pd.DataFrame(rows)


def cost(run: Run) -> pd.DataFrame:
    """Texts, tokens, seconds and device of the pass that made the files, as their manifests say."""
    path = layer_file(run.paths.activations(), positions(run)[0], "resid_pre", (run.params.layers or (0,))[0])
    recorded = store.read_manifest(path)["recorded"]
    held = texts_table(run)
    row = {"texts": len(held), "tokens": int(held["n_tokens"].sum()), **{k: recorded[k] for k in ("seconds", "device")}}
    return pd.DataFrame([{**row, "texts_per_s": len(held) / max(recorded["seconds"], 1e-9)}])


def massive_dimensions(acts: Activations) -> pd.DataFrame:
    """`massive_table`, with the layers' own numbers."""
    table = massive_table(acts)
    return table.assign(layer=np.array(acts.layer_numbers)[table["layer"]])


def trigger_table(held: pd.DataFrame) -> pd.DataFrame:
    """How many texts of every label and style have a trigger, and where it stands (share of the text's length).

    Args:
        held: of `texts_table`.
    """
    held = held[styles.counts_in_its_style(held)]
    place = held["trigger"] if "trigger" in held else pd.Series(NONE, index=held.index)
    held = held.assign(found=place != NONE, place=place / (held["n_tokens"] - 1).clip(lower=1))
    rows = []
    for (emotion, style), part in held.groupby(["emotion", "style"], sort=False):
        row = {"emotion": emotion, "style": style, "texts": len(part), "found": int(part["found"].sum())}
        rows.append({**row, "place": float(part.loc[part["found"], "place"].mean())})
    return pd.DataFrame(rows)


def norm_correlations(run: Run, acts: Activations) -> pd.DataFrame:
    """Spearman correlation, over the texts, of the mean token norm at the layer where it is strongest with each score.

    The text's length is among the scores, as what else the norm may follow. `null` is the 97.5th percentile of the
    same maximum over layers when the scores are shuffled between texts. Texts of one token are left out.
    """
    acts = acts.where(acts.texts["n_tokens"] > 1)
    scored = with_targets(run.scored(acts.texts), run.emotions)
    columns = {"n_tokens": acts.texts["n_tokens"].to_numpy()}
    named = [*(f"target/{e}" for e in run.emotions), "valence", "politeness/score"]
    columns |= {name: scored[name].to_numpy() for name in named if name in scored}
    inner = [slice(start + 1, stop) for start, stop in itertools.pairwise(acts.offsets)]  # the first token left out
    norms = np.stack([[layer[part].mean() for part in inner] for layer in acts.token_norms])
    ranked = _standard(rankdata(norms, axis=1))
    rng = np.random.default_rng(run.params.seed)
    rows = []
    for name, values in columns.items():
        score = _standard(rankdata(values)[None])[0]
        found = ranked @ score
        best = int(np.argmax(np.abs(found)))
        by_chance = np.abs(ranked @ rng.permuted(np.tile(score, (N_SHUFFLES, 1)), axis=1).T).max(axis=0)
        row = {"score": name, "n": len(values), "layer": acts.layer_numbers[best], "strongest": float(found[best])}
        rows.append({**row, "null": float(np.quantile(by_chance, 0.975)), "median": float(np.median(found))})
    return pd.DataFrame(rows)


def _standard(rows: np.ndarray) -> np.ndarray:
    """Rows of mean 0 and length 1, so that a product of two is their correlation."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.finfo(float).tiny)


def norm_shares(acts: Activations, *, largest: tuple[int, ...] = (1, 3, 10)) -> pd.DataFrame:
    """Per layer: how large the stream is, and what of it the largest dimensions hold.

    Returns:
        layer, median_norm and bulk_norm (median L2 norm and bulk norm of all tokens but the first ones), bulk_share
        (the second by the first), first_token_norm, and the share of ‖h‖² in the largest dimensions; NaN where bulk
        norms are not known.
    """
    first = acts.token_norms[:, acts.offsets[:-1]]
    energy = (acts.values["resid_pre"] ** 2).mean(axis=1)
    ordered = -(-energy).copy()
    ordered.sort(axis=1)
    ordered = ordered[:, ::-1]
    norms, bulk = acts.median_norms(), acts.median_bulk_norms()
    bulk = np.full(len(norms), np.nan) if bulk is None else bulk
    table = pd.DataFrame(
        {
            "layer": acts.layer_numbers,
            "median_norm": norms,
            "bulk_norm": bulk,
            "bulk_share": bulk / norms,
            "first_token_norm": pd.Series(list(first)).map(lambda row: float(pd.Series(row).median())),
        }
    )
    for count in largest:
        table[f"top{count}_share"] = ordered[:, :count].sum(axis=1) / ordered.sum(axis=1)
    return table

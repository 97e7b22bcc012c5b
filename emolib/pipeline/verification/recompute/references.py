"""What Phase 5's sweeps are judged and measured by, worked out again: the fluency reference and the unit `kl`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.pipeline.verification.check_rows import Measured, Rows
from emolib.pipeline.verification.recompute.material import Material
from emolib.pipeline.verification.recompute.plain_acts import steer
from emolib.pipeline.verification.recompute.plain_writing import Sampled, Stored, log_softmax, parts_at
from emolib.pipeline.verification.recompute.shard_acts import PartActs, parts_of, plain_schedule
from emolib.pipeline.verification.recompute.texts import LIKELIHOOD, PARTS, mean_nll, random_numbers
from emolib.pipeline.verification.run_files import Artifact

TEMPERATURE, TOP_P = 0.8, 0.9  # of the fluency reference
N_PROMPTS, N_TOKENS, FEWEST = 8, 12, 3  # texts that the unit is measured along, most and fewest tokens of each
KL = 0.02  # relative


def check_references(material: Material, rows: Rows) -> None:
    """Drawn texts of the fluency reference are those that their random numbers give, and as likely as is stored."""
    given, limits = material.parameters, {"recomputed texts": PARTS, "recomputed likelihoods": LIKELIHOOD}
    made: list[tuple[str, Artifact, Measured]] = []
    for artifact in material.run.of_kind("fluency reference"):
        held = material.run.table(artifact)
        text, likelihood = (Measured(of=len(held), tolerance=limit[material.is_float32]) for limit in limits.values())
        for place in _drawn(material, held, artifact.path.stem):
            row = held.iloc[place]
            prompt, ids = material.model.prompt_ids(row["prompt"]), material.model.text_ids(row["text"])
            logits, _ = material.model.forced(prompt, ids)
            off = abs(mean_nll(logits, ids) - row["nll"]) if ids else 0.0
            likelihood.add(off, f"the likelihood of {row['id']}")
            most = int(given["max_new_tokens"])
            choose = Sampled(random_numbers([int(given["seed"]), 1, place], most), TEMPERATURE, TOP_P)
            off = parts_at(material.model, prompt, Stored(row["text"], most), None, choose, logits)
            text.add(off, f"the text of {row['id']}")
        made += [(check, artifact, found) for check, found in zip(limits, (text, likelihood), strict=True)]
    for check in limits:
        rows.check = check
        for told, artifact, found in made:
            if told == check:
                rows.measured(artifact.path, found)


def _drawn(material: Material, held: pd.DataFrame, name: str) -> list[int]:
    """Rows of every label."""
    found: list[int] = []
    for label, part in held.groupby("emotion", sort=True):
        chosen = part.index[material.drawn(f"reference {name} {label}", len(part))]
        found += held.index.get_indexer(chosen).tolist()
    return sorted(found)


def check_lengths(material: Material, rows: Rows) -> None:
    """Vectors of the stored lengths change the next token by the stored KL; the unit is their geometric mean."""
    rows.check = "recomputed KL lengths"
    references = {a.said.get("part") or "": a for a in material.run.of_kind("fluency reference")}
    parts = parts_of(material)
    for artifact in material.run.of_kind("KL lengths"):
        name = artifact.said.get("part") or ""
        if name not in references or name not in parts:
            rows.skipped(artifact.path, "the texts that it was measured along are not here")
            continue
        held = material.run.table(artifact)
        found = Measured(of=len(held), tolerance=KL)
        reference = material.run.table(references[name])
        along = reference[reference["emotion"] == parts[name].neutral].head(N_PROMPTS)
        for place in material.drawn(f"KL lengths {name}", len(held)):
            row = held.iloc[place]
            of_layer = held.loc[held["layer"] == row["layer"], "length"].dropna()
            off = abs(row["unit"] / np.exp(np.log(of_layer).mean()) - 1)
            if not np.isnan(row["length"]):
                wanted = _mean_kl(material, parts[name], along, int(row["layer"]), row["emotion"], row["length"])
                off = max(off, abs(row["kl"] / wanted - 1))
            found.add(float(off), f"the length of {row['emotion']} at layer {row['layer']}")
        rows.measured(artifact.path, found)


def _mean_kl(material: Material, part: PartActs, along: pd.DataFrame, layer: int, emotion: str, length: float) -> float:
    """Mean over texts of the mean KL(unpatched ‖ patched) after the prompt and after each token but the last."""
    given = material.parameters
    timing = {"window": int(given["window"]), "schedule": plain_schedule(given["schedule"])}
    act = steer(layer, part.mean_difference(emotion, layer), length, **timing)
    values = []
    for prompt, text in along[["prompt", "text"]].itertuples(index=False):
        ids = material.model.text_ids(text)[:N_TOKENS]
        if len(ids) >= FEWEST:
            fed = material.model.prompt_ids(prompt)
            plain, patched = (log_softmax(material.model.forced(fed, ids, one)[0][:-1]) for one in (None, act))
            values.append((np.exp(plain) * (plain - patched)).sum(axis=-1).mean())
    return float(np.mean(values))

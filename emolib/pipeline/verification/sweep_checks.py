"""Phase 5's sweeps: shards against their cells, whole sweeps against their shards, and the controls beside the steers.

Written from what a sweep is said to be, without the code that makes one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from emolib.pipeline.verification.check_rows import Rows, careful
from emolib.pipeline.verification.record_checks import dataset_of
from emolib.pipeline.verification.run_files import Artifact, RunFiles

FAMILIES = ("isotropic", "covariance", "shuffled")
SEEDED = {"isotropic": 2, "covariance": 4, "shuffled": 5}  # the place of a family's kind, which seeds its directions
SHARD = re.compile(
    r"((?P<part>fold\d+)_)?(?P<what>validation_alternatives|test_alternatives|test_other_style|test_rivals|validation|test|dose)_.+"
)
WHOLE = {
    **{"validation": "validation", "test": "test", "dose": "dose"},
    **{"alternatives": "test_alternatives", "other_style": "test_other_style", "rivals": "test_rivals"},
}
WITH_BASELINE = ("dose", "alternatives")  # stand behind the test sweep's unpatched rows
CELL = ("kind", "emotion", "layer", "alpha", "index", "seed")
NORMS_DIFFER = {"float32": 1e-3}  # by which realised norms of one length may differ; other types round more
ROUGH = 0.03


# shards


def check_shards(run: RunFiles, rows: Rows) -> None:
    """Every shard has one row per cell, sample and prompt, in order, and each says what its cell does."""
    rows.check = "shards"
    record = run.records.get("phase5")
    data = dataset_of(record) if record else None
    for artifact in run.of_kind("shard"):
        if artifact.manifest is None:
            continue
        problems = careful(lambda: list(_shard_problems(run.table(artifact), artifact)))  # noqa: B023
        if data is not None:
            problems += careful(lambda: list(_prompt_problems(run.table(artifact), artifact, data)))  # noqa: B023
        rows.judged(artifact.path, problems, len(artifact.matched.get("cells", ())))


def _shard_problems(table: pd.DataFrame, artifact: Artifact) -> Iterator[str]:
    cells, scenarios = artifact.matched["cells"], artifact.matched["prompts"]["scenario"]
    settings = artifact.matched["settings"]
    samples = int(settings["n_samples"])
    expected = len(cells) * samples * len(scenarios)
    if len(table) != expected:
        told = f"{len(cells)} cells × {samples} samples × {len(scenarios)} prompts"
        yield f"expected {expected} rows ({told}), found {len(table)}"
        return
    wanted = _expected_rows(cells, scenarios, samples)
    for name in wanted:
        differ = wanted[name].to_numpy() != table[name].to_numpy()
        if differ.any():
            at = table["row_id"][differ.argmax()]
            yield f"{name} of {int(differ.sum())} rows is not that of their cell, such as {at}"
    if set(table["unit"]) != {settings["unit"]}:
        yield f"unit is {', '.join(sorted(set(table['unit'])))}, by its manifest {settings['unit']}"
    yield from _cell_problems(cells, int(settings["seed"]), artifact)


def _expected_rows(cells: Sequence[Sequence[Any]], scenarios: Sequence[str], samples: int) -> pd.DataFrame:
    rows = [
        (scenario, *cell[:6], sample, _name(scenario, cell, sample))
        for cell in cells
        for sample in range(samples)
        for scenario in scenarios
    ]
    return pd.DataFrame(rows, columns=["scenario", *CELL, "sample", "row_id"])


def _name(scenario: str, cell: Sequence[Any], sample: int) -> str:
    kind, emotion, layer, alpha, index = cell[:5]
    name = f"{scenario}|{kind}|{emotion}|{layer}|{alpha:g}|{index}"
    return name if sample == 0 else f"{name}|{sample}"


def _cell_problems(cells: Sequence[Sequence[Any]], seed: int, artifact: Artifact) -> Iterator[str]:
    """The layer is that of the file's name; control directions have the seeds that the run's seed gives them."""
    named = re.search(r"(isotropic|covariance|shuffled)?_?layer(\d{3})", artifact.said["shard"] or "")
    for kind, _, layer, _, index, own, *_ in cells:
        if named and layer != int(named[2]):
            yield f"a cell steers at layer {layer}, its name says {int(named[2])}"
            return
        if kind in SEEDED:
            drawn = int(np.random.SeedSequence([seed, SEEDED[kind], layer, index]).generate_state(1)[0])
        else:
            drawn = seed
        if own != drawn:
            yield f"the seed of {kind} {index} is {own}, the run's seed {seed} gives {drawn}"
            return


def _prompt_problems(table: pd.DataFrame, artifact: Artifact, data: pd.DataFrame) -> Iterator[str]:
    """What was continued are the data set's neutral texts, none of them of a training scenario."""
    prompts = pd.DataFrame(artifact.matched["prompts"])
    found = SHARD.fullmatch(artifact.said["shard"] or "")
    both = prompts.merge(data, on="scenario", how="left", suffixes=("", "_there"))
    unknown = prompts[~prompts["text"].isin(both.loc[both["text"] == both["text_there"], "text"])]
    if len(unknown):
        yield f"{len(unknown)} prompts are no texts of the data set, such as that of {unknown['scenario'].iloc[0]}"
    said = set(table["split"])
    if found and said - {found["what"].partition("_")[0], "test"}:
        yield f"its rows say split {', '.join(sorted(said))}"
    if found and found["part"] is None:
        there = set(data.loc[data["scenario"].isin(prompts["scenario"]), "split"])
        if there != said:
            yield f"its scenarios are of split {', '.join(sorted(there))}, its rows say {', '.join(sorted(said))}"


# whole sweeps


def check_sweeps(run: RunFiles, rows: Rows) -> None:
    """A whole sweep is its shards' rows, each once and as they are; nothing was left out or altered."""
    rows.check = "sweeps"
    shards = {what: _shards_of(run, what) for what in WHOLE.values()}
    baseline = [a for a in run.artifacts if a.said.get("whole") == "test"]
    for artifact in run.artifacts:
        whole = artifact.said.get("whole")
        if whole is None:
            continue
        parts = list(shards[WHOLE[whole]])
        if whole in WITH_BASELINE and baseline:
            held = run.table(baseline[0])
            parts.append(held[held["kind"] == "baseline"])
        problems = careful(lambda: list(_whole_problems(run.table(artifact), parts)))  # noqa: B023
        rows.judged(artifact.path, problems, len(run.table(artifact)))


def _shards_of(run: RunFiles, what: str) -> list[pd.DataFrame]:
    found = []
    for artifact in run.of_kind("shard"):
        name = SHARD.fullmatch(artifact.said["shard"] or "")
        if name and name["what"] == what:
            found.append(run.table(artifact).assign(part=name["part"] or ""))
    return found


def _whole_problems(table: pd.DataFrame, parts: list[pd.DataFrame]) -> Iterator[str]:
    if not parts:
        yield "none of its shards is here"
        return
    key = ["part", "row_id"]
    held = pd.concat(parts, ignore_index=True)[list(parts[0])]  # without what whole sweeps add
    shards = held.drop_duplicates(key).set_index(key)
    whole = table.drop_duplicates(key).set_index(key)
    lost, more = shards.index.difference(whole.index), whole.index.difference(shards.index)
    if len(lost):
        yield f"{len(lost)} rows of its shards are not in it, such as {lost[0][1]}"
    if len(more):
        yield f"{len(more)} rows lie in none of its shards, such as {more[0][1]}"
    both = whole.index.intersection(shards.index)
    ours, theirs = whole.loc[both], shards.loc[both]
    for name in (name for name in shards if name in whole):
        one, other = ours[name].to_numpy(), theirs[name].to_numpy()
        differ = (one != other) & ~(pd.isna(one) & pd.isna(other))
        if differ.any():
            at = both[differ][0][1]
            yield f"{name} of {int(differ.sum())} rows is not that of the shard, such as {at}"


# controls


def check_zero(run: RunFiles, rows: Rows) -> None:
    """A steer of strength 0 leaves every text as the unpatched model continues it."""
    rows.check = "alpha 0"
    for artifact, table in _test_sweeps(run):
        zero, base = (table[table["kind"] == kind] for kind in ("zero", "baseline"))
        if zero.empty:
            rows.failed(artifact.path, "it has no rows of strength 0")
            continue
        columns = ["text", "finish_reason", *table.filter(regex=r"^(keywords|target|fluency)/").columns]
        both = zero.merge(base, on=["part", "scenario", "sample"], how="left", suffixes=("", "_base"))
        problems = [told for name in columns if (told := _not_the_same(both, name))]
        problems += [f"{name} is not 0 in rows of strength 0" for name in ("alpha", "delta_ratio") if zero[name].any()]
        rows.judged(artifact.path, problems, len(both) * len(columns))


def _not_the_same(both: pd.DataFrame, name: str) -> str:
    ours, theirs = both[name], both[f"{name}_base"]
    wrong = ~((ours == theirs) | (ours.isna() & theirs.isna()))
    at = both["row_id"][wrong]
    return f"{name} of {len(at)} rows of strength 0 is not the unpatched one, such as {at.iloc[0]}" if len(at) else ""


def check_controls(run: RunFiles, rows: Rows) -> None:
    """As many control directions as the parameters say, at the steers' layer and strength, of the steers' norm."""
    rows.check = "controls"
    record = run.records.get("phase5")
    for artifact, table in _test_sweeps(run):
        problems: list[str] = []
        for part, rows_of in table.groupby("part"):
            where = f" in {part!s}" if part else ""
            count = record.parameters.get("n_controls") if record else None
            problems += [f"{told}{where}" for told in _control_problems(rows_of, count, _tolerance(run))]
        rows.judged(artifact.path, problems, int(table["kind"].isin(FAMILIES).sum()))


def _tolerance(run: RunFiles) -> float:
    record = run.records.get("phase5")
    model = (record.matched.get("model") if record else None) or {}
    return NORMS_DIFFER.get(str(model.get("dtype")), ROUGH)


def _control_problems(table: pd.DataFrame, count: int | None, tolerance: float) -> Iterator[str]:
    steered, scenarios = table[table["kind"] == "emotion"], table.loc[table["kind"] == "baseline", "scenario"].nunique()
    points = set(map(tuple, steered[["layer", "alpha"]].drop_duplicates().to_numpy()))
    if len(points) != 1:
        yield f"steers have {len(points)} pairs of layer and alpha"
    for family in FAMILIES:
        drawn = table[table["kind"] == family]
        numbers = sorted(set(drawn["index"]))
        if count is not None and numbers != list(range(count)):
            yield f"expected {count} directions of {family}, found {len(numbers)}"
        if drawn.empty:
            continue
        if set(map(tuple, drawn[["layer", "alpha"]].drop_duplicates().to_numpy())) != points:
            yield f"directions of {family} are not at the layer and alpha of the steers"
        lacking = drawn.groupby("index")["scenario"].nunique() != scenarios
        if lacking.any():
            yield f"{int(lacking.sum())} directions of {family} lack scenarios"
        yield from _norm_problems(steered, drawn, family, tolerance)


def _norm_problems(steered: pd.DataFrame, drawn: pd.DataFrame, family: str, tolerance: float) -> Iterator[str]:
    """Every direction moves a prompt's residual by as much as the steer that it is the control of."""
    by = ["scenario", "emotion"] if set(steered["unit"]) == {"vector"} else ["scenario"]
    wanted = steered.groupby(by)["delta_ratio"].median()
    held = drawn.groupby([*by, "index"])["delta_ratio"].median().reset_index()
    target = held.merge(wanted.rename("wanted").reset_index(), on=by, how="left")
    off = ~np.isclose(target["delta_ratio"], target["wanted"], rtol=tolerance, atol=0)
    if off.any():
        at = target["index"][off].iloc[0]
        yield f"{int(off.sum())} realised norms of {family} are not the steers', such as direction {at}"
    spread = steered.groupby(by)["delta_ratio"].agg(lambda values: values.max() - values.min()) / wanted
    if (spread > tolerance).any():
        yield "the steers' own realised norms differ"


def _test_sweeps(run: RunFiles) -> list[tuple[Artifact, pd.DataFrame]]:
    return [(a, run.table(a)) for a in run.artifacts if a.said.get("whole") == "test"]

"""Faults laid into a real run, one per kind of file and field: each is caught, and named by file and by what is wrong.

Most hide their traces: the altered file's manifest, the records and the seals tell its new hash, as if the run itself
had written it. What is left to notice is the content.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from laid_runs import LaidRun, read_files_once

from emolib.base import store
from emolib.pipeline.verification.check_rows import failures, lines
from emolib.pipeline.verification.report_checks import RUN_ID

RESIDUAL, RANDOM = "patching/residual/*_residual_sweep_", "patching_random/*_random_sweep_"
VECTORS = "emotion_vectors/*_"


@dataclass(frozen=True)
class Fault:
    """One alteration.

    Attributes:
        name: what was done.
        lay: does it.
        file: a part of the name of the file that a failure must name.
        told: words that the failure must say of it.
    """

    name: str
    lay: Callable[[LaidRun], object]
    file: str
    told: tuple[str, ...]


# alterations


def flip(pattern: str) -> Callable[[LaidRun], None]:
    """One bit of one byte, far from the file's ends."""

    def lay(run: LaidRun) -> None:
        path = run.find(pattern)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        run.put(path, bytes(data))

    return lay


def cut(run: LaidRun) -> None:
    path = run.find(f"{VECTORS}probes_mean.parquet")
    run.put(path, path.read_bytes()[:-200])


def wrong_hash(run: LaidRun) -> None:
    run.manifest(run.find("dataset/leaks.parquet"), lambda held: held["recorded"].update(sha256="0" * 64))


def no_manifest(run: LaidRun) -> None:
    store.manifest_path(run.find(f"{VECTORS}norms_mean.parquet")).unlink()


def manifest_of_another(run: LaidRun) -> None:
    path, other = run.find(f"{VECTORS}norms_last.parquet"), run.find(f"{VECTORS}norms_mean.parquet")
    run.put(store.manifest_path(path), store.manifest_path(other).read_bytes())


def no_json(run: LaidRun) -> None:
    run.put(store.manifest_path(run.find(f"{VECTORS}cosines_mean.parquet")), b"{")


def stray(run: LaidRun) -> None:
    run.put(run.root / "emotion_vectors" / "notes.parquet", b"mine")


def half_written(run: LaidRun) -> None:
    run.put(run.root / "dataset" / ".leaks.parquet.partial", b"half")


def missing_shard(run: LaidRun) -> None:
    run.remove(run.find(f"{RANDOM}test_shuffled*.parquet"))


def file_gone(run: LaidRun) -> None:
    run.find("activations/*/mean/mlp_out_layer003.safetensors").unlink()


def stale(run: LaidRun) -> None:
    """Made anew with other content, after the phases that stand on it."""
    path = run.find(f"{VECTORS}stability_mean.parquet")
    table = pd.read_parquet(path)
    data = store.table_bytes(table.assign(mean=table["mean"] / 2))
    run.put(path, data)
    run.manifest(path, lambda held: held["recorded"].update(sha256=store.sha256_of(path)))


def leftover(run: LaidRun) -> None:
    """A shard of an earlier operating point that nothing stands on any more."""
    path = run.find(f"{RESIDUAL}test_layer*.parquet")
    old = path.with_name(path.name.replace("layer0", "layer9", 1))
    run.put(old, path.read_bytes())
    run.put(store.manifest_path(old), store.manifest_path(path).read_bytes())


def tabled(pattern: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[LaidRun], Path]:
    return lambda run: run.table(pattern, change)


def valued(name: str, value: object, row: int = 0) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """One value of one column."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        altered = table.copy()
        column = altered[name].astype(float) if isinstance(value, float) else altered[name].copy()
        column.iloc[row] = value
        return altered.assign(**{name: column})

    return change


def other_flag(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(supported=table["supported"] ^ (table.index == 0))


def swapped_labels(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(emotion=table["emotion"].replace({"anger": "apology", "apology": "anger"}))


def permuted_labels(table: pd.DataFrame) -> pd.DataFrame:
    labels = table["emotion"].to_numpy()
    return table.assign(emotion=np.roll(labels, 1))


def without_broken(table: pd.DataFrame) -> pd.DataFrame:
    steered = table["kind"] == "emotion"
    kept = table[~(steered & table["fluency/broken"])]
    assert len(kept) < len(table), "no steered text is broken here"
    return kept.reset_index(drop=True)


def without_direction(table: pd.DataFrame) -> pd.DataFrame:
    return table[~((table["kind"] == "isotropic") & (table["index"] == 3))].reset_index(drop=True)


def both(shard: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[LaidRun], None]:
    """The same in a shard and in the whole sweep, so that the two agree."""

    def lay(run: LaidRun) -> None:
        for pattern in (shard, f"{RESIDUAL}test.parquet"):
            run.table(pattern, change)

    return lay


def longer_control(table: pd.DataFrame) -> pd.DataFrame:
    at = (table["kind"] == "covariance") & (table["index"] == 2)
    return table.assign(delta_ratio=table["delta_ratio"].where(~at, table["delta_ratio"] * 1.5))


def other_text_at_zero(table: pd.DataFrame) -> pd.DataFrame:
    place = table.index[table["kind"] == "zero"][0]
    return table.assign(text=table["text"].where(table.index != place, "Something else."))


def swapped_points(run: LaidRun) -> None:
    """Validation rows under each other's strength: another point would have been chosen."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        measured = [name for name in table if "/" in name and name != "fluency/broken"]
        steered = table.index[table["kind"] == "emotion"]
        columns = table[measured].to_numpy(dtype=float)
        columns[steered] = columns[steered][::-1]
        return table.assign(**pd.DataFrame(columns, columns=measured, index=table.index))

    run.table(f"{RESIDUAL}validation.parquet", change)


def of_manifest(pattern: str, change: Callable[[dict], object]) -> Callable[[LaidRun], None]:
    return lambda run: run.manifest(run.find(pattern), lambda held: change(held["matched"]))


def control_seed(matched: dict) -> None:
    matched["cells"][0][5] += 1


def control_seed_everywhere(run: LaidRun) -> None:
    path = run.table(
        f"{RANDOM}test_isotropic*.parquet",
        lambda table: table.assign(seed=table["seed"].where(table["index"] != 0, table["seed"] + 1)),
    )
    run.manifest(path, lambda held: control_seed(held["matched"]))


def leaked_scenario(run: LaidRun) -> None:
    """A test prompt becomes the neutral text of a training scenario, in the manifest and in every row."""
    texts = pd.read_parquet(run.find("activations/*/texts.parquet"))
    train = texts[(texts["split"] == "train") & (texts["emotion"] == "neutral")].iloc[0]
    path = run.find(f"{RESIDUAL}test_baseline.parquet")
    old = pd.read_parquet(path)["scenario"].iloc[0]

    def change(table: pd.DataFrame) -> pd.DataFrame:
        named = table["row_id"].str.replace(f"{old}|", f"{train['scenario']}|", regex=False)
        return table.assign(scenario=table["scenario"].replace(old, train["scenario"]), row_id=named)

    run.table(f"{RESIDUAL}test_baseline.parquet", change)
    prompts = json.loads(store.manifest_path(path).read_text(encoding="utf-8"))["matched"]["prompts"]
    prompts["scenario"][0], prompts["text"][0] = train["scenario"], train["text"]
    run.manifest(path, lambda held: held["matched"].update(prompts=prompts))


def other_model_in_header(values: dict, header: dict) -> None:
    header["model"] = "pythia_70m"


def shifted_layers(values: dict, header: dict) -> None:
    for name in values:
        if name.startswith("vector/"):
            values[name] = np.roll(values[name], 1, axis=0)


def lost_layer(values: dict, header: dict) -> None:
    for name in values:
        values[name] = values[name][:-1]


def not_a_number(values: dict, header: dict) -> None:
    values["values"][0, 0] = np.nan


def lost_row(values: dict, header: dict) -> None:
    values["values"] = values["values"][:-1]


def verdict(run: LaidRun) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(verdict="supported")

    path = run.table("statistics/claims.csv", change)
    digest = store.digest(path.read_bytes().decode())
    run.manifest(path, lambda held: held["matched"].update(claims=digest))


def report_number(run: LaidRun) -> None:
    """The smallest detectable effect that the conclusion of Phase 5 states."""

    run.report("phase5_residual_patching.ipynb", lambda text: re.sub(r"(標準偏差）が )\d\.\d+", r"\g<1>41.37", text))


def report_table(run: LaidRun) -> None:
    """A number of a displayed table becomes another one that stands there, too."""
    run.report("phase1_dataset.ipynb", lambda text: text.replace("0.57", "0.58", 1))


def not_run(run: LaidRun) -> None:
    def change(text: str) -> str:
        held = json.loads(text)
        next(cell for cell in held["cells"] if cell["cell_type"] == "code")["execution_count"] = None
        return json.dumps(held)

    run.report("phase2_activations.ipynb", change)


def no_report(run: LaidRun) -> None:
    (run.reports / "phase7_statistics.ipynb").unlink()


def report_of_another(run: LaidRun) -> None:
    other = (run.reports / "phase2_activations.ipynb").read_text(encoding="utf-8")
    run.report("phase1_dataset.ipynb", lambda text: other)


def report_parameter(run: LaidRun) -> None:
    run.report("phase5_residual_patching.ipynb", lambda text: re.sub(r"(- `n_controls`: )`\d+`", r"\g<1>`7`", text))


def other_run(run: LaidRun) -> None:
    """The report of a run that had other parameters, data or another model, as its run's name tells."""
    log = run.root / "timing" / "phase_timings.jsonl"
    report = (run.reports / "phase3_vectors.ipynb").read_text(encoding="utf-8")
    (name,) = set(RUN_ID.findall(report))
    other = name[:-8] + "deadbeef"
    run.put(log, log.read_bytes().replace(name.encode(), other.encode()))
    run.report("phase3_vectors.ipynb", lambda text: text.replace(name, other))


def other_record(run: LaidRun) -> None:
    """The phase's record was written anew, the report was not."""
    path = run.root / "status" / f"{run.model}_phase1.json"
    run.put(path, path.read_bytes() + b"\n")
    run.manifest(path, lambda held: held["recorded"].update(sha256=store.sha256_of(path)))


def no_seal(run: LaidRun) -> None:
    run.remove(run.root / "seals" / f"{run.model}_phase3.json")


def no_record(run: LaidRun) -> None:
    run.remove(run.root / "status" / f"{run.model}_phase5.json")


def parameter(phase: str, name: str, value: object) -> Callable[[LaidRun], None]:
    return lambda run: run.record(phase, lambda matched: matched["parameters"].update({name: value}))


def of_record(phase: str, name: str, value: object) -> Callable[[LaidRun], None]:
    return lambda run: run.record(phase, lambda matched: matched.update({name: value}))


def figure(run: LaidRun) -> None:
    run.hidden(run.find("plots/*/*.html"), b"no page")


OTHER_MODEL = {"model": "other", "revision": "0" * 64, "dtype": "float32", "quantization": "none"}
FAULTS = (
    # bytes, manifests, presence
    Fault("a byte of activations", flip("activations/*/mean/resid_pre_layer005.safetensors"), "layer005", ("sha256",)),
    Fault("a byte of a shard", flip(f"{RESIDUAL}test_baseline.parquet"), "test_baseline", ("sha256",)),
    Fault("a byte of a figure", flip("plots/*/*.html"), ".html", ("sha256",)),
    Fault("a file cut short", cut, "probes_mean", ("cannot be read",)),
    Fault("a wrong hash", wrong_hash, "leaks.parquet", ("sha256 000000000000",)),
    Fault("a removed manifest", no_manifest, "norms_mean", ("orphan", "no manifest")),
    Fault("a manifest of another file", manifest_of_another, "norms_last", ("sha256",)),
    Fault("a manifest that is no JSON", no_json, "cosines_mean", ("manifest cannot be read",)),
    Fault("a file that nobody made", stray, "notes.parquet", ("orphan",)),
    Fault("a half-written file", half_written, "leaks.parquet.partial", ("half written",)),
    Fault("a missing shard", missing_shard, "shuffled", ("missing", "phase5")),
    Fault("a file gone, its manifest left", file_gone, "mlp_out_layer003", ("missing",)),
    Fault("a stale file", stale, "stability_mean", ("stale", "phase3")),
    Fault("a shard of an earlier choice", leftover, "layer9", ("stale", "no finished phase")),
    Fault("a figure that is none", figure, ".html", ("no html",)),
    # tables, traces hidden
    Fault("a column lost", tabled("dataset/gates.parquet", lambda t: t.drop(columns="auc")), "gates", ("lacks", "auc")),
    Fault("a column more", tabled("dataset/openings.parquet", lambda t: t.assign(x=1)), "openings", ("has not: x",)),
    Fault(
        "numbers as text",
        tabled(f"{VECTORS}norms_last.parquet", lambda t: t.assign(l2=t["l2"].astype(str))),
        "norms_last",
        ("expected float", "l2"),
    ),
    Fault("NaN", tabled(f"{VECTORS}stability_mean.parquet", valued("mean", np.nan)), "stability", ("NaN", "mean")),
    Fault(
        "an infinite value",
        tabled(f"{VECTORS}distances_mean.parquet", valued("distance", np.inf)),
        "distances",
        ("inf",),
    ),
    Fault("an AUC of 1.7", tabled(f"{VECTORS}probes_mean.parquet", valued("auc", 1.7)), "probes", ("auc", "0 to 1")),
    Fault(
        "a duplicated row",
        tabled(f"{VECTORS}norms_mean.parquet", lambda t: pd.concat([t, t.head(1)], ignore_index=True)),
        "norms_mean",
        ("twice",),
    ),
    Fault(
        "a row lost",
        tabled("emotion_subspaces/*_stability.parquet", lambda t: t.drop(index=5)),
        "stability",
        ("expected",),
    ),
    Fault(
        "an emotion lost",
        tabled(f"{VECTORS}probes_mean.parquet", lambda t: t[t["emotion"] != "anger"].reset_index(drop=True)),
        "probes_mean",
        ("anger",),
    ),
    Fault(
        "a layer lost", tabled(f"{VECTORS}norms_mean.parquet", lambda t: t[t["layer"] != 7]), "norms_mean", ("layer 7",)
    ),
    Fault("a table emptied", tabled("dataset/label_counts.parquet", lambda t: t.head(0)), "label_counts", ("no row",)),
    Fault("a p of 2", tabled("statistics/effect_sizes.csv", valued("p_wilcoxon", 2.0)), "effect_sizes", ("0 to 1",)),
    # vectors and activations
    Fault(
        "another model's vectors",
        lambda run: run.tensors(f"{VECTORS}vectors_mean.safetensors", other_model_in_header),
        "vectors_mean",
        ("header", "pythia_70m"),
    ),
    Fault(
        "vectors of another layer",
        lambda run: run.tensors(f"{VECTORS}vectors_mean_explicit.safetensors", shifted_layers),
        "kl_lengths",
        ("stale", "vectors_mean_explicit"),
    ),
    Fault(
        "vectors without the last layer",
        lambda run: run.tensors(f"{VECTORS}vectors_last.safetensors", lost_layer),
        "vectors_last",
        ("layers",),
    ),
    Fault(
        "an activation that is no number",
        lambda run: run.tensors("activations/*/last/resid_pre_layer002.safetensors", not_a_number),
        "layer002",
        ("not finite",),
    ),
    Fault(
        "a text's activations lost",
        lambda run: run.tensors("activations/*/mean/mlp_out_layer002.safetensors", lost_row),
        "mlp_out_layer002",
        ("offsets",),
    ),
    Fault(
        "labels permuted",
        tabled("activations/*/texts.parquet", permuted_labels),
        "texts.parquet",
        ("another emotion than in the data set",),
    ),
    # sweeps
    Fault(
        "a swapped layer",
        tabled(f"{RESIDUAL}validation_layer*.parquet", lambda t: t.assign(layer=t["layer"] + 1)),
        "validation_layer",
        ("layer", "cell"),
    ),
    Fault("swapped labels", tabled(f"{RESIDUAL}test.parquet", swapped_labels), "sweep_test.parquet", ("emotion",)),
    Fault(
        "a truncated shard",
        tabled(f"{RESIDUAL}test_direct_path.parquet", lambda t: t.head(7)),
        "direct_path",
        ("found 7",),
    ),
    Fault(
        "broken texts dropped",
        tabled(f"{RESIDUAL}test.parquet", without_broken),
        "sweep_test.parquet",
        ("rows of its shards are not in it",),
    ),
    Fault(
        "a broken text called whole",
        tabled(
            f"{RESIDUAL}test_baseline.parquet",
            lambda t: t.assign(**{"fluency/broken": ~t["fluency/broken"].astype(bool)}),
        ),
        "test_baseline",
        ("against the rule",),
    ),
    Fault(
        "the reference of broken texts altered",
        tabled("patching/residual/*_fluency_reference.parquet", lambda t: t.assign(nll=t["nll"] + 1)),
        "validation_baseline",
        ("nll_limit",),
    ),
    Fault(
        "a control direction left out",
        tabled(f"{RESIDUAL}test.parquet", without_direction),
        "sweep_test.parquet",
        ("expected", "directions of isotropic, found"),
    ),
    Fault(
        "a longer control",
        both(f"{RANDOM}test_covariance*.parquet", longer_control),
        "sweep_test.parquet",
        ("norms of covariance", "direction 2"),
    ),
    Fault(
        "another text at strength 0",
        both(f"{RESIDUAL}test_zero.parquet", other_text_at_zero),
        "sweep_test.parquet",
        ("text of 1 rows of strength 0",),
    ),
    Fault("another point on validation", swapped_points, "sweep_validation.parquet", ("not that of the shard",)),
    Fault("another seed of a control", control_seed_everywhere, "isotropic", ("seed of isotropic 0",)),
    Fault("a training scenario among the prompts", leaked_scenario, "test_baseline", ("split", "train")),
    Fault(
        "a length of the unit lost",
        tabled("patching/residual/*_kl_lengths.parquet", lambda t: t.iloc[1:].reset_index(drop=True)),
        "kl_lengths",
        ("expected",),
    ),
    # claims and verdicts
    Fault(
        "an edited claim",
        tabled(f"{RESIDUAL}claims.parquet", valued("own_effect", 0.5)),
        "claims",
        ("own_effect", "0.5"),
    ),
    Fault(
        "a sign flipped",
        tabled(f"{RESIDUAL}claims.parquet", lambda t: t.assign(vs_others=-t["vs_others"] - 0.01)),
        "claims",
        ("vs_others",),
    ),
    Fault("a claim judged otherwise", tabled(f"{RESIDUAL}claims.parquet", other_flag), "claims", ("supported",)),
    Fault("an altered verdict", verdict, "statistics/claims.csv", ("verdict", "supported")),
    Fault(
        "a claim about steering lost",
        tabled("statistics/claims.csv", lambda t: t[t["claim"] != "steering"]),
        "statistics/claims.csv",
        ("claims about steering",),
    ),
    # manifests and records
    Fault(
        "another seed in a manifest",
        of_manifest(f"{VECTORS}stability_mean.parquet", lambda m: m.update(seed=7)),
        "stability_mean",
        ("seed is 7",),
    ),
    Fault(
        "another window",
        of_manifest(f"{RESIDUAL}test_layer*.parquet", lambda m: m["settings"].update(window=9)),
        "test_layer",
        ("window is 9",),
    ),
    Fault(
        "another model in a manifest",
        of_manifest(f"{RESIDUAL}test_zero.parquet", lambda m: m.update(model=OTHER_MODEL)),
        "test_zero",
        ("model",),
    ),
    Fault(
        "another step in a manifest",
        of_manifest("dataset/leaks.parquet", lambda m: m.update(step=99)),
        "leaks",
        ("step",),
    ),
    Fault(
        "another position",
        of_manifest("activations/*/mean/resid_pre_layer001.safetensors", lambda m: m.update(position="last")),
        "mean/resid_pre_layer001",
        ("position",),
    ),
    Fault(
        "activations of other texts",
        of_manifest("activations/*/last/resid_pre_layer001.safetensors", lambda m: m.update(texts="0" * 64)),
        "last/resid_pre_layer001",
        ("other texts",),
    ),
    Fault(
        "a table of other activations",
        of_manifest(f"{VECTORS}probes_mean.parquet", lambda m: m.update(activations="0" * 64)),
        "probes_mean",
        ("stale", "activations"),
    ),
    Fault("a changed seed", parameter("phase3", "seed", 5), "phase3.json", ("seed is 5",)),
    Fault("a changed parameter", parameter("phase5", "n_controls", 7), "phase5.json", ("n_controls is 7",)),
    Fault("another data set in a record", of_record("phase2", "dataset", "0" * 64), "phase2.json", ("data set",)),
    Fault("another model in a record", of_record("phase5", "model", OTHER_MODEL), "phase5.json", ("model",)),
    Fault("other scorers in a record", of_record("phase1", "scorers", "0" * 64), "phase1.json", ("scorers",)),
    Fault("a removed record", no_record, "phase5.json", ("no record",)),
    # reports
    Fault("an edited number in a conclusion", report_number, "phase5_residual_patching", ("41.37", "in no table")),
    Fault("an edited number in a displayed table", report_table, "phase1_dataset", ("altered since it was written",)),
    Fault("a report whose cell was not run", not_run, "phase2_activations", ("have all run",)),
    Fault("a missing report", no_report, "phase7_statistics", ("missing",)),
    Fault("another phase's report", report_of_another, "phase1_dataset", ("altered",)),
    Fault("an edited parameter in a report", report_parameter, "phase5_residual_patching", ("n_controls is '7'",)),
    Fault("a report of another run", other_run, "phase3_vectors", ("stale", "deadbeef")),
    Fault("a report of an earlier record", other_record, "phase1_dataset", ("stale", "another record")),
    Fault("a removed seal", no_seal, "phase3_vectors", ("seals", "missing")),
)


@pytest.fixture(autouse=True)
def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read_files_once(monkeypatch)


@pytest.fixture
def laid(smoke: tuple[Path, str], tmp_path: Path) -> LaidRun:
    return LaidRun(smoke[0], tmp_path / "copy")


def is_named(table: pd.DataFrame, fault: Fault) -> bool:
    """Whether a failure names the file and says what is wrong with it."""
    for row in failures(table).to_dict("records"):
        if fault.file in row["file"] and all(word in f"{row['check']} {row['told']}" for word in fault.told):
            return True
    return False


def test_an_untouched_run_passes(laid: LaidRun, monkeypatch: pytest.MonkeyPatch) -> None:
    *_, table = laid.found(monkeypatch)
    assert failures(table).empty, "\n".join(lines(failures(table)))
    assert set(table["status"]) <= {"pass", "skip"}
    compared = table.groupby("check")["compared"].sum()
    assert (compared > 0).all(), compared


def test_every_fault_is_caught_and_named(
    smoke: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    caught, named = {}, {}
    for number, fault in enumerate(FAULTS):
        run = LaidRun(smoke[0], tmp_path / str(number))
        fault.lay(run)
        for table in run.found(monkeypatch):  # as far as it takes
            caught[fault.name] = not failures(table).empty
            named[fault.name] = is_named(table, fault)
            if named[fault.name]:
                break
        shutil.rmtree(run.folder)
    with capsys.disabled():
        rates = ", ".join(
            f"{word} {sum(of.values()) / len(of):.0%}" for word, of in (("caught", caught), ("named", named))
        )
        print(f"\nfaults: {len(FAULTS)}, {rates}")
    assert len(caught) == len(FAULTS) >= 25, "two faults share a name"
    assert [name for name in caught if not (caught[name] and named[name])] == []

"""Labels with commas, slashes, capitals and other scripts: what is computed, named and stored of them."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from planted_runs import opened_run, written
from refusals import Place, Refusal, refused, refused_call

import emolib
from emolib.base import paths, store, tensor_files
from emolib.base.labels import spelled
from emolib.base.paths import LONGEST_NAME, ResultPaths, inside, name_part
from emolib.data.dataset import prompt_files
from emolib.data.keywords import load_keywords
from emolib.engine.triggers import trigger_tokens
from emolib.models.language_model import LanguageModel
from emolib.plots import figures, views
from emolib.readout.leaks import leak_table, sides
from emolib.scoring import goemotions
from emolib.scoring.measures import expected_measures, measures, require_measures, with_targets
from emolib.selftest.planted import plant, planted_scenarios
from emolib.study.artifacts import Artifacts
from emolib.study.phase1_dataset import against_neutral, surface_leak
from emolib.study.phase3_vectors import cross_model, fitting
from emolib.study.phase7_claims.statistics_files import csv_bytes, read_csv
from emolib.study.run import Run

JAPANESE = "\u611f\u8b1d"
AWKWARD = {
    "gratitude": f'calm, quiet / "{JAPANESE}" | <b>*x*</b> $y$',
    "anger": "Anger",
    "apology": "../../evil vs rest",
    "neutral": "None",
}

# names of artifacts

ORDINARY = ["gratitude", "Anger", "very_angry", "anger-2", "v1.5", "a", "1", "True", "nan", "x" * 60]
ODD = [
    *("", ".", "..", "../../evil", "..\\..\\evil", "/etc/passwd", "a/b", "a\x00b", "a\nb", "x" * 61, "x" * 300),
    *("CON", "con.txt", "LPT1", "dots.", "dots..", " space", "very angry", "calm, quiet", JAPANESE, "caf\u00e9"),
    *("\u202eabc", "~", "*", "a:b", "%2e%2e", "$HOME", "-", "\ud800", "anger-0123abcd", ".hidden"),
]


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_names_stand_for_themselves(name: str) -> None:
    assert name_part(name) == name


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_odd_names_give_plain_parts_that_no_other_name_gives(tmp_path: Path, name: str) -> None:
    part = name_part(name)
    if name != "-":
        assert part != name
    assert part.isascii() and len(part) <= 60 and set(part) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert inside(tmp_path, f"m_{part}.html").parent == tmp_path
    (tmp_path / f"m_{part}.html").touch()
    others = [name_part(other) for other in (*ORDINARY, *ODD) if other != name]
    assert part.casefold() not in [other.casefold() for other in others]
    assert name_part(part) == part if name == "-" else name_part(part) != part  # nobody can claim its place


@pytest.mark.parametrize(
    "part", ["", ".", "..", "../x", "a/b", "a\\b", "/x", "a\x00", "a\nb", "x" * (LONGEST_NAME + 1)]
)
def test_no_place_of_an_artifact_leaves_the_results(tmp_path: Path, part: str) -> None:
    where = ResultPaths("quick", "model", results=tmp_path)
    refused_call(lambda: inside(tmp_path, part), ["plain name", "rename"])
    refused_call(lambda: inside(tmp_path, "plots", part), ["plain name"])
    for bad in (
        ResultPaths(part, "model", results=tmp_path),
        ResultPaths("quick", "m", variant=part, results=tmp_path),
    ):
        refused_call(lambda bad=bad: bad.own, ["plain name"])
    if "/" in part or "\\" in part or not part.isprintable():
        for place in (where.plot, where.of_model(part).plot):
            refused_call(lambda place=place: place(f"figure_{part}", "html"), ["plain name"])
        for make in (where.dataset, where.vectors, where.vector_table, where.subspaces, where.subspace_table):
            refused_call(lambda make=make: make(part), ["plain name"])
        for make in (where.sweep, where.random_sweep, where.statistics, where.fluency_reference):
            refused_call(lambda make=make: make(part), ["plain name"])
        model = where.of_model(part)
        for make in (model.activations, model.batch_size, lambda: model.record("phase1")):
            refused_call(make, ["plain name"])


def test_a_path_that_was_made_elsewhere_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    artifacts = Artifacts(ResultPaths("quick", "m", results=tmp_path / "results"), lambda: pytest.fail("loaded"))
    for path in (tmp_path / "evil", tmp_path / "results" / "a" / ".." / ".." / "evil", Path("/tmp/evil")):
        refused_call(lambda path=path: artifacts.obtain(path, {}, lambda: b"x", model=False), ["below the results"])
        refused_call(lambda path=path: artifacts.obtain_group({path: {}}, lambda *_: None), ["below the results"])
    assert os.listdir(tmp_path) == ["results"] and not os.listdir(tmp_path / "results")


def test_the_files_of_prompts_are_named_so_too() -> None:
    table = pd.DataFrame({"emotion": ["joy", "../x"], "id": "", "scenario": "", "split": "", "text": ["a", "b"]})
    assert list(prompt_files(table)) == ["joy_prompts.json", f"{name_part('../x')}_prompts.json"]


# names of comparisons, and labels in one line

SETS = [
    ["joy", "neutral"],
    ["joy", "None", "rest"],
    ["rest", "joy"],
    ["rest", "rest'", "joy"],
    ["calm", "calm vs tense", "tense"],
    ["a vs rest", "b vs neutral", "neutral"],
    ["a", "a vs b", "b", "b vs a"],
    ["x, y", "../z", "a|b", JAPANESE],
]


@pytest.mark.parametrize("labels", SETS, ids=ascii)
@pytest.mark.parametrize("place", [0, -1])
def test_both_sides_of_every_comparison_are_told_again(labels: list[str], place: int) -> None:
    neutral = labels[place]
    texts = [(f"s{i}", label, f"{label} number {i}") for i in range(2) for label in labels]
    data = pd.DataFrame(texts, columns=["scenario", "emotion", "text"]).assign(style="unspecified", lang="en")
    table = sides(leak_table(data, neutral, n_folds=2, n_shuffles=1))
    found = table[["emotion", "other"]].drop_duplicates().itertuples(index=False, name=None)
    expected = [(label, neutral) for label in labels if label != neutral] + [(label, None) for label in labels]
    assert [(one, other if isinstance(other, str) else None) for one, other in found] == expected
    assert list(against_neutral(table)["emotion"].unique()) == [label for label in labels if label != neutral]


def test_the_largest_leak_is_between_the_labels_that_it_names() -> None:
    names = ["a vs b vs None", "c vs None", "a vs b vs rest", "c vs rest", "None vs rest"]
    table = pd.DataFrame({"comparison": names, "features": "surface", "style": "all", "auc": [0.9, 0.5, 0.6, 0.5, 0.5]})
    found = surface_leak(table)
    assert (found.emotion, found.other) == ("a vs b", "None")
    refused_call(lambda: sides(table.iloc[:1]), ["comparisons"])


@pytest.mark.parametrize(
    "labels", [*SETS, ["a,b", "a", "b"], ["[x]"], ['["x"]', "y"], ["a, b", '"c"'], [""]], ids=ascii
)
def test_labels_come_back_from_one_line(labels: list[str]) -> None:
    assert fitting.parted(fitting.joined(labels), sorted(labels)) == labels
    if not any("," in label for label in labels):
        assert fitting.joined(labels) == ",".join(labels)
    assert fitting.parted("calm, quiet,joy", ["joy", "calm, quiet"]) == ["calm, quiet", "joy"]  # no order is told


@pytest.mark.parametrize("labels", [["1", "2"], ["True", "False"], ["nan", "None"], ["1e5", "0x1"], ["null", "x"]])
def test_labels_are_still_text_in_the_tables_of_statistics(tmp_path: Path, labels: list[str]) -> None:
    table = pd.DataFrame({"emotion": labels, "kind": "emotion", "metric": labels, "mean": [0.5, float("nan")]})
    store.write(tmp_path / "t.csv", csv_bytes(table), {})
    pd.testing.assert_frame_equal(read_csv(tmp_path / "t.csv"), table)


# what measures a label


@pytest.mark.parametrize("label", ["Anger", "ANGER", "\uff41nger", " anger"])
def test_measures_are_found_regardless_of_case(label: str, tiny_models: dict[str, LanguageModel]) -> None:
    text = "I am so angry at you, this makes me furious."
    plain = with_targets(emolib.score_texts([text], backend="lexical"), ["anger"])
    other = with_targets(emolib.score_texts([text], backend="lexical"), [label])
    assert measures(other, [label]) == {label: [f"keywords/{label}", f"target/{label}"]}
    assert other[f"keywords/{label}"].tolist() == plain["keywords/anger"].tolist() == [2]
    assert other[f"target/{label}"].tolist() == plain["target/anger"].tolist()
    assert "keywords/anger" not in other and len(other.columns) == len(plain.columns)
    assert goemotions.is_present(other, label, "lexical").tolist() == [True]
    assert goemotions.matching_labels(label) == ("anger", "annoyance")
    assert load_keywords().find(text, label) == load_keywords().find(text, "anger") != []
    assert expected_measures([label]) == {label: measures(other, [label])[label]}
    table = pd.DataFrame({"text": [text, text], "emotion": ["anger", label], "lang": "en"})
    first, second = trigger_tokens(tiny_models["llama"].tokenizer, table)
    assert first == second >= 0


def test_a_label_like_a_measured_one_is_not_it() -> None:
    for label in ("angers", "anger, mild", "joy/sadness", "no anger", ""):
        assert goemotions.matching_labels(label) == () and load_keywords().label_of(label) is None
        refused_call(lambda label=label: require_measures(["joy", label]), ["nothing measures", "Phase 5"], ["'joy'"])
    require_measures(["JOY", "Anger", "apology", "Gratitude"])
    assert spelled("JOY", goemotions.LABELS) == "joy"


# before the first kernel


def labelled(*labels: str, count: int = 40) -> Any:
    rows = []
    for i in range(count):
        word = "".join(chr(97 + int(digit)) for digit in str(i))  # no two scenarios share any
        rows += [
            {"text": f"{label}{word} k{word}m p{word}q.", "emotion": label, "scenario": f"s{i}"} for label in labels
        ]
    return lambda folder: (folder / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def run_of(*words: str) -> list[str]:
    return ["run", "--profile", "baseline_smoke", "-p", "dataset={folder}/mine.jsonl", *words]


PHASES = ["--phase", "phase1", "--phase", "phase2", "--phase", "phase3"]


def in_language(language: str) -> Any:
    rows = [{"text": f"{e} {i}", "emotion": e, "lang": language} for i in range(6) for e in ("joy", "neutral")]
    return lambda folder: (folder / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))


UNMEASURED = [
    Refusal("a language without lists", run_of("--phase", "phase1"), ["language 'qq'", "en"], in_language("qq")),
    Refusal("a language that is a path", run_of(), ["'../profiles/quick'"], in_language("../profiles/quick")),
    Refusal("one label", run_of(), ["'boredom'", "Phase 5", "--phase phase3"], labelled("boredom", "neutral")),
    Refusal(
        "of several",
        run_of(),
        ["'awe', 'calm, quiet'", "params/keywords/en.yaml"],
        labelled("joy", "awe", "calm, quiet", "neutral"),
        ["'joy'"],
    ),
    Refusal("phase 5 alone", run_of("--phase", "phase5"), ["'boredom'"], labelled("boredom", "neutral")),
    Refusal("very many", run_of(), ["and more"], labelled("neutral", *(f"x{i}" * 30 for i in range(300)), count=1)),
    Refusal("neutral of that name", run_of("-p", "neutral=Joy"), ["'boredom'"], labelled("boredom", "joy")),
    Refusal("a path as label", run_of(), ["'../../evil'"], labelled("../../evil", "neutral")),
]


@pytest.mark.parametrize("case", UNMEASURED, ids=lambda case: case.name)
def test_labels_that_nothing_measures_are_told_before_the_first_kernel(
    place: Place, case: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emolib.pipeline import phases

    monkeypatch.setattr(phases, "execute", lambda *_, **__: pytest.fail("a kernel was started"))
    refused(place, case)


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        (PHASES, ["boredom", "../x", "neutral"]),
        (["-p", "vector_style=all"], ["ANGER", "neutral"]),
        (["--phase", "phase7"], ["x", "neutral"]),
    ],
)
def test_other_runs_begin(place: Place, monkeypatch: pytest.MonkeyPatch, words: list[str], labels: list[str]) -> None:
    from emolib.pipeline import phases

    begun: list[str] = []
    monkeypatch.setattr(phases, "execute", lambda run, *_, **__: begun.append(run.params.phase))
    labelled(*labels)(place.folder)
    if "phase7" in words:
        monkeypatch.setattr("emolib.study.checks.finished_phases", lambda run: [])
        place.folder.joinpath("mine.jsonl").unlink()
    given = run_of(*words) if "phase7" not in words else ["run", "--profile", "baseline_smoke", *words]
    asked = place.ask(given)
    assert asked.code == 0 and asked.err == "", asked.err
    assert begun == (
        [word for word in words if word.startswith("phase")]
        or ["phase1", "phase2", "phase3", "phase5", "phase6a", "phase7", "phase6b", "phase8", "phase9"]
    )


def test_a_run_tells_what_it_merged(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from emolib.pipeline import phases

    monkeypatch.setattr(phases, "execute", lambda *_, **__: None)
    rows = [{"text": f"{label} {i}", "emotion": label} for i in range(40) for label in ("Joy", "JOY", "Neutral")]
    (place.folder / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    asked = place.ask(run_of(*PHASES))
    assert asked.code == 0, asked.err
    assert asked.err.splitlines() == [
        "emolib: mine.jsonl: 'JOY' (40 rows) read as the label 'Joy'",
        "emolib: mine.jsonl: 'Neutral' (40 rows) read as the label 'neutral'",
    ]


# phases 1 to 3 as a whole


def report_of(run: Run, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs every code cell of the phase's notebook; returns the texts and tables that it shows."""
    monkeypatch.setattr(emolib, "open_run", lambda *names, **parameters: run)
    monkeypatch.setattr(figures, "show", lambda fig, name: None)
    monkeypatch.setattr(views, "show", lambda view: None)
    shown, space = [], {}
    for cell in nbformat.read(paths.notebook_file(run.params.phase), as_version=4).cells:
        if cell.cell_type == "code":
            tree = ast.parse(cell.source)
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "cell", "exec"), space)
            value = None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), space)
            shown.append(str(getattr(value, "data", value)))
    return "\n".join(shown)


GIVEN = {"backend": "lexical", "n_train": 12, "n_validation": 4, "n_test": 4}
FAST = {"n_folds": 2, "n_halves": 4, "n_shuffles": 1, "n_bootstrap": 50}


@pytest.fixture(scope="module")
def texts() -> pd.DataFrame:
    return planted_scenarios(plant("llama", distractors=False), 20, seed=1)


def test_awkward_labels_pass_through_phases_1_to_3(
    tmp_path: Path, texts: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    monkeypatch.setenv("EMOLIB_RESULTS", str(root / "results"))
    lm = plant("llama", distractors=False).lm
    root.mkdir()
    plain = opened_run(lm, "phase3", dataset=str(written(texts, root)), **GIVEN, **FAST)
    expected = {name: read(plain, "mean") for name, read in (("norms", fitting.norms), ("cosines", fitting.cosines))}
    renamed = texts.assign(emotion=texts["emotion"].map(AWKWARD))
    monkeypatch.setenv("EMOLIB_RESULTS", str(root / "other"))
    file = str(written(renamed, root))
    given = {"dataset": file, "neutral": "None", **GIVEN}
    told = report_of(opened_run(lm, "phase1", n_folds=2, **given), monkeypatch)
    assert "Anger" in told and JAPANESE in told
    report_of(opened_run(lm, "phase2", **given), monkeypatch)
    run = opened_run(lm, "phase3", **given, **FAST)
    report_of(run, monkeypatch)
    # the same numbers as with ordinary labels
    for name, read in (("norms", fitting.norms), ("cosines", fitting.cosines)):
        found = read(run, "mean")
        numbers = expected[name].select_dtypes("number").columns
        np.testing.assert_array_equal(found[numbers].to_numpy(), expected[name][numbers].to_numpy())
    assert list(dict.fromkeys(fitting.norms(run, "mean")["emotion"])) == [AWKWARD[e] for e in list(AWKWARD)[:3]]
    # the table of all models, beside another model's vectors
    source = run.paths.vectors("mean")
    with tensor_files.open_tensors(source) as view:
        tensors = {name: view.get_tensor(name) for name in view.keys()}  # noqa: SIM118
        about = {"model": "second", "revision": "1", "emotions": view.said("emotions")}
    store.write(run.paths.of_model("second").vectors("mean"), tensor_files.tensor_bytes(tensors, about), {})
    table = cross_model.cross_model(run)
    cosines = cross_model.cosines_of(table)
    assert set(cosines["emotion"]) == {AWKWARD[e] for e in ("gratitude", "anger", "apology")}
    assert np.allclose(cosines["cosine"], 1)
    # every file lies below the results, under a plain name
    made = [path for path in root.rglob("*") if "other" in path.parts]
    assert sorted(os.listdir(tmp_path)) == ["root"] and sorted(os.listdir(root)) == ["other", "results", "texts.jsonl"]
    assert all(path.name.isascii() and path.name.isprintable() and " " not in path.name for path in made)
    plots = {path.name for path in made if path.suffix == ".html"}
    first = name_part(AWKWARD["gratitude"])
    assert any(name.endswith(f"_token_projections_{first}.html") for name in plots), plots


def test_a_label_stands_in_phase_1_beside_those_that_were_read_as_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emolib.report.ja.phase1_texts import sentence_merges

    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))
    rows = [("A.", "Joy|x"), ("B.", "JOY|X"), ("C.", "neutral"), ("D.", "joy")]
    table = pd.DataFrame(rows, columns=["text", "emotion"])
    table.to_json(tmp_path / "mine.jsonl", orient="records", lines=True)
    run = emolib.open_run("baseline_smoke", phase="phase1", dataset=str(tmp_path / "mine.jsonl"))
    told = sentence_merges(run)
    assert "Joy&#124;x" in told and "JOY&#124;X" in told and "1 \u884c" in told and "joy" not in told
    assert sentence_merges(emolib.open_run("baseline_smoke", phase="phase1")) == ""

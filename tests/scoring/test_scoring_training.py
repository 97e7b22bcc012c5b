"""Training the bundled scorers: what it reads, what it writes, and the weights that the repository holds."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from emolib import cli
from emolib.base import paths
from emolib.base.config import scorer_settings
from emolib.base.errors import UserError
from emolib.scoring import (
    evaluation,
    expressed,
    goemotions,
    politeness,
    score_texts,
    sentiment,
    trained_files,
    training,
)
from emolib.scoring.corpora import read_goemotions, read_tydip
from emolib.scoring.encoder import load_encoder
from emolib.scoring.goemotions import LABELS, WAYS, combined
from tests.contrast_rows import contrast_rows, write_rows

CPU = torch.device("cpu")
SETTINGS = {
    "seed": 0,
    "n_folds": 3,
    "lexical": {"min_df": 1, "c": 3.0},
    "encoder": {"hidden": 8, "dropout": 0.1, "rate": 0.01, "decay": 0.01, "batch": 32, "epochs": 3, "members": 2},
    "politeness": {"min_df": 1, "alpha": 1.0},
    "expressed": {
        **{"comments": 40, "rank": 2, "hidden": 4, "dropout": 0.1, "rate": 0.01, "decay": 0.01, "batch": 8},
        **{"epochs": 2, "members": 2, "units": 1280, "probes": 16},
    },
}
WRITTEN = {
    *("goemotions_lexical.safetensors", "goemotions_lexical.vocabulary.json", "goemotions_encoder.safetensors"),
    *("goemotions.json", "politeness.safetensors", "politeness.vocabulary.json", "sentiment.json"),
    *("metrics.json", "calibration.json", "expressed.safetensors", "expressed.json"),
}
FILLERS = ["the", "a", "on", "it", "was", "there", "today", "we", "saw", "one", "more", "of", "them"]
POLITE, RUDE = ("please", "thanks", "kindly"), ("stupid", "stop", "nonsense")


def comments(per_label: int, seed: int) -> str:
    """GoEmotions' layout: every label has a word of its own, every tenth comment two labels."""
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(per_label * len(LABELS)):
        ids = sorted({i % len(LABELS), *([(i + 3) % len(LABELS)] if i % 10 == 0 else [])})
        words = [*(f"so {LABELS[k]}ish" for k in ids), *rng.choice(FILLERS, 3)]
        lines.append(f"{' '.join(words)}\t{','.join(map(str, ids))}\tid{i}")
    return "\n".join(lines) + "\n"


def requests(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    good = rng.random(n) < 0.5
    texts = [" ".join([*rng.choice(POLITE if polite else RUDE, 2), *rng.choice(FILLERS, 4)]) for polite in good]
    return pd.DataFrame({"sentence": texts, "score": np.where(good, 1.0, -1.0) + rng.normal(0, 0.2, n)})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small made-up corpora: a folder like GoEmotions', with tydip.csv beside its files."""
    folder = tmp_path_factory.mktemp("corpora")
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    (folder / "train.tsv").write_text(comments(9, 0), encoding="utf-8")
    (folder / "dev.tsv").write_text(comments(3, 1), encoding="utf-8")
    requests(60, 2).to_csv(folder / "tydip.csv", index=False)
    return folder


@pytest.fixture
def copied(data: Path, tmp_path: Path) -> Path:
    """The corpora to spoil."""
    return Path(shutil.copytree(data, tmp_path / "corpora"))


def forget_scorers() -> None:
    loads = (
        scorer_settings,
        goemotions.load_models,
        politeness.load_model,
        sentiment._mapping,
        expressed.read_trained,
        expressed.load_expressed,
    )
    for load in loads:
        load.cache_clear()


@contextlib.contextmanager
def scorers_in(root: Path) -> Iterator[Path]:
    """Another root's scorers and settings in place of the repository's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_ROOT", str(root))
        forget_scorers()
        try:
            yield root
        finally:
            forget_scorers()


def root_with(folder: Path, settings: dict[str, Any]) -> Path:
    """A repository's root whose scorers are trained by `settings`."""
    (folder / "params" / "profiles").mkdir(parents=True)
    scorers = folder / "params" / "scorers"
    scorers.mkdir()
    shutil.copy(paths.params_folder("scorers") / "encoder.yaml", scorers)
    shutil.copytree(paths.params_folder("keywords"), folder / "params" / "keywords")
    (scorers / "training.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    (folder / "data").mkdir()
    write_rows(folder / "data" / "expressed.jsonl", contrast_rows())
    return folder


def train(data: Path, output: Path, **kwargs: Any) -> dict[str, Any]:
    return training.train_scorers(data, data / "tydip.csv", output, say=lambda line: None, **kwargs)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with tiny trained scorers."""
    root = root_with(tmp_path_factory.mktemp("root"), SETTINGS)
    with scorers_in(root):
        train(data, paths.params_folder("scorers"))
    return root


@pytest.fixture
def tiny_root(trained: Path) -> Iterator[Path]:
    """The tiny scorers in place of the repository's."""
    with scorers_in(trained) as root:
        yield root


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# reading


def test_comments_keep_their_texts_and_all_their_labels(copied: Path):
    lines = ["A line\u2028inside\x85and\x0bmore\t0,15\tx1", "Mine, yours\r\t27\tx2", "three\t3\tx3"]
    (copied / "train.tsv").write_bytes("\n".join(lines).encode())
    texts, truth = read_goemotions(copied, "train")
    assert texts == ["A line\u2028inside\x85and\x0bmore", "Mine, yours\r", "three"]
    assert [np.flatnonzero(row).tolist() for row in truth] == [[0, 15], [27], [3]]
    assert truth.shape == (3, len(LABELS)) and truth.dtype == np.uint8


def test_files_with_carriage_returns_read_the_same(copied: Path):
    plain = read_goemotions(copied, "dev")
    (copied / "dev.tsv").write_bytes((copied / "dev.tsv").read_bytes().replace(b"\n", b"\r\n"))
    texts, truth = read_goemotions(copied, "dev")
    assert texts == plain[0] and (truth == plain[1]).all()


GOOD = b"fine\t0\tx1\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"text\t28\tx2\n", ["dev.tsv, line 2", "0 to 27", "28"]),
        (b"text\t-1\tx2\n", ["dev.tsv, line 2"]),
        (b"text\t1,\tx2\n", ["dev.tsv, line 2"]),
        (b"text\t\tx2\n", ["dev.tsv, line 2"]),
        ("text\t²\tx2\n".encode(), ["dev.tsv, line 2"]),
        (b"text\t3\n", ["dev.tsv, line 2", "comment id"]),
        (b"text\tmore\t3\tx2\n", ["dev.tsv, line 2"]),
        (b"\n", ["dev.tsv, line 2"]),
        (b"\xff\t3\tx2\n", ["dev.tsv, line 2", "UTF-8", "0xff"]),
    ],
)
def test_a_malformed_comment_is_told_with_file_and_line(copied: Path, line: bytes, words: list[str]):
    (copied / "dev.tsv").write_bytes(GOOD + line + GOOD)
    expect_one_line(lambda: read_goemotions(copied, "dev"), *words)
    (copied / "dev.tsv").write_bytes(GOOD + GOOD)
    assert len(read_goemotions(copied, "dev")[0]) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "labels.txt").unlink(), ["labels.txt", "no such file"]),
        (lambda folder: (folder / "dev.tsv").unlink(), ["dev.tsv", "no such file"]),
        (lambda folder: (folder / "dev.tsv").write_bytes(b""), ["dev.tsv, line 1"]),
        (lambda folder: (folder / "labels.txt").write_text("\n".join(LABELS[:27])), ["28 labels", "27"]),
        (lambda folder: (folder / "labels.txt").write_text("\n".join(sorted(LABELS))), ["28 labels"]),
        (lambda folder: (folder / "labels.txt").write_bytes(b"joy\n\xe9\n"), ["labels.txt, line 2", "UTF-8"]),
    ],
)
def test_a_missing_or_other_corpus_is_told_in_one_line(copied: Path, change: Callable, words: list[str]):
    read_goemotions(copied, "dev")
    change(copied)
    expect_one_line(lambda: read_goemotions(copied, "dev"), *words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"text,score\na,1\n", ["tydip.csv", "sentence and score", "text"]),
        (b"sentence,score\na,1\nb,\n", ["tydip.csv, row 3", "number"]),
        (b"sentence,score\na,1\nb,nan\n", ["tydip.csv, row 3", "number"]),
        (b"sentence,score\na,inf\n", ["tydip.csv, row 2", "number"]),
        (b"sentence,score\na,polite\n", ["tydip.csv, row 2", "number"]),
        (b"sentence,score\n,1\n", ["tydip.csv, row 2", "sentence"]),
        (b"sentence,score\na,1\nb,1,2,3\n", ["tydip.csv", "line 3"]),
        (b"sentence,score\na,1\n\xff,1\n", ["tydip.csv, line 3", "UTF-8"]),
        (b"", ["tydip.csv"]),
    ],
)
def test_malformed_requests_are_told_in_one_line(tmp_path: Path, content: bytes, words: list[str]):
    path = tmp_path / "tydip.csv"
    path.write_bytes(content)
    expect_one_line(lambda: read_tydip(path), *words)
    path.write_bytes(b'sentence,score\n"Please, do",0.5\n12,-1\n')
    texts, score = read_tydip(path)
    assert texts == ["Please, do", "12"] and score.tolist() == [0.5, -1]


def test_missing_requests_are_told_in_one_line(tmp_path: Path):
    expect_one_line(lambda: read_tydip(tmp_path / "none.csv"), "none.csv", "no such file")


def expect_one_line(call: Callable[[], Any], *words: str) -> None:
    with pytest.raises(UserError) as caught:
        call()
    line = str(caught.value)
    assert line == line.strip() and len(line.splitlines()) == 1
    for word in words:
        assert word in line


# training


def test_training_writes_all_files_and_nothing_else(trained: Path):
    assert set(contents(trained / "params" / "scorers")) == {*WRITTEN, "encoder.yaml", "training.yaml"}


def test_training_with_another_seed_gives_other_bytes(trained: Path, data: Path, tmp_path: Path):
    first = contents(trained / "params" / "scorers")
    with scorers_in(root_with(tmp_path / "root", {**SETTINGS, "seed": 1})):
        train(data, tmp_path / "other")
    other = contents(tmp_path / "other")
    assert {name for name in WRITTEN if other[name] != first[name]} >= {
        "goemotions_encoder.safetensors",
        "goemotions.json",
        "metrics.json",
        "expressed.safetensors",
    }


def test_the_words_of_the_corpora_were_learned(tiny_root: Path):
    given = ["so gratitudeish it was", "so angerish it was", "the a on it"]
    table = score_texts(given)
    assert table["goemotions/gratitude"].idxmax() == 0 and table["goemotions/anger"].idxmax() == 1
    assert table["goemotions/gratitude"][0] > 5 * table["goemotions/gratitude"][2]
    polite = score_texts(["please kindly", "stop nonsense"])["politeness/score"]
    assert polite[0] > 0.2 and polite[1] < -0.2


def test_scorers_read_from_their_files_give_the_figures_that_were_reported(tiny_root: Path, data: Path):
    reported = json.loads((tiny_root / "params" / "scorers" / "metrics.json").read_text(encoding="utf-8"))
    texts, truth = read_goemotions(data, "dev")
    table = score_texts(texts)
    for way, family in zip(WAYS, ("goemotions_lexical", "goemotions_encoder", "goemotions"), strict=True):
        probability = table[[f"{family}/{label}" for label in LABELS]].to_numpy()
        found = evaluation.f1_table(truth, probability, goemotions.thresholds(way).to_numpy(), LABELS)
        told = pd.DataFrame(reported[f"goemotions_{way}"]["labels"]).T
        assert np.allclose(found["f1"], told["f1"], atol=1e-4)
        assert np.allclose(found["average_precision"], told["average_precision"], atol=1e-3)
        assert np.allclose(found["threshold"], told["threshold"], atol=1e-5)
        assert reported[f"goemotions_{way}"]["macro_f1"] == pytest.approx(told["f1"].mean(), abs=1e-4)
        shuffled = evaluation.f1_table(truth, probability[:, ::-1], goemotions.thresholds(way).to_numpy(), LABELS)
        assert not np.allclose(shuffled["f1"], told["f1"], atol=1e-2)


def test_what_is_read_back_equals_what_was_fitted_to_the_last_bit(tiny_root: Path, data: Path):
    texts, truth = read_goemotions(data, "train")
    settings = training.TrainingSettings(**SETTINGS)
    models, given = goemotions.load_models(), texts[:40]
    assert np.array_equal(training.fit_ngrams(texts, truth, settings)(given), models.ngrams(given))
    features = load_encoder(CPU).features(texts)
    fitted = training.fit_head(features, truth, settings)(features[:40])
    assert np.array_equal(fitted, models.head(features[:40]))
    assert not np.array_equal(np.nextafter(fitted, np.inf), fitted)
    requests_texts, score = read_tydip(data / "tydip.csv")
    fitted = training.fit_politeness(requests_texts, score, settings)(given)
    assert np.array_equal(fitted, politeness.load_model()(given))


def test_the_members_logits_are_averaged(data: Path, monkeypatch: pytest.MonkeyPatch):
    texts, truth = read_goemotions(data, "dev")
    features = load_encoder(CPU).features(texts)
    members: list[torch.nn.Module] = []
    fit = training._fit_member

    def kept(*args: Any) -> torch.nn.Module:
        members.append(fit(*args))
        return members[-1]

    monkeypatch.setattr(training, "_fit_member", kept)
    head = training.fit_head(features, truth, training.TrainingSettings(**SETTINGS))
    x = torch.from_numpy((features - head.mean) / head.scale)
    each = [member(x).numpy() for member in members]
    assert len(each) == 2 and np.abs(each[0] - each[1]).max() > 0.5
    assert np.abs(head(features) - np.mean(each, axis=0)).max() < 0.02  # half precision


def test_a_feature_that_never_varied_does_not_decide(data: Path):
    rng = np.random.default_rng(0)
    truth = read_goemotions(data, "dev")[1]
    features = rng.normal(size=(len(truth), 20)).astype(np.float32)
    features[:, 3] = 9.6640625 + 1e-4  # no number of half precision
    head = training.fit_head(features, truth, training.TrainingSettings(**SETTINGS))
    other = features.copy()
    other[:, 3] += 0.5
    assert np.abs(head(other) - head(features)).max() < 0.5
    other[:, 4] += 5
    assert np.abs(head(other) - head(features)).max() > 0.5


def test_calibration_brings_probabilities_to_the_observed_share():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4000, 2)).astype(np.float32)
    truth = (rng.random((4000, 2)) < 1 / (1 + np.exp(-(0.3 * z - 1)))).astype(np.uint8)
    fitted = trained_files.calibrated([z], truth)
    assert np.allclose(fitted, [[0.3, -1]] * 2, atol=0.15)
    probability = trained_files.expit32(combined([z], fitted))
    for i in range(2):
        assert evaluation.calibration_error(truth[:, i], probability[:, i]) < 0.03
        assert evaluation.calibration_error(truth[:, i], trained_files.expit32(z[:, i])) > 0.1


def test_sentiment_groups_leave_out_mixed_and_ambiguous_comments():
    rows = [("joy", "love"), ("neutral",), ("anger",), ("joy", "anger"), ("surprise",), ("joy", "confusion")]
    truth = np.array([[label in row for label in LABELS] for row in rows], np.uint8)
    assert training.sentiment_classes(truth).tolist() == [0, 1, 2, -1, -1, -1]
    grouped = [label for names in training.GROUPS.values() for label in names]
    assert len(grouped) == len(set(grouped)) == 24
    assert set(LABELS) - set(grouped) == {"confusion", "curiosity", "realization", "surprise"}


@pytest.mark.parametrize("moves", [0, 4])
def test_a_failure_half_way_leaves_the_old_files_as_they_were(
    trained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
):
    output = Path(shutil.copytree(trained / "params" / "scorers", tmp_path / "scorers"))
    (output / "sentiment.json").write_text("old")
    (output / "goemotions_lexical.safetensors").unlink()
    before, made = contents(output), []
    replace = os.replace

    def fails(source: Path, target: Path) -> None:
        if len(made) == moves:
            raise OSError(28, "No space left on device")
        made.append(target)
        replace(source, target)

    new = dict.fromkeys(sorted(WRITTEN), b"new")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        expect_one_line(lambda: trained_files.write_files(output, new), "expected room for", "No space left")
    assert contents(output) == before and len(made) == moves
    trained_files.write_files(output, new)
    assert {name: contents(output)[name] for name in WRITTEN} == new


def test_a_place_taken_by_a_folder_leaves_the_old_files_as_they_were(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "b").mkdir()
    expect_one_line(lambda: trained_files.write_files(tmp_path, {"a": b"new", "b": b"new"}), "Is a directory")
    assert (tmp_path / "a").read_bytes() == b"old" and [p.name for p in sorted(tmp_path.iterdir())] == ["a", "b"]


def test_a_label_that_is_too_rare_to_learn_is_told_before_training(tiny_root: Path, copied: Path, tmp_path: Path):
    lines = (copied / "train.tsv").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if "16" not in line.split("\t")[1].split(",")]
    assert len(kept) < len(lines)
    (copied / "train.tsv").write_text("\n".join(kept), encoding="utf-8")
    expect_one_line(lambda: train(copied, tmp_path / "out"), "'grief'", "train.tsv", "at least 3")
    assert not (tmp_path / "out").exists()


# how good a scorer is


def test_brier_skill_and_calibration_error_by_hand():
    truth, probability = np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.6, 0.4])
    assert evaluation.brier_skill(truth, probability) == pytest.approx(1 - 0.085 / 0.25)
    assert evaluation.brier_skill(truth, np.full(4, 0.5)) == pytest.approx(0)
    assert evaluation.brier_skill(truth, 1 - probability) < 0
    assert np.isnan(evaluation.brier_skill(np.zeros(4), probability))
    assert evaluation.calibration_error(truth, probability, n_bins=2) == pytest.approx(0.25)
    curve = evaluation.calibration_curve(truth, probability, n_bins=2)
    assert curve.to_numpy().tolist() == [[0.25, 0, 2], [0.75, 1, 2]]


def test_the_threshold_lies_where_f1_is_nearly_best():
    rng = np.random.default_rng(0)
    truth = (rng.random((3000, 2)) < [0.03, 0.4]).astype(int)
    probability = 1 / (1 + np.exp(-(2 * truth + rng.normal(size=truth.shape) - [4, 1])))
    found = evaluation.best_thresholds(truth, probability)
    for i in range(2):
        y, p = truth[:, i], probability[:, i]

        def f1(limit: float, y: np.ndarray = y, p: np.ndarray = p) -> float:
            return 2 * (y * (p >= limit)).sum() / (y.sum() + (p >= limit).sum())

        best = max(f1(limit) for limit in p)
        assert f1(found[i]) >= 0.99 * best
        assert f1(0.9) < 0.9 * best
    assert evaluation.best_thresholds(truth, probability / 1e3).tolist() == [0.02, 0.02]


def test_two_scorers_agree_with_themselves_and_not_with_their_opposite():
    a = np.array([0.1, 0.3, 0.6, 0.9])
    same = evaluation.agreement(a, a**2, a > 0.5, a > 0.5)
    assert same["kappa"] == 1 and same["rank_correlation"] == pytest.approx(1) and same["share_a"] == 0.5
    other = evaluation.agreement(a, -a, a > 0.5, a < 0.5)
    assert other["kappa"] == -1 and other["rank_correlation"] == pytest.approx(-1)
    never = evaluation.agreement(a, np.ones(4), a > 1, a > 1)
    assert np.isnan(never["kappa"]) and np.isnan(never["rank_correlation"]) and never["n"] == 4


# the command line


def emolib(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["emolib", *arguments])
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--goemotions": "nowhere"}, ["labels.txt"]),
        ({"--tydip": "nowhere.csv"}, ["nowhere.csv"]),
        ({"--tydip": "corpora/labels.txt"}, ["labels.txt", "sentence and score"]),
    ],
)
def test_wrong_paths_end_in_one_line_and_write_nothing(
    tiny_root: Path,
    copied: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    change: dict[str, str],
    words: list[str],
):
    monkeypatch.chdir(tmp_path)
    given = {"--goemotions": "corpora", "--tydip": "corpora/tydip.csv", "--output": "out", **change}
    before = contents(tiny_root / "params" / "scorers")
    code, out, err = emolib(monkeypatch, capsys, "train-scorers", *(word for pair in given.items() for word in pair))
    assert code == 2 and out == "" and len(err.strip().splitlines()) == 1 and "Traceback" not in err
    for word in words:
        assert word in err
    assert not (tmp_path / "out").exists() and contents(tiny_root / "params" / "scorers") == before


def test_the_command_trains_into_the_folder_it_is_given_and_twice_gives_the_same_bytes(
    tiny_root: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    given = ("--goemotions", str(data), "--tydip", str(data / "tydip.csv"), "-o", str(tmp_path / "out"))
    code, out, err = emolib(monkeypatch, capsys, "train-scorers", *given)
    assert code == 0, err
    first = contents(tiny_root / "params" / "scorers")
    assert contents(tmp_path / "out") == {name: first[name] for name in WRITTEN}
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert f"bundled  dev macro-F1 {metrics['goemotions_bundled']['macro_f1']:.3f}" in out
    assert f"Spearman {metrics['politeness']['spearman']:.3f}" in out


def test_the_command_trains_stances_alone(
    tiny_root: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    output = tmp_path / "out"
    code, out, err = emolib(
        monkeypatch, capsys, "train-scorers", "--only", "expressed", "--goemotions", str(data), "-o", str(output)
    )
    assert code == 0, err
    whole = contents(tiny_root / "params" / "scorers")
    assert contents(output) == {name: whole[name] for name in ("expressed.json", "expressed.safetensors")}
    figures = json.loads((output / "expressed.json").read_text(encoding="utf-8"))["test"]["anger"]
    own = figures["own_groups"]["balanced_accuracy"]
    assert f"{own:.3f} on its own held-out groups, {figures['balanced_accuracy']:.3f} on all of them" in out


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--only", "expresed", "--goemotions", "g"], ["--only", "did you mean 'expressed'"]),
        (["--only", "expressed"], ["--only expressed with --goemotions"]),
        (["--only", "expressed", "--goemotions", "g", "--tydip", "t"], ["without --tydip"]),
        (["--goemotions", "g"], ["--goemotions FOLDER and --tydip FILE"]),
    ],
)
def test_what_train_scorers_lacks_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, given: list[str], words: list[str]
):
    code, out, err = emolib(monkeypatch, capsys, "train-scorers", *given)
    assert code == 2 and out == "" and len(err.strip().splitlines()) == 1
    assert all(word in err for word in words), err


def test_check_scorers_refuses_an_unknown_backend(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    code, out, err = emolib(monkeypatch, capsys, "check-scorers", "--backend", "bundeld")
    assert code == 2 and out == "" and len(err.strip().splitlines()) == 1
    assert "'bundeld'" in err and "did you mean 'bundled'" in err


def test_check_scorers_names_a_missing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    root = root_with(tmp_path / "root", SETTINGS)
    shutil.copytree(paths.data_file().parent, root / "data", dirs_exist_ok=True)
    with scorers_in(root):
        code, out, err = emolib(monkeypatch, capsys, "check-scorers")
    assert code == 2 and out == "" and len(err.strip().splitlines()) == 1
    assert "params/scorers/" in err and "emolib train-scorers" in err


def test_check_scorers_prints_accuracy_per_kind_and_scorer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    code, out, err = emolib(monkeypatch, capsys, "check-scorers")
    assert code == 0, err
    head, *rows = out.splitlines()
    singles = ("goemotions lexical", "goemotions encoder", "goemotions bundled")
    for scorer in ("always absent", "keywords", *singles, "expressed", "sentiment"):
        assert scorer in head
    assert [row.split("  ")[0] for row in rows][-2:] == ["all but control", "the same, balanced"] and len(rows) == 11


# the repository's weights


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    return json.loads((paths.params_folder("scorers") / "metrics.json").read_text(encoding="utf-8"))


def reaches(metrics: dict[str, Any], floors: dict[tuple[str, ...], float]) -> list[str]:
    """The figures that lie below their floor."""
    low = []
    for keys, floor in floors.items():
        value = metrics
        for key in keys:
            value = value[key]
        if not value >= floor:
            low.append(f"{'/'.join(keys)} {value} < {floor}")
    return low


FLOORS = {
    ("goemotions_lexical", "macro_f1"): 0.44,
    ("goemotions_encoder", "macro_f1"): 0.42,
    ("goemotions_bundled", "macro_f1"): 0.47,
    ("goemotions_bundled", "labels", "gratitude", "f1"): 0.88,
    ("goemotions_bundled", "labels", "remorse", "f1"): 0.62,
    ("goemotions_bundled", "labels", "anger", "f1"): 0.40,
    ("politeness", "spearman"): 0.60,
}


def test_the_weights_are_at_most_8_megabytes():
    folder = paths.params_folder("scorers")
    files = {path.name: path.stat().st_size for path in folder.iterdir() if path.suffix != ".yaml"}
    assert set(files) == WRITTEN
    stances = files.pop("expressed.safetensors")
    assert stances <= 8e6 and sum(files.values()) <= 8e6


def test_the_reported_figures_reach_their_floors(committed: dict[str, Any]):
    assert reaches(committed, FLOORS) == []
    assert len(reaches(committed, dict.fromkeys(FLOORS, 0.99))) == len(FLOORS)


@pytest.mark.parametrize("way", WAYS)
def test_probabilities_are_calibrated_and_better_than_the_base_rate(committed: dict[str, Any], way: str):
    found = committed[f"goemotions_{way}"]
    labels = found["labels"]
    assert tuple(labels) == LABELS
    assert found["mean_ece"] <= 0.05
    assert found["mean_ece"] == pytest.approx(np.mean([row["ece"] for row in labels.values()]), abs=1e-4)
    assert [name for name, row in labels.items() if row["n"] >= 50 and not row["brier_skill"] > 0] == []
    assert sum(row["n"] >= 50 for row in labels.values()) > 20


def test_the_settings_that_are_reported_are_those_of_the_repository(committed: dict[str, Any]):
    kept = {name: value for name, value in scorer_settings("training").items() if name != "expressed"}
    assert committed["settings"] == kept
    assert committed["settings"] != {**kept, "seed": 1}

"""Manifests, records, tables, tensors and JSON files that are something else: made anew where right, else told."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from refusals import Place, Refusal, refused, refused_call

from emolib.base import files, paths, store, tensor_files, variants
from emolib.base.errors import UserError
from emolib.base.parameters import resolve
from emolib.data.activations import StoredActivations, layer_file, row_offsets
from emolib.scoring import expressed, goemotions, sentiment
from emolib.scoring.corpora import read_goemotions, read_tydip
from emolib.scoring.ngrams import NgramModel
from emolib.study.batch_size import _known
from emolib.study.run import Run

SHA = "0" * 64
DEEP = "[" * 100_000


def manifest(**changes: Any) -> str:
    whole = {"schema": 1, "matched": {}, "recorded": {"sha256": hashlib.sha256(b"{}").hexdigest()}}
    return json.dumps(whole | changes)


NO_MANIFESTS: dict[str, str | bytes] = {
    "empty": "",
    "half of one": manifest()[:-9],
    "no JSON": "schema: 1",
    "a list": "[]",
    "a text": '"manifest"',
    "null": "null",
    "nested": DEEP,
    "a number of 5000 digits": '{"schema": ' + "9" * 5000 + "}",
    "another encoding": manifest().encode("utf-16"),
    "binary": bytes(range(256)),
    "no matched": json.dumps({"schema": 1, "recorded": {"sha256": SHA}}),
    "no recorded": json.dumps({"schema": 1, "matched": {}}),
    "matched a list": manifest(matched=[]),
    "matched null": manifest(matched=None),
    "recorded a text": manifest(recorded="sha256"),
    "recorded a list": manifest(recorded=["sha256"]),
    "recorded without sha256": manifest(recorded={"time": "now"}),
    "sha256 a number": manifest(recorded={"sha256": 12345}),
    "sha256 null": manifest(recorded={"sha256": None}),
    "sha256 a list": manifest(recorded={"sha256": [SHA]}),
    "sha256 too short": manifest(recorded={"sha256": SHA[1:]}),
    "sha256 no hex": manifest(recorded={"sha256": "g" * 64}),
    "sha256 twice": manifest().replace('"sha256":', f'"sha256": "{SHA}", "sha256":'),
}


@pytest.mark.parametrize("text", NO_MANIFESTS.values(), ids=NO_MANIFESTS)
def test_what_is_no_manifest_counts_as_missing_and_is_made_anew(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "a.json"
    store.write(path, b"{}", {})
    assert store.state(path, {}) == "done"
    store.manifest_path(path).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert store.state(path, {}) == "missing"
    for call in (lambda: store.read_json(path), lambda: store.recorded_sha256(path), lambda: store.copy(path, path)):
        refused_call(call, ["a.json", "run the phase"])
    assert store.obtain(path, {}, lambda: b"[1]")
    assert store.read_json(path) == [1]


@pytest.mark.parametrize("schema", [0, 2, "1", None, [1], 1.5], ids=str)
def test_a_manifest_of_another_schema_is_stale(tmp_path: Path, schema: Any) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"{}")
    store.manifest_path(path).write_text(manifest(schema=schema))
    assert store.state(path, {}) == "stale"
    store.manifest_path(path).write_text(manifest())
    assert store.state(path, {}) == "done"


def test_what_a_manifest_could_not_be_written_over_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    store.write(path, b"{}", {})
    place = store.manifest_path(path)
    for make in (place.mkdir, lambda: os.mkfifo(place), lambda: place.symlink_to(place)):
        place.rmdir() if place.is_dir() else place.unlink()
        make()
        refused_call(lambda: store.state(path, {}), [place.name])


def test_a_folder_in_an_artifacts_place_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    store.write(path, b"{}", {})
    path.unlink()
    path.mkdir()
    refused_call(lambda: store.read_table(path), ["a.parquet", "folder"])


def parquet(table: pd.DataFrame) -> bytes:
    return store.table_bytes(table)


TABLE = pd.DataFrame({"id": ["a"], "n_tokens": [3]})
NO_TABLES = {
    "empty": (b"", "table"),
    "no parquet": (b"id,n_tokens\na,3\n", "table"),
    "cut in the middle": (parquet(TABLE)[:-40], "table"),
    "the end alone": (b"PAR1", "table"),
    "a broken footer": (parquet(TABLE)[:-12] + b"\xff" * 8 + b"PAR1", "table"),
    "zeros": (bytes(4096), "table"),
    "other columns": (parquet(TABLE.rename(columns={"n_tokens": "tokens"})), "n_tokens"),
    "no rows": (parquet(TABLE.iloc[:0]), "no row"),
    "no columns": (parquet(pd.DataFrame()), "no column"),
}


@pytest.mark.parametrize("name", NO_TABLES)
def test_a_table_with_the_right_hash_and_another_content_is_told(tmp_path: Path, name: str) -> None:
    data, word = NO_TABLES[name]
    path = tmp_path / "texts.parquet"
    store.write(path, data, {})
    says = ["texts.parquet", word, "run the phase again"]
    refused_call(lambda: store.read_table(path, needs=("id", "n_tokens"), rows=True), says)
    refused_call(lambda: StoredActivations(tmp_path, "mean").texts, says)
    store.write(path, parquet(TABLE), {})
    assert StoredActivations(tmp_path, "mean").texts["n_tokens"].tolist() == [3]


def tensors(**changes: Any) -> bytes:
    values = {"values": np.ones((1, 4), np.float32), "offsets": np.array([0, 1])}
    values |= {name: np.ones(3, np.float32) for name in ("token_norms", "bulk_norms")}
    kept = {name: value for name, value in (values | changes).items() if value is not None}
    return tensor_files.tensor_bytes(kept, {"model": "m", "revision": "r", "n_layers": "0"})


def header(text: str) -> bytes:
    return len(text).to_bytes(8, "little") + text.encode()


NO_TENSORS = {
    "empty": b"",
    "a text": b"tensors",
    "a header that is too long": (2**60).to_bytes(8, "little") + b"{}",
    "a header that is no JSON": header("{'values'}"),
    "a header that is a list": header("[]"),
    "a header without data": header('{"values": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}'),
    "a type that there is not": header('{"values": {"dtype": "F99", "shape": [], "data_offsets": [0, 0]}}'),
    "cut in the middle": tensors()[:-4],
    "too long": tensors() + b"more",
    "no values": tensors(values=None),
    "no offsets": tensors(offsets=None),
    "no norms": tensors(token_norms=None),
    "no header beside the tensors": tensor_files.tensor_bytes({"values": np.ones((1, 4)), "offsets": np.array([0, 1])}),
    "values of one axis": tensors(values=np.ones(4, np.float32)),
    "a single number": tensors(values=np.float32(1)),
    "more rows than texts": tensors(values=np.ones((5, 4), np.float32)),
    "offsets for more texts": tensors(offsets=np.array([0, 1, 1])),
    "norms of other texts": tensors(token_norms=np.ones(7, np.float32)),
    "norms of two axes": tensors(token_norms=np.ones((3, 1), np.float32)),
    "bulk norms of other texts": tensors(bulk_norms=np.ones(7, np.float32)),
    "bulk norms of two axes": tensors(bulk_norms=np.ones((3, 1), np.float32)),
}


@pytest.mark.parametrize("name", NO_TENSORS)
def test_tensors_with_the_right_hash_and_another_content_are_told(tmp_path: Path, name: str) -> None:
    path = layer_file(tmp_path, "mean", "resid_pre", 0)
    store.write(tmp_path / "texts.parquet", parquet(TABLE), {})
    store.write(path, NO_TENSORS[name], {})
    refused_call(lambda: StoredActivations(tmp_path, "mean").read(), [path.name, "run the phase again"])
    store.write(path, tensors(), {})
    read = StoredActivations(tmp_path, "mean").read()
    assert read.values["resid_pre"].shape == (1, 1, 4) and read.bulk_norms is not None


def test_activations_of_an_older_version_are_read_without_their_bulk_norms(tmp_path: Path) -> None:
    store.write(tmp_path / "texts.parquet", parquet(TABLE), {})
    for layer, given in enumerate((tensors(), tensors(bulk_norms=None))):
        store.write(layer_file(tmp_path, "mean", "resid_pre", layer), given, {})
    stored = StoredActivations(tmp_path, "mean")
    assert stored.read().median_bulk_norms() is None and stored.read(layers=[1]).bulk_norms is None
    assert stored.read(layers=[0]).bulk_norms is not None


def test_layers_of_other_widths_are_told(tmp_path: Path) -> None:
    store.write(tmp_path / "texts.parquet", parquet(TABLE), {})
    for layer, width in enumerate((4, 5)):
        path = layer_file(tmp_path, "mean", "resid_pre", layer)
        store.write(path, tensors(values=np.ones((1, width), np.float32)), {})
    refused_call(lambda: StoredActivations(tmp_path, "mean").read(), ["resid_pre_layer001", "4", "5"])
    assert row_offsets("resid_pre", "mean", np.array([3])).tolist() == [0, 1]


JSON_TEXTS = {
    "empty": ("", "empty"),
    "blank": (" \n ", "empty"),
    "half": ('{"a": ', "line 1"),
    "two": ("{}{}", "extra data"),
    "single quotes": ("{'a': 1}", "line 1"),
    "NaN": ('{"a": NaN}', "NaN"),
    "infinity": ('{"a": -Infinity}', "Infinity"),
    "beyond every float": ('{"a": 1e999}', "1e999"),
    "5000 digits": ('{"a": ' + "1" * 5000 + "}", "digits"),
    "nested lists": (DEEP, "nested"),
    "nested objects": ('{"a":' * 100_000, "nested"),
    "a key twice": ('{"a": {"b": 1, "b": 2}}', "twice"),
    "half a character": ('{"a": "\\ud800"}', "surrogate"),
    "a list": ("[1]", "object"),
    "a number": ("3", "object"),
    "an escape": ('{"a": \x1b[2J}', "line 1"),
}


@pytest.mark.parametrize("name", JSON_TEXTS)
def test_json_that_is_none_is_told(tmp_path: Path, name: str) -> None:
    text, word = JSON_TEXTS[name]
    path = tmp_path / "metrics.json"
    path.write_text(text, encoding="utf-8")
    refused_call(lambda: files.read_json(path, kind=dict, advice="restore it"), ["metrics.json", word, "restore it"])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "cp932", "latin-1"])
def test_json_in_another_encoding_is_told(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_bytes('{"怒り": 1}'.encode(encoding) if encoding != "latin-1" else '{"é": 1}'.encode(encoding))
    refused_call(lambda: files.read_json(path), ["metrics.json", "line 1", "UTF-8"])


def test_json_is_read_as_it_stands_there(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_bytes('\ufeff{"怒り": [1, 2.5, null], "e": "\\ud83d\\ude00"}'.encode())
    assert files.read_json(path, kind=dict) == {"怒り": [1, 2.5, None], "e": "😀"}
    assert files.parse_json('{"a": NaN}', "here", finite=False)["a"] != 1


NO_VARIANTS = {
    "a list": [],
    "a text": "alphas",
    "empty": {},
    "differs a list": {"differs": ["alphas"]},
    "differs null": {"differs": None},
    "nothing differs": {"differs": {}},
    "another variant": {"differs": {"alphas": [0.5]}},
}


@pytest.mark.parametrize("value", NO_VARIANTS.values(), ids=NO_VARIANTS)
def test_a_variants_file_of_another_shape_is_told_and_can_be_removed(place: Place, value: Any) -> None:
    name = variants.Variant({"alphas": [0.25]}).name
    assert name is not None
    path = paths.variant_file("quick", name)
    store.write(path, store.json_bytes(value), {})
    for arguments in (["status", "--variant", name], ["site", "--variant", name]):
        refused(place, Refusal("", arguments, ["variant.json"]))
    listed = place.ask(["variants"])
    assert listed.code == 0 and f"{name}  unreadable" in listed.out and "variant.json" in listed.out
    assert place.ask(["variants", "--delete", name]).code == 0
    assert not path.parent.exists()
    store.write(path, store.json_bytes({"differs": {"alphas": [0.25]}}), {})
    assert name in place.ask(["variants"]).out


NO_RECORDS = {
    "a list": [],
    "empty": {},
    "artifacts a list": {"artifacts": ["a"]},
    "artifacts null": {"artifacts": None},
    "a hash that is a number": {"artifacts": {"phase1/a": 5}},
    "a hash that is a list": {"artifacts": {"phase1/a": [SHA]}},
    "a place above": {"artifacts": {"../../elsewhere": SHA}},
    "a place elsewhere": {"artifacts": {"/etc/hostname": SHA}},
}


@pytest.mark.parametrize("value", NO_RECORDS.values(), ids=NO_RECORDS)
def test_a_record_of_another_shape_is_told(place: Place, value: Any) -> None:
    run = Run(resolve("quick", "smollm2_135m", "phase1", {}))
    store.write(run.record.path, store.json_bytes(value), run.record.identity())
    refused_call(run.record.state, ["phase1.json", "run the phase again"])
    run.record.write({})
    assert run.record.state() == "done"


@pytest.mark.parametrize(
    "value", [{}, {"rows": 3}, ["rows"], [{"rows": "many", "where": {}}], [{"rows": 8}], [3]], ids=str
)
def test_batch_sizes_of_another_shape_are_told(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "batch_size.json"
    assert _known(path) == []
    store.write(path, store.json_bytes(value), {})
    refused_call(lambda: _known(path), ["batch_size.json"])
    store.write(path, store.json_bytes([{"where": {}, "rows": 8}]), {})
    assert _known(path)[0]["rows"] == 8


def own_scorers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own with the trained scorers, linked; the test puts another file in a link's place."""
    scorers = folder / "root" / "params" / "scorers"
    scorers.mkdir(parents=True)
    (folder / "root" / "params" / "profiles").mkdir()
    for file in paths.params_folder("scorers").iterdir():
        (scorers / file.name).symlink_to(file)
    monkeypatch.setenv("EMOLIB_ROOT", str(folder / "root"))
    return scorers


BROKEN = {
    "a folder": lambda path: path.mkdir(),
    "missing": lambda path: None,
    "empty": lambda path: path.touch(),
    "a pipe": lambda path: os.mkfifo(path),
    "text": lambda path: path.write_text("scorer"),
    "an empty object": lambda path: path.write_text("{}"),
    "a list": lambda path: path.write_text("[1, 2]"),
    "nested": lambda path: path.write_text(DEEP),
    "another encoding": lambda path: path.write_bytes("{}".encode("utf-16")),
}
READERS: dict[str, Callable[[Path], Any]] = {
    "sentiment.json": lambda folder: sentiment._mapping.__wrapped__(),
    "goemotions.json": lambda folder: goemotions.load_models.__wrapped__(),
    "goemotions_encoder.safetensors": lambda folder: goemotions.load_models.__wrapped__(),
    "politeness.safetensors": lambda folder: NgramModel.read(folder, "politeness"),
    "politeness.vocabulary.json": lambda folder: NgramModel.read(folder, "politeness"),
    "expressed.json": lambda folder: expressed.read_trained.__wrapped__(),
    "expressed.safetensors": lambda folder: expressed.read_trained.__wrapped__(),
    "metrics.json": lambda folder: goemotions.dev_quality(["joy"]),
    "calibration.json": lambda folder: goemotions.dev_calibration(["joy"]),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("name", [name for name in READERS if "goemotions" not in name])
def test_a_trained_scorers_file_of_another_kind_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, broken: str
) -> None:
    folder = own_scorers(tmp_path, monkeypatch)
    READERS[name](folder)
    (folder / name).unlink()
    BROKEN[broken](folder / name)
    refused_call(lambda: READERS[name](folder), [name, "train-scorers"])


@pytest.mark.parametrize("name", ["goemotions.json", "goemotions_encoder.safetensors"])
def test_every_kind_of_broken_file_of_the_emotion_scorer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = own_scorers(tmp_path, monkeypatch)
    words = NgramModel.read(folder, "politeness")
    monkeypatch.setattr(NgramModel, "read", lambda *arguments: words)  # the large vocabulary is not what is asked about
    for broken in BROKEN:
        (folder / name).rmdir() if (folder / name).is_dir() else (folder / name).unlink(missing_ok=True)
        BROKEN[broken](folder / name)
        refused_call(lambda: READERS[name](folder), [name, "train-scorers"])


SHAPES = [{"weights": [[1, 2]] * 3}, {"weights": [[1, 2, 3]] * 3, "bias": [0] * 3}, {"weights": "x", "bias": [0] * 3}]


@pytest.mark.parametrize("value", SHAPES, ids=str)
def test_numbers_of_another_shape_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    folder = own_scorers(tmp_path, monkeypatch)
    (folder / "sentiment.json").unlink()
    (folder / "sentiment.json").write_text(json.dumps(value))
    refused_call(sentiment._mapping.__wrapped__, ["sentiment.json", "train-scorers"])


def corpora(folder: Path) -> None:
    (folder / "g").mkdir()
    (folder / "g" / "labels.txt").write_text("\n".join(goemotions.LABELS) + "\n")
    for split in ("train", "dev"):
        (folder / "g" / f"{split}.tsv").write_text("Thank you!\t15\tx1\n")
    (folder / "t.csv").write_text("sentence,score\nPlease.,1.0\n")


def spoiled(name: str, make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        corpora(folder)
        if (folder / name).is_dir():
            for file in (folder / name).iterdir():
                file.unlink()
            (folder / name).rmdir()
        else:
            (folder / name).unlink()
        make(folder / name)

    return prepare


TRAIN = ["train-scorers", "--goemotions", "g", "--tydip", "t.csv", "-o", "out"]
CORPORA = [
    Refusal("no such folder", ["train-scorers", "--goemotions", "no", "--tydip", "t.csv", "-o", "out"], ["labels.txt"]),
    Refusal("a file for the folder", TRAIN, ["labels.txt"], spoiled("g", lambda path: path.write_text("x"))),
    Refusal("labels in a folder", TRAIN, ["labels.txt", "folder"], spoiled("g/labels.txt", lambda path: path.mkdir())),
    Refusal("comments in a folder", TRAIN, ["train.tsv", "folder"], spoiled("g/train.tsv", lambda path: path.mkdir())),
    Refusal("comments in a pipe", TRAIN, ["dev.tsv", "pipe"], spoiled("g/dev.tsv", os.mkfifo)),
    Refusal("no comments", TRAIN, ["train.tsv, line 1"], spoiled("g/train.tsv", lambda path: path.touch())),
    Refusal("one column", TRAIN, ["train.tsv, line 1"], spoiled("g/train.tsv", lambda path: path.write_text("joy\n"))),
    Refusal(
        "four columns", TRAIN, ["dev.tsv, line 1"], spoiled("g/dev.tsv", lambda path: path.write_text("a\t1\tb\tc\n"))
    ),
    Refusal("commas", TRAIN, ["dev.tsv, line 1"], spoiled("g/dev.tsv", lambda path: path.write_text("a,1,b\n"))),
    Refusal("label 28", TRAIN, ["line 1", "0 to 27"], spoiled("g/dev.tsv", lambda path: path.write_text("a\t28\tb\n"))),
    Refusal("label -1", TRAIN, ["line 1", "0 to 27"], spoiled("g/dev.tsv", lambda path: path.write_text("a\t-1\tb\n"))),
    Refusal("a long line", TRAIN, ["line 1"], spoiled("g/dev.tsv", lambda path: path.write_text("\x1b[2J" * 10**5))),
    Refusal(
        "UTF-16", TRAIN, ["dev.tsv", "UTF-8"], spoiled("g/dev.tsv", lambda path: path.write_text("a\t1\tb\n", "utf-16"))
    ),
    Refusal("requests in a folder", TRAIN, ["t.csv", "folder"], spoiled("t.csv", lambda path: path.mkdir())),
    Refusal("no requests", TRAIN, ["t.csv"], spoiled("t.csv", lambda path: path.touch())),
    Refusal(
        "other columns", TRAIN, ["sentence and score"], spoiled("t.csv", lambda path: path.write_text("a,b\n1,2\n"))
    ),
    Refusal("NUL", TRAIN, ["t.csv"], spoiled("t.csv", lambda path: path.write_bytes(bytes(200)))),
    Refusal(
        "Shift_JIS",
        TRAIN,
        ["t.csv", "UTF-8"],
        spoiled("t.csv", lambda path: path.write_text("sentence,score\n怒,1", "cp932")),
    ),
    Refusal("an output below a file", [*TRAIN[:-1], "t.csv/out"], ["place where files can be written"], corpora),
    Refusal("an output that is a file", [*TRAIN[:-1], "t.csv"], ["place where files can be written"], corpora),
    Refusal("no output", [*TRAIN[:-1], ""], ["folder"], corpora),
    Refusal("a long output", [*TRAIN[:-1], "x" * 300], ["too long"], corpora),
]


@pytest.mark.parametrize("case", CORPORA, ids=lambda case: case.name)
def test_corpora_of_another_form_are_refused(place: Place, case: Refusal) -> None:
    refused(place, case)


def test_corpora_are_read(tmp_path: Path) -> None:
    corpora(tmp_path)
    texts, truth = read_goemotions(tmp_path / "g", "train")
    assert texts == ["Thank you!"] and np.flatnonzero(truth[0]).tolist() == [15]
    assert read_tydip(tmp_path / "t.csv")[1].tolist() == [1.0]


def test_an_error_of_the_machinery_is_never_shown_by_its_class(tmp_path: Path) -> None:
    for name, (data, _) in NO_TABLES.items():
        store.write(tmp_path / "t.parquet", data, {})
        with pytest.raises(UserError) as raised:
            store.read_table(tmp_path / "t.parquet", needs=("n_tokens",), rows=True)
        assert "Arrow" not in str(raised.value) and "Error" not in str(raised.value), name

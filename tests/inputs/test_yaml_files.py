"""Every YAML file of the package is plain YAML, and whatever else stands in one is told by file and line, at once."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from refusals import Place, refused_call

from emolib.base import config, language, paths
from emolib.base.parameters import resolve
from emolib.base.yaml_files import read_mapping
from emolib.data.keywords import load_keywords
from emolib.study.phase5_steering.rival_sweeps import prompting_words

MODEL = "smollm2_135m"
SOURCES = Path(config.__file__).parents[1]


@pytest.fixture
def root(place: Place) -> Iterator[Path]:
    """A repository of its own: `params/` with the project's files, to which a case adds one."""
    folder = place.folder / "repository"
    for file in sorted((paths.repository_root() / "params").rglob("*.yaml")):
        copy = folder / "params" / file.relative_to(paths.repository_root() / "params")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    place.monkeypatch.setenv("EMOLIB_ROOT", str(folder))
    kept = (config.model_table, config.scorer_settings, load_keywords, language._file)
    for reader in kept:
        reader.cache_clear()
    yield folder
    for reader in kept:
        reader.cache_clear()


# each of the package's YAML files: where a broken one is put, and what reads it
READERS: dict[str, tuple[str, Callable[[], object]]] = {
    "profile": ("params/profiles/mine.yaml", lambda: resolve("mine", MODEL, "phase5")),
    "model": ("params/models/mine.yaml", config.model_table),
    "scorers": ("params/scorers/mine.yaml", lambda: config.scorer_settings("mine")),
    "keywords": ("params/keywords/xx.yaml", lambda: load_keywords("xx")),
    "prompting": ("params/prompting.yaml", prompting_words),
    "wording": ("params/wording/ja.yaml", lambda: language.word("figures.nothing")),
}
BROKEN: dict[str, tuple[bytes, list[str]]] = {
    "an anchor": (b"a: &x [1]\nb: *x\n", ["line 1", "anchors", "write the value out"]),
    "an alias of nothing": (b"a: 1\nb: *x\n", ["line 2", "aliases"]),
    "a billion laughs": (
        b"a: &a [x,x]\n" + b"".join(b"%c: &%c [*%c,*%c]\n" % (i, i, i - 1, i - 1) for i in range(98, 122)),
        ["line 1", "anchors"],
    ),
    "a name twice": (b"a: 1\nb: 2\n# more\na: 3\n", ["line 4", "once", "'a'"]),
    "a name twice below": (b"a:\n  b: 1\n  b: 2\n", ["line 3", "once", "'b'"]),
    "a name twice, once in quotation marks": (b"a: 1\n'a': 2\n", ["line 2", "once"]),
    "brackets without end": (b"a: " + b"[" * 40_000, ["line 1", "levels"]),
    "braces without end": (b"a: " + b"{a: " * 20_000, ["line 1", "levels"]),
    "steps without end": (b"".join(b" " * i + b"a:\n" for i in range(400)), ["line 9", "levels"]),
    "UTF-16": ("a: 1\n".encode("utf-16"), ["line 1", "UTF-8"]),
    "Latin-1": ("# ok\na: café\n".encode("latin-1"), ["line 2", "UTF-8"]),
    "a tab": (b"a:\n\tb: 1\n", ["line 2", "\\t"]),
    "two documents": (b"a: 1\n---\nb: 2\n", ["line 2", "one document"]),
    "a list": (b"- 1\n", ["mapping", "a list"]),
    "nothing": (b"# only a comment\n", ["mapping", "nothing"]),
    "one value": (b"hello", ["mapping", "one value"]),
    "too long": (b"a: 1\n" * 100_000, ["100,000 bytes"]),
    "too many values": (b"a: [" + b"1," * 40_000 + b"]\n", ["10,000 values"]),
    "a list as a name": (b"? [a]\n: 1\n", ["line 1", "name before each colon"]),
    "a call": (b"a: 1\nb: !!python/object/apply:print [x]\n", ["line 2", "tags"]),
    "a set": (b"a: !!set {x}\n", ["line 1", "tags"]),
    "a sign that drives a terminal": (b"a: 1\nb: \x1b[2J\n", ["line 2", "sign"]),
    "a zero byte": (b"a: \x00\n", ["line 1", "sign"]),
    "half a character": (b'a: "\\ud800"\n', ["line 1", "half of one"]),
    "an open bracket": (b"a: [1, 2\n", ["line 2"]),
    "two colons": (b"a: b: c\n", ["line 1"]),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_one_line_with_its_place(root: Path, reader: str, case: str) -> None:
    (where, read), (content, says) = READERS[reader], BROKEN[case]
    (root / where).write_bytes(content)
    started = time.perf_counter()
    refused_call(read, [where, *says])
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize("reader", READERS)
def test_something_else_than_a_file_is_one_line(root: Path, reader: str) -> None:
    where, read = READERS[reader]
    (root / where).unlink(missing_ok=True)
    (root / where).mkdir()
    refused_call(read, [where] if reader != "keywords" else ["xx"])
    (root / where).rmdir()
    os.mkfifo(root / where)  # reading it would wait for ever
    refused_call(read, [where] if reader != "keywords" else ["xx"])
    (root / where).unlink()
    (root / where).symlink_to(root / where)
    refused_call(read, ["xx" if reader == "keywords" else Path(where).name])


def test_nothing_else_in_the_package_reads_yaml() -> None:
    reading = [f.name for f in SOURCES.rglob("*.py") if re.search(r"^(import|from) yaml\b", f.read_text("utf-8"), re.M)]
    assert reading == ["yaml_files.py"]


@pytest.mark.parametrize("file", sorted((SOURCES.parent / "params").rglob("*.yaml")), ids=lambda file: file.name)
def test_the_projects_own_files_say_what_they_said(file: Path) -> None:
    import yaml

    assert read_mapping(file) == yaml.safe_load(file.read_text("utf-8"))


def test_a_plain_value_is_a_decimal_number_true_or_false_nothing_or_text(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "a: [no, 3:5, 010, 0x10, 1_000, 2024-01-01, .inf, 1e-5, 12, true, ~, '12']\nno: on\n1: x\n", "utf-8"
    )
    plain = ["no", "3:5", "010", "0x10", "1_000", "2024-01-01", ".inf", 1e-5, 12, True, None, "12"]
    assert read_mapping(file) == {"a": plain, "no": "on", "1": "x"}


# profiles and models: what their types say


@pytest.mark.parametrize(
    ("written", "key", "expected"),
    [
        ("neutral: no", "neutral", "no"),
        ("neutral: 1e-1", "neutral", "1e-1"),
        ("neutral: 010", "neutral", "010"),
        ("neutral: 'null'", "neutral", "null"),
        ("png: yes", "png", True),
        ("phase5: {alphas: 0.25}", "alphas", (0.25,)),
        ("phase5: {alphas: [0.3, 0.2]}", "alphas", (0.2, 0.3)),
        ("phase5:\n  layers:\n  - 3\n  - 1", "layers", (1, 3)),
        ("phase5: {layers: 8-10}", "layers", (8, 9, 10)),
        ("phase5: {schedule: [1, 0.5]}", "schedule", (1.0, 0.5)),
        ("phase5: {generation_batch: auto}", "generation_batch", "auto"),
        ("phase5: {dtype: null}", "dtype", None),
    ],
)
def test_a_profiles_value_is_read_as_its_type_says(root: Path, written: str, key: str, expected: object) -> None:
    (root / "params/profiles/mine.yaml").write_text(written, "utf-8")
    assert getattr(resolve("mine", MODEL, "phase5"), key) == expected


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("profile: quick", ["cannot set 'profile'", "remove it"]),
        ("model: gpt2", ["cannot set 'model'"]),
        ("phase5: {phase: phase1}", ["cannot set 'phase5.phase'"]),
        ("phase5: 3", ["phase5", "by name", "'3'"]),
        ("phase5: [1, 2]", ["phase5", "by name"]),
        ("phase5:", ["phase5", "by name"]),
        ("phase5: null", ["phase5", "by name"]),
        ("phase5: text", ["phase5", "'text'"]),
        ("phase7: {n_train: 3}", ["phase7.n_train"]),
        ("phase55: {}", ["phase55", "did you mean"]),
        ("phase5: {alphs: 1}", ["phase5.alphs", "did you mean 'alphas'"]),
        ("<<: {seed: 1}", ["'<<'"]),
        ("seed: 010", ["seed", "whole number"]),
        ("seed: 3:5", ["seed", "whole number"]),
        ("seed:", ["seed", "whole number"]),
        ("n_train: 1e3", ["n_train", "whole number"]),
        ("n_train: {a: 1}", ["n_train", "whole number"]),
        ("phase5: {alphas: []}", ["alphas", "at least one"]),
        ("phase5: {layers: []}", ["layers"]),
        ("phase5: {layers: 0-3000000000}", ["layers", "9999"]),
        ("phase5: {temperature: .inf}", ["temperature", "finite"]),
        ("phase5: {folds: 1}", ["folds", "at least 3"]),
        ("phase5: {generation_batch: true}", ["generation_batch"]),
        ("phase5: {sites: [resid_pre, resid_pre]}", ["sites", "once"]),
    ],
)
def test_a_profiles_mistake_is_one_line(root: Path, written: str, says: list[str]) -> None:
    (root / "params/profiles/mine.yaml").write_text(written, "utf-8")
    refused_call(lambda: resolve("mine", MODEL, "phase5"), says)


MINE = """name: mine
hub_id: me/mine
n_layers: 2
d_model: 8
n_heads: 2
n_kv_heads: 2
d_vocab: 100
chat: no
config: {model_type: llama, num_hidden_layers: 2, rms_norm_eps: 1e-5, tie_word_embeddings: true, note: no}
"""
BUNDLED = "bundled: {gguf_file: x.gguf, sha256: HASH, parts: [a/x.gguf], distributions: {a==1.0: 200}}"


def test_a_models_values_are_read_as_their_types_say(root: Path) -> None:
    (root / "params/models/mine.yaml").write_text(MINE.replace("me/mine", "10/3"), "utf-8")
    spec = config.model_table()["mine"]
    assert spec.hub_id == "10/3" and spec.n_layers == 2 and spec.chat is False and spec.aliases == ()
    assert spec.config["rms_norm_eps"] == 1e-5 and spec.config["tie_word_embeddings"] is True
    assert spec.config["note"] == "no" and spec.config["num_hidden_layers"] == 2


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("n_layers: 2\nd", "n_layers: 0\nd", ["n_layers", "1"]),
        ("n_layers: 2\nd", "n_layers: -3\nd", ["n_layers", "1"]),
        ("n_layers: 2\nd", "n_layers: 10000000\nd", ["n_layers", "9999"]),
        ("n_layers: 2\nd", "n_layers: 2.0\nd", ["n_layers", "whole number"]),
        ("n_layers: 2\nd", "d", ["n_layers", "missing"]),
        ("d_model: 8", "d_model: 08", ["d_model", "whole number"]),
        ("d_vocab: 100", "d_vocab: -1", ["d_vocab", "1"]),
        ("num_hidden_layers: 2", "num_hidden_layers: 10000000", ["num_hidden_layers", "9,999"]),
        ("num_hidden_layers: 2", "vocab_size: 99999999999", ["vocab_size"]),
        ("chat: no", "chat: perhaps", ["chat", "true or false"]),
        ("chat: no", "dtype: fp16", ["dtype", "float32"]),
        ("chat: no", "bundled: {gguf_file: x.gguf}", ["bundled.sha256", "missing"]),
        ("chat: no", BUNDLED.replace("HASH", "0" * 63), ["bundled.sha256", "of the form"]),
        ("chat: no", BUNDLED.replace("HASH", "0" * 64).replace("[a/x.gguf]", "[]"), ["bundled.parts", "at least one"]),
        ("chat: no", BUNDLED.replace("HASH", "0" * 64).replace("200", "many"), ["whole number"]),
        ("chat: no", "bundled: 3", ["bundled"]),
        ("chat: no", "colour: red", ["colour", "aliases, "]),
        ("config: {", "config: [", ["line 9"]),
    ],
)
def test_a_models_mistake_is_one_line(root: Path, old: str, new: str, says: list[str]) -> None:
    assert old in MINE
    (root / "params/models/mine.yaml").write_text(MINE.replace(old, new), "utf-8")
    refused_call(config.model_table, ["params/models/mine.yaml", *says])


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("instruction: Reply in a tone.\ntones: {}\nother: '{label}'\nexamples: 3", ["instruction", "tone"]),
        ("instruction: '{tone}'\ntones: {}\nother: '{label}'\nexamples: -3", ["examples"]),
        ("instruction: '{tone}'\ntones: {anger: [1]}\nother: '{label}'\nexamples: 3", ["tones", "text"]),
        ("instruction: '{tone}'\ntones: {}\nexamples: 3", ["other", "missing"]),
    ],
)
def test_a_mistake_in_the_prompting_words_is_one_line(root: Path, written: str, says: list[str]) -> None:
    (root / "params/prompting.yaml").write_text(written, "utf-8")
    refused_call(prompting_words, ["params/prompting.yaml", *says])

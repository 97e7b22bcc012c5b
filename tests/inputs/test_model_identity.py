"""A model is what its files hold: other content in the same place is another model, and a name decides nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from model_folders import flip, save_model, set_key
from refusals import Place, Refusal, one_good_line, refused, refused_call

from emolib.base import config, paths, store
from emolib.base.errors import UserError
from emolib.base.parameters import resolve
from emolib.models import content, hub
from emolib.models.content import content_hash, deciding_files
from emolib.models.loading import load_model
from emolib.models.sources import model_identity, source_of
from emolib.pipeline import phases
from emolib.pipeline.site import executed_reports
from emolib.study.identity import ModelContents
from emolib.study.run import Run, open_run

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Edit = Callable[[Path], object]


def write(name: str, text: str = "x") -> Edit:
    def edit(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    return edit


def shard_elsewhere(folder: Path) -> None:
    index = {"metadata": {}, "weight_map": {"w": "parts/one.safetensors"}}
    write("model.safetensors.index.json", json.dumps(index))(folder)
    write("parts/one.safetensors")(folder)


CHANGES: dict[str, Edit] = {
    "one bit of the weights, size and time kept": lambda f: flip(f / "model.safetensors"),
    "a setting of the configuration": lambda f: set_key(f / "config.json", "layer_norm_epsilon", 0.5),
    "the token that ends a text": lambda f: set_key(f / "generation_config.json", "eos_token_id", 3),
    "the vocabulary": lambda f: set_key(f / "tokenizer.json", "version", "2.0"),
    "the tokenizer's settings": lambda f: set_key(f / "tokenizer_config.json", "add_bos_token", True),
    "a chat format": write("chat_template.jinja", "{{ messages }}"),
    "a further chat format": write("additional_chat_templates/tools.jinja"),
    "special tokens": write("special_tokens_map.json", "{}"),
    "added tokens": write("added_tokens.json", "{}"),
    "a SentencePiece model": write("tokenizer.model"),
    "merges": write("merges.txt"),
    "a word list": write("vocab.txt"),
    "an adapter": write("adapter_config.json", "{}"),
    "a second weight file": write("model-00002-of-00002.safetensors"),
    "an index": write("model.safetensors.index.json", "{}"),
    "an index and a shard in a folder": shard_elsewhere,
    "a file gone": lambda f: (f / "generation_config.json").unlink(),
    "a file under another name": lambda f: (f / "model.safetensors").rename(f / "other.safetensors"),
    "two files that changed places": lambda f: swap(f / "config.json", f / "generation_config.json"),
}


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def link_to_the_same_bytes(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.rename(folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")


NO_CHANGES: dict[str, Edit] = {
    "a readme": write("README.md"),
    "the training's log": write("trainer_state.json", "{}"),
    "results of an evaluation": write("eval_results.json", "{}"),
    "an optimiser": write("optimizer.pt"),
    "a note": write("notes.txt"),
    "a hidden file": write(".config.json.swp"),
    "hidden settings": write(".settings.json"),
    "a download's leftovers": write(".cache/huggingface/download/config.json"),
    "a checkpoint beside the final weights": write("checkpoint-5/model.safetensors"),
    "a folder called like a file": lambda f: (f / "folder.json").mkdir(),
    "later times": lambda f: [os.utime(path, (2e9, 2e9)) for path in f.iterdir()],
    "the same bytes again": lambda f: [path.write_bytes(path.read_bytes()) for path in f.iterdir()],
    "the same bytes behind a link": link_to_the_same_bytes,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMOLIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_model(tmp_path / "mine")


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every hash is kept at once, as if the files had lain there for long."""
    monkeypatch.setattr(content, "SETTLED_NS", -(10**18))


@pytest.mark.parametrize("edit", CHANGES.values(), ids=CHANGES)
def test_what_decides_a_model_changes_its_identity(folder: Path, edit: Edit, settled: None) -> None:
    before = content_hash(folder)
    assert content_hash(folder) == before
    edit(folder)
    assert content_hash(folder) != before


@pytest.mark.parametrize("edit", NO_CHANGES.values(), ids=NO_CHANGES)
def test_what_decides_nothing_does_not(folder: Path, edit: Edit, settled: None) -> None:
    before = content_hash(folder)
    edit(folder)
    assert content_hash(folder) == before


def test_a_copy_elsewhere_holds_the_same(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "deep" / "copy")
    assert content_hash(folder) == content_hash(tmp_path / "deep" / "copy")
    assert set(deciding_files(folder)) >= {"config.json", "model.safetensors", "tokenizer.json"}


def test_weights_that_lie_unchanged_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch, settled: None) -> None:
    read: list[str] = []
    real = store.sha256_of
    monkeypatch.setattr(store, "sha256_of", lambda path: read.append(path.name) or real(path))
    first = content_hash(folder)
    assert sorted(read) == sorted(deciding_files(folder))
    read.clear()
    assert content_hash(folder) == first and read == []
    flip(folder / "config.json")
    assert content_hash(folder) != first and read == ["config.json"]


def test_a_file_that_changed_just_now_is_read_again(folder: Path, own_cache: Path) -> None:
    """Two changes within a tick of the clock leave the same times: nothing is kept of so fresh a file."""
    before = content_hash(folder)
    stamp = content._stamp(folder / "model.safetensors")
    flip(folder / "model.safetensors")
    assert content_hash(folder) != before
    kept = [json.loads(path.read_text())["files"] for path in own_cache.rglob("*.json")]
    assert all("model.safetensors" not in str(entries) for entries in kept) and stamp


SPOILT: dict[str, Callable[[Path], object]] = {
    "empty": lambda p: p.write_bytes(b""),
    "no text": lambda p: p.write_bytes(b"\xff\xfe\x00"),
    "a list": lambda p: p.write_text("[1]"),
    "null": lambda p: p.write_text("null"),
    "nested": lambda p: p.write_text("[" * 100_000),
    "cut": lambda p: p.write_bytes(p.read_bytes()[:-20]),
    "a false hash": lambda p: p.write_text(p.read_text().replace('"sha256": "', '"sha256": "00', 1)),
    "entries of another shape": lambda p: p.write_text('{"files": [], "check": ""}'),
    "a folder": lambda p: (p.unlink(), p.mkdir()),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_memory_of_hashes_does_not_matter(
    folder: Path, own_cache: Path, settled: None, spoil: Callable[[Path], object]
) -> None:
    first = content_hash(folder)
    (memory,) = own_cache.rglob("*.json")
    spoil(memory)
    assert content_hash(folder) == first
    flip(folder / "model.safetensors")
    assert content_hash(folder) != first


def test_without_a_cache_folder_hashes_are_right_all_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unwritable").mkdir()
    (tmp_path / "unwritable" / "content").write_text("where a folder would be made")
    monkeypatch.setenv("EMOLIB_CACHE", str(tmp_path / "unwritable"))
    first = content_hash(folder)
    assert content_hash(folder) == first
    flip(folder / "model.safetensors")
    assert content_hash(folder) != first


def test_what_is_told_beforehand_is_what_a_load_gives(folder: Path) -> None:
    for given in ({}, {"dtype": "bfloat16"}):
        told = model_identity(str(folder), **given)
        assert load_model(str(folder), device="cpu", **given).identity == told
    assert model_identity(str(folder))["dtype"] == "float32" and told["dtype"] == "bfloat16"
    assert source_of(str(folder)).name == "mine"


def test_random_weights_are_their_seed_configuration_and_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    first = model_identity("gpt2", random_weights=True)
    assert model_identity("gpt2", random_weights=True, seed=1) != first
    spec = source_of("gpt2").spec
    other = dataclasses.replace(source_of("gpt2", random_weights=True))
    assert other.spec == spec
    changed = spec.model_copy(update={"config": {**spec.config, "n_embd": 1536}})
    monkeypatch.setattr("emolib.models.sources.find_model", lambda name: changed)
    assert model_identity("gpt2", random_weights=True)["revision"] != first["revision"]


def test_a_folder_that_changes_while_it_is_read_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emolib.models import loading

    real = loading._from_folder

    def slow(*args: object) -> object:
        lm = real(*args)
        flip(folder / "model.safetensors")
        return lm

    monkeypatch.setattr(loading, "_from_folder", slow)
    refused_call(lambda: load_model(str(folder), device="cpu"), ["mine", "changed while it was read", "again"])


# hub models: the commit that the revision is now


class FakeHub:
    """Answers with a commit, or not at all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, commit: str | None) -> None:
        self.commit = commit
        self.asked: list[tuple[str, str, float]] = []
        monkeypatch.setattr("huggingface_hub.HfApi.model_info", self._info)

    def _info(self, repo: str, *, revision: str, timeout: float) -> object:
        self.asked.append((repo, revision, timeout))
        if self.commit is None:
            raise ConnectionError("no hub")
        return type("Info", (), {"sha": self.commit})()


def cached_commit(monkeypatch: pytest.MonkeyPatch, folder: Path, repo: str, commit: str) -> None:
    """The hub's local cache holds a repository at a commit, as its `main`."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    place = folder / f"models--{repo.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    (place / "snapshots" / commit).mkdir(parents=True)
    (place / "snapshots" / commit / "config.json").write_text("{}")


def test_a_hub_models_content_is_the_commit_that_its_branch_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeHub(monkeypatch, COMMIT)
    assert model_identity("gpt2")["revision"] == COMMIT
    fake.commit = COMMIT[::-1]
    assert model_identity("gpt2")["revision"] == COMMIT[::-1]
    assert fake.asked == [("openai-community/gpt2", "main", hub.TIMEOUT)] * 2


def test_without_a_hub_the_local_cache_tells_the_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    FakeHub(monkeypatch, None)
    cached_commit(monkeypatch, tmp_path / "hub", "owner/model", COMMIT)
    identity = model_identity("owner/model")
    assert identity == {"model": "owner--model", "revision": COMMIT, "dtype": "float32", "quantization": "none"}


def test_a_pinned_commit_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeHub(monkeypatch, None)
    assert hub.commit("owner/model", COMMIT, otherwise="") == COMMIT and fake.asked == []


def test_a_hub_model_of_which_nothing_is_known_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    FakeHub(monkeypatch, None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    refused_call(lambda: model_identity("owner/model"), ["no hub answered", "owner/model", "cache"])


def test_one_command_asks_the_hub_once(monkeypatch: pytest.MonkeyPatch, place: Place) -> None:
    fake = FakeHub(monkeypatch, COMMIT)
    finish_all("gpt2")
    fake.asked.clear()
    assert states("gpt2") == dict.fromkeys(phases.phases_in_order(), "done")
    assert len(fake.asked) == 1
    fake.commit = COMMIT[::-1]
    assert set(states("gpt2").values()) == {"stale"}


def test_a_model_that_nothing_was_run_on_asks_nobody(monkeypatch: pytest.MonkeyPatch, place: Place) -> None:
    fake = FakeHub(monkeypatch, None)
    asked = place.ask(["status", "--model", "llama3_8b"])
    assert asked.code == 0 and asked.out.count("missing") == len(phases.phases_in_order()) and fake.asked == []


# phases: what was finished on other content is stale


def finish_all(model: str) -> None:
    """Leaves what finished phases leave: an artifact, the record and the executed notebook."""
    contents = ModelContents()
    for run in phases.open_runs("quick", model, phases.phases_in_order(), {}):
        finish(Run(run.params, variant=run.variant, contents=contents))


def finish(run: Run) -> None:
    path = run.paths.own / "made" / f"{run.paths.model}_{run.params.phase}.json"
    run.artifacts.obtain(path, {}, lambda: b"[]", model=False)
    run.record.write(run.artifacts.made)
    report = phases.report_of(run)
    report.parent.mkdir(parents=True, exist_ok=True)
    cell = nbformat.v4.new_code_cell("1", execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), report)


def states(model: str) -> dict[str, str]:
    return {row.phase: row.state for row in phases.status("quick", model)}


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The phases whose notebooks `run_phases` executes; each leaves what it would leave."""
    names: list[str] = []

    def execute(run: Run, output: Path, *, force: bool) -> None:
        names.append(run.params.phase)
        finish(run)

    monkeypatch.setattr(phases, "execute", execute)
    return names


EDITED: dict[str, Edit] = {
    name: CHANGES[name]
    for name in (
        "one bit of the weights, size and time kept",
        "a setting of the configuration",
        "the tokenizer's settings",
        "a chat format",
    )
}


@pytest.mark.parametrize("edit", EDITED.values(), ids=EDITED)
def test_other_content_in_the_same_folder_makes_every_phase_stale(
    place: Place, executed: list[str], edit: Edit
) -> None:
    model = str(save_model(place.folder / "mine"))
    finish_all(model)
    order = phases.phases_in_order()
    assert states(model) == dict.fromkeys(order, "done")
    phases.run_phases("quick", model)
    assert executed == []
    edit(Path(model))
    assert states(model) == dict.fromkeys(order, "stale")
    assert place.ask(["status", "--model", "mine/"]).out.count("stale") == len(order)
    with pytest.raises(UserError, match="found none but of other"):  # alone it does not count as done either
        phases.run_phases("quick", model, phases=["phase7"])
    assert executed == []
    phases.run_phases("quick", model)
    assert executed == order and set(states(model).values()) == {"done"}


def test_the_old_content_again_is_current_again(place: Place) -> None:
    model = save_model(place.folder / "mine")
    finish_all(str(model))
    flip(model / "model.safetensors")
    assert set(states(str(model)).values()) == {"stale"}
    flip(model / "model.safetensors")
    assert set(states(str(model)).values()) == {"done"}


def test_what_only_lies_beside_the_model_leaves_phases_done(place: Place) -> None:
    model = save_model(place.folder / "mine")
    finish_all(str(model))
    for edit in (NO_CHANGES["a readme"], NO_CHANGES["the training's log"], NO_CHANGES["later times"]):
        edit(model)
    assert set(states(str(model)).values()) == {"done"}


def test_a_record_says_what_was_in_memory_and_not_what_lies_there_by_then(place: Place) -> None:
    model = save_model(place.folder / "mine")
    run = open_run("quick", str(model), "phase1")
    in_memory = dict(run.lm.identity)
    flip(model / "model.safetensors")
    finish(run)
    assert store.read_manifest(run.record.path)["matched"]["model"] == in_memory
    assert states(str(model))["phase1"] == "stale"


def test_phase_7_is_stale_once_a_model_that_it_read_was_run_anew(place: Place) -> None:
    one, other = (str(save_model(place.folder / name)) for name in ("one", "other"))
    finish_all(other)
    finish_all(one)
    assert states(one)["phase7"] == "done"
    flip(Path(other) / "model.safetensors")
    finish(open_run("quick", other, "phase5"))
    assert states(one)["phase7"] == "stale" and states(one)["phase5"] == "done"


@pytest.mark.parametrize("name", ["mine", "./mine", "{folder}/mine"])
def test_a_folder_that_is_gone_is_one_line(place: Place, name: str) -> None:
    model = save_model(place.folder / "mine")
    finish_all(str(model))
    shutil.rmtree(model)
    for command in ("status", "run"):
        refused(place, Refusal("gone", [command, "--model", name], ["mine"]))


def test_a_folder_that_is_gone_is_one_line_also_where_its_name_could_be_a_hub_models(place: Place) -> None:
    save_model(place.folder / "runA" / "checkpoint-5")
    FakeHub(place.monkeypatch, None)
    place.monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place.folder.parent / "hub"))
    finish_all("runA/checkpoint-5")
    assert place.ask(["status", "--model", "runB/checkpoint-5"]).code == 0
    shutil.rmtree(place.folder / "runA")
    for command in ("status", "run"):
        refused(place, Refusal("gone", [command, "--model", "runA/checkpoint-5"], ["runA/checkpoint-5", "gone"]))


def test_prompting_words_are_part_of_what_phase_5_stands_on(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = str(save_model(place.folder / "mine"))
    finish_all(model)
    file = tmp_path / "prompting.yaml"
    file.write_text(paths.prompting_file().read_text(encoding="utf-8").replace("examples: ", "examples: 1"))
    monkeypatch.setattr("emolib.study.identity.prompting_file", lambda: file)
    found = states(model)
    assert found["phase5"] == "stale" and found["phase3"] == "done"


def test_word_lists_of_the_data_sets_languages_are_part_of_what_it_stands_on(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = str(save_model(place.folder / "mine"))
    finish_all(model)
    lists = shutil.copytree(paths.params_folder("keywords"), tmp_path / "keywords")
    monkeypatch.setattr("emolib.study.identity.params_folder", lambda kind: lists)
    (lists / "xx.yaml").write_text("labels: {}")  # a language of no text
    assert set(states(model).values()) == {"done"}
    (lists / "en.yaml").write_text((lists / "en.yaml").read_text() + "\n# changed\n")
    assert states(model)["phase1"] == "stale"


def test_the_tables_word_on_type_and_chat_counts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeHub(monkeypatch, COMMIT)
    finish_all("gpt2_small")
    spec = config.model_table()["gpt2_small"]
    changed = {"chat": spec.model_copy(update={"chat": True}), "dtype": spec.model_copy(update={"dtype": "bfloat16"})}
    changed["quantization"] = spec.model_copy(update={"quantization": "int8"})
    found = {}
    for name, other in changed.items():
        monkeypatch.setattr("emolib.base.config.model_table", lambda other=other: {other.name: other})
        found[name] = list(states("gpt2_small").values())
    n_phases = len(phases.phases_in_order())
    assert found["chat"] == ["done"] * 3 + ["stale"] * (n_phases - 3)
    assert found["dtype"] == found["quantization"] == ["stale"] * n_phases


def test_another_corpus_in_the_same_place_makes_phase_3_stale(place: Place) -> None:
    model = str(save_model(place.folder / "mine"))
    corpus = place.folder / "corpus"
    corpus.mkdir()
    (corpus / "dev.tsv").write_text("one")
    run = open_run("quick", model, "phase3", corpus=str(corpus))
    finish(run)
    assert open_run("quick", model, "phase3", corpus=str(corpus)).record.state() == "done"
    (corpus / "dev.tsv").write_text("two")
    assert open_run("quick", model, "phase3", corpus=str(corpus)).record.state() == "stale"


ROW = {"scenario": "s1", "topic": "t", "lang": "en", "style": "explicit", "split": "train"}


def save_texts(file: Path, word: str) -> str:
    rows = [
        {**ROW, "id": f"{split}{i}{label}", "scenario": f"{split}{i}", "split": split, "emotion": label}
        | {"text": f"{word} {label} {i} in {split}."}
        for split in ("train", "validation", "test")
        for i in range(4)
        for label in ("neutral", "joy")
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(file)


def test_data_sets_of_one_name_have_places_of_their_own_and_follow_their_content(place: Place) -> None:
    model = str(save_model(place.folder / "mine"))
    one, other = (save_texts(place.folder / name / "x.jsonl", name) for name in ("a", "b"))
    runs = [
        open_run("quick", model, "phase1", dataset=file, n_train=4, n_validation=2, n_test=2) for file in (one, other)
    ]
    assert len({run.paths.dataset("label_counts") for run in runs}) == len({phases.report_of(run) for run in runs}) == 2
    for run in runs:
        finish(run)
    given = {"dataset": one, "n_train": 4, "n_validation": 2, "n_test": 2}
    assert phases.status("quick", model, given)[0].state == "done"
    save_texts(Path(other), "changed")
    assert phases.status("quick", model, given)[0].state == "done"
    assert phases.status("quick", model, {**given, "dataset": other})[0].state == "stale"


# places: one for each model, whatever it is called


def test_folders_of_one_name_have_places_of_their_own(place: Place) -> None:
    runs = []
    for parent in ("runA", "runB"):
        runs.append(open_run("quick", str(save_model(place.folder / parent / "checkpoint-500")), "phase5"))
    one, other = runs
    for places_of in (lambda r: r.record.path, lambda r: r.paths.activations(), phases.report_of):
        assert places_of(one) != places_of(other)
    finish_all(one.params.model)
    assert set(states(other.params.model).values()) == {"missing"}
    assert one.paths.model.startswith("checkpoint-500@")


def spellings(folder: Path) -> list[str]:
    link = folder.parent / "link"
    link.symlink_to(folder)
    return [
        str(folder),
        f"{folder}/",
        f"{folder.name}/",
        f"./{folder.name}",
        folder.name,
        f"./x/../{folder.name}",
        str(link),
        "link",
        str(folder.parent / "." / folder.name),
        f"{folder.parent}//{folder.name}",
    ]


def test_every_spelling_of_a_folder_is_one_place(place: Place) -> None:
    (place.folder / "x").mkdir()
    names = spellings(save_model(place.folder / "mine"))
    assert len({open_run("quick", name, "phase2").paths.model for name in names}) == 1
    assert len({open_run("quick", name, "phase2").params.model for name in names}) == 1


def test_reports_of_a_folder_or_hub_model_are_found_by_every_name_of_it(place: Place) -> None:
    save_model(place.folder / "mine")
    for given, names in (("mine/", ["mine", "./mine", str(place.folder / "mine")]), ("o/m", ["o/m", "o--m"])):
        run = Run(resolve("quick", given, "phase1"), contents=lambda given: {"revision": COMMIT})
        finish(run)
        for name in (*names, run.paths.model):
            (report,) = executed_reports("quick", name)
            assert report.group == run.paths.model
    assert len(executed_reports("quick")) == 2


def test_a_folder_called_like_a_known_model_is_another_model(place: Place) -> None:
    for name in ("smollm2_135m", "gpt2", "gpt2_small", "openai-community--gpt2"):
        folder = save_model(place.folder / "runs" / name)
        known = "openai-community/gpt2" if "--" in name else name
        assert open_run("quick", str(folder), "phase2").paths.model != open_run("quick", known, "phase2").paths.model
    save_model(place.folder / "gpt2_small")
    with pytest.raises(UserError, match="there are two"):
        open_run("quick", "gpt2_small", "phase2")
    assert open_run("quick", "openai-community/gpt2", "phase2").paths.model == "gpt2_small"
    assert open_run("quick", "./gpt2_small", "phase2").paths.model.startswith("gpt2_small@")


NAMES = {
    "a space": ("my run", "my-run@"),
    "dots": ("..hidden", "hidden@"),
    "markup": ("<b>`x`</b>", "b@"),
    "two dashes": ("a--b", "a-b@"),
    "other script": ("感情モデル", "感情モデル@"),
    "nothing readable": ("!!!", "model@"),
    "long": ("x" * 200, "x" * 60 + "@"),
    "long in another script": ("感" * 80, "感" * 20 + "@"),
    "a line": ("a\nb", "a-b@"),
    "a glob": ("a*[b]?", "a-b@"),
}


@pytest.mark.parametrize(("given", "begins"), NAMES.values(), ids=NAMES)
def test_a_folders_name_is_readable_and_safe_in_its_place(given: str, begins: str) -> None:
    name = paths.file_name(f"/runs/{given}")
    assert name.startswith(begins), name
    assert len(name.encode()) <= paths.LABEL_BYTES + 1 + paths.PLACE_DIGITS
    assert not set(name) & set("/\\\n<>`*?[] ") and not name.startswith(".")


def test_folders_that_differ_in_their_case_have_places_that_differ_otherwise() -> None:
    one, other = paths.file_name("/runs/Model"), paths.file_name("/runs/model")
    assert one.casefold() != other.casefold()


NOT_MODELS = [
    Refusal("no such folder", ["status", "--model", "./nowhere"], ["nowhere"]),
    Refusal("no such absolute folder", ["status", "--model", "{folder}/nowhere"], ["nowhere"]),
    Refusal("a folder without a model", ["status", "--model", "{folder}"], ["config.json"]),
    Refusal("a way up", ["status", "--model", "../../../x"], ["x"]),
    Refusal("an unknown word", ["status", "--model", "smolm2_135m"], ["unknown model", "smollm2_135m"]),
]


@pytest.mark.parametrize("case", NOT_MODELS, ids=lambda case: case.name)
def test_what_is_no_model_is_one_line(place: Place, case: Refusal) -> None:
    refused(place, case)


def test_a_loop_of_links_is_one_line(place: Place) -> None:
    (place.folder / "loop").symlink_to(place.folder / "loop")
    with pytest.raises(UserError) as caught:
        open_run("quick", "./loop", "phase1")
    one_good_line(str(caught.value), ["loop"])

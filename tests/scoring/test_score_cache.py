"""Scores that are kept: worked out once, exact, per version, and safe among several processes."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
from collections.abc import Callable, Sequence
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.scoring import score_texts
from emolib.scoring.cache import ScoreCache
from emolib.scoring.scorer import Scorer
from emolib.steering import sweeps

TEXTS = ["one", "two words", "one", "", "naïve \U0001f642", "三 words", "two words"]
DISTINCT = list(dict.fromkeys(TEXTS))


def number_of(text: str) -> float:
    """A number without a short decimal form."""
    return float(np.sin(sum(map(ord, text)) + len(text) / 3)) / 3


def table_of(texts: Sequence[str]) -> pd.DataFrame:
    values = np.array([number_of(text) for text in texts])
    return pd.DataFrame(
        {
            "made/double": values,
            "made/single": values.astype(np.float32),
            "made/count": [len(text) for text in texts],
            "made/long": [len(text) > 4 for text in texts],
            "made/gap": [np.nan if text == "one" else -0.0 for text in texts],
        }
    )


def counting(
    asked: list[list[str]], version: str = "v1", make: Callable[[Sequence[str]], pd.DataFrame] = table_of
) -> Scorer:
    """A scorer that notes what it was asked."""

    def score(texts: Sequence[str]) -> pd.DataFrame:
        asked.append(list(texts))
        return make(texts)

    return Scorer("made", version, score)


def same_bits(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    return list(a.dtypes.items()) == list(b.dtypes.items()) and all(
        a[name].to_numpy().tobytes() == b[name].to_numpy().tobytes() for name in a
    )


@pytest.fixture
def cache(tmp_path: Path) -> ScoreCache:
    return ScoreCache(tmp_path / "scores")


def test_a_text_is_scored_once_and_comes_back_to_the_last_bit(cache: ScoreCache):
    asked: list[list[str]] = []
    first = score_texts(TEXTS, backend=counting(asked), cache=cache)
    assert asked == [DISTINCT]
    again = score_texts(TEXTS[::-1], backend=counting(asked), cache=ScoreCache(cache.folder))
    assert asked == [DISTINCT]
    assert same_bits(first, table_of(TEXTS)) and same_bits(again, table_of(TEXTS[::-1]))
    assert [str(kind) for kind in again.dtypes] == ["float64", "float32", "int64", "bool", "float64"]


def test_the_comparison_notices_a_changed_bit_and_a_changed_dtype():
    table = table_of(TEXTS)
    values = table["made/double"].copy()
    values[2] = np.nextafter(values[2], 1)
    assert same_bits(table, table.copy())
    assert not same_bits(table, table.assign(**{"made/double": values}))
    assert not same_bits(table, table.assign(**{"made/count": table["made/count"].astype(float)}))
    assert not same_bits(table, table.assign(**{"made/gap": table["made/gap"] + 0.0}))


def test_only_new_texts_are_scored(cache: ScoreCache):
    asked: list[list[str]] = []
    score_texts(["one", "two words"], backend=counting(asked), cache=cache)
    found = score_texts(["new", "two words", "one", "newer", "new"], backend=counting(asked), cache=cache)
    assert asked == [["one", "two words"], ["new", "newer"]]
    assert same_bits(found, table_of(["new", "two words", "one", "newer", "new"]))


def test_another_version_scores_anew_and_the_first_is_kept(cache: ScoreCache):
    asked: list[list[str]] = []
    score_texts(["one"], backend=counting(asked), cache=cache)
    other = counting(asked, "v2", lambda texts: table_of(texts)[["made/count"]] + 100)
    assert score_texts(["one"], backend=other, cache=cache)["made/count"].tolist() == [103]
    assert len(asked) == 2
    assert same_bits(score_texts(["one"], backend=counting(asked), cache=cache), table_of(["one"]))
    assert len(asked) == 2


def test_two_scorers_keep_their_scores_apart(cache: ScoreCache):
    asked: list[list[str]] = []
    one = counting(asked)
    other = Scorer("else", "v1", lambda texts: pd.DataFrame({"else/n": [7.0] * len(texts)}))
    found = score_texts(["one"], backend=[one, other], cache=cache)
    assert found["else/n"].tolist() == [7.0] and found["made/count"].tolist() == [3]
    assert sorted(path.name for path in cache.folder.iterdir()) == ["else.sqlite", "made.sqlite"]


def test_a_scorer_without_a_version_is_never_kept(cache: ScoreCache):
    asked: list[list[str]] = []
    for _ in range(2):
        score_texts(["one", "one"], backend=counting(asked, None), cache=cache)
    assert asked == [["one"], ["one"]] and not cache.folder.exists()


def test_without_a_cache_every_call_scores_its_distinct_texts_once():
    asked: list[list[str]] = []
    for _ in range(2):
        assert same_bits(score_texts(TEXTS, backend=counting(asked)), table_of(TEXTS))
    assert asked == [DISTINCT, DISTINCT]


def test_no_texts_touch_no_cache(cache: ScoreCache):
    assert list(score_texts([], backend=counting([]), cache=cache)) == list(table_of([""]))
    assert not cache.folder.exists()


def test_more_texts_than_are_asked_at_once_come_back_in_their_order(cache: ScoreCache):
    texts = [f"text {i}" for i in range(1203)]
    asked: list[list[str]] = []
    score_texts(texts, backend=counting(asked), cache=cache)
    assert same_bits(score_texts(texts[::-1], backend=counting(asked), cache=cache), table_of(texts[::-1]))
    assert len(asked) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.rename(columns={"made/count": "made/number"}),
        lambda table: table[list(table)[::-1]],  # rows are kept by place
        lambda table: table.drop(columns="made/gap"),
        lambda table: table.astype({"made/single": "float64"}),
    ],
    ids=["other name", "other order", "one fewer", "other dtype"],
)
def test_other_columns_under_the_same_version_are_refused(
    cache: ScoreCache, change: Callable[[pd.DataFrame], pd.DataFrame]
):
    score_texts(["one"], backend=counting([]), cache=cache)
    changed = counting([], make=lambda texts: change(table_of(texts)))
    with pytest.raises(RuntimeError, match="scorer made v1 changed its columns"):
        score_texts(["two words"], backend=changed, cache=cache)
    assert same_bits(score_texts(["two words"], backend=counting([]), cache=cache), table_of(["two words"]))


def test_a_corrupt_file_is_told_in_one_line_and_its_removal_helps(cache: ScoreCache):
    score_texts(["one"], backend=counting([]), cache=cache)
    path = cache.folder / "made.sqlite"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(UserError) as caught:
        score_texts(["one"], backend=counting([]), cache=cache)
    line = str(caught.value)
    assert line == line.strip() and len(line.splitlines()) == 1
    assert "score cache" in line and "made.sqlite" in line and "delete it" in line
    path.unlink()
    assert same_bits(score_texts(["one"], backend=counting([]), cache=cache), table_of(["one"]))


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path):
    (tmp_path / "scores").write_text("a file")
    with pytest.raises(UserError, match="score cache") as caught:
        score_texts(["one"], backend=counting([]), cache=ScoreCache(tmp_path / "scores"))
    assert len(str(caught.value).splitlines()) == 1


def test_a_failing_scorer_keeps_nothing(cache: ScoreCache):
    def fails(texts: Sequence[str]) -> pd.DataFrame:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        score_texts(["one"], backend=counting([], make=fails), cache=cache)
    asked: list[list[str]] = []
    score_texts(["one"], backend=counting(asked), cache=cache)
    assert asked == [["one"]]


def rows_in(cache: ScoreCache) -> int:
    connection = sqlite3.connect(cache.folder / "made.sqlite")
    try:
        return connection.execute("SELECT count(*) FROM checked_scores").fetchone()[0]
    finally:
        connection.close()


def _score_many(folder: str, start: int) -> bytes:
    """Thirty calls; each start shares its texts with every other."""
    parts = []
    for i in range(30):
        texts = [f"text {(start + i + k) % 40}" for k in range(5)]
        parts.append(score_texts(texts, backend=counting([]), cache=ScoreCache(Path(folder))))
    return pd.concat(parts, ignore_index=True)["made/double"].to_numpy().tobytes()


def _expected(start: int) -> bytes:
    texts = [f"text {(start + i + k) % 40}" for i in range(30) for k in range(5)]
    return table_of(texts)["made/double"].to_numpy().tobytes()


def _other_process(folder: str, ready: Event, go: Event, found: Queue) -> None:
    ready.set()
    go.wait(60)
    found.put(_score_many(folder, 20))


def test_two_processes_at_once_give_the_right_scores(cache: ScoreCache):
    context = multiprocessing.get_context("spawn")
    ready, go, found = context.Event(), context.Event(), context.Queue()
    other = context.Process(target=_other_process, args=(str(cache.folder), ready, go, found))
    other.start()
    try:
        assert ready.wait(60)
        go.set()
        mine = _score_many(str(cache.folder), 0)
        theirs = found.get(timeout=60)
    finally:
        other.join(60)
    assert (mine, theirs) == (_expected(0), _expected(20)) and mine != theirs
    assert rows_in(cache) == 40


def test_threads_that_all_find_nothing_yet_store_every_text_once(cache: ScoreCache):
    n = 6
    together = threading.Barrier(n)
    found: dict[int, pd.DataFrame] = {}

    def make(texts: Sequence[str]) -> pd.DataFrame:
        together.wait(timeout=30)  # every thread has read the empty cache before any writes
        return table_of(texts)

    def work(i: int) -> None:
        found[i] = score_texts(TEXTS, backend=counting([], make=make), cache=cache)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == n and all(same_bits(table, table_of(TEXTS)) for table in found.values())
    assert rows_in(cache) == len(DISTINCT)


def test_a_sweeps_rows_depend_on_the_scorers_versions():
    other = Scorer("else", "v1", table_of)
    backends = (counting([], "v1"), counting([], "v2"), [counting([], "v1"), other])
    assert len({sweeps.version_of(backend) for backend in backends}) == len(backends)
    assert sweeps.version_of(counting([])) == sweeps.version_of(counting([]))

"""Adjusted S and the lexical part, on planted token shifts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.steering.shift_parts import (
    ShiftPrediction,
    adjusted_shifts,
    adjusted_specific_shift,
    lexical_and_contextual,
    lexicon,
    token_table,
)
from emolib.steering.shift_tables import KEYS, crossed_cells, shift_rows
from emolib.steering.specific_shift import specific_shift

LABELS, ACTS = ("gratitude", "joy", "neutral"), ("gratitude", "joy")
N_WORDS, WORD_OF_THE_EMOTION, N_TOKENS = 60, 59, 8
VOCABULARY = [f"word{i}" for i in range(N_WORDS - 1)] + ["thanks"]
CORPUS = [" ".join(VOCABULARY[: i + 1]) for i in range(N_WORDS)]
Push = Callable[[pd.DataFrame], np.ndarray]


def design(pool: str, n: int = 8) -> pd.DataFrame:
    texts = [f"{pool}{i}" for i in range(n)]
    told = pd.DataFrame([{"scenario": text, "label": label, "style": "implicit"} for text in texts for label in LABELS])
    acts = pd.DataFrame({"act": list(ACTS), "layer": 8, "alpha": 0.2})
    return shift_rows(crossed_cells([f"prompt {pool}{i}" for i in range(n)], texts, per_text=2), told, acts)


def made_tokens(rows: pd.DataFrame, push: Push, seed: int) -> pd.DataFrame:
    """What `token_shifts` would give: a pair's tokens are the same under every act; gratitude's are rarer."""
    generator = np.random.default_rng(seed)
    pair = rows.groupby(["prompt", "text", "label"]).ngroup().to_numpy()
    token_ids = generator.integers(0, N_WORDS - 1, (pair.max() + 1, N_TOKENS))
    logprob = -generator.gamma(2, 1.5, token_ids.shape)
    entropy = generator.gamma(6, 0.5, token_ids.shape)
    own = (rows["label"] == "gratitude").to_numpy()
    token_ids[pair[own], 3] = WORD_OF_THE_EMOTION
    logprob[pair[own]] *= 1.6
    row = np.repeat(np.arange(len(rows)), N_TOKENS)
    tokens = pd.DataFrame(
        {
            "row": row,
            "position": np.tile(np.arange(1, N_TOKENS + 1), len(rows)),
            "token_id": token_ids[pair].ravel(),
            "word": [VOCABULARY[i] for i in token_ids[pair].ravel()],
            "logprob_unpatched": logprob[pair].ravel(),
            "entropy": entropy[pair].ravel(),
        }
    )
    tokens["logprob"] = tokens["logprob_unpatched"]
    table = token_table(rows, tokens, CORPUS)
    shift = push(table)
    tokens["logprob"] = tokens["logprob_unpatched"] + shift + 0.01 * generator.standard_normal(len(tokens))
    return token_table(rows, tokens, CORPUS)


def both(push: Push) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tokens of the texts and of the training texts under the same acts."""
    return made_tokens(design("t"), push, 0), made_tokens(design("train "), push, 1)


def raw(tokens: pd.DataFrame) -> float:
    table = tokens.groupby("row")[KEYS].first().assign(shift=tokens.groupby("row")["shift"].mean())
    return float(specific_shift(table, pairs=[("gratitude", "joy")])["specific"].mean())


def flattens(strength: dict[str, float]) -> Push:
    """Scales all logits down: a token's log-probability falls towards uniform, as its rarity and the entropy say."""

    def push(tokens: pd.DataFrame) -> np.ndarray:
        factor = tokens["act"].map(strength).to_numpy()
        return factor * (-tokens["logprob_unpatched"] - 0.8 * tokens["entropy"]).to_numpy()

    return push


def test_an_act_that_only_flattens_has_no_adjusted_s() -> None:
    tokens, training = both(flattens({"gratitude": 0.3, "joy": 0.05}))
    assert raw(tokens) > 0.1, "control: one act flattens more, and gratitude's texts are rarer"
    adjusted = adjusted_specific_shift(tokens, training, pairs=[("gratitude", "joy")])["specific"]
    assert abs(adjusted.mean()) < 0.01


def test_what_is_specific_outlives_the_adjustment() -> None:
    def push(tokens: pd.DataFrame) -> np.ndarray:
        own = (tokens["label"] == tokens["act"]).to_numpy(float)
        return flattens({"gratitude": 0.3, "joy": 0.05})(tokens) + 0.2 * own

    adjusted = adjusted_specific_shift(*both(push))
    assert len(adjusted) == 2 * 16
    np.testing.assert_allclose(adjusted.groupby("emotion")["specific"].mean(), 0.4, atol=0.02)


def test_the_prediction_never_sees_texts_of_the_labels_that_are_compared() -> None:
    tokens, training = both(lambda table: 0.1 * table["entropy"].to_numpy())
    spoiled = training.copy()
    spoiled.loc[spoiled["label"] != "neutral", "shift"] += 100
    found, wanted = (adjusted_shifts(tokens, given, ("gratitude", "joy")) for given in (spoiled, training))
    pd.testing.assert_frame_equal(found, wanted)
    spoiled.loc[spoiled["label"] == "neutral", "shift"] += 100
    assert adjusted_shifts(tokens, spoiled, ("gratitude", "joy"))["shift"].mean() < -90, "control: neutral is seen"


def test_the_prediction_belongs_to_its_act() -> None:
    tokens, training = both(flattens({"gratitude": 0.3, "joy": 0.05}))
    swapped = training.assign(act=training["act"].map({"gratitude": "joy", "joy": "gratitude"}))
    residual = [
        adjusted_shifts(tokens, given, ("gratitude", "joy"))["shift"].abs().mean() for given in (training, swapped)
    ]
    assert residual[0] < 0.02 < 0.1 < residual[1]


def test_every_covariate_is_subtracted() -> None:
    generator = np.random.default_rng(0)
    table = made_tokens(design("t"), lambda tokens: np.zeros(len(tokens)), 0)
    table["mark"] = generator.integers(0, 2, len(table)).astype(float)
    for name in ("logprob_unpatched", "entropy", "log_frequency", "mark"):
        found = ShiftPrediction.fit(table.assign(shift=table[name] * 0.7 + 0.1)).predict(table)
        np.testing.assert_allclose(found, table[name] * 0.7 + 0.1, atol=1e-9, err_msg=name)
    found = ShiftPrediction.fit(table.assign(shift=np.log(table["position"]))).predict(table)
    np.testing.assert_allclose(found, np.log(table["position"]), atol=1e-9)
    noise = generator.standard_normal(len(table))
    assert np.std(noise - ShiftPrediction.fit(table.assign(shift=noise)).predict(table)) > 0.9, "control: noise is left"


def lexicon_of(push_of_token: np.ndarray) -> pd.DataFrame:
    """Every token's shift in eight neutral contexts under each act."""
    rows = pd.DataFrame({"act": np.repeat(ACTS, 8), "layer": 8, "alpha": 0.2})
    noise = 0.01 * np.random.default_rng(2).standard_normal((len(rows), N_WORDS))
    return lexicon(rows, range(N_WORDS), push_of_token[(rows["act"] == "joy").to_numpy(int)] + noise)


def word_lift(tokens: pd.DataFrame) -> np.ndarray:
    return 1.2 * ((tokens["word"] == "thanks") & (tokens["act"] == "gratitude")).to_numpy(float)


def test_an_act_that_lifts_one_word_everywhere_is_wholly_lexical() -> None:
    tokens = made_tokens(design("t"), word_lift, 0)
    lift = np.zeros((2, N_WORDS))
    lift[0, WORD_OF_THE_EMOTION] = 1.2
    parts = lexical_and_contextual(tokens, lexicon_of(lift))
    np.testing.assert_allclose(parts["shift"], parts["lexical"] + parts["contextual"], atol=1e-12)
    found = {
        value: specific_shift(parts, pairs=[("gratitude", "joy")], value=value)["specific"].mean()
        for value in ("shift", "lexical", "contextual")
    }
    assert found["lexical"] == pytest.approx(1.2 / N_TOKENS, abs=0.01)
    assert found["shift"] == pytest.approx(found["lexical"], abs=0.01) and abs(found["contextual"]) < 0.01


def test_what_depends_on_the_context_is_contextual() -> None:
    tokens = made_tokens(design("t"), lambda table: 0.2 * (table["label"] == table["act"]).to_numpy(float), 0)
    parts = lexical_and_contextual(tokens, lexicon_of(np.zeros((2, N_WORDS))))
    contextual = specific_shift(parts, value="contextual").groupby("emotion")["specific"].mean()
    np.testing.assert_allclose(contextual, 0.4, atol=0.02)
    assert abs(specific_shift(parts, value="lexical")["specific"].mean()) < 0.01


def test_token_tables_say_which_tokens_are_marks_and_how_frequent_words_are() -> None:
    rows = design("t")[:1]
    tokens = pd.DataFrame({"row": [0, 0, 0], "position": [1, 2, 3], "token_id": [4, 5, 6]})
    tokens = tokens.assign(word=["word0", ",", "unseen"], logprob=-1.0, logprob_unpatched=-1.5, entropy=2.0)
    table = token_table(rows, tokens, CORPUS)
    assert table["mark"].tolist() == [0, 1, 0] and (table["shift"] == 0.5).all()
    assert table["log_frequency"][0] > table["log_frequency"][1] == table["log_frequency"][2]
    assert (table[KEYS].nunique() == 1).all()


def test_bad_tables_are_told_in_one_line() -> None:
    tokens, training = both(word_lift)
    small = lexicon_of(np.zeros((2, N_WORDS)))
    only_own = training[training["label"] != "neutral"]
    cases: list[tuple[str, Callable[[], Any]]] = [
        ("other labels than gratitude, joy", lambda: adjusted_specific_shift(tokens, only_own)),
        (
            "training tokens per act",
            lambda: adjusted_specific_shift(tokens, training.groupby(["act", "label"]).head(3)),
        ),
        ("'t0' is among both", lambda: adjusted_specific_shift(tokens, tokens)),
        ("acts of their own", lambda: adjusted_specific_shift(tokens[tokens["act"] == "joy"], training)),
        ("(thanks|59).* has none", lambda: lexical_and_contextual(tokens, small[small["token_id"] != 59])),
        (r"expected shifts \[2, 1\], got \[1, 1\]", lambda: lexicon(small[:2], [1], np.zeros((1, 1)))),
        ("there is no entropy", lambda: token_table(design("t"), tokens.drop(columns="entropy"), CORPUS)),
        ("tokens of rows 0 to 0", lambda: token_table(design("t")[:1], tokens, CORPUS)),
    ]
    for said, call in cases:
        with pytest.raises(UserError, match=said) as told:
            call()
        assert "\n" not in str(told.value)

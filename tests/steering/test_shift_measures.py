"""The measures of one design, on planted token shifts: flattening and words are refused by the one that is for them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from planted_shifts import design

from emolib.base.errors import UserError
from emolib.steering.instruments import instrument_table, judged_pairs
from emolib.steering.shift_measures import measured_cells
from emolib.steering.shift_parts import lexicon, token_table
from emolib.steering.shift_tables import KEYS

LABELS, ACTS = ("gratitude", "joy", "neutral"), ("gratitude", "joy")
PAIRS = [("gratitude", "joy")]
N_TOKENS, N_WORDS = 6, 40
THANKS = N_WORDS - 1
NAMES = [*(f"word{i}" for i in range(THANKS)), "thanks"]


def made(rows: pd.DataFrame, plant: str, seed: int) -> pd.DataFrame:
    """Tokens of the design; gratitude's texts are rarer and hold one word of its own."""
    generator = np.random.default_rng(seed)
    pair = rows.groupby(["prompt", "text", "label"], sort=False).ngroup().to_numpy()
    shape = (pair.max() + 1, N_TOKENS)
    ids, logprob, entropy = (
        generator.integers(0, THANKS, shape),
        -generator.gamma(2, 1.5, shape),
        generator.gamma(6, 0.5, shape),
    )
    mine = np.unique(pair[(rows["label"] == "gratitude").to_numpy()])
    ids[mine, 2], logprob[mine] = THANKS, logprob[mine] * 1.5
    row = np.repeat(np.arange(len(rows)), N_TOKENS)
    tokens = pd.DataFrame({"row": row, "position": np.tile(np.arange(1, N_TOKENS + 1), len(rows))})
    tokens = tokens.assign(token_id=ids[pair].ravel(), word=[NAMES[i] for i in ids[pair].ravel()])
    tokens = tokens.assign(logprob_unpatched=logprob[pair].ravel(), entropy=entropy[pair].ravel())
    act, label = (rows[name].to_numpy()[row] for name in ("act", "label"))
    shift = {
        "flattens": np.where(act == "gratitude", 0.3, 0.05) * (-tokens["logprob_unpatched"] - 0.8 * tokens["entropy"]),
        "words": 1.5 * ((tokens["token_id"] == THANKS) & (act == "gratitude")),
        "emotion": 0.2 * (act == label),
    }[plant]
    noise = 0.02 * generator.standard_normal(len(tokens))
    tokens["logprob"] = tokens["logprob_unpatched"] + np.asarray(shift, float) + noise
    return token_table(rows, tokens, [" ".join(NAMES)])


def passed(plant: str) -> dict[str, bool]:
    rows = design(LABELS, ACTS, n=12)
    training = design(LABELS, ACTS, style="training", n=6)
    tokens, held = made(rows, plant, 0), made(training, plant, 1)
    table = (
        tokens.groupby("row")[KEYS].first().assign(shift=tokens.groupby("row")["shift"].mean()).reset_index(drop=True)
    )
    contexts = pd.DataFrame({"act": np.repeat(ACTS, 4), "layer": 8, "alpha": 0.2})
    lift = np.zeros((len(contexts), N_WORDS))
    lift[(contexts["act"] == "gratitude").to_numpy(), THANKS] = 1.5 * (plant == "words")
    lexical = lexicon(contexts, range(N_WORDS), lift)
    cells = measured_cells(table, pairs=PAIRS, tokens=tokens, training=held, lexical=lexical)
    found = instrument_table(judged_pairs(cells.assign(instrument="gold_a")))
    return found.set_index("measure")["passed"].to_dict()


def test_an_emotion_passes_by_every_measure() -> None:
    assert passed("emotion") == {"raw": True, "adjusted": True, "contextual": True}


def test_an_act_that_only_flattens_is_refused_by_the_adjusted_measure() -> None:
    found = passed("flattens")
    assert found["raw"], "control: one act flattens more, and gratitude's texts are rarer"
    assert not found["adjusted"]


def test_an_act_that_only_lifts_a_word_is_refused_by_the_contextual_measure() -> None:
    found = passed("words")
    assert found["raw"], "control: the word stands in gratitude's texts"
    assert not found["contextual"]


def test_parts_need_tokens() -> None:
    rows = design(LABELS, ACTS, n=4).assign(shift=0.0)
    with pytest.raises(UserError, match="give tokens="):
        measured_cells(rows, lexical=pd.DataFrame())

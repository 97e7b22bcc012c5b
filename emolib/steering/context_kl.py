"""How far words before a prompt move the next token along a fixed text, as `next_token_kl` says it of acts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.engine.divergences import pair_divergences
from emolib.engine.forced_pass import BRIDGE_ROWS, ForcedRows
from emolib.engine.parity import check_batching
from emolib.models.language_model import LanguageModel, checked_model
from emolib.models.limits import check_ids
from emolib.models.tokens import encode
from emolib.models.workspace import Workspace

ROWS_AT_ONCE = 32


def context_kl(
    lm: LanguageModel, prompts: Sequence[str], asked: Sequence[str], continuations: Sequence[Sequence[int]]
) -> Float[np.ndarray, " row"]:
    """Mean KL(after the prompt ‖ after what is asked) of next-token distributions along a continuation, in nats.

    Both are fed the same continuation. Distributions are compared where `emolib.steering.damage.next_token_kl` compares
    them: after the prompt, then after each of the continuation's tokens but the last.

    Args:
        prompts: raw texts, one per row.
        asked: what stands in the prompt's place, one per row: for example examples, then the prompt.
        continuations: token ids per row, at least one each.

    Raises:
        UserError: lists of different length, an empty prompt or continuation, ids that the model does not have, more
            tokens than it has positions.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> ids = lm.tokenizer(" It came at noon.").input_ids
    >>> before = "The bus was late."
    >>> found = context_kl(lm, [before, before], [before, f"Thank you so much!\\n\\n{before}"], [ids, ids])
    >>> bool(found[0] < 1e-3), bool(found[1] > 0.05)
    (True, True)
    """
    checked_model(lm)
    lists = {"prompts": arguments.texts(prompts, "prompts"), "asked": arguments.texts(asked, "asked")}
    texts = [tuple(int(token) for token in ids) for ids in continuations]
    if len({len(texts), *map(len, lists.values())}) != 1 or not all(texts):
        raise UserError(
            f"expected as many prompts, asked prompts and continuations with tokens, got {len(lists['prompts'])}, "
            f"{len(lists['asked'])} and {sum(map(bool, texts))}"
        )
    check_ids(lm, texts, "continuation {place}")
    check_batching(lm)
    longest = max(map(len, texts), default=0)
    plain, after = (encode(lm, given, n_new=longest, name=name) for name, given in lists.items())
    found = np.zeros(len(texts))
    order = sorted(range(len(texts)), key=lambda row: len(after[row]))  # rows of like length share a width
    memory, step = Workspace(), BRIDGE_ROWS if lm.blueprint is None else ROWS_AT_ONCE
    for start in range(0, len(order), step):
        some = order[start : start + step]
        numbers: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
        plain_of = [numbers.setdefault((tuple(plain[i]), texts[i]), len(numbers)) for i in some]
        pairs = _pairs(*zip(*numbers, strict=True)), _pairs([after[i] for i in some], [texts[i] for i in some])
        found[some] = np.nanmean(pair_divergences(lm, *pairs, plain_of, memory), axis=1)
    return found


def _pairs(prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> ForcedRows:
    """Pairs of which nothing is patched."""
    return ForcedRows(prompts, texts, [], [], max(map(len, prompts)), max(map(len, texts)) - 1)


def nearest_dose(kl: pd.DataFrame, wanted: dict[str, float]) -> pd.DataFrame:
    """The number of examples whose KL is nearest to the one wanted, by the ratio of the two; the smaller of equals.

    Args:
        kl: emotion, n_examples, kl (nat).
        wanted: per emotion the KL of what it stands beside.

    Returns:
        emotion, n_examples, kl, wanted; one row per emotion, in the order of `wanted`.

    Raises:
        UserError: an emotion without a KL above 0.

    >>> table = pd.DataFrame({"emotion": "joy", "n_examples": [1, 2, 4], "kl": [0.1, 0.3, 0.9]})
    >>> nearest_dose(table, {"joy": 0.25})[["n_examples", "kl"]].values.tolist()
    [[2.0, 0.3]]
    """
    rows = []
    for emotion, goal in wanted.items():
        mine = kl[(kl["emotion"] == emotion) & (kl["kl"] > 0)].sort_values("n_examples", kind="stable")
        if mine.empty or not goal > 0:
            raise UserError(f"expected KLs above 0 of {emotion}, got {len(mine)} and a wanted one of {goal}")
        best = mine.iloc[int(np.abs(np.log(mine["kl"].to_numpy(float) / goal)).argmin())]
        n_examples, value = int(best["n_examples"]), float(best["kl"])
        rows.append({"emotion": emotion, "n_examples": n_examples, "kl": value, "wanted": float(goal)})
    return pd.DataFrame(rows, columns=["emotion", "n_examples", "kl", "wanted"])

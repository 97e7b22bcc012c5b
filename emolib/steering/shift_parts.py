"""What of a token's shift any perturbation would do, and what of it the act does to the word in any sentence.

*Adjusted*: what a token's base log-probability, the entropy where it stands, its position, the frequency of its word
and being a mark predict is subtracted; the prediction is fitted under the same act on training texts of other labels.
*Lexical*: a token's mean shift over neutral contexts; what is left is *contextual*.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from emolib.base.errors import UserError, shown
from emolib.data.word_counts import log_frequencies
from emolib.steering.shift_tables import ACT, KEYS, check_columns
from emolib.steering.specific_shift import label_pairs, specific_shift

TOKEN_COLUMNS = ["row", "position", "token_id", "word", "logprob", "logprob_unpatched", "entropy"]
TOKENS_PER_COVARIATE = 5  # fewer training tokens than that predict nothing


def token_table(rows: pd.DataFrame, tokens: pd.DataFrame, texts: Iterable[str]) -> pd.DataFrame:
    """Every token with the design's row that it belongs to, its shift, and what may predict it.

    Args:
        rows: the columns of `shift_tables.KEYS`, in the order in which prompts, texts and acts were given.
        tokens: what `emolib.engine.continuation.token_shifts` gave for them.
        texts: in which words are counted, for their frequency; the larger the better.

    Returns:
        row, `KEYS`, position, token_id, word, logprob, logprob_unpatched, entropy, `shift` (nat), log_frequency
        (of the word among those of `texts`, one added to every count), mark (1 where the token holds no letter or
        digit).

    Raises:
        UserError: missing columns, tokens of rows that there are not.
    """
    check_columns(rows, KEYS, "rows")
    check_columns(tokens, TOKEN_COLUMNS, "tokens")
    if len(tokens) and not tokens["row"].between(0, len(rows) - 1).all():
        raise UserError(f"expected tokens of rows 0 to {len(rows) - 1}, got rows up to {tokens['row'].max()}")
    design = rows[KEYS].iloc[tokens["row"].to_numpy()].reset_index(drop=True)
    kept = tokens[TOKEN_COLUMNS].reset_index(drop=True)
    words = kept["word"].tolist()
    return pd.concat([kept[["row"]], design, kept[TOKEN_COLUMNS[1:]]], axis=1).assign(
        shift=kept["logprob"] - kept["logprob_unpatched"],
        log_frequency=log_frequencies(words, texts),
        mark=[float(not any(character.isalnum() for character in word)) for word in words],
    )


@dataclass(frozen=True)
class ShiftPrediction:
    """What is expected of a token's shift under one act, whatever it says; least squares on `covariates`.

    Attributes:
        center, scale: of the covariates among the training tokens.
        weights: per covariate; the last one is the mean shift.
    """

    center: np.ndarray
    scale: np.ndarray
    weights: np.ndarray

    @classmethod
    def fit(cls, tokens: pd.DataFrame) -> ShiftPrediction:
        """The prediction from training tokens of one act, as `token_table` gives them.

        Raises:
            UserError: too few tokens.
        """
        given = covariates(tokens)
        if len(given) < TOKENS_PER_COVARIATE * given.shape[1]:
            raise UserError(
                f"expected at least {TOKENS_PER_COVARIATE * given.shape[1]} training tokens per act to predict shifts "
                f"from, got {len(given)}"
            )
        center, scale = given.mean(axis=0), given.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        design = np.column_stack([(given - center) / scale, np.ones(len(given))])
        weights = np.linalg.lstsq(design, tokens["shift"].to_numpy(float), rcond=None)[0]
        return cls(center, scale, weights)

    def predict(self, tokens: pd.DataFrame) -> Float[np.ndarray, " token"]:
        """The expected shift of every token, in nat."""
        return (covariates(tokens) - self.center) / self.scale @ self.weights[:-1] + self.weights[-1]


def covariates(tokens: pd.DataFrame) -> Float[np.ndarray, "token covariate"]:
    """Base log-probability and entropy, their squares and product, log position, word frequency, and being a mark.

    A distribution that is flattened shifts a token by what its log-probability and the entropy say, not by a line in
    either alone.
    """
    logprob, entropy = tokens["logprob_unpatched"].to_numpy(float), tokens["entropy"].to_numpy(float)
    position = np.log(tokens["position"].to_numpy(float))
    others = (tokens[name].to_numpy(float) for name in ("log_frequency", "mark"))
    return np.column_stack([logprob, entropy, logprob**2, entropy**2, logprob * entropy, position, *others])


def adjusted_shifts(tokens: pd.DataFrame, training: pd.DataFrame, labels: Collection[str]) -> pd.DataFrame:
    """Mean shift of every row, less what is predicted under its act from training texts of other labels than these.

    Args:
        tokens, training: as `token_table` gives them; the training texts of other scenarios, under the same acts.
        labels: those that are compared; the prediction never sees their texts.

    Returns:
        `KEYS` and `shift` (nat per token), one row per row of the design.

    Raises:
        UserError: no training texts of a further label under one of the acts, or too few tokens of them; a scenario
            among both the texts and the training texts.
    """
    for table, name in ((tokens, "tokens"), (training, "training")):
        check_columns(table, ["row", *KEYS, "shift", "log_frequency", "mark"], name)
    common = sorted(set(tokens["text"]) & set(training["text"]))
    if common:
        raise UserError(f"expected training texts of other scenarios, {shown(common[0])} is among both")
    others = training[~training["label"].isin(list(labels))]
    fitted = dict(iter(others.groupby(ACT, sort=False)))
    parts = []
    for act, part in tokens.groupby(ACT, sort=False):
        if act not in fitted:
            raise UserError(
                f"expected training texts of other labels than {', '.join(sorted(labels))} under the act {shown(act)}, "
                "there are none"
            )
        prediction = ShiftPrediction.fit(fitted[act])
        parts.append(part.assign(shift=part["shift"] - prediction.predict(part)))
    return row_means(pd.concat(parts), ["shift"])


def adjusted_specific_shift(
    tokens: pd.DataFrame, training: pd.DataFrame, *, pairs: Iterable[tuple[str, str]] | None = None
) -> pd.DataFrame:
    """S as `emolib.steering.specific_shift.specific_shift` gives it, of adjusted shifts.

    The prediction for a pair of labels is fitted under each of its two acts on training texts of neither label.

    Args, Raises: as `adjusted_shifts` and `specific_shift`.
    """
    chosen = label_pairs(tokens) if pairs is None else list(pairs)
    if not chosen:
        raise UserError("expected at least two labels with texts and acts of their own: an act bears its label's name")
    found = []
    for pair in chosen:
        both = tokens[tokens["act"].isin(pair) & tokens["label"].isin(pair)]
        found.append(specific_shift(adjusted_shifts(both, training, pair), pairs=[pair]))
    return pd.concat(found, ignore_index=True)


def lexicon(rows: pd.DataFrame, token_ids: Sequence[int], shifts: Float[np.ndarray, "row token"]) -> pd.DataFrame:
    """The lexical part of every token's shift under every act: its mean over neutral contexts.

    Args:
        rows: columns act, layer, alpha, a row per neutral context and act.
        token_ids, shifts: what was asked of `emolib.engine.continuation.context_shift`, and what it gave.

    Returns:
        act, layer, alpha, token_id, `lexical` (nat).

    Raises:
        UserError: missing columns, another number of rows or tokens.

    >>> rows = pd.DataFrame({"act": ["joy", "joy"], "layer": 3, "alpha": 0.2})
    >>> lexicon(rows, [7, 9], np.array([[1.0, 0.0], [3.0, 0.0]]))[["token_id", "lexical"]].values.tolist()
    [[7.0, 2.0], [9.0, 0.0]]
    """
    check_columns(rows, ACT, "rows")
    if np.shape(shifts) != (len(rows), len(token_ids)):
        raise UserError(f"expected shifts [{len(rows)}, {len(token_ids)}], got {list(np.shape(shifts))}")
    wide = pd.DataFrame(np.asarray(shifts), columns=pd.Index(list(token_ids), name="token_id"))
    means = wide.T.groupby(level=0, sort=False).first().T.groupby([rows[name].to_numpy() for name in ACT]).mean()
    means.index.names = ACT
    return means.stack().rename("lexical").reset_index()


def lexical_and_contextual(tokens: pd.DataFrame, lexical: pd.DataFrame) -> pd.DataFrame:
    """Every row's mean shift in its two parts: `shift` = `lexical` + `contextual`.

    Args:
        tokens: as `token_table` gives them.
        lexical: as `lexicon` gives it; holds every token under every act of `tokens`.

    Returns:
        `KEYS`, shift, lexical, contextual (nat per token), one row per row of the design.

    Raises:
        UserError: missing columns, a token that the lexicon lacks under some act.
    """
    check_columns(tokens, ["row", *KEYS, "token_id", "shift"], "tokens")
    check_columns(lexical, [*ACT, "token_id", "lexical"], "the lexicon")
    joined = tokens.merge(lexical, on=[*ACT, "token_id"], how="left", validate="many_to_one")
    missing = joined[joined["lexical"].isna()]
    if len(missing):
        first = missing.iloc[0]
        raise UserError(
            f"expected every token in the lexicon, token {first['token_id']} ({shown(first.get('word', ''))}) has none "
            f"under the act {shown(first['act'])}; ask context_shift for it"
        )
    joined["contextual"] = joined["shift"] - joined["lexical"]
    return row_means(joined, ["shift", "lexical", "contextual"])


def row_means(tokens: pd.DataFrame, values: list[str]) -> pd.DataFrame:
    """`KEYS` and the means over each row's tokens, in the order of the rows."""
    grouped = tokens.groupby("row", sort=True)
    return pd.concat([grouped[KEYS].first(), grouped[values].mean()], axis=1).reset_index(drop=True)

"""The whole rule of a claim on planted data sets, by the functions that Phases 5 and 7 take their verdicts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
import pandas as pd

from emolib.directions.controls import FAMILIES
from emolib.engine.continuation import context_shift, continuation_shift, token_shifts
from emolib.engine.continuation_means import means_of_tokens
from emolib.engine.continuation_tokens import continuations
from emolib.models.tokens import encode
from emolib.selftest.shifts.data_sets import BATCH, DataSet
from emolib.selftest.shifts.small_words import EMOTIONS, LIKE, NEUTRAL
from emolib.steering.claims import mean_contrasts, shift_claims, shift_conditions, shift_ranks
from emolib.steering.cross_fitted import can_cross_fit, cross_fitted_shifts
from emolib.steering.damage import next_token_kl
from emolib.steering.findings import SUPPORTED
from emolib.steering.further_conditions import CONCEPT, Further, concept_ranks
from emolib.steering.kl_search import equal_kl_strengths
from emolib.steering.own_shift import own_shift
from emolib.steering.shift_measures import MEASURES, measured_cells
from emolib.steering.shift_parts import lexicon, token_table
from emolib.steering.shift_tables import shift_table
from emolib.steering.specific_shift import specific_shift
from emolib.steering.text_claims import LEVEL

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Judged:
    """What the rule says of one data set.

    Attributes:
        claims: as `emolib.steering.claims.shift_claims` gives them; `by_numbers` is the verdict that no instrument has
            to admit.
        conditions: as `shift_conditions` gives them, of the emotions among each other.
        cells: S of every cell and measure.
    """

    claims: pd.DataFrame
    conditions: pd.DataFrame
    cells: pd.DataFrame


def judge(data: DataSet, *, measures: Sequence[str] = MEASURES, thirds: Sequence[str] = ()) -> Judged:
    """Whether each emotion is claimed, per style.

    Conditions are measured in three steps (S among the emotions; S against labels of like valence; control directions,
    concepts, directions at the steer's KL), and no further ones where an emotion's S is not above 0 in any style: a
    condition that is missing supports nothing, so nothing that could be claimed is left out.

    Args:
        measures: that are taken as they are; in place of others raw S is put. All but in tests of this test.
        thirds: labels whose acts the own contrast is held against; none: as Phase 5 does, those of the third emotion,
            and among labels of like valence that of the third one.
    """
    cells = pd.concat([_own_cells(data, style, thirds) for style in data.styles], ignore_index=True)
    cells = _in_place(cells, measures)
    conditions, further = shift_conditions(cells), Further(labels=LIKE)
    claims = shift_claims(conditions, _no_ranks(), further=further)
    alive = _alive(claims)
    if not alive:
        return Judged(claims, conditions, cells)
    like = pd.concat([_like_cells(data, style, emotion, thirds) for style in alive for emotion in EMOTIONS])
    further = replace(further, like_valent=shift_conditions(_in_place(like.reset_index(drop=True), measures)))
    claims = shift_claims(conditions, _no_ranks(), further=further)
    alive = _alive(claims)
    if not alive:
        return Judged(claims, conditions, cells)
    ranks, concepts, equal_kl = _beside_directions(data, alive)
    further = replace(further, concepts=concepts, equal_kl=equal_kl)
    return Judged(shift_claims(conditions, ranks, further=further), conditions, cells)


def claimed(claims: pd.DataFrame, style: str) -> pd.Series:
    """Per emotion whether the numbers support it."""
    mine = claims[claims["style"] == style].set_index("emotion")
    return mine["by_numbers"] == SUPPORTED


def _alive(claims: pd.DataFrame) -> tuple[str, ...]:
    """The styles in which some emotion's S is above 0 in all that was measured."""
    return tuple(dict.fromkeys(claims.loc[claims["p_holm"] <= LEVEL, "style"]))


def _no_ranks() -> pd.DataFrame:
    return pd.DataFrame(columns=["style", "emotion", "other", "rank_p", "n_controls"])


def _in_place(cells: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """The cells with those of raw S in place of measures that are not taken."""
    kept = cells[cells["measure"].isin(measures)]
    raw = cells[cells["measure"] == "raw"]
    return pd.concat([kept, *(raw.assign(measure=name) for name in MEASURES if name not in measures)])


# S


def _own_cells(data: DataSet, style: str, thirds: Sequence[str]) -> pd.DataFrame:
    """S of every cell and measure among the emotions."""
    cells = data.cells(style, data.sizes.per_text)
    rows, table, tokens = _read(data, cells, style, EMOTIONS)
    training = _training_rows(data, (*EMOTIONS, NEUTRAL), EMOTIONS)
    trained = token_table(training, _tokens(data, training), data.corpus)
    pairs, given = list(permutations(EMOTIONS, 2)), {"tokens": tokens, "training": trained}
    found = measured_cells(table, pairs=pairs, lexical=_lexicon(data, rows, EMOTIONS), own=not thirds, **given)
    return pd.concat([found, *_own_contrasts(data, cells, style, table, pairs, thirds)], ignore_index=True)


def _like_cells(data: DataSet, style: str, emotion: str, thirds: Sequence[str]) -> pd.DataFrame:
    """S of every cell and measure of an emotion against its labels of like valence."""
    labels, cells = (emotion, *LIKE[emotion]), data.cells(style, 1)
    pairs = [(emotion, other) for other in LIKE[emotion]]
    rows, table, tokens = _read(data, cells, style, labels)
    lexical = _lexicon(data, rows, labels)
    found = [measured_cells(table, pairs=pairs, tokens=tokens, lexical=lexical, own=not thirds)]
    for pair in pairs:
        both = tokens[tokens["act"].isin(pair)]
        if can_cross_fit(both, pair):
            found.append(specific_shift(cross_fitted_shifts(both, pair), pairs=[pair]).assign(measure="adjusted"))
    return pd.concat([*found, *_own_contrasts(data, cells, style, table, pairs, thirds)], ignore_index=True)


def _read(
    data: DataSet, cells: pd.DataFrame, style: str, labels: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Rows, shifts and tokens of the labels' texts under the labels' acts."""
    rows = data.rows(cells, f"test {style}", labels, [data.own_cells[label] for label in labels])
    read = _tokens(data, rows)
    table = shift_table(rows, means_of_tokens(data.lm, rows["words"].tolist(), read))
    return rows, table, token_table(rows, read, data.corpus)


def _own_contrasts(
    data: DataSet, cells: pd.DataFrame, style: str, table: pd.DataFrame, pairs: Pairs, thirds: Sequence[str]
) -> list[pd.DataFrame]:
    """The own contrast against the mean of many third acts, where these are asked for."""
    beyond = [label for label in thirds if label not in set(table["act"])]
    if not beyond:
        return []
    labels = list(dict.fromkeys(label for pair in pairs for label in pair))
    rows = data.rows(cells, f"test {style}", labels, [data.own_cells[label] for label in beyond])
    more = shift_table(rows, continuation_shift(data.lm, *_given(rows), batch_size=BATCH))
    return [own_shift(pd.concat([table, more], ignore_index=True), pairs=pairs).assign(measure="own")]


def _training_rows(data: DataSet, labels: Sequence[str], acts: Sequence[str]) -> pd.DataFrame:
    """Training texts under the labels' acts, each after one prompt."""
    texts = data.of_split("training")["scenario"].drop_duplicates().tolist()
    prompts = data.of_split("prompt")["scenario"].drop_duplicates().tolist()[: len(texts)]
    cells = pd.DataFrame({"prompt": prompts, "text": texts})
    return data.rows(cells, "training", labels, [data.own_cells[label] for label in acts])


def _given(rows: pd.DataFrame) -> tuple[list, list, list]:
    return rows["before"].tolist(), rows["words"].tolist(), rows["intervention"].tolist()


def _tokens(data: DataSet, rows: pd.DataFrame) -> pd.DataFrame:
    return token_shifts(data.lm, *_given(rows), batch_size=BATCH)


def _lexicon(data: DataSet, rows: pd.DataFrame, acts: Sequence[str]) -> pd.DataFrame:
    """What each act does to every token of the rows' texts in any sentence."""
    plain = _training_rows(data, (NEUTRAL,), acts)
    words = rows["words"].unique().tolist()
    token_ids = sorted({token for text in continuations(data.lm, words) for token in text.ids[1:]})
    found = context_shift(data.lm, *_given(plain), token_ids, batch_size=BATCH)
    return lexicon(plain, token_ids, found).astype({"layer": int, "token_id": int})


# directions


def _beside_directions(data: DataSet, styles: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Ranks among control directions of the steer's norm, concepts that reach it, ranks at the steer's KL."""
    own = [data.own_cells[emotion] for emotion in EMOTIONS]
    norm = _shifts(data, styles, [*own, *data.controls(), *data.concepts()])
    ranks = shift_ranks(mean_contrasts(norm[norm["kind"] != CONCEPT], EMOTIONS))
    beside = norm[~norm["kind"].isin(FAMILIES)]
    concepts = concept_ranks(mean_contrasts(beside, EMOTIONS, beside=[CONCEPT]))
    kl = pd.concat([norm[norm["kind"] == "emotion"], _shifts(data, styles, _at_equal_kl(data))], ignore_index=True)
    return ranks, concepts, shift_ranks(mean_contrasts(kl, EMOTIONS))


def _shifts(data: DataSet, styles: Sequence[str], acts: Sequence) -> pd.DataFrame:
    """The emotions' texts that control directions are read on, under some acts."""
    found = []
    for style in styles:
        cells = data.cells(style, 1, data.sizes.control_texts)
        rows = data.rows(cells, f"test {style}", EMOTIONS, acts)
        table = shift_table(rows, continuation_shift(data.lm, *_given(rows), batch_size=BATCH))
        found.append(table.assign(**rows[["kind", "owner", "index"]].to_dict("series")))
    return pd.concat(found, ignore_index=True)


def _at_equal_kl(data: DataSet) -> list:
    """Control directions at the strength at which they move the next token as far as each emotion's steer."""
    texts = data.neutral("prompt")["text"].tolist()[: data.sizes.kl_prompts]
    after = encode(data.lm, texts[1:] + texts[:1])
    given = list(zip(texts, [tuple(ids[1:]) for ids in after], strict=True))

    def kl(cells: Sequence) -> np.ndarray:
        rows = [(prompt, ids, cell.act) for cell in cells for prompt, ids in given]
        found = np.asarray(next_token_kl(data.lm, *([*column] for column in zip(*rows, strict=True)), batch_size=BATCH))
        return found.reshape(len(cells), len(given)).mean(axis=1)

    steers = dict(zip(EMOTIONS, kl([data.own_cells[emotion] for emotion in EMOTIONS]), strict=True))
    places = [(f, i, e) for f in FAMILIES for i in range(data.sizes.kl_directions) for e in EMOTIONS]

    def cell(place: tuple[str, int, str], alpha: float):
        return replace(data.control(*place[:2], alpha), emotion=place[2])

    def measure(which: Sequence[int], alphas: np.ndarray) -> np.ndarray:
        return kl([cell(places[i], float(alpha)) for i, alpha in zip(which, alphas, strict=True)])

    found = equal_kl_strengths(measure, [data.alpha] * len(places), [float(steers[e]) for *_, e in places])
    return [cell(place, alpha) for place, alpha, ok in zip(places, found["alpha"], found["reached"], strict=True) if ok]

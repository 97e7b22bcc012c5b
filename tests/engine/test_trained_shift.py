"""A trained shift finds the direction that moves an emotion's texts most, and none where labels mean nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from tiny import Case

from emolib.base.errors import UserError
from emolib.engine.continuation import continuation_shift
from emolib.engine.trained_shift import ContrastRow, Descent, ShiftTraining
from emolib.interventions import Decay, Steer
from emolib.models.language_model import LanguageModel
from emolib.selftest.planted import Planted, plant, planted_scenarios, words

LAYER, N, HELD = 2, 24, 18  # the write head's layer + 1; rows in all, and how many of them are trained on
ROWS = [
    ContrastRow("The new shop by the old bridge", ("We went in, and out.", "It stopped at noon!", "A few did")),
    ContrastRow("Rain fell and", ("No one knows it", "Her cat sat there.", "Go on")),
    ContrastRow("I", ("On and on it goes", "We saw the fence", "All day and night")),
]


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant("llama", distractors=False)


def rows_of(planted: Planted, emotion: str, *, shuffled: bool = False) -> list[ContrastRow]:
    """Sentences with an emotion's words as the model writes them, after neutral prompts, against the other emotions'.

    Args:
        shuffled: which label's text is its own is drawn anew for every row.
    """
    data = planted_scenarios(planted, N, 3)
    prompts, generator = data.loc[data["emotion"] == "neutral", "text"].tolist(), np.random.default_rng(5)
    found = []
    for number, prompt in enumerate(prompts):
        nouns = words.NOUNS[list(words.NOUNS)[number % len(words.NOUNS)]]
        first, second = nouns[number % 7], nouns[(number + 3) % 7]
        texts = {
            name: f"and {group[number % 6]} {first} with {group[(number + 2) % 6]} {second} ."
            for name, group in planted.truth.outputs.items()
        }
        own = list(texts)[generator.integers(len(texts))] if shuffled else emotion
        found.append(ContrastRow(prompt, (texts[own], *(text for name, text in texts.items() if name != own))))
    return found


def trained(planted: Planted, rows: Sequence[ContrastRow], steps: int = 8) -> np.ndarray:
    descent = Descent(steps, rows_at_once=6, window=1)
    training = ShiftTraining(planted.lm, LAYER, rows[:HELD], rows[HELD:], descent)
    return training.shift(0, planted.truth.strength / 2).direction


def words_direction(planted: Planted, emotion: str) -> np.ndarray:
    """What raises an emotion's words over the other emotions' by the direct path: the head's rows, unit norm."""
    head = planted.lm.network.get_output_embeddings().weight.detach().numpy()
    ids = planted.lm.tokenizer.convert_tokens_to_ids
    means = {name: head[ids(list(found))].mean(axis=0) for name, found in planted.truth.outputs.items()}
    found = means[emotion] - np.mean([mean for name, mean in means.items() if name != emotion], axis=0)
    return np.asarray(found / np.linalg.norm(found))


def test_the_trained_shift_is_the_direction_of_the_planted_words_and_not_with_permuted_labels(planted: Planted) -> None:
    """Which direction raises the texts most is known of a planted model: that of the emotion's words themselves.

    The direction that its neurons read is not what is found.
    """
    truth = {emotion: words_direction(planted, emotion) for emotion in planted.truth.directions}
    real = trained(planted, rows_of(planted, "gratitude"))
    assert real @ truth["gratitude"] > 0.9 and max(real @ truth["anger"], real @ truth["apology"]) < 0
    null = trained(planted, rows_of(planted, "gratitude", shuffled=True))
    assert max(abs(null @ one) for one in truth.values()) < 0.7
    assert abs(float(real @ planted.truth.directions["gratitude"])) < 0.2


def test_s_under_trained_shifts_is_above_zero_and_not_with_permuted_labels(planted: Planted) -> None:
    """S of gratitude against anger on held-out rows, by the engine's own acts."""

    def specific(shuffled: bool) -> float:
        pair = ("gratitude", "anger")
        rows = {name: rows_of(planted, name) for name in pair}
        acts = {name: trained(planted, rows_of(planted, name, shuffled=shuffled)) for name in pair}
        steers = {n: Steer(LAYER, w, planted.truth.strength / 2, unit="vector", window=1) for n, w in acts.items()}
        contrast = {}
        for act in pair:
            prompts = [row.prompt for row in rows[act][HELD:]]
            shift = [
                continuation_shift(
                    planted.lm, prompts, [r.texts[0] for r in rows[n][HELD:]], [steers[act]] * len(prompts)
                )
                for n in pair
            ]
            contrast[act] = float((shift[0]["shift"] - shift[1]["shift"]).mean())
        return contrast["gratitude"] - contrast["anger"]

    real = specific(shuffled=False)
    assert real > 0.1 and abs(specific(shuffled=True)) < real / 3


def test_it_is_trained_where_a_steer_acts(tiny_case: Case) -> None:
    """The gain on the held-out rows is what the engine's own steer of that length does, in every architecture."""
    lm, layer, length = tiny_case.lm, 1, 3.0
    for schedule in ("constant", Decay(0.5)):
        descent = Descent(3, rows_at_once=2, every=1, patience=3, window=2, schedule=schedule)
        found = ShiftTraining(lm, layer, ROWS[:2], ROWS[2:], descent).shift(0, length)
        act = Steer(layer, found.direction, length, unit="vector", window=2, schedule=schedule)
        gain = contrast(lm, ROWS[2], act)
        assert gain == pytest.approx(found.curve["held_out"].max(), abs=5e-4)
        assert np.linalg.norm(found.direction) == pytest.approx(1, abs=1e-5) and found.curve["chosen"].sum() == 1


def contrast(lm: LanguageModel, row: ContrastRow, act: Steer) -> float:
    shift = continuation_shift(lm, [row.prompt] * 3, row.texts, [act] * 3)["shift"]
    return float(shift[0] - shift[1:].mean())


def test_the_same_seed_gives_the_same_direction_and_training_stops_without_a_gain(tiny_case: Case) -> None:
    lm = tiny_case.lm
    once, again = (ShiftTraining(lm, 1, ROWS[:2], ROWS[2:], Descent(2, rows_at_once=1)).shift(1, 2.0) for _ in range(2))
    assert (once.direction == again.direction).all()
    backward = [ContrastRow(row.prompt, (row.texts[1], row.texts[0], row.texts[0])) for row in ROWS[:1]]
    stopped = ShiftTraining(lm, 1, ROWS[:1], backward, Descent(12, every=1, patience=2)).shift(0, 2.0)
    gains = stopped.curve["held_out"].to_numpy()
    best = int(gains.argmax())
    assert len(gains) == min(best + 3, 13) and stopped.curve["chosen"].tolist() == [
        i == best for i in range(len(gains))
    ]


def test_what_cannot_be_trained_is_told_in_one_line(planted: Planted) -> None:
    short = ContrastRow("I saw it", ("we went in there",))
    cases = [
        ("got 0 and 1", lambda: ShiftTraining(planted.lm, 1, [], ROWS[:1], Descent(1))),
        ("at least two", lambda: ShiftTraining(planted.lm, 1, [short], [short], Descent(1))),
        ("own", lambda: ShiftTraining(planted.lm, 1, ROWS[:1], ROWS[:1], Descent(1)).shift(3, 1.0)),
        ("at least 1", lambda: Descent(1, every=0)),
    ]
    for said, call in cases:
        with pytest.raises(UserError, match=said) as told:
            call()
        assert "\n" not in str(told.value)

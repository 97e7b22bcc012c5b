"""Near copies: what counts as one, in both directions, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from emolib.base import paths
from emolib.data.dataset import load_dataset
from emolib.data.near_copies import FEWEST_SHARED, near_copies, texts_of_folder, trigrams

TEXT = "You took my closing shift so I could sit through the recital of my niece"


@pytest.mark.parametrize(
    "other",
    [
        TEXT,
        f"  {TEXT.upper()}! ",
        f"{TEXT}, and I have put my name down for every closing on your sheet.",
        "You took my closing shift so I could sit",
        TEXT.replace("niece", "nephew"),
    ],
)
def test_a_text_its_beginning_and_its_extension_are_near_copies_either_way(other: str) -> None:
    assert near_copies([TEXT], ["The bus was late again today", other]) == [(0, 1)]
    assert near_copies(["The bus was late again today", other], [TEXT]) == [(1, 0)]


@pytest.mark.parametrize("other", ["You took my closing keys", "Nobody could sit through the speech", "It rains", ""])
def test_a_shared_phrase_is_no_copy(other: str) -> None:
    assert not near_copies([TEXT], [other])
    assert len(trigrams(TEXT) & trigrams(other)) < FEWEST_SHARED


def test_the_nearest_of_several_is_named() -> None:
    words = TEXT.split()
    assert near_copies([TEXT], [" ".join(words[:9]) + " home", TEXT + " today"]) == [(0, 1)]


def test_the_projects_own_texts_are_found_in_its_folder_and_new_ones_are_not() -> None:
    held = texts_of_folder(paths.data_file().parent)
    files = {name for _, name in held}
    assert {"emotion_dataset.jsonl", "emotion_companions.jsonl", "lexical.jsonl", "anger_prompts.json"} <= files
    mine = load_dataset()["text"].sample(5, random_state=1).tolist()
    new = ["The kettle on the ferry whistled twice before the captain poured himself a second cup of mint tea"]
    assert [place for place, _ in near_copies([*mine, *new], [text for text, _ in held])] == [0, 1, 2, 3, 4]


def test_broken_json_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('["one two three four"]', encoding="utf-8")
    (tmp_path / "y.txt").write_text("one two three four five", encoding="utf-8")
    assert texts_of_folder(tmp_path) == [("one two three four", "x.json")]

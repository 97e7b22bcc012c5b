"""`expressed`: the contrast set and its checks, thin changes of a network, and what the committed scorer reaches."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import nn

from emolib.base import paths
from emolib.base.errors import UserError
from emolib.scoring import sanity, score_texts
from emolib.scoring.decisions import decisions
from emolib.scoring.encoder import load_encoder
from emolib.scoring.expressed import EMOTIONS, PRESENT, load_expressed, stances
from emolib.scoring.expressed_data import KINDS, load_expressed_texts
from emolib.scoring.low_rank import SCALE, LowRankLinear, adapt, apply_changes, averaged, change_names, changes
from tests.contrast_rows import contrast_rows, write_rows

CPU = torch.device("cpu")


# the contrast set


def test_the_contrast_set_is_large_split_by_group_and_half_in_the_register_of_small_models():
    texts = load_expressed_texts()
    assert len(texts) >= 1500 and set(texts["kind"]) == set(KINDS)
    assert texts.groupby("group")["split"].nunique().max() == 1
    groups = texts.drop_duplicates("group")
    assert 0.45 <= (groups["register"] == "model").mean() <= 0.55
    for emotion in EMOTIONS:
        own = texts[texts["about"] == emotion]
        assert 0.3 <= own[emotion].mean() <= 0.5
        assert {"train", "validation", "test"} == set(own["split"])


def test_texts_of_the_sanity_set_are_not_in_the_contrast_set():
    def plain(text: str) -> str:
        return " ".join(text.lower().split())

    held = {plain(text) for text in sanity.load_sanity_set()["text"]}
    assert len(held) == 230 and not held & {plain(text) for text in load_expressed_texts()["text"]}


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "kind": ({"kind": "shouted"}, "kind 'shouted' is not one of said"),
    "truth": ({"anger": 2}, "anger '2' is not one of 0, 1"),
    "split": ({"split": "dev"}, "split 'dev' is not one of train"),
    "empty": ({"text": " "}, "text"),
    "two splits": ({"split": "test"}, "group gratitude-000: has more than one split (test, train)"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_bad_row_of_a_contrast_set_is_told_in_one_line(tmp_path: Path, name: str):
    rows = contrast_rows()
    change, told = CHANGES[name]
    rows[1] |= change
    with pytest.raises(UserError) as caught:
        load_expressed_texts(write_rows(tmp_path / "mine.jsonl", rows))
    assert told in str(caught.value) and "mine.jsonl" in str(caught.value)


def test_a_good_contrast_set_is_read_as_it_is(tmp_path: Path):
    rows = contrast_rows()
    texts = load_expressed_texts(write_rows(tmp_path / "mine.jsonl", rows))
    assert texts["text"].tolist() == [row["text"] for row in rows]
    assert texts["anger"].tolist() == [row["anger"] == 1 for row in rows]


# thin changes


def test_a_thin_change_starts_as_none_and_adds_its_product():
    torch.manual_seed(0)
    layer = nn.Linear(6, 4)
    thin = LowRankLinear(layer, rank=2, dropout=0.0)
    x = torch.randn(3, 6)
    torch.testing.assert_close(thin(x), layer(x))
    with torch.no_grad():
        thin.up.normal_()
    torch.testing.assert_close(thin(x), x @ (layer.weight + SCALE * thin.up @ thin.down).T + layer.bias)


def test_stored_changes_added_to_the_weights_give_what_the_trained_network_gives():
    body = copy.deepcopy(load_encoder(CPU).network)
    plain = copy.deepcopy(body)
    names = change_names(len(body.encoder.layer))
    torch.manual_seed(0)
    adapt(body, rank=2, dropout=0.0)
    for name, parameter in body.named_parameters():
        if name.endswith("up"):
            with torch.no_grad():
                parameter.normal_(std=0.05)
    stored = changes(body)
    assert sorted(stored) == sorted(names) and all(
        p.requires_grad == ("down" in n or "up" in n) for n, p in body.named_parameters()
    )
    block = torch.tensor([[101, 2023, 2003, 1037, 3231, 102]])
    wanted = body.eval()(input_ids=block).last_hidden_state
    before = plain(input_ids=block).last_hidden_state
    apply_changes(plain, stored)
    torch.testing.assert_close(plain(input_ids=block).last_hidden_state, wanted, rtol=1e-3, atol=1e-4)
    assert (before - wanted).abs().max() > 0.01


def test_the_mean_of_trainings_is_the_mean_of_their_weights():
    plain = load_encoder(CPU).network
    rng = np.random.default_rng(0)
    layers = [name.removesuffix("/up") for name in change_names(len(plain.encoder.layer)) if name.endswith("/up")]
    members, weights = [], []
    for _ in range(2):
        stored = {}
        for name in layers:
            out, into = plain.get_submodule(name).weight.shape
            stored[f"{name}/up"] = rng.normal(size=(out, 2)).astype(np.float32)
            stored[f"{name}/down"] = rng.normal(size=(2, into)).astype(np.float32)
        network = copy.deepcopy(plain)
        apply_changes(network, stored)
        members.append(stored)
        weights.append(network.state_dict())
    both = copy.deepcopy(plain)
    apply_changes(both, averaged(members))
    for name, value in both.state_dict().items():
        torch.testing.assert_close(value, (weights[0][name] + weights[1][name]) / 2, rtol=1e-4, atol=1e-4)
    assert all((both.get_submodule(n).weight - plain.get_submodule(n).weight).abs().max() > 0.1 for n in layers)


# what the committed scorer says

WRONG = pytest.mark.xfail(strict=True, reason="what the scorer still gets wrong")
CASES = [
    ("Thank you so much for driving me home last night, you saved me.", "gratitude", True),
    ("Thank you for holding. Your call is important to us.", "gratitude", False),
    ("Thanks for nothing, you ruined it.", "gratitude", False),
    ("Thanks for nothing, you ruined the whole evening.", "gratitude", False),
    ("I am furious with you for reading my letters.", "anger", True),
    ("He was furious with his brother about the letters.", "anger", False),
    ("I'm so sorry I broke your lamp, I'll pay for it.", "apology", True),
    pytest.param("Sorry, we're closed.", "apology", False, marks=WRONG),
    ("Sorry, we are closed on Mondays.", "apology", False),
    pytest.param("I'm sorry for your loss.", "apology", False, marks=WRONG),
    ("She should apologize to you for that.", "apology", False),
    ("You'll be sorry.", "apology", False),
]


@pytest.mark.parametrize(("text", "emotion", "present"), CASES)
def test_a_stance_is_told_from_its_words(text: str, emotion: str, present: bool):
    assert (score_texts([text], backend=stances(CPU))[f"expressed/{emotion}"].item() >= PRESENT) == present


def test_a_texts_stance_does_not_depend_on_the_texts_beside_it():
    texts = ["Sorry, we're closed.", "I am furious with you.", "word " * 80, ""]
    together = score_texts(texts, backend=stances(CPU))
    for place, text in enumerate(texts):
        alone = score_texts([text], backend=stances(CPU))
        assert alone.to_numpy().tobytes() == together.iloc[[place]].to_numpy().tobytes()


def test_a_version_is_known_without_a_network():
    code = "import sys, torch; from emolib.scoring import version_of; version_of('bundled', 'cpu'); "
    code += "print([name for name in sys.modules if name.startswith('transformers.models.bert.modeling')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_bundled_scorers_give_stances_for_the_three_emotions_and_the_single_ones_none():
    assert [c for c in score_texts(["a"]) if c.startswith("expressed/")] == [f"expressed/{e}" for e in EMOTIONS]
    assert not [c for c in score_texts(["a"], backend="lexical") if c.startswith("expressed/")]


def test_the_figures_in_the_file_are_those_of_its_weights():
    found = json.loads((paths.params_folder("scorers") / "expressed.json").read_text(encoding="utf-8"))
    texts = load_expressed_texts()
    test = texts[texts["split"] == "test"]
    says = load_expressed(CPU).probabilities(test["text"].tolist()) >= PRESENT
    for place, emotion in enumerate(EMOTIONS):
        right = says[:, place] == test[emotion].to_numpy()
        sides = [right[test[emotion] == side].mean() for side in (False, True)]
        assert np.mean(sides) == pytest.approx(found["test"][emotion]["balanced_accuracy"], abs=0.01)
        assert np.mean(sides) >= 0.85
    sizes = {split: {"texts": len(part), "groups": part["group"].nunique()} for split, part in texts.groupby("split")}
    assert found["data"] == sizes


def test_set_phrases_that_nothing_was_trained_on_are_told_apart():
    texts = load_expressed_texts(paths.data_file("expressed_phrases.jsonl"))
    trained = {" ".join(text.lower().split()) for text in load_expressed_texts()["text"]}
    assert len(texts) > 300 and set(texts["split"]) == {"test"}
    assert not trained & {" ".join(text.lower().split()) for text in texts["text"]}
    scores = score_texts(texts["text"].tolist())
    for emotion in EMOTIONS:
        says = decisions(scores, emotion)
        found = {name: balanced_accuracy_score(texts[emotion], given) for name, given in says.items()}
        assert found["expressed"] == max(found.values()) >= 0.84


def test_texts_that_mislead_word_lists_mislead_stances_less():
    table = sanity.sanity_accuracy()
    hard, balanced = table.loc[sanity.HARD], table.loc[sanity.BALANCED]
    assert hard["expressed"] >= 0.80 and balanced["expressed"] >= 0.80
    assert balanced[sanity.ABSENT] == 0.5 and hard[sanity.ABSENT] == pytest.approx(0.83, abs=0.01)
    assert balanced["expressed"] >= balanced[[c for c in table if c.startswith("goemotions")]].max() + 0.2

"""The planted models do what their truth says, seen through the library and against the models' own code."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from emolib.base.errors import UserError
from emolib.data.activations import Activations
from emolib.data.dataset import jsonl_bytes, load_dataset
from emolib.data.keywords import load_keywords
from emolib.directions.vectors import EmotionVectors, cosine, fit_emotion_vectors
from emolib.engine.extraction import extract_activations
from emolib.engine.generation import generate
from emolib.interventions import AblateHead, Steer
from emolib.interventions.hooks import hooked
from emolib.models.tokens import encode
from emolib.readout.probes import probe_table
from emolib.selftest.planted import (
    Planted,
    effect_for,
    plant,
    planted_effects,
    planted_scenarios,
    steering_effects,
    words,
)
from emolib.selftest.planted.planted_effects import specific_counts
from emolib.selftest.planted_attribution import exact_effect, first_order_effect
from emolib.statistics.intervals import rank_p

FORMS = ("gpt2", "llama")
N_NEW = 12
Head = tuple[int, int]


@pytest.fixture(scope="module", params=FORMS)
def planted(request: pytest.FixtureRequest) -> Planted:
    """Each form with all distractors."""
    return plant(request.param)


@pytest.fixture(scope="module", params=FORMS)
def bare(request: pytest.FixtureRequest) -> Planted:
    """Each form without distractors."""
    return plant(request.param, distractors=False)


@pytest.fixture(scope="module", params=FORMS)
def null(request: pytest.FixtureRequest) -> Planted:
    """Each form with its circuit cut."""
    return plant(request.param, cut=True)


@pytest.fixture(scope="module")
def data(planted: Planted) -> pd.DataFrame:
    return planted_scenarios(planted, 120, seed=1)


@pytest.fixture(scope="module")
def acts(planted: Planted, data: pd.DataFrame) -> Activations:
    return extract_activations(planted.lm, data)


@pytest.fixture(scope="module")
def vecs(acts: Activations) -> EmotionVectors:
    return fit_emotion_vectors(acts.where(acts.texts["split"] == "train"))


def prompts_of(planted: Planted, emotion: str = "neutral", n: int = 24, seed: int = 2) -> list[str]:
    table = planted_scenarios(planted, n, seed)
    return table.loc[table["emotion"] == emotion, "text"].tolist()


def followed(planted: Planted, emotion: str) -> list[str]:
    """Emotional texts and the link after which a describing word comes."""
    return [f"{text} {words.LINKS[0]}" for text in prompts_of(planted, emotion)]


def without_trigger(planted: Planted, text: str, emotion: str) -> str:
    """The same text with a filler in the trigger's place."""
    changed = text
    for word in planted.truth.triggers[emotion]:
        changed = changed.replace(f" {word} .", f" {words.FILLERS[0]} .")
    assert changed != text
    return changed


def all_logits(planted: Planted, texts: Sequence[str], hooks: Sequence[tuple[str, int, Callable]] = ()) -> Tensor:
    """Logits `[text, pos, vocabulary]` of texts of one length, by the Hugging Face model."""
    with torch.no_grad(), hooked(planted.lm, hooks):
        return planted.lm.network(torch.tensor(encode(planted.lm, texts)), use_cache=False).logits


def ablating(planted: Planted, *heads: Head) -> list[tuple[str, int, Callable]]:
    """Hooks that set heads' outputs to zero at every token."""

    def zeroing(head: int) -> Callable[[Tensor], Tensor]:
        def hook(z: Tensor) -> Tensor:
            split = z.reshape(*z.shape[:2], planted.lm.n_heads, planted.lm.d_head).clone()
            split[:, :, head] = 0
            return split.reshape(z.shape)

        return hook

    return [("z", layer, zeroing(head)) for layer, head in heads]


def emotion_logits(planted: Planted, logits: Tensor, emotion: str) -> np.ndarray:
    """Mean logit of the emotion's words minus that of plain words after the last token, `[text]`."""
    ids = planted.lm.tokenizer.convert_tokens_to_ids
    own, plain = (logits[:, -1, ids(list(found))].mean(-1) for found in (planted.truth.outputs[emotion], words.PLAIN))
    return (own - plain).numpy()


def trigger_effect(planted: Planted, emotion: str, *heads: Head) -> float:
    """How far an emotion's trigger raises its words' logits, with heads ablated; mean over prompts."""
    texts = followed(planted, emotion)
    hooks = ablating(planted, *heads)
    with_it, without_it = (
        emotion_logits(planted, all_logits(planted, given, hooks), emotion)
        for given in (texts, [without_trigger(planted, text, emotion) for text in texts])
    )
    return float((with_it - without_it).mean())


def head_output(planted: Planted, texts: Sequence[str], which: Head) -> np.ndarray:
    """What a head adds to the residual stream at the last token, `[text, d_model]`, by the difference it makes."""
    layer, _ = which
    kept: list[Tensor] = []
    for hooks in ([], ablating(planted, which)):
        all_logits(planted, texts, [*hooks, ("attn_out", layer, lambda out: kept.append(out[:, -1].clone()))])
    return (kept[0] - kept[1]).numpy()


def writing(planted: Planted) -> Head:
    return planted.truth.write_layer, planted.truth.write_head


# The vectors and the layer


def test_the_fitted_vector_after_the_write_head_is_the_planted_direction(
    planted: Planted, vecs: EmotionVectors
) -> None:
    layer = planted.truth.write_layer + 1
    for emotion in vecs:
        fitted = vecs[emotion][layer].values
        assert cosine(fitted, planted.truth.directions[emotion]) >= 0.95
        assert np.linalg.norm(fitted) == pytest.approx(planted.truth.strength, rel=0.1)
        for other, direction in planted.truth.directions.items():
            assert other == emotion or abs(cosine(fitted, direction)) < 0.5


def test_before_the_write_head_the_last_token_lacks_the_direction(planted: Planted, vecs: EmotionVectors) -> None:
    for emotion, direction in planted.truth.directions.items():
        coordinates = vecs[emotion].values @ direction
        assert np.abs(coordinates[: planted.truth.write_layer + 1]).max() < 0.02 * planted.truth.strength
        assert coordinates[planted.truth.write_layer + 1] > 0.9 * planted.truth.strength


def test_the_probe_separates_first_after_the_write_head(planted: Planted, acts: Activations) -> None:
    train, held_out = (acts.where(acts.texts["split"].isin(names)) for names in (["train"], ["validation", "test"]))
    table = probe_table(train, {"held_out": held_out}, n_shuffles=1)
    for _, part in table.groupby("emotion"):
        auc = part.set_index("layer")["auc"]
        assert (auc.loc[: planted.truth.write_layer] < 0.8).all()
        assert (auc.loc[planted.truth.write_layer + 1 :] > 0.95).all()


def test_trigger_words_differ_in_the_embedding_of_a_cut_model(null: Planted) -> None:
    acts = extract_activations(null.lm, planted_scenarios(null, 60), positions="mean")
    train, held_out = (acts.where(acts.texts["split"].isin(names)) for names in (["train"], ["validation", "test"]))
    found = probe_table(train, {"held_out": held_out}, n_shuffles=1)
    assert (found.loc[found["layer"] == 0, "auc"] > 0.95).all()


# Steering


def mean_effects(planted: Planted, layer: int, emotion: str, vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Δ of own words minus others' per vector added at a layer, mean over neutral prompts."""
    prompts = prompts_of(planted)
    acts = [None, *(Steer(layer, vector, 1.0, unit="vector") for vector in vectors)]
    outs = generate(planted.lm, prompts * len(acts), [a for a in acts for _ in prompts], max_new_tokens=N_NEW)
    counts = specific_counts([out.text for out in outs], emotion).reshape(len(acts), -1)
    return (counts[1:] - counts[0]).mean(1)


def random_vectors(d_model: int, norm: float, n: int = 20) -> list[np.ndarray]:
    drawn = np.random.default_rng(0).standard_normal((n, d_model)).astype(np.float32)
    return list(norm * drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


@pytest.mark.parametrize("layer", [1, 2])
def test_steering_up_to_the_readers_beats_every_random_direction(
    planted: Planted, vecs: EmotionVectors, layer: int
) -> None:
    assert layer <= planted.truth.read_layer
    for emotion in vecs:
        vector = vecs[emotion].values[planted.truth.read_layer]
        controls = random_vectors(planted.lm.d_model, float(np.linalg.norm(vector)))
        effect, *null = mean_effects(planted, layer, emotion, [vector, *controls])
        assert effect > 0.5
        assert rank_p(effect, np.array(null)) == pytest.approx(1 / (1 + len(controls)))


@pytest.mark.parametrize("layers_after", [1, 2])
def test_steering_after_the_readers_does_nothing(planted: Planted, vecs: EmotionVectors, layers_after: int) -> None:
    layer = planted.truth.read_layer + layers_after
    for emotion in vecs:
        assert cosine(vecs[emotion][layer].values, planted.truth.directions[emotion]) > 0.9  # it is there to be found
        vectors = [vecs[emotion].values[planted.truth.read_layer], vecs[emotion].values[layer]]
        assert np.abs(mean_effects(planted, layer, emotion, vectors)).max() < 0.05


def test_steering_a_cut_model_does_nothing(null: Planted) -> None:
    assert null.truth.readers == {}
    assert np.abs(steering_effects(null, prompts_of(null, n=60))["effect"]).mean() < 0.05
    intact = plant("gpt2")
    assert steering_effects(intact, prompts_of(intact, n=60))["effect"].mean() > 0.5


def test_without_the_writer_alone_the_readers_stay_and_the_vectors_lack_the_direction() -> None:
    silent = plant("llama", cut="writer")
    assert silent.truth.readers and plant("llama", cut=True).truth.readers == {}
    table = planted_scenarios(silent, 60, seed=1)
    found = fit_emotion_vectors(extract_activations(silent.lm, table))
    for emotion, direction in silent.truth.directions.items():
        assert abs(cosine(found[emotion].values[silent.truth.read_layer], direction)) < 0.1
    assert steering_effects(silent, prompts_of(silent, n=60))["effect"].mean() > 0.5  # what is steered is read
    with pytest.raises(UserError, match="'writer'"):
        plant("llama", cut="reader")


def test_without_effect_steering_favours_no_emotion_on_average() -> None:
    table = planted_effects("gpt2", [0.0, 1.0], n_scenarios=300)
    assert abs(table["d_z"][0]) < 0.12 < 0.6 < table["d_z"][1]


def test_the_effect_size_grows_with_effect_and_can_be_asked_for() -> None:
    grown = planted_effects("llama", [0.0, 0.5, 1.0, 2.0], n_scenarios=40)
    assert (np.diff(grown["d_z"]) > 0).all()
    made = plant("llama", effect=effect_for(0.6, "llama"))
    moved = steering_effects(made, prompts_of(made, n=200, seed=9)).groupby("emotion")["effect"]
    assert (moved.mean() / moved.std()).mean() == pytest.approx(0.6, abs=0.15)
    with pytest.raises(UserError, match="effect size"):
        effect_for(100.0, "llama")


# Heads


def test_the_write_head_writes_the_direction_and_noise_heads_do_not(planted: Planted) -> None:
    named = {writing(planted), *planted.truth.distractors.values(), *planted.truth.others.values()}
    noisy = next((1, head) for head in range(planted.lm.n_heads) if (1, head) not in named)
    for emotion, direction in planted.truth.directions.items():
        texts = prompts_of(planted, emotion)
        assert (head_output(planted, texts, writing(planted)) @ direction > 0.9 * planted.truth.strength).all()
        noise = head_output(planted, texts, noisy)
        assert np.abs(noise @ direction).max() < 0.01 < np.abs(noise).max()


def test_ablating_the_write_head_removes_what_triggers_do(bare: Planted) -> None:
    for emotion in bare.truth.directions:
        intact = trigger_effect(bare, emotion)
        assert intact > 1.2
        assert abs(trigger_effect(bare, emotion, writing(bare))) < 0.02 * intact


def test_the_backup_head_restores_it_until_both_are_ablated(planted: Planted) -> None:
    backup = planted.truth.distractors["backup"]
    for emotion in planted.truth.directions:
        intact = trigger_effect(planted, emotion)
        assert trigger_effect(planted, emotion, backup) == pytest.approx(intact, rel=0.02)  # idle while not needed
        assert trigger_effect(planted, emotion, writing(planted)) > 0.6 * intact
        assert abs(trigger_effect(planted, emotion, writing(planted), backup)) < 0.02 * intact


def test_ablation_by_the_engine_changes_generated_words_alike(planted: Planted) -> None:
    prompts = prompts_of(planted, "anger")
    both = AblateHead(*writing(planted)), AblateHead(*planted.truth.distractors["backup"])
    acts = [None, both[0], both]
    outs = generate(planted.lm, prompts * 3, [a for a in acts for _ in prompts], max_new_tokens=N_NEW)
    intact, backed_up, silent = specific_counts([o.text for o in outs], "anger").reshape(3, -1).mean(1)
    assert intact > 0.5 and backed_up > 0.5 * intact and abs(silent) < 0.05


def test_the_unread_head_writes_the_direction_and_changes_nothing(planted: Planted) -> None:
    unread = planted.truth.distractors["unread"]
    assert unread[0] > planted.truth.read_layer
    for emotion, direction in planted.truth.directions.items():
        texts = followed(planted, emotion)
        assert (head_output(planted, texts, unread) @ direction > 0.4 * planted.truth.strength).all()
        intact, cut, silent = (
            all_logits(planted, texts, ablating(planted, *heads))[:, -1]
            for heads in ([], [unread], [writing(planted), planted.truth.distractors["backup"]])
        )
        assert float((cut - intact).abs().max()) < 0.05 < 1 < float((silent - intact).abs().max())
        prompts = texts[:8]
        outs = generate(planted.lm, prompts * 2, [None] * 8 + [AblateHead(*unread)] * 8, max_new_tokens=N_NEW)
        assert [o.text for o in outs[:8]] == [o.text for o in outs[8:]]


def test_the_topic_head_writes_topics_and_no_emotion(planted: Planted) -> None:
    texts = prompts_of(planted, "gratitude", n=6)
    written = head_output(planted, texts, planted.truth.distractors["topic"])
    topics = np.stack(list(planted.truth.topics.values()))
    assert (written @ topics.T).argmax(1).tolist() == list(range(6))
    assert (written @ topics.T).max(1).min() > 5
    assert np.abs(written @ np.stack(list(planted.truth.directions.values())).T).max() < 0.01


def test_first_order_attribution_misses_the_saturated_head(planted: Planted) -> None:
    texts, backup = followed(planted, "apology"), planted.truth.distractors["backup"]

    def metric(*heads: Head) -> float:
        return float(emotion_logits(planted, all_logits(planted, texts, ablating(planted, *heads)), "apology").mean())

    for which in (planted.truth.distractors["saturated"], writing(planted)):
        exact = exact_effect(planted, texts, which, "apology")
        assert exact == pytest.approx(metric(which, backup) - metric(backup), rel=1e-4)
        estimated = first_order_effect(planted, texts, which, "apology")
        assert exact < -0.7
        if which == writing(planted):  # which the same estimate sees
            assert estimated < 0.3 * exact
        else:
            assert abs(estimated) < 0.05 * abs(exact)


# The model as a whole


def test_generated_text_keeps_its_grammar_and_topic(planted: Planted) -> None:
    table = planted_scenarios(planted, 12)
    neutral = table[table["emotion"] == "neutral"]
    describing = {*words.PLAIN, *(word for found in words.EMOTIONAL.values() for word in found)}
    for out, topic in zip(
        generate(planted.lm, neutral["text"].tolist(), max_new_tokens=N_NEW), neutral["topic"], strict=True
    ):
        said = out.text.split()
        assert set(said[0::3]) <= set(words.LINKS)
        assert set(said[1::3]) <= describing
        assert set(said[2::3]) <= set(words.NOUNS[topic])
        assert len(set(said[2::3])) == len(said[2::3])  # nothing said is said again at once


def test_both_engines_write_the_same(planted: Planted, vecs: EmotionVectors) -> None:
    prompts = prompts_of(planted, n=8)
    acts = [Steer(2, vecs["anger"][2], 0.1, "resid") if i % 2 else AblateHead(0, 1) for i in range(8)]
    native, bridge = (
        [out.text for out in generate(planted.lm, prompts, acts, max_new_tokens=N_NEW, engine=engine)]
        for engine in ("native", "bridge")
    )
    assert native == bridge
    assert native != [out.text for out in generate(planted.lm, prompts, max_new_tokens=N_NEW)]


def test_output_words_count_for_their_emotion_alone_and_are_no_triggers(planted: Planted) -> None:
    lists = load_keywords()
    for emotion, found in planted.truth.outputs.items():
        for word in found:
            assert {label: lists.count(word, label) for label in lists.labels} == {
                label: int(label == emotion) for label in lists.labels
            }
    generated = {*words.LINKS, *words.PLAIN, *(noun for nouns in words.NOUNS.values() for noun in nouns)}
    assert not any(lists.count(word, label) for word in generated for label in lists.labels)
    assert not {w for ws in planted.truth.triggers.values() for w in ws} & {
        w for ws in planted.truth.outputs.values() for w in ws
    }
    assert len(set(words.vocabulary())) == len(words.vocabulary())


@pytest.mark.parametrize("form", FORMS)
def test_noise_has_the_stated_size(form: str) -> None:
    quiet, noisy = (plant(form, noise=size, distractors=False) for size in (0.0, 0.6))
    texts = prompts_of(quiet)
    ids = quiet.lm.tokenizer.convert_tokens_to_ids([*words.PLAIN, *words.LINKS])
    difference = (all_logits(noisy, texts) - all_logits(quiet, texts))[:, 1:-3, ids]
    assert 0.45 < float(difference.std()) < 0.75
    assert np.abs(head_output(quiet, texts, (1, 1))).max() == 0 < np.abs(head_output(noisy, texts, (1, 1))).max()


def test_a_map_fitted_on_neutral_texts_takes_directions_from_one_form_to_the_other() -> None:
    first, second = (plant(form) for form in FORMS)
    assert first.lm.d_model != second.lm.d_model
    states = [neutral_states(one, seed=3) for one in (first, second)]
    found = np.linalg.lstsq(states[0] - states[0].mean(0), states[1] - states[1].mean(0), rcond=1e-3)[0]
    stranger = neutral_states(plant("llama", seed=1), seed=4)  # other words on other features
    wrong = np.linalg.lstsq(states[0] - states[0].mean(0), stranger - stranger.mean(0), rcond=1e-3)[0]
    for emotion, direction in first.truth.directions.items():
        native = second.truth.directions[emotion]
        assert cosine(direction @ found, native) > 0.9
        assert cosine(direction @ wrong, native) < 0.5


def neutral_states(planted: Planted, seed: int) -> np.ndarray:
    """`resid_pre` at layer 2 of every token but the first of neutral texts, `[token, d_model]`."""
    kept: list[Tensor] = []
    all_logits(planted, prompts_of(planted, n=300, seed=seed), [("resid_pre", 2, lambda x: kept.append(x.clone()))])
    return kept[0][:, 1:].flatten(0, 1).double().numpy()


def test_the_same_seed_gives_the_same_weights() -> None:
    same, again, other = (plant("llama", seed=seed).lm for seed in (5, 5, 6))
    weights = [copy.deepcopy(lm.network.state_dict()) for lm in (same, again, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])
    assert same.identity == again.identity != other.identity


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "bert"}, "form"),
        ({"effect": -1.0}, "effect"),
        ({"noise": float("nan")}, "noise"),
        ({"seed": -1}, "seed"),
        ({"distractors": ("topics",)}, "topic"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plant(**{"form": "gpt2", **arguments})


# Scenarios


def test_scenarios_are_a_valid_crossed_data_set(planted: Planted, data: pd.DataFrame, tmp_path) -> None:
    (tmp_path / "planted.jsonl").write_bytes(jsonl_bytes(data))
    loaded = load_dataset(tmp_path / "planted.jsonl")
    pd.testing.assert_frame_equal(loaded, data, check_dtype=False)
    assert (data.groupby("scenario")["emotion"].nunique() == 4).all()
    assert data.groupby("scenario")["topic"].nunique().max() == 1
    assert data["split"].value_counts().to_dict() == {"train": 288, "validation": 96, "test": 96}
    rows = encode(planted.lm, data["text"].tolist())
    assert {len(row) for row in rows} == {len(rows[0])}
    begin = planted.lm.tokenizer.bos_token_id
    assert all(row[0] == begin and row.count(begin) == 1 for row in rows)
    assert planted.lm.tokenizer.unk_token_id not in {i for row in rows for i in row}


def test_triggers_stand_in_texts_of_their_emotion_alone(planted: Planted, data: pd.DataFrame) -> None:
    for emotion, found in planted.truth.triggers.items():
        held = data["text"].str.split().map(lambda said, found=found: bool(set(said) & set(found)))
        assert (held == (data["emotion"] == emotion)).all()


def test_scenarios_follow_their_seed(planted: Planted) -> None:
    first, again, other = (planted_scenarios(planted, 10, seed) for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first["text"].equals(other["text"])
    with pytest.raises(UserError, match="at least 1"):
        planted_scenarios(planted, 0)

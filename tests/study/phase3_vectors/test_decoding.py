"""What Phase 3 reads out of activations, on a model whose truth is known: probes, scores, the corpus and tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted_runs import in_two_styles, vectors_run, without_triggers, written
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from emolib.base import language
from emolib.base.errors import UserError
from emolib.plots.views import VIEW_MIME
from emolib.report.ja import phase3, phase3_projections
from emolib.scoring.goemotions import LABELS
from emolib.selftest.planted import Planted, plant, planted_scenarios, words
from emolib.study.phase3_vectors import decoding, fitting
from emolib.study.run import Run

END_LAYER = 2  # from here on the end of a text holds the planted directions


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant("llama", distractors=False)


@pytest.fixture(scope="module")
def data(planted: Planted) -> pd.DataFrame:
    return in_two_styles(planted_scenarios(planted, 40, seed=1))


@pytest.fixture(scope="module")
def saved(data: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(data, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(planted: Planted, saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_RESULTS", str(tmp_path_factory.mktemp("results")))
        yield vectors_run(planted.lm, saved)


@pytest.fixture(scope="module")
def bare(planted: Planted, data: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run on the same texts without triggers: there is no emotion in them."""
    folder = tmp_path_factory.mktemp("bare")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_RESULTS", str(folder / "results"))
        yield vectors_run(planted.lm, written(without_triggers(data), folder))


def at_layer(layer: int) -> pd.DataFrame:
    """As if the probes had chosen this layer for every emotion."""
    return pd.DataFrame({"emotion": words.EMOTIONS, "layer": layer})


# probes


def test_probes_at_the_end_read_the_planted_emotions_from_the_write_layer_on(run):
    table = decoding.probes(run, "last")
    auc = table.groupby("layer")["auc"].agg(["min", "max"])
    assert (auc.loc[END_LAYER:, "min"] > 0.95).all()
    assert (auc.loc[: END_LAYER - 1, "max"] < 0.9).all()
    assert set(table["split"]) == {"validation", "test"}


def test_the_probes_layer_is_the_lowest_of_the_best_on_validation():
    rows = [(0, 0.7, 1.0), (1, 0.9, 0.6), (2, 0.9, 0.8)]
    table = pd.DataFrame(
        [
            {"emotion": "anger", "layer": layer, "split": split, "auc": auc, "shuffled_mean": 0.5, "shuffled_max": 0.6}
            for layer, *both in rows
            for split, auc in zip(("validation", "test"), both, strict=True)
        ]
    )
    chosen = decoding.chosen_probe_layers(table).iloc[0]
    assert (chosen["layer"], chosen["validation_auc"], chosen["test_auc"]) == (1, 0.9, 0.6)
    better = table.assign(auc=table["auc"].where(table["split"] == "validation", 1 - table["auc"]))
    assert decoding.chosen_probe_layers(better).iloc[0]["layer"] == 1  # whatever the test says
    best = table.assign(auc=table["auc"].where(table["layer"] != 2, 0.95))
    assert decoding.chosen_probe_layers(best).iloc[0]["layer"] == 2  # control


def test_the_residual_stream_knows_no_more_than_the_words_where_the_words_say_it_all(run, bare):
    found, none = decoding.information(run), decoding.information(bare)
    residual, words_alone, length = (found[found["source"] == s].set_index("style") for s in _SOURCES)
    assert set(found["style"]) == {"all", "explicit", "implicit"}
    assert (residual["auc"] > 0.95).all() and (words_alone["auc"] > 0.95).all()
    assert words_alone["advantage"].abs().max() < 0.05
    assert (length.loc["all", "advantage_low"] > 0).all()  # control: it knows more than the length
    assert (none.loc[(none["source"] == "residual") & (none["style"] == "all"), "low"] < 0.5).all()
    said, unsaid = (phase3.sentence_information(table).data for table in (found, none))
    assert "誤りのない得点でも bag of words と区別できない" in said  # so few texts, and no error to make
    assert "検出できない" not in said and "より多くを知っている" not in said
    assert "を上回らない" in unsaid


_SOURCES = ("residual", "words", "length")


def test_a_probe_carries_over_to_a_style_that_differs_in_name_alone(run, bare):
    table = decoding.cross_style(run)
    crossed = table[(table["source"] == "residual") & (table["trained_on"] != table["tested_on"])]
    assert set(table["trained_on"]) == {"explicit", "implicit", "all"}
    assert (crossed["auc"] > 0.9).all()
    nothing = decoding.cross_style(bare)
    crossed = nothing[(nothing["source"] == "residual") & (nothing["trained_on"] != "all")]
    assert (crossed["low"] < 0.5).all()
    assert "別の表現の文にも通じる" not in phase3.sentence_cross_style(nothing).data


# scores


def test_projections_correlate_with_scores_that_follow_them_and_not_with_others(run, monkeypatch):
    acts = fitting.split_of(run, "last", "test")
    along = acts.layer("resid_pre", END_LAYER) @ fitting.vectors(run, "last")["anger"][END_LAYER].values
    random = np.random.default_rng(0).random(len(along))
    monkeypatch.setattr(Run, "scored", lambda run, texts: given_scores(texts, anger=along, gratitude=random))
    table = decoding.projection_correlations(run, "last", at_layer(END_LAYER)).set_index("emotion")
    assert table.loc["anger", "target/anger"] == pytest.approx(1.0)
    assert table.loc["anger", "null"] < 0.9
    assert abs(table.loc["gratitude", "target/gratitude"]) < 0.5
    assert table.loc["gratitude", "target/anger"] == pytest.approx(
        spearmanr(
            acts.layer("resid_pre", END_LAYER) @ fitting.vectors(run, "last")["gratitude"][END_LAYER].values, along
        ).statistic
    )
    said = phase3.sentence_projections(table.reset_index()).data
    assert "怒り +1.00（帰無" in said
    assert "謝罪: この感情に対応する得点がないか、値が変わらない" in said  # its score is the same for every text


def given_scores(texts: pd.DataFrame, **targets: object) -> pd.DataFrame:
    found = {"sentiment/POSITIVE": 0.5, "sentiment/NEGATIVE": 0.5, "politeness/score": 0.0}
    found |= {f"goemotions/{label}": 0.0 for label in LABELS}
    found |= {f"goemotions/{name}": values for name, values in targets.items()}
    return texts.reset_index(drop=True).assign(**found)


# the corpus


@pytest.fixture
def corpus(planted: Planted, tmp_path: Path) -> Path:
    """A folder as GoEmotions': texts with triggers under people's labels, and as many without."""
    table = planted_scenarios(planted, 40, seed=8)
    number = {"gratitude": LABELS.index("gratitude"), "anger": LABELS.index("annoyance"), "neutral": 27}
    rows = table[table["emotion"].isin(number)]
    lines = [f"{t}\t{number[e]}\tc{i}" for i, (t, e) in enumerate(zip(rows["text"], rows["emotion"], strict=True))]
    (tmp_path / "labels.txt").write_text("\n".join(LABELS) + "\n")
    (tmp_path / "dev.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_projections_find_the_texts_that_people_labelled(planted, saved, run, corpus):
    mine = vectors_run(planted.lm, saved, corpus=str(corpus), n_corpus=100)
    table = decoding.corpus_correlations(mine, at_layer(3)).set_index("emotion")
    assert (table.loc[["gratitude", "anger"], "human_auc"] > 0.9).all()
    assert table.loc[["gratitude", "anger"], "n_human"].between(20, 45).all()
    assert table.loc["apology", "n_human"] == 0 and pd.isna(table.loc["apology", "human_auc"])
    assert set(table["n"]) == {100}
    said = phase3.sentence_corpus(table.reset_index(), "data/goemotions").data
    assert "感謝 1.00" in said and "怒り 1.00" in said and said.count("0.5 を上回る") == 1
    assert "謝罪: 対応する GoEmotions のラベルがないか、その文がない" in said
    rows = phase3.table_corpus(table.reset_index())
    assert rows["人のラベルとの AUC"].tolist()[-1] == "—"
    assert len(phase3.table_projections(table.reset_index())) == 3


def mix_labels(corpus: Path) -> None:
    lines = [line.split("\t") for line in (corpus / "dev.tsv").read_text().splitlines()]
    order = np.random.default_rng(1).permutation(len(lines))
    mixed = ["\t".join([lines[i][0], lines[j][1], lines[i][2]]) for i, j in enumerate(order)]
    (corpus / "dev.tsv").write_text("\n".join(mixed) + "\n")


def test_labels_at_random_are_not_found(planted, saved, run, corpus):
    mix_labels(corpus)
    mine = vectors_run(planted.lm, saved, corpus=str(corpus), n_corpus=100)
    table = decoding.corpus_correlations(mine, at_layer(3)).set_index("emotion")
    assert (table.loc[["gratitude", "anger"], "human_low"] < 0.5).all()
    assert "を上回る" not in phase3.sentence_corpus(table.reset_index(), "x").data


def test_the_corpus_table_is_made_anew_where_layers_change_hands_or_the_intervals_do(planted, saved, run, corpus):
    def found(layers: tuple[int, int, int], **params: object) -> pd.DataFrame:
        mine = vectors_run(planted.lm, saved, corpus=str(corpus), n_corpus=100, **params)
        chosen = pd.DataFrame({"emotion": words.EMOTIONS, "layer": layers})
        return decoding.corpus_correlations(mine, chosen).set_index("emotion")

    first = found((0, 3, 0))
    assert found((3, 0, 0))["layer"].tolist() == [3, 0, 0] and first["layer"].tolist() == [0, 3, 0]
    mix_labels(corpus)  # so that there is something to resample
    coarse, fine = (found((1, 4, 1), n_bootstrap=n).loc["gratitude"] for n in (50, 400))
    assert coarse["human_auc"] == fine["human_auc"]
    assert coarse["human_low"] != fine["human_low"]


def test_without_the_corpus_nothing_is_measured_and_the_report_says_so(planted, saved, run, tmp_path):
    (tmp_path / "empty").mkdir()
    away = vectors_run(planted.lm, saved, corpus=str(tmp_path / "empty"))
    table = decoding.corpus_correlations(away, at_layer(3))
    assert table.empty and decoding.corpus_folder(away.params.corpus) is None
    assert "がこの計算機にないため" in phase3.sentence_corpus(table, "data/goemotions").data
    assert phase3.table_corpus(table) is None


def test_a_corpus_without_its_labels_is_told(planted, saved, run, corpus):
    (corpus / "labels.txt").unlink()
    with pytest.raises(UserError, match=r"expected GoEmotions' labels at .*labels.txt") as caught:
        decoding.corpus_correlations(vectors_run(planted.lm, saved, corpus=str(corpus)), at_layer(3))
    assert "\n" not in str(caught.value)


# tokens


def test_every_text_of_the_view_is_one_part_whose_first_token_is_white(run, monkeypatch):
    texts = run.texts("test")
    found = decoding.token_projections(run, at_layer(END_LAYER), "anger")
    shown: list[dict] = []
    monkeypatch.setattr(phase3_projections, "show_view", lambda run, view, name: shown.append(view))
    phase3.figure_tokens(run, found, "anger")
    parts = shown[0][VIEW_MIME]["elements"]
    assert [(text.emotion, text.tokens) for text in found][1] == (texts["emotion"][1], parts[1]["props"]["tokens"])
    assert len(parts) == 2 * texts["emotion"].nunique()  # a scenario of each style
    assert [part["label"] for part in parts[:4]] == [
        f"{language.name(e)}・{language.name(texts['style'][0])}" for e in texts["emotion"][:4]
    ]
    strongest = {}
    for part in parts:
        tokens, values = part["props"]["tokens"], part["props"]["values"]
        assert len(tokens) == len(values) and values[0] == 0 and tokens[0] == words.BEGIN
        place = int(np.argmax(values))
        strongest[part["label"].split("・")[0]] = tokens[place], values[place]
    plain = strongest["中立"][1]
    assert strongest["怒り"][1] > 5 * abs(plain)
    after = next(part for part in parts if part["label"].startswith("怒り"))["props"]
    place = next(i for i, token in enumerate(after["tokens"]) if token in words.TRIGGERS["anger"])
    assert min(after["values"][place:]) > 2 * max(after["values"][1:place])  # the direction is written from there on


def test_a_projection_at_the_word_is_told_from_one_over_the_whole_text(run, bare):
    embedded = decoding.trigger_projections(run, at_layer(0))
    assert set(embedded["emotion"]) == set(words.EMOTIONS) and set(embedded["n"]) == {8}
    assert (embedded["at_word"] > 5 * embedded["overall"]).all()  # the word alone makes the mean of the embeddings
    assert "2 倍を超える" in phase3.sentence_tokens(embedded).data
    vecs, acts = fitting.vectors(run, "mean")["anger"][0], fitting.split_of(run, "mean", "test")
    own = acts.where(acts.texts["emotion"] == "anger").values["resid_pre"][0] @ vecs.direction
    neutral = acts.where(acts.texts["emotion"] == "neutral").values["resid_pre"][0] @ vecs.direction
    at = fitting.split_of(run, "trigger", "test")
    word = at.where(at.texts["emotion"] == "anger").values["resid_pre"][0] @ vecs.direction
    row = embedded.set_index("emotion").loc["anger"]
    assert row["overall"] == pytest.approx((own.mean() - neutral.mean()) / vecs.neutral_norm, rel=1e-4)
    assert row["at_word"] == pytest.approx((word.mean() - neutral.mean()) / vecs.neutral_norm, rel=1e-4)
    nothing = decoding.trigger_projections(bare, at_layer(0))
    assert nothing.empty
    assert "感情語の位置がない" in phase3.sentence_tokens(nothing).data


def test_the_probes_table_is_that_of_a_probe_on_every_layer(run):
    table = decoding.probes(run, "last")
    assert len(table) == 3 * 2 * (run.lm.n_layers + 1)
    acts, vecs = fitting.split_of(run, "last", "test"), fitting.vectors(run, "last")
    pair = acts.where(acts.texts["emotion"].isin(["anger", "neutral"]))
    by_vector = roc_auc_score(pair.texts["emotion"] == "anger", pair.values["resid_pre"][2] @ vecs["anger"][2].values)
    own = table[(table["emotion"] == "anger") & (table["layer"] == 2) & (table["split"] == "test")]
    assert own["auc"].item() == by_vector == 1.0

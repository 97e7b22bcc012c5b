"""Keyword counting: inflection, negation, kept phrases, apostrophes, word boundaries, and the lists themselves."""

from __future__ import annotations

import pytest

from emolib.base import paths
from emolib.base.errors import UserError
from emolib.data.keywords import load_keywords, straight_apostrophes


@pytest.fixture
def lists():
    return load_keywords("en")


@pytest.fixture
def write_lists(tmp_path, monkeypatch):
    """Writes a keyword file into a repository of its own and loads it."""
    (tmp_path / "params" / "profiles").mkdir(parents=True)
    (tmp_path / "params" / "keywords").mkdir()
    monkeypatch.setenv("EMOLIB_ROOT", str(tmp_path))
    load_keywords.cache_clear()

    def write(text: str):
        (tmp_path / "params" / "keywords" / "xx.yaml").write_text(text, encoding="utf-8")
        return load_keywords("xx")

    yield write
    load_keywords.cache_clear()


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Thank you for the soup.", "gratitude"),
        ("She thanked us twice.", "gratitude"),
        ("I really appreciated the lift.", "gratitude"),
        ("He nodded gratefully.", "gratitude"),
        ("They left angrily.", "anger"),
        ("It annoys me, that drip.", "anger"),
        ("How infuriating this printer is.", "anger"),
        ("I apologized at once.", "apology"),
        ("We regretted the mix-up.", "apology"),
        ("Please accept my apologies.", "apology"),
        ("THANKS A LOT", "gratitude"),
        ("I am\nfed   up with it.", "anger"),
    ],
)
def test_an_inflected_word_counts_for_its_own_label_alone(lists, text, label):
    assert {name: lists.count(text, name) for name in lists.labels} == {
        name: int(name == label) for name in lists.labels
    }


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("The stranger lost his hanger in a dangerous spot.", "anger"),
        ("We made the bed in a madrigal.", "anger"),
        ("The garage has an average barrage.", "anger"),
        ("A thankless task.", "gratitude"),
        ("Sorrytown is a place.", "apology"),
        ("We unpack at noon and read the manual.", "gratitude"),
    ],
)
def test_a_word_inside_another_word_does_not_count(lists, text, label):
    assert lists.count(text, label) == 0


@pytest.mark.parametrize(
    ("negated", "plain", "label"),
    [
        ("I am not sorry.", "I am sorry.", "apology"),
        ("She isn't angry.", "She is angry.", "anger"),
        ("She isn\u2019t angry.", "She\u2019s angry.", "anger"),
        ("I was never so very furious.", "I was so very furious.", "anger"),
        ("He left without an apology.", "He left with an apology.", "apology"),
        ("They hardly thanked us.", "They warmly thanked us.", "gratitude"),
        ("I don't hate it.", "I hate it.", "anger"),
    ],
)
def test_a_negated_word_does_not_count_and_the_same_word_unnegated_does(lists, negated, plain, label):
    assert (lists.count(negated, label), lists.count(plain, label)) == (0, 1)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I did not wait; sorry about that.", "apology"),
        ("It was not me, sorry.", "apology"),
        ("It was not me\u2014sorry.", "apology"),
        ("No. Thanks.", "gratitude"),
        ("I never came back (sorry).", "apology"),
        ("Not late but sorry.", "apology"),
        ("We have nothing but gratitude for her.", "gratitude"),
        ("I did not know it then and now I am sorry.", "apology"),
    ],
)
def test_a_negation_reaches_neither_another_clause_nor_a_far_word(lists, text, label):
    assert lists.count(text, label) == 1


@pytest.mark.parametrize(
    "text",
    [
        "I can't thank you enough.",
        "I can\u2019t thank you enough.",
        "We cannot thank her enough.",
        "I have never been so grateful.",
        "I couldn't be more grateful.",
    ],
)
def test_a_negation_inside_a_kept_phrase_is_none(lists, text):
    assert lists.count(text, "gratitude") == 1


def test_a_kept_phrase_does_not_excuse_another_negation_beside_it(lists):
    assert lists.count("I am not only late.. I am sorry.", "apology") == 1
    assert lists.count("I am not only sorry.", "apology") == 1
    assert lists.count("I am not only not sorry.", "apology") == 0


def test_a_kept_phrase_counts_when_it_begins_before_the_reach_of_a_negation(write_lists):
    text = "How could we not be thankful to Ellen?"
    body = "labels: {gratitude: [thankful]}\nnegations: ['not']\nkept: [{kept}]"
    assert write_lists(body.replace("{kept}", "could we not")).count(text, "gratitude") == 1
    load_keywords.cache_clear()
    assert write_lists(body.replace("{kept}", "could they not")).count(text, "gratitude") == 0


def test_spans_point_at_the_words_in_the_text_as_written(lists):
    text = "You\u2019re late, but thanks \u2026 I\u2019m grateful."
    assert [text[first:last] for first, last in lists.find(text, "gratitude")] == ["thanks", "grateful"]


def test_straight_apostrophes_keep_the_length():
    assert straight_apostrophes("isn\u2019t") == "isn't"
    assert straight_apostrophes("\u201cno\u201d") == "\u201cno\u201d"


def test_an_unknown_label_or_language_names_the_nearest(lists):
    with pytest.raises(UserError, match="did you mean 'anger'"):
        lists.count("text", "angr")
    with pytest.raises(UserError, match="did you mean 'en'"):
        load_keywords("eng")


def test_a_new_language_needs_one_file_and_an_empty_list_matches_nothing(write_lists):
    german = write_lists("labels: {gratitude: [dank*], none: []}\nnegations: [nicht]")
    assert german.language == "xx"
    assert german.count("Vielen Dank, danke!", "gratitude") == 2
    assert german.count("Das ist nicht dankbar.", "gratitude") == 0
    assert german.count("Vielen Dank, danke!", "none") == 0


def test_no_and_on_are_words_and_labels_like_any_other(write_lists):
    lists = write_lists("labels: {no: [no, on], 3: [three]}\nnegations: [nicht]")
    assert lists.labels == ("no", "3") and lists.count("No, on you go", "no") == 2


@pytest.mark.parametrize("body", ["labels: {anger: [3, angry]}", "labels: {anger: angry}", "words: [angry]", "[]"])
def test_a_list_that_holds_no_words_is_refused_in_one_line(write_lists, body):
    with pytest.raises(UserError, match=r"xx\.yaml") as caught:
        write_lists(body)
    assert "\n" not in str(caught.value)


def test_no_word_of_the_english_lists_belongs_to_two_labels(lists):
    import yaml

    written = yaml.safe_load((paths.params_folder("keywords") / "en.yaml").read_text(encoding="utf-8"))["labels"]
    for label, phrases in written.items():
        for phrase in phrases:
            counts = {name: lists.count(phrase.replace("*", ""), name) for name in lists.labels}
            assert [name for name, count in counts.items() if count] in ([label], []), phrase
            assert counts[label] == 1 or phrase.endswith("*")

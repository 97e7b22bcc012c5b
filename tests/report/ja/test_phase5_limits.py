"""The bars and limits of a Phase 5 report follow the run's parameters and labels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from emolib.base.parameters import resolve
from emolib.report.ja import phase5_limits as bounds
from emolib.report.ja import phase5_regime
from emolib.steering.regime import Regime
from emolib.study.phase5_steering.shift_design import unmeasurable
from emolib.study.phase5_steering.sweep_settings import regime

SWEEP = pd.DataFrame({"kind": ["baseline"] * 4 + ["emotion"], "fluency/broken": [True, False, False, False, True]})

GREEDY, SAMPLED = Regime(0.0, 2, 24), Regime(0.7, 16, 24)


def run_of(emotions: tuple[str, ...] = ("gratitude", "anger"), decided: Regime = GREEDY, **given: Any) -> Any:
    params = resolve("quick", "smollm2_135m", "phase5", given)
    known: dict[Any, Any] = {(unmeasurable.__wrapped__, ()): "one_emotion"}
    if params.temperature == "auto":
        known[regime.__wrapped__, ()] = decided
    return SimpleNamespace(
        params=params,
        emotions=emotions,
        data=pd.DataFrame({"lang": ["en", "en"]}),
        lm=SimpleNamespace(spec=SimpleNamespace(name="some_model")),
        kept_values=known,
    )


def test_the_measures_are_those_of_the_labels():
    text = bounds.criteria(run_of()).data
    assert "怒りの確率（GoEmotions の anger と annoyance の大きい方）" in text and "（GoEmotions の gratitude）" in text
    assert "謝罪" not in text and "一つだけで判定する" not in text
    joy = bounds.criteria(run_of(("joy", "anger"))).data  # a label that has no list of words
    assert "joyの確率（GoEmotions の joy）" in joy and "joyの語数" not in joy and "一つだけで判定する" in joy


@pytest.mark.parametrize(
    ("given", "says", "says_not"),
    [
        ({}, ["各 59 本", "0.0167 以下", "+ 10 ポイント", "明示表現の文（感情語を含む）だけ"], ["暗示表現"]),
        ({"broken_margin": 0.25}, ["+ 25 ポイント"], ["10 ポイント"]),
        ({"n_controls": 999}, ["各 999 本", "0.0125 以下"], ["0.0167"]),  # 5 % over two emotions × two measures
        ({"vector_style": "implicit"}, ["暗示表現の文（感情語を含まない）だけ"], ["明示表現"]),
        ({"vector_style": "all"}, ["明示表現・暗示表現の両方の文"], ["だけから"]),
    ],
)
def test_the_bars_are_those_of_the_parameters(given, says, says_not):
    text = bounds.criteria(run_of(**given)).data
    assert all(part in text for part in says) and not any(part in text for part in says_not), text


@pytest.mark.parametrize(
    ("given", "says", "says_not"),
    [
        (
            {},
            ["貪欲法", "最大 30 トークン", "破綻率は 25%", "英語", "some_model", "0.0167 より"],
            ["標本抽出", "分割"],
        ),
        (
            {"temperature": 0.8, "top_p": 0.9, "n_samples": 3, "max_new_tokens": 20},
            ["`temperature=0.8`、`top_p=0.9`、一つのプロンプトにつき 3 テキスト", "最大 20 トークン"],
            ["貪欲法"],
        ),
        (
            {"decided": SAMPLED},
            ["標本抽出（`temperature=0.7`、`top_p=1`、", "同じ乱数"],
            ["貪欲法", "auto"],
        ),
        ({"vector_style": "implicit"}, ["暗示表現", "一緒に現れやすい語"], ["語の再現"]),
        ({"vector_style": "explicit"}, ["明示表現", "語の再現"], ["暗示表現"]),
        ({"folds": 5, "n_controls": 199}, ["5 分割の交差適合", "0.0050 より"], ["0.0167"]),
    ],
)
def test_the_limits_are_those_of_the_parameters(given, says, says_not):
    text = bounds.limits(run_of(**given), SWEEP).data
    assert all(part in text for part in says) and not any(part in text for part in says_not), text


@pytest.mark.parametrize(
    ("given", "says", "says_not"),
    [
        (
            {},
            [
                "24 件のうち破綻は 2 件（8%）",
                "超えないため、貪欲法（`temperature=0`）とした",
                "テストのプロンプトは使っていない",
            ],
            ["超えたため", "指定による", "最初の分割"],
        ),
        (
            {"decided": SAMPLED},
            ["24 件のうち破綻は 16 件（67%）", "超えたため、標本抽出（`temperature=0.7`、`top_p=1`", "同じ乱数"],
            ["超えないため", "指定による"],
        ),
        ({"folds": 5}, ["最初の分割の検証プロンプト 24 件"], ["テストのプロンプトは使っていない"]),
        ({"temperature": 0}, ["復号は貪欲法（`temperature=0`）である（指定による）"], ["破綻", "auto"]),
        ({"temperature": 0.9}, ["復号は標本抽出（`temperature=0.9`", "指定による"], ["破綻", "auto"]),
    ],
)
def test_the_regime_is_told_by_its_rule_first_and_then_its_numbers(given, says, says_not):
    text = phase5_regime.decided(run_of(**given))
    assert all(part in text for part in says) and not any(part in text for part in says_not), text
    if "temperature" not in given:
        rule = text.index("20% を超えれば温度 0.7 の標本抽出、そうでなければ貪欲法")
        assert rule < text.index("一度だけ") < text.index("件のうち")

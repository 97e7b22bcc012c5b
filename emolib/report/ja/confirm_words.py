"""What the confirmation's outcomes and conditions are called."""

from __future__ import annotations

from emolib.report.ja.phase5_shift_words import VERDICTS, text_style
from emolib.steering.findings import SUPPORTED
from emolib.study.confirmation.sealed_results import CONFIRMED, CONFIRMS, OPENED_BEFORE, REHEARSED

OUTCOMES = {**VERDICTS, SUPPORTED: "数値は条件を満たすが、確認ではない", CONFIRMED: "確認された"}
STANDINGS = {
    CONFIRMS: "確認である",
    REHEARSED: "これは模擬の文による予行であり、何も確認しない",
    OPENED_BEFORE: "この封は別の選択で開けられているため、これは探索であり、何も確認しない",
}
ABOUT = {"implicit": "感情についての主張", "explicit": "感情の語についての主張"}
WAYS = {"greedy": "greedy", "sampled": "サンプリング"}
WHY_ASIDE = {
    "word": "ラベルの語を含む",
    "phrase": "定型句のリストの句を含む",
    "shared": "訓練の同じラベルの文だけに 2 回以上ある 3-gram を含む",
}


def style_about(style: str) -> str:
    """A style of texts with what a claim from it is about."""
    about = ABOUT.get(style)
    return f"{text_style(style)}の文{f'（{about}）' if about else ''}"

"""What of Phase 5's 判定基準 and 限界 depends on the run's parameters and data."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import code_span
from emolib.data.styles import in_style_order
from emolib.directions.controls import FAMILIES
from emolib.report.ja.frame import scorers
from emolib.report.ja.names import metric_name, named
from emolib.report.ja.phase5_regime import method
from emolib.report.ja.phase5_shift_words import WHY_NOT, text_style
from emolib.report.ja.phase5_words import share
from emolib.scoring.goemotions import matching_labels
from emolib.scoring.measures import expected_measures
from emolib.steering.summaries import baseline_broken
from emolib.steering.text_claims import rank_bar
from emolib.study.phase5_steering.design import parts
from emolib.study.phase5_steering.shift_design import control_design, grid_design, shift_design, unmeasurable
from emolib.study.run import Run

STYLES = {
    "explicit": "訓練の明示表現の文（感情語を含む）だけ",
    "implicit": "訓練の暗示表現の文（感情語を含まない）だけ",
    "all": "訓練の明示表現・暗示表現の両方の文",
}
STYLE_LIMITS = {
    "explicit": "語数の増加は、感情そのものではなく語の再現でもありうる。",
    "implicit": "感情語そのものはベクトルの材料にないが、感情語と一緒に現れやすい語の影響は除けない。",
    "all": "語数の増加は、感情そのものではなく語の再現でもありうる。二種類の表現の寄与は分けられない。",
}


def criteria(run: Run) -> Markdown:
    """The measures, the bar and the rule of choice as this run's parameters and labels set them, and the scorers."""
    params, known = run.params, expected_measures(run.emotions)
    bar = rank_bar(params.n_controls, sum(len(names) for names in known.values()))
    lines = [
        f"- 生成したテキストの指標（二次的）: {'、'.join(_measured(emotion, names) for emotion, names in known.items())}。"
    ]
    if any(len(names) < 2 for names in known.values()):
        lines.append("- 指標が一つの感情は、その一つだけで判定する。")
    lines += [
        f"- 対照方向は {len(FAMILIES)} 種類の対照群に各 {params.n_controls} 本であり、片側順位 p の基準は {bar:.4f} 以下である。",
        _design(run),
        f"- 動作点は、検証での破綻率がパッチなし + {100 * params.broken_margin:.0f} ポイント以内の候補から選ぶ。",
        f"- ベクトルは{STYLES[params.vector_style]}から作る（`vector_style={params.vector_style}`）。",
        f"- {scorers(run).data}",
    ]
    return Markdown("\n".join(lines))


def _design(run: Run) -> str:
    """How many texts and prompts S is measured on."""
    why = unmeasurable(run)
    if why:
        return f"- {WHY_NOT[why]}"
    (part, *others) = parts(run)
    test, drawn, grid = shift_design(run, part, "test"), control_design(run, part), grid_design(run, part)
    counts = "、".join(
        f"{text_style(style)} {cells['text'].nunique()} シナリオ × プロンプト {cells['prompt'].nunique()} 件"
        f"（各文 {len(cells) // cells['text'].nunique()} プロンプト）"
        for style, cells in in_style_order(test.cells).groupby("style", sort=False)
    )
    first = "（最初の分割）" if others else ""
    return (
        f"- S を測る文{first}: {counts}。対照方向のもとでは {drawn.cells['text'].nunique()} シナリオの文を各 1 プロンプトの後に置く。"
        f"選択には検証の {grid.cells['text'].nunique()} シナリオの文を各 1 プロンプトの後に置く。"
    )


def _measured(emotion: str, names: list[str]) -> str:
    labels = matching_labels(emotion)
    which = f"（GoEmotions の {' と '.join(labels)}{' の大きい方' if len(labels) > 1 else ''}）"
    parts = [f"{metric_name(name)}{which if name.startswith('target/') else ''}" for name in names]
    return "と".join(parts)


def limits(run: Run, sweep: pd.DataFrame) -> Markdown:
    """The limits that follow from how this run was made.

    Args:
        sweep: the test rows, for the broken share of the unpatched texts.
    """
    params = run.params
    languages = named({"en": "英語"}.get(name, name) for name in sorted(set(run.data["lang"])))
    lines = [
        f"- 一つのモデル（{code_span(run.lm.spec.name)}）、{languages}、{_decoding(run)}についての結果である。"
        f"テストでのパッチなしの破綻率は {share(baseline_broken(sweep))} である。語数は、一つのテキストの中の繰り返しも数える。",
        f"- ベクトルは{STYLES[params.vector_style]}から作った。{STYLE_LIMITS[params.vector_style]}",
        f"- 対照方向は各群 {params.n_controls} 本であり、順位 p は {1 / (1 + params.n_controls):.4f} より小さくならない。",
    ]
    if params.folds:
        lines.append(
            f"- {params.folds} 分割の交差適合では、一つのシナリオが別の分割で訓練や検証にも使われるため、分割どうしは完全には独立でない。"
        )
    return Markdown("\n".join(lines))


def _decoding(run: Run) -> str:
    return f"{method(run)}による最大 {run.params.max_new_tokens} トークンの続き"

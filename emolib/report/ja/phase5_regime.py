"""Whether Phase 5's texts are greedy or sampled, and by what rule, in words."""

from __future__ import annotations

from IPython.display import Markdown

from emolib.report.ja import frame
from emolib.report.ja.model_words import texts_and_model
from emolib.report.ja.phase5_words import share
from emolib.steering.regime import LOOPING_SHARE, SAMPLING_TEMPERATURE
from emolib.study.phase5_steering.sweep_settings import regime, template_of
from emolib.study.run import Run


def settings(run: Run) -> Markdown:
    """実行設定 with what prompts begin with, which kind of model it is, and whether texts are greedy or sampled."""
    about = texts_and_model(run, template_of(run), run.params.prompt_format)
    return Markdown(f"{about}{decided(run)}\n\n{frame.settings(run).data}")


def decided(run: Run) -> str:
    """The rule, what it came to, and by which numbers."""
    found = regime(run)
    if found.code == "given":
        return f"復号は{method(run)}である（指定による）。"
    rule = (
        f"復号は、検証プロンプトをパッチなし・貪欲法で続けたテキストの破綻率が {share(LOOPING_SHARE)} を超えれば温度 "
        f"{SAMPLING_TEMPERATURE:g} の標本抽出、そうでなければ貪欲法とし、すべての生成に共通に一度だけ決める（`temperature=auto`）。"
    )
    which = "最初の分割の" if run.params.folds else ""
    seen = f"{which}検証プロンプト {found.n} 件のうち破綻は {found.broken} 件（{share(found.share)}）で、"
    came = "この値を超えたため、" if found.code == "sampled" else "この値を超えないため、"
    return f"{rule}{seen}{came}{method(run)}とした。{'' if which else 'テストのプロンプトは使っていない。'}"


def method(run: Run) -> str:
    """How every text is continued."""
    params, temperature = run.params, regime(run).temperature
    if temperature == 0:
        return "貪欲法（`temperature=0`）"
    samples = f"一つのプロンプトにつき {params.n_samples} テキスト"
    return (
        f"標本抽出（`temperature={temperature:g}`、`top_p={params.top_p:g}`、{samples}、"
        "同じプロンプトの行はパッチの有無や種類によらず同じ乱数を使う）"
    )

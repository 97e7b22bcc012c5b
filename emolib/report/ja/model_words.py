"""What texts begin with, and whether the model was tuned for chats, in two sentences for 実行設定."""

from __future__ import annotations

from typing import Literal

from IPython.display import Markdown

from emolib.base.config import find_model
from emolib.base.escaping import code_span
from emolib.models.tokens import first_mark
from emolib.report.ja import frame
from emolib.study.run import Run

Format = Literal["raw", "chat"]


def texts_and_model(run: Run, template: str = "{text}", prompt_format: Format = "raw") -> str:
    """What texts begin with and which kind of model reads them.

    Args:
        template: what stands around every text.
        prompt_format: whether texts stand in the model's chat format.
    """
    first = first_mark(run.lm, template)
    begins = f"先頭に開始トークン {code_span(first)} を付加する" if first else "先頭に開始トークンを付加しない"
    return f"テキストの{begins}。使うのは{_kind(run)}{_used(run, prompt_format)}。"


def _kind(run: Run) -> str:
    if run.lm.spec.random_weights:
        return "乱数重みのモデル（学習なし）"
    if find_model(run.params.model) is None:  # nobody has said what it was tuned for
        return "対話形式を持つモデル" if run.lm.spec.chat else "対話形式を持たないモデル"
    return "対話用に調整されたモデル" if run.lm.spec.chat else "基盤モデル（対話用の調整なし）"


def _used(run: Run, prompt_format: Format) -> str:
    if prompt_format == "chat":
        return "で、プロンプトをその対話形式に入れる"
    return "だが、対話形式には入れない" if run.lm.spec.chat and not run.lm.spec.random_weights else "である"


def settings(run: Run) -> Markdown:
    """実行設定 with what texts begin with, for a phase that reads them as they are."""
    return Markdown(f"{texts_and_model(run)}\n\n{frame.settings(run).data}")

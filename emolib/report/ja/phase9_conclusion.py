"""Phase 9's 結論, 考察 and 次のアクション, computed from the checks and the alterations."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.frame import three_lines
from emolib.report.ja.phase9_words import ALTERATIONS, check_name, near
from emolib.study import phase9_verification as found


def conclusion(checks: pd.DataFrame, alterations: pd.DataFrame) -> Markdown:
    """結論: whether everything passed, on what that rests, and what was not looked at."""
    return three_lines(
        found=_found(checks), rests_on=_rests_on(checks, alterations), not_measured=_not_measured(checks)
    )


def _found(checks: pd.DataFrame) -> str:
    files, reports = found.of_files(checks), found.of_reports(checks)
    failed = checks[checks["status"] == "fail"]
    passed = int((files["status"] == "pass").sum())
    kinds = files["check"].nunique()
    start = f"保存されたファイルの検査 {kinds} 種、のべ {passed} 件が合格した"
    if failed.empty:
        seen = "報告の検査にも不合格はない" if len(reports) else "報告は検査していない"
        return f"{start}。不合格はない。{seen}。"
    names = "、".join(dict.fromkeys(check_name(check) for check in failed["check"]))
    return f"{start}。**不合格が {len(failed)} 件ある**（{names}）。この実行の結果は、直るまで使わない。"


def _rests_on(checks: pd.DataFrame, alterations: pd.DataFrame) -> str:
    table = found.drawn(checks)
    parts = []
    if len(table) and table["rows"].sum():
        rows, worst = int(table["rows"].sum()), table["near"].max()
        parts.append(f"別の経路で {rows} 行を計算し直した。最大の偏差は許容差の {near(worst)}である。")
    else:
        parts.append("計算し直した行はないため、値が正しいことはハッシュと由来だけに依る。")
    for group, name in ((found.NEGATIVE, "結果を無効にする改変"), (found.FAULT, "値を一つ変えた誤り")):
        noticed, made = found.rate(alterations, group)
        if made:
            parts.append(f"{name}は {made} 件のうち {noticed} 件を検出した。")
    return "".join(parts)


def _not_measured(checks: pd.DataFrame) -> str:
    skipped = checks[(checks["status"] == "skip") & ~checks["check"].isin(found.OF_REPORTS)]
    if skipped.empty:
        return "見ていないファイルはない。"
    names = "、".join(dict.fromkeys(check_name(check) for check in skipped["check"]))
    return f"{len(skipped)} 件は見ていない（{names}）。理由は「見ていないもの」の表に示す。"


def discussion(checks: pd.DataFrame, alterations: pd.DataFrame) -> Markdown:
    """考察: what a pass says here and what it does not."""
    table = found.drawn(checks)
    lines = []
    over = table[table["fail"] > 0]
    if len(over):
        listed = "、".join(f"{check_name(check)}" for check in over["check"])
        lines.append(f"- {listed}は、別の経路で同じ値にならない。保存された結果か、どちらかの経路が誤っている。")
    elif len(table):
        lines.append(
            "- 抜き出した行は、別の経路でも許容差の範囲で同じ値になった。残りの行が同じであることは、同じ手順で作られたことに依る。"
        )
    for group in (found.NEGATIVE, found.FAULT):
        part = alterations[alterations["group"] == group] if len(alterations) else alterations
        missed = part[part["status"] == "fail"] if len(part) else part
        if len(missed):
            names = "、".join(ALTERATIONS[name] for name in missed["name"])
            lines.append(f"- **見逃した改変がある**（{names}）。その検査の合格は、何も保証しない。")
    noticed, made = found.rate(alterations, found.NEGATIVE)
    if made and noticed == made:
        lines.append("- 結果を無効にする改変は、どれも検査が拒む。検査が何にでも合格を出すわけではない。")
    return Markdown("\n".join(lines or ["- 再計算も改変もしていないため、述べられることはない。"]))


def next_actions(checks: pd.DataFrame) -> Markdown:
    """次のアクション, computed."""
    lines = []
    failed = checks[checks["status"] == "fail"]
    if len(failed):
        lines.append(
            "- 不合格のファイルを作ったフェーズを、`emolib run --phase … --force` で走らせ直し、もう一度検証する。"
        )
    if not len(found.recomputed(checks)):
        lines.append("- 再計算していない。`emolib verify --recompute` で確かめる。")
    elif found.recomputed(checks)["status"].eq("skip").any():
        lines.append("- 再計算できなかったものがある。理由を「見ていないもの」の表で確かめる。")
    if not lines:
        lines.append(
            "- 再計算の割合を上げる（`share`）と、より多くの行を確かめられる。別の機械でも `emolib verify --recompute` を走らせる。"
        )
    return Markdown("\n".join(lines))

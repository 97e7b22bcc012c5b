"""Phase 9's tables: checks, recomputations, and what must not pass."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name, code_span
from emolib.report.ja.phase9_words import ALTERATIONS, CHECKS, MEASURES, STATES, UNITS, check_name, near
from emolib.report.markup import NOTHING, markdown_table, number
from emolib.study import phase9_verification as found

MOST = 20  # rows of a table of failures
NOTHING_FAILED = "不合格はない。"


def table_checks(checks: pd.DataFrame) -> Markdown:
    """What must hold of the files, and how many of them passed."""
    return _counted(found.of_files(checks))


def table_reports(checks: pd.DataFrame) -> Markdown:
    """The same of executed reports."""
    return _counted(found.of_reports(checks))


def _counted(checks: pd.DataFrame) -> Markdown:
    if checks.empty:
        return Markdown("この検査はしていない。")
    table = found.counts(checks)
    rows = [
        [check_name(row["check"]), CHECKS.get(row["check"], ("", NOTHING))[1], row["files"], *(row[s] for s in STATES)]
        for row in table.to_dict("records")
    ]
    rows.append([f"**計**（{len(table)} 種）", "", "", *(int(table[state].sum()) for state in STATES)])
    return Markdown(markdown_table(rows, ["検査", "成り立つべきこと", "ファイル", *STATES.values()]))


def table_instruments(checks: pd.DataFrame) -> Markdown:
    """Gold and placebos, one row per measure, style and emotion."""
    judged = checks[checks["check"].isin(found.OF_INSTRUMENTS)]
    if judged.empty:
        return Markdown("計器を判定していない実行である。")
    rows = [
        [check_name(row["check"]), Name(row["file"]), row["compared"], STATES[row["status"]], Name(row["told"])]
        for row in judged.to_dict("records")
    ]
    return Markdown(markdown_table(rows, ["計器", "測度・様式・感情", "行", "結果", "備考"]))


def table_failures(checks: pd.DataFrame) -> Markdown:
    """Every failure with its file, as `emolib verify` prints it."""
    failed = checks[checks["status"] == "fail"]
    if failed.empty:
        return Markdown(NOTHING_FAILED)
    rows = [
        [check_name(r["check"]), code_span(r["file"]), Name(r["told"])] for r in failed.head(MOST).to_dict("records")
    ]
    more = f"\n\nほかに {len(failed) - MOST} 件ある。" if len(failed) > MOST else ""
    return Markdown(markdown_table(rows, ["検査", "ファイル", "何が違うか"]) + more)


def table_skipped(checks: pd.DataFrame) -> Markdown:
    """What was not looked at, and why, files of one reason together."""
    skipped = checks[(checks["status"] == "skip") & ~checks["check"].isin(found.OF_REPORTS)]
    if skipped.empty:
        return Markdown("見ていないファイルはない。")
    rows = [
        [check_name(str(check)), len(part), code_span(part["file"].iloc[0]), Name(str(told))]
        for (check, told), part in skipped.groupby(["check", "told"], sort=False)
    ]
    rows.append(["**計**", len(skipped), "", ""])
    return Markdown(markdown_table(rows, ["検査", "件数", "ファイル（その一つ）", "見ていない理由"]))


def table_recomputed(checks: pd.DataFrame) -> Markdown:
    """What was worked out again: by which route, how many rows of how many, and how near a deviation came."""
    table = found.drawn(checks)
    if table.empty:
        return Markdown("再計算はしていない（`recompute=False`）。")
    rows = []
    for row in table.to_dict("records"):
        name = row["check"]
        share = f"{100 * row['share']:.0f} %" if row["of"] else NOTHING
        limit = NOTHING if pd.isna(row["tolerance"]) else f"{row['tolerance']:g}"
        worst = near(row["near"]) if row["files"] else NOTHING
        state = [row["fail"], row["skip"]]
        rows.append(
            [check_name(name), CHECKS[name][1], row["rows"], share, UNITS.get(name, NOTHING), limit, worst, *state]
        )
    total = [int(table[name].sum()) for name in ("rows", "fail", "skip")]
    rows.append(["**計**", "", total[0], "", "", "", "", *total[1:]])
    header = ["何を", "別の経路", "行", "割合", "偏差の単位", "許容差", "最大の偏差／許容差", "不合格", "見ていない"]
    return Markdown(markdown_table(rows, header))


def table_ties(checks: pd.DataFrame) -> Markdown:
    """Texts that came out otherwise at a step at which two tokens were all but equal."""
    told = checks[(checks["check"] == "recomputed texts") & (checks["status"] == "pass") & (checks["told"] != "")]
    if told.empty:
        return Markdown("別の経路で違う文になった行はない。")
    rows = [[Name(row["file"]), Name(row["told"])] for row in told.to_dict("records")]
    return Markdown(markdown_table(rows, ["掃引と種類", "違いが始まる歩で、次点がどれだけ近かったか"]))


def table_negative(alterations: pd.DataFrame) -> Markdown:
    """What would make the findings worthless, and what came of it."""
    rows = [
        [
            ALTERATIONS[row["name"]],
            MEASURES.get(row["measure"], NOTHING),
            number(row["before"], 3),
            number(row["after"], 3),
            check_name(row["check"]) or NOTHING,
            _noticed(row["status"]),
        ]
        for row in _group(alterations, found.NEGATIVE)
    ]
    header = ["何をしたか", "量", "元の値", "変えた後", "気づいた検査", "結果"]
    return _altered(rows, header, found.rate(alterations, found.NEGATIVE))


def table_faults(alterations: pd.DataFrame) -> Markdown:
    """Single values that went wrong, and the check that has to notice each."""
    rows = [
        [ALTERATIONS[row["name"]], code_span(row["file"]), check_name(row["check"]) or NOTHING, _noticed(row["status"])]
        for row in _group(alterations, found.FAULT)
    ]
    return _altered(rows, ["何をしたか", "ファイル", "検査", "結果"], found.rate(alterations, found.FAULT))


def _group(alterations: pd.DataFrame, group: str) -> list[dict[str, object]]:
    return [] if alterations.empty else alterations[alterations["group"] == group].to_dict("records")  # type: ignore[return-value]


def _altered(rows: list[list[object]], header: list[str], rate: tuple[int, int]) -> Markdown:
    if not rows:
        return Markdown("改変はしていない（`alterations=False`）。")
    noticed, made = rate
    total = ["**計**", *[""] * (len(header) - 2), f"{made} 件のうち {noticed} 件"]
    return Markdown(markdown_table([*rows, total], header))


def _noticed(status: object) -> str:
    return {"pass": "検出した", "fail": "**見逃した**"}.get(str(status), "対象なし")

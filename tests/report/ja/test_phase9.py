"""Phase 9's report says what the tables of checks and alterations say, also where something failed or was left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from phase5_rows import clean

from emolib.pipeline.verification.alterations import ALTERATIONS
from emolib.report.ja import phase9 as say
from emolib.report.ja import phase9_words
from emolib.study import phase9_verification as study

ROOM = Path(__file__).resolve().parents[3] / "emolib" / "pipeline" / "verification"


def check(name: str = "sha256", status: str = "pass", file: str = "a.parquet", **given: Any) -> dict[str, Any]:
    row = {"model": "m", "check": name, "file": file, "status": status, "compared": 3, "told": ""}
    return {**row, "of": np.nan, "deviation": np.nan, "tolerance": np.nan, **given}


def again(deviation: float, status: str = "pass", file: str = "test emotion", **given: Any) -> dict[str, Any]:
    return check("recomputed texts", status, file, of=60.0, deviation=deviation, tolerance=1e-3, **given)


def alteration(
    name: str = "sign_flipped", status: str = "pass", group: str = "negative", **given: Any
) -> dict[str, Any]:
    row = {"name": name, "group": group, "file": "v.safetensors", "status": status, "check": "recomputed vectors"}
    return {**row, "told": "", "measure": "auc", "before": 0.9, "after": 0.1, **given}


CHECKS = pd.DataFrame([check(), check("schema"), check("schema", file="b.csv"), again(5e-6), check("seal")])
ALTERED = pd.DataFrame(
    [alteration(), alteration("row_dropped", group="fault", measure="", before=np.nan, after=np.nan)]
)


def test_every_check_and_alteration_has_its_words() -> None:
    made = {name for file in ROOM.rglob("*.py") for name in re.findall(r'rows\.check = "([^"]+)"', file.read_text())}
    made |= set(re.findall(r'"(recomputed \w[^"]*)"', (ROOM / "recompute" / "texts.py").read_text()))
    assert len(made) > 28 and made <= set(phase9_words.CHECKS), made - set(phase9_words.CHECKS)
    assert {one.name for one in ALTERATIONS} == set(phase9_words.ALTERATIONS)
    assert {one.reading[0] for one in ALTERATIONS if one.reading} == set(phase9_words.MEASURES)


def test_a_run_that_passed_is_told_so() -> None:
    text = clean(say.conclusion(CHECKS, ALTERED))
    assert "検査 2 種、のべ 3 件が合格した。不合格はない。報告の検査にも不合格はない" in text
    assert "3 行を計算し直した。最大の偏差は許容差の 50 % 以下である" in text
    assert "改変は 1 件のうち 1 件を検出した" in text and "見ていないファイルはない" in text
    assert "どれも検査が拒む" in clean(say.discussion(CHECKS, ALTERED))
    assert say.table_failures(CHECKS).data == "不合格はない。"


def test_a_failure_is_the_first_thing_that_is_told() -> None:
    failed = pd.concat(
        [CHECKS, pd.DataFrame([check("claims", "fail", told="it is | not so"), again(0.1, "fail", "dose emotion")])]
    )
    text = clean(say.conclusion(failed, ALTERED))
    assert "**不合格が 2 件ある**（主張、生成文）" in text and "使わない" in text and "**超過**" in text
    assert "不合格はない" not in text
    assert "生成文は、別の経路で同じ値にならない" in clean(say.discussion(failed, ALTERED))
    assert "--force" in clean(say.next_actions(failed))
    table = say.table_failures(failed).data
    assert "主張" in table and "it is &#124; not so" in table


def test_what_was_missed_is_told() -> None:
    missed = pd.DataFrame([alteration(status="fail"), alteration("another_layer", "skip")])
    assert "1 件のうち 0 件を検出した" in clean(say.conclusion(CHECKS, missed))
    assert "**見逃した改変がある**（ベクトルの符号を反転する）" in clean(say.discussion(CHECKS, missed))
    table = clean(say.table_negative(missed))
    assert "**見逃した**" in table and "対象なし" in table


def test_what_was_not_looked_at_is_told() -> None:
    skipped = pd.concat([CHECKS, pd.DataFrame([check("current", "skip", told="the hub does not answer")] * 2)])
    assert "2 件は見ていない（現在の内容）" in clean(say.conclusion(skipped, ALTERED))
    assert "the hub does not answer" in clean(say.table_skipped(skipped))
    alone = CHECKS[~CHECKS["check"].str.startswith("recomputed")]
    assert "計算し直した行はない" in clean(say.conclusion(alone, pd.DataFrame()))
    assert "`emolib verify --recompute`" in clean(say.next_actions(alone))
    for shown in (say.table_recomputed(alone), say.table_negative(pd.DataFrame()), say.table_faults(pd.DataFrame())):
        assert "していない" in clean(shown)


def test_recomputations_tell_their_share_and_how_near_the_worst_came() -> None:
    (row,) = study.drawn(CHECKS).to_dict("records")
    assert (row["rows"], row["of"], row["share"], row["near"]) == (3, 60, 0.05, 0.01)
    assert study.samples(CHECKS) == 3
    table = clean(say.table_recomputed(CHECKS))
    assert "| 5 % |" in table and "50 % 以下" in table
    near = pd.DataFrame([again(9e-4, told="a parts at a step where another token was 0.0009 away")])
    assert "100 % 以下" in clean(say.table_recomputed(near)) and "0.0009" in clean(say.table_ties(near))

"""Phase 7's sentences and tables on made-up results: every outcome, and what stands where there is nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from IPython.display import Markdown
from stored_phases import (
    MODEL,
    add_phase3,
    add_phase5,
    fluke,
    open_run,
    overlap_table,
    shift_table,
    sweep_table,
)

from emolib.base import store
from emolib.base.errors import UserError
from emolib.base.paths import ResultPaths
from emolib.plots.figures import Axes, Band, forest
from emolib.report.ja import phase7 as say
from emolib.report.ja import phase7_conclusion as closing
from emolib.report.ja.phase7_effects import forest_rows
from emolib.report.ja.phase7_subspaces import excess_rows
from emolib.report.ja.phase7_words import CLAIMS, of_total
from emolib.study import phase7_claims as study
from emolib.study.phase7_claims.subspace_sizes import COLUMNS as K_COLUMNS
from emolib.study.run import Run


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path))
    return tmp_path


def test_the_report_says_what_the_maximum_left_out_and_where_it_lies():
    add_phase5(fluke(moves=False))
    run = open_run()
    text = discussed(run)
    assert "縮退した怒りの語数は最大から除き、残る 5 組でとった" in text and "最大を決めた対照は" in text
    assert "条件を満たした生成テキストの指標 5 件すべてで 0.05 以下" in text
    assert "除外（縮退）" in say.table_steering_claims(study.claims(run)).data
    add_phase5(fluke(moves=True))
    run = open_run()
    text = discussed(run)
    assert "縮退した組はなく、6 組すべてでとった" in text and "最大から除き" not in text


def test_claims_of_the_continuation_shift_stand_before_those_of_the_texts():
    add_phase5(sweep_table(), shift=shift_table(n_controls=59))
    run = open_run()
    table = say.table_steering_claims(study.claims(run)).data
    assert (
        table.index("継続シフトによる主張")
        < table.index("支持（探索）")
        < table.index("生成したテキストによる主張（二次的、探索）")
    )
    assert "主要（暗示表現）" in table and "感情の語（明示表現）" in table and "None" not in table
    text = texts(run)
    assert "暗示表現の文で感謝・怒り・謝罪は「支持」" in text and "nan" not in text.lower()
    assert "検定の族「主要（暗示表現）」は 3 件" in text
    add_phase5(sweep_table(), shift=shift_table("instruments_missing"))
    text = texts(open_run())
    assert "計器の判定なし（探索: 数値は条件を満たす）" in text and "感謝・怒り・謝罪は「計器の判定なし」" in text
    assert "「支持」" not in text and "| 支持" not in text.replace("| 支持（二次的な主張では", "")


def test_phase_3_alone_gives_its_claims_and_k_and_every_other_section_one_line():
    add_phase3()
    run = open_run()
    claims = study.claims(run)
    assert set(claims["phase"]) == {"phase3"} and len(study.k_selection(run)) == 12
    assert study.effects(run).empty and study.power(run).empty
    text = texts(run)
    assert "nan" not in text.lower() and "Phase 5 の読める記録がない）" in text and "操作についての主張はない" in text
    assert "Phase 5 は なし" in say.environment(run).data and study.samples(run) == 0
    assert "Phase 5 を走らせ" in say.next_actions(claims, study.finished_phases(run), run.params).data
    assert "Phase 3 の読める記録がない" not in text
    add_phase5(sweep_table())
    again = texts(open_run())
    assert "Phase 5 の読める記録がない）" not in again and "操作についての主張はない" not in again


def test_phase_5_alone_says_in_one_line_that_there_is_no_phase_3():
    add_phase5(sweep_table())
    text = texts(open_run())
    assert "Phase 3 の読める記録がない" in text and "k は選ばない" in text


def test_a_figure_of_nothing_is_drawn_empty():
    add_phase3()
    settings = {"x": "d_z", "label": "label", "colour": "kind", "ends": Band("d_low", "d_high")}
    table = forest_rows(study.effects(open_run()))
    assert not forest(table, **settings, axes=Axes("t", x="d_z")).data


def k_table(test_overlap: float, test_null_high: float = 0.5, *, excess: float = 0.1) -> pd.DataFrame:
    """One emotion whose chosen k is 1 with an excess of 0.4 on both splits; the next k as given."""
    row = {"model": MODEL, "emotion": "anger", "layer": 2, "overlap": 0.7, "null": 0.3, "null_high": 0.4, "se": 0.1}
    row |= {"null_max": 0.2, "chosen_k": 1, "best_k": 1, "best_excess": 0.4, "best_se": 0.1, "found": True, "rule": ""}
    first = {"k": 1, "excess": 0.4, "test_overlap": 0.7, "test_null": 0.3, "test_null_high": 0.4, "test_excess": 0.4}
    second = {
        "k": 2,
        "excess": excess,
        "test_overlap": test_overlap,
        "test_null": 0.3,
        "test_null_high": test_null_high,
    }
    second["test_excess"] = test_overlap - 0.3
    rows = [{**row, **first, "chosen": True}, {**row, **second, "chosen": False}]
    return pd.DataFrame(rows)[list(K_COLUMNS)]


def test_the_next_direction_is_told_with_its_test_values_and_its_absence_is_not_claimed():
    text = say.sentence_k(study.next_directions(k_table(0.6))).data
    assert "k = 2 まで広げても帰無に対する超過は増えない（0.40 → 0.10）" in text
    assert "テストでの超過も増えない（0.40 → 0.30）" in text and "方向がないことの検定ではない" in text
    assert "ただしテストの k = 2 の重なり 0.60 は帰無の 97.5 % 点 0.50 を上回り" in text and "証拠はない" not in text
    assert "0.45 は帰無の 97.5 % 点 0.50 を超えない" in say.sentence_k(study.next_directions(k_table(0.45))).data
    grown = say.sentence_k(study.next_directions(k_table(0.9, excess=0.45))).data
    assert "増えるが（0.40 → 0.45）、1 標準誤差に収まる" in grown and "テストでの超過も増える（0.40 → 0.60）" in grown
    rows = say.table_test_overlaps(k_table(0.6))
    assert rows.index.get_level_values("k").tolist() == ["1（選んだ k）", "2（次）"]
    assert rows["重なり"].tolist() == ["0.70", "0.60"] and rows["帰無の 97.5 %"].tolist() == ["0.40", "0.50"]


def test_without_overlaps_no_k_is_chosen_and_the_report_says_so():
    add_phase5(sweep_table())
    add_phase3(overlaps=False)
    run = open_run()
    table = study.k_selection(run)
    assert table.empty and "subspace" not in set(study.claims(run)["claim"])
    for rows in (say.table_chosen, say.table_overlaps, say.table_test_overlaps):
        assert "重なりの表がない" in shown_text(rows(table))
    assert "k は選ばない" in say.sentence_k(study.next_directions(table)).data
    assert excess_rows(table).empty


def shown_text(table: pd.DataFrame | Markdown) -> str:
    """A table, or the sentence in its place, as text."""
    return table.data if isinstance(table, Markdown) else table.to_string()


def texts(run: Run) -> str:
    """Everything that the report prints."""
    effects, power, k, claims = (read(run) for read in (study.effects, study.power, study.k_selection, study.claims))
    params, places = run.params, study.vector_places(run)
    counted = study.families(effects[effects["kind"] == "emotion"], params.significance)
    detectable = study.detectable_effects(power, smallest_d=params.smallest_d, significance=params.significance)
    tables = [say.table_effects, say.table_tests, say.table_other_effects, say.table_other_tests, say.table_ranks]
    shown = [say.table_sources(run), *(table(effects) for table in tables)]
    shown += [say.table_families(counted, params.significance), say.table_vectors(places)]
    shown += [table(power) for table in (say.table_required, say.table_detectable, say.table_observed)]
    shown += [table(k) for table in (say.table_overlaps, say.table_chosen, say.table_test_overlaps)]
    shown += [say.table_vector_claims(claims), say.table_steering_claims(claims)]
    said = [say.environment(run), say.settings(run), say.conclusion(claims, params), say.table_bars(claims)]
    said += [say.sentence_power(detectable, params.smallest_d), say.sentence_k(study.next_directions(k))]
    said += [Markdown(discussed(run)), say.limits(places, study.vector_differences(places))]
    said.append(say.next_actions(claims, study.finished_phases(run), params))
    return "\n".join([*(shown_text(table) for table in shown), *(one.data for one in said)])


def discussed(run: Run) -> str:
    effects = study.effects(run)
    counted = study.families(effects[effects["kind"] == "emotion"], run.params.significance)
    return say.discussion(effects, study.claims(run), study.grounds(run), counted, run.params).data


def test_the_report_counts_every_verdict_and_prints_no_nan():
    sweep = sweep_table({"gratitude": 3.0, "apology": -3.0})
    sweep["keywords/anger"] = 0.0
    add_phase5(sweep)
    add_phase3(gap=0.0)
    run = open_run()
    text = texts(run)
    assert "nan" not in text.lower() and "-0.00 " not in text and "None" not in text
    assert "条件を満たす 2（感謝の語数・感謝の確率）、条件を満たさない 4（" in text
    assert "（怒りの語数・怒りの確率・謝罪の語数・謝罪の確率）" in text
    assert "bag of words を超える情報をもつ（全体） — 検出力不足 3（感謝・怒り・謝罪）" in text
    assert f"{len(study.claims(run))} 件の判定" not in text and "合計は示さない" in text
    assert "効果がないことの証明ではない" in text and "34 シナリオ" in text


def test_a_study_without_support_does_not_speak_of_any():
    add_phase5(sweep_table(seed=2))
    run = open_run()
    text = discussed(run)
    assert "— 条件を満たさない 6（" in text and "条件を満たしたものはない" in text and "大きめに出やすい" not in text
    add_phase5(sweep_table({"gratitude": 3.0}, seed=2))
    run = open_run()
    text = discussed(run)
    assert "条件を満たしたものはない" not in text and "大きめに出やすい" in text


def caveats(run: Run) -> dict[str, str]:
    lines = discussed(run).splitlines()
    return {claim: line for claim, name in CLAIMS.items() for line in lines if f"- {name} — " in line}


def test_supported_claims_stand_beside_what_weakens_them():
    add_phase3()
    found = caveats(open_run())
    assert (
        "テスト文の 50 % は感情語を含む明示表現の文" in found["readout"]
        and "bag of words の AUC も 0.90" in found["readout"]
    )
    assert (
        "支持した区間の下限は 0.050・0.050・0.050" in found["beyond_words"]
        and "（検定は 3 件）" in found["beyond_words"]
    )
    assert "一つも示せていない" not in found["beyond_words_implicit"]
    assert "基準値を含む" not in found["subspace"]  # 0.4 ± 0.1 and a bar of 0.2
    add_phase3(gap=0.0)
    found = caveats(open_run())
    assert "下限" not in found["beyond_words"] and "一つも示せていない" in found["beyond_words_implicit"]
    where = ResultPaths("quick", MODEL)
    files = {where.subspace_table(f"overlap_{split}"): overlap_table(0.25) for split in ("validation", "test")}
    for path, table in files.items():
        store.write(path, store.table_bytes(table), {})
    told = caveats(open_run())["subspace"]
    assert "3 件すべてで、点推定は基準値を上回るが、95 % 区間が基準値を含むため、支持としない" in told


def test_counts_read_naturally():
    assert [of_total(*pair) for pair in ((4, 4), (1, 1), (3, 4))] == ["4 件すべて", "1 件", "4 件のうち 3 件"]


def limits_of(run: Run) -> str:
    places = study.vector_places(run)
    return say.limits(places, study.vector_differences(places)).data


def test_the_report_tells_which_vectors_the_claims_are_about():
    add_phase3()
    add_phase5(sweep_table(layer=3))
    text = limits_of(open_run())
    assert "層（Phase 3 のプローブは 2、操作は 3）と文（Phase 3 は全体、操作は明示表現の文だけ）が違う" in text
    assert "分割半コサインは 感謝 0.20、怒り 0.20、謝罪 0.20" in text
    rows = say.table_vectors(study.vector_places(open_run()))
    assert rows["Phase 3 の層（プローブ）"].tolist() == [2, 2, 2] and rows["Phase 5 の層"].tolist() == [3, 3, 3]
    add_phase5(sweep_table(layer=2), vector_style="all")
    text = limits_of(open_run())
    assert "同じ層・文・位置" in text and "違う" not in text


def test_only_the_emotions_own_vectors_stand_in_the_main_tables():
    add_phase5(sweep_table({"gratitude": 3.0}))
    effects = study.effects(open_run())
    for main, other in (
        (say.table_effects, say.table_other_effects),
        (say.table_tests, say.table_other_tests),
    ):
        assert len(main(effects)) == 6 and len(other(effects)) == 6
        assert other(effects).columns.tolist() == ["直接経路"]
    own = effects[effects["kind"] == "emotion"]
    assert isinstance(say.table_effects(own), pd.DataFrame)
    assert "読める記録がない" in shown_text(say.table_other_effects(own))


def test_the_power_section_says_that_a_claim_needs_more_than_the_t_test():
    add_phase5(sweep_table())
    power = study.power(open_run())
    text = say.sentence_power(study.detectable_effects(power, smallest_d=0.5, significance=0.05), 0.5).data
    assert "t 検定だけの値" in text and "`docs/selftest.md`" in text


def concluded(run: Run) -> list[str]:
    return say.conclusion(study.claims(run), run.params).data.splitlines()


def test_the_conclusion_says_what_holds_on_what_it_hangs_and_what_could_not_be_told():
    add_phase5(sweep_table({"gratitude": 3.0}))
    add_phase3()
    found, rests, unclear = concluded(open_run())
    assert "ベクトルの主張（Phase 3）は、15 件すべてが支持された。" in found
    assert "生成したテキスト（Phase 5、二次的）の指標がすべて条件を満たす感情は感謝。" in found
    assert "補正しても残る" in rests and "bag of words を超える情報の主張（支持 6 件）" in rests
    assert "検出できない設計で得た" in rests and "検出力不足の主張はない" in unclear
    add_phase3(gap=0.0)
    found, rests, unclear = concluded(open_run())
    assert "15 件のうち 9 件が支持された" in found and "bag of words を超える情報を示していない" in rests
    assert "主張 21 件のうち 6 件が検出力不足である" in unclear and "検出できない 6 件" in unclear


def test_the_conclusion_of_a_study_without_support_says_so():
    add_phase5(sweep_table(n=4, n_controls=5))
    found, rests, unclear = concluded(open_run())
    assert "すべて条件を満たす感情はない" in found and "ベクトルの主張" not in found
    assert (
        "支持された主張がない" in rests
        and "主張 6 件すべてが検出力不足である（理由: シナリオが 10 未満 6 件）" in unclear
    )


def test_a_table_with_nothing_to_read_is_one_line():
    add_phase5(sweep_table(n=4, n_controls=5))
    run = open_run()
    effects = study.effects(run)
    for table in (
        say.table_other_effects(effects),
        say.table_other_tests(effects),
        say.table_observed(study.power(run)),
    ):
        assert isinstance(table, Markdown) and table.data.startswith("表は示さない（すべて縮退")
    ones = effects.assign(**dict.fromkeys(("p_t", "p_wilcoxon", "p_sign", "p_flip", "p_bonferroni", "p_fdr"), 1.0))
    assert "表は示さない（どの p も 1 であるか、計算できない）" in shown_text(say.table_tests(ones))
    assert isinstance(say.table_tests(ones.assign(p_fdr=0.5)), pd.DataFrame)
    counted = study.families(effects[effects["kind"] == "emotion"], 0.05)
    assert "すべて縮退" in shown_text(say.table_families(counted, 0.05))
    assert isinstance(say.table_families(counted.assign(degenerate=0), 0.05), pd.DataFrame)


def test_a_sentence_that_is_true_of_several_emotions_is_said_once():
    table = k_table(0.6).assign(found=False)
    both = pd.concat([table, table.assign(emotion="apology")])
    text = say.sentence_k(study.next_directions(both)).data
    assert text.count("k に意味はない") == 1 and "怒り・謝罪: 規則は k = 1" in text


def test_small_designs_are_told_to_grow():
    add_phase5(sweep_table(n=4, n_controls=5))
    text = texts(open_run())
    assert "nan" not in text.lower() and "inf" not in text.lower() and "`quick` 以上" in text
    add_phase5(sweep_table(n_controls=5))
    text = texts(open_run())
    assert "`n_controls` を増やす" in text and "`quick` 以上" not in text


def test_a_claim_that_its_correction_does_not_carry_is_named():
    row = {"claim": "steering", "model": MODEL, "measure": "target/anger", "emotion": "anger", "verdict": "supported"}
    row |= {"max_left_out": False, "max_family": "isotropic", "max_at": "target/anger", "max_z": 3.0}
    lost = {**row, "max_p": 0.2, "survives_correction": False}
    held = {**row, "measure": "keywords/anger", "max_p": 0.01, "survives_correction": True}
    table = pd.DataFrame([lost, held])
    line, largest = closing._correction_lines(table, 0.05)
    assert "怒りの確率は補正後の水準に届かず" in line and "怒りの語数は" not in line and "2 件のうち 1 件" in line
    assert "等方的なランダム方向、指標は怒りの確率（z = 3.0）" in largest
    (line, _) = closing._correction_lines(table[1:], 0.05)
    assert "届かず" not in line


def test_the_forest_has_a_point_with_whiskers_per_row_and_kind():
    add_phase5(sweep_table({"gratitude": 3.0}))
    table = forest_rows(study.effects(open_run()))
    settings = {"x": "d_z", "label": "label", "colour": "kind", "ends": Band("d_low", "d_high")}
    fig = forest(table, **settings, axes=Axes("t", x="d_z"))
    assert [trace.name for trace in fig.data] == ["感情ベクトル", "直接経路"]
    own = table[table["kind"] == "感情ベクトル"]
    assert list(fig.data[0].x) == pytest.approx(own["d_z"].tolist()) and len(own) == 6
    ends = np.array(fig.data[0].x) + np.array(fig.data[0].error_x.array)
    assert ends == pytest.approx(own["d_high"].to_numpy())
    assert list(fig.layout.yaxis.ticktext) == own["label"].tolist()
    with pytest.raises(UserError, match="one point per label and kind"):
        forest(pd.concat([table, table[:1]]), **settings, axes=Axes("t", x="d_z"))
    with pytest.raises(UserError, match="columns"):
        forest(table.drop(columns="d_low"), **settings, axes=Axes("t", x="d_z"))


def test_a_row_without_an_effect_size_is_drawn_empty_and_breaks_nothing():
    table = pd.DataFrame({"label": ["a", "b"], "kind": "x", "d": [np.nan, 1.0], "low": [np.nan, 0.5], "high": np.nan})
    fig = forest(table, "d", "label", "kind", Axes("t", x="d"), ends=Band("low", "high"))
    assert np.isnan(fig.data[0].x[0]) and fig.data[0].x[1] == 1.0
    assert list(fig.data[0].error_x.array) == [0.0, 0.0] and fig.data[0].error_x.arrayminus[1] == 0.5

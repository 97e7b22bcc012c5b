"""What Phase 9's checks, recomputations and alterations are called."""

from __future__ import annotations

CHECKS = {  # check → name, what must hold
    "manifest": ("目録", "すべてのファイルに目録があり、すべての目録にファイルがある"),
    "sha256": ("ハッシュ", "バイト列は、書いたときに記録したものである"),
    "schema": ("形式", "列・型・値の範囲・欠測・キー・テンソルの形は、その種類のものである"),
    "record": ("記録", "終わったフェーズが拠る成果物がすべてあり、その後作り直されていない"),
    "stands on": ("拠り所", "どの記録にも挙がらない古い成果物が残っていない"),
    "parameters": ("パラメータ", "記録のパラメータはプロファイルの値で、フェーズの間で食い違わない"),
    "content": ("内容", "すべての記録が同じデータ・モデル・採点器による"),
    "sources": ("元のファイル", "データ・語のリスト・指示文は、今も記録のものである"),
    "lineage": ("由来", "目録のモデル・シード・設定と、元になった成果物のハッシュが合う"),
    "limits": ("破綻の基準", "破綻の上限は保存された基準から、破綻の印は規則から導かれる"),
    "shards": ("断片", "断片の行は条件・標本・プロンプトごとに一つずつあり、対照のシードが再現する"),
    "sweeps": ("結合", "全体の表は断片の行そのもので、漏れも改変もない"),
    "alpha 0": ("α = 0", "強さ 0 の操作は、テキストも得点も変えない"),
    "controls": ("対照", "対照の方向の数・層・強さ・実際の大きさは、感情ベクトルと同じである"),
    "operating point": ("操作点", "検証の行から、報告された層と強さが選ばれる"),
    "shift at alpha 0": ("S の α = 0", "強さ 0 の操作では、継続シフトがちょうど 0 になる"),
    "conditions of S": ("S の条件", "S の各条件の値・区間・p を、別の実装で計算し直しても同じになる"),
    "claims of S": ("S の主張", "S の判定が、その条件・順位・計器から導かれる"),
    "gold": ("基準", "基準（gold）を見分けられない測度は数えず、主張もその測度に拠らない"),
    "placebos": ("プラセボ", "プラセボの通過が多すぎるか、数が足りない測度は数えず、主張もその測度に拠らない"),
    "claims": ("主張", "効果・区間・順位・判定の印を、別の実装で計算し直しても同じになる"),
    "verdicts": ("判定", "Phase 7 の数値は Phase 5 のもので、判定はその行から導かれる"),
    "current": ("現在の内容", "モデルと採点器は、今も記録のものである"),
    "report": ("報告", "最後まで実行され、記録のパラメータを載せ、時間記録にある実行のものである"),
    "seal": ("封", "書いたときから 1 バイトも変わっていない"),
    "numbers": ("報告の数値", "計算で書いた文の数値は、すべて表にある"),
    "recomputed": ("再計算", "モデルを読み込める"),
    "recomputed tokens": ("トークン", "transformers のトークナイザだけで分ける"),
    "recomputed activations": ("活性", "transformers と手書きの hook で、文を一つずつ読む"),
    "recomputed vectors": ("ベクトル", "保存された活性から、numpy の平均の差で求める"),
    "recomputed vector tables": ("ベクトルの表", "保存されたベクトルから、ノルム・コサイン・距離を求める"),
    "recomputed texts": ("生成文", "操作を numpy で作り直し、手書きの hook で一行ずつ確かめる"),
    "recomputed likelihoods": ("対数尤度", "操作なしのモデルで、一行ずつ読み直す"),
    "recomputed strengths": ("操作の大きさ", "プロンプトでの ‖Δh‖/‖h‖ を求め直す"),
    "recomputed KL lengths": ("強さの単位", "次トークン分布の KL を求め直す"),
    "recomputed shifts": ("継続シフト", "決まった文の対数確率を、操作の有無で読み直す"),
    "recomputed scores": ("得点", "一文ずつ、キャッシュなしで採点する（語数・感情極性・流暢さは別の実装）"),
}
UNITS = {  # of a deviation, by recomputation
    "recomputed tokens": "一致",
    "recomputed activations": "相対",
    "recomputed vectors": "相対",
    "recomputed vector tables": "絶対または相対",
    "recomputed texts": "上位二つのロジットの差",
    "recomputed likelihoods": "nat/トークン",
    "recomputed strengths": "相対",
    "recomputed KL lengths": "相対",
    "recomputed shifts": "nat/トークン",
    "recomputed scores": "得点",
}
STATES = {"pass": "合格", "fail": "不合格", "skip": "見ていない"}
ALTERATIONS = {
    "labels_permuted": "シナリオ内でラベルを入れ替える",
    "sign_flipped": "ベクトルの符号を反転する",
    "scenario_leaked": "テストのシナリオを一つ訓練に混ぜる",
    "another_layer": "一つ前の層のベクトルを使う",
    "another_model": "別のモデル（なければ座標を回転したもの）のベクトルを使う",
    "broken_dropped": "操作した文のうち、破綻したものを除く",
    "score_edited": "得点を一つ書き換える",
    "text_edited": "生成文を一つ書き換える",
    "row_dropped": "全体の表から一行を除く",
    "shard_row_dropped": "断片から一行を除く",
    "emotions_swapped": "二つの感情の名を入れ替える",
    "zero_changed": "α = 0 の文を変える",
    "control_norm": "対照の大きさを変える",
    "claim_edited": "主張の値を書き換える",
    "verdict_edited": "判定を書き換える",
    "norm_edited": "ノルムを書き換える",
    "label_edited": "文の属性を書き換える",
    "seed_changed": "目録のシードを変える",
    "lineage_changed": "目録の由来を変える",
}
MEASURES = {"auc": "テストの AUC（射影、中央の層）", "effect": "当該感情の指標の変化"}
HALF = "50 % 以下"  # how far below is the processor's: the table of checks holds it
NEAR = {0.01: HALF, 0.1: HALF, 0.5: HALF, 1.0: "100 % 以下"}


def check_name(check: str) -> str:
    """What a check is called."""
    return CHECKS[check][0] if check in CHECKS else check


def near(share: float) -> str:
    """How near a deviation came to its tolerance."""
    return NEAR.get(share, "**超過**")

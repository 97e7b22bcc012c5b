"""Phase 1's tables and sentences about `expressed`: does a text's writer express the emotion as a stance of his own?"""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.names import emotion_name, emotion_names
from emolib.report.markup import number, tidy, with_interval
from emolib.scoring.expressed import EMOTIONS
from emolib.scoring.readers import FEWEST
from emolib.scoring.sanity import ABSENT, BALANCED, HARD
from emolib.study.phase1_stances import HARD_BAR, HELD_OUT_BAR, KAPPA_BAR

WITHOUT = "この採点器の組には expressed がない。"
KINDS = {
    "said": "語で述べる",
    "unsaid": "語を使わずに示す",
    "sarcasm": "皮肉・冗談",
    "other_person": "他人の感情",
    "quoted": "引用",
    "denied": "否定",
    "asked_for": "要求・助言",
    "blame": "語による非難",
    "formula": "定型の挨拶・案内",
    "pity": "同情・残念",
    "other_sense": "別の意味",
    "loop": "機械的な反復",
    "plain": "何も示さない",
    "generated": "小型モデルの生成文",
}
MISLEADING = {
    "negation": "否定",
    "sarcasm": "皮肉",
    "quoted": "他人の感情の引用",
    "pity_sorry": "同情・定型の sorry",
    "thanks_in_complaint": "苦情の中の感謝",
    "other_sense": "別の意味",
    "implicit": "語のない感情",
    "politeness": "丁寧さ",
    "control": "素直な文（対照）",
    HARD: "対照以外のすべて（正答率）",
    BALANCED: "対照以外のすべて（均衡正答率）",
}
SCORERS = {
    ABSENT: "常に「なし」",
    "word list without rules": "語の一覧（規則なし）",
    "keywords": "感情語の一覧",
    "goemotions lexical": "n-gram",
    "goemotions encoder": "エンコーダ",
    "goemotions bundled": "結合",
    "expressed": "expressed",
    "sentiment": "感情価",
    "politeness": "丁寧さ",
    "readers": "読み手どうし",
}


def table_expressed(quality: pd.DataFrame | None) -> pd.DataFrame | Markdown:
    """Balanced accuracy on held-out groups, per emotion."""
    if quality is None:
        return Markdown(WITHOUT)
    names = {
        "emotion": "感情",
        "n": "テキスト数",
        "balanced": "均衡正答率",
        "own_n": "その感情の組のテキスト数",
        "own_balanced": "その感情の組での均衡正答率",
        "everyday": "正答率（日常の文体）",
        "model": "正答率（小型モデル風の文体）",
    }
    return tidy(quality.assign(emotion=quality["emotion"].map(emotion_name)), digits=2, names=names).set_index("感情")


def table_kinds(kinds: pd.DataFrame | None) -> pd.DataFrame | Markdown:
    """Accuracy per kind of held-out text; what has no text is a dash."""
    if kinds is None:
        return Markdown("")
    shown = {"種類": kinds["kind"].map(KINDS)}
    for emotion in EMOTIONS:
        cells = zip(kinds[emotion], kinds[f"n_{emotion}"], strict=True)
        shown[emotion_name(emotion)] = [f"{number(share)}（{n}）" if n else number(None) for share, n in cells]
    return pd.DataFrame(shown).set_index("種類")


def table_misleading(checked: pd.DataFrame | None) -> pd.DataFrame | Markdown:
    """Accuracy of every scorer per kind of text that misleads word lists; a dash where a scorer has no say."""
    if checked is None:
        return Markdown("")
    shown = checked.rename(index=MISLEADING, columns=SCORERS).rename_axis("種類")
    return pd.DataFrame({column: [number(value) for value in shown[column]] for column in shown}, index=shown.index)


def table_readers(table: pd.DataFrame | None) -> pd.DataFrame | Markdown:
    """κ between readers and of every scorer with their majority."""
    if table is None:
        return Markdown("")
    shown = {
        "感情": table["emotion"].map(emotion_name),
        "比べたもの": table["scorer"].map(SCORERS),
        "κ（95 % 区間）": [with_interval(r.kappa, r.low, r.high) for r in table.itertuples()],
        "均衡正答率": [number(value) for value in table["balanced_accuracy"]],
        "読み手の多数が「あり」": table["n_present"],
        "テキスト数": table["n"],
    }
    return pd.DataFrame(shown).set_index(["感情", "比べたもの"])


def sentence_expressed(
    quality: pd.DataFrame | None, checked: pd.DataFrame | None, readers: pd.DataFrame | None
) -> Markdown:
    """Which bars `expressed` reaches, computed."""
    if quality is None or checked is None or readers is None:
        return Markdown(WITHOUT)
    lines = [_held_out(quality), _misleading(checked), *_readers(readers)]
    return Markdown("\n".join(f"- {line}" for line in lines))


def _held_out(quality: pd.DataFrame) -> str:
    low = quality[quality["balanced"] < HELD_OUT_BAR]
    told = "、".join(f"{emotion_name(r.emotion)} {number(r.balanced, 3)}" for r in quality.itertuples())
    verdict = f"{emotion_names(low['emotion'])}は届かない" if len(low) else "いずれも届く"
    return f"学習に使っていない組での均衡正答率は {told} で、基準 {number(HELD_OUT_BAR, 3)} に{verdict}。"


def _misleading(checked: pd.DataFrame) -> str:
    plain, balanced = (float(checked.loc[row, "expressed"]) for row in (HARD, BALANCED))
    absent = float(checked.loc[HARD, ABSENT])
    others = checked.loc[BALANCED, [name for name in checked if str(name).startswith("goemotions")]]
    reached = "届く" if balanced >= HARD_BAR else "届かない"
    above = "上回る" if plain > absent + 0.005 else "上回らない"
    return (
        f"語の一覧が誤る文での expressed の正答率は {number(plain)} で、常に「なし」と答える場合（{number(absent)}）を{above}。"
        f"均衡正答率は {number(balanced)}（常に「なし」なら {number(0.5)}）で、基準 {number(HARD_BAR)} に{reached}。"
        f"GoEmotions の分類器の均衡正答率は最も高いもので {number(float(others.max()))} である。"
    )


def _readers(table: pd.DataFrame) -> list[str]:
    lines = []
    for emotion, part in table.groupby("emotion", sort=False):
        row = part.set_index("scorer")
        n, name = int(row["n_present"].iloc[0]), emotion_name(str(emotion))
        if n < FEWEST:
            lines.append(f"{name}: 読み手の多数が「あり」とした生成文は {n} 件しかなく、κ からは何も言えない。")
            continue
        own, best = row.loc["expressed"], row.drop(index=["readers", "expressed"])["kappa"]
        words = f"読み手どうしの κ は {number(row.loc['readers', 'kappa'])}、expressed と読み手の多数との κ は "
        words += with_interval(own["kappa"], own["low"], own["high"])
        nearest = f"ほかの採点器で最も読み手に近いのは{SCORERS[str(best.idxmax())]}（{number(float(best.max()))}）"
        nearest += "で、expressed より読み手に近い。" if best.max() > own["kappa"] else "である。"
        lines.append(f"{name}: {words}。{_against_bar(row.loc['readers'], own)}。{nearest}")
    return lines


def _against_bar(between: pd.Series, own: pd.Series) -> str:
    """Whether readers among themselves, and `expressed` with them, reach the bar."""
    reached, unsure = own["kappa"] >= KAPPA_BAR, own["low"] < KAPPA_BAR
    if (between["kappa"] >= KAPPA_BAR) == reached:
        told = f"どちらも基準 {KAPPA_BAR} に{'届く' if reached else '届かない'}"
        return told + ("（expressed の区間は基準を含む）" if reached and unsure else "")
    if reached:
        return f"読み手どうしは基準 {KAPPA_BAR} に届かず、expressed は届く" + ("（区間は基準を含む）" if unsure else "")
    return f"読み手どうしは基準 {KAPPA_BAR} に届くが、expressed は届かない"

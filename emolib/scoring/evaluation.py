"""How good a scorer is: F1, calibration, and agreement of two scorers.

scipy.stats and scikit-learn take two seconds to load, and `emolib status` needs nothing of them: they come when asked.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

N_BINS = 10


def f1_table(truth: np.ndarray, probability: np.ndarray, threshold: np.ndarray, labels: Sequence[str]) -> pd.DataFrame:
    """One row per label: n, threshold, precision, recall, f1, average_precision, ece, brier_skill.

    Args:
        truth: `[text, label]` of 0 and 1.
        probability: `[text, label]`.
        threshold: `[label]`, from which on a label counts as present.
    """
    from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

    rows = []
    for i, label in enumerate(labels):
        y, p = truth[:, i], probability[:, i]
        present = p >= threshold[i]
        rows.append(
            {
                "label": label,
                "n": int(y.sum()),
                "threshold": float(threshold[i]),
                "precision": precision_score(y, present, zero_division=0),
                "recall": recall_score(y, present, zero_division=0),
                "f1": f1_score(y, present, zero_division=0),
                "average_precision": average_precision_score(y, p) if y.any() else np.nan,
                "ece": calibration_error(y, p),
                "brier_skill": brier_skill(y, p),
            }
        )
    return pd.DataFrame(rows).set_index("label")


def best_thresholds(truth: np.ndarray, probability: np.ndarray, *, least: float = 0.02) -> np.ndarray:
    """Per label the threshold with the highest F1, `[label]`.

    Of the thresholds whose F1 lies within half a per cent of the best the middle one is taken: the curve is ragged for
    rare labels, and its highest point is partly luck.
    """
    found = []
    for y, p in zip(truth.T, probability.T, strict=True):
        order = np.argsort(-p, kind="stable")
        hits = np.cumsum(y[order])
        f1 = 2 * hits / (np.arange(1, len(y) + 1) + max(y.sum(), 1))
        good = np.flatnonzero(f1 >= 0.995 * f1.max())
        found.append(max(float(p[order][good[len(good) // 2]]), least))
    return np.array(found)


def calibration_curve(truth: np.ndarray, probability: np.ndarray, n_bins: int = N_BINS) -> pd.DataFrame:
    """Mean probability, observed share and n in bins of equal mass, from the lowest probability to the highest."""
    order = np.argsort(probability, kind="stable")
    parts = np.array_split(order, n_bins)
    rows = [(probability[part].mean(), truth[part].mean(), len(part)) for part in parts if len(part)]
    return pd.DataFrame(rows, columns=["predicted", "observed", "n"])


def calibration_error(truth: np.ndarray, probability: np.ndarray, n_bins: int = N_BINS) -> float:
    """Expected calibration error over bins of equal mass (Nixon et al. 2019)."""
    curve = calibration_curve(truth, probability, n_bins)
    return float(np.average((curve["predicted"] - curve["observed"]).abs(), weights=curve["n"]))


def brier_skill(truth: np.ndarray, probability: np.ndarray) -> float:
    """1 − Brier score / Brier score of always saying the share that was observed; above 0 is better than that."""
    reference = truth.mean() * (1 - truth.mean())
    return float(1 - np.mean((probability - truth) ** 2) / reference) if reference else float("nan")


def agreement(a: np.ndarray, b: np.ndarray, says_a: np.ndarray, says_b: np.ndarray) -> dict[str, float]:
    """Cohen's κ of two scorers' decisions and the rank correlation of their scores.

    κ is NaN where neither decision varies, the correlation where one of the scores does not.

    Args:
        a, b: scores, `[text]`.
        says_a, says_b: decisions, `[text]` of bool.
    """
    from scipy.stats import spearmanr
    from sklearn.metrics import cohen_kappa_score

    varies = len(set(says_a)) > 1 or len(set(says_b)) > 1
    ranks = len(a) > 1 and np.ptp(a) > 0 and np.ptp(b) > 0
    return {
        "kappa": float(cohen_kappa_score(says_a, says_b)) if varies else float("nan"),
        "rank_correlation": float(spearmanr(a, b).statistic) if ranks else float("nan"),
        "share_a": float(np.mean(says_a)),
        "share_b": float(np.mean(says_b)),
        "n_present": int(np.sum(says_a | says_b)),
        "n": len(a),
    }


def auc(truth: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of one score for many labellings at once (Mann and Whitney's statistic).

    Args:
        truth: `[labelling, text]` of bool.
        score: `[text]`; ties count a half.

    Returns:
        `[labelling]`.
    """
    from scipy.stats import rankdata

    ranks, positive = rankdata(score), truth.sum(axis=1)
    return (truth @ ranks / positive - (positive + 1) / 2) / (truth.shape[1] - positive)

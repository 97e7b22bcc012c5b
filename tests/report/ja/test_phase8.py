"""Phase 8's sentences follow from the verdicts and the tables, and nothing is said of what was not measurable."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib.circuits.circuit_edges import ROLES as ROLE_CODES
from emolib.circuits.circuit_verdicts import CIRCUIT_REASONS, CIRCUIT_VERDICTS
from emolib.report.ja import phase8 as say
from emolib.report.ja.phase8_words import REASONS, ROLES, VERDICTS, spelled_node

LARGEST = pd.DataFrame(
    {
        **{"emotion": ["anger", "anger"], "target": "self", "measure": ["gain", "cosine"], "family": "covariance"},
        **{"layer": [3, 5], "head": [1, 2], "value": [0.8, 0.4], "z": [5.0, 2.0], "p": [0.017, 0.3]},
        **{"n_heads": 12, "n_controls": 59, "n_effective": 9.5, "n_beyond": [2, 0]},
    }
)
ROUTING = pd.DataFrame(
    {"layer": [1], "head": [0], "n": [8], "score": [0.4], "attention": [0.02], "t": [3.1], "p": [0.04]}
)
ROLE_ROWS = pd.DataFrame(
    {
        **{"effect": ["context", "context", "steer"], "node": ["h3.1", "m5", "m5"], "kind": ["head", "mlp", "mlp"]},
        **{"layer": [3, 5, 5], "index": [1, 0, 0], "score": 0.1, "direct": 0.1, "received": 0.2, "sent": 0.5},
        **{"loss": 0.4, "low": 0.2, "high": 0.6, "role": ["write", "read", "open"], "chosen": 0.99, "core": True},
    }
)
ABLATIONS = pd.DataFrame(
    [
        {"effect": "context", "ablation": name, "set": part, "size": 2, "faithfulness": value, "low": np.nan}
        for name, value in (("resample", 0.81), ("own", 0.85), ("mean", 3.2), ("zero", -2.0))
        for part in ("circuit", "nothing")
    ]
).assign(high=np.nan, code="measured")
CUT = pd.DataFrame(
    {
        **{"layer": [1, -1, -1], "head": [0, -1, -1], "role": ["top", "top", "random"], "form": "frozen", "n": 8},
        **{
            "whole": 0.9,
            "mean": [-0.1, -0.2, 0.0],
            "ci_low": [-0.2, -0.3, -0.1],
            "ci_high": [0.0, -0.1, 0.1],
            "p_t": 0.02,
        },
    }
)


def verdicts(code: str, reason: str) -> pd.DataFrame:
    row = {
        "effect": "context",
        "size": 7,
        "n_heads": 4,
        "n_mlps": 3,
        "n_nodes": 300,
        "reached": True,
        "chosen_at": 0.83,
    }
    row |= {"n": 12, "value": 0.87, "low": 0.7, "high": 1.04, "complete": 0.6, "complete_low": 0.4, "random_95": 0.31}
    return pd.DataFrame([row | {"p": 0.01, "verdict": code, "reason": reason}])


def flips(core: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            **{"effect": "context", "claims": ["core", "rest"], "nodes": [2.0, 5.0], "flips": [core, 0.42]},
            **{"n_claims": [200, 400], "n_scenarios": 24, "size": 7},
        }
    )


def test_every_code_has_its_words() -> None:
    assert set(VERDICTS) == set(CIRCUIT_VERDICTS) and set(REASONS) == set(CIRCUIT_REASONS)
    assert set(ROLES) == set(ROLE_CODES)


@pytest.mark.parametrize("code", CIRCUIT_VERDICTS)
def test_the_conclusion_says_the_verdict_and_no_other(code: str) -> None:
    reason = {"supported": "all_hold", "not_supported": "below_bar", "underpowered": "incomplete"}.get(
        code, "no_effect"
    )
    told = say.conclusion(verdicts(code, reason), LARGEST, ROUTING).data
    first = told.splitlines()[0]
    assert f"**{VERDICTS[code]}**" in first and ("0.87 [0.70, 1.04]" in first) == (code != "not_measurable")
    assert not any(f"**{word}**" in first for other, word in VERDICTS.items() if other != code)
    assert "3:1" in told and "0.017" in told
    found = say.discussion(verdicts(code, reason), ROLE_ROWS, ABLATIONS, flips(0.02), CUT).data
    assert ("何も言えない" in found) == (code == "not_measurable")
    assert ("87 %" in found) == (code == "supported")
    assert say.table_verdicts(verdicts(code, reason))["判定"].item() == VERDICTS[code]


def test_a_core_that_flips_is_not_called_so() -> None:
    given = (verdicts("supported", "all_hold"), ROLE_ROWS, ABLATIONS)
    steady, shaky = (say.discussion(*given, flips(core), CUT).data for core in (0.04, 0.3))
    assert "4 % が反転" in steady and "（10 % 未満）を満たす" in steady
    assert "30 % が反転" in shaky and "満たさず" in shaky
    assert "（核）がない" in say.discussion(*given, flips(np.nan), CUT).data


def test_edges_that_do_not_move_m_are_not_said_to_carry() -> None:
    given = (verdicts("supported", "all_hold"), ROLE_ROWS, ABLATIONS, flips(0.02))
    assert "効果の一部を運ぶ" in say.discussion(*given, CUT).data
    assert "運ぶとは言えない" in say.discussion(*given, CUT.assign(ci_high=0.1)).data
    assert "感情語" not in say.discussion(*given, CUT.head(0)).data


def test_shared_nodes_and_roles_are_those_of_the_table() -> None:
    told = say.discussion(verdicts("supported", "all_hold"), ROLE_ROWS, ABLATIONS, flips(0.02), CUT).data
    assert "書き込みは 3:1" in told and "読み出しは MLP 5" in told and "共通するノードは 1 個（MLP 5）" in told
    apart = ROLE_ROWS.assign(node=["h3.1", "m5", "m6"])
    assert (
        "共通のノードはない"
        in say.discussion(verdicts("supported", "all_hold"), apart, ABLATIONS, flips(0.02), CUT).data
    )
    assert spelled_node("h12.0") == "12:0"


def test_what_is_not_there_is_told() -> None:
    nothing = ROLE_ROWS.head(0)
    assert "選ばれた回路がない" in say.table_roles(nothing).data
    assert "測れない" in say.table_routing(ROUTING.head(0)).data and "測れない" in say.table_cut(CUT.head(0)).data
    assert "比べられない" in say.table_random(pd.DataFrame()).data
    told = say.conclusion(verdicts("not_measurable", "no_effect"), LARGEST, ROUTING.head(0)).data
    assert "話題のベクトル" in told and "感情語への注意" in told and "S はなく" in told
    assert "1:0" in say.table_routing(ROUTING).data and "1 個（1 個のうち）" in say.table_routing(ROUTING).data

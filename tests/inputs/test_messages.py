"""Whatever a line quotes, the line is printable, short and says at its end what to do."""

from __future__ import annotations

import pytest
from refusals import Place, Refusal, one_good_line, refused

from emolib.base.errors import LONGEST_MESSAGE, UserError, nearest, shown

VALUES = {
    "terminal escape": "\x1b[2J\x1b]0;title\x07",
    "lines": "one\ntwo\r\nthree\u2028four",
    "long": "x" * 100_000,
    "text direction": "abc\u202edef",
    "lone surrogate": "\ud800",
    "nul": "a\x00b",
    "other script": "感情",
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_every_message_is_one_printable_line_of_bounded_length(value: str) -> None:
    raw = UserError(f"expected a label, got {value}; rename it")
    quoted = UserError(f"expected a label, got {shown(value)}; rename it")
    for error in (raw, quoted):
        one_good_line(str(error), ["expected a label", "rename it"])


def test_values_are_quoted_short_and_other_scripts_stay_readable() -> None:
    assert shown("感情") == "'感情'"
    assert shown("x" * 1000).startswith("'xxx") and len(shown("x" * 1000)) <= 80
    assert len(shown(["x" * 1000] * 1000)) <= 80
    assert len(shown(dict.fromkeys(range(1000), "y" * 500))) <= 80
    assert len(shown(10**3000)) <= 80


def test_a_long_list_of_names_keeps_the_nearest_one() -> None:
    line = str(UserError(f"unknown label 'name_77': {nearest('name_77', [f'name_{i}' for i in range(5000)])}"))
    assert "did you mean 'name_77'?" in line and "4960 more" in line and len(line) <= LONGEST_MESSAGE


@pytest.mark.parametrize(
    ("given", "valid", "meant"),
    [
        ("alphs", ["alphas", "unit"], "alphas"),
        ("ALPHAS", ["alphas", "unit"], "alphas"),
        ("gpt-neo", ["gpt-neo-125m", "gpt2"], "gpt-neo-125m"),
        ("n-train", ["n_train", "n_test"], "n_train"),
        ("jp", ["ja"], "ja"),
        ("layers", ["near_duplicate", "n_folds", "neutral", "seed", "dataset"], None),
        ("abcdefgh", ["ponmlkji", "hgbacdfe"], None),
        ("x", ["unit"], None),
        ("", ["xy"], None),
        ("zebra", ["gpt2", "smollm2_135m"], None),
        ("q" * 100_000, ["quick"], None),
    ],
)
def test_only_what_is_alike_is_taken_for_a_slip(given: str, valid: list[str], meant: str | None) -> None:
    line = nearest(given, [*valid, *valid])
    assert line.count(valid[0]) == 1 + (meant == valid[0])
    assert ("did you mean" in line) == (meant is not None) and (meant is None or f"did you mean {meant!r}?" in line)


OTHERS = ["layers", "phase2, phase5 and phase6a have it", "run one of these"]
CASES = [
    Refusal("an unknown option", ["run", "--profil", "quick"], ["--profil"]),
    Refusal("an unknown command", ["rnu"], ["rnu"]),
    Refusal("an option without its value", ["run", "--profile"], ["--profile"]),
    Refusal("an argument too many", ["site", "extra"], ["extra"]),
    Refusal("an argument too few", ["build-dataset"], ["source"]),
    Refusal("no number", ["build-dataset", "a.csv", "-o", "b.jsonl", "--seed", "one"], ["seed", "integer"]),
    Refusal("an escape in a name", ["run", "--profile", "\x1b[2Jquick"], ["profile", "\\x1b"]),
    Refusal("a name of 100 kB", ["run", "--profile", "q" * 100_000], ["profile", "quick"], never=["did you mean"]),
    Refusal("no variant like it", ["variants", "--delete", "zzzz"], ["zzzz", "there are none"], never=["did you"]),
    Refusal("no phase like it", ["run", "--phase", "embedding"], ["phase1", "phase7"], never=["did you mean"]),
    Refusal("a slip", ["run", "--phase", "Phase-1"], ["did you mean 'phase1'"]),
    Refusal("a beginning", ["status", "--model", "smol"], ["did you mean 'smollm2_135m'"]),
    Refusal("layers of phase 1", ["run", "--phase", "phase1", "--layers", "0-3"], OTHERS, never=["did you mean"]),
    Refusal("layers of phase 7", ["run", "--phase", "phase7", "-p", "layers=3"], OTHERS, never=["did you mean"]),
    Refusal(
        "of several phases",
        ["run", "--phase", "phase1", "--phase", "phase2", "-p", "alphas=0.2"],
        ["alphas", "phase5 has it", "run that"],
    ),
    Refusal("a name alone", ["run", "--phase", "phase1", "-p", "zebra=1"], ["zebra", "n_folds"], never=["did you"]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused_on_the_command_line(place: Place, case: Refusal) -> None:
    refused(place, case)

"""Gold and placebos are rows that pass or fail; a claim that does not keep to them is told."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest

from emolib.pipeline.verification.check_rows import Rows
from emolib.pipeline.verification.instrument_checks import check_gold, check_placebos

KEY = {"measure": "raw", "style": "implicit", "emotion": "anger"}
VERDICTS = {"gold_a": "passed", "denied": "failed", "mention": "failed", "like_valent": "failed"}


def run(*, verdicts: dict[str, str], counts: bool, claim: str, n_passed: int = 3, n: int = 250) -> SimpleNamespace:
    """A run whose tables say so."""
    judged = pd.DataFrame([{**KEY, "instrument": name, "verdict": verdict} for name, verdict in verdicts.items()])
    counted = pd.DataFrame([{**KEY, "passed": counts, "verdict": "admitted" if counts else "not_measurable"}])
    tried = pd.DataFrame({"measure": "raw", "style": "implicit", "passed": [i < n_passed for i in range(n)]})
    other = tried.assign(style="explicit", passed=True)
    tables = {"instruments": judged, "instruments, what counts": counted, "placebos": pd.concat([tried, other])}
    tables["shift claims"] = pd.DataFrame([{"style": "implicit", "emotion": "anger", "verdict": claim}])
    return SimpleNamespace(of_kind=lambda kind: [kind], table=tables.__getitem__)


def found(check: object, given: SimpleNamespace) -> list[tuple[str, str]]:
    rows = Rows()
    check(given, rows)
    return [(status, told) for _, _, status, _, told, *_ in rows.found]


def test_what_went_as_it_must_passes() -> None:
    given = run(verdicts=VERDICTS, counts=True, claim="supported")
    assert found(check_gold, given) == [("pass", "")]
    ((status, told),) = found(check_placebos, given)
    assert status == "pass" and told.startswith("3 of 250 placebos pass, at most 0.03")


@pytest.mark.parametrize("broken", [{"gold_a": "failed"}, {"denied": "passed"}, {"mention": "underpowered"}])
def test_a_measure_that_counts_or_is_claimed_by_though_an_instrument_speaks_against_it_fails(
    broken: dict[str, str],
) -> None:
    verdicts = VERDICTS | broken
    ((status, told),) = found(check_gold, run(verdicts=verdicts, counts=False, claim="not_measurable"))
    assert status == "pass" and told.endswith("nothing is claimed by it")
    for counts, claim, why in ((True, "not_measurable", "it counts"), (False, "supported", "a claim rests on it")):
        ((status, told),) = found(check_gold, run(verdicts=verdicts, counts=counts, claim=claim))
        assert status == "fail" and told.startswith(f"{why} though {next(iter(broken))}")


@pytest.mark.parametrize(("n_passed", "n"), [(20, 250), (0, 199), (250, 250)])
def test_too_many_or_too_few_placebos_leave_nothing_to_claim(n_passed: int, n: int) -> None:
    given = {"verdicts": VERDICTS, "n_passed": n_passed, "n": n}
    ((status, told),) = found(check_placebos, run(**given, counts=False, claim="underpowered"))
    assert status == "pass" and told.endswith("nothing is claimed by it")
    for counts, claim in ((True, "underpowered"), (False, "not_supported")):
        ((status, told),) = found(check_placebos, run(**given, counts=counts, claim=claim))
        assert status == "fail" and f"{n_passed} of {n} placebos pass" in told

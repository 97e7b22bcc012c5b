"""What a message advises can be done where it is said, and no library's wording stands in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, Field, ValidationError
from refusals import Place, Refusal, refused

from emolib.base import paths, variants
from emolib.base.config import LIMITS, in_words
from emolib.base.variants import Variant

PYDANTIC = ("Input should", "should have", "after validation", "Value error", "valid integer", "pydantic")


def table(first: str, *, separator: str = "|") -> object:
    def written(folder: Path) -> None:
        (folder / "a.csv").write_text(f"{first}\ntext{separator}emotion\na{separator}joy\n")

    return written


def asked(phase: str, given: str) -> list[str]:
    return ["run", "--phase", phase, "-p", given]


BUILD = ["build-dataset", "a.csv", "-o", "b.jsonl"]
CASES = [
    Refusal("a separator that is none", BUILD, ["sep=|", "commas, semicolons or tabs"], table("sep=|")),
    Refusal("a colon", BUILD, ["sep=:", "commas"], table("sep=:", separator=":")),
    Refusal("no separator", BUILD, ["sep=", "commas"], table("sep=")),
    Refusal("a long variant", asked("phase7", f"variant={'x' * 5000}"), ["at most 1000 characters", "xxx"]),
    Refusal("a long device", asked("phase1", f"device={'x' * 5000}"), ["device", "at most 1000 characters"]),
    Refusal("a long label", asked("phase1", f"neutral={'x' * 5000}"), ["neutral", "at most 1000 characters"]),
    Refusal("a low count", asked("phase1", "n_train=1"), ["n_train", "at least 4"]),
    Refusal("a high count", asked("phase1", "n_train=1000000"), ["n_train", "at most 100000"]),
    Refusal("a share", asked("phase5", "broken_margin=2"), ["broken_margin", "at most 1"]),
    Refusal("a share of 0", asked("phase5", "top_p=0"), ["top_p", "greater than 0"]),
    Refusal("a level", asked("phase7", "significance=1"), ["significance", "less than 1"]),
    Refusal("a level in a list", asked("phase7", "powers=0.5,1"), ["powers", "less than 1"]),
    Refusal("a choice", asked("phase5", "unit=x"), ["unit", "bulk", "resid", "vector"]),
    Refusal("no values", asked("phase7", "ds=[]"), ["ds", "at least one value"]),
    Refusal("too many values", asked("phase7", f"ds={','.join(['1'] * 2000)}"), ["ds", "at most 1,000 values"]),
    Refusal("a batch", asked("phase2", "extraction_batch=0"), ["extraction_batch", "at least 1"]),
    Refusal("a negative alpha", asked("phase5", "alphas=-1"), ["alphas", "at least 0"]),
    Refusal("a large alpha", asked("phase5", "alphas=1001"), ["alphas", "at most 1000"]),
    Refusal("a rate", asked("phase5", "schedule=2"), ["schedule", "at most 1"]),
    Refusal("a text for truth", asked("phase1", "png=maybe"), ["png", "true or false"]),
    Refusal("a deep range of layers", asked("phase5", "layers=0-9999"), ["out of range", "0-29"], never=["such as"]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused_in_our_own_words(place: Place, case: Refusal) -> None:
    asked = refused(place, case)
    assert not any(word in asked.err for word in PYDANTIC), asked.err


def test_every_limit_of_the_parameters_has_words() -> None:
    class Limited(BaseModel):
        above: int = Field(gt=0)
        least: int = Field(ge=0)
        below: int = Field(lt=0)
        most: int = Field(le=0)
        few: tuple[int, ...] = Field(min_length=1)
        many: tuple[int, ...] = Field(max_length=1)
        long: str = Field(max_length=1)
        form: str = Field(pattern="^a$")

    given = {"above": 0, "least": -1, "below": 0, "most": 1, "few": (), "many": (1, 2), "long": "ab", "form": "b"}
    with pytest.raises(ValidationError) as raised:
        Limited(**given)
    problems = raised.value.errors()
    assert len(problems) == len(given)
    for problem in problems:
        assert problem["type"] in LIMITS
        assert not any(word in in_words(problem) for word in (*PYDANTIC, "{", "another")), in_words(problem)


@pytest.mark.parametrize("broken", ["no manifest", "no JSON", "another name"])
def test_a_broken_variant_is_listed_with_the_way_out(place: Place, broken: str) -> None:
    good, bad = Variant({"seed": 3}), Variant({"seed": 4})
    for variant in (good, bad):
        variants.note("quick", variant)
    file = paths.variant_file("quick", bad.name)
    if broken == "no manifest":
        file.with_name("variant.json.manifest.json").unlink()
    elif broken == "no JSON":
        file.write_text("\x1b[2J")
    else:
        file.parent.rename(file.parent.with_name("aaaaaaaa"))
    name = "aaaaaaaa" if broken == "another name" else bad.name
    asked = place.ask(["variants"])
    assert (asked.code, asked.err) == (0, "")
    lines = {line.split()[0]: line for line in asked.out.splitlines()}
    assert "seed=3" in lines[good.name]
    assert "unreadable" in lines[name] and f"emolib variants --profile quick --delete {name}" in lines[name]
    assert all(line.isprintable() for line in lines.values())
    assert place.ask(["variants", "--delete", name]).code == 0
    assert place.ask(["variants"]).out.split()[0] == good.name


def test_nothing_a_variant_says_drives_a_terminal(place: Place) -> None:
    variants.note("quick", Variant({"neutral": "calm\x1b[2J\u202e"}))
    asked = place.ask(["variants"])
    assert asked.code == 0 and "calm\\x1b[2J\\u202e" in asked.out


@pytest.mark.parametrize(("one", "other"), [("caf\u00e9", "cafe\u0301"), ("day", "day\u200b"), ("day", "\ufeffday")])
def test_texts_that_look_alike_are_one_text(place: Place, one: str, other: str) -> None:
    def written(folder: Path) -> None:
        rows = [("text", "emotion"), (one, "joy"), (other, "neutral"), ("a", "joy"), ("b", "neutral")]
        (folder / "a.csv").write_text("\n".join(map(",".join, rows)), encoding="utf-8")

    refused(place, Refusal("alike", BUILD, ["row 3", "the same text as row 2", "another label"], written))
    asked = place.ask([*BUILD, "--on-conflict", "drop"])
    assert asked.code == 0 and "2 rows dropped: " in asked.err and asked.out.startswith("2 texts")

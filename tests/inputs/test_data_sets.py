"""Data sets as users of this field have them: spelled otherwise, separated otherwise, broken in their own ways."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from refusals import Place, Refusal, refused, refused_call

import emolib
from emolib.base import paths
from emolib.base.labels import cleaned, fault_of, folded, is_visible
from emolib.data.completion import MOST_CHARACTERS
from emolib.data.dataset import DatasetWarning, labels_of, read_dataset
from emolib.data.row_files import read_rows

HEADER = "text,emotion\n"
GOOD = HEADER + "Well done.,joy\nIt is ten.,neutral\n"
BOTH = ["joy", "neutral"]


def put(content: str | bytes, name: str = "mine.csv") -> Callable[[Path], None]:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data) and None


def rows_of(*pairs: tuple[object, object], name: str = "mine.jsonl") -> Callable[[Path], None]:
    lines = [json.dumps({"text": text, "emotion": emotion}) for text, emotion in pairs]
    return put("\n".join(lines), name)


# what is read, with its right value


@dataclass(frozen=True)
class Read:
    """A file that must be read: its texts (None: any) and labels, and words of the notes, of which there are as many.

    Attributes:
        options: of `build-dataset`.
    """

    name: str
    content: str | bytes
    labels: Sequence[str]
    texts: Sequence[str] | None = None
    file: str = "mine.csv"
    notes: Sequence[str] = ()
    options: Sequence[str] = ()


def lines(*objects: dict[str, object]) -> str:
    return "\n".join(json.dumps(one) for one in objects)


LONG = "word " * 40_000
READ = [
    Read(
        "semicolons",
        "text;emotion\nWell, well, done.;joy\nIt is ten.;neutral\n",
        BOTH,
        ["Well, well, done.", "It is ten."],
    ),
    Read(
        "tabs in a .csv",
        "text\temotion\nWell, done; yes.\tjoy\nIt is ten.\tneutral\n",
        BOTH,
        ["Well, done; yes.", "It is ten."],
    ),
    Read("a .tsv", "emotion\ttext\njoy\tWell done.\nneutral\tIt is ten.\n", BOTH, file="mine.tsv"),
    Read(
        "commas with a semicolon in the header",
        "text,emotion,a;b\nWell; done.,joy,1\nIt is ten.,neutral,2\n",
        BOTH,
        ["Well; done.", "It is ten."],
    ),
    Read("a spreadsheet's sep line", "sep=;\r\ntext;emotion\r\nWell done.;joy\r\nIt is ten.;neutral\r\n", BOTH),
    Read(
        "quoted header, semicolons",
        '"text";"emotion"\n"Well; done.";joy\nIt is ten.;neutral\n',
        BOTH,
        ["Well; done.", "It is ten."],
    ),
    Read(
        "200,000 characters in a field", f"{HEADER}{LONG},joy\nIt is ten.,neutral\n", BOTH, [LONG.strip(), "It is ten."]
    ),
    Read("200,000 characters beside a note", f"emotion,text,note\njoy,Well done.,{LONG}\nneutral,It is ten.,x\n", BOTH),
    Read("columns in capitals", "TEXT,Emotion\nWell done.,joy\nIt is ten.,neutral\n", BOTH),
    Read("columns with spaces", " Text ; emotion \nWell done.;joy\nIt is ten.;neutral\n", BOTH),
    Read("full-width column", "\uff54\uff45\uff58\uff54,emotion\nWell done.,joy\nIt is ten.,neutral\n", BOTH),
    Read(
        "another column of that name in capitals",
        "Text,text,emotion\nx,Well done.,joy\ny,It is ten.,neutral\n",
        BOTH,
        ["Well done.", "It is ten."],
    ),
    Read(
        "names of JSON in capitals",
        lines({"Text": "Well done.", "EMOTION": "joy"}, {"text": "It is ten.", "emotion": "neutral"}),
        BOTH,
        file="mine.jsonl",
    ),
    Read("a byte order mark", b"\xef\xbb\xbf" + GOOD.encode(), BOTH),
    Read("mac line ends", GOOD.replace("\n", "\r"), BOTH),
    Read(
        "mac line ends in JSONL",
        lines({"text": "Well done.", "emotion": "joy"}, {"text": "It is ten.", "emotion": "neutral"}).replace(
            "\n", "\r"
        ),
        BOTH,
        file="mine.jsonl",
    ),
    Read(
        "quoted newlines",
        HEADER + '"Well\ndone.",joy\n"It is\r\nten.",neutral\n',
        BOTH,
        ["Well\ndone.", "It is\r\nten."],
    ),
    Read("no last line end, blank lines", "\n\ntext,emotion\n\nWell done.,joy\nIt is ten.,neutral", BOTH),
    Read(
        "a row without its optional fields",
        "text,emotion,topic,lang\nWell done.,joy\nIt is ten.,neutral,time,en\n",
        BOTH,
    ),
    Read("duplicate columns of no meaning", "text,emotion,x,x\nWell done.,joy,1,2\nIt is ten.,neutral,1,2\n", BOTH),
    Read(
        "null in optional fields",
        lines(
            {"text": "Well done.", "emotion": "joy", "id": None},
            {"text": "It is ten.", "emotion": "neutral", "topic": None},
        ),
        BOTH,
        file="mine.jsonl",
    ),
    Read(
        "a number that no float holds, unused",
        '{"text": "Well done.", "emotion": "joy", "score": 1e400}\n{"text": "It is ten.", "emotion": "neutral"}',
        BOTH,
        file="mine.jsonl",
    ),
    Read(
        "mixed case",
        HEADER + "A.,Anger\nB.,neutral\nC.,ANGER\nD.,anger\n",
        ["Anger", "neutral", "Anger", "Anger"],
        notes=["'ANGER', 'anger' (2 rows) read as the label 'Anger'"],
    ),
    Read(
        "neutral in another case",
        HEADER + "A.,joy\nB.,Neutral\nC.,NEUTRAL\n",
        ["joy", "neutral", "neutral"],
        notes=["'Neutral', 'NEUTRAL' (2 rows) read as the label 'neutral'"],
    ),
    Read(
        "neutral asked for in another case",
        HEADER + "A.,joy\nB.,flat\n",
        ["joy", "FLAT"],
        notes=["'flat'"],
        options=["--neutral", "FLAT"],
    ),
    Read(
        "two forms of one accent",
        HEADER + "A.,re\u0301gret\nB.,neutral\nC.,r\u00e9gret\n",
        ["re\u0301gret", "neutral", "re\u0301gret"],
        notes=["(1 rows)"],
    ),
    Read(
        "full-width letters",
        HEADER + "A.,joy\nB.,neutral\nC.,\uff2a\uff4f\uff59\n",
        ["joy", "neutral", "joy"],
        notes=["'joy'"],
    ),
    Read(
        "half-width kana",
        HEADER + "A.,\u30a4\u30ab\u30ea\nB.,neutral\nC.,\uff72\uff76\uff98\n",
        ["\u30a4\u30ab\u30ea", "neutral", "\u30a4\u30ab\u30ea"],
        notes=["read as"],
    ),
    Read(
        "sharp s",
        HEADER + "A.,Spa\u00df\nB.,neutral\nC.,SPASS\n",
        ["Spa\u00df", "neutral", "Spa\u00df"],
        notes=["'SPASS'"],
    ),
    Read(
        "Greek final sigma",
        HEADER + "A.,\u03a6\u039f\u0392\u039f\u03a3\nB.,neutral\nC.,\u03c6\u03bf\u03b2\u03bf\u03c2\n",
        ["\u03a6\u039f\u0392\u039f\u03a3", "neutral", "\u03a6\u039f\u0392\u039f\u03a3"],
        notes=["read as"],
    ),
    Read(
        "a ligature",
        HEADER + "A.,\ufb01re\nB.,neutral\nC.,fire\n",
        ["\ufb01re", "neutral", "\ufb01re"],
        notes=["read as"],
    ),
    Read("spaces around are no spelling", HEADER + "A., joy\nB.,neutral \nC.,joy\u00a0\n", ["joy", "neutral", "joy"]),
    Read(
        "zero-width characters around are none",
        HEADER + "A.,joy\u200b\nB.,\ufeffneutral\nC.,joy\n",
        ["joy", "neutral", "joy"],
    ),
    Read(
        "a zero-width character within",
        HEADER + "A.,jo\u200by\nB.,neutral\nC.,joy\n",
        ["jo\u200by", "neutral", "jo\u200by"],
        notes=["read as"],
    ),
    Read(
        "several spaces within",
        HEADER + "A.,very  glad\nB.,neutral\nC.,very glad\n",
        ["very  glad", "neutral", "very  glad"],
        notes=["read as"],
    ),
    Read(
        "other labels stay apart",
        HEADER + "A.,joy\nB.,neutral\nC.,joys\nD.,jo y\nE.,jo-y\n",
        ["joy", "neutral", "joys", "jo y", "jo-y"],
    ),
    Read(
        "--labels in another case",
        HEADER + "A.,Joy\nB.,Neutral\n",
        ["Joy", "neutral"],
        options=["--labels", "joy, NEUTRAL"],
        notes=["'Neutral'"],
    ),
    Read(
        "--labels with a comma",
        HEADER + 'A.,"calm, quiet"\nB.,neutral\n',
        ["calm, quiet", "neutral"],
        options=["--labels", '"Calm, quiet",neutral'],
    ),
    Read(
        "--on-conflict drop",
        HEADER + "A.,joy\nA.,anger\nB.,neutral\nC.,joy\nA.,joy\n",
        ["neutral", "joy"],
        ["B.", "C."],
        options=["--on-conflict", "drop"],
        notes=["3 rows dropped: 1 text(s)"],
    ),
    Read(
        "--on-conflict drop keeps the first of equal rows",
        HEADER + "A.,joy\nB.,neutral\nA.,JOY\n",
        ["joy", "neutral"],
        options=["--on-conflict", "drop"],
        notes=["'JOY' (1 rows)", "1 rows dropped: their text"],
    ),
    Read(
        "numbers as labels",
        lines({"text": "A.", "emotion": 1}, {"text": "B.", "emotion": 0}, {"text": "C.", "emotion": True}),
        ["1", "0", "True"],
        file="mine.jsonl",
        options=["--neutral", "0"],
    ),
    Read(
        "words that mean something elsewhere",
        HEADER + "A.,nan\nB.,None\nC.,null\nD.,True\nE.,1\nF.,neutral\n",
        ["nan", "None", "null", "True", "1", "neutral"],
    ),
    Read(
        "names of columns and of artifacts as labels",
        HEADER + "A.,emotion\nB.,score\nC.,all\nD.,rest\nE.,any\nF.,neutral\n",
        ["emotion", "score", "all", "rest", "any", "neutral"],
    ),
    Read(
        "a label that is a path",
        HEADER + "A.,../../evil\nB.,neutral\nC.,/etc/x\nD.,CON\nE.,dots..\n",
        ["../../evil", "neutral", "/etc/x", "CON", "dots.."],
    ),
    Read("300 characters in a label", HEADER + f"A.,{'x' * 300}\nB.,neutral\n", ["x" * 300, "neutral"]),
    Read(
        "a text with a zero-width character",
        HEADER + "We\u200bll.,joy\nIt is ten.,neutral\n",
        BOTH,
        ["We\u200bll.", "It is ten."],
    ),
    Read("an emoji is text", HEADER + "\U0001f600,joy\n\u2764\ufe0f,neutral\n", BOTH, ["\U0001f600", "\u2764\ufe0f"]),
    Read("an emoji as label", HEADER + "A.,\u2764\ufe0f\nB.,neutral\n", ["\u2764\ufe0f", "neutral"]),
    Read(
        "a spreadsheet's empty columns and rows",
        "text,emotion,,,\nWell done.,joy,,,\nIt is ten.,neutral,,,\n,,,,\n,,,,\n",
        BOTH,
        ["Well done.", "It is ten."],
    ),
    Read("empty columns that the header lacks", HEADER + "Well done.,joy,,\nIt is ten.,neutral, ,\n", BOTH),
    Read(
        "empty rows before the header", ",,\n;;\n"[:3] + "text,emotion,\nWell done.,joy,\nIt is ten.,neutral,\n", BOTH
    ),
    Read("an empty row among others", "text;emotion\nWell done.;joy\n;\n ; \nIt is ten.;neutral\n", BOTH),
    Read("an empty first column", ",text,emotion\n0,Well done.,joy\n1,It is ten.,neutral\n", BOTH),
    Read("the longest text", f"{HEADER}{'x' * MOST_CHARACTERS},joy\nIt is ten.,neutral\n", BOTH),
]


@pytest.mark.parametrize("case", READ, ids=lambda case: case.name)
def test_read_with_the_right_value(place: Place, case: Read) -> None:
    put(case.content, case.file)(place.folder)
    asked = place.ask(["build-dataset", case.file, "-o", "out.jsonl", *case.options])
    assert asked.code == 0, asked.err
    assert asked.made == ["out.jsonl"] and asked.changed == []
    neutral = case.options[1] if case.options[:1] == ["--neutral"] else "neutral"
    with warnings.catch_warnings():
        warnings.simplefilter("error", DatasetWarning)
        built = emolib.load_dataset("out.jsonl", neutral=neutral)
    assert built["emotion"].tolist() == list(case.labels)
    if case.texts is not None:
        assert built["text"].tolist() == list(case.texts)
    told = asked.err.splitlines()
    assert len(told) == len(case.notes), told
    for line, said in zip(told, case.notes, strict=True):
        assert said in line and line.startswith(f"emolib: {case.file}: ")


def test_the_library_tells_a_merge_once_and_other_files_not_at_all(tmp_path: Path) -> None:
    put(HEADER + "A.,Joy\nB.,neutral\nC.,joy\n")(tmp_path)
    with pytest.warns(DatasetWarning, match=r"mine.csv: 'joy' \(1 rows\) read as the label 'Joy'") as told:
        table = emolib.load_dataset(tmp_path / "mine.csv")
    assert len(told) == 1 and told[0].filename == __file__
    assert table["emotion"].tolist() == ["Joy", "neutral", "Joy"]
    same, merges = read_dataset(tmp_path / "mine.csv")
    assert same.equals(table) and [(m.kept, m.others, m.rows) for m in merges] == [("Joy", ("joy",), 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(emolib.load_dataset()) == 900


# what is refused


def build(file: str = "mine.csv", *options: str) -> list[str]:
    return ["build-dataset", file, "-o", "out.jsonl", *options]


def refusal(name: str, content: str | bytes, says: Sequence[str], file: str = "mine.csv", *options: str) -> Refusal:
    return Refusal(name, build(file, *options), [file, *says], put(content, file))


ROWS = [{"text": "A.", "emotion": "joy"}, {"text": "B.", "emotion": "neutral"}]
UNDER = "take them out"
WRAPPED: list[tuple] = [
    ("data", {"data": ROWS}, ["'data'", UNDER], "mine.json"),
    ("in a line", {"data": ROWS}, ["'data'", UNDER], "mine.jsonl"),
    ("another name, others beside", {"version": 1, "n": [1], "examples": ROWS}, ["'examples'", UNDER], "mine.json"),
    ("fields in capitals", {"rows": [{"Text": "A.", "Emotion": "joy"}]}, ["'rows'", UNDER], "mine.json"),
    ("two splits", {"train": ROWS, "test": ROWS}, ["'train'", "'test'", UNDER], "mine.json"),
    ("two levels", {"dataset": {"items": ROWS}}, ["'dataset.items'", UNDER], "mine.json"),
    ("one of each row", [{"row_idx": i, "row": row} for i, row in enumerate(ROWS)], ["'row'", UNDER], "mine.json"),
    ("one of each row in a list", {"rows": [{"row": row} for row in ROWS]}, ["'rows.row'", UNDER], "mine.json"),
    ("by id", {"a1": ROWS[0], "a2": ROWS[1]}, ["'a1'", "'a2'", UNDER], "mine.json"),
    ("columns", {"text": ["A.", "B."], "emotion": ["joy", "neutral"]}, ["columns", "orient='records'"], "mine.json"),
    ("columns in a line", {"text": ["A."], "emotion": ["joy"]}, ["columns", "orient='records'"], "mine.jsonl"),
    ("columns by index", {"text": {"0": "A."}, "emotion": {"0": "joy"}}, ["columns", "orient='records'"], "mine.json"),
    (
        "columns with their names apart",
        {"columns": ["text", "emotion"], "index": [0], "data": [["A.", "joy"]]},
        ["'columns'", "orient='records'"],
        "mine.json",
    ),
    ("one row under a hostile name", {"\x1b[2J\n": ROWS}, ["\\x1b", UNDER], "mine.json"),
]
HEADLESS = [
    ("sentences", "Well done.,joy\nIt is ten.,neutral\n", "mine.csv"),
    ("a label that comes again", "glad,joy\nhappy,joy\nten,neutral\n", "mine.csv"),
    ("label first", "joy;Well done\njoy;So good\nneutral;It is ten\n", "mine.csv"),
    ("tabs", "My food is anything, really, that I like.\t27\tee1\nTen, or so.\t2\ted1\n", "mine.tsv"),
    ("commas in texts without quotes", "I am glad of it.|joy\nWell, it is ten.|neutral\n", "mine.csv"),
    ("Japanese", "\u3068\u3066\u3082\u5b09\u3057\u3044\u3002,joy\n\u5341\u6642\u3002,neutral\n", "mine.csv"),
    ("an open quote later", 'Well done.,joy\n"It is ten.,neutral\n', "mine.csv"),
    ("numbers", "1,nice,0\n2,good,3\n", "mine.csv"),
]
OTHERWISE_NAMED = [
    ("both", "sentence,label\nA.,joy\nB.,neutral\n", ["sentence, label"], "mine.csv"),
    ("several words", "Tweet text,Emotion label\nA.,joy\nB.,neutral\n", ["Tweet text"], "mine.csv"),
    ("other rows are longer", "sentence;label\nWell, A.;joy\n", ["sentence, label"], "mine.csv"),
    ("in JSON", json.dumps([{"sentence": "A.", "emotion": "joy"}]), ["sentence, emotion"], "mine.json"),
    ("lists of something else", json.dumps([{"tokens": ["A."], "meta": {"text": "x"}}]), ["tokens"], "mine.json"),
]


REFUSED = [
    refusal("no known separator", "text|emotion\nA.|joy\n", ["'text'", "text|emotion", "rename"]),
    refusal("a column called label", "text,label\nA.,joy\nB.,neutral\n", ["'emotion'", "text, label", "rename"]),
    refusal("two text columns", "text,emotion,text\nA.,joy,B.\n", ["'text'", "two columns", "rename or remove"]),
    refusal("two text columns by case", "Text,emotion,TEXT\nA.,joy,B.\n", ["'Text', 'TEXT'", "rename or remove"]),
    refusal(
        "a name twice in an object",
        '{"text": "A.", "text": "B.", "emotion": "joy"}',
        ["row 1", "'text'", "twice"],
        "mine.jsonl",
    ),
    refusal(
        "two spellings of a name in an object",
        '{"Text": "A.", "TEXT": "B.", "emotion": "joy"}',
        ["'text'"],
        "mine.jsonl",
    ),
    refusal("UTF-16 with its mark", GOOD.encode("utf-16"), ["UTF-16", "save the file as UTF-8"]),
    refusal("UTF-16 without its mark", GOOD.encode("utf-16-le"), ["UTF-8"]),
    refusal("UTF-32", GOOD.encode("utf-32"), ["save the file as UTF-8"]),
    refusal("Latin-1", (HEADER + "Caf\xe9.,joy\n").encode("latin-1"), ["line 2", "UTF-8"]),
    refusal("NUL in a text", HEADER + "A" * 2000 + ".,joy\nB\x00.,neutral\n", ["row 3", "NUL"]),
    refusal(
        "NUL by an escape", '{"text": "A\\u0000", "emotion": "joy"}', ["row 1", "NUL", "take it out"], "mine.jsonl"
    ),
    refusal("an empty file", "", ["at least one row"]),
    refusal("spaces only", " \n\n", ["at least one row"]),
    refusal("a header alone", HEADER, ["at least one row"]),
    refusal("an empty list", "[]", ["at least one row"], "mine.json"),
    refusal("a number", "5", ["expected an object", "got 5"], "mine.json"),
    refusal("null", "null", ["expected an object"], "mine.json"),
    refusal(
        "lists in JSONL", '["A.", "joy"]\n["B.", "neutral"]', ["row 1", "row 2", "expected an object"], "mine.jsonl"
    ),
    refusal(
        "one list in JSONL",
        '[\n{"text": "A.", "emotion": "joy"},\n{"text": "B.", "emotion": "neutral"}\n]',
        [".json"],
        "mine.jsonl",
    ),
    refusal(
        "lines in JSON",
        '{"text": "A.", "emotion": "joy"}\n{"text": "B.", "emotion": "neutral"}',
        ["line 2", ".jsonl"],
        "mine.json",
    ),
    refusal(
        "an object around the list", '{"data": [{"text": "A.", "emotion": "joy"}]}', ["'text'", "data"], "mine.json"
    ),
    *(
        refusal(f"rows that lie deeper: {name}", json.dumps(value), ["'text'", *says], file, *options)
        for name, value, says, file, *options in WRAPPED
    ),
    *(
        refusal(f"no header line: {name}", content, ["header line", "looks like data", "'emotion'"], file)
        for name, content, file in HEADLESS
    ),
    *(
        refusal(f"other names of columns: {name}", content, ["'text'", "rename the column", *says], file)
        for name, content, says, file in OTHERWISE_NAMED
    ),
    refusal(
        "a text longer than any model reads",
        f"{HEADER}It is ten.,neutral\n{'x' * (MOST_CHARACTERS + 1)},joy\n",
        ["row 3", f"{MOST_CHARACTERS + 1:,} characters", f"at most {MOST_CHARACTERS:,}", "split"],
    ),
    refusal(
        "a million characters in JSON",
        json.dumps([{"text": "word " * 200_000, "emotion": "joy"}]),
        ["row 1", "'text'", "999,999 characters"],
        "mine.json",
    ),
    refusal(
        "a million characters in a topic",
        json.dumps([{"text": "A.", "emotion": "joy", "topic": "x" * 1_000_000}]),
        ["row 1", "'topic'", "1,000,000 characters"],
        "mine.json",
    ),
    refusal("too many fields that are not empty", HEADER + "A.,joy,,x\nB.,neutral,,\n", ["row 2: more fields"]),
    refusal("nothing but empty rows", HEADER + ",\n,\n", ["at least one row"]),
    refusal("a row with an id alone", "id,text,emotion\n1,A.,joy\n2,,\n", ["row 3: empty text", "empty emotion"]),
    refusal(
        "5000 digits", f'{{"text": "A.", "emotion": "joy", "id": {"7" * 5000}}}', ["row 1", "digits"], "mine.jsonl"
    ),
    refusal("5000 digits in a list", f'[{{"text": {"7" * 5000}, "emotion": "joy"}}]', ["digits"], "mine.json"),
    refusal(
        "a number beyond all floats", '{"text": "A.", "emotion": 1e400}', ["row 1", "'emotion'", "inf"], "mine.jsonl"
    ),
    refusal("deep nesting", '{"text": ' + "[" * 100_000, ["nested too deeply"], "mine.jsonl"),
    refusal("deep nesting in a list", "[" * 100_000, ["nested too deeply"], "mine.json"),
    refusal(
        "a text in parts", '{"text": ["A.", "B."], "emotion": "joy"}', ["row 1", "'text'", "['A.', 'B.']"], "mine.jsonl"
    ),
    refusal("a text as object", '{"text": {"en": "A."}, "emotion": "joy"}', ["row 1", "expected text"], "mine.jsonl"),
    refusal(
        "several labels in a row", '{"text": "A.", "emotion": ["joy", "fear"]}', ["row 1", "'emotion'"], "mine.jsonl"
    ),
    refusal("null as text", '{"text": null, "emotion": "joy"}', ["row 1: empty text"], "mine.jsonl"),
    refusal("NaN as label", '{"text": "A.", "emotion": NaN}', ["row 1: empty emotion"], "mine.jsonl"),
    refusal("zero-width text", HEADER + "\u200b\u200d\ufeff,joy\nB.,neutral\n", ["row 2: empty text"]),
    refusal("fillers for text", HEADER + "\u3164\u2800\u00ad,joy\nB.,neutral\n", ["row 2: empty text"]),
    refusal("control characters for text", HEADER + "\x07\x1b,joy\nB.,neutral\n", ["row 2: empty text"]),
    refusal("zero-width label", HEADER + "A.,\u200b\nB.,neutral\n", ["row 2: empty emotion"]),
    refusal("a ragged row, too short", HEADER + "A.\nB.,neutral\n", ["row 2: empty emotion"]),
    refusal("a ragged row, too long", "text;emotion\nA.;B.;joy\nB.;neutral\n", ["row 2: more fields", "semicolons"]),
    refusal("a row after quoted mac lines", HEADER.replace("\n", "\r") + '"A\rB",joy\rC.\r', ["row 4: empty emotion"]),
    refusal("an open quote", HEADER + 'A.,joy\n"B.,neutral\n', ["row 3", "not valid CSV"]),
    refusal("a label of 100 kB", HEADER + f"A.,{'x' * 100_000}\nB.,neutral\n", ["row 2", "100000 characters", "500"]),
    refusal("a line end in a label", HEADER + 'A.,"joy\nfear"\nB.,neutral\n', ["row 2", "\\n", "control character"]),
    refusal("a terminal escape in a label", HEADER + "A.,\x1b[31mjoy\nB.,neutral\n", ["row 2", "\\x1b"]),
    refusal("a turned label", HEADER + "A.,joy\u202efear\nB.,neutral\n", ["row 2", "\\u202e"]),
    refusal(
        "one text under two labels",
        HEADER + "A.,joy\nB.,neutral\nA.,fear\n",
        ["row 4", "row 2", "another label ('joy')", "--on-conflict drop"],
    ),
    refusal(
        "one text twice under one label",
        HEADER + "A.,joy\nB.,neutral\nA.,JOY\n",
        ["row 4", "row 2", "--on-conflict drop"],
    ),
    refusal(
        "nothing but conflicts",
        HEADER + "A.,joy\nA.,neutral\n",
        ["no rows with the neutral label", "--neutral"],
        "mine.csv",
        "--on-conflict",
        "drop",
    ),
    refusal(
        "an empty label is no conflict",
        HEADER + "A.,joy\nA.,\nB.,neutral\n",
        ["row 3: empty emotion"],
        "mine.csv",
        "--on-conflict",
        "drop",
    ),
    refusal(
        "a label that is not allowed",
        HEADER + "A.,Joys\nB.,neutral\n",
        ["row 2", "'Joys'", "joy, neutral"],
        "mine.csv",
        "--labels",
        "joy,neutral",
    ),
    refusal("only spellings of neutral", HEADER + "A.,Neutral\nB.,NEUTRAL\n", ["at least one label beside 'neutral'"]),
    Refusal(
        "allowed labels without neutral",
        build("mine.csv", "--labels", "joy,fear"),
        ["'neutral'", "joy, fear"],
        put(GOOD),
    ),
    Refusal("no allowed label", build("mine.csv", "--labels", " , "), ["labels"], put(GOOD)),
    Refusal("open quotes in --labels", build("mine.csv", "--labels", '"joy,neutral'), ["labels", "quotes"], put(GOOD)),
    Refusal("an unknown choice", build("mine.csv", "--on-conflict", "skip"), ["skip", "drop, error"], put(GOOD)),
    Refusal("no neutral label", build("mine.csv", "--neutral", "\u200b"), ["neutral"], put(GOOD)),
    Refusal("a folder", build("mine.csv"), ["'mine.csv'", "is a folder", ".jsonl"], lambda f: (f / "mine.csv").mkdir()),
    Refusal("a pipe", build("mine.csv"), ["'mine.csv'", "pipe", "a device"], lambda f: os.mkfifo(f / "mine.csv")),
    Refusal("a device", build("/dev/null"), ["'/dev/null'", "device"]),
    Refusal("nothing there", build("mine.csv"), ["'mine.csv'", "no such file"]),
    Refusal("no name", build(""), ["''"]),
    Refusal("a name of 5000 characters", build("x" * 5000 + ".csv"), ["xxx", "no such file"]),
    Refusal("a link to itself", build("mine.csv"), ["'mine.csv'"], lambda f: (f / "mine.csv").symlink_to("mine.csv")),
    Refusal(
        "another kind of file",
        build("mine.xlsx"),
        [".csv, .tsv, .jsonl or .json", "mine.xlsx"],
        put(b"PK\x03\x04", "mine.xlsx"),
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refused(place: Place, case: Refusal) -> None:
    refused(place, case)


@pytest.mark.parametrize("case", [case for case in REFUSED if case.arguments == build()], ids=lambda case: case.name)
def test_the_library_refuses_the_same_files(place: Place, case: Refusal) -> None:
    case.prepare(place.folder)
    refused_call(lambda: emolib.load_dataset("mine.csv"), ["mine.csv"])


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(GOOD)(tmp_path)

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    refused_call(lambda: emolib.load_dataset(tmp_path / "mine.csv"), ["mine.csv", "Permission denied", "rights"])


def test_the_field_limit_of_other_readers_stays(tmp_path: Path) -> None:
    import csv

    from emolib.data.problems import Problems

    before = csv.field_size_limit()
    put(f'{HEADER}{LONG},joy\n"open')(tmp_path)
    read_rows(tmp_path / "mine.csv", Problems("mine.csv"))
    assert csv.field_size_limit() == before


# labels


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Anger", "anger", True),
        ("\u0130stanbul", "i\u0307stanbul", True),
        ("\u2460", "1", True),
        ("co-operate", "cooperate", False),
        ("joy!", "joy", False),
        ("re\u0301", "re", False),
        ("\u304b\u3099", "\u304c", True),
        ("\u304b", "\u304c", False),
        ("\u611f\u8b1d", "\u611f\u8b1d ", True),
    ],
)
def test_two_spellings_of_one_label(one: str, other: str, same: bool) -> None:
    assert (folded(one) == folded(other)) is same
    assert folded(folded(one)) == folded(one)


def test_labels_are_cleaned_at_their_ends_and_checked() -> None:
    assert cleaned("\u200b joy\u3000") == "joy" and cleaned("\u200b ") == ""
    assert cleaned("\u2764\ufe0f") == "\u2764\ufe0f"
    assert fault_of("\u6012\u308a, 'x' | <b> / \\ %") is None and fault_of("\u200cx\u200d") is None
    assert fault_of("a\tb") and fault_of("a\u2028b") and fault_of("x" * 501)
    assert is_visible("\u00e9") and not is_visible("\u00ad\u2060")
    assert labels_of('a,"b, c", d,') == ["a", "b, c", "d"] and labels_of('say "hi",b') == ['say "hi"', "b"]


def test_the_projects_own_data_is_read_as_it_stands() -> None:
    lines = paths.data_file().read_text(encoding="utf-8").splitlines()
    assert emolib.load_dataset().to_dict("records") == [json.loads(line) for line in lines]

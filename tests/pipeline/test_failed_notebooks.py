"""A notebook that refuses or fails leaves the finished reports as they are, and nothing that looks like one."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from refusals import Place, one_good_line

from emolib.base import paths

REFUSES = 'from emolib.base.errors import UserError\nraise UserError("expected a, got b; give a")'
FULL = 'import errno, os\nraise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some file")'
FAILS = 'raise ValueError("a fault")'
RUN = ["run", "--profile", "baseline_smoke", "--phase", "phase1", "--force"]


@pytest.fixture
def reports(place: Place) -> Path:
    """The folder of the reports of a copy of the repository, whose first notebook is to be written."""
    root = place.folder / "root"
    (root / "notebooks").mkdir(parents=True)
    for name in ("params", "data", "docs"):
        (root / name).symlink_to(paths.repository_root() / name)
    shutil.copy(paths.notebook_file("phase1"), root / "notebooks")
    place.monkeypatch.setenv("EMOLIB_ROOT", str(root))
    return place.folder / "executed" / "baseline_smoke" / "smollm2_135m"


def last_cell(place: Place, code: str) -> None:
    """Leaves of the notebook its parameters and one cell."""
    file = place.folder / "root" / "notebooks" / paths.NOTEBOOKS["phase1"]
    book = nbformat.read(file, as_version=4)
    cells = [cell for cell in book.cells if "parameters" in cell.metadata.get("tags", [])]
    book.cells = [*cells, nbformat.v4.new_code_cell(code)]
    nbformat.write(book, file)


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize(
    ("code", "exit_code", "says", "left"),
    [
        (REFUSES, 2, ["expected a, got b; give a"], False),
        (FULL, 2, ["No space left on device", "some file"], False),
        (FAILS, 1, ["ValueError: a fault", "baseline_smoke/smollm2_135m/phase1_dataset.failed.ipynb"], True),
    ],
)
def test_what_stops_a_notebook_leaves_the_reports(
    place: Place, reports: Path, code: str, exit_code: int, says: list[str], left: bool, earlier: bool
) -> None:
    report, failed = reports / "phase1_dataset.ipynb", reports / "phase1_dataset.failed.ipynb"
    if earlier:
        reports.mkdir(parents=True)
        report.write_bytes(b"finished")
    last_cell(place, code)
    asked = place.ask(RUN)
    assert asked.code == exit_code, asked.err
    one_good_line(asked.err.replace(" (see the traceback with --debug)", ""), ["phase1 failed in cell 3", *says])
    assert report.exists() == earlier and (not earlier or report.read_bytes() == b"finished")
    assert failed.exists() == left and (not left or "a fault" in failed.read_text())
    assert (place.folder / "executed").exists() == (earlier or left)
    if left:
        last_cell(place, "1 + 1")
        assert place.ask(RUN).code == 0
        assert "1 + 1" in report.read_text() and not failed.exists()

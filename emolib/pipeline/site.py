"""The browsable site: executed notebooks as HTML pages that work from disk, without a network.

Every notebook is copied, its figures are turned into plotly JSON inside the page, and Sphinx with myst-nb renders the
copies (configuration, templates, styles and the drawing scripts lie in `docs/site/`). plotly.js and CircuitsVis'
script are in the site once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import nbformat

from emolib.base import config, language, paths, shell, variants
from emolib.base.errors import UserError, nearest, one_line, shown
from emolib.base.escaping import code_span, escape, visible
from emolib.base.files import kind_of
from emolib.base.own_folders import own_folder
from emolib.base.writing import disk_trouble, not_writable, writing
from emolib.pipeline.notebook_files import read_notebook
from emolib.pipeline.page_contents import page_copy
from emolib.plots.views import circuitsvis_script

log = logging.getLogger(__name__)

PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class SiteError(RuntimeError):
    """Sphinx could not build the site."""


@dataclass(frozen=True)
class Report:
    """One executed notebook: the folder it lies in (a model, or a pair), its file name and how its run ended."""

    group: str
    file: str
    state: str
    notebook: nbformat.NotebookNode

    @property
    def stem(self) -> str:
        """The notebook's name without its ending."""
        return Path(self.file).stem

    @property
    def document(self) -> str:
        """Sphinx's name of the page, which is its address, too."""
        return "/".join(page_name(part) for part in (*self.group.split("/"), self.stem))


def page_name(name: str) -> str:
    """A folder's or file's name as part of an address: itself if it is plain, else what is plain in it and a number.

    >>> page_name("smollm2_135m"), page_name("a<b>")
    ('smollm2_135m', 'a-b-4e07dd89')
    """
    if PLAIN_NAME.fullmatch(name) and not name.endswith("."):
        return name
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:60] or "page"
    return f"{plain}-{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def build_site(profile: str, model: str | None = None, *, variant: str | None = None) -> Path:
    """Builds `results/<profile>/site` from the executed notebooks of a profile and returns its folder.

    Args:
        profile: a name in `params/profiles/`.
        model: only this model's notebooks; None takes every model's and the cross-model reports.
        variant: the reports of this variant in place of the profile's own; the site lies beside its results.

    The old site stays until the new one is complete.

    Raises:
        UserError: an unknown profile or variant, no executed notebooks, or a notebook that cannot be read.
        SiteError: Sphinx failed.
    """
    if profile not in config.profile_names():
        raise UserError(f"unknown profile {shown(profile)}: {nearest(profile, config.profile_names())}")
    if variant is not None:
        variants.find(profile, variant)
    reports = executed_reports(profile, model, variant=variant)
    language.current()
    for report in reports:
        _readable_copy(report)  # before anything is made
    site = paths.ResultPaths(profile, model or "", variant=variant).site()
    with writing(site, only_disk=True), own_folder(site.parent, ".site-") as work:
        write_sources(work / "source", f"{profile}/{paths.VARIANTS}/{variant}" if variant else profile, reports)
        run_sphinx(work / "source", work / "html", work / "doctrees")
        for report in reports:
            if not (work / "html" / f"{report.document}.html").is_file():
                raise SiteError(f"Sphinx made no page of {report.group}/{report.file}")
        (work / "html" / "_static" / "circuitsvis.js").write_text(circuitsvis_script(), encoding="utf-8")
        _replace(work / "html", site, work / "old")
    return site


def executed_reports(profile: str, model: str | None = None, *, variant: str | None = None) -> list[Report]:
    """The executed notebooks of a profile or of one of its variants, by folder and file name."""
    spec = config.find_model(model) if model else None
    name = paths.file_name(spec.name if spec else paths.model_name(model)) if model else None
    root = paths.executed_folder(profile, variant)
    folder = root / name if name else root
    inside = kind_of(folder) == "folder" and folder.resolve().is_relative_to(root.resolve())
    files = sorted(folder.rglob("*.ipynb")) if inside else []
    files = [file for file in files if not _hidden(file.relative_to(root)) and file.parent != root]
    files = [file for file in files if file.resolve().is_relative_to(root.resolve())]  # a link may lead elsewhere
    if not files:
        where = paths.display(folder)
        raise UserError(
            f"expected executed notebooks under {where}, found none; make them with "
            f"`{shell.command(['emolib', 'run', '--profile', profile, '--model', model or 'MODEL'])}`"
        )
    return [_report(file, file.parent.relative_to(root).as_posix()) for file in files]


def _hidden(file: Path) -> bool:
    """A checkpoint, the copy that a run in progress writes, or a report of another variant."""
    return any(part.startswith(".") for part in file.parts) or file.parts[0] == paths.VARIANTS


def _report(file: Path, group: str) -> Report:
    notebook = read_notebook(file)
    return Report(group, file.name, run_state(notebook), notebook)


def run_state(notebook: nbformat.NotebookNode) -> str:
    """`failed` with an error output, `incomplete` where only some of the code cells were run, else `ok`."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if any(output.output_type == "error" for cell in cells for output in cell.outputs):
        return "failed"
    return "incomplete" if len({cell.execution_count is None for cell in cells}) == 2 else "ok"


# ── sources ───────────────────────────────────────────────────────────────────────────────────────────────────────


def write_sources(folder: Path, profile: str, reports: list[Report]) -> None:
    """Writes the copies of the notebooks and the index page into Sphinx's source folder."""
    for report in reports:
        target = folder / f"{report.document}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(_readable_copy(report), ensure_ascii=False), encoding="utf-8")
    (folder / "index.md").write_text(index_page(profile, reports), encoding="utf-8")


def _readable_copy(report: Report) -> dict[str, Any]:
    try:
        return page_copy(report.notebook, report.stem)
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # a figure of another form, for example
        raise UserError(
            f"expected outputs that a page can show in {report.group}/{report.file}, got others "
            f"({one_line(error):.100}); run its phase again"
        ) from error


def index_page(profile: str, reports: list[Report]) -> str:
    """The page that lists the reports, as Markdown."""
    ordered = sorted(reports, key=lambda report: (report.group, report.document))
    groups = [_group(name, list(members)) for name, members in groupby(ordered, key=lambda report: report.group)]
    template = (paths.site_configuration() / "index.md.jinja").read_text(encoding="utf-8")
    return jinja2.Template(template, undefined=jinja2.StrictUndefined).render(
        word=lambda key, **values: language.word(f"site.index.{key}", **values),
        states=language.words("site.states"),
        show_code=language.word("site.page.show_code"),
        code=code_span,
        profile=profile,
        shown_profile=escape(profile),
        models=language.word("site.index.listed_by").join(str(group["title"]) for group in groups),
        groups=groups,
    )


def _group(name: str, members: list[Report]) -> dict[str, Any]:
    """A model's part of the index: names as Markdown, the caption as a directive's option reads it."""
    caption = json.dumps(visible(name), ensure_ascii=False)
    return {"name": code_span(name), "title": _group_title(name), "caption": caption, "reports": members}


def _group_title(name: str) -> str:
    """A model with the name that its weights have on the hub; a pair of models as it is."""
    spec = config.find_model(name)
    if spec is None or not spec.hub_id:
        return language.word("site.index.other_group", name=code_span(name))
    return language.word("site.index.model", name=code_span(name), hub_id=code_span(spec.hub_id))


# ── Sphinx ────────────────────────────────────────────────────────────────────────────────────────────────────────


def run_sphinx(source: Path, output: Path, doctrees: Path) -> list[str]:
    """Renders the sources in a process of its own (Sphinx changes global state) and returns its warnings."""
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-E", "--no-color"]
    command += ["-c", str(paths.site_configuration()), "-d", str(doctrees), str(source), str(output)]
    environment = {**os.environ, "TMPDIR": str(source.parent)}  # Sphinx keeps a log of its failures there
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False, env=environment
    )
    warnings = [line for line in done.stderr.splitlines() if line.strip()]
    if done.returncode != 0:
        trouble = disk_trouble(done.stderr)
        if trouble is not None:
            raise not_writable(output, trouble)
        raise SiteError(f"Sphinx failed with code {done.returncode}: " + " | ".join(warnings[-5:]))
    for warning in warnings:
        log.warning("%s", warning.replace(f"{source}/", ""))
    return warnings


def _replace(new: Path, site: Path, old: Path) -> None:
    """Puts the new site in the old one's place; the old one comes back if that fails."""
    existed = site.exists()
    if existed:
        site.rename(old)
    try:
        new.rename(site)
    except OSError:
        if existed:
            old.rename(site)
        raise

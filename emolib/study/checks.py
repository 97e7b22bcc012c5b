"""What a phase asks of its parameters, its data set, its scorers and its model together: told before anything is
computed or kept.

This is the one place: what a phase finds out only later can be known from nothing but the model's weights.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from emolib.base.errors import UserError, shown
from emolib.base.parameters import (
    ActivationParameters,
    AlignmentParameters,
    ExtractionParameters,
    PatchingParameters,
    ReaderParameters,
    ScreeningParameters,
    VectorParameters,
    VerificationParameters,
    check_layers,
)
from emolib.base.shell import command
from emolib.data.dataset import SPLITS
from emolib.engine.triggers import trigger_tokens
from emolib.models.limits import check_positions
from emolib.models.loading import check_name
from emolib.models.outlook import Outlook, outlook_of
from emolib.plots.plot_files import require_png
from emolib.readout.leaks import scenario_folds
from emolib.scoring import fetch_scorers
from emolib.scoring.corpora import CORPUS, corpus_folder, read_goemotions
from emolib.steering.cells import SweepSettings
from emolib.steering.regime import SAMPLING_TEMPERATURE
from emolib.study import phase2_activations
from emolib.study.identity import READ_BY_PHASE7, READ_BY_PHASE9, finished
from emolib.study.phase4_alignment.anchor_texts import anchor_texts
from emolib.study.phase5_steering.design import parts, prompts
from emolib.study.phase5_steering.sweep_settings import template_of
from emolib.study.phase6b_head_patching import patched_cells
from emolib.study.phase7_claims.claim_sources import finished_phases
from emolib.study.run import Run

SPLIT = (
    "phase2",
    "phase3",
    "phase4",
    "phase5",
    "phase6a",
    "phase6b",
    "phase8",
)  # read so many scenarios of each split as their parameters say


def check_run(run: Run, *, before: Collection[str] = ()) -> None:
    """Loads the data set and at most the model's small files, never its weights.

    Args:
        before: the phases that the same command runs before.

    Raises:
        UserError: the data set is broken, has fewer scenarios or other styles than the parameters ask for; the model
            has no such layers, no chat format, too few positions or cannot be had; a scorer's files cannot be had;
            there is nothing that Phase 7 could read or Phase 9 verify; PNG images that cannot be drawn here.
    """
    if run.params.png:
        require_png()
    if isinstance(run.params, ReaderParameters):
        _check_read(run, before)
        return
    for check in (_check_data, _check_parameters, _check_scorers, _check_model):
        check(run)
    if isinstance(run.params, AlignmentParameters):
        _check_other(run, run.params)


def _check_read(run: Run, before: Collection[str]) -> None:
    """There is something to read, or will be."""
    if isinstance(run.params, VerificationParameters):
        if not set(before) & set(READ_BY_PHASE9) and not finished(run.params, run.paths):
            raise UserError(
                f"expected a finished phase of {shown(run.params.model)} to verify, found none; run it first: "
                f"`{command(['emolib', 'run', '--profile', run.params.profile, '--model', run.params.model])}`"
            )
    elif not set(before) & set(READ_BY_PHASE7):
        finished_phases(run)


def _check_data(run: Run) -> None:
    params, phase = run.params, run.params.phase
    if phase in SPLIT:
        for split in SPLITS:
            run.texts(split)
    if phase == "phase6b":
        patched_cells.cells(run)
        run.texts("train", style=params.vector_style)
    if phase == "phase5":
        parts(run)
        run.texts("train", style=params.vector_style, count=1 if params.folds else None)
    if phase in ("phase1", "phase3"):  # Phase 3 reads Phase 1's leaks
        scenario_folds(pd.Series(sorted(set(run.data["scenario"]))), params.n_folds, seed=params.seed)
    folder = corpus_folder(params.corpus) if isinstance(params, VectorParameters) else None
    if folder is not None:
        read_goemotions(folder, CORPUS.partition(".")[0])


def _check_parameters(run: Run) -> None:
    """Those that contradict each other."""
    params = run.params
    if isinstance(params, PatchingParameters):
        if params.temperature == "auto":
            _refuse_samples_of_auto(params.n_samples)
        else:
            SweepSettings(n_samples=params.n_samples, temperature=params.temperature).check()


def _refuse_samples_of_auto(n_samples: int) -> None:
    """Raises `UserError` for several texts per prompt where it is not known yet whether they are sampled."""
    if n_samples > 1:
        raise UserError(
            f"expected one text per prompt beside temperature=auto, which may come to greedy texts, got "
            f"n_samples={n_samples}; set a temperature such as {SAMPLING_TEMPERATURE:g}"
        )


def _check_scorers(run: Run) -> None:
    fetch_scorers(run.params.backend)


def _check_model(run: Run) -> None:
    params = run.params
    outlook = outlook_of(params.model, random_weights=params.random_weights)
    run.model_content(params.model_dump(mode="json"))  # a folder that is gone, a hub that does not answer
    if (
        isinstance(params, ExtractionParameters | PatchingParameters | ScreeningParameters)
        and params.layers is not None
    ):
        check_layers(params.layers, outlook.n_layers)
        if isinstance(params, PatchingParameters):
            _refuse_final_residual(outlook, params.layers)
    if isinstance(params, ExtractionParameters) and params.positions == ("trigger",):
        texts = phase2_activations.texts(run)
        phase2_activations.positions(run, texts.assign(trigger=trigger_tokens(outlook.tokenizer, texts)))
    if isinstance(params, ActivationParameters) and outlook.positions is not None:
        _check_lengths(outlook, phase2_activations.texts(run)["text"], 0)
    if isinstance(params, PatchingParameters):
        template = template_of(run, outlook)
        if outlook.positions is not None:
            held = pd.concat([prompts(run, part, split) for part in parts(run) for split in list(SPLITS)[1:]])["text"]
            _check_lengths(outlook, held.map(lambda text: template.replace("{text}", text)), params.max_new_tokens)


def _check_other(run: Run, params: AlignmentParameters) -> None:
    """The second model of a pair, as `_check_model` looks at the first; and the file of further texts."""
    check_name(params.other)
    outlook = outlook_of(params.other, random_weights=params.random_weights)
    run.model_content({**params.model_dump(mode="json"), "model": params.other})
    if outlook.positions is not None:
        _check_lengths(outlook, phase2_activations.texts(run)["text"], 0)
    anchor_texts(run)


def _refuse_final_residual(outlook: Outlook, layers: Sequence[int]) -> None:
    """Raises `UserError` for a layer behind the last block: no block reads what is added there, which goes straight to
    the next word. It is the direct-path control, and must not be chosen as the point that a claim is about."""
    if outlook.n_layers in layers:
        raise UserError(
            f"expected layers of Phase 5 below {outlook.n_layers} ({outlook.name} has 0-{outlook.n_layers - 1}), got "
            f"{', '.join(map(str, layers))}: what is added behind the last block is the direct-path control; give "
            "others by --layers"
        )


def _check_lengths(outlook: Outlook, texts: pd.Series, n_new: int) -> None:
    """The longest of the texts, with the tokens that are to follow it."""
    rows = outlook.tokenizer(texts.tolist(), add_special_tokens=True).input_ids
    check_positions(outlook.name, outlook.positions, max(map(len, rows)), n_new, "the longest text of the data set")

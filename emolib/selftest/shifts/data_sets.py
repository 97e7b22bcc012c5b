"""One planted data set: texts, vectors fitted on its training texts, and which acts stand before which texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from emolib.data.activations import Activations, LayerVectors
from emolib.directions.controls import FAMILIES, ControlSource
from emolib.directions.vectors import EmotionVectors, fit_emotion_vectors
from emolib.engine.extraction import extract_activations
from emolib.models.language_model import LanguageModel
from emolib.readout.readings import label_phrases
from emolib.selftest.shifts.plants import Plant
from emolib.selftest.shifts.small_networks import READ_LAYER
from emolib.selftest.shifts.small_texts import EXPLICIT, IMPLICIT, Writer
from emolib.selftest.shifts.small_words import EMOTIONS, LABELS, NEUTRAL
from emolib.steering.cells import Cell, SweepSettings, control_cells, steer_cell
from emolib.steering.claims import ANY, IDIOMATIC, OWN
from emolib.steering.further_conditions import CONCEPT
from emolib.steering.placebo_acts import pair_vectors, topic_vectors
from emolib.steering.shift_tables import crossed_cells, shift_rows

UNIT, BATCH = "resid", 4096


@dataclass(frozen=True)
class Sizes:
    """How large a data set is.

    Attributes:
        test: scenarios of each style whose texts are read, at most.
        spare: times as many are written, of which idiomatic ones are left out.
        fitted: explicit scenarios that vectors are fitted on.
        training: scenarios that the adjustment and the lexicon are made on.
        prompts: scenarios whose neutral texts are prompts; each test text stands after `per_text` of them.
        control_texts: texts under control directions, per style; after one prompt each.
        controls: directions per family.
        kl_directions, kl_prompts: directions per family that are brought to the steer's KL, and the texts it is
            measured along.
        mentions: pairs of texts that name a label, or not, per label.
    """

    test: int = 96
    spare: float = 1.2
    fitted: int = 40
    training: int = 24
    prompts: int = 24
    per_text: int = 1
    control_texts: int = 48
    controls: int = 59
    kl_directions: int = 6
    kl_prompts: int = 8
    mentions: int = 12


FULL = Sizes()


@dataclass(frozen=True)
class DataSet:
    """Texts of one plant, and vectors of their own.

    Attributes:
        alpha: strength of every act, in median norms of the stream at the reading layer.
        flagged: whether implicit texts with a phrase of their label count as idiomatic.
    """

    lm: LanguageModel = field(repr=False)
    plant: Plant = field(repr=False)
    seed: int
    styles: tuple[str, ...] = (IMPLICIT,)
    sizes: Sizes = FULL
    alpha: float = 0.04
    flagged: bool = False

    @cached_property
    def texts(self) -> pd.DataFrame:
        """All texts: scenario, topic, emotion, style, split, text."""
        sizes, rng = self.sizes, np.random.default_rng([self.seed, 25])
        writer = Writer.of(self.plant, self.seed)
        wanted = [("fitted", EXPLICIT, sizes.fitted), ("training", IMPLICIT, sizes.training)]
        written = int(sizes.test * sizes.spare)
        wanted += [("prompt", IMPLICIT, sizes.prompts), *((f"test {style}", style, written) for style in self.styles)]
        found = pd.concat([writer.scenarios(range(n), style, split, rng) for split, style, n in wanted])
        return self._told(found.reset_index(drop=True))

    def _told(self, texts: pd.DataFrame) -> pd.DataFrame:
        """Implicit scenarios with a text that holds a phrase which training texts of its label alone have."""
        if not self.flagged:
            return texts
        train = texts[texts["split"].isin(["fitted", "training"])]
        holds = label_phrases(train, texts)
        flagged = texts["scenario"].isin(texts.loc[holds, "scenario"]) & texts["split"].str.startswith("test")
        return texts.assign(style=texts["style"].mask(flagged & (texts["style"] == IMPLICIT), IDIOMATIC))

    def of_split(self, split: str) -> pd.DataFrame:
        return self.texts[self.texts["split"] == split].reset_index(drop=True)

    def neutral(self, split: str) -> pd.DataFrame:
        """The neutral texts of a split."""
        found = self.of_split(split)
        return found[found["emotion"] == NEUTRAL].reset_index(drop=True)

    # the acts

    @cached_property
    def settings(self) -> SweepSettings:
        return SweepSettings(unit=UNIT, seed=self.seed)

    @cached_property
    def vectors(self) -> EmotionVectors:
        """Of all labels, fitted on the same explicit scenarios."""
        return fit_emotion_vectors(self._fitted)

    @cached_property
    def _fitted(self) -> Activations:
        return extract_activations(self.lm, self.of_split("fitted"), sites=("resid_pre",), batch_size=BATCH)

    @cached_property
    def own_cells(self) -> dict[str, Cell]:
        """Per label the steer with its vector."""
        given = READ_LAYER, self.alpha, self.settings
        return {label: steer_cell(OWN, self.vectors, label, *given) for label in LABELS}

    @cached_property
    def source(self) -> ControlSource:
        """What control directions are drawn from: tokens of neutral training texts, each text's first left out."""
        neutral = self.neutral("fitted")
        given = {"sites": ("resid_pre",), "positions": "all", "layers": (READ_LAYER,), "batch_size": BATCH}
        acts = extract_activations(self.lm, neutral, **given)
        later = np.ones(acts.offsets[-1], dtype=bool)
        later[acts.offsets[:-1]] = False
        return ControlSource({READ_LAYER: acts.layer("resid_pre", READ_LAYER)[later]}, self._fitted)

    def control(self, family: str, number: int, alpha: float | None = None) -> Cell:
        """A control direction, which stands for all emotions."""
        strength = self.alpha if alpha is None else alpha
        [cell] = control_cells(self.vectors, READ_LAYER, strength, number, self.settings, family, self.source)
        return cell

    def controls(self) -> list[Cell]:
        return [self.control(family, number) for family in FAMILIES for number in range(self.sizes.controls)]

    def concepts(self) -> list[Cell]:
        """Vectors of topics and of the emotions' names, with the norm of the emotions' vectors."""
        like = self.vectors["gratitude"]
        plain = self.of_split("fitted")
        given = {"sites": ("resid_pre",), "batch_size": BATCH}
        named = Writer.of(self.plant, self.seed).mentions(self.sizes.mentions, np.random.default_rng([self.seed, 26]))
        named = named[named["emotion"].isin(EMOTIONS)]
        vectors: dict[str, LayerVectors] = topic_vectors(extract_activations(self.lm, plain, **given), like=like)
        vectors |= pair_vectors(extract_activations(self.lm, named, **given), like=like)
        cells = []
        for name, found in vectors.items():
            cell = steer_cell(CONCEPT, {name: found}, name, READ_LAYER, self.alpha, self.settings)
            cells.append(cell)
        return cells

    # the designs

    def cells(self, style: str, per_text: int, n_texts: int | None = None) -> pd.DataFrame:
        """Crossed pairs of prompt and text of a style, balanced; idiomatic scenarios left out."""
        held = self.of_split(f"test {style}")
        names = held.loc[held["style"] == style, "scenario"].drop_duplicates().tolist()
        prompts = self.of_split("prompt")["scenario"].drop_duplicates().tolist()
        n = min(n_texts or self.sizes.test, len(names))
        n -= n % max(1, len(prompts) // per_text) if n > len(prompts) else 0
        before = prompts if n >= len(prompts) else prompts[:n]
        return crossed_cells(before, names[:n], per_text=min(per_text, len(before)), seed=self.seed)

    def rows(self, cells: pd.DataFrame, split: str, labels: Sequence[str], acts: Sequence[Cell]) -> pd.DataFrame:
        """The design's rows with kind, owner and index of their acts, the act itself, prompt and words as texts."""
        texts = self.of_split(split).rename(columns={"emotion": "label", "text": "words"})
        texts = texts[texts["label"].isin(labels)][["scenario", "label", "style", "words"]]
        table = act_table(acts)
        rows = shift_rows(cells, texts, table).merge(table, on=["act", "layer", "alpha"], validate="many_to_one")
        neutral = self.texts[self.texts["emotion"] == NEUTRAL].set_index("scenario")["text"]
        return rows.assign(before=rows["prompt"].map(neutral))

    @cached_property
    def corpus(self) -> list[str]:
        """The texts in which the adjustment counts words."""
        return self.texts.loc[self.texts["split"].isin(["fitted", "training"]), "text"].tolist()


def act_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """The acts of cells: act, layer, alpha, kind, owner, index, cell. An emotion's own bears its label's name."""
    rows = []
    for cell in cells:
        name = cell.emotion if cell.kind in (OWN, CONCEPT) else f"{cell.kind} {cell.index}"
        if cell.kind in FAMILIES and cell.emotion != ANY:
            name += f" of {cell.emotion}"
        owner = ANY if cell.kind == CONCEPT else cell.emotion
        row = {"act": name, "layer": cell.layer, "alpha": cell.alpha, "kind": cell.kind, "owner": owner}
        rows.append({**row, "index": cell.index, "intervention": cell.act})
    return pd.DataFrame(rows)

"""Puts a circuit into a model and says what is true of it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from emolib.base.errors import UserError, nearest, shown
from emolib.models.language_model import LanguageModel, wrap
from emolib.models.loading import spec_of
from emolib.selftest.planted import words
from emolib.selftest.planted.circuit import (
    DISTRACTOR_HEADS,
    READ_LAYER,
    WRITE,
    Circuit,
    Cut,
    design,
)
from emolib.selftest.planted.features import STRENGTH, Layout, random_basis
from emolib.selftest.planted.forms import WIDTHS, build_network

Form = Literal["gpt2", "llama"]
Head = tuple[int, int]
KINDS = tuple(DISTRACTOR_HEADS)


@dataclass(frozen=True)
class Truth:
    """What is true of a planted model; heads are (layer, head).

    Attributes:
        write_layer, write_head: the head that writes; the directions are in `resid_pre` from `write_layer + 1` on.
        read_layer: the layer whose MLP reads; a steer of `resid_pre` reaches it up to this layer.
        readers: per emotion the neurons of that MLP; empty where they are cut.
        directions: per emotion, unit norm, `[d_model]`; orthogonal to each other.
        strength: what the write head adds along a direction, in activation units.
        triggers: per emotion the words that the write head looks for.
        outputs: per emotion the words whose logits the readers raise; none of them is a trigger.
        distractors: heads by role: `topic`, `unread`, `backup`, `saturated` and the `gate` that reads the latter.
        others: heads that the plain text needs: `context` (per-prompt bend of the read-out) and `said` (what was
            said already). Heads named nowhere are noise.
        topics: per topic the unit direction that the topic head writes, `[d_model]`.
        effect: as given.
        cut: as given.
    """

    write_layer: int
    write_head: int
    read_layer: int
    readers: Mapping[str, tuple[int, ...]]
    directions: Mapping[str, Float[np.ndarray, " d_model"]]
    strength: float
    triggers: Mapping[str, tuple[str, ...]]
    outputs: Mapping[str, tuple[str, ...]]
    distractors: Mapping[str, Head]
    others: Mapping[str, Head]
    topics: Mapping[str, Float[np.ndarray, " d_model"]]
    effect: float
    cut: Cut


@dataclass(frozen=True)
class Planted:
    """A model and the truth about it."""

    lm: LanguageModel
    truth: Truth


def plant(
    form: Form,
    *,
    effect: float = 1.0,
    noise: float = 0.2,
    seed: int = 0,
    distractors: bool | Collection[str] = True,
    cut: Cut = False,
) -> Planted:
    """A small transformer with hand-set weights whose emotion circuit is known; nothing is trained.

    Args:
        form: `gpt2` (d_model 224) or `llama` (d_model 256), 4 layers of 4 heads each. Two models of one seed share
            their words' features, each in its own coordinates.
        effect: how strongly a direction, once in the stream, drives its emotion's words: by about 2.3·effect logits
            at the strength that the write head writes. At 0 only a component is left that varies from prompt to
            prompt and prefers no emotion, whichever direction is steered. `effect_for` finds the value for a wanted
            effect size.
        noise: standard deviation, in logits, of the seeded noise that tokens, noise heads and noise neurons bring to
            the logits of generated words. 0 leaves it out.
        seed: of the basis, the noise, the words' priors and the per-prompt component.
        distractors: True (all), False, or some of `topic`, `unread`, `backup`, `saturated`; what is left out is a
            noise head.
        cut: a null model. `writer`: the write head writes nothing, the readers stay. True: nothing reads the
            directions either. Trigger words still differ in the embedding, and the backup and unread heads still write.

    Raises:
        UserError: unknown form, distractor or cut, an effect or noise that is not finite or negative, a negative seed.
    """
    kinds = _check(form, effect, noise, seed, distractors)
    if cut not in (True, False, "writer"):
        raise UserError(f"expected cut=True, False or 'writer', got {shown(cut)}")
    layout = Layout(WIDTHS[form] - 1)
    circuit = design(layout, effect=effect, noise=noise, seed=seed, distractors=kinds, cut=cut)
    basis = random_basis(WIDTHS[form], np.random.default_rng([seed, 6, list(WIDTHS).index(form)]))
    network = build_network(form, circuit, basis)
    named = "+".join(kind for kind in KINDS if kind in kinds) or "none"
    revision = f"effect{effect:g}-noise{noise:g}-seed{seed}-{named}{'-cut' * bool(cut)}{'-writer' * (cut == 'writer')}"
    lm = wrap(network, words.word_tokenizer(), spec_of(network.config, f"planted-{form}"), revision)
    return Planted(lm, _truth(circuit, basis, effect, cut))


def _check(form: str, effect: float, noise: float, seed: int, distractors: bool | Collection[str]) -> frozenset[str]:
    """The kinds of distractors wanted."""
    if form not in WIDTHS:
        raise UserError(f"unknown form {shown(form)}: {nearest(form, WIDTHS)}")
    for name, value in (("effect", effect), ("noise", noise), ("seed", seed)):
        if not (math.isfinite(value) and value >= 0):
            raise UserError(f"expected {name} of at least 0, got {value}")
    if isinstance(distractors, bool):
        return frozenset(KINDS if distractors else ())
    for kind in (distractors,) if isinstance(distractors, str) else distractors:
        if kind not in KINDS:
            raise UserError(f"unknown distractor {shown(kind)}: {nearest(kind, KINDS)}")
    return frozenset((distractors,) if isinstance(distractors, str) else distractors)


def _truth(circuit: Circuit, basis: Float[np.ndarray, "d_model feature"], effect: float, cut: Cut) -> Truth:
    directions = basis @ circuit.layout.axes("emotion").T
    topics = basis @ circuit.layout.axes("topic").T
    distracting = {role for roles in DISTRACTOR_HEADS.values() for role in roles}
    return Truth(
        write_layer=WRITE[0],
        write_head=WRITE[1],
        read_layer=READ_LAYER,
        readers=circuit.readers,
        directions={e: directions[:, i].astype(np.float32) for i, e in enumerate(words.EMOTIONS)},
        strength=STRENGTH,
        triggers=words.TRIGGERS,
        outputs=words.EMOTIONAL,
        distractors={role: head for role, head in circuit.roles.items() if role in distracting},
        others={role: circuit.roles[role] for role in ("context", "said")},
        topics={topic: topics[:, i].astype(np.float32) for i, topic in enumerate(words.NOUNS)},
        effect=effect,
        cut=cut,
    )

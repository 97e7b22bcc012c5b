"""Emotion vectors: differences of mean activations, and the directions that read them out.

Source of the method: difference of class means in the residual stream (Turner et al. 2023, arXiv 2308.10248;
Rimsky et al. 2023, arXiv 2312.06681; Tigges et al. 2023, arXiv 2310.15154). The discriminant Σ⁻¹v is Fisher's linear
discriminant (Fisher 1936) with a shrunk covariance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError, nearest, shown
from emolib.base.signatures import told
from emolib.data.activations import Activations, LayerVectors
from emolib.directions.covariance import fit_within_covariance
from emolib.directions.covariates import fit_covariates, regress_out

VARIANTS = ("raw", "standardised", "trimmed", "whitened")


@dataclass(frozen=True)
class EmotionVectors:
    """The vectors of every emotion at every layer of one model.

    `vecs[emotion]` is `[n_layers + 1, d_model]`; `vecs[emotion][layer]` is a `LayerVector`.

    Attributes:
        values: v, the difference of means.
        neutral_norms: median norm of `resid_pre` over neutral tokens.
        neutral_bulk_norms: their median bulk norm (`emolib.data.bulk_norms`); None where it is not known.
        kl_lengths: the unit `kl` per layer, NaN where it was not measured (`emolib.steering.kl_lengths`); None nowhere.
        pooled_sd: standard deviation of every dimension within labels.
        whitened, discriminants: Σ^(−1/2) v and Σ⁻¹v with the within-label covariance Σ of the layer, its correlations
            shrunk; empty unless fitted with `whiten=True`, NaN at a layer where the texts of each label do not differ.

    >>> import numpy as np
    >>> values = {"gratitude": np.ones((3, 4), np.float32)}  # two blocks and the final residual
    >>> vecs = EmotionVectors(values, np.full(3, 8.0), np.ones((3, 4)), model="m", revision="r", position="last")
    >>> vecs.emotions, vecs.n_layers, vecs["gratitude"].shape
    (('gratitude',), 2, (3, 4))
    >>> vecs["gratitude"][1].norm, vecs["gratitude"][1].neutral_norm
    (2.0, 8.0)
    """

    values: dict[str, Float[np.ndarray, "layer d_model"]]
    neutral_norms: Float[np.ndarray, " layer"]
    pooled_sd: Float[np.ndarray, "layer d_model"]
    model: str
    revision: str
    position: str
    whitened: dict[str, Float[np.ndarray, "layer d_model"]] = field(default_factory=dict)
    discriminants: dict[str, Float[np.ndarray, "layer d_model"]] = field(default_factory=dict)
    neutral_bulk_norms: Float[np.ndarray, " layer"] | None = None
    kl_lengths: Float[np.ndarray, " layer"] | None = None

    def __getitem__(self, emotion: str) -> LayerVectors:
        emotion = arguments.one_of("emotion", emotion, self.values)
        units = (self.neutral_norms, self.neutral_bulk_norms, self.kl_lengths)
        return LayerVectors(self.values[emotion], self.model, self.revision, self.position, *units, emotion)

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    @property
    def emotions(self) -> tuple[str, ...]:
        return tuple(self.values)

    @property
    def n_layers(self) -> int:
        return len(self.neutral_norms) - 1


@told
def fit_emotion_vectors(
    acts: Activations,
    *,
    neutral: str = "neutral",
    reference: Activations | None = None,
    covariates: Float[np.ndarray, "text feature"] | None = None,
    whiten: bool = False,
) -> EmotionVectors:
    """`vec[l] = mean(resid_pre[l] of an emotion) − mean(resid_pre[l] of neutral)`, for every other label.

    Args:
        acts: activations of the training texts only; the caller selects the split.
        neutral: the reference label.
        reference: where `acts` has no neutral texts (position `trigger`), activations whose neutral texts stand in:
            for each emotion those of the scenarios that it has in `acts`, no others.
        covariates: features of the texts of `acts` to regress out first (`emolib.directions.covariates`): the vector is
            then the difference of means less what the difference of the features explains.
        whiten: fill `whitened` and `discriminants` too (one decomposition of `[text, d_model]` per layer).

    Raises:
        UserError: no neutral texts, no other label, activations that are not finite, a reference of another model or
            without the scenarios, or covariates together with a reference.

    >>> import emolib, pandas as pd
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> said = {"gratitude": ["Thank you so much", "Thanks a lot"], "neutral": ["The lamp is on", "It is Monday"]}
    >>> rows = [(f"s{i}", emotion, text) for emotion, texts in said.items() for i, text in enumerate(texts)]
    >>> acts = emolib.extract_activations(lm, pd.DataFrame(rows, columns=["scenario", "emotion", "text"]))
    >>> vecs = fit_emotion_vectors(acts)
    >>> vecs.emotions, vecs["gratitude"].shape
    (('gratitude',), (31, 576))
    """
    check_labelled("acts", acts, neutral)
    if reference is not None:
        check_labelled("reference", reference, neutral)
    whiten = arguments.flag("whiten", whiten)
    labels = acts.texts["emotion"].to_numpy()
    emotions = [name for name in dict.fromkeys(labels) if name != neutral]
    centre_of = None
    if neutral not in labels:
        centre_of = _checked_reference(acts, reference, neutral)
        if covariates is not None:
            raise UserError("covariates need neutral texts in the same activations; leave out covariates or reference")
    if not emotions:
        raise UserError(f"expected at least one label beside {shown(neutral)}, found none")
    _check_finite(acts)
    if covariates is not None:
        acts = regress_out(acts, fit_covariates(acts, covariates), covariates)
    resid = acts.values["resid_pre"]
    centres, counted = _neutral_means(acts if centre_of is None else centre_of, acts, emotions, neutral)
    means = {emotion: resid[:, labels == emotion].mean(axis=1, dtype=np.float64) for emotion in emotions}
    vectors = {emotion: means[emotion] - centres[emotion] for emotion in emotions}
    whitened, discriminants = _whitened(resid, labels, vectors) if whiten else ({}, {})
    return EmotionVectors(
        values={emotion: vector.astype(np.float32) for emotion, vector in vectors.items()},
        neutral_norms=counted.median_norms(),
        neutral_bulk_norms=counted.median_bulk_norms(),
        pooled_sd=within_label_sd(resid, labels),
        model=acts.model,
        revision=acts.revision,
        position=acts.position,
        whitened=whitened,
        discriminants=discriminants,
    )


def check_labelled(name: str, acts: Activations, neutral: str) -> None:
    """Raises `UserError` unless these are activations of every layer of texts with labels, and neutral a label."""
    arguments.instance(name, acts, Activations, "extract_activations (of stored ones, their read())")
    arguments.text("neutral", neutral, hint="; it is the label that the others are compared with")
    if "emotion" not in acts.texts:
        raise UserError("expected activations of texts with a column 'emotion', found none; add it to the texts")
    arguments.texts(acts.texts["emotion"], "the column 'emotion'")
    if acts.layers is not None:
        raise UserError(
            f"expected activations of every layer, these have {len(acts.layers)} of them; extract them without layers="
        )


def _check_finite(acts: Activations) -> None:
    if not np.isfinite(acts.values["resid_pre"]).all():
        raise UserError("the activations hold values that are not finite; extract them in float32")


def _checked_reference(acts: Activations, reference: Activations | None, neutral: str) -> Activations:
    if reference is None:
        if acts.position == "trigger":
            raise UserError('trigger activations have no neutral texts: give reference=activations at position "mean"')
        raise UserError(
            f"no texts with the neutral label {shown(neutral)}: {nearest(neutral, set(acts.texts['emotion']))}"
        )
    mine, theirs = (acts.model, acts.revision, acts.n_layers), (reference.model, reference.revision, reference.n_layers)
    if mine != theirs:
        raise UserError(f"expected a reference of {acts.model} {acts.revision[:12]}, got {reference.model}")
    for name, table in (("activations", acts.texts), ("reference", reference.texts)):
        if "scenario" not in table:
            raise UserError(f"the {name} have no column 'scenario', by which a reference is matched; add it")
    _check_finite(reference)
    return reference


def _neutral_means(
    reference: Activations, acts: Activations, emotions: list[str], neutral: str
) -> tuple[dict[str, Float[np.ndarray, "layer d_model"]], Activations]:
    """Each emotion's neutral mean, and the neutral texts over whose tokens norms are taken."""
    is_neutral = (reference.texts["emotion"] == neutral).to_numpy()
    resid = reference.values["resid_pre"]
    if reference is acts:
        centre = resid[:, is_neutral].mean(axis=1, dtype=np.float64)
        return dict.fromkeys(emotions, centre), acts.where(is_neutral)
    centres = {}
    for emotion in emotions:
        own = acts.texts.loc[acts.texts["emotion"] == emotion, "scenario"]
        counts = is_neutral & reference.texts["scenario"].isin(own).to_numpy()
        if not counts.any():
            raise UserError(
                f"the reference has no {shown(neutral)} texts in the scenarios of {shown(emotion)}; "
                f"give activations of the same "
                "scenarios"
            )
        centres[emotion] = resid[:, counts].mean(axis=1, dtype=np.float64)
    shared = is_neutral & reference.texts["scenario"].isin(acts.texts["scenario"]).to_numpy()
    return centres, reference.where(shared)


def _whitened(
    resid: np.ndarray, labels: np.ndarray, vectors: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    stacked = np.stack(list(vectors.values()), axis=1)  # [layer, emotion, d_model]
    whitened, discriminants = np.full((2, *stacked.shape), np.nan, np.float32)
    for layer, x in enumerate(resid):
        # the last token of every text may be the same mark, and its embedding the same vector
        if any((x[labels == name] != x[labels == name][:1]).any() for name in set(labels)):
            covariance = fit_within_covariance(x, labels, standardise=True)
            whitened[layer] = covariance.inverse_root(stacked[layer])
            discriminants[layer] = covariance.inverse(stacked[layer])
    by_emotion = [{e: part[:, i] for i, e in enumerate(vectors)} for part in (whitened, discriminants)]
    return by_emotion[0], by_emotion[1]


def within_label_sd(
    resid: Float[np.ndarray, "layer text d_model"], labels: np.ndarray
) -> Float[np.ndarray, "layer d_model"]:
    """Within-label standard deviation of every dimension, pooled over labels; 1 where no label has two texts."""
    total, freedom = 0.0, 0
    for name in dict.fromkeys(labels):
        group = resid[:, labels == name]
        if group.shape[1] > 1:
            total = total + group.var(axis=1, ddof=1, dtype=np.float64) * (group.shape[1] - 1)
            freedom += group.shape[1] - 1
    if not freedom:
        return np.ones((resid.shape[0], resid.shape[2]), np.float32)
    return np.sqrt(total / freedom).astype(np.float32)


def massive_dimensions(vecs: EmotionVectors, layer: int, count: int = 3) -> np.ndarray:
    """Indices of the residual dimensions with the largest within-label spread at a layer."""
    return np.argsort(vecs.pooled_sd[layer])[::-1][:count]


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine along the last axis; NaN where a vector is zero."""
    with np.errstate(invalid="ignore"):
        return (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))


def projection_direction(
    vecs: EmotionVectors, emotion: str, layer: int, variant: str, *, trimmed: int = 3
) -> Float[np.ndarray, " d_model"]:
    """The unit direction whose dot product with an activation tells an emotion from neutral, in one view of the space.

    `raw`: v. `standardised`: v / sd², the discriminant if dimensions were independent. `trimmed`: v without the
    `trimmed` dimensions of largest spread. `whitened`: Σ⁻¹v, the discriminant. (Dividing once, as in a cosine of
    standardised or whitened vectors, would leave the activation unscaled; the projection divides for both.)

    Returns:
        float64, of norm 1; zeros where the vector is zero.

    Raises:
        UserError: an unknown emotion, layer or variant, or `whitened` for vectors fitted without it.
    """
    vector = vecs[emotion][layer].values.astype(np.float64)
    if variant == "standardised":
        vector = vector / np.maximum(vecs.pooled_sd[layer].astype(np.float64), 1e-6) ** 2
    elif variant == "trimmed":
        vector[massive_dimensions(vecs, layer, trimmed)] = 0
    elif variant == "whitened":
        if emotion not in vecs.discriminants:
            raise UserError("these vectors have no whitened view: fit them with fit_emotion_vectors(…, whiten=True)")
        vector = vecs.discriminants[emotion][layer].astype(np.float64)
    elif variant != "raw":
        raise UserError(f"unknown variant {shown(variant)}: {nearest(variant, VARIANTS)}")
    norm = np.linalg.norm(vector)
    return vector / norm if norm else vector


def scenario_cube(
    acts: Activations, neutral: str
) -> tuple[Float[np.ndarray, "layer scenario label d_model"], list, list]:
    """Activations as a cube over the scenarios that have every label, with their names and the emotions' names.

    Label 0 of the cube is neutral, the others follow in the order of the emotions.
    """
    for name in ("scenario", "emotion"):
        if name not in acts.texts:
            raise UserError(
                f"expected activations of texts with a column {shown(name)}, found none; add it to the texts"
            )
    if acts.texts.duplicated(["scenario", "emotion"]).any():
        twice = acts.texts.loc[acts.texts.duplicated(["scenario", "emotion"]), "scenario"].iloc[0]
        raise UserError(f"expected one text per scenario and label, scenario {shown(twice)} has several of one label")
    texts = acts.texts.assign(row=np.arange(len(acts.texts)))
    if neutral not in set(texts["emotion"]):
        raise UserError(f"no texts with the neutral label {shown(neutral)}: {nearest(neutral, set(texts['emotion']))}")
    table = texts.pivot(index="scenario", columns="emotion", values="row").dropna()
    if len(table) < 4:
        raise UserError(f"expected at least 4 scenarios that have every label, found {len(table)}")
    emotions = [name for name in dict.fromkeys(texts["emotion"]) if name != neutral]
    index = table[[neutral, *emotions]].to_numpy(dtype=int)
    return acts.values["resid_pre"][:, index], list(table.index), emotions


def principal_components(acts: Activations, layer: int, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates `[text, count]` on the leading principal components and the share of variance of each."""
    from sklearn.decomposition import PCA

    count = min(count, len(acts.texts), acts.d_model)
    fitted = PCA(count, random_state=0).fit(acts.values["resid_pre"][layer])
    return fitted.transform(acts.values["resid_pre"][layer]), fitted.explained_variance_ratio_

"""`expressed/<emotion>`: whether a text's writer expresses gratitude, anger or an apology as a stance of his own.

all-MiniLM-L6-v2, changed by thin matrices (`low_rank`) that were trained on GoEmotions' comments first and then on the
contrast set `data/expressed.jsonl`, whose groups of texts differ by this one point: felt or said otherwise, quoted,
denied, asked for, another person's; then with fewer hidden units (`narrow`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from emolib.base.errors import UserError
from emolib.base.files import read_json
from emolib.base.labels import spelled
from emolib.base.paths import display, params_folder
from emolib.base.store import digest, sha256_of
from emolib.scoring.encoder import encoder_folder, load_encoder
from emolib.scoring.narrow import apply_narrow, narrow_names
from emolib.scoring.ngrams import RETRAIN, read_tensors
from emolib.scoring.packed_bert import PackedBert
from emolib.scoring.scorer import Scorer

EMOTIONS = ("gratitude", "anger", "apology")
COMPUTATION = 2  # raised when the same files would give other numbers
READOUT_AXES = {
    f"readout/{layer}.{part}": 2 if part == "weight" and layer != "norm" else 1
    for layer in ("norm", "inner", "outer")
    for part in ("weight", "bias")
}
READOUT_ROWS = 16  # at once: a text's numbers do not hang on how many there are
PRESENT = 0.5  # from which probability on an emotion counts as expressed


def pooled(states: Tensor, mask: Tensor | None = None) -> Tensor:
    """`[row, 3 * width]`: the first token's state, mean and maximum over the tokens of states `[row, token, width]`.

    Args:
        mask: `[row, token]`, 0 at padding; None where there is none.
    """
    if mask is None:
        return torch.cat([states[:, 0], states.mean(1), states.amax(1)], dim=1)
    real = mask[..., None].to(states.dtype)
    highest = states.masked_fill(mask[..., None] == 0, -torch.inf).amax(1)
    return torch.cat([states[:, 0], (states * real).sum(1) / real.sum(1), highest], dim=1)


class Readout(nn.Module):
    """Logits from the last layer's states: first token, mean and maximum, standardised per text, one hidden layer."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(3 * width)
        self.inner, self.outer = nn.Linear(3 * width, hidden), nn.Linear(hidden, len(EMOTIONS))
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """`[row, emotion]` from states `[row, token, width]` and mask `[row, token]`."""
        return self.of_pooled(pooled(states, mask))

    def of_pooled(self, read: Tensor) -> Tensor:
        """`[row, emotion]` from what `pooled` gives."""
        inner = nn.functional.gelu(self.inner(self.dropout(self.norm(read))))
        logits: Tensor = self.outer(self.dropout(inner))
        return logits


@dataclass(frozen=True)
class ExpressedModel:
    """The changed encoder with its readout.

    Attributes:
        calibration: `[emotion, 2]`: a factor and a constant per logit.
    """

    encoder: PackedBert
    readout: Readout
    calibration: np.ndarray

    @torch.inference_mode()
    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """`[text, emotion]` float32, before calibration; longer texts are cut at `max_tokens`."""
        last, out = self.encoder.n_layers, np.empty((len(texts), len(EMOTIONS)), np.float32)
        for places, states in self.encoder.states(texts, [last]):
            read = pooled(states[last])
            for start in range(0, len(read), READOUT_ROWS):
                part = read[start : start + READOUT_ROWS]
                filled = nn.functional.pad(part, (0, 0, 0, READOUT_ROWS - len(part)))
                out[places[start : start + READOUT_ROWS]] = self.readout.of_pooled(filled)[: len(part)].cpu().numpy()
        return out

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """`[text, emotion]`, calibrated."""
        z = self.logits(texts) * self.calibration[:, 0] + self.calibration[:, 1]
        return 1 / (1 + np.exp(-z.astype(np.float64)))


def emotion_measured(label: str) -> str | None:
    """Which of `EMOTIONS` a label is, however it is spelled; None where this scorer has no say.

    >>> emotion_measured("Anger"), emotion_measured("joy")
    ('anger', None)
    """
    return spelled(label, EMOTIONS)


@dataclass(frozen=True)
class TrainedFiles:
    """What training left.

    Attributes:
        tensors: thin matrices, hidden units with the weights out of them, and readout, by name.
        calibration: `[emotion, 2]`.
        version: of both files.
    """

    tensors: Mapping[str, np.ndarray]
    calibration: np.ndarray
    version: str


@lru_cache(maxsize=1)
def read_trained() -> TrainedFiles:
    """The trained files, checked; `UserError` where one is missing or another. No network is made."""
    folder = params_folder("scorers")
    weights, settings_file = folder / "expressed.safetensors", folder / "expressed.json"
    settings = read_json(settings_file, kind=dict, name=f"the trained scorer {display(settings_file)}", advice=RETRAIN)
    try:
        calibration = np.array(settings["calibration"], float)
    except (KeyError, TypeError, ValueError):
        calibration = np.zeros(0)
    if settings.get("emotions") != list(EMOTIONS) or calibration.shape != (len(EMOTIONS), 2):
        raise UserError(
            f"expected calibration of {', '.join(EMOTIONS)} in {display(settings_file)}, got others; {RETRAIN}"
        )
    n_layers = read_json(encoder_folder()[0] / "config.json", kind=dict)["num_hidden_layers"]
    tensors = read_tensors(weights, narrow_names(n_layers) | READOUT_AXES)
    return TrainedFiles(tensors, calibration, digest([sha256_of(weights), sha256_of(settings_file)]))


@lru_cache(maxsize=2)
def load_expressed(device: torch.device) -> ExpressedModel:
    """The trained model on a device, made once per process; `UserError` where a file is missing or another."""
    trained = read_trained()
    encoder = load_encoder(torch.device("cpu"))
    network, readout = copy.deepcopy(encoder.network), read_readout(trained.tensors)
    try:
        apply_narrow(network, trained.tensors)
    except RuntimeError as error:
        raise UserError(
            f"expected matrices of the encoder's sizes in params/scorers/expressed.safetensors, got others; {RETRAIN}"
        ) from error
    packed = PackedBert(network.to(device), encoder.tokenizer, most=encoder.max_tokens)
    return ExpressedModel(packed, readout.to(device), trained.calibration)


def read_readout(stored: Mapping[str, np.ndarray]) -> Readout:
    """The readout whose tensors are stored as `readout/<name>`."""
    given = {name.removeprefix("readout/"): stored[name] for name in READOUT_AXES}
    hidden, wide = given["inner.weight"].shape
    readout = Readout(wide // 3, hidden, 0.0)
    try:
        readout.load_state_dict({name: torch.from_numpy(value.astype(np.float32)) for name, value in given.items()})
    except RuntimeError as error:
        raise UserError(f"expected a readout in params/scorers/expressed.safetensors, got others; {RETRAIN}") from error
    return readout.eval().requires_grad_(False)


def stances(device: torch.device) -> Scorer:
    """`expressed/{gratitude,anger,apology}`: probabilities; `PRESENT` or more counts as expressed."""
    version = digest([COMPUTATION, encoder_folder()[1], read_trained().version, device.type])

    def score(texts: Sequence[str]) -> pd.DataFrame:
        columns = [f"expressed/{emotion}" for emotion in EMOTIONS]
        probabilities = load_expressed(device).probabilities(texts)
        return pd.DataFrame(probabilities.astype(np.float32), columns=columns)

    return Scorer("expressed", version, score)

"""Trains `expressed`: thin changes of the sentence encoder and a readout.

The changes are learnt on GoEmotions' comments first (all 28 labels, one pass; that readout is thrown away), since the
contrast set alone is too small to learn how emotion shows without its words, then on its own training groups, several
times from there on: the scorer is the mean of these trainings' weights (Wortsman et al. 2022), since single ones differ
by chance. Then the layers lose the hidden units that say least (`narrow`): no training, but the same training groups.
Calibration is fitted on the validation groups, figures are those of the test groups; weights are rounded to half
precision before either.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import nn

from emolib.base.tensor_files import tensor_bytes
from emolib.scoring.encoder import encoder_folder, load_encoder
from emolib.scoring.expressed import EMOTIONS, PRESENT, ExpressedModel, Readout, pooled, read_readout
from emolib.scoring.goemotions import LABELS
from emolib.scoring.low_rank import adapt, apply_changes, averaged, changes
from emolib.scoring.narrow import THIN, apply_narrow, chosen_units, refitted, sensitivities
from emolib.scoring.packed_bert import PackedBert
from emolib.scoring.trained_files import calibrated, json_bytes

CHUNK = 16  # batches whose texts are sorted by length together, so that little is padded
LARGEST_GRADIENT = 1.0
COMMENT_BATCH = 32
NEAR = (  # labels of comments that say most about the three emotions and what they are taken for
    *("gratitude", "anger", "annoyance", "remorse", "disapproval", "disappointment", "caring", "sadness"),
    "embarrassment",
)


def train_expressed(
    texts: pd.DataFrame,
    comments: tuple[Sequence[str], np.ndarray],
    settings: dict[str, float],
    *,
    seed: int,
    say: Callable[[str], None] = print,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Trains the scorer.

    Args:
        texts: as `load_expressed_texts` gives them.
        comments: GoEmotions' training comments and their labels `[comment, label]`, as `read_goemotions` gives them.
        settings: comments (how many of them), members (trainings that are averaged), rank, dropout, hidden, rate,
            decay, batch, epochs, units (hidden ones that stay, in the mean over layers), probes (texts whose gradients
            say which).
        seed: of initial values, order and dropout.
        say: called with a line per epoch.

    Returns:
        What `expressed.safetensors` holds (float16), and what `expressed.json` says: emotions, calibration
        `[emotion, 2]`, and figures of the test groups.
    """
    parts = {str(split): part for split, part in texts.groupby("split", sort=False)}
    chosen = chosen_comments(comments[1], int(settings["comments"]), seed=seed)
    given = [comments[0][place] for place in chosen], comments[1][chosen].astype(np.float32)
    train = parts["train"]
    wanted = train["text"].tolist(), train[list(EMOTIONS)].to_numpy(np.float32)
    wide = _fit(given, wanted, settings, seed=seed, say=say)
    say("  fewer hidden units")
    stored = narrowed(wide, wanted[0], settings, seed=seed)
    model = _model(stored)
    held = parts["validation"]
    calibration = _calibrated(model.logits(held["text"].tolist()), held[list(EMOTIONS)].to_numpy(bool))
    model = dataclasses.replace(model, calibration=calibration)
    test = parts["test"]
    figures = figures_of(test, model.probabilities(test["text"].tolist()))
    sizes = {split: {"texts": len(part), "groups": int(part["group"].nunique())} for split, part in parts.items()}
    return stored, {
        "emotions": list(EMOTIONS),
        "calibration": calibration.tolist(),
        "settings": settings,
        "data": sizes,
        "test": figures,
    }


def figures_of(texts: pd.DataFrame, probabilities: np.ndarray) -> dict[str, Any]:
    """Per emotion: balanced accuracy over all texts and over its own groups, and accuracy by kind and by register of
    its own groups, each with its n."""
    out = {}
    for place, emotion in enumerate(EMOTIONS):
        truth, says = texts[emotion].to_numpy(bool), probabilities[:, place] >= PRESENT
        own = texts["about"].to_numpy() == emotion
        right = pd.Series(says == truth)[own].to_numpy()
        out[emotion] = {
            "n": len(texts),
            "balanced_accuracy": float(balanced_accuracy_score(truth, says)),
            "own_groups": {
                "n": int(own.sum()),
                "balanced_accuracy": float(balanced_accuracy_score(truth[own], says[own])),
            },
            **{by: _shares(texts.loc[own, by].to_numpy(), right) for by in ("kind", "register")},
        }
    return out


def _shares(names: np.ndarray, right: np.ndarray) -> dict[str, dict[str, float]]:
    grouped = pd.Series(right).groupby(names)
    return {str(name): {"n": len(part), "accuracy": float(part.mean())} for name, part in grouped}


def _calibrated(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.round(calibrated([logits], truth).astype(float), 5)


def _model(stored: dict[str, np.ndarray]) -> ExpressedModel:
    """As it will be read back; not calibrated yet."""
    encoder = load_encoder(torch.device("cpu"))
    network = copy.deepcopy(encoder.network)
    apply_narrow(network, stored)
    plain = np.tile([1.0, 0.0], (len(EMOTIONS), 1))
    packed = PackedBert(network, encoder.tokenizer, most=encoder.max_tokens)
    return ExpressedModel(packed, read_readout(stored), plain)


def chosen_comments(truth: np.ndarray, n: int, *, seed: int) -> np.ndarray:
    """Places of `n` comments, or all: two thirds hold one of `NEAR`, the others none; by chance otherwise."""
    rng = np.random.default_rng(seed)
    near = truth[:, [LABELS.index(label) for label in NEAR]].any(axis=1)
    first, second = (rng.permutation(np.flatnonzero(part)) for part in (near, ~near))
    return np.concatenate([first[: n * 2 // 3], second[: n - n * 2 // 3]])


Texts = tuple[Sequence[str], np.ndarray]  # and what is true of them `[text, label]`


def _fit(
    comments: Texts, texts: Texts, settings: dict[str, float], *, seed: int, say: Callable[[str], None]
) -> dict[str, np.ndarray]:
    """The thin matrices and the readout after the last epoch, float16: the mean of `members` trainings on the texts,
    which begin alike, after one on the comments, and differ in order and dropout alone.
    """
    from transformers import AutoModel

    from emolib.models.silence import quiet

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        with quiet():
            start = AutoModel.from_pretrained(encoder_folder()[0], dtype=torch.float32, trust_remote_code=False)
        adapt(start, rank=int(settings["rank"]), dropout=settings["dropout"] / 2)
        width = start.config.hidden_size
        first = CommentReadout(3 * width, comments[1].shape[1], settings["dropout"])
        once = settings | {"epochs": 1, "batch": COMMENT_BATCH}
        _run_epochs(start.train(), first.train(), comments, once, np.random.default_rng(seed), say)
        torch.manual_seed(seed)
        unread = Readout(width, int(settings["hidden"]), settings["dropout"])
        found = []
        for member in range(int(settings["members"])):
            say(f"  training {member + 1} of {int(settings['members'])}")
            torch.manual_seed(seed + 1 + member)
            body, readout = copy.deepcopy(start), copy.deepcopy(unread)
            order = np.random.default_rng(seed + member)
            _run_epochs(body.train(), readout.train(), texts, settings, order, say)
            found.append(changes(body) | {f"readout/{k}": v.numpy() for k, v in readout.state_dict().items()})
    return {name: value.astype(np.float16) for name, value in averaged(found).items()}


def narrowed(
    stored: dict[str, np.ndarray], texts: Sequence[str], settings: dict[str, float], *, seed: int
) -> dict[str, np.ndarray]:
    """What is stored of the wide scorer as that of a narrow one, float16 both.

    Args:
        stored: thin matrices of every linear layer, and the readout.
        texts: on which the narrow layers are to give what the wide ones give.
        settings: units, probes.
        seed: of which texts are probes, and of their signs.
    """
    encoder = load_encoder(torch.device("cpu"))
    network = copy.deepcopy(encoder.network)
    apply_changes(network, stored)
    probes = np.random.default_rng(seed).permutation(len(texts))[: int(settings["probes"])]
    ids = encoder.tokenizer([texts[k] for k in probes], truncation=True, max_length=encoder.max_tokens)["input_ids"]
    ids = sorted(ids, key=len)
    blocks = [_padded(ids[k : k + COMMENT_BATCH]) for k in range(0, len(ids), COMMENT_BATCH)]
    found = sensitivities(network, read_readout(stored), blocks, seed=seed)
    weights = [layer.output.dense.weight for layer in network.encoder.layer]
    kept = chosen_units(found, weights, mean=int(settings["units"]))
    wide = PackedBert(network, encoder.tokenizer, most=encoder.max_tokens)
    fitted = refitted(wide, kept, list(wide.packs(texts)))
    thin = {name: value for name, value in stored.items() if name.rpartition("/")[0].endswith(THIN)}
    for number, places in enumerate(kept):
        thin[f"encoder.layer.{number}.intermediate.dense/up"] = stored[f"encoder.layer.{number}.intermediate.dense/up"][
            places.numpy()
        ]
    return thin | fitted | {name: value for name, value in stored.items() if name.startswith("readout/")}


class CommentReadout(nn.Module):
    """Logits of the comments' labels, linear in what `Readout` reads."""

    def __init__(self, width: int, n_labels: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, n_labels))

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(pooled(states, mask))
        return logits


def _run_epochs(
    body: nn.Module,
    readout: nn.Module,
    texts: Texts,
    settings: dict[str, float],
    order: np.random.Generator,
    say: Callable[[str], None],
) -> None:
    encoder = load_encoder(torch.device("cpu"))
    ids = encoder.tokenizer(list(texts[0]), truncation=True, max_length=encoder.max_tokens)["input_ids"]
    truth = torch.from_numpy(texts[1])
    free = [p for p in (*body.parameters(), *readout.parameters()) if p.requires_grad]
    batch, epochs, rate = int(settings["batch"]), int(settings["epochs"]), settings["rate"]
    optimizer = torch.optim.AdamW(free, lr=rate, weight_decay=settings["decay"])
    steps = epochs * -(-len(ids) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    for epoch in range(epochs):
        total = 0.0
        for rows in _batches([len(one) for one in ids], batch, order):
            block, mask = _padded([ids[row] for row in rows])
            states = body(input_ids=block, attention_mask=mask).last_hidden_state
            loss = nn.functional.binary_cross_entropy_with_logits(readout(states, mask), truth[rows])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(free, LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        say(f"  {len(ids)} texts, pass {epoch + 1} of {epochs}: loss {total / len(ids):.3f}")


def _batches(lengths: Sequence[int], size: int, order: np.random.Generator) -> list[np.ndarray]:
    """All rows in random order, in batches of texts of like length."""
    widths, shuffled, found = np.array(lengths), order.permutation(len(lengths)), []
    for start in range(0, len(shuffled), CHUNK * size):
        part = shuffled[start : start + CHUNK * size]
        part = part[np.argsort(widths[part], kind="stable")]
        batches = [part[k : k + size] for k in range(0, len(part), size)]
        found += [batches[k] for k in order.permutation(len(batches))]
    return found


def _padded(ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    block = torch.zeros(len(ids), max(map(len, ids)), dtype=torch.long)
    mask = torch.zeros_like(block)
    for row, one in enumerate(ids):
        block[row, : len(one)], mask[row, : len(one)] = torch.tensor(one), 1
    return block, mask


def expressed_files(stored: dict[str, np.ndarray], found: dict[str, Any]) -> dict[str, bytes]:
    """The two files of the trained scorer."""
    return {"expressed.safetensors": tensor_bytes(stored), "expressed.json": json_bytes(found)}

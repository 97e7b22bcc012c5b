"""A small contrast set: groups about one thing each, where a word of its own tells who expresses what."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

EMOTIONS = ("gratitude", "anger", "apology")
SAID = {"gratitude": "thank you for the", "anger": "I am furious about the", "apology": "I am sorry about my"}
THINGS = (
    "ladder",
    "kettle",
    "fence",
    "bicycle",
    "letter",
    "lamp",
    "garden",
    "piano",
    "window",
    "basket",
    "coat",
    "boat",
)
SPLITS = ("train", "train", "train", "validation", "test", "test")


def contrast_rows() -> list[dict[str, Any]]:
    """Eleven groups of six texts per emotion: said in two ways, quoted, denied, asked for, plain."""
    rows = []
    for number, thing in enumerate(THINGS):
        for emotion in EMOTIONS:
            group = f"{emotion}-{number:03d}"
            texts = {
                "said": (f"{SAID[emotion]} {thing}, {number}.", 1),
                "unsaid": (f"truly, {SAID[emotion]} old {thing}.", 1),
                "quoted": (f"The sign says '{SAID[emotion]} {thing}'.", 0),
                "denied": (f"Nobody said {SAID[emotion]} {thing}.", 0),
                "asked_for": (f"Say '{SAID[emotion]}' when you see the {thing}.", 0),
                "plain": (f"For {emotion} there is a {thing} in hall {number}.", 0),
            }
            for letter, (kind, (text, felt)) in zip("abcdef", texts.items(), strict=True):
                about = {name: int(felt and name == emotion) for name in EMOTIONS}
                fixed = {"id": f"{group}-{letter}", "group": group, "about": emotion, "kind": kind, "text": text}
                fixed |= {"register": ("everyday", "model")[number % 2], "split": SPLITS[number % len(SPLITS)]}
                rows.append({**fixed, **about, "toward": "reader" if felt else "none"})
    return rows


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """One JSON object per line."""
    path.write_text("".join(json.dumps(dict(row)) + "\n" for row in rows), encoding="utf-8")
    return path

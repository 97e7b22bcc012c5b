"""What an act does, as one hash: equal acts have equal fingerprints, in every process and on every machine.

Only what decides the result goes in: of a vector its numbers and the size of its unit (so that a `LayerVector` and its
bare values with `resid_norm` agree), of a recorded source what is read from it. Whose vector it is, and which objects
in memory stand for it, does not count. Nothing is reckoned first: a product's last digits are a processor's own.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np

from emolib.base import store
from emolib.interventions.schedules import Schedule, schedule_key


class Timed(Protocol):
    """What every act says of when it acts, and at which layer."""

    @property
    def layer(self) -> int: ...
    @property
    def window(self) -> int | None: ...
    @property
    def schedule(self) -> Schedule: ...
    @property
    def steps(self) -> int | None: ...


def act_fingerprint(act: Timed, kind: str, place: str | int, **decides: np.ndarray | float | str) -> str:
    """The hash of one act.

    Args:
        kind: what is done there.
        place: the site or the head.
        decides: everything else that decides what it does; numbers count as float32, as they are applied.
    """
    where = place if isinstance(place, str) else int(place)
    return store.digest(
        {
            "kind": kind,
            "place": [int(act.layer), where],
            "timing": [_number(act.window), schedule_key(act.schedule), _number(act.steps)],
            "decides": {name: _plain(value) for name, value in decides.items()},
        }
    )


def array_digest(values: np.ndarray) -> str:
    """The hash of an array's shape and its float32 values; a negative zero counts as zero."""
    array = np.asarray(values, dtype="<f4") + np.float32(0)
    total = hashlib.sha256(repr(array.shape).encode())
    total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def _number(value: int | None) -> int | None:
    return None if value is None else int(value)


def _plain(value: np.ndarray | float | str) -> float | str:
    if isinstance(value, str):
        return value
    return array_digest(value) if isinstance(value, np.ndarray) else float(np.float32(value))

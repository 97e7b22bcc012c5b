"""Memory that is kept from one batch to the next."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Workspace:
    """Memory that one batch after the other uses, so that it is asked for (and zeroed) once."""

    kept: dict[str, Tensor] = field(default_factory=dict)

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of this shape, with whatever was in it last; passes with gradients can write to it, too."""
        size = math.prod(shape)
        if name not in self.kept or self.kept[name].numel() < size:
            with torch.inference_mode(False):  # what inference mode makes can be written to nowhere else
                self.kept[name] = torch.zeros(size, device=like.device, dtype=like.dtype)
        return self.kept[name][:size].view(shape)

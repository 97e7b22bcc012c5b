"""Whether the tensors of a model's files are those of the model that its configuration describes.

transformers fills what is missing with random numbers and drops what is left over; both are mistakes here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from emolib.base.errors import UserError, shown
from emolib.models.weight_files import Stored

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# what wrappers put into the names of the modules that they wrap
WRAPPERS = (
    "_orig_mod.",
    "base_model.model.",
    "_fsdp_wrapped_module.",
    "_checkpoint_wrapped_module.",
    "base_layer.",
    "module.",
    "model.",
)
NAMES = 3
_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks|block)\.(\d+)\.")
_MASK = re.compile(r"\.(?:attn|attention|self_attention|self_attn)\.(?:attention\.)?(?:bias|masked_bias)$")


def refuse_strays(report: Mapping[str, Any], stored: Stored, called: str) -> None:
    """Raises `UserError` unless every weight of the model was in the files, in its shape, and nothing else.

    Tied heads are no mistake, nor are causal masks and angles that older files hold.

    Args:
        report: what transformers' `output_loading_info=True` gives.
        called: the model as its user called it.
    """
    missing = set(report["missing_keys"])
    extra = {name for name in report["unexpected_keys"] if not _is_worked_out(name, stored)}
    if not (missing or extra or report["mismatched_keys"] or report.get("error_msgs")):
        return
    of = shown(called)
    if adapted := sorted(name for name in extra if ".lora_" in name or ".modules_to_save." in name):
        raise UserError(
            f"the weights of {of} hold an adapter that was not merged ({_names(adapted)}); merge it into the base "
            "model (peft's merge_and_unload()) and save again"
        )
    if wrapper := _wrapper(missing, extra):
        raise UserError(
            f"the tensors of {of} have {shown(wrapper)} in their names ({_names(extra)}), which a wrapper put there; "
            f"save the unwrapped model, or load the file, take {shown(wrapper)} out of every name and save it again"
        )
    if report["mismatched_keys"]:
        name, found, wanted = min((str(name), tuple(a), tuple(b)) for name, a, b in report["mismatched_keys"])
        others = len(report["mismatched_keys"]) - 1
        raise UserError(
            f"config.json and weights of {of} are of two models: {shown(name)} has the shape {list(found)} in the files"
            f" and {list(wanted)} by config.json{f' (one of {others + 1} such)' if others else ''}; copy the "
            "config.json that belongs to the weights"
        )
    if layers := _layers(missing, extra, stored):
        raise UserError(f"config.json of {of} says that it has {layers}")
    if missing == {"lm_head.weight"}:
        raise UserError(
            f"the weights of {of} have no output head (lm_head.weight), and config.json says that it is not tied to "
            "the embedding; save the whole model, or set tie_word_embeddings to true if it is tied"
        )
    parts = [f"lack {_names(missing)}"] if missing else []
    parts += [f"hold {_names(extra)}, which the model of its config.json has not"] if extra else []
    parts = parts or [f"do not fit: {report['error_msgs'][0]}"]
    raise UserError(
        f"expected the weights of {of} to be those of its config.json, they {' and '.join(parts)}; transformers would "
        "take random ones or drop them: save the model again, or copy the config.json that belongs to it"
    )


def refuse_two_heads(network: PreTrainedModel, stored: Stored, called: str) -> None:
    """Raises `UserError` where two different tensors are stored that the configuration makes one.

    transformers takes both and says so in a warning; other versions of it take the first for both.
    """
    for head, embedding in network.all_tied_weights_keys.items():
        if not {head, embedding} <= stored.places.keys():
            continue
        first, second = (stored.read(name) for name in (head, embedding))
        if not torch.equal(first, second):
            raise UserError(
                f"config.json of {shown(called)} ties {shown(head)} to {shown(embedding)}, its files hold two "
                "different tensors; set tie_word_embeddings to false to use both, or save the model without the first"
            )


def refuse_not_finite(network: nn.Module, stored: Stored, called: str) -> None:
    """Raises `UserError` for the first tensor with NaN or infinite values.

    A sum tells: it is finite only where every number is (in float32, of any weights that a model could compute with).
    """
    for name, tensor in network.named_parameters():
        if tensor.is_meta or math.isfinite(float(tensor.detach().sum(dtype=torch.float32))):
            continue
        bad = int((~torch.isfinite(tensor)).sum())
        if not bad:
            continue
        if _is_finite_on_disk(name, stored):
            raise UserError(
                f"{bad:,} weights of {shown(name)} in {shown(called)} are too large for "
                f"{str(tensor.dtype).removeprefix('torch.')}; load the model in bfloat16 or float32"
            )
        raise UserError(
            f"expected finite weights in {shown(called)}, {bad:,} of {tensor.numel():,} in {shown(name)} are NaN or "
            "infinite; the training diverged or the file is damaged, take an earlier checkpoint"
        )


def _is_finite_on_disk(name: str, stored: Stored) -> bool:
    if name not in stored.places:
        return False
    return bool(torch.isfinite(stored.read(name).float()).all())


def _is_worked_out(name: str, stored: Stored) -> bool:
    """A causal mask or rotary angles, which models work out by themselves and older files hold all the same."""
    if name.endswith(("rotary_emb.inv_freq", "rotary_pos_emb.inv_freq")):
        return True
    shape = stored.shapes.get(name)
    return bool(_MASK.search(name)) and shape is not None and (len(shape) == 4 or math.prod(shape) == 1)


def _wrapper(missing: Collection[str], extra: Collection[str]) -> str | None:
    """What stands in most of the left-over names and makes them missing ones when it is taken out."""
    for wrapper in WRAPPERS:
        if sum(wrapper in name and name.replace(wrapper, "", 1) in missing for name in extra) * 2 > len(extra):
            return wrapper
    prefixes = [name.removesuffix(end) for name in extra for end in missing if name.endswith("." + end)]
    common = max(set(prefixes), key=lambda prefix: (prefixes.count(prefix), -len(prefix)), default=None)
    return common if common and prefixes.count(common) * 2 > len(extra) else None


def _layers(missing: Collection[str], extra: Collection[str], stored: Stored) -> str | None:
    """The end of the line where whole layers are missing or left over, and nothing else."""
    wanted, left = ({int(m[1]) for name in names if (m := _LAYER.search(name))} for names in (missing, extra))
    held = {int(m[1]) for name in stored.shapes if (m := _LAYER.search(name))}
    only_layers = all(_LAYER.search(name) for name in (*missing, *extra))
    if not only_layers or not held or bool(missing) == bool(extra):
        return None
    n_held = max(held) + 1
    if missing and not wanted & held:
        gap = sorted(wanted)
        if gap[0] < n_held:
            return f"a layer {gap[0]}, which the files leave out ({_names(missing)}); fetch it again"
        return (
            f"{_counted(gap[-1] + 1)}, the files hold {n_held}; correct the number of layers, or fetch the whole model"
        )
    if extra and min(left) > 0 and left == set(range(min(left), n_held)):
        n_wanted = _counted(min(left))
        return f"{n_wanted}, the files hold {n_held}; correct the number of layers, or save the smaller model anew"
    return None


def _counted(n_layers: int) -> str:
    return f"{n_layers} layer{'s' if n_layers > 1 else ''}"


def _names(names: Collection[str]) -> str:
    first = ", ".join(shown(name, 70) for name in sorted(names)[:NAMES])
    more = len(names) - NAMES
    return first + (f" and {more} other{'s' if more > 1 else ''}" if more > 0 else "")

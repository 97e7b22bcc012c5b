"""CircuitsVis views of tokens and attention, offline: arrays in, a MIME bundle without any script out.

The notebook holds a view's data and a fallback in plain HTML. The site and `standalone_view_html` draw the data with
one copy of CircuitsVis' script, read from the installed package: its own Python side puts that script (1.3 MB) into
every output, names every output at random, and probes the network when it is displayed.
"""

from __future__ import annotations

import html
import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from emolib.base import language, paths
from emolib.base.errors import UserError, shown
from emolib.plots.plot_files import script_json, standalone_document
from emolib.plots.view_fallbacks import (
    NEGATIVE,
    POSITIVE,
    SIGNIFICANT_DIGITS,
    scale_line,
    strongest_keys,
    token_spans,
)

VIEW_MIME = "application/vnd.emolib.circuitsvis+json"
ATTENTION_DECIMALS = 3
ROUNDING = 1e-3
# A view shares an executed notebook of at most 1 MB with the other outputs.
LARGEST_VIEW = 400_000
NOTEBOOK_INDENT = 8

View = dict[str, Any]


# ── into the notebook ─────────────────────────────────────────────────────────────────────────────────────────────


def show(bundle: View) -> None:
    """Displays a MIME bundle of this module in the running notebook."""
    from IPython.display import display

    display(bundle, raw=True)


def coloured_tokens(
    tokens: Sequence[str], values: Sequence[float], *, reach: float | None = None, caption: str = ""
) -> View:
    """One text, each token on a ground coloured by its value: blue below 0, white at 0, vermilion above.

    Args:
        tokens: the text's tokens, in order; untrusted text.
        values: `[n_tokens]`; what is not finite becomes null and stays white.
        reach: the value of the full colour on either side; None takes the largest absolute value.
        caption: a line above the tokens.

    Returns:
        MIME type → content: `VIEW_MIME` (CircuitsVis' ColoredTokens and its props, values to 4 significant digits),
        `text/html` without script, and `text/plain`. The same input gives the same bundle.

    Raises:
        UserError: no tokens, not one number per token, a reach that is not above 0, or a bundle too large.
    """
    words, numbers = _text(tokens), _values(values)
    _same_length(words, numbers)
    reach = _reach(reach, numbers)
    part = _coloured_part(words, numbers, reach)
    content = scale_line(-reach, reach) + token_spans(words, numbers, reach)
    summary = language.word("views.n_tokens", n=len(words))
    return _bundle("tokens", {**part, "caption": _clean(caption)}, content, summary)


def coloured_tokens_many(
    rows: Sequence[tuple[str, Sequence[str], Sequence[float]]], reach: float | None = None, *, caption: str = ""
) -> View:
    """Several texts, `(label, tokens, values)` each, in one view and on one common scale; see `coloured_tokens`.

    Raises:
        UserError: no rows, or what `coloured_tokens` refuses, named by the row's label.
    """
    if not len(rows):
        raise UserError("expected at least one row (label, tokens, values), got none")
    cleaned = [(_clean(label), _text(tokens), _values(values)) for label, tokens, values in rows]
    for label, words, numbers in cleaned:
        _same_length(words, numbers, f" in the row {label!r}")
    reach = _reach(reach, [number for _, _, numbers in cleaned for number in numbers])
    parts = [{"label": label, **_coloured_part(words, numbers, reach)} for label, words, numbers in cleaned]
    content = scale_line(-reach, reach) + "".join(
        f"<p><b>{html.escape(label)}</b></p>{token_spans(words, numbers, reach)}" for label, words, numbers in cleaned
    )
    summary = language.word("views.n_texts", n=len(parts))
    return _bundle("tokens", {"elements": parts, "caption": _clean(caption)}, content, summary)


def attention_patterns(
    tokens: Sequence[str],
    patterns: Float[np.ndarray, "head query key"],
    names: Sequence[str],
    *,
    caption: str = "",
) -> View:
    """Attention of several heads over one text: small patterns to choose from, and the chosen one large.

    Args:
        tokens: the text's tokens; untrusted text.
        patterns: `[n_heads, n_tokens, n_tokens]`, shares in 0 … 1 (or differences of shares, from -1), kept to 3
            decimals. The part above the diagonal is greyed where all of it is 0.
        names: one per head, such as `L3H5`.
        caption: a line above the patterns.

    Returns:
        A bundle as of `coloured_tokens`, for CircuitsVis' AttentionHeads; its fallback is a table of the strongest
        key per query and head.

    Raises:
        UserError: shapes that do not fit, values outside -1 … 1, or a bundle too large.
    """
    words, heads = _text(tokens), [_clean(name) for name in names]
    array = _array(patterns)
    expected = (len(heads), len(words), len(words))
    if array.shape != expected or not heads:
        raise UserError(f"expected patterns [head, query, key] of shape {expected}, got {array.shape}")
    if not (np.abs(array) <= 1 + ROUNDING).all():
        raise UserError("expected attention between -1 and 1, got values outside or not finite; give the softmax")
    array = np.round(array, ATTENTION_DECIMALS) + 0.0  # -0.0 becomes 0.0
    low = -1.0 if (array < 0).any() else 0.0
    props = {
        "tokens": words,
        "attention": array.tolist(),
        "attentionHeadNames": heads,
        "maskUpperTri": not np.triu(array, 1).any(),
        **_scale(low, 1.0),
    }
    view = {"element": "AttentionHeads", "props": props, "caption": _clean(caption)}
    return _bundle("attention", view, strongest_keys(words, array, heads), language.word("views.listed_by").join(heads))


def _bundle(kind: str, view: View, content: str, summary: str) -> View:
    """Puts the three forms together, unless they would make the notebook too large; `kind` is tokens or attention."""
    named = {"kind": language.word(f"views.{kind}"), "summary": summary}
    caption = view["caption"]
    shown = f"<p>{html.escape(caption)}</p>" if caption else ""
    bundle = {
        VIEW_MIME: view,
        "text/html": f'<div class="emolib-tokens">{shown}{content}</div>',
        "text/plain": language.word("views.with_caption", caption=caption, **named)
        if caption
        else language.word("views.without_caption", **named),
    }
    written = json.dumps(bundle, indent=1, ensure_ascii=False)
    size = len(written.encode()) + NOTEBOOK_INDENT * written.count("\n")
    if size > LARGEST_VIEW:
        raise UserError(
            f"expected a view of at most {LARGEST_VIEW:,} bytes in the notebook, got {size:,}; "
            "show fewer texts, tokens or heads"
        )
    return bundle


def _coloured_part(words: list[str], numbers: list[float | None], reach: float) -> View:
    return {"element": "ColoredTokens", "props": {"tokens": words, "values": numbers, **_scale(-reach, reach)}}


def _scale(low: float, high: float) -> View:
    return {"minValue": low, "maxValue": high, "negativeColor": NEGATIVE, "positiveColor": POSITIVE}


# ── what came in ──────────────────────────────────────────────────────────────────────────────────────────────────


def _clean(text: str) -> str:
    """Half a surrogate pair, which a tokenizer can leave behind, cannot be written as UTF-8."""
    return str(text).encode("utf-8", "replace").decode("utf-8")


def _text(tokens: Sequence[str]) -> list[str]:
    if isinstance(tokens, str) or not len(tokens) or not all(isinstance(token, str) for token in tokens):
        raise UserError(f"expected a list of token strings, got {type(tokens).__name__}; decode the ids one by one")
    return [_clean(token) for token in tokens]


def _array(values: object) -> np.ndarray:
    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError, RuntimeError) as error:  # torch: on a GPU, or with a gradient
        raise UserError(f"expected numbers or an array in main memory, got {type(values).__name__}: {error}") from error


def _values(values: Sequence[float]) -> list[float | None]:
    array = _array(values)
    if array.ndim != 1:
        raise UserError(f"expected one value per token, got an array of shape {array.shape}")
    return [_rounded(value) if np.isfinite(value) else None for value in array.tolist()]


def _same_length(words: list[str], numbers: list[float | None], where: str = "") -> None:
    if len(words) != len(numbers):
        raise UserError(f"expected one value per token{where}, got {len(numbers)} for {len(words)} tokens")


def _rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") + 0.0


def _reach(reach: float | None, numbers: Sequence[float | None]) -> float:
    if reach is None:
        return max((abs(number) for number in numbers if number is not None), default=0.0) or 1.0
    if not (np.isfinite(reach) and reach > 0):
        raise UserError(f"expected a reach above 0, got {shown(reach)}; leave it out for the largest absolute value")
    return _rounded(float(reach))


# ── out of the notebook ───────────────────────────────────────────────────────────────────────────────────────────


def view_html(view: View, fallback: str) -> str:
    """A view's data and fallback in a `<div>`, for a page whose script `docs/site/static/views.js` draws it."""
    data = script_json(view)
    return (
        f'<div class="emolib-view"><script type="application/json">{data}</script>'
        f'<div class="emolib-view-fallback">{fallback}</div></div>'
    )


def bundle_of(view: object) -> View:
    """The whole bundle of a view that a notebook holds, made anew from its texts and numbers alone.

    Raises:
        UserError: it is no view of this module.
    """
    if not isinstance(view, Mapping):
        raise UserError(f"expected a view of emolib.plots.views, got {shown(view)}")
    parts = view.get("elements", [view])
    try:
        caption, kinds = str(view.get("caption", "")), {str(part["element"]) for part in parts}
        if kinds == {"ColoredTokens"}:
            rows = [(str(part.get("label", "")), part["props"]["tokens"], part["props"]["values"]) for part in parts]
            reach = parts[0]["props"]["maxValue"]
            if "elements" in view:
                return coloured_tokens_many(rows, reach, caption=caption)
            return coloured_tokens(rows[0][1], rows[0][2], reach=reach, caption=caption)
        if kinds == {"AttentionHeads"} and len(parts) == 1:
            props = parts[0]["props"]
            names = list(map(str, props["attentionHeadNames"]))
            return attention_patterns(props["tokens"], props["attention"], names, caption=caption)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"expected a view of emolib.plots.views, got one that is broken: {error}") from error
    raise UserError(f"expected a view of emolib.plots.views, got {shown(sorted(kinds))}")


def circuitsvis_script() -> str:
    """CircuitsVis' script (it makes the global `CircuitsVis`) as installed, without the address of its source map.

    Raises:
        UserError: the package or its script is not there.
    """
    # Importing the package would import torch.
    spec = importlib.util.find_spec("circuitsvis")
    file = Path(spec.origin or "").parent / "dist" / "cdn" / "iife.js" if spec else None
    if file is None or not file.is_file():
        raise UserError("expected the package circuitsvis with its script, found none; pip install -r requirements.txt")
    return re.sub(r"^//[#@] sourceMappingURL=.*$\n?", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)


def standalone_view_html(bundle: View | Sequence[View], title: str) -> bytes:
    """One or several bundles as an HTML document that needs nothing beside it, with CircuitsVis' script once.

    Raises:
        UserError: a bundle holds no view.
    """
    bundles: Sequence[View] = [bundle] if isinstance(bundle, Mapping) else bundle
    for single in bundles:
        if VIEW_MIME not in single:
            raise UserError(f"expected bundles of emolib.plots.views, got one with {sorted(single)}")
    body = f"<h1>{html.escape(title)}</h1>"
    body += "".join(view_html(single[VIEW_MIME], single["text/html"]) for single in bundles)
    drawing = (paths.site_configuration() / "static" / "views.js").read_text(encoding="utf-8")
    return standalone_document(title, body, [circuitsvis_script(), drawing])

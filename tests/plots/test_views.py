"""CircuitsVis views and plots as files: the same every time, complete, and deaf to hostile tokens."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from browser import external_addresses, find_browser, opened_text

from emolib.base import paths
from emolib.base.errors import UserError
from emolib.plots import views

# No white space: CircuitsVis replaces it, and a tag with white space dies of that.
HOSTILE = ["<img/src='x.png'/onerror='window.hacked=1'>", "</script><script>window.hacked=2</script>", "&lt;b&gt;"]
TOKENS = ["<|endoftext|>", "I", " am", "\n", " glad", *HOSTILE]
VALUES = [float("nan"), 0.123456, -0.5, 0.25, 2.0, -2.0, 1.0, -1e-9]
CAUSAL = [[[1, 0], [0.2, 0.8]], [[1, 0], [0.56789, 0.43211]]]
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
UNDEFUSED = ('"$&\\u2060"', '"$&"')


def grounds(bundle: views.View) -> list[str]:
    """The colours behind the tokens of a fallback, without those of the scale above it."""
    return re.findall(r"background:(#\w{6});color:#\w{3}\"", bundle["text/html"])


# ── bundles ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_values_are_rounded_on_a_symmetric_scale_and_the_tokens_stay_as_they_are() -> None:
    view = views.coloured_tokens(TOKENS, np.array(VALUES), caption="射影")[views.VIEW_MIME]
    props = view["props"]
    assert (view["element"], view["caption"], props["tokens"]) == ("ColoredTokens", "射影", TOKENS)
    assert props["values"] == [None, 0.1235, -0.5, 0.25, 2.0, -2.0, 1.0, -1e-9]
    assert (props["minValue"], props["maxValue"]) == (-2.0, 2.0)
    assert (props["negativeColor"], props["positiveColor"]) == ("#0072B2", "#D55E00")
    assert views.coloured_tokens(["a"], [0.5], reach=3)[views.VIEW_MIME]["props"]["minValue"] == -3.0


def test_the_same_input_gives_the_same_bundle_and_another_value_another() -> None:
    texts = [json.dumps(views.coloured_tokens(["a", "b"], [x, 1.0])) for x in (0.5, 0.5, 0.6)]
    assert texts[0] == texts[1] != texts[2]
    json.loads(json.dumps(views.coloured_tokens(TOKENS, VALUES), allow_nan=False))


def test_the_fallback_has_no_script_escapes_tokens_and_shows_line_ends_and_numbers() -> None:
    bundle = views.coloured_tokens(TOKENS, VALUES, caption="<b>題</b>")
    page = bundle["text/html"]
    assert set(re.findall(r"<(\w+)", page)) == {"div", "p", "span"}
    assert "&lt;b&gt;題" in page
    assert "&lt;img/src=&#x27;x.png&#x27;" in page
    assert ">↵\n</span>" in page
    assert 'title="0.1235"' in page
    assert 'title="値なし"' in page
    assert bundle["text/plain"] == "トークンの色分け: <b>題</b>（8 トークン）"


def test_the_fallback_is_blue_below_zero_vermilion_above_and_full_at_the_reach() -> None:
    values = [-1.0, 0.0, 1.0, 5.0, 0.5]
    full = grounds(views.coloured_tokens(list("abcde"), values, reach=1))[-5:]
    assert full == ["#0072b2", "#ffffff", "#d55e00", "#d55e00", "#eaae80"]
    pale = grounds(views.coloured_tokens(list("abcde"), values, reach=10))[-5:]
    assert not {"#0072b2", "#d55e00"} & set(pale)


def test_several_texts_share_one_scale() -> None:
    rows = [("感謝", ["a", "b"], [0.5, 1.0]), ("怒り <i>", ["c"], [0.5])]
    bundle = views.coloured_tokens_many(rows, caption="二文")
    parts = bundle[views.VIEW_MIME]["elements"]
    assert [part["label"] for part in parts] == ["感謝", "怒り <i>"]
    assert {part["props"]["maxValue"] for part in parts} == {1.0}
    first, _, second = grounds(bundle)[-3:]
    assert first == second
    assert grounds(views.coloured_tokens(*rows[1][1:]))[-1] != second  # alone it would be the full colour
    assert "<i>" not in bundle["text/html"]
    assert bundle["text/plain"] == "トークンの色分け: 二文（2 件）"


def test_attention_is_rounded_and_its_fallback_names_the_strongest_keys() -> None:
    bundle = views.attention_patterns(["<b>", "x"], CAUSAL, ["L0H1", "L2H3"])
    view = bundle[views.VIEW_MIME]
    assert view["element"] == "AttentionHeads"
    assert view["props"]["attention"][1] == [[1.0, 0.0], [0.568, 0.432]]
    assert view["props"]["attentionHeadNames"] == ["L0H1", "L2H3"]
    last = re.findall(r"<tr>(.*?)</tr>", bundle["text/html"])[-1]
    assert last == "<th>x (1)</th><td>x (1) 0.80</td><td>&lt;b&gt; (0) 0.57</td>"


def test_attention_forwards_is_not_greyed_and_differences_get_a_lower_end() -> None:
    causal = views.attention_patterns(["a", "b"], CAUSAL, ["x", "y"])[views.VIEW_MIME]["props"]
    both_ways = views.attention_patterns(["a", "b"], [[[0.5, 0.5], [-0.5, 0.5]]], ["x"])[views.VIEW_MIME]["props"]
    assert (causal["maskUpperTri"], causal["minValue"]) == (True, 0.0)
    assert (both_ways["maskUpperTri"], both_ways["minValue"]) == (False, -1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: views.coloured_tokens(["a", "b"], [1.0]), "got 1 for 2 tokens"),
        (lambda: views.coloured_tokens([], []), "list of token strings"),
        (lambda: views.coloured_tokens("text", [1.0] * 4), "list of token strings"),
        (lambda: views.coloured_tokens([3, 4], [1.0, 2.0]), "decode the ids"),
        (lambda: views.coloured_tokens(["a"], [[1.0]]), r"shape \(1, 1\)"),
        (lambda: views.coloured_tokens(["a"], ["x"]), "expected numbers"),
        (lambda: views.coloured_tokens(["a"], [1.0], reach=0), "reach above 0"),
        (lambda: views.coloured_tokens(["a"], [1.0], reach=float("nan")), "reach above 0"),
        (lambda: views.coloured_tokens_many([]), "at least one row"),
        (lambda: views.coloured_tokens_many([("一つ目", ["a"], [])]), "in the row '一つ目'"),
        (lambda: views.attention_patterns(["a", "b"], [[[1.0]]], ["x"]), r"shape \(1, 2, 2\), got \(1, 1, 1\)"),
        (lambda: views.attention_patterns(["a"], [[[1.0]]], ["x", "y"]), r"shape \(2, 1, 1\)"),
        (lambda: views.attention_patterns(["a"], [[[1.5]]], ["x"]), "give the softmax"),
        (lambda: views.attention_patterns(["a"], [[[float("nan")]]], ["x"]), "give the softmax"),
        (lambda: views.standalone_view_html({"text/html": "x"}, "題"), "bundles of emolib.plots.views"),
    ],
)
def test_what_does_not_fit_is_the_users_mistake(call, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_a_view_too_large_for_a_notebook_is_refused_and_its_half_is_not() -> None:
    pattern = np.tril(np.full((10, 45, 45), 0.125))
    names = [f"L0H{i}" for i in range(10)]
    with pytest.raises(UserError, match="fewer texts, tokens or heads"):
        views.attention_patterns(["token"] * 45, pattern, names)
    bundle = views.attention_patterns(["token"] * 45, pattern[:5], names[:5])
    assert len(json.dumps(bundle, indent=1)) < views.LARGEST_VIEW


def test_half_a_surrogate_pair_does_not_stop_the_file() -> None:
    bundle = views.coloured_tokens(["a\ud83d"], [1.0], caption="\ud83d")
    assert bundle[views.VIEW_MIME]["props"]["tokens"] == ["a?"]
    json.dumps(bundle, ensure_ascii=False).encode("utf-8")


def test_a_view_in_a_notebook_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *data, **how: shown.append((data, how)))
    bundle = views.coloured_tokens(["a"], [1.0])
    views.show(bundle)
    assert shown == [((bundle,), {"raw": True})]


# ── CircuitsVis' script ───────────────────────────────────────────────────────────────────────────────────────────


def test_circuitsvis_own_python_side_which_probes_the_network_stays_unloaded() -> None:
    code = (
        "import sys; from emolib.plots import views; views.coloured_tokens(['a'], [1.0]); views.circuitsvis_script()\n"
    )
    code += "print([name in sys.modules for name in ('emolib.plots.views', 'circuitsvis')])"
    environment = {**os.environ, "PYTHONPATH": str(paths.repository_root())}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[True, False]"


def test_the_script_is_the_installed_one_without_its_source_map() -> None:
    installed = Path(importlib.util.find_spec("circuitsvis").origin).parent / "dist" / "cdn" / "iife.js"
    text, script = installed.read_text("utf-8"), views.circuitsvis_script()
    assert "sourceMappingURL" in text and "sourceMappingURL" not in script
    assert text.startswith(script) and len(text) - len(script) < 100


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install"):
        views.circuitsvis_script()


# ── documents of their own, in a browser ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def browser() -> str:
    return find_browser()


@pytest.fixture(scope="module")
def document() -> str:
    """Three views in one document."""
    bundles = [
        views.coloured_tokens(TOKENS, VALUES, caption="射影 <i>"),
        views.coloured_tokens_many([(HOSTILE[0], TOKENS, VALUES), ("二つ目", ["a"], [1.0])]),
        views.attention_patterns([" thank", HOSTILE[0]], CAUSAL, ["L0H1", HOSTILE[0]]),
    ]
    return views.standalone_view_html(bundles, "題 <i>").decode("utf-8")


def test_several_views_are_drawn_by_one_script_and_hostile_tokens_stay_text(
    browser: str, document: str, tmp_path: Path
) -> None:
    assert document.count("var CircuitsVis=") == 1
    assert external_addresses(document, ".html") == []
    found, told, dom = opened_text(browser, document, tmp_path)
    assert [view["fallback"] for view in found] == [False] * 3
    assert dom.count('class="colored-tokens"') == 3
    assert found[2]["tags"].count("canvas") == 3
    assert not {"img", "script", "b", "i"} & {tag for view in found for tag in view["tags"]}
    for view in found[:2]:
        text = view["drawn"].replace("\u2060", "").replace("\xa0", " ")
        assert "".join(TOKENS).replace("\n", "↵ ") in text
    assert found[0]["drawn"].startswith("射影 <i>-22")  # the caption, and the ends of the scale
    assert "二つ目" in found[1]["drawn"]
    assert told == {"hacked": None, "refused": []}


def test_tokens_that_were_not_defused_would_run_where_no_policy_stops_them(
    browser: str, document: str, tmp_path: Path
) -> None:
    assert UNDEFUSED[0] in document
    found, told, _ = opened_text(browser, POLICY.sub("", document).replace(*UNDEFUSED), tmp_path)
    assert "img" in found[0]["tags"]
    assert told["hacked"] == 1


def test_without_their_policy_defused_tokens_are_harmless_too(browser: str, document: str, tmp_path: Path) -> None:
    found, told, _ = opened_text(browser, POLICY.sub("", document), tmp_path)
    assert [view["fallback"] for view in found] == [False] * 3
    assert told["hacked"] is None


def test_a_script_that_was_changed_is_refused_and_the_fallbacks_stay(
    browser: str, document: str, tmp_path: Path
) -> None:
    found, told, _ = opened_text(browser, document.replace("var CircuitsVis=", "var CircuitsVis ="), tmp_path)
    assert [(view["fallback"], view["drawn"]) for view in found] == [(True, "")] * 3
    assert told["refused"] == ["inline"]
    assert "".join(TOKENS).replace("\n", "↵\n") in found[0]["fallback_text"]


def test_a_view_that_cannot_be_drawn_keeps_its_fallback_and_stops_no_other(browser: str, tmp_path: Path) -> None:
    good = views.coloured_tokens(["good"], [1.0])
    unknown = {**good, views.VIEW_MIME: {"element": "Hello", "props": {}, "caption": ""}}
    broken = views.attention_patterns(["a", "b"], CAUSAL, ["x", "y"])
    broken[views.VIEW_MIME]["props"]["attention"] = [3]
    document = views.standalone_view_html([unknown, broken, good], "題").decode("utf-8")
    found, _, _ = opened_text(browser, document, tmp_path)
    assert [view["fallback"] for view in found] == [True, True, False]

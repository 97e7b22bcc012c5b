#!/usr/bin/env bash
# vaderSentiment 3.3.2: the word after "but" may lose its weight to the word before it.
#
# VADER's paper halves the valences before a "but" and raises those after it by a half. The word whose valence is to be
# changed is looked up by its value: where a valence after "but" is exactly half of one before it (which was halved a
# moment earlier), the earlier word is found and halved again, and the later one stays as it is. A sentence that ends
# on a *weaker* word then gets the higher score.
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
python3 -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet vaderSentiment==3.3.2
cd "$home"
"$home/venv/bin/python" - <<'PY'
from importlib.metadata import version
from math import sqrt

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

analyser = SentimentIntensityAnalyzer()
print(f"vaderSentiment {version('vaderSentiment')}")


def compound(total):
    """The paper's normalisation of a sum of valences."""
    return total / sqrt(total * total + 15)


seen = {}
for before, after in (("amazing", "excited"), ("amazing", "calm"), ("love", "relieved"), ("love", "nice")):
    first, last = analyser.lexicon[before], analyser.lexicon[after]
    text = f"The trip was {before} but I am {after} to be home."
    found, expected = analyser.polarity_scores(text)["compound"], compound(0.5 * first + 1.5 * last)
    seen[before, after] = (found, expected, compound(0.25 * first + last))
    print(f"{before} {first} but {after} {last}: compound {found:.4f}, by the rule {expected:.4f}")
for (_, after), (found, expected, twice) in seen.items():
    if after in ("excited", "relieved"):
        assert abs(found - twice) < 1e-4, "the first word is halved twice, the second keeps its valence"
        assert found < expected - 0.1
    else:
        assert abs(found - expected) < 1e-4, "with any other valence the rule is kept"
assert seen["amazing", "calm"][0] > seen["amazing", "excited"][0], "calm (1.3) now scores above excited (1.4)"
PY
echo "as described"

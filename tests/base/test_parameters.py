"""Parameters: precedence, types, and errors that name the nearest valid name."""

import pytest

from emolib.base import config
from emolib.base.errors import UserError
from emolib.base.parameter_types import parse_layers
from emolib.base.parameters import PHASE_PARAMETERS, resolve, spread_layers


@pytest.mark.parametrize("profile", ["baseline_smoke", "quick", "baseline"])
@pytest.mark.parametrize("phase", sorted(PHASE_PARAMETERS))
def test_every_profile_resolves_for_every_phase(profile, phase):
    params = resolve(profile, "smollm2_135m", phase)
    assert params.profile == profile
    if phase in ("phase7", "phase9"):  # it reads tables: how many scenarios they are of is not its to say
        assert "n_train" not in type(params).model_fields
    else:
        assert params.n_train >= 5


def test_the_caller_beats_the_profile_and_none_means_the_profile():
    base = resolve("quick", "smollm2_135m", "phase5")
    assert resolve("quick", "smollm2_135m", "phase5", {"n_controls": None}).n_controls == base.n_controls
    assert resolve("quick", "smollm2_135m", "phase5", {"n_controls": 7}).n_controls == 7
    assert config.load_profile("quick")["phase5"]["n_controls"] == base.n_controls


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"n_control": 5}, ["unknown parameter 'n_control'", "'n_controls'"]),
        ({"alphas": [0.1, float("nan")]}, ["alphas", "finite"]),
        ({"alphas": []}, ["alphas"]),
        ({"layers": "3-x"}, ["layers", "3-x"]),
        ({"alphas": [0.2, -0.3]}, ["alphas", "at least 0", "-0.3", "opposite"]),
        ({"layers": [31]}, ["layer 31", "out of range", "0-29"]),
        ({"unit": "metres"}, ["unit", "metres"]),
        ({"n_train": "many"}, ["n_train", "many"]),
        ({"window": 0}, ["window"]),
    ],
)
def test_a_bad_parameter_is_one_line_that_says_what_came(given, words):
    with pytest.raises(UserError) as caught:
        resolve("quick", "smollm2_135m", "phase5", given)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_the_final_residual_is_a_layer_that_has_no_heads():
    assert resolve("quick", "smollm2_135m", "phase5", {"layers": [30]}).layers == (30,)
    assert resolve("quick", "smollm2_135m", "phase6a", {"layers": [29]}).layers == (29,)
    with pytest.raises(UserError, match=r"layer 30 is out of range: this model's heads lie in layers 0-29"):
        resolve("quick", "smollm2_135m", "phase6a", {"layers": [30]})


def test_unknown_profile_and_phase_name_the_nearest():
    with pytest.raises(UserError, match=r"unknown profile 'quik': did you mean 'quick'"):
        resolve("quik", "smollm2_135m", "phase5")
    with pytest.raises(UserError, match=r"unknown phase 'phase55': did you mean 'phase5'"):
        resolve("quick", "smollm2_135m", "phase55")


def test_an_unknown_key_in_a_profile_file_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "mine.yaml").write_text("n_trian: 4\n")
    monkeypatch.setattr(config.paths, "params_folder", lambda kind: tmp_path / kind)
    with pytest.raises(UserError, match=r"unknown key 'n_trian' in profile 'mine': did you mean 'n_train'"):
        resolve("mine", "smollm2_135m", "phase1")


@pytest.mark.parametrize(
    ("text", "layers"),
    [("0-3", (0, 1, 2, 3)), ("8,2", (2, 8)), ("1-2,2-4", (1, 2, 3, 4)), (5, (5,)), ([3, 1], (1, 3)), ("all", ())],
)
def test_layers_are_parsed(text, layers):
    assert parse_layers(text) == layers


def test_the_full_study_tries_every_layer_and_others_a_spread_or_those_given():
    full = resolve("baseline", "gpt2", "phase5")
    assert full.candidate_layers(12) == tuple(range(12)) and full.vector_style == "explicit"
    assert resolve("quick", "gpt2", "phase5").candidate_layers(12) == spread_layers(12, 5)
    assert resolve("quick", "gpt2", "phase5", {"layers": "3,5"}).candidate_layers(12) == (3, 5)


def test_spread_layers_stay_inside_the_middle_third():
    for n_layers in (6, 12, 30, 48):
        layers = spread_layers(n_layers, 6)
        assert layers == tuple(sorted(set(layers)))
        assert n_layers / 3 - 1 <= layers[0] and layers[-1] <= 2 * n_layers / 3 + 1

"""Configurations: the published values, the bundled names, and errors that name the key."""

import copy
import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from golden_data import GOLDEN

from fomm.config import config_from_dict, config_names, find_config, load_config
from fomm.errors import ConfigError

pytestmark = pytest.mark.smoke

OWN = {
    "heads-128", "heads-128-keypoints", "heads-128-motion", "heads-256", "heads-256-finetune",
    "heads-256-painter", "vox-512",
}  # fmt: skip
PUBLISHED = json.loads((GOLDEN / "published-configs.json").read_text())
MINIMAL = {
    "dataset_params": {"frame_shape": [64, 96, 3]},
    "model_params": yaml.safe_load((GOLDEN / "tiny.yaml").read_text())["model_params"],
}


def with_value(path: str, value: object) -> dict:
    """Return the minimal configuration with one value changed or added."""
    data = copy.deepcopy(MINIMAL)
    *sections, key = path.split(".")
    place = data
    for section in sections:
        place = place.setdefault(section, {})
    place[key] = value
    return data


def differences(expected: object, got: object, path: str = "") -> list[str]:
    """Where what was got has another value or type than expected; more keys of a dict are no difference."""
    if isinstance(expected, dict) and isinstance(got, dict):
        return [d for k in expected for d in differences(expected[k], got.get(k), f"{path}.{k}")]
    if type(expected) is type(got) and expected == got:
        return []
    return [f"{path}: {got!r} instead of {expected!r}"]


def test_eight_published_and_our_own():
    assert set(config_names()) == {*PUBLISHED, *OWN}
    assert len(PUBLISHED) == 8


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values(name):
    written = yaml.safe_load(find_config(name).read_text())
    assert written == PUBLISHED[name]
    assert differences(PUBLISHED[name], load_config(name).to_dict()) == []


@pytest.mark.parametrize("name", ["heads-128", "heads-256", "vox-adv-256"])
def test_to_dict_and_back(name):
    config = load_config(name)
    data = json.loads(json.dumps(config.to_dict()))
    assert config_from_dict(data) == config


def test_our_own_average_their_weights_and_published_ones_neither_that_nor_warm_up():
    for name in config_names():
        params = load_config(name).train_params
        assert (params.ema_decay is not None) == (name in OWN), name
        assert params.warmup_steps == (100 if name.startswith("heads") else 0), name


def test_drawn_heads_are_shown_in_either_order_and_never_mirrored():
    for name in OWN - {"vox-512"}:
        flip = load_config(name).dataset_params.augmentation_params.flip_param
        assert flip.time_flip and not flip.horizontal_flip, name


def test_our_own_show_the_motion_networks_the_same_size():
    for name in ("heads-128", "heads-256", "heads-256-finetune", "vox-512"):
        config = load_config(name)
        model = config.model_params
        size = config.dataset_params.frame_shape[0]
        assert size * model.kp_detector_params.scale_factor == 64
        assert size * model.generator_params.dense_motion_params.scale_factor == 64


def test_minimal_file_and_defaults():
    config = config_from_dict(MINIMAL)
    assert config.dataset_params.frame_shape == (64, 96, 3)
    assert config.train_params is None and config.animate_params is None
    assert config.model_params.generator_params.align_corners is True
    assert config.model_params.kp_detector_params.pad == 0
    assert config.model_params.generator_params.dense_motion_params.kp_variance == 0.01


def test_align_corners_can_be_turned_off():
    config = config_from_dict(with_value("model_params.generator_params.align_corners", False))
    assert config.model_params.generator_params.align_corners is False


def test_our_own_loss_weights_are_off_in_published_files():
    weights = load_config("vox-256").train_params.loss_weights
    assert (weights.l1, weights.keypoints, weights.keypoint_jacobians) == (0, 0, 0)
    weights = load_config("heads-256").train_params.loss_weights
    assert (weights.l1, weights.keypoints, weights.keypoint_jacobians) == (30, 40, 4)


def test_a_config_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_config("vox-256").dataset_params.frame_shape = (1, 1, 1)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "model_params.common_params.num_kps",
            10,
            r"num_kps \(did you mean num_kp\?\); known here: num_kp, ",
        ),
        ("zebra", 1, r"unknown key zebra; known here: dataset_params"),
        (
            "model_params.common_params.num_kp",
            "ten",
            r"common_params\.num_kp should be a whole number, not 'ten'",
        ),
        ("model_params.common_params.num_kp", True, r"num_kp should be a whole number, not True"),
        ("model_params.common_params.num_kp", 10.0, r"num_kp should be a whole number, not 10\.0"),
        ("model_params.common_params.num_kp", 0, r"num_kp should lie in 1 to 1024, not 0"),
        (
            "model_params.common_params.estimate_jacobian",
            1,
            r"estimate_jacobian should be true or false, not 1",
        ),
        (
            "model_params.kp_detector_params.temperature",
            "1e-1",
            r"not '1e-1' \(write 1\.0e-01 with the point\)",
        ),
        (
            "model_params.kp_detector_params.temperature",
            float("nan"),
            r"temperature should be a number, not nan",
        ),
        ("model_params.kp_detector_params.scale_factor", 0, r"scale_factor should lie in"),
        ("model_params.generator_params.dense_motion_params", 3, r"should hold keys and values, not 3"),
        ("model_params.generator_params.dense_motion_params", None, r"should hold keys and values, not None"),
        ("model_params.discriminator_params.scales", 1, r"scales should be a list, not 1"),
        ("model_params.discriminator_params.scales", [1, "x"], r"scales\[1\] should be a number"),
        ("dataset_params.frame_shape", [64, 64], r"a list of 3 values, not of 2"),
        ("dataset_params.frame_shape", [64, 0, 3], r"frame_shape should lie in 1 to 8192, not 0"),
        (
            "dataset_params.frame_shape",
            [64, 64, 1],
            r"1 channels, but model_params\.common_params\.num_channels is 3",
        ),
        ("dataset_params.root_dir", 5, r"root_dir should be a text, not 5"),
        (
            "model_params.kp_detector_params.openings",
            {"mouth": 1, "eyes": 1},
            r"openings is for the 16 key points of drawn heads, but model_params\.common_params\.num_kp is 5",
        ),
        ("model_params.kp_detector_params.openings", {"mouth": 1}, r"openings\.eyes is missing"),
        ("model_params.common_params", {"num_channels": 3}, r"common_params\.num_kp is missing"),
    ],
)
def test_errors_name_the_key(path, value, message):
    with pytest.raises(ConfigError, match=message) as caught:
        config_from_dict(with_value(path, value), "mine.yaml")
    assert str(caught.value).startswith("mine.yaml: ")


def test_a_missing_section_is_named():
    with pytest.raises(ConfigError, match="model_params is missing"):
        config_from_dict({"dataset_params": {"frame_shape": [64, 64, 3]}})


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vox = load_config("vox-256")
    assert load_config("vox-256.yaml") == vox
    assert load_config("config/vox-256.yaml") == vox
    assert load_config(Path("/content/first-order-model/config/vox-256.yaml")) == vox
    (tmp_path / "vox-256").mkdir()  # a folder of results does not hide the name
    assert load_config("vox-256") == vox


def test_a_file_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "vox-256.yaml").write_text(yaml.safe_dump(MINIMAL))
    assert load_config("config/vox-256.yaml").dataset_params.frame_shape == (64, 96, 3)
    assert load_config("vox-256").dataset_params.frame_shape == (256, 256, 3)


@pytest.mark.parametrize("name", ["vox-257", "elsewhere/vox-256.yaml", "vox-256.txt"])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(ConfigError, match=r"does not exist.*fashion-256"):
        load_config(name)


def test_a_folder_is_not_a_configuration(tmp_path):
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(tmp_path)

"""Weights: read safely in every format, understood without a configuration, loaded strictly, saved whole."""

import collections
import copy
import dataclasses
import hashlib
import json
import os
import time
import warnings
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_data import EXPECTED, GOLDEN
from hostile import legacy_file, tensor_pickle
from safetensors import safe_open
from safetensors.torch import save_file

from fomm.bundled import WEIGHTS, sha256_of
from fomm.checkpoint import (
    DEFAULT_WEIGHTS,
    build_discriminator,
    build_networks,
    convert,
    infer_config,
    load_checkpoints,
    load_strictly,
    read_checkpoint,
    save_weights,
)
from fomm.checkpoint.architecture import skeletons
from fomm.checkpoint.files import read_file
from fomm.config import Config, config_from_dict, config_names, load_config
from fomm.errors import CheckpointError, ConfigError, InputError
from fomm.model import Keypoints

pytestmark = pytest.mark.smoke

ZIP, LEGACY, TINY = GOLDEN / "tiny-cpk.pth.tar", GOLDEN / "tiny-cpk-legacy.pth.tar", GOLDEN / "tiny.yaml"
LAYOUT = json.loads((GOLDEN / "state-dict-layout.json").read_text())


@pytest.fixture(scope="module")
def published() -> dict:
    """Return the tiny checkpoint as its makers had it in memory."""
    return torch.load(ZIP, weights_only=True)


@pytest.fixture
def networks(published) -> dict:
    return {name: dict(published[name]) for name in ("generator", "kp_detector")}


def save(content: object, path: Path, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def layout(network: torch.nn.Module) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in network.state_dict().items()}


def change(config: Config, **changes: object) -> Config:
    """Return the configuration with values changed; ``kp_detector_params__pad=3`` reaches inwards."""
    data = config.to_dict()
    for path, value in changes.items():
        *sections, key = path.split("__")
        place = data["model_params"]
        for section in sections:
            place = place[section]
        place[key] = value
    return config_from_dict(data)


# -- the networks of a configuration ---------------------------------------------------------------


@pytest.mark.parametrize("name", LAYOUT)
def test_layout_of_the_published_networks(name):
    config = load_config(name)
    with torch.device("meta"):
        generator, kp_detector = build_networks(config)
        discriminator = build_discriminator(config)
    assert layout(generator) == LAYOUT[name]["generator"]
    assert layout(kp_detector) == LAYOUT[name]["kp_detector"]
    assert layout(discriminator) == LAYOUT[name]["discriminator"]
    assert generator.frame_shape == (256, 256, 3)


def test_no_discriminator_without_its_settings():
    config = load_config(TINY)
    model = dataclasses.replace(config.model_params, discriminator_params=None)
    with pytest.raises(ConfigError, match=r"no model_params\.discriminator_params"):
        build_discriminator(dataclasses.replace(config, model_params=model))


# -- the configuration of tensors ------------------------------------------------------------------


def inferred(config: Config) -> Config:
    nets = skeletons(config)
    tensors = {f"{name}.{key}": t for name, net in nets.items() for key, t in net.state_dict().items()}
    return infer_config(tensors, "weights")


@pytest.mark.parametrize("name", [name for name in config_names() if not name.startswith("heads")])
def test_published_configurations_are_inferred_whole(name):
    expected = load_config(name).model_params
    got = inferred(load_config(name)).model_params
    assert got == dataclasses.replace(expected, discriminator_params=None)


@pytest.mark.parametrize(
    "changes",
    [
        {"common_params__num_kp": 1},
        {"common_params__num_kp": 37, "kp_detector_params__single_jacobian_map": True},
        {"common_params__estimate_jacobian": False},
        {"kp_detector_params__scale_factor": 1, "generator_params__dense_motion_params__scale_factor": 0.5},
        {"kp_detector_params__scale_factor": 0.125},
        {"kp_detector_params__block_expansion": 12, "kp_detector_params__max_features": 50},
        {"kp_detector_params__num_blocks": 7, "kp_detector_params__max_features": 2048},
        {"kp_detector_params__num_blocks": 1, "generator_params__dense_motion_params__num_blocks": 2},
        {"generator_params__num_down_blocks": 0, "generator_params__num_bottleneck_blocks": 0},
        {"generator_params__num_down_blocks": 4, "generator_params__block_expansion": 24},
        {"generator_params__num_down_blocks": 3, "generator_params__max_features": 100},
        {"generator_params__estimate_occlusion_map": False},
        {"generator_params__dense_motion_params__max_features": 64},
    ],
)
def test_other_networks_are_inferred(changes):
    config = change(load_config("vox-256"), **changes)
    got = inferred(config)
    assert {n: layout(net) for n, net in skeletons(got).items()} == {
        n: layout(net) for n, net in skeletons(config).items()
    }
    for path, value in changes.items():
        place = got.model_params
        for key in path.split("__"):
            place = getattr(place, key)
        assert place == value, path


@pytest.mark.parametrize("name", ["heads-128", "heads-256", str(TINY)])
def test_our_networks_are_inferred_up_to_what_tensors_cannot_tell(name):
    config = load_config(name)
    got = inferred(config)
    assert {n: layout(net) for n, net in skeletons(got).items()} == {
        n: layout(net) for n, net in skeletons(config).items()
    }
    scale_factor = config.model_params.kp_detector_params.scale_factor
    assert got.model_params.kp_detector_params.scale_factor == scale_factor
    assert got.dataset_params.frame_shape == (256, 256, 3)


def test_images_with_one_channel():
    data = load_config("heads-128").to_dict()
    data["dataset_params"]["frame_shape"][2] = 1
    data["model_params"]["common_params"]["num_channels"] = 1
    config = config_from_dict(data)
    assert inferred(config).dataset_params.frame_shape == (256, 256, 1)


# -- reading every format --------------------------------------------------------------------------


@pytest.mark.parametrize("path", [ZIP, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize("config", [TINY, None], ids=["config", "inferred"])
def test_golden_weights(path, config, published):
    generator, kp_detector = load_checkpoints(config, path, cpu=True)
    assert generator.frame_shape == ((64, 64, 3) if config else (256, 256, 3))
    assert generator.weights_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    for name, network in (("generator", generator), ("kp_detector", kp_detector)):
        assert not network.training
        assert all(parameter.requires_grad for parameter in network.parameters())
        for key, tensor in network.state_dict().items():
            assert torch.equal(tensor, published[name][key]), key


def same(got: object, expected: object) -> bool:
    """Equal all the way down, tensors with type, shape and strides."""
    if isinstance(expected, torch.Tensor):
        assert isinstance(got, torch.Tensor) and got.dtype == expected.dtype
        return got.stride() == expected.stride() and torch.equal(got, expected)
    if isinstance(expected, dict):
        return got.keys() == expected.keys() and all(same(got[key], expected[key]) for key in expected)
    if isinstance(expected, (list, tuple)):
        return len(got) == len(expected) and all(map(same, got, expected))
    return type(got) is type(expected) and got == expected


@pytest.mark.parametrize("path", [ZIP, LEGACY], ids=["zip", "legacy"])
def test_everything_is_read_as_pytorch_reads_it(path):
    content, _ = read_file(path)
    expected = torch.load(path, map_location="cpu", weights_only=True)
    assert len(expected["optimizer_generator"]["state"]) > 50
    assert same(content, expected)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_views_of_one_storage_and_every_type_are_read_as_pytorch_reads_them(tmp_path, legacy):
    one, odd = torch.arange(24.0).reshape(2, 3, 4), torch.arange(7, dtype=torch.uint8)
    types = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8]
    content = {
        "odd": odd,  # what follows in a stream lies at no multiple of 4
        "views": [one, one[1], one.mT, one[:, ::2, 1:3], one.view(-1)[5], one[:0], one[0, :1].expand(5, 4)],
        "types": {str(dtype): one.to(dtype) for dtype in [*types, torch.bool]},
        "empty": [torch.empty(0), torch.empty(0, 3, dtype=torch.int64), torch.tensor(1.5)],
        "parameter": torch.nn.Parameter(one),
    }
    path = save(content, tmp_path / "views.pth", legacy)
    assert same(read_file(path)[0], torch.load(path, weights_only=True))


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_the_file_does_not_see_what_becomes_of_its_tensors(tmp_path, networks, legacy):
    path = save(networks, tmp_path / "w.pth.tar", legacy)
    before = path.read_bytes()
    read_checkpoint(path).tensors["generator.final.bias"].fill_(7)
    generator, _ = load_checkpoints(TINY, path, cpu=True)
    path.write_bytes(bytes(len(before)))  # nor do the networks see what becomes of the file
    assert torch.equal(generator.final.bias, networks["generator"]["final.bias"])


@pytest.mark.skipif(os.name == "nt", reason="files with holes")
def test_what_is_not_asked_for_is_not_read(tmp_path):
    """3 GB of a training's state, which the disk does not hold: its numbers are a hole in the file."""
    data = legacy_file(tensor_pickle(True, 750_000_000, size=(750_000_000,)), {"0": b""})[:-8]
    with open(tmp_path / "w.pth.tar", "wb") as file:
        file.write(data + (750_000_000).to_bytes(8, "little"))
        file.truncate(file.tell() + 3_000_000_000)
    begun = time.perf_counter()
    content, _ = read_file(tmp_path / "w.pth.tar")
    assert time.perf_counter() - begun < 1, f"{time.perf_counter() - begun:.1f} s"
    assert content["generator"]["w"][-1] == 0 and content["generator"]["w"].shape == (750_000_000,)


def test_the_hash_is_that_of_the_file_that_was_loaded(tmp_path, networks):
    path = save(networks, tmp_path / "w.pth.tar")
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    first, changed, gone = (load_checkpoints(TINY, path, cpu=True)[0] for _ in range(3))
    assert copy.deepcopy(first).weights_hash == first.weights_hash == expected
    path.write_bytes(path.read_bytes() + b"0")
    assert changed.weights_hash is None and first.weights_hash == expected
    path.unlink()
    assert gone.weights_hash is None
    assert build_networks(load_config(TINY))[0].weights_hash is None


def test_golden_key_points():
    _, kp_detector = load_checkpoints(TINY, LEGACY, cpu=True)
    source = torch.from_numpy(EXPECTED["source"]).permute(2, 0, 1)[None]
    with torch.no_grad():
        points: Keypoints = kp_detector(source)
    error = np.abs(points.value.numpy() - EXPECTED["kp_source_value"]).max()
    assert error < 1e-4, f"largest error of a key point: {error:.1e}"


def test_the_rest_of_a_training_checkpoint():
    checkpoint = read_checkpoint(LEGACY)
    assert set(checkpoint.rest) == {
        "optimizer_generator",
        "optimizer_discriminator",
        "optimizer_kp_detector",
        "epoch",
    }
    assert checkpoint.config is None
    discriminator = build_discriminator(load_config(TINY))
    load_strictly({"discriminator": discriminator}, checkpoint.tensors, "tiny")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrap", ["module.{}", "module.module.{}", "_orig_mod.module.{}"])
def test_prefixes_of_wrappers(tmp_path, networks, wrap, legacy):
    wrapped = {name: {wrap.format(k): t for k, t in part.items()} for name, part in networks.items()}
    path = save(wrapped, tmp_path / "wrapped.pth.tar", legacy)
    assert set(read_checkpoint(path).tensors) == {f"{n}.{k}" for n, part in networks.items() for k in part}
    load_checkpoints(TINY, path, cpu=True)


@pytest.mark.parametrize("form", ["{0}.{1}", "module.{0}.{1}", "module.{0}.module.{1}"])
def test_flat_names(tmp_path, networks, form):
    flat = {form.format(name, key): t for name, part in networks.items() for key, t in part.items()}
    load_checkpoints(TINY, save(flat, tmp_path / "flat.pth"), cpu=True)
    save_file(flat, tmp_path / "flat.safetensors")
    load_checkpoints(TINY, tmp_path / "flat.safetensors", cpu=True)


def test_one_name_with_and_without_prefix(tmp_path, networks):
    networks["generator"]["module.final.bias"] = torch.zeros(3)
    path = save(networks, tmp_path / "twice.pth.tar")
    with pytest.raises(CheckpointError, match=r"twice\.pth\.tar holds generator\.final\.bias twice"):
        read_checkpoint(path)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_numpy_numbers_and_schedules_beside_the_weights(tmp_path, networks, legacy):
    extra = {
        "loss": np.float64(0.25),
        "lr": np.float32(2e-4),
        "epoch": np.int64(99),
        "losses": [np.float64(1), 2.5, None, True],
        "schedule": {"milestones": collections.Counter({60: 1, 90: 1}), "best": float("inf")},
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    path = save({**networks, **extra}, tmp_path / "numpy.pth.tar", legacy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rest = read_checkpoint(path).rest
    assert rest["loss"] == 0.25 and rest["epoch"] == 99 and rest["losses"] == [1, 2.5, None, True]
    assert rest["schedule"]["milestones"] == {60: 1, 90: 1}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(tmp_path, networks, dtype):
    for part in networks.values():
        part.update({key: t.to(dtype) for key, t in part.items() if t.is_floating_point()})
    generator, _ = load_checkpoints(TINY, save(networks, tmp_path / "other.pth.tar"), cpu=True)
    got = generator.state_dict()["final.weight"]
    assert got.dtype == torch.float32
    assert torch.equal(got, networks["generator"]["final.weight"].float())


def test_old_files_have_no_batch_counters(tmp_path, networks):
    old = {n: {k: t for k, t in part.items() if "num_batches" not in k} for n, part in networks.items()}
    generator, _ = load_checkpoints(TINY, save(old, tmp_path / "old.pth.tar", legacy=True), cpu=True)
    assert generator.first.norm.num_batches_tracked == 0


# -- the two arguments -----------------------------------------------------------------------------


def test_metadata_tells_what_tensors_cannot(tmp_path):
    config = change(
        load_config(TINY),
        kp_detector_params__pad=3,
        generator_params__align_corners=False,
        generator_params__bicubic=True,
        generator_params__details=0.5,
    )
    path = tmp_path / "w.safetensors"
    save_weights(path, *build_networks(config), config)
    assert read_checkpoint(path).config == dataclasses.replace(config, train_params=None)
    generator, _ = load_checkpoints(checkpoint_path=path, cpu=True)
    assert generator.frame_shape == (64, 64, 3)
    assert (generator.align_corners, generator.bicubic, generator.details) == (False, True, 0.5)
    generator, _ = load_checkpoints(TINY, path, cpu=True)  # what the caller says comes first
    assert (generator.align_corners, generator.bicubic, generator.details) == (True, False, 0)


def test_default_weights(tmp_path, monkeypatch):
    installed = resources.files
    monkeypatch.setattr(
        resources, "files", lambda name: tmp_path if name == "fomm.checkpoints" else installed(name)
    )
    with pytest.raises(CheckpointError, match="weights that ship are not there"):
        load_checkpoints(cpu=True)
    config = load_config(TINY)
    save_weights(tmp_path / DEFAULT_WEIGHTS, *build_networks(config), config)
    with pytest.raises(CheckpointError, match=rf"{DEFAULT_WEIGHTS} is not the file that fomm came with"):
        load_checkpoints(cpu=True)
    monkeypatch.setitem(WEIGHTS, DEFAULT_WEIGHTS, sha256_of(tmp_path / DEFAULT_WEIGHTS))
    assert load_checkpoints(cpu=True)[0].frame_shape == (64, 64, 3)
    assert load_checkpoints(TINY, cpu=True)[0].frame_shape == (64, 64, 3)
    with pytest.raises(CheckpointError, match="has to be that of the weights that ship"):
        load_checkpoints("vox-256", cpu=True)


def test_devices():
    generator, _ = load_checkpoints(TINY, ZIP, device="cpu")
    assert generator.final.weight.device.type == "cpu"
    for device in ("nonsense", "cuda:99"):
        with pytest.raises(InputError, match=f"device '{device}' cannot be used"):
            load_checkpoints(TINY, ZIP, device=device)


# -- what does not fit -----------------------------------------------------------------------------


def test_a_mismatch_names_the_tensors_and_both_shapes(tmp_path, networks):
    generator = networks["generator"]
    generator["final.bias"] = torch.zeros(7)
    generator["bottleneck.r9.conv1.bias"] = torch.zeros(16)
    for i in range(2):
        for key in ("conv1.weight", "conv2.weight"):
            del generator[f"bottleneck.r{i}.{key}"]
    path = save(networks, tmp_path / "odd.pth.tar")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoints(TINY, path, cpu=True)
    message = str(caught.value)
    assert "odd.pth.tar does not fit" in message
    assert "missing generator.bottleneck.r0.conv1.weight" in message and "and 1 more" in message
    assert "unexpected generator.bottleneck.r9.conv1.bias" in message
    assert "generator.final.bias is 7 instead of 3" in message


def test_the_wrong_configuration():
    with pytest.raises(CheckpointError, match="is 16x24x3x3 instead of 128x44x3x3"):
        load_checkpoints("vox-256", ZIP, cpu=True)


def test_nothing_is_replaced_unless_all_fits(networks):
    generator, kp_detector = build_networks(load_config(TINY))
    before = copy.deepcopy(generator.state_dict())
    tensors = {f"{n}.{k}": t for n, part in networks.items() for k, t in part.items()}
    del tensors["kp_detector.kp.bias"]
    with pytest.raises(CheckpointError, match=r"missing kp_detector\.kp\.bias"):
        load_strictly({"generator": generator, "kp_detector": kp_detector}, tensors, "tiny")
    tensors["kp_detector.kp.bias"] = torch.full((5,), float("nan"))
    with pytest.raises(CheckpointError, match=r"kp_detector\.kp\.bias holds values that are not finite"):
        load_strictly({"generator": generator, "kp_detector": kp_detector}, tensors, "tiny")
    assert all(torch.equal(before[key], tensor) for key, tensor in generator.state_dict().items())


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"state_dict": {}},
        {"generator": {}, "kp_detector": {}},
        {"kp_detector": {"kp.bias": torch.zeros(1)}, "region_predictor": {}},
        [torch.zeros(1)],
        torch.zeros(1),
    ],
)
def test_other_models(tmp_path, content):
    with pytest.raises(CheckpointError, match="'generator'"):
        read_checkpoint(save(content, tmp_path / "other.pth"))


def test_another_kind_of_network_under_our_names(tmp_path):
    path = save(
        {"generator": {"a": torch.zeros(1)}, "kp_detector": {"b": torch.zeros(1)}}, tmp_path / "o.pth"
    )
    with pytest.raises(CheckpointError, match=r"no convolution kp_detector\.kp\.weight"):
        load_checkpoints(checkpoint_path=path, cpu=True)


# -- saving ----------------------------------------------------------------------------------------


def test_save_and_load_again(tmp_path):
    config = load_config(TINY)
    generator, kp_detector = load_checkpoints(TINY, ZIP, cpu=True)
    path = tmp_path / "w.safetensors"
    save_weights(path, torch.nn.DataParallel(generator), kp_detector, config)
    again, again_kp = load_checkpoints(checkpoint_path=path, cpu=True)
    for old, new in ((generator, again), (kp_detector, again_kp)):
        for key, tensor in old.state_dict().items():
            assert torch.equal(new.state_dict()[key], tensor), key
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.safetensors"]


def test_half_precision_only_where_it_does_no_harm(tmp_path):
    path = tmp_path / "half.safetensors"
    convert(LEGACY, path, half=True, config_path=TINY)
    with safe_open(path, "pt") as file:
        names = file.keys()
        types = {name: file.get_slice(name).get_dtype() for name in names}
        assert set(file.metadata()) == {"fomm"}
    narrow = {name for name, dtype in types.items() if dtype == "F16"}
    assert narrow and all(name.endswith(".weight") and "norm" not in name for name in narrow)
    assert types["kp_detector.down.weight"] == "F32"
    assert types["kp_detector.kp.weight"] == "F16"
    assert types["kp_detector.kp.bias"] == types["generator.first.norm.running_var"] == "F32"
    assert types["generator.first.norm.num_batches_tracked"] == "I64"
    exact, _ = load_checkpoints(TINY, LEGACY, cpu=True)
    rounded, _ = load_checkpoints(checkpoint_path=path, cpu=True)
    error = (exact.final.weight - rounded.final.weight).abs().max() / exact.final.weight.abs().max()
    assert 0 < error < 2**-11, f"rounded by {error:.1e} of the largest weight"


def test_the_same_weights_give_the_same_file(tmp_path):
    for name in "abcdef":
        convert(ZIP, tmp_path / f"{name}.safetensors", half=True)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("{", "metadata that fomm did not write"),
        ("[" * 100_000, "metadata that fomm did not write"),
        ("[]", "metadata that fomm did not write"),
        ('{"version": "9.9", "config": {}, "freeze_norm": "yes"}', "metadata that fomm did not write"),
        ('{"version": "9.9", "config": 3}', r"fomm 9\.9"),
        ('{"version": "9.9", "config": {"zebra": 1}}', r"unknown key zebra.*written by fomm 9\.9"),
    ],
)
def test_metadata_of_others(tmp_path, published, metadata, message):
    tensors = {f"{name}.{k}": t for name in ("generator", "kp_detector") for k, t in published[name].items()}
    path = tmp_path / "w.safetensors"
    save_file(tensors, path, {"fomm": metadata})
    with pytest.raises(CheckpointError, match=message):
        load_checkpoints(checkpoint_path=path, cpu=True)


def test_convert_keeps_the_two_networks_alone(tmp_path):
    path = tmp_path / "out.safetensors"
    convert(ZIP, path)
    checkpoint = read_checkpoint(path)
    assert {name.partition(".")[0] for name in checkpoint.tensors} == {"generator", "kp_detector"}
    assert checkpoint.rest == {}
    assert checkpoint.config is not None and checkpoint.config.model_params.common_params.num_kp == 5


def test_convert_wants_a_name_that_tells_the_format(tmp_path):
    with pytest.raises(CheckpointError, match="name it so"):
        convert(ZIP, tmp_path / "out.pth.tar")


def test_a_failed_save_leaves_the_old_file(tmp_path):
    config = load_config(TINY)
    generator, kp_detector = build_networks(config)
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"old")
    with torch.no_grad():
        generator.final.weight.fill_(1e6)  # fine in float32, too large for float16
    with pytest.raises(CheckpointError, match=r"generator\.final\.weight holds values that are not finite"):
        save_weights(path, generator, kp_detector, config, half=True)
    with pytest.raises(CheckpointError, match="does not fit the network"):
        save_weights(path, generator, kp_detector, load_config("heads-128"))
    with pytest.raises(CheckpointError, match="does not exist"):
        save_weights(tmp_path / "missing" / "w.safetensors", generator, kp_detector, config)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_the_disk_is_full(tmp_path, monkeypatch):
    def fail(path, data):
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    config = load_config(TINY)
    with pytest.raises(CheckpointError, match=r"w\.safetensors: .*No space left"):
        save_weights(tmp_path / "w.safetensors", *build_networks(config), config)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="permission bits")
def test_the_file_has_the_usual_permissions(tmp_path):
    config = load_config(TINY)
    save_weights(tmp_path / "w.safetensors", *build_networks(config), config)
    (tmp_path / "other").touch()
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_weights_that_are_loaded_are_not_drawn_before(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        torch.Tensor, "uniform_", lambda tensor, *_, **__: drawn.append(tensor.device.type) or tensor
    )
    load_checkpoints(cpu=True)
    assert "cpu" not in drawn
    build_networks(load_config("heads-128"))
    assert "cpu" in drawn

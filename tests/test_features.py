import numpy as np
import pytest
import torch
from torch import nn

from fomm.errors import CheckpointError, MissingExtraError
from fomm.evaluation import features, inception
from fomm.evaluation.features import FeatureNetwork, GaussianFit, find_inception, find_perceptual
from fomm.evaluation.metrics import frechet_distance
from fomm.training.perceptual import EfficientNetLite0Features

CPU = torch.device("cpu")


class Halves(nn.Module):
    """Two maps: the picture, and a tenth of its red and green at half the size."""

    def forward(self, image):
        return [image, nn.functional.avg_pool2d(image[:, :2], 2) / 10]


def test_map_distance_by_hand():
    network = FeatureNetwork(Halves(), CPU, "frechet", "distance")
    one, other = np.zeros((2, 4, 4, 3), np.float32), np.zeros((2, 4, 4, 3), np.float32)
    other[1, ..., 0] = 0.6  # the first map differs by 0.2 on average, the second by 0.03
    distance = features.map_distance(network.maps(one), network.maps(other))
    np.testing.assert_allclose(distance, [0, (0.2 + 0.03) / 2], atol=1e-7)
    np.testing.assert_allclose(features.pool(network.maps(other)), [[0, 0], [0.06, 0]], atol=1e-7)


def test_the_fit_is_that_of_all_features_at_once():
    samples = np.random.default_rng(0).normal(5, 2, size=(60, 4)).astype(np.float32)
    fit = GaussianFit()
    for part in np.split(samples, (1, 20, 33)):
        fit.add(part)
    found = fit.result()
    np.testing.assert_allclose(found.mean, samples.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.covariance, np.cov(samples.T), rtol=1e-5, atol=1e-6)
    assert frechet_distance(found, found) == pytest.approx(0, abs=1e-9)


def test_one_feature_has_no_covariance():
    fit = GaussianFit()
    assert fit.result() is None
    fit.add(np.zeros((1, 3)))
    assert fit.result() is None


def test_the_perceptual_distance_is_named_for_its_network(tmp_path):
    file = tmp_path / "weights.pth"
    torch.save(EfficientNetLite0Features().state_dict(), file)
    network, reason = find_perceptual(file, CPU)
    assert reason == ""
    assert network.distance_name == "perceptual_efficientnet_lite0"
    assert network.frechet_name == "frechet_efficientnet_lite0"
    frames = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    distance = features.map_distance(network.maps(frames), network.maps(frames[::-1]))
    assert (distance > 0).all() and distance[0] == pytest.approx(distance[1])


def test_missing_weights_are_a_reason_unless_asked_for(monkeypatch):
    def missing(choice):
        raise MissingExtraError("not here")

    monkeypatch.setattr(features, "load_perceptual_network", missing)
    network, reason = find_perceptual(None, CPU)
    assert network is None and "--perceptual" in reason
    with pytest.raises(MissingExtraError):
        find_perceptual("efficientnet-lite0", CPU)


def test_inception_has_the_published_size():
    """21,785,568: the known number of Inception v3's parameters without its classes."""
    with torch.device("meta"):
        network = inception.Inception().eval()
        assert network(torch.rand(1, 3, 40, 30)).shape == (1, 2048, 8, 8)
    assert sum(parameter.numel() for parameter in network.parameters()) == 21_785_568


def test_inception_weights_come_from_a_file_or_the_cache(tmp_path, hub):
    network, reason = find_inception(None, CPU)
    assert network is None and "--fid-weights" in reason
    torch.manual_seed(0)
    state = inception.Inception().state_dict()
    published = {name: value for name, value in state.items() if "num_batches" not in name}
    file = tmp_path / "weights.pth"
    torch.save(published | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}, file)
    network, _ = find_inception(file, CPU)
    assert network.frechet_name == "fid" and network.distance_name is None
    for name, value in network.network.state_dict().items():
        assert torch.equal(value, state[name]), name
    (hub / "checkpoints").mkdir()
    file.rename(hub / "checkpoints" / inception.WEIGHTS)
    with pytest.raises(CheckpointError, match="not what its name promises"):
        find_inception(None, CPU)


def test_another_file_is_refused(tmp_path):
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "other.pth")
    for name in ("other.pth", "nothing.pth"):
        with pytest.raises(CheckpointError, match=f"{name} holds no weights of FID"):
            find_inception(tmp_path / name, CPU)

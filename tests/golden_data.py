"""The golden numbers of the tiny network, and the comparison that shows the size of an error."""

from pathlib import Path

import numpy as np
import torch
import yaml

from fomm.model import KPDetector, MultiScaleDiscriminator, OcclusionAwareGenerator

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = np.load(GOLDEN / "tiny-expected.npz")
TINY_FILES = (GOLDEN / "tiny.yaml", GOLDEN / "tiny-cpk.pth.tar")
TINY_OPTIONS = ["--config", str(TINY_FILES[0]), "--checkpoint", str(TINY_FILES[1])]  # of a command
SUFFIX = {True: "", False: "_align_corners_false"}


def tiny_params() -> dict:
    return yaml.safe_load((GOLDEN / "tiny.yaml").read_text())["model_params"]


def tiny_networks(align_corners: bool = True):
    """Return generator, key-point detector and discriminator with the golden weights."""
    params = tiny_params()
    common = params["common_params"]
    networks = {
        "generator": OcclusionAwareGenerator(
            **common, **params["generator_params"], align_corners=align_corners
        ),
        "kp_detector": KPDetector(**common, **params["kp_detector_params"]),
        "discriminator": MultiScaleDiscriminator(**common, **params["discriminator_params"]),
    }
    state = torch.load(GOLDEN / "tiny-cpk.pth.tar", weights_only=True)
    for name, network in networks.items():
        network.load_state_dict(state[name])
    return networks["generator"], networks["kp_detector"], networks["discriminator"]


def assert_near(got, wanted, tolerance: float, what: str) -> None:
    got = got.detach().numpy() if isinstance(got, torch.Tensor) else np.asarray(got)
    assert got.shape == wanted.shape, f"{what}: shape {got.shape}, wanted {wanted.shape}"
    error = float(np.abs(got - wanted).max())
    assert error <= tolerance, f"{what}: off by {error:.2e}, allowed {tolerance:.0e}"

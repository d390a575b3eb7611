"""Networks with random weights that let every part of them show in the picture."""

import torch
from torch import nn

from fomm.model import KPDetector, OcclusionAwareGenerator
from fomm.model.blocks import ResBlock2d


def lively(*networks: nn.Module, seed: int = 0) -> None:
    """Give networks random weights that keep the signal's strength, norms of either sign, and eval mode."""
    rng = torch.Generator().manual_seed(seed)
    for network in networks:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3, generator=rng)
                module.running_var.uniform_(0.3, 2, generator=rng)
                nn.init.normal_(module.weight, 1, 0.6, generator=rng)
                nn.init.normal_(module.bias, 0, 0.3, generator=rng)
            elif isinstance(module, nn.Conv2d):
                fan_in = module.weight[0].numel()
                nn.init.normal_(module.weight, 0, (2 / fan_in) ** 0.5, generator=rng)
        network.eval()
        _calm(network)


def _calm(network: nn.Module) -> None:
    """Make weights smaller where rounding errors would grow, which in trained networks they do not."""
    for module in network.modules():
        if isinstance(module, ResBlock2d):
            module.conv2.weight.data.mul_(0.3)
        elif isinstance(module, OcclusionAwareGenerator):
            module.final.weight.data.mul_(0.3)
        elif isinstance(module, KPDetector):
            module.kp.weight.data.mul_(0.1)
            if module.jacobian is not None:  # near the identity, which can be inverted
                module.jacobian.weight.data.mul_(0.1)


def small_networks(**options) -> tuple[OcclusionAwareGenerator, KPDetector]:
    """Return a lively pair of networks.

    Args:
        options: of the generator; of its motion network, as ``motion_*``; of the detector, as ``kp_*``.
    """
    common = {"num_kp": 4, "num_channels": 3, "estimate_jacobian": options.pop("estimate_jacobian", True)}
    motion = {"block_expansion": 8, "max_features": 24, "num_blocks": 3, "scale_factor": 0.5}
    kp = motion | {"temperature": 0.1}
    generator = {
        "block_expansion": 8,
        "max_features": 32,
        "num_down_blocks": 2,
        "num_bottleneck_blocks": 2,
        "estimate_occlusion_map": True,
    }
    for name, value in options.items():
        if name.startswith("motion_"):
            motion[name.removeprefix("motion_")] = value
        elif name.startswith("kp_"):
            kp[name.removeprefix("kp_")] = value
        else:
            generator[name] = value
    networks = (
        OcclusionAwareGenerator(**common, **generator, dense_motion_params=motion),
        KPDetector(**common, **kp),
    )
    lively(*networks)
    return networks

"""ResNet-18 (He et al., CVPR 2016), with the names of layers that published files have."""

import torch.nn.functional as F
from torch import Tensor, nn

_WIDTHS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: BxCxHxW to BxC'x(H/stride)x(W/stride)."""

    def __init__(self, in_features: int, features: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_features, features, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)
        self.downsample: nn.Sequential | None = None
        if stride > 1:
            shortcut = nn.Conv2d(in_features, features, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(features))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """The network from BxCxHxW to BxN numbers, for pictures of any size."""

    def __init__(self, in_channels: int, numbers: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, _WIDTHS[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        inputs = _WIDTHS[0]
        for number, width in enumerate(_WIDTHS, 1):
            first = BasicBlock(inputs, width, 1 if number == 1 else 2)
            self.add_module(f"layer{number}", nn.Sequential(first, BasicBlock(width, width, 1)))
            inputs = width
        self.fc = nn.Linear(inputs, numbers)

    def forward(self, x: Tensor) -> Tensor:
        out = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        for block in self.blocks():
            out = block(out)
        return self.fc(out.mean(dim=(2, 3)))

    def blocks(self) -> list[BasicBlock]:
        """Return the residual blocks in order."""
        return [block for block in self.modules() if isinstance(block, BasicBlock)]

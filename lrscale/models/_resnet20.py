"""The residual network for CIFAR-10 of He et al. (2016), section 4.2, as torch modules."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class ResNet20(nn.Module):
    """(batch, maps, height, width) to logits: Conv 3×3, three stages of residual blocks, mean,
    Linear.

    Args:
        blocks: of each stage; the depth is 6 · blocks + 2.
        width: maps of the first stage; the others have twice and four times as many.
    """

    def __init__(self, maps: int, classes: int, blocks: int = 3, width: int = 16) -> None:
        super().__init__()
        self.conv = nn.Conv2d(maps, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        stages: list[nn.Module] = []
        inputs = width
        for outputs in (width, 2 * width, 4 * width):
            for _ in range(blocks):
                stages.append(Block(inputs, outputs))
                inputs = outputs
        self.blocks = nn.Sequential(*stages)
        self.fc = nn.Linear(inputs, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(functional.relu(self.bn(self.conv(x))))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


class Block(nn.Module):
    """Two convolutions beside a shortcut without parameters (their option A): where the number of
    maps doubles, every other pixel, and zeros for the new maps."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride, self.new_maps = (1, 0) if inputs == outputs else (2, outputs - inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = functional.pad(
                x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_maps)
            )
        return functional.relu(residual + x)

"""Reference networks, and timm's and torchvision's by name."""

from renorm.models.create import create
from renorm.models.resnet import ResNet
from renorm.models.weights import load_weights
from renorm.models.wideresnet import WideResNet

__all__ = ["ResNet", "WideResNet", "create", "load_weights"]

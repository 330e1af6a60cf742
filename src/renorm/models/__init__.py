"""Reference networks, and timm's and torchvision's by name."""

from renorm.models.cell import EDGES, OPERATIONS, Cell
from renorm.models.cell_network import CellNetwork
from renorm.models.classifier import Classifier
from renorm.models.create import create
from renorm.models.densenet import DenseNet
from renorm.models.discriminator import Discriminator, discriminator
from renorm.models.encoder import Decoder, Encoder
from renorm.models.encoder_weights import load_decoder, load_encoder
from renorm.models.generator import Generator, generator
from renorm.models.preact import PreActResNet
from renorm.models.resnet import ResNet
from renorm.models.samples import load_sample
from renorm.models.stylizer import Stylizer
from renorm.models.supernet import Supernet, supernet
from renorm.models.vgg import VGG
from renorm.models.weights import load_weights, versioned
from renorm.models.wideresnet import WideResNet

__all__ = [
    "EDGES",
    "OPERATIONS",
    "VGG",
    "Cell",
    "CellNetwork",
    "Classifier",
    "Decoder",
    "DenseNet",
    "Discriminator",
    "Encoder",
    "Generator",
    "PreActResNet",
    "ResNet",
    "Stylizer",
    "Supernet",
    "WideResNet",
    "create",
    "discriminator",
    "generator",
    "load_decoder",
    "load_encoder",
    "load_sample",
    "load_weights",
    "supernet",
    "versioned",
]

"""Reference networks, and timm's and torchvision's by name."""

from renorm.models.cell import EDGES, OPERATIONS, Cell
from renorm.models.cell_network import CellNetwork
from renorm.models.classifier import Classifier
from renorm.models.code import check_trusted, is_code, trust, whole
from renorm.models.create import create, is_name, library_of
from renorm.models.densenet import DenseNet
from renorm.models.discriminator import Discriminator, discriminator
from renorm.models.download import fetching
from renorm.models.encoder import Decoder, Encoder
from renorm.models.encoder_weights import load_decoder, load_encoder, wants_pictures
from renorm.models.generator import Generator, generator
from renorm.models.preact import PreActResNet
from renorm.models.preprocessing import usual_preprocessing
from renorm.models.resnet import ResNet
from renorm.models.samples import load_sample
from renorm.models.stylizer import StyleMoments, Stylizer
from renorm.models.supernet import Supernet, supernet
from renorm.models.vgg import VGG
from renorm.models.weight_files import described_weights, is_safetensors, is_weights, other_than_weights
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
    "StyleMoments",
    "Stylizer",
    "Supernet",
    "WideResNet",
    "check_trusted",
    "create",
    "described_weights",
    "discriminator",
    "fetching",
    "generator",
    "is_code",
    "is_name",
    "is_safetensors",
    "is_weights",
    "library_of",
    "load_decoder",
    "load_encoder",
    "load_sample",
    "load_weights",
    "other_than_weights",
    "supernet",
    "trust",
    "usual_preprocessing",
    "versioned",
    "wants_pictures",
    "whole",
]

"""The wheel without extras: types are shipped, a model is branched and adapted, and what is missing is named."""

import importlib.util
from importlib.resources import files

import torch
from torch import nn

import renorm

for name in ("torchvision", "timm", "tyro", "matplotlib", "pyarrow", "onnx"):
    assert importlib.util.find_spec(name) is None, f"{name} is installed: this is no environment without extras"
assert (files("renorm") / "py.typed").is_file()

model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4))
renorm.split_(model, ["weak", "strong"])
with renorm.route(model, "weak", "strong"):
    model(torch.randn(8, 3, 8, 8))
plain = renorm.fold(model.eval(), "strong")

images = 3 * torch.randn(32, 3, 8, 8) + 1
before = plain(images)
adaptation = renorm.adapt_(plain, images)
print(adaptation)
assert not torch.equal(plain(images), before)
adaptation.undo()
assert torch.equal(plain(images), before)

said = ""
try:
    renorm.models.create("timm:resnet18")
except ImportError as error:
    said = str(error)
assert "pip install '.[timm]'" in said

"""The extra export: a branch as ONNX, which onnxruntime opens and finds equal."""

import sys

import torch

import renorm

model = renorm.models.create("resnet20")
renorm.split_(model, ["weak", "strong"])
plain = renorm.fold(model.eval(), "weak")
print(renorm.export.write(plain, sys.argv[1], torch.randn(4, 3, 32, 32)))

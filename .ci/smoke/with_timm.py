"""The extra timm: a network of its own and one by name are split and adapted."""

import timm
import torch

import renorm

for model in (
    timm.create_model("efficientnet_b0", num_classes=3),
    renorm.models.create("timm:resnet18", num_classes=3),
):
    print(renorm.split_(model, ["weak", "strong"]))
    with renorm.route(model, "weak", "strong"):
        model(torch.randn(4, 3, 64, 64))
    print(renorm.adapt_(renorm.fold(model.eval(), "weak"), torch.randn(8, 3, 64, 64)))

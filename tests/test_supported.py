"""The table of what is supported, kinds of models by verbs, is what happens.

``RENORM_REWRITE=1 python -m pytest -m slow tests/test_supported.py`` writes it again where behaviour has changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import renorm
from renorm.export import write
from tests.banks.test_kinds import Pooled, isolated, prepared
from tests.banks.test_unreached import Auxiliary
from tests.conftest import ROOT
from tests.layers.test_norms import BatchRenorm, Reading
from tests.surgery.test_kinds import alone, exported, fsdp, fully, graph, scripted, traced
from tests.surgery.zoo import fused, images, small

__all__ = ["alone"]
PAGE = ROOT / "docs" / "supported.md"


class Logits(nn.Sequential):
    """Features to logits."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))


def beside(norm: nn.Module) -> nn.Module:
    return Logits(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), norm)


KINDS: dict[str, Callable[[Any], Any]] = {  # of a process group of one
    "batch norms of PyTorch": lambda mesh: small(),
    "fused norms of timm": lambda mesh: beside(fused(nn.SiLU)),
    "SyncBatchNorm": lambda mesh: beside(nn.SyncBatchNorm(5)),
    "a class of one's own, made from batch norm": lambda mesh: beside(type("Own", (nn.BatchNorm2d,), {})(5)),
    "batch renormalization, EvoNorm, beside batch norms": lambda mesh: beside(BatchRenorm(5)),
    "batch norms without an affine": lambda mesh: Logits(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, affine=False)),
    "half precision (`bfloat16`)": lambda mesh: small().bfloat16(),
    "one norm at two places": lambda mesh: twice(nn.BatchNorm2d(5)),
    "InstanceNorm with running statistics, beside batch norms": lambda mesh: beside(
        nn.InstanceNorm2d(5, track_running_stats=True)
    ),
    "GroupNorm, LayerNorm, beside batch norms": lambda mesh: beside(nn.GroupNorm(1, 5)),
    "heads and stages that evaluation does not reach": lambda mesh: Auxiliary(),
    "a global pooling before a norm, one image": lambda mesh: Pooled(),
    "pruned or weight-normed convolutions": lambda mesh: weight_normed(),
    "`torch.compile`": lambda mesh: torch.compile(small(), backend="eager"),
    "`AveragedModel` and other averages": lambda mesh: AveragedModel(small()),
    "FX graphs, feature extractors": lambda mesh: graph(small().eval()),
    "`DataParallel`": lambda mesh: nn.DataParallel(small()),
    "`DistributedDataParallel`": lambda mesh: nn.parallel.DistributedDataParallel(small()),
    "`FullyShardedDataParallel`": lambda mesh: fsdp(small(), mesh),
    "`fully_shard`": lambda mesh: fully(small(), mesh),
    "parents that read a norm's tensors": lambda mesh: nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), Reading(), Head()
    ),
    "prepared for quantization-aware training": lambda mesh: prepared(small(), "qat"),
    "prepared for quantization after training": lambda mesh: prepared(isolated(), "ptq"),
    "quantized": lambda mesh: quantized(),
    "scripted": lambda mesh: scripted(small().eval()),
    "traced": lambda mesh: traced(small().eval()),
    "exported programs": lambda mesh: exported(small().eval()),
    "GroupNorm, LayerNorm alone": lambda mesh: Logits(nn.Conv2d(3, 5, 3), nn.GroupNorm(1, 5)),
}


def twice(norm: nn.Module) -> nn.Module:
    return Logits(nn.Conv2d(3, 5, 3), norm, nn.ReLU(), norm)


class Head(Logits):
    """Without a norm."""

    def __init__(self) -> None:
        super().__init__(nn.Identity())


def weight_normed() -> Any:
    model: Any = small()
    nn.utils.parametrizations.weight_norm(model[0])
    return model


def quantized() -> Any:
    return pytest.importorskip("torch.ao.quantization.quantize_fx").convert_fx(prepared(isolated(), "ptq"))


def batch(model: Any) -> Any:
    return typed(model, images(1) if isinstance(model, Pooled) else images())


def typed(model: Any, x: torch.Tensor) -> torch.Tensor:
    return x.to(next(iter(model.parameters()), x).dtype)


def split_and_fold(model: Any) -> Any:
    report = renorm.split_(model, ["weak", "strong"])
    with renorm.route(model.train(), "weak", "strong"):
        model(typed(model, images()))
    renorm.fold(model, "weak")
    return report


def predicted(model: Any) -> Any:
    with renorm.prediction_time(model), torch.no_grad():
        return model(batch(model))


def streamed(model: Any) -> Any:
    adapter = renorm.Adapter(model, foreign="adapt")
    adapter(batch(model))
    return adapter


def minimized(model: Any) -> Any:
    tent = renorm.Tent(model)
    tent(batch(model))
    return tent


def written(model: Any) -> Any:
    with TemporaryDirectory() as folder:
        return write(model, Path(folder) / "model.pt2", torch.cat([batch(model)] * 2))


VERBS: dict[str, Callable[[Any], Any]] = {
    "`split_`, train, `fold`": split_and_fold,
    "`Bank.of`, `install_`": lambda m: renorm.install_(m, renorm.Bank.of(m)),
    "`measure`, `recalibrate_`": lambda m: renorm.recalibrate_(m, [batch(m)]),
    "`adapt_`": lambda m: renorm.adapt_(m, batch(m), foreign="adapt"),
    "`Adapter`": streamed,
    "`Tent`": minimized,
    "`prediction_time`": predicted,
    "`export.write`": written,
}


def outcome(make: Callable[[Any], Any], verb: Callable[[Any], Any], mesh: Any) -> str:
    torch.manual_seed(0)
    model = make(mesh)
    for module in model.modules():
        module.training = False  # not by eval(), which exported programs refuse
    try:
        report = verb(model)
    except (ValueError, TypeError) as error:
        return "refused" if len(re.findall(r"[.?](?= |$)", str(error))) > 1 else f"not in three parts: {error}"
    return "reported" if ", without " in repr(report) or "left alone" in repr(report) else "works"


def table(mesh: Any) -> str:
    rows = [f"| model | {' | '.join(VERBS)} |", "|---" * (len(VERBS) + 1) + "|"]
    for name, make in KINDS.items():
        rows.append(f"| {name} | {' | '.join(outcome(make, verb, mesh) for verb in VERBS.values())} |")
    return "\n".join(rows)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_table_is_what_happens(alone: Any) -> None:
    pytest.importorskip("timm")
    made, page = table(alone), PAGE.read_text(encoding="utf-8")
    assert "three parts" not in made
    if os.environ.get("RENORM_REWRITE") == "1":
        page = re.sub(r"^\| model \|.*?(?=\n\n)", lambda _: made, page, flags=re.DOTALL | re.MULTILINE)
        PAGE.write_text(page, encoding="utf-8")
    assert made in page, f"the table of {PAGE.name} should be\n\n{made}\n"

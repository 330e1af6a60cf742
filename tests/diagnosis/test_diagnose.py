"""What is the matter with a model is found, named with its sites, and the remedy mends it; the model stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel

import renorm
from renorm.diagnosis import Finding, diagnose
from tests.laws import hashed


def images(seed: int = 0) -> Tensor:
    return torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def net(dropout: float = 0.0) -> Any:
    """A sound classifier: its statistics are those of its images."""
    torch.manual_seed(0)
    first = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(dropout), nn.ReLU())
    model = nn.Sequential(*first, nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(80, 3)).eval()
    renorm.recalibrate_(model, [images(seed) for seed in range(8)])
    return model


def found(model: Any, *given: Any, **options: Any) -> dict[str, Finding]:
    before = hashed(model)
    report = diagnose(model, *given, **options)
    assert hashed(model) == before
    return {each.what: each for each in report.findings}


def test_of_a_sound_model_nothing_is_said():
    report = diagnose(net(), images(50))
    assert report.findings == ()
    assert repr(report).splitlines() == [
        "norms: 2 BatchNorm2d",
        "split_, sandwich_: convert 2 sites",
        "measure, adapt_: see 2 sites",
        "nothing is the matter",
    ]
    assert report.environment["tensors"] == "14 cpu float32, 2 cpu int64"


def diverged(model: Any) -> None:
    model[5].running_var[1] = torch.nan


def negative(model: Any) -> None:
    model[5].running_var[1] = -1


def reset(model: Any) -> None:
    model[5].reset_running_stats()


def dead(model: Any) -> None:
    model[5].running_var[1] = 0


def halved(model: Any) -> None:
    model[5].running_mean = model[5].running_mean.bfloat16()
    model[5].running_var = model[5].running_var.bfloat16()


def momentum(value: float | None) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        model[5].momentum = value

    return change


BROKEN: dict[str, tuple[str, Callable[[Any], None], str]] = {
    "diverged": ("error", diverged, "statistics that are no numbers"),
    "negative": ("error", negative, "statistics that are no numbers"),
    "reset": ("warning", reset, "never updated"),
    "dead": ("warning", dead, "channels without variance"),
    "halved": ("warning", halved, "statistics in half precision"),
    "momentum 0": ("warning", momentum(0.0), "momentum 0"),
    "momentum 1": ("warning", momentum(1.0), "momentum 1"),
    "momentum None": ("note", momentum(None), "momentum None"),
}


@pytest.mark.parametrize(("weight", "change", "what"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_with_statistics_is_named_with_its_site(weight: str, change: Any, what: str):
    model = net()
    change(model)
    findings = found(model)
    assert list(findings) == [what]
    assert findings[what].gravity == weight
    assert findings[what].sites == ("5",)


@pytest.mark.parametrize("name", ["diverged", "negative", "reset", "dead"])
@pytest.mark.parametrize("branches", [(), ("weak", "strong")], ids=str)
def test_the_remedy_mends_it(name: str, branches: tuple[str, ...]):
    _, change, what = BROKEN[name]
    model = net()
    if branches:
        renorm.split_(model, branches)
    change(model)
    assert what in found(model)
    for finding in diagnose(model).findings:
        exec(finding.remedy, {"renorm": renorm, "model": model, "images": images()})
    assert what not in found(model)


def test_a_broken_affine():
    model = net()
    model[1].weight.data[0] = torch.inf
    findings = found(model, images())
    assert findings["an affine that is no number"].sites == ("1",)
    assert "what is broken comes first" in findings["images not looked at"].text


def test_each_branch_has_its_own():
    model = net()
    renorm.split_(model, ["weak", "strong"])
    renorm.add_branch_(model, "new", like="weak")
    model[5].running_mean.view(3, -1)[1] = torch.inf
    (finding,) = diagnose(model).findings
    assert "Branch strong." in finding.text
    assert finding.remedy == "renorm.recalibrate_(model, [images], branch='strong')"
    assert finding.command == "renorm recalibrate MODEL --images FOLDER --bank FILE --branch strong"


def test_modes():
    model = net().train()
    assert list(found(model)) == ["in training mode"]
    model[1].eval()
    assert found(model)["frozen in evaluation mode"].sites == ("1",)


def test_one_norm_at_several_places_and_uses():
    norm = nn.BatchNorm2d(3)
    model = nn.Sequential(norm, nn.Conv2d(3, 3, 1), norm).eval()
    renorm.recalibrate_(model, [images()])
    assert found(model)["one norm at several places"].sites == ("0", "2")
    assert found(model, images())["used several times"].sites == ("0",)


def test_norms_that_track_nothing():
    model = nn.Sequential(net(), nn.Unflatten(1, (3, 1, 1)), nn.BatchNorm2d(3, track_running_stats=False)).eval()
    assert found(model)["no running statistics"].sites == ("2",)


def test_after_averaging_and_pruning():
    averaged = AveragedModel(net())
    assert not found(averaged)
    averaged.update_parameters(net())
    assert found(averaged)["unmeasured after averaging"].gravity == "warning"
    pruned = net()
    prune.l1_unstructured(pruned[4], "weight", 0.3)
    assert found(pruned)["unmeasured after pruning"].sites == ("4",)


def test_images_tell_what_the_model_alone_does_not():
    model = net(dropout=0.3)
    findings = found(model, 1 + images(50))
    assert findings["behind a dropout"].sites == ("5",)
    assert "times as far from the source" in findings["images are shifted"].text
    assert "predicts another class for" in findings["images are shifted"].text
    usual = found(model, 1 + images(50), reference=1 + images(51))
    assert "images are shifted" not in usual
    with pytest.raises(ValueError, match=r"a reference was given without images: .* Pass images, or leave it out"):
        diagnose(model, reference=images())


class Branching(nn.Module):
    """With a head that runs in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = net(), nn.BatchNorm1d(3)
        self.head.momentum = 0.2
        self.head.train()(torch.randn(8, 3))

    def forward(self, x: Tensor) -> Any:
        y = self.body(x)
        return self.head(y) if self.training else y


def test_heads_that_evaluation_does_not_reach():
    assert found(Branching().eval(), images(50))["not reached"].sites == ("head",)


def test_models_that_verbs_refuse_are_described_all_the_same():
    report = diagnose(nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(1, 4)))
    assert report.norms == {"GroupNorm": 1}
    assert report.verbs["split_, sandwich_"].startswith("refused: Sequential has no norm to convert: it has GroupNorm")
    assert report.verbs["measure, adapt_"].startswith("refused: Sequential has no running statistics")
    said = found(nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(1, 4)), images())
    assert "no norm of this model can be observed" in said["images not looked at"].text


def test_foreign_images_are_said():
    model = net()
    assert found(model, images().abs() * 200 + 500)["foreign images"].gravity == "error"


def test_outputs_that_are_no_numbers():
    model = net()
    model[-1].weight.data[0, 0] = torch.nan
    assert list(found(model, images())) == ["outputs that are no numbers"]


@pytest.mark.parametrize("branches", [(), ("weak", "strong")], ids=str)
def test_the_remedy_of_shifted_images_is_a_line_to_type(branches: tuple[str, ...]):
    model, given = net(), 1 + images(50)
    if branches:
        renorm.split_(model, branches)
    remedy, before = found(model, given)["images are shifted"].remedy, hashed(model)
    exec(remedy, {"renorm": renorm, "model": model, "images": given})
    assert hashed(model) != before


class ConvNormAct(nn.Sequential):
    """Named after the norm in it, as blocks of timm are."""


class NormFreeNet(nn.Sequential):
    """Named after what it has none of."""


def test_blocks_that_are_named_after_norms_are_none():
    block = ConvNormAct(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    assert diagnose(nn.Sequential(block)).norms == {"BatchNorm2d": 1}
    assert diagnose(NormFreeNet(nn.Conv2d(3, 4, 1))).norms == {}

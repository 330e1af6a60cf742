"""How many samples a batch has is counted where it is certain, told where it is not, and never guessed."""

from __future__ import annotations

from collections import UserDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.banks import counted
from tests.banks.models import small, unchanged


def image(*size: int) -> Tensor:
    return torch.randn(3, *(size or (6, 6)))


class Keywords(nn.Module):
    """What takes a dict of keywords, with labels before the images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, pixels: Tensor, labels: Any = None) -> Tensor:
        return self.bn(self.conv(pixels))

    def encode(self, images: list[Tensor]) -> Tensor:
        return self(torch.stack(images))


COUNTED: dict[str, tuple[Any, bool, int]] = {  # whether a function of the user's gets the whole; how many samples
    "a tensor": (torch.zeros(5, 3, 6, 6), False, 5),
    "a tuple of images and labels": ((torch.zeros(5, 3), torch.zeros(7)), True, 5),
    "a list of images and labels, as loaders make it": ([torch.zeros(5, 3), torch.zeros(7)], False, 5),
    "the same, passed as a whole": ([torch.zeros(5, 3, 6, 6), torch.zeros(5)], True, 5),
    "images and a list of targets": ([torch.zeros(5, 3, 6, 6), [{}] * 5], True, 5),
    "a list of images": ([image() for _ in range(8)], True, 8),
    "a list of images of any size": ([image(5, 7), image(9, 4)], True, 2),
    "a list of one image": ([image()], True, 1),
    "a tuple of images and of targets": (([image() for _ in range(8)], [{}] * 8), True, 8),
    "a list of dicts": ([{"image": image()}] * 4, True, 4),
    "no image": ([], True, 0),
    "a dict": ({"pixels": torch.zeros(5, 3, 6, 6)}, False, 5),
    "a dict with labels first": ({"labels": [{"boxes": torch.zeros(3, 4)}] * 8, "pixels": torch.zeros(8, 3)}, False, 8),
    "a dict with a flag and a number": ({"x": torch.zeros(5, 3), "train": True, "scale": torch.tensor(2.0)}, False, 5),
    "what is like a dict": (UserDict(x=torch.zeros(5, 3)), False, 5),
}


@pytest.mark.parametrize(("batch", "whole", "expected"), COUNTED.values(), ids=COUNTED)
def test_certain_batches_are_counted(batch: Any, whole: bool, expected: int):
    assert counted(batch, whole=whole).samples == expected


UNCERTAIN: dict[str, tuple[Any, str]] = {
    "two inputs side by side": (
        [torch.zeros(5, 3, 6, 6), torch.zeros(5, 3, 6, 6)],
        r"a list of 2 entries .*\(5, 3, 6, 6\)",
    ),
    "features side by side": ([torch.zeros(5, 3), torch.zeros(5, 3)], r"a list of 2 entries .* samples=, a number or"),
    "images and targets, each a list": (
        [[image()] * 3, [{}] * 3],
        r"a list of 2 entries was given, the first of type list",
    ),
    "levels of features": (([torch.zeros(2, 3, n, n) for n in (4, 8)],), r"may be samples, or inputs side by side"),
    "a dict of other lengths": (
        {"x": torch.zeros(5, 3), "edges": torch.zeros(2, 9)},
        r"lengths \{'x': 5, 'edges': 2\}",
    ),
    "a dict in a dict": ({"inputs": {"x": torch.zeros(5, 3)}}, r"is not guessed\. Say it: samples="),
    "a pair in a dict": ({"inputs": (torch.zeros(5, 3), torch.zeros(5))}, r"is not guessed\. Say it: samples="),
    "a number": (torch.tensor(3.0), r"a batch of shape \(\) was given"),
    "text": ("picture.png", r"a batch of type str without tensors .* say how many samples it has: samples="),
}


@pytest.mark.parametrize(("batch", "message"), UNCERTAIN.values(), ids=UNCERTAIN)
def test_others_have_to_be_told(batch: Any, message: str):
    with pytest.raises(TypeError, match=message):
        counted(batch, whole=True)
    assert counted(batch, 4, whole=True).samples == 4
    assert counted(batch, lambda given: 3 if given is batch else 0).samples == 3


@pytest.mark.parametrize("told", [-1, 2.0, True, lambda batch: "8"])
def test_a_number_of_samples_is_one(told: Any):
    with pytest.raises(
        ValueError, match=r"samples=.* was given\. It is the number of samples in a batch\. Give an integer"
    ):
        counted(torch.zeros(3), told)


def whole(model: nn.Module, batch: Any) -> Any:
    return model(torch.stack(batch))


def test_every_verb_counts_a_list_of_images():
    images, model = [image() for _ in range(8)], small()
    with unchanged(model):
        assert renorm.measure(model, [images, images[:3]], forward=whole).samples == 11
        report = renorm.adapt_(model, images, prior=64, forward=whole)
        assert (report.samples, round(report.source_weight, 3)) == (8, 0.889)
        report.undo()
        renorm.recalibrate_(model, [images], forward=whole).undo()
        with renorm.Adapter(model, prior=64, forward=whole) as adapter:
            adapter(images)
            assert (adapter.num_images, round(adapter.source_weight, 3)) == (8, 0.889)
        with (
            renorm.Tent(model, forward=lambda m, batch: whole(m, batch).mean((2, 3))) as tent,
            pytest.raises(ValueError, match="no image"),
        ):
            tent([])


def test_every_verb_takes_the_number_that_it_is_told():
    frames, model = torch.randn(3 * 4, 3, 6, 6), small().eval()  # of 4 clips
    with unchanged(model):
        assert renorm.measure(model, [frames, frames[:6]], samples=lambda batch: len(batch) // 3).samples == 6
        report = renorm.adapt_(model, frames, prior=4, samples=4)
        assert (report.samples, report.source_weight) == (4, 0.5)
        report.undo()
        renorm.recalibrate_(model, [frames], samples=4).undo()
        with renorm.Adapter(model, prior=4, samples=4, folded="time") as adapter:
            adapter(frames)
            assert (adapter.num_images, round(adapter.source_weight, 3)) == (4, 0.5)
        with renorm.prediction_time(model, 4, samples=4):
            told = model(frames)
        with renorm.prediction_time(model, 12):
            assert_close(model(frames), told)


def encoded(model: Any, images: list[Tensor]) -> Tensor:
    return model.encode(images)


def test_a_dict_and_another_method_are_the_same_images():
    torch.manual_seed(0)
    model, images = Keywords().eval(), [image() for _ in range(8)]
    batch = {"labels": [{"boxes": torch.rand(3, 4)} for _ in range(8)], "pixels": torch.stack(images)}
    by_dict = renorm.adapt_(model, batch, prior=64)
    by_dict.undo()
    by_method = renorm.adapt_(model, images, prior=64, forward=encoded)
    assert (by_dict.samples, by_method.samples) == (8, 8)
    assert_close(by_dict.output, by_method.output)


def test_a_list_of_images_without_forward_is_refused():
    with pytest.raises(TypeError, match=r"forward= that uses all: for a model that takes a list, forward=lambda"):
        renorm.adapt_(small(), [image(5, 6), image(7, 8)])


@pytest.mark.slow
def test_a_detector_is_adapted_by_every_verb():
    torchvision = pytest.importorskip("torchvision")
    make = torchvision.models.detection.fasterrcnn_resnet50_fpn_v2
    model = make(weights=None, weights_backbone=None, min_size=64, max_size=64, box_detections_per_img=4).eval()
    images, call = [torch.rand(3, 64, 64) for _ in range(2)], lambda m, batch: m(batch)
    with unchanged(model):
        report = renorm.adapt_(model, images, forward=call)
        assert report.samples == 2
        assert "roi_heads.box_head.0.1" not in (report.evidence.sites if report.evidence else ())
        report.undo()
        with renorm.Adapter(model, forward=call) as adapter:
            adapter(images)
            assert adapter.num_images == 2
            assert "roi_heads.box_head.0.1" in adapter.unreached
            assert "whose rows are of unknown images" in repr(adapter)
        with renorm.prediction_time(model), torch.no_grad():
            model(images)
        with renorm.prediction_time(model, 16), pytest.raises(ValueError, match=r"not known: .* samples=N"):
            model(images)
        with renorm.prediction_time(model, 16, samples=2), torch.no_grad():
            model(images)

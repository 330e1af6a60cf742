"""Rows of sites that are no samples: which are of which sample is said, or they have no say, and never guessed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from tests.banks.models import unchanged

CLIPS, FRAMES = 4, 3


class Video(nn.Module):
    """Frames folded into the batch, clip by clip or (time first) frame by frame."""

    def __init__(self, time_first: bool = False, images_first: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.BatchNorm3d(3) if images_first else nn.Identity()
        self.conv, self.bn, self.time_first = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), time_first

    def forward(self, clips: Tensor) -> Tensor:
        clips = self.stem(clips.transpose(1, 2)).transpose(1, 2) if not self.time_first else clips
        return self.bn(self.conv(clips.flatten(0, 1))).unflatten(0, clips.shape[:2])


class Regions(nn.Module):
    """Of every image a backbone sees one row, and the head all regions of all images."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.head = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5))

    def forward(self, images: list[Tensor]) -> Tensor:
        features = self.body(torch.stack(images)).mean((2, 3))
        return self.head(torch.cat([features[:1], features, features[1:].flip(0)]))


def clips() -> Tensor:
    """(B, T, C, H, W), each clip of its own brightness."""
    noise = torch.randn((CLIPS, FRAMES, 3, 5, 5), generator=torch.Generator().manual_seed(1))
    return noise + torch.arange(CLIPS).view(-1, 1, 1, 1, 1)


def by_clip(source: Any, x: Tensor) -> Tensor:
    """What is compared with: the evidence of clips, whose means are those of all their frames."""
    features = source.conv(x.flatten(0, 1)).unflatten(0, (CLIPS, FRAMES)).mean((1, 3, 4)).double()
    gap = (features.mean(0) - source.bn.running_mean).square() / (source.bn.running_var + 1e-5)
    noise = features.var(0, correction=0) / (CLIPS - 1) / (source.bn.running_var + 1e-5)
    return torch.stack([gap.mean(), noise.mean()]).detach()


@pytest.mark.parametrize("folded", ["sample", "time", "copies"])
def test_evidence_is_of_samples_in_the_order_that_was_told(folded: str):
    first, x = folded != "sample", clips()
    model = Video(first).eval()
    given = x.transpose(0, 1).contiguous() if first else x
    report = renorm.adapt_(model, given, samples=CLIPS, folded=folded, foreign="adapt")
    report.undo()
    found = report.evidence
    assert found is not None
    assert_close(torch.stack([found.gap[0], found.noise[0]]).double(), by_clip(model, x), rtol=1e-4, atol=1e-6)
    assert found.samples == CLIPS


def test_the_wrong_order_would_be_noticed():
    x = clips()
    model = Video(True).eval()
    found = renorm.adapt_(model, x.transpose(0, 1), samples=CLIPS, folded="sample", foreign="adapt").evidence
    assert found is not None
    with pytest.raises(AssertionError):
        assert_close(found.noise.double(), by_clip(Video().eval(), x)[1:], rtol=1e-2, atol=1e-3)


def test_without_a_word_it_is_refused_where_no_site_sees_images():
    model = Video().eval()
    message = r"site 'bn' got 12 rows of 4 images, and no site sees one row for each\. .*folded='sample' or 'time'; .*prior=64"
    with unchanged(model), pytest.raises(ValueError, match=message):
        renorm.adapt_(model, clips())
    with (
        unchanged(model),
        renorm.Adapter(model) as adapter,
        pytest.raises(ValueError, match=r"site 'bn' got other rows .* folded="),
    ):
        adapter(clips())
    assert renorm.adapt_(model, clips(), prior=4).source_weight == 0.5  # a number needs no order


def test_sites_of_unknown_rows_have_no_say_beside_others():
    model, x = Video(images_first=True).eval(), clips()
    alone = renorm.adapt_(model, x, foreign="adapt")
    assert "without 1 whose rows are of unknown images (bn)" in repr(alone)
    alone.undo()
    told = renorm.adapt_(model, x, folded="sample", foreign="adapt")
    assert alone.evidence is not None
    assert told.evidence is not None
    assert (alone.evidence.sites, told.evidence.sites) == (("stem",), ("stem", "bn"))
    assert (alone.unreached, alone.apart, told.unreached) == (("bn",), ("bn",), ())


def test_a_stream_keeps_regions_at_the_source_and_says_so():
    model = Regions().eval()
    images = [torch.randn(3, 4, 4) for _ in range(5)]
    call: Any = lambda m, batch: m(batch)  # noqa: E731
    with unchanged(model), renorm.Adapter(model, prior=16, forward=call) as adapter:
        for _ in range(3):
            with unchanged(model.head):
                adapter(images)
        assert adapter.unreached == ("head.1",)
        assert "without 1 whose rows are of unknown images (head.1)" in repr(adapter)
    report = renorm.adapt_(model, images, prior=16, forward=call)
    assert report.unreached == ()  # a batch alone needs no order


def test_all_rows_are_of_the_only_image():
    model = Regions().eval()
    call: Any = lambda m, batch: m(batch)  # noqa: E731
    with renorm.Adapter(model, prior=16, forward=call) as adapter:
        adapter([torch.randn(3, 4, 4)])
        assert adapter.unreached == ()


def test_a_stream_of_clips_is_that_of_their_frames_pooled():
    reports = []
    for folded, first in (("sample", False), ("time", True)):
        model, x = Video(first).eval(), clips()
        with renorm.Adapter(model, prior=4, samples=CLIPS, folded=folded) as adapter:
            adapter(x.transpose(0, 1) if first else x)
            reports.append((renorm.Bank.of(model).sites["bn"], adapter.distance["bn"]))
    (bank, distance), (other, same) = reports
    assert_close(bank.var, other.var)
    assert distance == pytest.approx(same)
    model = Video().eval()
    renorm.adapt_(model, clips(), prior=4)
    assert_close(renorm.Bank.of(model).sites["bn"].mean, bank.mean, rtol=1e-2, atol=1e-2)


def predicted(model: nn.Module, x: Tensor, prior: float, **options: Any) -> Tensor:
    with torch.no_grad(), renorm.prediction_time(model, prior, **options):
        return model(x)


def test_a_prior_is_worth_samples_not_rows():
    model, x = Video().eval(), clips()
    features = model.conv(x.flatten(0, 1)).detach()
    mean, var = features.mean((0, 2, 3)), features.var((0, 2, 3), correction=0)
    s = 4 / (4 + CLIPS)
    mean, var = (1 - s) * mean, s + (1 - s) * var
    expected = (features - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
    assert_close(predicted(model, x, 4).flatten(0, 1), expected, rtol=1e-4, atol=1e-5)
    naive = predicted(model, x, 4, samples=CLIPS * FRAMES)
    assert not torch.allclose(naive.flatten(0, 1), expected, atol=1e-2)


@pytest.mark.parametrize("first", [False, True])
def test_each_clip_by_itself(first: bool):
    model, x = Video(first).eval(), clips()
    given = x.transpose(0, 1).contiguous() if first else x
    y = predicted(model, given, 4, per_image=True, folded="time" if first else "sample", samples=CLIPS)
    for i in range(CLIPS):
        alone = predicted(Video().eval(), x[i : i + 1], 4)
        assert_close(y[:, i] if first else y[i], alone[0], rtol=1e-4, atol=1e-5)


class Encoder(nn.Sequential):
    def encode(self, x: Tensor) -> Tensor:
        return self[:2](x)


def test_what_is_not_known_is_refused_where_it_is_needed():
    video, x = Video().eval(), clips()
    with pytest.raises(ValueError, match=r"site 'bn' got 12 rows in a batch of 4 samples\. .* folded='sample' where"):
        predicted(video, x, 4, per_image=True)
    encoder: Any = Encoder(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()).eval()
    images = x[0]
    whole = predicted(encoder, images, 4)
    for per_image in (False, True):
        with (
            renorm.prediction_time(encoder, 4, per_image=per_image),
            pytest.raises(ValueError, match=r"site '1' got 3 rows, and the number of samples is not known.*samples=N"),
        ):
            encoder.encode(images)
    with renorm.prediction_time(encoder, 4, samples=3):
        assert_close(encoder.encode(images).relu(), whole)
    with renorm.prediction_time(encoder):  # the batch alone needs no number
        encoder.encode(images)
    with (
        pytest.raises(ValueError, match=r"folded='frames' was given"),
        renorm.prediction_time(encoder, folded="frames"),
    ):
        pass


@pytest.mark.parametrize("verb", ["adapt_", "measure", "Adapter", "Tent"])
def test_another_method_than_forward_is_the_same(verb: str):
    made = [Encoder(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Identity()).eval() for _ in range(2)]
    made[1].load_state_dict(made[0].state_dict())
    x = clips()[0]
    outputs = []
    for model, forward in zip(made, (None, lambda m, batch: m.encode(batch)), strict=True):
        verbs: dict[str, Any] = {
            "adapt_": lambda m, f: renorm.adapt_(m, x, prior=4, forward=f).output,
            "measure": lambda m, f: renorm.measure(m, [x], forward=f).sites["1"].var,
            "Adapter": lambda m, f: renorm.Adapter(m, prior=4, forward=f)(x),
            "Tent": lambda m, f: renorm.Tent(m, forward=f)(x),
        }
        outputs.append(verbs[verb](model, forward))
    assert_close(*outputs)

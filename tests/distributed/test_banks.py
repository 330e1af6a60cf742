"""Measuring and adapting on several ranks is the same as on one with all the data."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from tests.banks.models import small
from tests.distributed.ranks import on_ranks

Parts = list[list[Tensor]]


def shares(sizes: list[list[int]]) -> Parts:
    """Batches of those sizes for every rank, each rank's around another mean."""
    generator = torch.Generator().manual_seed(5)
    return [[torch.randn((n, 3, 4, 4), generator=generator) + 2 * rank for n in own] for rank, own in enumerate(sizes)]


def tensors(bank: renorm.Bank) -> dict[str, Any]:
    sites = {name: [s.mean, s.var, s.count] for name, s in bank.sites.items()}
    return {"samples": bank.samples, "sites": sites}


def failing(batches: list[Tensor]) -> Iterator[Tensor]:
    yield from batches
    raise OSError("disk gone")


def error_of(work: Any) -> str:
    try:
        work()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def measure(rank: int, sizes: list[list[int]]) -> dict[str, Any]:
    """Everything about banks that needs several processes, in one start of them."""
    everyone, model, batches = dist.group.WORLD, small(), shares(sizes)[rank]
    found: dict[str, Any] = {}
    for passes in (1, 2):
        found[f"measured {passes}"] = tensors(renorm.measure(model, batches, passes=passes, group=everyone))
    found["alone"] = tensors(renorm.measure(model, batches)) if sum(map(len, batches)) else None

    installed = renorm.recalibrate_(model, batches, group=everyone)
    found["recalibrated"] = tensors(renorm.Bank.of(model))
    installed.undo()

    for prior in ("auto", 8):
        report = renorm.adapt_(model, torch.cat(batches or shares([[0]])[0]), prior, group=everyone)
        found[f"adapted {prior}"] = [
            tensors(renorm.Bank.of(model)),
            report.samples,
            report.source_weight,
            report.output,
        ]
        report.undo()

    own = torch.cat(batches or shares([[0]])[0])
    bytes_of_images = 255 * torch.rand(own.shape, generator=torch.Generator().manual_seed(rank))
    found["foreign"] = error_of(lambda: renorm.adapt_(model, bytes_of_images, 8, group=everyone))

    before = tensors(renorm.Bank.of(model))
    last = dist.get_world_size() - 1
    loader = failing(batches) if rank == last else iter(batches)
    found["failed"] = error_of(lambda: renorm.recalibrate_(model, loader, group=everyone))
    found["no image"] = error_of(lambda: renorm.measure(model, [], group=everyone))
    broken = [x * torch.nan for x in batches] if rank == last else batches
    found["NaN"] = error_of(lambda: renorm.measure(model, broken, group=everyone))
    assert_close(tensors(renorm.Bank.of(model)), before, rtol=0, atol=0)
    return found


@pytest.fixture(scope="module", params=[[[5, 2], [3]], [[3], [], [2, 4]]], ids=["2 uneven", "3 with an empty one"])
def ranks(request: pytest.FixtureRequest) -> tuple[Parts, list[Any]]:
    return shares(request.param), on_ranks(len(request.param), measure, request.param)


@pytest.mark.parametrize("passes", [1, 2])
def test_measuring_on_ranks_is_measuring_all_their_batches(ranks: tuple[Parts, list[Any]], passes: int):
    parts, found = ranks
    expected = renorm.measure(small(), [x for own in parts for x in own], passes=passes)
    for each in found:
        assert_close(each[f"measured {passes}"], tensors(expected), rtol=1e-5, atol=1e-6)
        assert_close(each[f"measured {passes}"], found[0][f"measured {passes}"], rtol=0, atol=0)


def test_ranks_that_do_not_speak_to_each_other_differ(ranks: tuple[Parts, list[Any]]):
    parts, found = ranks
    for own, each in zip(parts, found, strict=True):
        if own:
            assert_close(each["alone"], tensors(renorm.measure(small(), own)), rtol=1e-5, atol=1e-6)
            with pytest.raises(AssertionError):  # so the law above can fail
                assert_close(each["alone"]["sites"], found[0]["measured 1"]["sites"], rtol=0.02, atol=0.02)


def test_averaging_ranks_would_not_do(ranks: tuple[Parts, list[Any]]):
    parts, found = ranks
    alone = [each["alone"]["sites"]["1"] for own, each in zip(parts, found, strict=True) if own]
    _, var, _ = found[0]["measured 1"]["sites"]["1"]
    averaged = sum(v * n for _, v, n in alone) / sum(n for _, _, n in alone)
    with pytest.raises(AssertionError):
        assert_close(averaged, var, rtol=0.02, atol=0.02)


def test_all_ranks_install_the_same(ranks: tuple[Parts, list[Any]]):
    parts, found = ranks
    model: nn.Module = small()
    renorm.recalibrate_(model, [x for own in parts for x in own])
    for each in found:
        assert_close(each["recalibrated"], tensors(renorm.Bank.of(model)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prior", ["auto", 8])
def test_adapting_on_ranks_is_adapting_to_all_their_images(ranks: tuple[Parts, list[Any]], prior: Any):
    parts, found = ranks
    model, images = small(), [torch.cat(own or [torch.zeros(0, 3, 4, 4)]) for own in parts]
    report = renorm.adapt_(model, torch.cat(images), prior)
    assert report.source_weight < 1
    outputs = report.output.split([len(x) for x in images])
    for each, output in zip(found, outputs, strict=True):
        expected = [tensors(renorm.Bank.of(model)), report.samples, report.source_weight, output]
        assert_close(each[f"adapted {prior}"], expected, rtol=1e-5, atol=1e-5)


def test_images_prepared_for_another_model_are_refused_by_all_ranks(ranks: tuple[Parts, list[Any]]):
    for each in ranks[1]:
        assert "The model expects" in each["foreign"]


def test_a_failure_on_one_rank_is_an_error_on_all(ranks: tuple[Parts, list[Any]]):
    _, found = ranks
    *others, last = [each["failed"] for each in found]
    assert last == "OSError: disk gone"
    message = f"rank {len(others)} failed while measuring. All ranks are needed. See its error."
    assert others == [f"RuntimeError: {message}"] * len(others)
    assert all(each["no image"].startswith("ValueError: the batches were empty.") for each in found)
    assert all("are not finite" in each["NaN"] for each in found)

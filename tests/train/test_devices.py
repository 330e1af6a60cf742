"""One process among others, and alone."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import renorm
from renorm.data import load
from renorm.recipes.classify import check, configured
from renorm.train import Processes, branches_of, join, unsynchronized

CPU = torch.device("cpu")


def test_alone_there_is_nothing_to_share():
    alone, model = Processes(CPU), nn.Linear(2, 2)
    assert alone.main
    assert alone.parallel(model) is model
    assert_close(alone.sum(torch.ones(3)), torch.ones(3))
    assert_close(alone.gather(torch.ones(3)), torch.ones(1, 3))
    with alone.main_first(), unsynchronized(model, last=False):
        model(torch.ones(1, 2)).sum().backward()
    alone.leave()


def test_branches_of_a_plain_model_are_none():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert branches_of(model) == ()
    renorm.split_(model, ["weak", "strong"])
    assert branches_of(model) == ("weak", "strong")


def test_more_processes_than_devices_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr("torch.accelerator.device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(
        ValueError, match=r"process 3 of this machine has no cuda device .* there are 2, .* Start 2, or hide"
    ):
        join()


def test_each_forward_of_each_process_needs_an_image():
    images = load("digits")
    with pytest.raises(
        ValueError, match=r"--accumulate 3 on 5 processes divides the 12 images of a step: .* Use 1 to 2"
    ):
        check(configured(batch=24, accumulate=3), images, processes=5)
    check(configured(batch=24, accumulate=2), images, processes=5)


def test_a_short_last_step_needs_an_image_for_every_process():
    config = configured(batch=20, keep_last=True, accumulate=2)
    assert [config.plan(24, processes).steps for processes in (1, 2, 3)] == [3, 3, 2]

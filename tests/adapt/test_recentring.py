"""Re-centring the head of a network whose norms keep no statistics."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm


def network(head: Any = None) -> Any:
    torch.manual_seed(0)
    head = head or nn.Linear(6, 3)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head
    ).eval()


def images(size: int, seed: int = 0, offset: float = 0.0) -> Tensor:
    x = torch.randn(size, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    x[:, 0] += offset
    return x


def test_the_head_reads_its_features_less_their_mean():
    model, x = network(), images(16)
    with torch.no_grad():
        h = model[:5](x)
        expected = (h - h.mean(0)) @ model[5].weight.T + model[5].bias
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = renorm.recenter_(model, x)
    assert (report.head, report.verdict, report.bank.samples) == ("5", None, 16)
    assert_close(model(x), expected, rtol=1e-5, atol=1e-5)
    report.undo()
    assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_with_a_reference_only_the_difference_counts_and_home_is_kept_bit_for_bit():
    model, usual = network(), images(64, 1)
    bias = model[5].bias.detach().clone()
    report = renorm.recenter_(model, images(64, 2), reference=usual)
    assert report.verdict == "home"
    assert torch.equal(model[5].bias, bias)
    report = renorm.recenter_(model, images(64, 2, offset=2), reference=usual)
    assert report.verdict == "shifted"
    assert "times as far as chance" in report.reason
    with torch.no_grad():
        c = model[:5](images(64, 2, offset=2)).mean(0) - model[:5](usual).mean(0)
        assert_close(model[5].bias, bias - model[5].weight @ c, rtol=1e-5, atol=1e-5)


def test_its_bank_is_a_file_that_moves_another_copy_alike(tmp_path: Path):
    model, other, x = network(), network(), images(16)
    report = renorm.recenter_(model, x)
    report.bank.save(tmp_path / "head.safetensors")
    again = renorm.recenter_(other, renorm.Bank.load(tmp_path / "head.safetensors"))
    assert_close(other(x), model(x), rtol=0, atol=0)
    with pytest.raises(ValueError, match="a model with other weights"):
        renorm.recenter_(model, report.bank)
    again.undo()
    with pytest.raises(ValueError, match="takes a bank of the head alone"):
        renorm.recenter_(other, renorm.Bank.of(nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3))))


def test_what_stands_on_it_is_not_undone():
    model = network()
    report = renorm.recenter_(model, images(16))
    with torch.no_grad():
        model[5].bias.add_(1)
    with pytest.raises(RuntimeError, match="have changed since"):
        report.undo()


def test_tokens_count_as_their_image_and_the_head_may_be_named():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 2)).eval()
    x = torch.randn(6, 7, 4, generator=torch.Generator().manual_seed(0))
    report = renorm.recenter_(model, x, head="2")
    with torch.no_grad():
        assert_close(report.bank.sites["2"].mean, model[:2](x).mean((0, 1)), rtol=1e-5, atol=1e-6)
        assert_close(report.bank.sites["2"].var, model[:2](x).mean(1).var(0), rtol=1e-4, atol=1e-6)


def test_what_cannot_be_recentred_is_refused():
    with pytest.raises(ValueError, match=r"head '5' has no bias.*Give it one of zeros"):
        renorm.recenter_(network(nn.Linear(6, 3, bias=False)), images(4))
    with pytest.raises(ValueError, match="no linear layer gives the model's output"):
        renorm.recenter_(nn.Sequential(network(), nn.Softmax(1)), images(4))
    with pytest.raises(ValueError, match=r"no linear layer 'fc' was reached"):
        renorm.recenter_(network(), images(4), head="fc")
    with pytest.raises(ValueError, match="no image was given"):
        renorm.recenter_(network(), images(0))
    with pytest.raises(ValueError, match=r"not finite"):
        renorm.recenter_(network(), images(4) * float("nan"))
    with pytest.raises(ValueError, match=r"no running statistics.*renorm.recenter_"):
        renorm.adapt_(network(), images(4))

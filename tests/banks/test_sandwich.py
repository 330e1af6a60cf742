"""Banks of a sandwich: the affine they see is the merged one, and the one they bring goes to the branch's factor."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

import renorm
from tests.banks.models import small, unchanged

BRANCHES = ["clean", "adv"]
SHARES = [(), "statistics"]


def images(size: int = 6) -> torch.Tensor:
    return torch.randn((size, 3, 4, 4), generator=torch.Generator().manual_seed(4)) + 1


def sandwich(share: Any = ()) -> Any:
    model = small(dropout=0.0)
    renorm.sandwich_(model, BRANCHES, share=share)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for site in (model[1], model[5]):
            for p in (site.branch_weight, site.branch_bias):
                p.add_(0.5 * torch.randn(p.shape, generator=generator))
            for key in ("running_mean", "running_var"):
                getattr(site, key).add_(torch.rand(getattr(site, key).shape, generator=generator))
    return model.eval()


def outputs(model: Any, branch: str | None = None) -> torch.Tensor:
    if branch is None:
        return model(images())
    with renorm.route(model, branch):
        return model(images())


@pytest.mark.parametrize("share", SHARES, ids=str)
@pytest.mark.parametrize("branch", BRANCHES)
def test_banks_see_the_merged_affine(branch: str, share: Any):
    model = sandwich(share)
    plain = renorm.fold(model, branch)
    bank, expected = renorm.Bank.of(model, branch, affine=True), renorm.Bank.of(plain, affine=True)
    for name, site in expected.sites.items():
        for key in ("mean", "var", "weight", "bias"):
            assert_close(getattr(bank.sites[name], key), getattr(site, key), rtol=0, atol=0, check_device=True)


@pytest.mark.parametrize("share", SHARES, ids=str)
@pytest.mark.parametrize("branch", BRANCHES)
def test_measuring_adapting_and_recalibrating_are_those_of_the_folded_model(branch: str, share: Any):
    model, x = sandwich(share), images()
    plain: Any = renorm.fold(model, branch)
    other = next(name for name in BRANCHES if name != branch)
    kept = outputs(model, other)
    with unchanged(model):
        a, b = renorm.measure(model, [x[:4], x[4:]], branch), renorm.measure(plain, [x[:4], x[4:]])
        assert_close([s.var for s in a.sites.values()], [s.var for s in b.sites.values()], rtol=1e-5, atol=1e-6)
    reports = [renorm.adapt_(model, x, 3, branch), renorm.adapt_(plain, x, 3)]
    assert_close(reports[0].output, reports[1].output, rtol=1e-4, atol=1e-5)
    assert_close(outputs(model, branch), reports[0].output, rtol=1e-4, atol=1e-5)
    assert torch.equal(outputs(model, other), kept) is (not share)
    reports[0].undo()
    exact = outputs(model, other)
    assert_close(exact, kept, rtol=0, atol=0)
    undo = renorm.recalibrate_(model, [x], branch)
    assert not torch.equal(outputs(model, branch), outputs(renorm.fold(sandwich(share), branch)))
    undo.undo()


def test_samples_of_no_branch_have_a_bank_too():
    model, x = sandwich("statistics"), images()
    plain = renorm.fold(model, "unknown")
    bank = renorm.measure(model, [x], "unknown")
    expected = renorm.measure(plain, [x])
    assert bank.branch == "unknown"
    assert_close([s.mean for s in bank.sites.values()], [s.mean for s in expected.sites.values()], rtol=1e-5, atol=1e-6)
    with renorm.using(model, bank, "unknown"), renorm.using(plain, expected):
        assert_close(outputs(model, "unknown"), outputs(plain), rtol=1e-5, atol=1e-5)
    with renorm.route(model, "unknown"):
        assert renorm.Bank.of(model).branch == "unknown"
    with pytest.raises(
        ValueError, match=r"an affine was given for samples of no branch \(site '1'\).*Name a branch, or"
    ):
        renorm.install_(model, renorm.Bank.of(plain, affine=True), "unknown", strict=False)


@pytest.mark.parametrize("share", SHARES, ids=str)
def test_an_affine_of_elsewhere_goes_to_the_factor_of_the_branch(share: Any):
    model, other = sandwich(share), small(dropout=0.0).eval()
    shared, kept = model[1].weight.clone(), outputs(model, "adv")
    with torch.no_grad():
        for site in (other[1], other[5]):
            site.weight.uniform_(-2, 2)
            site.bias.uniform_(-1, 1)
    with unchanged(model):
        with renorm.using(model, renorm.Bank.of(other, affine=True), "clean"):
            assert_close(outputs(model, "clean"), outputs(other), rtol=1e-4, atol=1e-5)
            assert_close(model[1].weight, shared, rtol=0, atol=0)
            assert torch.equal(outputs(model, "adv"), kept) is (not share)
        report = renorm.install_(model, renorm.Bank.of(other, affine=True), "clean")
        report.undo()


def test_its_own_bank_changes_no_bit():
    model = sandwich()
    bank = renorm.Bank.of(model, "adv", affine=True)
    with unchanged(model):
        renorm.install_(model, bank, "adv")


def test_a_shared_scale_of_0_can_only_be_kept():
    model, other = sandwich(), small(dropout=0.0).eval()
    with torch.no_grad():
        model[5].weight[2] = 0
    bank = renorm.Bank.of(model, "clean", affine=True)
    with torch.no_grad():
        model[5].branch_bias.add_(1)
    renorm.install_(model, bank, "clean")
    assert_close(renorm.Bank.of(model, "clean", affine=True).sites["5"].bias, bank.sites["5"].bias)
    message = r"site '5' has shared scales of 0, and other scales were given.*Use a bank of statistics alone"
    with unchanged(model), pytest.raises(ValueError, match=message):
        renorm.install_(model, renorm.Bank.of(other, affine=True), "adv")


def test_a_bank_in_a_file_fits_the_model_again(tmp_path: Any):
    model = sandwich()
    bank = renorm.measure(model, [images()], "adv")
    loaded = renorm.Bank.load(bank.save(tmp_path / "adv.safetensors"))
    with renorm.using(model, loaded, "adv"):
        pass
    with torch.no_grad():
        model[0].weight.add_(1)
    with pytest.raises(ValueError, match="measured on a model with other weights"):
        renorm.install_(model, loaded, "adv")

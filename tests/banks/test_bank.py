"""A bank as a value and as a file."""

import copy
import gc
import json
import math
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.banks import Statistics
from tests.banks.models import Unknown, small, unchanged
from tests.oracles.statistics import distance, pooled


def images(*sizes: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randn((size, 3, 4, 4), generator=generator) + i for i, size in enumerate(sizes)]


def one_site(mean: list[float], var: list[float], count: int | None = None, **bank: Any) -> renorm.Bank:
    return renorm.Bank({"bn": Statistics(torch.tensor(mean), torch.tensor(var), count)}, **bank)


def assert_same(a: renorm.Bank, b: renorm.Bank) -> None:
    assert (list(a.sites), a.samples, a.branch, a.data) == (list(b.sites), b.samples, b.branch, b.data)
    for name, site in a.sites.items():
        other = b.sites[name]
        assert site.count == other.count
        for ours, theirs in zip(
            (site.mean, site.var, site.weight, site.bias),
            (other.mean, other.var, other.weight, other.bias),
            strict=True,
        ):
            assert (ours is None) == (theirs is None)
            if ours is not None and theirs is not None:
                assert_close(ours, theirs, rtol=0, atol=0)


# As a value


def test_a_bank_of_a_model_is_a_copy_of_what_it_has():
    model = small()
    bank, with_affine = renorm.Bank.of(model), renorm.Bank.of(model, affine=True)
    assert repr(bank) == "Bank of 2 sites, samples unknown"
    assert bank.sites["1"].weight is None
    assert bank.sites["1"].count is None
    assert with_affine.sites["5"].bias is not None
    assert_close(with_affine.sites["5"].bias, model[5].bias.detach(), rtol=0, atol=0)
    before = bank.sites["1"].mean.clone()
    model[1].running_mean.zero_()
    assert_close(bank.sites["1"].mean, before, rtol=0, atol=0)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Unknown])
def test_a_bank_of_a_branch_has_its_rows(norm: Any):
    model, plain = small(norm), small(norm)
    renorm.split_(model, ["weak", "strong"])
    renorm.install_(model, renorm.measure(model, images(4), "strong"), "strong")
    assert_same(renorm.Bank.of(model, "weak"), renorm.Bank(renorm.Bank.of(plain).sites, branch="weak"))
    strong = renorm.Bank.of(model, "strong", affine=True)
    assert repr(strong) == "Bank of branch 'strong' of 2 sites, samples unknown"
    assert list(strong.sites) == ["1", "5"]
    assert_close(strong.sites["5"].mean, renorm.measure(plain, images(4)).sites["5"].mean)


def test_merged_banks_are_the_bank_of_all_values():
    values = [x[:, :, 0, 0] for x in images(2, 9, 5)]
    parts = [pooled([x]) for x in values]
    banks = [renorm.Bank({"bn": Statistics(m, v, n)}, samples=n) for m, v, n in parts]
    bank = renorm.merge(banks)
    site = bank.sites["bn"]
    assert bank.samples == 16
    assert_close((site.mean, site.var, site.count), pooled(values), rtol=1e-12, atol=0)
    again = renorm.merge([renorm.merge(banks[:2]), banks[2]])
    assert_close(again.sites["bn"].var, site.var, rtol=1e-12, atol=0)
    naive = sum(n * v for _, v, n in parts) / 16
    with pytest.raises(AssertionError):  # variances averaged without the spread of means
        assert_close(naive, site.var, rtol=0.02, atol=0)


def test_merging_measured_banks_is_measuring_at_once():
    model, batches = nn.Sequential(nn.BatchNorm2d(3)), images(2, 9, 5)
    at_once = renorm.measure(model, batches)
    merged = renorm.merge([renorm.measure(model, [x]) for x in batches])
    assert (merged.samples, merged.sites["0"].count) == (16, 16 * 16)
    assert_close(merged.sites["0"].mean, at_once.sites["0"].mean, rtol=1e-6, atol=1e-7)
    assert_close(merged.sites["0"].var, at_once.sites["0"].var, rtol=1e-6, atol=1e-7)
    assert_same(renorm.merge([at_once]), at_once)


def test_what_cannot_be_merged():
    with pytest.raises(ValueError, match=r"no bank was given\. Merging needs at least one\. Pass a list"):
        renorm.merge([])
    with pytest.raises(
        ValueError, match=r"'bn' of a bank has no count .*weighs .*made by renorm\.measure, not Bank\.of"
    ):
        renorm.merge([one_site([0.0], [1.0], 4), one_site([0.0], [1.0])])
    with pytest.raises(
        ValueError, match=r"1 and 2 sites were given that differ in \['1', '5', 'bn'\]\. .*of one model"
    ):
        renorm.merge([one_site([0.0], [1.0], 4), renorm.measure(small(), images(4))])
    unknown = renorm.merge([one_site([0.0], [1.0], 4, samples=4), one_site([0.0], [1.0], 4)])
    assert unknown.samples is None


@pytest.mark.parametrize(("prior", "weight"), [(0, 0.0), (16, 16 / 21), (1.25, 0.2), (math.inf, 1.0)])
def test_blending_moves_means_and_variances_alike(prior: float, weight: float):
    source, target = one_site([1.0, 2.0], [4.0, 0.5]), one_site([3.0, -2.0], [1.0, 8.0], 80, samples=5)
    bank = renorm.blend(source, target, prior)
    for key in ("mean", "var"):
        a, b = getattr(source.sites["bn"], key), getattr(target.sites["bn"], key)
        exact = weight in (0.0, 1.0)
        assert_close(getattr(bank.sites["bn"], key), weight * a + (1 - weight) * b, rtol=0 if exact else 1e-6, atol=0)
    assert bank.samples is None
    assert bank.sites["bn"].count is None
    assert bank.data == f"blend, source weight {weight:.3g}"


def test_what_cannot_be_blended():
    source = one_site([1.0], [4.0])
    with pytest.raises(ValueError, match=r"does not say how many images .*Use a bank made by renorm\.measure"):
        renorm.blend(source, source)
    with pytest.raises(ValueError, match=r"differ in \['1', '5', 'bn'\]"):
        renorm.blend(source, renorm.measure(small(), images(4)))
    for prior in (-1, math.nan):
        with pytest.raises(ValueError, match=rf"prior={prior} was given\. It is a number of images, .*float\('inf'\)"):
            renorm.blend(source, one_site([1.0], [4.0], samples=5), prior)


def test_the_distance_is_in_standard_deviations_of_the_first():
    model = small()
    a, b = renorm.Bank.of(model), renorm.measure(model, images(4, 2))
    expected = {
        name: distance(*(t.double() for t in (x.mean, x.var, b.sites[name].mean, b.sites[name].var)))
        for name, x in a.sites.items()
    }
    assert_close(a.distance(b), expected, rtol=1e-9, atol=0)
    assert a.distance(a) == {"1": 0.0, "5": 0.0}
    assert one_site([0.0], [4.0]).distance(one_site([2.0], [4.0])) == {"bn": 1.0}
    assert one_site([0.0], [4.0]).distance(one_site([0.0], [16.0])) == {"bn": 1.0}
    with pytest.raises(ValueError, match="must be of one model"):
        a.distance(one_site([0.0], [4.0]))


def test_a_bank_is_pickled_and_copied_with_what_a_file_would_have():
    model = small()
    bank = renorm.measure(model, images(4, 2), data="digits")
    for other in (pickle.loads(pickle.dumps(bank)), copy.deepcopy(bank)):
        assert_same(other, bank)
        renorm.install_(model, other).undo()
        with pytest.raises(ValueError, match="other weights"):
            renorm.install_(small(conv=other_convolution), other)


def other_convolution(*args: Any, **options: Any) -> nn.Module:
    conv = nn.Conv2d(*args, **options)
    nn.init.constant_(conv.weight, 0.1)
    return conv


def test_a_bank_moves_to_another_device():
    bank = renorm.Bank.of(small(), affine=True).to("meta")
    assert all(t is not None and t.is_meta for s in bank.sites.values() for t in (s.mean, s.var, s.weight, s.bias))


# As a file


@pytest.mark.parametrize("affine", [False, True])
def test_a_file_holds_the_whole_bank(affine: bool, tmp_path: Path):
    model = small()
    bank = renorm.Bank.of(model, affine=True) if affine else renorm.measure(model, images(4, 2), data="digits")
    path = bank.save(tmp_path / "new" / "clean.safetensors")
    assert path == tmp_path / "new" / "clean.safetensors"
    loaded = renorm.Bank.load(path)
    assert_same(loaded, bank)
    assert loaded.weights is not None
    renorm.install_(model, loaded)
    assert_same(renorm.Bank.load(loaded.save(path)), bank)


def test_a_file_of_a_model_that_is_itself_a_norm(tmp_path: Path):
    norm = nn.BatchNorm1d(3)
    bank = renorm.measure(norm, [torch.randn(5, 3)])
    assert list(bank.sites) == [""]
    assert_same(renorm.Bank.load(bank.save(tmp_path / "bank")), bank)


def test_a_file_tells_what_it_is_without_being_read_whole(tmp_path: Path):
    model = small()
    renorm.split_(model, ["weak", "strong"])
    path = renorm.measure(model, images(4), "strong", data="fog").save(tmp_path / "bank")
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    about = json.loads(metadata["renorm"])
    assert metadata["format"] == "renorm.bank/1"
    assert (about["samples"], about["branch"], about["data"]) == (4, "strong", "fog")
    assert about["torch"] == torch.__version__


def test_a_file_fits_the_plain_the_split_and_the_folded_model(tmp_path: Path):
    model = small()
    path = renorm.measure(model, images(4)).save(tmp_path / "bank")
    bank = renorm.Bank.load(path)
    renorm.split_(model, ["weak", "strong"])
    renorm.install_(model, bank, "strong")
    folded = renorm.fold(model, "strong")
    assert_same(renorm.Bank.of(folded), renorm.Bank(strip(bank)))
    renorm.install_(folded, bank)


def strip(bank: renorm.Bank) -> dict[str, Statistics]:
    return {name: Statistics(s.mean, s.var) for name, s in bank.sites.items()}


def test_a_bank_does_not_fit_other_weights(tmp_path: Path):
    model = small()
    loaded = renorm.Bank.load(renorm.measure(model, images(4)).save(tmp_path / "bank"))
    with torch.no_grad():
        model[0].weight[0, 0, 0, 0] += 1e-3
    message = r"measured on a model with other weights\. .*Load the weights it belongs to, .*strict=False"
    with unchanged(model):
        with pytest.raises(ValueError, match=message):
            renorm.install_(model, loaded)
        with pytest.raises(ValueError, match=message), renorm.using(model, loaded):
            pass
    renorm.install_(model, loaded, strict=False)
    assert_close(model[5].running_mean, loaded.sites["5"].mean, rtol=0, atol=0)


def test_the_affine_of_a_norm_is_not_among_the_other_weights(tmp_path: Path):
    model = small()
    loaded = renorm.Bank.load(renorm.measure(model, images(4)).save(tmp_path / "bank"))
    with torch.no_grad():
        model[1].weight.mul_(2)
    renorm.install_(model, loaded)


def test_weights_that_change_between_measuring_and_saving(tmp_path: Path):
    model = small()
    bank = renorm.measure(model, images(4))
    with torch.no_grad():
        model[0].weight.mul_(1.1)
    with pytest.raises(ValueError, match=r"weights have changed since this bank was made\. .*Measure it again"):
        bank.save(tmp_path / "bank")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="have changed"):
        pickle.dumps(bank)


def test_a_bank_outlives_its_model(tmp_path: Path):
    model = small()
    bank = renorm.measure(model, images(4))
    del model
    gc.collect()
    loaded = renorm.Bank.load(bank.save(tmp_path / "bank"))
    assert loaded.weights is None
    renorm.install_(small(conv=other_convolution), loaded)


def test_a_file_that_is_missing_truncated_or_something_else(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no bank at .*none\. .*made by Bank\.save\. Check the path"):
        renorm.Bank.load(tmp_path / "none")
    path = renorm.measure(small(), images(4)).save(tmp_path / "bank")
    whole = path.read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(
            ValueError, match=r"bank cannot be read as a bank: .*may be truncated\. Save the bank again"
        ):
            renorm.Bank.load(path)
    path.write_text("mean: 0.5")
    with pytest.raises(ValueError, match="cannot be read as a bank"):
        renorm.Bank.load(path)
    safetensors.torch.save_file(small().state_dict(), path)
    with pytest.raises(
        ValueError, match=r"safetensors file but not a bank\. .*For a model's weights use renorm\.models"
    ):
        renorm.Bank.load(path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"bn.mean": torch.zeros(2)}, r"lacks the mean or variance of site 'bn'\. .*Save the bank again"),
        ({"bn.mean": torch.tensor([0, torch.nan]), "bn.var": torch.ones(2)}, "site 'bn' are not finite or negative"),
        ({"bn.mean": torch.zeros(2), "bn.var": torch.tensor([1, -1.0])}, "site 'bn' are not finite or negative"),
        ({"bn.mean": torch.zeros(2), "bn.var": torch.tensor([1, torch.inf])}, "site 'bn' are not finite or negative"),
    ],
    ids=["incomplete", "NaN", "negative", "infinite"],
)
def test_a_file_with_broken_numbers(tensors: Any, message: str, tmp_path: Path):
    metadata = {"format": "renorm.bank/1", "renorm": "{}"}
    safetensors.torch.save_file(tensors, tmp_path / "bank", metadata)
    with pytest.raises(ValueError, match=message):
        renorm.Bank.load(tmp_path / "bank")


def test_broken_numbers_are_not_saved(tmp_path: Path):
    with pytest.raises(ValueError, match="site 'bn' are not finite"):
        one_site([math.nan], [1.0]).save(tmp_path / "bank")
    assert not list(tmp_path.iterdir())


def test_a_failing_write_keeps_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = one_site([1.0], [2.0]).save(tmp_path / "bank")
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, full)
            with pytest.raises(OSError, match="No space left"):
                one_site([5.0], [2.0]).save(path)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]


def test_banks_of_two_branches_are_not_merged():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    renorm.split_(model, ["weak", "strong"])
    banks = [renorm.measure(model, [torch.randn(4, 3, 2, 2)], branch) for branch in ("weak", "strong")]
    with pytest.raises(ValueError, match=r"'weak' and 'strong'.*same features.*or blend them"):
        renorm.merge(banks)

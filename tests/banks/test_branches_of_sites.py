"""Which branch a bank is of: of each site by patterns of names, or none where branches share their statistics."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.banks import branches_of
from renorm.layers import SandwichBatchNorm
from tests.banks.models import small, unchanged

BRANCHES = ["weak", "strong"]
MIXED = {"1": "weak", "*": "strong"}


def images(seed: int = 0, size: int = 6) -> Tensor:
    return torch.randn((size, 3, 4, 4), generator=torch.Generator().manual_seed(seed)) + 1


def split(**options: Any) -> Any:
    """A model whose branches differ in all they have of their own."""
    model = small(dropout=0.0).eval()
    renorm.split_(model, BRANCHES, **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for site in (model[1], model[5]):
            for tensor in (site.weight, site.bias, site.running_mean, site.running_var):
                tensor.add_(torch.rand(tensor.shape, generator=generator))
    return model


def folded(model: Any, branches: dict[str, str]) -> Any:
    """A plain model whose sites are those of their branches: what a mapping means."""
    plain: Any = renorm.fold(model, "weak")
    for name, branch in branches.items():
        plain[int(name)] = renorm.fold(model, branch)[int(name)]  # pyright: ignore[reportIndexIssue]
    return plain


# --- a branch for each site ------------------------------------------------------------------------------------------


def same(bank: renorm.Bank, expected: renorm.Bank, tolerance: float = 0.0) -> None:
    assert list(bank.sites) == list(expected.sites)
    for name, site in expected.sites.items():
        for key in ("mean", "var", "weight", "bias"):
            assert_close(getattr(bank.sites[name], key), getattr(site, key), rtol=tolerance, atol=tolerance)


def test_every_verb_sees_the_model_that_is_folded_site_by_site():
    model, x = split(), images()
    plain = folded(model, {"1": "weak", "5": "strong"})
    same(renorm.Bank.of(model, MIXED, affine=True), renorm.Bank.of(plain, affine=True))
    with unchanged(model):
        same(renorm.measure(model, [x], MIXED), renorm.measure(plain, [x]), 1e-5)
        same(renorm.measure(model, [x], MIXED, passes=2), renorm.measure(plain, [x], passes=2), 1e-5)
    report, expected = renorm.adapt_(model, x, 4, MIXED), renorm.adapt_(plain, x, 4)
    assert_close(report.output, expected.output, rtol=1e-5, atol=1e-5)
    report.undo()
    expected.undo()
    with renorm.prediction_time(model, branch=MIXED), renorm.prediction_time(plain):
        assert_close(model(x), plain(x), rtol=1e-5, atol=1e-5)
    with pytest.raises(AssertionError):  # so the law can fail
        same(renorm.measure(model, [x], "strong"), renorm.measure(plain, [x]), 1e-3)


def test_a_bank_is_written_to_the_branch_of_each_site(tmp_path: Any):
    model = split()
    bank = renorm.measure(model, [images()], MIXED)
    assert bank.branch == MIXED
    assert "of {'1': 'weak', '*': 'strong'}" in repr(bank)
    loaded = renorm.Bank.load(bank.save(tmp_path / "bank.safetensors"))
    assert loaded.branch == MIXED
    weak, strong = (renorm.Bank.of(model, name) for name in BRANCHES)
    undo = renorm.install_(model, loaded, MIXED)
    now = [renorm.Bank.of(model, name) for name in BRANCHES]
    assert [weak.distance(now[0])["5"], strong.distance(now[1])["1"]] == [0, 0]
    assert min(weak.distance(now[0])["1"], strong.distance(now[1])["5"]) > 0
    undo.undo()


def test_a_stream_follows_the_branch_of_each_site(tmp_path: Any):
    model = split()
    plain = folded(model, {"1": "weak", "5": "strong"})
    with unchanged(model):
        adapter, expected = renorm.Adapter(model, prior=16, branch=MIXED), renorm.Adapter(plain, prior=16)
        for seed in range(3):
            assert_close(adapter(images(seed)), expected(images(seed)), rtol=1e-4, atol=1e-5)
        adapter.save(tmp_path / "stream")
        adapter.close()
        renorm.Adapter.load(model, tmp_path / "stream").close()


def test_the_route_is_given_back_and_a_copy_made_inside_follows_it_no_longer():
    model, copies = split(), []

    def forward(model: Any, batch: Tensor) -> Tensor:
        copies.append(copy.deepcopy(model))
        return model(batch)

    expected = renorm.measure(model, [images()], MIXED)
    same(renorm.measure(model, [images()], MIXED, forward=forward), expected)
    with pytest.raises(KeyError):
        renorm.measure(model, [images()], MIXED, forward=lambda m, x: {}[m(x).sum()])
    for each in (model, copies[0]):
        assert each[1].route.open is None
        each[1](each[0](images()))
        assert each[1].route.open is None
    assert not model[1]._forward_hooks
    assert not model[1]._forward_pre_hooks


@pytest.mark.parametrize(
    ("branch", "message"),
    [
        (
            {"2": "weak", "*": "strong"},
            r"names sites by '2', which fits none of the model's 2. .*Close matches: \['1', '5'\]",
        ),
        (
            {"1": "weak"},
            r"names no branch for site '5': its patterns are \['1'\]. Every site needs one. Add a pattern, or '\*'",
        ),
        ({"*": "week"}, r"'week' is not a branch"),
    ],
)
def test_patterns_that_fit_nothing_or_leave_out_a_site_are_refused(branch: Any, message: str):
    model = split()
    with unchanged(model), pytest.raises(ValueError, match=message):
        renorm.measure(model, [images()], branch)
    with pytest.raises(ValueError, match="was given for a model without branches"):
        renorm.Bank.of(small(), MIXED)


class Supernet(nn.Module):
    """Sites with branches of their own, which no name fits all of."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = SandwichBatchNorm(3, 2, share=()), SandwichBatchNorm(3, 5, share=())

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


def test_sites_with_routes_of_their_own_have_a_branch_each():
    model, x = Supernet().eval(), images()
    bank = renorm.measure(model, [x], {"first": "1", "second": "4"})
    renorm.install_(model, bank, {"first": "1", "second": "4"})
    assert_close(bank.sites["first"].mean, x.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    assert not model.second.get_buffer("running_mean").view(5, 3)[:4].any()
    assert model.second.get_buffer("running_mean").view(5, 3)[4].abs().sum() > 0


# --- statistics that branches share ----------------------------------------------------------------------------------


def labelled() -> list[tuple[Tensor, Tensor]]:
    return [(images(seed), torch.tensor([0, 1, 1, 0, 1, 0])) for seed in (1, 2)]


@pytest.mark.parametrize("convert", [renorm.split_, renorm.sandwich_])
def test_no_branch_means_what_all_share(convert: Any):
    model = small(dropout=0.0).eval()
    convert(model, BRANCHES, share="statistics")
    bank = renorm.Bank.of(model)
    assert bank.branch is None
    same(bank, renorm.Bank.of(model, "strong"))
    with unchanged(model), renorm.using(model, renorm.Bank(bank.sites)):
        pass
    with renorm.route(model, "weak"):
        assert renorm.Bank.of(model).branch == "weak"
    with pytest.raises(
        ValueError, match=r"affine=True was given without a branch.*Name it by branch=, or leave affine out"
    ):
        renorm.Bank.of(model, affine=True)
    with pytest.raises(ValueError, match=r"no branch was given, and the model has \['weak', 'strong'\]"):
        renorm.Bank.of(split())


def test_batches_with_labels_are_measured_under_their_route():
    model = split(share="statistics")
    seen: list[Tensor] = []
    handle = model[5].register_forward_pre_hook(lambda site, args: seen.append(args[0]))
    with unchanged(model[1]):
        bank = renorm.measure(model, labelled(), route=lambda batch: batch[1])
        handle.remove()
    first, x = bank.sites["1"], torch.cat([model[0](batch[0]) for batch in labelled()])
    assert_close(first.mean, x.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    expected, model[1].training = [], True
    with renorm.frozen_statistics(model):
        for batch, labels in labelled():
            with renorm.route(model, labels, size=len(batch)):
                expected.append(model[:5](batch))
    assert_close(seen, expected, rtol=1e-4, atol=1e-5)
    assert bank.samples == 12
    with pytest.raises(AssertionError):  # so the law can fail: through one branch the second site sees something else
        same(renorm.measure(model, labelled(), "weak"), bank, 1e-3)


def test_an_open_route_serves_as_well_and_recalibrating_takes_one():
    model, batches = split(share="statistics"), labelled()
    bank = renorm.measure(model, batches[:1], route=lambda batch: batch[1])
    with renorm.route(model, batches[0][1]):
        same(renorm.measure(model, batches[:1]), bank)
    undo = renorm.recalibrate_(model, batches[:1], route=lambda batch: batch[1])
    same(renorm.Bank.of(model), bank)
    undo.undo()


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (
            lambda: split(share="statistics"),
            {},
            r"share their statistics, and nothing says through which.*Pass route=lambda",
        ),
        (
            split,
            {"branch": "weak", "route": lambda batch: batch[1]},
            r"route= was given for branch 'weak'.*Leave route out",
        ),
        (small, {"route": lambda batch: batch[1]}, r"route= was given for a model without branches.*Leave route out"),
    ],
)
def test_a_route_that_is_missing_or_out_of_place_is_refused(build: Any, options: Any, message: str):
    model = build()
    with unchanged(model), pytest.raises(ValueError, match=message):
        renorm.measure(model, labelled(), **options)


def test_branches_of_a_plain_model_are_none():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert branches_of(model) == ()
    renorm.split_(model, ["weak", "strong"])
    assert branches_of(model) == ("weak", "strong")

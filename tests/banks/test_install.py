"""Putting banks into models and taking them out again."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import renorm
from renorm.banks import Statistics
from tests.banks.models import Unknown, small, unchanged


def images(size: int = 4) -> torch.Tensor:
    return torch.randn((size, 3, 4, 4), generator=torch.Generator().manual_seed(4)) + 1


def test_installing_fills_the_buffers_and_undo_gives_them_back():
    model = small()
    bank, x = renorm.measure(model, [images()]), images(2)
    model.eval()
    with unchanged(model):
        before = model(x)
        report = renorm.install_(model, bank)
        assert repr(report) == "Bank of 2 sites, 4 samples installed"
        assert_close(model[1].running_mean, bank.sites["1"].mean, rtol=0, atol=0)
        assert_close(model[1].running_var, bank.sites["1"].var, rtol=0, atol=0)
        assert (model(x) - before).abs().max() > 0.01
        report.undo()
        assert_close(model(x), before, rtol=0, atol=0)
        report.undo()


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Unknown])
def test_only_the_branch_that_is_named_changes(norm: Any):
    model = small(norm)
    renorm.split_(model, ["weak", "strong", "clean"])
    bank = renorm.measure(model, [images()], "strong")
    others = [renorm.Bank.of(model, name) for name in ("weak", "clean")]
    report = renorm.install_(model, bank, "strong")
    assert repr(report).endswith("installed as branch 'strong'")
    for before in others:
        after = renorm.Bank.of(model, before.branch)
        for name, site in after.sites.items():
            assert_close(site.var, before.sites[name].var, rtol=0, atol=0)
    assert_close(renorm.Bank.of(model, "strong").sites["5"].mean, bank.sites["5"].mean, rtol=0, atol=0)


def test_a_bank_with_an_affine_brings_it_along():
    model, other = small(), small()
    with torch.no_grad():
        other[5].bias.add_(1)
    with unchanged(model):
        report = renorm.install_(model, renorm.Bank.of(other, affine=True))
        assert_close(model[5].bias, other[5].bias, rtol=0, atol=0)
        assert model[5].bias.requires_grad
        report.undo()


def test_the_branch_is_the_one_routed_else_the_only_one_else_asked_for():
    model = small()
    bank = renorm.measure(model, [images()])
    renorm.split_(model, ["weak", "strong"])
    message = r"no branch was given, and the model has \['weak', 'strong'\]\. .*Pass branch=, or call inside"
    for verb in (
        lambda: renorm.install_(model, bank),
        lambda: renorm.Bank.of(model),
        lambda: renorm.measure(model, [images()]),
        lambda: renorm.adapt_(model, images()),
        lambda: renorm.recalibrate_(model, [images()]),
    ):
        with unchanged(model), pytest.raises(ValueError, match=message):
            verb()
        with renorm.route(model, "weak", "strong"), pytest.raises(ValueError, match="no branch was given"):
            verb()
    with renorm.route(model, "strong"):
        renorm.install_(model, bank).undo()
        assert renorm.measure(model, [images()]).branch == "strong"
        assert renorm.measure(model, [images()], "weak").branch == "weak"
    lasting = renorm.route_(model, train=("weak", "strong"), eval="strong")
    assert renorm.Bank.of(model).branch == "strong"
    lasting.undo()
    with pytest.raises(ValueError, match=r"'strnog' is not a branch .*Did you mean 'strong'\?"):
        renorm.install_(model, bank, "strnog")
    only = small()
    renorm.split_(only, ["weak"])
    assert renorm.Bank.of(only).branch == "weak"
    with pytest.raises(ValueError, match=r"branch='weak' was given for a model without branches\. .*renorm\.split_"):
        renorm.install_(small(), bank, "weak")


def renamed(bank: renorm.Bank) -> renorm.Bank:
    return renorm.Bank({name.replace("5", "5a"): site for name, site in bank.sites.items()})


def wider(bank: renorm.Bank) -> renorm.Bank:
    return renorm.Bank(bank.sites | {"5": Statistics(torch.zeros(3), torch.ones(3))})


def with_broken(value: float) -> Any:
    def broken(bank: renorm.Bank) -> renorm.Bank:
        site = bank.sites["5"]
        return renorm.Bank(bank.sites | {"5": Statistics(site.mean, site.var.clone().fill_(value))})

    return broken


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed, r"missing \['5'\], unexpected \['5a'\]\. A bank fits one architecture\. Was '5a' renamed to '5'\?"),
        (wider, r"site '5' of the bank has 3 channels and no affine, the model's 7 channels\. .*Measure it again"),
        (with_broken(torch.nan), r"site '5' are not finite or negative\. .*measure again"),
        (with_broken(-1.0), r"site '5' are not finite or negative\. .*measure again"),
        (
            lambda bank: renorm.Bank({}),
            r"0 sites and the model 2; missing \['1', '5'\], unexpected \[\]\. .*Measure it again",
        ),
    ],
    ids=["renamed", "channels", "NaN", "negative", "empty"],
)
def test_a_bank_that_does_not_fit_is_refused_and_changes_nothing(change: Any, message: str):
    model = small()
    bank = change(renorm.measure(model, [images()]))
    with unchanged(model):
        with pytest.raises(ValueError, match=message):
            renorm.install_(model, bank)
        with pytest.raises(ValueError, match=message), renorm.using(model, bank):
            pass


def test_an_affine_that_a_model_cannot_take_is_refused():
    bank = renorm.Bank.of(nn.Sequential(nn.BatchNorm2d(3)), affine=True)
    with pytest.raises(ValueError, match=r"the model's 3 channels and no affine\."):
        renorm.install_(nn.Sequential(nn.BatchNorm2d(3, affine=False)), bank)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_a_borrowed_bank_is_given_back_also_after_an_error(kind: type[BaseException]):
    model, x = small().eval(), images(2)
    bank = renorm.measure(model, [images()])
    before = model(x)

    def borrow() -> None:
        with renorm.using(model, bank):
            assert (model(x) - before).abs().max() > 0.01
            raise kind("stop")

    with unchanged(model), pytest.raises(kind, match="stop"):
        borrow()
    with unchanged(model):
        with renorm.using(model, bank), renorm.using(model, renorm.measure(model, [x])):
            pass
        assert_close(model(x), before, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("split", [False, True])
def test_frozen_statistics_are_given_back_after_an_error(kind: type[BaseException], split: bool):
    model = small(Unknown) if split else small()
    if split:
        renorm.split_(model, ["weak"])
    model.train()

    def freeze() -> None:
        with renorm.frozen_statistics(model):
            model(images())
            raise kind("stop")

    with unchanged(model), pytest.raises(kind, match="stop"):
        freeze()
    before = model.state_dict()["1.weak.running_mean" if split else "1.running_mean"].clone()
    model(images())
    after = model.state_dict()["1.weak.running_mean" if split else "1.running_mean"]
    assert (after - before).abs().max() > 0.01


def test_a_compiled_model_uses_what_is_installed_without_compiling_again():
    graphs: list[Any] = []

    def counting(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    model, x = small(dropout=0.0).eval(), images(2)
    compiled: Any = torch.compile(model, backend=counting)
    before = compiled(x)
    with renorm.using(compiled, renorm.measure(compiled, [images()])):
        assert_close(compiled(x), model(x))
        assert (compiled(x) - before).abs().max() > 0.01
    assert_close(compiled(x), before)
    assert len(graphs) == 1


def test_undoing_out_of_order_is_refused_and_changes_nothing():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    before = copy.deepcopy(model.state_dict())
    first = renorm.adapt_(model, torch.randn(4, 3, 2, 2))
    second = renorm.install_(model, renorm.measure(model, [torch.randn(4, 3, 2, 2)]))
    between = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError, match=r"have changed since: adapted 1 sites.*Undo the later change first"):
        first.undo()
    assert_close(model.state_dict(), between, rtol=0, atol=0)
    second.undo()
    first.undo()
    assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_borrowing_gives_back_whatever_happened_inside():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    before = copy.deepcopy(model.state_dict())
    with renorm.using(model, renorm.measure(model, [torch.randn(4, 3, 2, 2)])):
        renorm.adapt_(model, torch.randn(4, 3, 2, 2))
    assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_undoing_on_a_model_whose_tensors_were_replaced_is_refused():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    adaptation = renorm.adapt_(model, torch.randn(4, 3, 2, 2))
    model.double()
    with pytest.raises(RuntimeError, match=r"tensors were replaced since: adapted 1 sites.*before moving the model"):
        adaptation.undo()


@pytest.mark.parametrize(
    "verb",
    [
        renorm.Bank.of,
        lambda model: renorm.measure(model, [images()]),
        lambda model: renorm.install_(model, renorm.measure(small(), [images()])),
    ],
    ids=["of", "measure", "install_"],
)
def test_tensors_without_values_or_that_may_not_change_are_refused(verb: Callable[[nn.Module], object]):
    lazy = nn.Sequential(nn.Conv2d(3, 4, 1), nn.LazyBatchNorm2d())
    with pytest.raises(
        ValueError, match=r"'1' is lazy and has no channels yet\. .* are needed\. Run one batch through"
    ):
        verb(lazy)
    with pytest.raises(
        ValueError, match=r"'1' is on the meta device, .* are needed\. Give the model memory, model\.to_empty"
    ):
        verb(small().to("meta"))
    with torch.inference_mode():
        model = small()
    with pytest.raises(
        ValueError, match=r"'1' was made under torch\.inference_mode, .* are needed\. Copy the model here"
    ):
        verb(model)
    verb(copy.deepcopy(model))

"""Measuring against slow pooling, however the data comes; and nothing about the model changes."""

from collections import UserDict
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from tests.banks.models import Unknown, randomize, rectified, small, unchanged
from tests.oracles.numbers import inp, summary
from tests.oracles.statistics import pooled, seen_in_training

SHAPES = [(4, 3, 8, 8), (3, 3, 5, 7), (1, 3, 6, 4)]
FORMATS = [torch.contiguous_format, torch.channels_last]


def images(*shapes: tuple[int, ...], shift: float = 0.7) -> list[Tensor]:
    """Batches, each around a mean of its own, so that forgetting the spread of means shows."""
    generator = torch.Generator().manual_seed(4)
    return [torch.randn(shape, generator=generator) + shift * i for i, shape in enumerate(shapes)]


def measured(bank: renorm.Bank, site: str) -> tuple[Tensor, Tensor, int | None]:
    found = bank.sites[site]
    return found.mean.double(), found.var.double(), found.count


@pytest.mark.parametrize("memory_format", FORMATS)
def test_every_site_pools_what_training_would_show_it(memory_format: torch.memory_format):
    model, batches = small(), [x.contiguous(memory_format=memory_format) for x in images(*SHAPES)]
    seen = seen_in_training(model, batches)
    with unchanged(model):
        bank = renorm.measure(model, batches)
    assert list(bank.sites) == ["1", "5"]
    assert bank.samples == 8
    for site in bank.sites:
        assert_close(measured(bank, site), pooled(seen[site]), rtol=1e-5, atol=1e-6)


def partitions(total: int) -> st.SearchStrategy[list[int]]:
    cuts = st.sets(st.integers(1, total - 1))
    return cuts.map(lambda s: [b - a for a, b in zip([0, *sorted(s)], [*sorted(s), total], strict=True)])


@settings(max_examples=25, deadline=None)
@given(partitions(12))
def test_the_first_site_does_not_depend_on_how_data_is_batched(sizes: list[int]):
    model, x = small(), torch.cat(images(*[(1, 3, 4, 4)] * 12, shift=3.0))
    bank = renorm.measure(model, x.split(sizes))
    assert bank.samples == 12
    assert_close(measured(bank, "1"), pooled([model[0](x).detach()]), rtol=1e-5, atol=1e-5)


def equally_weighted(batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    """As ``torch.optim.swa_utils.update_bn`` does: an average over batches, whatever their sizes."""
    means = torch.stack([x.mean((0, 2, 3)) for x in batches])
    variances = torch.stack([x.var((0, 2, 3)) for x in batches])
    return means.mean(0), variances.mean(0)


def without_spread(batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Variances averaged over values, the spread of the batches' means forgotten."""
    sizes = torch.tensor([x.numel() for x in batches]) / sum(x.numel() for x in batches)
    means = torch.stack([x.mean((0, 2, 3)) for x in batches])
    variances = torch.stack([x.var((0, 2, 3)) for x in batches])
    return sizes @ means, sizes @ variances


def by_squares(batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    """E[x^2] - E[x]^2 in float32."""
    x = torch.cat([b.movedim(1, 0).flatten(1) for b in batches], 1)
    return x.mean(1), x.square().mean(1) - x.mean(1).square()


@pytest.mark.parametrize("naive", [equally_weighted, without_spread])
def test_the_law_of_batching_catches_wrong_pooling(naive: Any):
    batches = images((1, 3, 4, 4), (9, 3, 4, 4), (2, 3, 4, 4), shift=3.0)
    mean, var, _ = pooled(batches)
    with pytest.raises(AssertionError):
        assert_close([t.double() for t in naive(batches)], [mean, var], rtol=0.02, atol=0.02)


def test_large_means_do_not_cancel_as_squares_do():
    batches = [100 + 0.01 * x for x in images((8, 3, 4, 4), (5, 3, 4, 4), shift=0.5)]
    mean, var, count = pooled(batches)
    bank = renorm.measure(nn.Sequential(nn.BatchNorm2d(3)), batches)
    assert_close(measured(bank, "0"), (mean, var, count), rtol=1e-3, atol=0)
    with pytest.raises(AssertionError):
        assert_close(by_squares(batches)[1].double(), var, rtol=0.02, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_merging_many_batches_loses_nothing(dtype: torch.dtype):
    model = nn.Sequential(nn.BatchNorm1d(3)).to(dtype)
    x = torch.randn(600, 3, dtype=dtype, generator=torch.Generator().manual_seed(5)) + 10
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    assert_close(measured(renorm.measure(model, x.split(2)), "0"), pooled([x]), rtol=tolerance, atol=0)


def test_two_passes_measure_what_evaluation_under_the_first_shows():
    model, batches = small(), images(*SHAPES)
    with unchanged(model):
        once, twice = renorm.measure(model, batches), renorm.measure(model, batches, passes=2)
    with renorm.using(model, once):
        seen = seen_in_training(model, batches, mode=False)
    for site in twice.sites:
        assert_close(measured(twice, site), pooled(seen[site]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sizes", [[12], [6, 6], [1, 2, 9], [1] * 12])
def test_two_passes_free_the_second_site_from_batching_too(sizes: list[int]):
    model, x = small(), torch.cat(images(*[(1, 3, 4, 4)] * 12, shift=0.2))
    whole, parts = (renorm.measure(model, x.split(size), passes=2) for size in (12, sizes))
    for site in whole.sites:
        assert_close(measured(parts, site), measured(whole, site), rtol=1e-5, atol=1e-5)


def test_one_pass_does_not_free_the_second_site_from_batching():
    model, x = small(), torch.cat(images(*[(1, 3, 4, 4)] * 12, shift=0.2))
    distance = renorm.measure(model, [x]).distance(renorm.measure(model, x.split(2)))
    assert distance["1"] < 1e-5
    assert distance["5"] > 0.01


def test_an_iterator_is_read_once():
    model, batches = small(), images(*SHAPES)
    once = renorm.measure(model, iter(batches))
    assert_close(measured(once, "5"), measured(renorm.measure(model, batches), "5"), rtol=0, atol=0)
    with pytest.raises(
        ValueError, match=r"an iterator was given for two passes\. It can be read once\. Pass a list or"
    ):
        renorm.measure(model, iter(batches), passes=2)
    with pytest.raises(ValueError, match=r"passes=3 was given\. .*Use 1 or 2"):
        renorm.measure(model, batches, passes=3)


class ByName(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pixels: Tensor, scale: float = 1.0) -> Tensor:
        return self.inner(pixels * scale)


@pytest.mark.parametrize(
    "form",
    [
        lambda x: (x, torch.zeros(len(x))),
        lambda x: [x, torch.zeros(len(x))],
        lambda x: {"pixels": x},
        lambda x: UserDict(pixels=x),
    ],
    ids=["tuple", "list", "dict", "mapping"],
)
def test_batches_may_be(form: Any):
    model, batches = ByName(small()), images(*SHAPES)
    bank = renorm.measure(model, [form(x) for x in batches])
    expected = renorm.measure(model, batches)
    assert bank.samples == expected.samples == 8
    for site in expected.sites:
        assert_close(measured(bank, site), measured(expected, site), rtol=0, atol=0)


def test_other_batches_go_through_a_function():
    model, batches = ByName(small()), images(*SHAPES)
    pairs = [{"a": x, "b": 0.5} for x in batches]
    bank = renorm.measure(model, pairs, forward=lambda m, batch: m(batch["a"], scale=batch["b"]))
    expected = renorm.measure(model, [0.5 * x for x in batches])
    assert bank.samples == 8
    assert_close(measured(bank, "inner.5"), measured(expected, "inner.5"), rtol=0, atol=0)


def test_a_batch_without_tensors_is_refused():
    with pytest.raises(
        TypeError, match=r"type str without tensors was given\. A batch is a tensor, a tuple .*forward="
    ):
        renorm.measure(small(), ["picture.png"])


def test_a_loader_whose_last_batch_is_short_and_one_that_has_an_empty_batch():
    model, x = small(), torch.cat(images(*SHAPES[:1]))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, torch.arange(4)), batch_size=3)
    bank = renorm.measure(model, loader)
    assert [s.count for s in bank.sites.values()] == [4 * 64] * 2
    again = renorm.measure(model, [x[:0], x[:3], x[:0], x[3:]])
    assert_close(measured(again, "5"), measured(bank, "5"), rtol=0, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_and_of_its_parts_has_no_influence_and_is_kept(training: bool):
    model, batches = small().train(training), images(*SHAPES)
    model[5].eval().requires_grad_(False)
    model[1].momentum = None
    model[1].register_forward_hook(lambda *_: None)
    with unchanged(model):
        bank = renorm.measure(model, batches)
    plain = renorm.measure(small(dropout=0.0).train(), batches)
    for site in plain.sites:
        assert_close(measured(bank, site), measured(plain, site), rtol=0, atol=0)


def test_a_norm_used_twice_has_one_set_of_statistics_over_both_uses():
    norm = nn.BatchNorm2d(3)
    model = nn.Sequential(norm, nn.Conv2d(3, 3, 1), norm)
    randomize(model)
    batches = images(*SHAPES)
    seen = seen_in_training(model, batches)
    assert len(seen["0"]) == 6
    bank = renorm.measure(model, batches)
    assert_close(measured(bank, "0"), pooled(seen["0"]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "batches", "message"),
    [
        (small(), [], r"the batches were empty\. Measuring needs at least one image\. Check the loader"),
        (small(), [torch.zeros(0, 3, 8, 8)], r"the batches were empty"),
        (small(), [torch.full((2, 3, 4, 4), torch.nan)], r"site '1' are not finite .*Look for NaN in the images"),
        (
            small(),
            [torch.zeros(1, 3, 1, 1)],
            r"site '1' got a single value per channel\. A variance needs .*larger images",
        ),
        (nn.Sequential(nn.GroupNorm(1, 3)), images(*SHAPES), r"no running statistics; .*\['GroupNorm'\].*BatchNorm"),
    ],
    ids=["no batch", "no image", "NaN", "one value", "no statistics"],
)
@pytest.mark.parametrize("verb", [renorm.measure, renorm.recalibrate_])
def test_what_cannot_be_measured_is_an_error_and_changes_nothing(verb: Any, model: Any, batches: Any, message: str):
    with unchanged(model), pytest.raises(ValueError, match=message):
        verb(model, batches)


def interrupted(kind: type[BaseException]) -> Any:
    yield from images(*SHAPES[:2])
    raise kind("stop")


class Twice:
    """Batches that can be read twice, but not to their end."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    def __iter__(self) -> Any:
        return interrupted(self.kind)


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("split", [False, True])
def test_an_interruption_half_way_changes_nothing(kind: type[BaseException], passes: int, split: bool):
    model = small().train()
    if split:
        renorm.split_(model, ["weak", "strong"])
    branch = "strong" if split else None
    for verb in (renorm.measure, renorm.recalibrate_):
        with unchanged(model), pytest.raises(kind, match="stop"):
            verb(model, Twice(kind), branch, passes=passes)


def test_a_failing_second_pass_changes_nothing():
    model, calls = small().train(), []

    def forward(inner: nn.Module, x: Tensor) -> None:
        calls.append(1)
        inner(x * (torch.nan if len(calls) > 3 else 1))

    with unchanged(model), pytest.raises(ValueError, match="not finite"):
        renorm.measure(model, images(*SHAPES), passes=2, forward=forward)
    assert len(calls) == 6


@pytest.mark.parametrize("share", [(), "statistics", "affine"])
def test_a_branch_is_measured_through_its_own_affine(share: Any):
    plain, batches = small(), images(*SHAPES)
    model = small()
    renorm.split_(model, ["weak", "strong"], share=share)
    with torch.no_grad():  # the second branch's affine becomes another one
        for site, norm in ((model[1], plain[1]), (model[5], plain[5])):
            site.weight.view(site.num_rows, -1)[-1] *= 1.5
            norm.weight *= 1.5
    with unchanged(model):
        bank = renorm.measure(model, batches, "strong", data="noise")
    assert (bank.branch, bank.data) == ("strong", "noise")
    expected = renorm.measure(plain, batches)
    for site in expected.sites:
        assert_close(measured(bank, site), measured(expected, site), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("norm", "conv", "shapes"),
    [
        (nn.BatchNorm1d, nn.Conv1d, [(4, 3, 9), (2, 3, 5)]),
        (nn.BatchNorm3d, nn.Conv3d, [(3, 3, 2, 4, 3), (2, 3, 3, 3, 3)]),
    ],
)
def test_other_ranks(norm: Any, conv: Any, shapes: Any):
    model, batches = small(norm, conv), images(*shapes)
    seen = seen_in_training(model, batches)
    bank = renorm.measure(model, batches)
    for site in bank.sites:
        assert_close(measured(bank, site), pooled(seen[site]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("split", [False, True])
def test_norms_of_unknown_classes_are_measured(split: bool):
    model, batches = small(Unknown), images(*SHAPES)
    expected = {site: pooled(xs) for site, xs in seen_in_training(model, batches).items()}
    if split:
        renorm.split_(model, ["weak", "strong"])
    with unchanged(model):
        bank = renorm.measure(model, batches, "strong" if split else None)
    for site, values in expected.items():
        assert_close(measured(bank, site), values, rtol=1e-5, atol=1e-6)


def test_a_model_in_half_precision():
    model, batches = small().bfloat16(), [x.bfloat16() for x in images(*SHAPES)]
    seen = seen_in_training(model, batches)
    bank = renorm.measure(model, batches)
    assert bank.sites["1"].mean.dtype == torch.bfloat16
    assert_close(measured(bank, "1"), pooled(seen["1"]), rtol=1e-2, atol=1e-2)


def test_names_are_those_of_the_model_inside_wrappers():
    class Wrapper(nn.DataParallel):
        def __init__(self, module: nn.Module) -> None:
            nn.Module.__init__(self)
            self.module = module

    model, batches = small(), images(*SHAPES)
    bank = renorm.measure(Wrapper(model), batches)
    assert list(bank.sites) == ["1", "5"]
    compiled: Any = torch.compile(model, backend="aot_eager")
    assert_close(measured(renorm.measure(compiled, batches), "5"), measured(bank, "5"), rtol=0, atol=0)
    assert list(renorm.measure(nn.Sequential(compiled), batches).sites) == ["0.1", "0.5"]


def test_the_published_procedure_is_measuring_one_batch_and_installing_it():
    model = rectified()
    adapt, test = 1.3 * inp(8, 3, 4, 4, 0) + 0.4, 1.3 * inp(5, 3, 4, 4, 0.5) + 0.4
    assert_close(summary(model(test)), [20.162516, 8.120666, 4.068534, 0.527047], rtol=0, atol=1e-5)
    installed = renorm.install_(model, renorm.measure(model, [adapt]))
    expected = {
        "1": ([-1.4415376, -1.3684418, -1.1635965, -1.3563788], [4.4227057, 4.7830858, 3.1201108, 3.6556787]),
        "4": (
            [1.3263897, 1.2399971, 1.1489172, 1.2586197, 1.3216237],
            [3.1911867, 2.8453035, 2.2998257, 2.6874945, 3.3020995],
        ),
    }
    for site, (mean, var) in expected.items():
        norm = model.get_submodule(site)
        assert_close(norm.running_mean, torch.tensor(mean), rtol=0, atol=1e-5)
        assert_close(norm.running_var, torch.tensor(var), rtol=0, atol=1e-5)
    assert_close(summary(model(test)), [12.063651, 2.488073, 2.167599, 0.449649], rtol=0, atol=1e-5)
    installed.undo()
    assert_close(summary(model(test)), [20.162516, 8.120666, 4.068534, 0.527047], rtol=0, atol=1e-5)


def test_the_smallest_published_example():
    model = nn.Sequential(nn.BatchNorm2d(1)).eval()
    norm: Any = model[0]
    norm.running_mean.fill_(10)
    norm.running_var.fill_(4)
    z = torch.tensor([1.0, 2.0, 3.0, 6.0]).view(4, 1, 1, 1)
    renorm.recalibrate_(model, [z])
    assert_close((norm.running_mean.item(), norm.running_var.item()), (3.0, 4.666667), rtol=0, atol=1e-5)
    expected = torch.tensor([-0.925819, -0.462910, 0, 1.388729])
    assert_close(model(z).flatten(), expected, rtol=0, atol=1e-5)


def test_recalibration_fills_buffers_in_place_and_is_undone_to_the_bit():
    model, batches = small().train(), images(*SHAPES)
    bank = renorm.measure(model, batches, passes=2)
    pointers = [t.data_ptr() for t in model.state_dict().values()]
    with unchanged(model):
        report = renorm.recalibrate_(model, batches, passes=2)
        assert [t.data_ptr() for t in model.state_dict().values()] == pointers
        assert_close(model[5].running_var, bank.sites["5"].var, rtol=0, atol=0)
        assert repr(report) == "Bank of 2 sites, 8 samples installed"
        report.undo()


def test_forms_that_would_be_misread_are_refused():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    images = torch.randn(4, 3, 2, 2)
    with pytest.raises(TypeError, match=r"one tensor of shape \(4, 3, 2, 2\).*iterable of batches.*\[images\]"):
        renorm.measure(model, images)
    with pytest.raises(TypeError, match=r"several inputs of shape \(4, 3, 2, 2\).*would be ignored.*forward="):
        renorm.adapt_(model, [images, images])

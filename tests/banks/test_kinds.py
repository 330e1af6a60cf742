"""Kinds of models: each is measured and adapted rightly and left as it was, or refused at the call with the true reason."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.testing import assert_close

import renorm
from tests.banks.models import unchanged
from tests.laws import hashed
from tests.layers.test_norms import BatchRenorm, Observer
from tests.surgery.test_kinds import COMPILED, alone, extracted, fsdp, fully, graph, quiet
from tests.surgery.zoo import images, small

__all__ = ["alone"]


VERBS: dict[str, Callable[[Any], Any]] = {
    "measure": lambda m: renorm.measure(m, [images()]),
    "recalibrate_": lambda m: renorm.recalibrate_(m, [images()]),
    "adapt_": lambda m: renorm.adapt_(m, images(), prior=4),
    "adapt_, by itself": lambda m: renorm.adapt_(m, images(), foreign="adapt"),
    "Adapter": lambda m: renorm.Adapter(m)(images()),
    "Tent": lambda m: renorm.Tent(m)(images()),
}


@quiet
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("make", [COMPILED["scripted"], COMPILED["traced"], COMPILED["a part that is scripted"]])
def test_scripted_and_traced_models_are_refused(make: Any, verb: str):
    with pytest.raises(
        ValueError, match=r"is part of a scripted or traced model\. .* Adapt the model it was made from"
    ):
        VERBS[verb](make(small().eval()))


@quiet
@pytest.mark.parametrize("verb", ["measure", "recalibrate_", "adapt_", "adapt_, by itself", "Adapter"])
def test_exported_programs_are_refused_where_they_are_called(verb: str):
    model = COMPILED["exported"](small().eval())
    with pytest.raises(ValueError, match=r"of an exported program only holds tensors .* or install its bank here"):
        VERBS[verb](model)


@quiet
def test_a_bank_is_read_from_an_exported_program_and_installed_in_it():
    plain = small().eval()
    model = COMPILED["exported"](plain)
    bank = renorm.measure(plain, [images()])
    assert set(renorm.Bank.of(model).sites) == set(bank.sites)
    renorm.install_(model, bank, strict=False)
    renorm.install_(plain, bank)
    assert_close(model(images()), plain(images()))


def prepared(model: Any, mode: str) -> Any:
    quantize = pytest.importorskip("torch.ao.quantization.quantize_fx")
    ao = torch.ao.quantization
    if mode == "qat":
        made = quantize.prepare_qat_fx(model.train(), ao.get_default_qat_qconfig_mapping("x86"), (images(),))
    else:
        made = quantize.prepare_fx(
            nn.Sequential(nn.ReLU(), *model).eval(), ao.get_default_qconfig_mapping("x86"), (images(),)
        )
    made(images())
    return made.eval()


def isolated() -> Any:
    """Whose norms come first, so that no preparation fuses them."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.BatchNorm2d(3), nn.Conv2d(3, 5, 3), nn.ReLU(), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(125, 3)
    )


PREPARED: dict[str, Callable[[], Any]] = {
    "for QAT": lambda: prepared(small(), "qat"),
    "for QAT, norms alone": lambda: prepared(isolated(), "qat"),
    "for PTQ": lambda: prepared(isolated(), "ptq"),
    "by an observer": lambda: nn.Sequential(Observer(), *isolated()).eval(),
}
WATCHED = {
    "measure": lambda m: renorm.measure(m, [3 * images()]),
    "measure in two passes": lambda m: renorm.measure(m, [3 * images()], passes=2),
    "recalibrate_": lambda m: renorm.recalibrate_(m, [3 * images()]).undo(),
    "adapt_": lambda m: renorm.adapt_(m, 3 * images(), prior=4).undo(),
    "Adapter": lambda m: _stream(m, 3 * images()),
}


def _stream(model: nn.Module, x: Tensor) -> None:
    with renorm.Adapter(model, prior=4) as adapter:
        adapter(x)


@quiet
@pytest.mark.parametrize("verb", WATCHED.values(), ids=WATCHED)
@pytest.mark.parametrize("make", PREPARED.values(), ids=PREPARED)
def test_a_model_that_observes_is_left_as_it_was(make: Any, verb: Any):
    model = make()
    before = hashed(model)
    verb(model)
    assert hashed(model) == before


def settled(model: Any) -> Any:
    """The model with observers off, so that it gives the same for the same."""
    for module in model.modules():
        if hasattr(module, "disable_observer"):
            module.disable_observer()
    return model


@quiet
@pytest.mark.parametrize("make", PREPARED.values(), ids=PREPARED)
def test_what_adapting_a_model_that_observes_gives_is_evaluating_it_afterwards(make: Any):
    model, x = settled(make()), 2 * images() + 1
    assert_close(renorm.adapt_(model, x, prior=4).output, model(x), rtol=0, atol=0)
    model = settled(make())
    adapter = renorm.Adapter(model, prior=4)
    assert_close(adapter(x), model(x), rtol=0, atol=0)


@quiet
def test_quantized_norms_are_refused():
    quantize = pytest.importorskip("torch.ao.quantization.quantize_fx")
    model = quantize.convert_fx(prepared(isolated(), "ptq"))
    with pytest.raises(ValueError, match=r"is part of a quantized model\. .* Adapt the model it was made from"):
        renorm.adapt_(model, images())


@pytest.mark.parametrize("make", [extracted, graph])
def test_graphs_that_call_their_norms_are_adapted_as_the_model(make: Any):
    model, x = small().eval(), 2 * images()
    bank = renorm.measure(make(small().eval()), [x])
    for name, site in bank.sites.items():
        assert_close(site.var, renorm.measure(model, [x]).sites[name].var)


@quiet
@pytest.mark.parametrize("wrap", [fsdp, fully, lambda m, mesh: nn.parallel.DistributedDataParallel(m)])
@pytest.mark.parametrize("verb", ["measure", "recalibrate_", "adapt_", "adapt_, by itself", "Adapter"])
def test_sharded_and_parallel_models_are_adapted_by_the_plain_names(wrap: Any, verb: str, alone: Any, tmp_path: Any):
    model, plain = wrap(small().eval(), alone).eval(), small().eval()
    VERBS[verb](model)
    VERBS[verb](plain)
    found, expected = renorm.Bank.of(model), renorm.Bank.of(plain)
    assert list(found.sites) == list(expected.sites) == ["1", "4"]
    for name, site in expected.sites.items():
        assert_close(found.sites[name].var, site.var)
    renorm.install_(plain, renorm.Bank.load(found.save(tmp_path / "bank")), strict=False)


def averaged(model: nn.Module) -> nn.Module:
    return AveragedModel(model)


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # pyright: ignore[reportReturnType]


def checkpointed(model: Any) -> nn.Module:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    return nn.Sequential(*(checkpoint_wrapper(child) for child in model))


@pytest.mark.parametrize("wrap", [averaged, compiled, checkpointed])
@pytest.mark.parametrize("branches", [None, ["weak", "strong"]], ids=str)
def test_a_bank_of_a_wrapped_model_fits_the_plain_one(wrap: Any, branches: Any, tmp_path: Any):
    plain = small().eval()
    if branches:
        renorm.split_(plain, branches)
        renorm.route_(plain, eval="strong")
    model = wrap(plain).eval()
    bank = renorm.measure(model, [2 * images()])
    assert list(bank.sites) == ["1", "4"]
    loaded = renorm.Bank.load(bank.save(tmp_path / "bank"))
    renorm.install_(plain, loaded)
    renorm.install_(wrap(plain), loaded)


@pytest.mark.parametrize("verb", ["measure", "adapt_", "adapt_, by itself", "Adapter", "Bank.of"])
def test_norms_of_other_kinds_keep_theirs_and_are_listed(verb: str):
    model = nn.Sequential(nn.Conv2d(3, 5, 3), BatchRenorm(5), nn.Conv2d(5, 4, 1), nn.BatchNorm2d(4)).eval()
    with unchanged(nn.ModuleList([model[1]])):
        if verb == "Adapter":
            report: Any = renorm.Adapter(model)
            report(images())
        else:
            report = {**VERBS, "Bank.of": renorm.Bank.of}[verb](model)
    assert "without 1 with statistics of another kind (1)" in repr(report)


def test_a_model_of_such_norms_alone_is_refused_with_the_true_reason():
    model = nn.Sequential(nn.Conv2d(3, 5, 3), BatchRenorm(5))
    with pytest.raises(ValueError, match=r"the norms of this Sequential, '1' first, have statistics of another kind"):
        renorm.measure(model, [images()])


class Pooled(nn.Module):
    """A segmentation head with image pooling, and an embedding behind a global one."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU())
        self.pooling = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(5, 4, 1), nn.BatchNorm2d(4))
        self.embedding = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.embedding(self.pooling(self.body(x)))


BEHIND = ("pooling.2", "embedding.2")


@pytest.mark.parametrize("size", [7, 31])
@pytest.mark.parametrize("verb", ["adapt_", "adapt_, by itself", "measure", "recalibrate_"])
def test_sites_with_one_value_keep_the_source_and_are_listed(verb: str, size: int):
    torch.manual_seed(0)
    model, x = Pooled().eval(), images(1, size)
    alone = nn.ModuleList([model.pooling, model.embedding])
    verbs: dict[str, Any] = {
        "adapt_": lambda: renorm.adapt_(model, x, prior=16),
        "adapt_, by itself": lambda: renorm.adapt_(model, x),
        "measure": lambda: renorm.measure(model, [x]),
        "recalibrate_": lambda: renorm.recalibrate_(model, [x]),
    }
    with unchanged(alone):
        report = verbs[verb]()
    assert report.single == report.unreached == BEHIND
    assert "without 2 with a single value per channel (pooling.2, embedding.2)" in repr(report)
    if verb == "adapt_":
        assert_close(model(x), report.output, rtol=0, atol=0)


def test_a_site_with_one_value_normalizes_by_the_source_while_measuring():
    torch.manual_seed(0)
    model, x = Pooled().eval(), images(1)
    seen = []
    model.embedding[2].register_forward_hook(lambda module, args, y: seen.append((args[0], y)))
    renorm.measure(model, [x])
    given, y = seen[-1]
    assert_close(y, given / (1 + 1e-5) ** 0.5)  # the source's mean is 0, its variance 1; by the one value it would be 0


def test_several_images_measure_such_sites():
    model = Pooled().eval()
    assert renorm.measure(model, [images(1), images(1)]).unreached == ()
    assert renorm.adapt_(model, images(2), prior=16).single == ()


def test_strict_refuses_them_with_the_true_reason():
    for strict in (
        lambda m: renorm.adapt_(m, images(1), prior=16, strict=True),
        lambda m: renorm.measure(m, [images(1)], strict=True),
    ):
        model = Pooled().eval()
        with (
            unchanged(model),
            pytest.raises(ValueError, match=r"site 'pooling\.2' got a single value .* or leave strict out"),
        ):
            strict(model)


def test_banks_without_them_are_saved_and_merged(tmp_path: Any):
    model = Pooled().eval()
    bank, whole = renorm.measure(model, [images(1)]), renorm.measure(model, [images(3)])
    loaded = renorm.Bank.load(bank.save(tmp_path / "bank"))
    assert (loaded.single, loaded.unreached) == (BEHIND, BEHIND)
    assert renorm.install_(model, loaded).single == BEHIND
    assert renorm.merge([bank, whole]).single == ()


class Taking:
    """A hook that copies the model it is in, once; the copy does not."""

    def __init__(self, take: Callable[[], None] | None = None) -> None:
        self.take = take

    def __call__(self, *_: Any) -> None:
        if self.take is not None:
            self.take()

    def __reduce__(self) -> Any:
        return Taking, ()


@pytest.mark.parametrize("verb", ["measure", "adapt_", "Adapter"])
def test_a_copy_made_while_a_model_is_observed_observes_nothing(verb: str):
    model, taken = small().eval(), list[Any]()
    handle = model[2].register_forward_pre_hook(Taking(lambda: taken.append(copy.deepcopy(model))))
    VERBS[verb](model)
    handle.remove()
    with unchanged(model):
        taken[0].train()(images())
    assert taken[0][1].num_batches_tracked == 14  # the copy is a model as any

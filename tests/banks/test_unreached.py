"""Sites that the given forwards do not reach keep what they have, and are said; a complete bank needs them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from tests.banks.models import randomize, unchanged


class Auxiliary(nn.Module):
    """A network with a head that runs in training only, and a stage that nobody calls."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU())
        self.head = nn.Sequential(nn.Conv2d(5, 4, 1), nn.BatchNorm2d(4))
        self.auxiliary = nn.Sequential(nn.BatchNorm2d(5), nn.Conv2d(5, 2, 1))
        self.stage = nn.BatchNorm2d(7)

    def forward(self, x: Tensor) -> Any:
        features = self.body(x)
        y = self.head(features).mean((2, 3))
        return (y, self.auxiliary(features)) if self.training else y


LOST = ("auxiliary.0", "stage")


def network() -> Auxiliary:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Auxiliary().eval()
    randomize(model)
    return model


def images(seed: int = 1) -> Tensor:
    return torch.randn((8, 3, 6, 6), generator=torch.Generator().manual_seed(seed)) + 1


def lost(model: Auxiliary) -> nn.Module:
    return nn.ModuleList([model.auxiliary, model.stage])


def through_all(model: Any, x: Tensor) -> Any:
    return model(x), model.auxiliary(model.body(x))


VERBS = {
    "measure": lambda m: renorm.measure(m, [images()]),
    "measure in two passes": lambda m: renorm.measure(m, [images()], passes=2),
    "recalibrate_": lambda m: renorm.recalibrate_(m, [images()]),
    "install_": lambda m: renorm.install_(m, renorm.measure(m, [images()])),
    "adapt_": lambda m: renorm.adapt_(m, images(), prior=4),
    "adapt_, by itself": lambda m: renorm.adapt_(m, images()),
}


@pytest.mark.parametrize("branches", [None, ["weak", "strong"]], ids=str)
@pytest.mark.parametrize("verb", VERBS)
def test_they_keep_what_they_have_and_are_listed(verb: str, branches: Any):
    model = network()
    if branches:
        renorm.split_(model, branches)
        renorm.route_(model, train="strong", eval="strong")
    with unchanged(lost(model)):
        report = VERBS[verb](model)
    assert report.unreached == LOST
    assert "without 2 that nothing reached (auxiliary.0, stage)" in repr(report)


def test_the_others_are_as_they_are_without_them():
    model, alone = network(), network()
    del alone.stage
    alone.auxiliary = nn.Sequential()
    bank, expected = renorm.measure(model, [images()]), renorm.measure(alone, [images()])
    assert (list(bank.sites), expected.unreached) == (list(expected.sites), ())
    for name, site in expected.sites.items():
        assert_close(bank.sites[name].var, site.var, rtol=0, atol=0)
    reports = [renorm.adapt_(each, images(), prior=4) for each in (model, alone)]
    assert_close(reports[0].output, reports[1].output, rtol=0, atol=0)
    assert_close(model(images()), reports[0].output, rtol=0, atol=0)
    assert reports[0].distance == reports[1].distance


def test_what_was_installed_is_undone():
    model = network()
    with unchanged(model):
        renorm.recalibrate_(model, [images()]).undo()
        renorm.adapt_(model, images(), prior=4).undo()
        with renorm.using(model, renorm.measure(model, [images()])):
            pass


@pytest.mark.parametrize(
    "strict",
    [
        lambda m: renorm.measure(m, [images()], strict=True),
        lambda m: renorm.recalibrate_(m, [images()], strict=True),
        lambda m: renorm.adapt_(m, images(), prior=4, strict=True),
        lambda m: renorm.adapt_(m, images(), strict=True),
    ],
)
def test_strict_makes_any_an_error(strict: Any):
    model = network()
    message = r"2 of 4 sites were not reached by the images, 'auxiliary.0' first.*pass forward= that does; or leave strict out"
    with unchanged(model), pytest.raises(ValueError, match=message):
        strict(model)


@pytest.mark.parametrize("verb", [renorm.measure, renorm.recalibrate_, renorm.adapt_])
def test_a_forward_that_reaches_none_is_an_error(verb: Any):
    model = network()
    batches = images() if verb is renorm.adapt_ else [images()]
    with (
        unchanged(model),
        pytest.raises(ValueError, match=r"4 of 4 sites were not reached by the images, 'body.1' first"),
    ):
        verb(model, batches, forward=lambda model, x: x)


def test_a_stream_keeps_them_at_the_source_and_goes_on_from_a_file(tmp_path: Any):
    model = network()
    with unchanged(model):
        adapter = renorm.Adapter(model, prior=16)
        assert adapter.unreached == ()
        with unchanged(lost(model)):
            for seed in range(6):
                adapter(images(seed))
        assert adapter.unreached == LOST
        assert "without 2 that nothing reached" in repr(adapter)
        assert set(adapter.distance) == {"body.1", "head.1"}
        adapter.save(tmp_path / "stream")
        adapter.close()
        again = renorm.Adapter.load(model, tmp_path / "stream")
        assert again.unreached == LOST
        again(images())
        again.close()


def test_a_stream_of_other_sites_than_before_is_refused():
    model = network()
    adapter = renorm.Adapter(model, prior=16)
    adapter(images())
    body: Any = lambda m, x: m.body(x)  # noqa: E731
    adapter._forward = body
    with pytest.raises(
        ValueError, match=r"did not reach the sites head.1, auxiliary.0, stage, those before .*reset\(\)"
    ):
        adapter(images())
    adapter.reset()
    adapter(images())
    adapter.close()


def test_tent_steps_without_them():
    model = network()
    with unchanged(model), renorm.Tent(model) as tent:
        with unchanged(lost(model)):
            tent(images())
        assert tent.unreached == LOST
        assert "without 2 that nothing reached" in repr(tent)


def test_banks_without_them_are_blended_merged_and_saved(tmp_path: Any):
    model = network()
    source = renorm.Bank.of(model)
    bank, other = (renorm.measure(model, [images(seed)]) for seed in (1, 2))
    blended = renorm.blend(source, bank, prior=8)
    assert blended.unreached == ()
    assert_close(blended.sites["stage"].var, source.sites["stage"].var, rtol=0, atol=0)
    merged = renorm.merge([bank, other])
    assert (merged.unreached, merged.samples) == (LOST, 16)
    everywhere = renorm.measure(model, [images()], forward=through_all)
    assert renorm.merge([bank, everywhere]).unreached == ("stage",)
    assert set(source.distance(bank)) == {"body.1", "head.1"}
    loaded = renorm.Bank.load(bank.save(tmp_path / "bank.safetensors"))
    assert loaded.unreached == LOST
    assert renorm.install_(model, loaded).unreached == LOST


def test_a_bank_that_is_to_be_complete_needs_them():
    model = network()
    complete = renorm.Bank.of(model)
    assert complete.check_complete() is complete
    with pytest.raises(
        ValueError, match=r"the bank lacks 2 sites .* 'auxiliary.0' first. A model to fold or to export needs"
    ):
        renorm.measure(model, [images()]).check_complete()


def test_a_bank_of_another_model_is_still_refused():
    model, other = network(), network()
    other.stage = nn.BatchNorm2d(9)
    other.more = nn.BatchNorm2d(2)
    with pytest.raises(ValueError, match=r"missing \['more'\], unexpected \[\]"):
        renorm.install_(other, renorm.measure(model, [images()]), strict=False)


@pytest.mark.parametrize("verb", [renorm.Adapter, renorm.Tent])
def test_strict_makes_any_an_error_of_a_stream(verb: Any):
    model = network()
    message = r"2 of 4 sites were not reached by the images, '(auxiliary.0|stage)' first.*or leave strict out"
    with unchanged(model), verb(model, strict=True) as stream, pytest.raises(ValueError, match=message):
        stream(images())
    complete = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with verb(complete, strict=True) as stream:
        stream(images())

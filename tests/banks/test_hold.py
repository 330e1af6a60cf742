"""Two threads at one model: the second is refused, the first is not disturbed."""

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.banks import hold, observe
from tests.banks.models import small, unchanged


def images(size: int = 6) -> Tensor:
    return torch.randn((size, 3, 4, 4), generator=torch.Generator().manual_seed(4)) + 1


def elsewhere(call: Callable[[], Any]) -> Any:
    """The result of a call in another thread, or its error."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def verbs(model: nn.Module) -> dict[str, Callable[[], Any]]:
    bank = renorm.Bank.of(model)

    def borrow() -> None:
        with renorm.using(model, bank):
            pass

    return {
        "adapt_": lambda: renorm.adapt_(model, images()),
        "measure": lambda: renorm.measure(model, [images()]),
        "recalibrate_": lambda: renorm.recalibrate_(model, [images()]),
        "install_": lambda: renorm.install_(model, bank),
        "using": borrow,
        "undo": renorm.install_(model, bank).undo,
    }


NAMES = list(verbs(small()))
REFUSED = (
    r"another thread is measuring this \w+ or .* Two at once would mix .* give each thread a copy by copy\.deepcopy"
)


@pytest.mark.parametrize("name", NAMES)
def test_a_second_thread_is_refused_while_one_measures(name: str):
    model = small()
    expected = renorm.measure(copy.deepcopy(model), [images(), images()])
    attempt = verbs(model)[name]

    def batches() -> Iterator[Tensor]:
        yield images()
        with pytest.raises(RuntimeError, match=REFUSED):
            elsewhere(attempt)
        yield images()

    bank = renorm.measure(model, batches())
    assert expected.distance(bank) == {"1": 0.0, "5": 0.0}
    elsewhere(attempt)


@pytest.mark.parametrize("name", NAMES)
def test_a_second_thread_is_refused_while_one_has_borrowed_a_bank(name: str):
    model = small()
    other = renorm.measure(model, [images()])
    with unchanged(model):
        attempt = verbs(model)[name]
        with renorm.using(model, other):
            with unchanged(model), pytest.raises(RuntimeError, match=REFUSED):
                elsewhere(attempt)
            assert other.distance(renorm.Bank.of(model)) == {"1": 0.0, "5": 0.0}


@pytest.mark.parametrize("name", NAMES)
def test_one_thread_may_nest_them(name: str):
    model = small()
    bank = renorm.measure(model, [images()])
    attempt = verbs(model)[name]
    with renorm.using(model, bank), renorm.using(model, bank):
        if name != "undo":  # which would lose what is borrowed
            attempt()
        with pytest.raises(RuntimeError, match=REFUSED):
            elsewhere(attempt)


def test_a_forward_in_another_thread_is_refused_while_one_adapts_or_measures():
    model, free = small().eval(), small().eval()
    refused = []

    def interrupted(m: nn.Module, x: Tensor) -> Any:
        with pytest.raises(RuntimeError, match=r"site '1' was called by one thread while another .* copy\.deepcopy"):
            elsewhere(lambda: m(x + 5))
        refused.append(True)
        return m(x)

    report = renorm.adapt_(model, images(), 64, forward=interrupted)
    assert refused == [True]
    assert_close(report.output, renorm.adapt_(free, images(), 64).output, rtol=0, atol=0)
    bank = renorm.measure(model, [images()], forward=interrupted)
    assert bank.distance(renorm.measure(free, [images()])) == {"1": 0.0, "5": 0.0}


def test_a_part_of_a_model_is_held_with_it_and_another_model_is_free():
    first, second = small(), small()
    whole = nn.Sequential(first, nn.Identity())
    with renorm.using(whole, renorm.Bank.of(whole)):
        with pytest.raises(RuntimeError, match=REFUSED):
            elsewhere(lambda: renorm.adapt_(first, images()))
        elsewhere(lambda: renorm.adapt_(second, images()))
        elsewhere(lambda: renorm.adapt_(copy.deepcopy(first), images()))
    with renorm.using(first, renorm.Bank.of(first)), pytest.raises(RuntimeError, match=REFUSED):
        elsewhere(lambda: renorm.adapt_(whole, images()))


def test_an_error_lets_go_and_nothing_is_kept_of_a_model():
    model = small()
    with pytest.raises(ValueError, match="not finite"):
        renorm.adapt_(model, images() * torch.nan)
    with pytest.raises(KeyError), renorm.using(model, renorm.Bank.of(model)):
        raise KeyError
    elsewhere(lambda: renorm.adapt_(model, images()))
    assert not hold._HOLDS


def test_the_law_needs_the_guard(monkeypatch: pytest.MonkeyPatch):
    """Unguarded, adapting in another thread while one measures changes what is measured, or what is left behind."""
    for module in (hold, observe):
        monkeypatch.setattr(module, "threading", SimpleNamespace(get_ident=lambda: 0))
    model = small()
    before = renorm.Bank.of(model)

    def batches() -> Iterator[Tensor]:
        yield images()
        elsewhere(lambda: renorm.adapt_(model, images() + 5))
        yield images()

    renorm.measure(model, batches())
    report = renorm.measure(model, [images()])
    assert before.distance(renorm.Bank.of(model)) == {"1": 0.0, "5": 0.0}  # the adaptation is lost unnoticed
    assert report.samples == 6

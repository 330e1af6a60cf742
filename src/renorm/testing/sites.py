"""Laws that every site obeys, whatever norm it is made from.

A law takes a :class:`Subject`, how a norm becomes a site, and raises AssertionError where the site breaks it.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from renorm.adapt import Adapter, Tent, adapt_, prediction_time
from renorm.banks import Bank, measure, recalibrate_, using
from renorm.layers import frozen_statistics
from renorm.routing import route
from renorm.surgery import fold, split_
from renorm.testing.hashing import hashed

BRANCHES = ("weak", "strong")
N = 6
LABELS = torch.tensor([0, 1, 1, 0, 1, 1])
exactly = partial(assert_close, rtol=0, atol=0)


@dataclass(frozen=True)
class Subject:
    """A way to make a site of a norm.

    Args:
        norm: makes the norm; called again for each law.
        convert: makes a site of it in a model of one norm, as :func:`renorm.split_`.
        shape: of the features of one sample, ``(C, *)``.
        spoil: what is done to the site, in tests of the laws themselves.
    """

    norm: Callable[[], nn.Module]
    convert: Callable[..., Any] = split_
    shape: tuple[int, ...] = (5, 3, 7)
    spoil: Callable[[Any], object] | None = None

    @property
    def channels(self) -> int:
        """C."""
        return self.shape[0]

    def images(self, seed: int, dtype: torch.dtype = torch.float32) -> Any:
        """Features of a few samples."""
        generator = torch.Generator().manual_seed(seed)
        return (torch.randn(N, *self.shape, generator=generator, dtype=torch.float64) + 1).to(dtype)

    def plain(self) -> Any:
        """A model of one norm whose values are no initial ones."""
        return randomize_(nn.Sequential(self.norm()))

    def converted(self, model: Any) -> Any:
        """The report of the conversion of a model, now a site."""
        report = self.convert(model, BRANCHES)
        if self.spoil:
            self.spoil(model[0])
        return report

    def fresh(self) -> Any:
        """A model of one site whose branches are alike."""
        model = self.plain()
        self.converted(model)
        return model

    def model(self) -> Any:
        """A model of one site whose branches differ in all they have of their own."""
        model = self.fresh()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for tensor in model.parameters():
                tensor.add_(torch.rand(tensor.shape, generator=generator))
            for branch in BRANCHES:
                trained(model, self.images(4), branch)
        return model

    @property
    def own_statistics(self) -> bool:
        """Whether branches have statistics apart."""
        site = self.fresh()[0]
        return site.statistics(0).mean.data_ptr() != site.statistics(1).mean.data_ptr()


def randomize_(model: nn.Module, seed: int = 0) -> Any:
    """Statistics and affines that differ between layers and channels."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            buffers = dict(module.named_buffers(recurse=False))
            mean, var = buffers.get("running_mean"), buffers.get("running_var")
            if mean is not None and var is not None:
                mean.copy_(0.3 * torch.randn(mean.shape, generator=generator))
                var.copy_(0.5 + torch.rand(var.shape, generator=generator))
                if "num_batches_tracked" in buffers:
                    buffers["num_batches_tracked"].fill_(13)
                for p in module.parameters():
                    p.copy_(p + 0.2 * torch.randn(p.shape, generator=generator))
    return model


def trained(model: nn.Module, x: Tensor, *spec: Any) -> Tensor:
    """Outputs in training mode under a route."""
    with route(model.train(), *spec):
        return model(x)


def evaluated(model: nn.Module, x: Tensor, *spec: Any) -> Tensor:
    """Outputs in evaluation mode under a route."""
    with route(model.eval(), *spec):
        return model(x)


def values(model: nn.Module) -> dict[str, Tensor]:
    """Copies of a model's tensors."""
    return {key: value.clone() for key, value in model.state_dict().items()}


def _adapter(model: nn.Module, x: Tensor) -> None:
    with Adapter(model, prior=4, branch="strong", foreign="adapt") as adapter:
        adapter(x)
        adapter(x + 1)


def _tent(model: nn.Module, x: Tensor) -> None:
    with Tent(model, branch="strong") as tent:
        tent(x)


def _predicted(model: nn.Module, x: Tensor) -> None:
    with prediction_time(model.eval(), 4, branch="strong"):
        model(x)


def _borrowed(model: nn.Module, x: Tensor) -> None:
    with using(model, measure(model, [x], "weak"), "strong"):
        model.eval()(x)


VERBS: dict[str, Callable[[nn.Module, Tensor], object]] = {
    "measure": lambda model, x: measure(model, [x, x + 1], "strong", passes=2),
    "recalibrate_, undone": lambda model, x: recalibrate_(model, [x], "strong").undo(),
    "adapt_, undone": lambda model, x: adapt_(model, x, branch="strong", foreign="adapt").undo(),
    "Adapter, closed": _adapter,
    "Tent, closed": _tent,
    "prediction_time": _predicted,
    "using": _borrowed,
    "Bank.of": lambda model, x: Bank.of(model, "strong"),
    "fold": lambda model, x: fold(model, "strong", probe=x),
    "evaluation": lambda model, x: evaluated(model, x, LABELS),
}


def conversion_keeps_evaluation(subject: Subject) -> None:
    """A model just converted gives, by every branch, the bits it gave before."""
    model, x = subject.plain().eval(), subject.images(0)
    before = model(x).clone()
    subject.converted(model)
    exactly(model(x), before)
    for branch in BRANCHES:
        exactly(evaluated(model, x, branch), before)


def one_branch_reduces_to_the_plain_norm(subject: Subject) -> None:
    """Training by one branch is the plain norm's: outputs, gradients of the input, and then evaluation."""
    plain, model, x = subject.plain(), subject.fresh(), subject.images(0)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    y, want = trained(model, inputs[0], "strong"), plain(inputs[1])
    assert_close(y, want)
    gradients = [torch.autograd.grad(out.square().sum(), put)[0] for out, put in zip((y, want), inputs, strict=True)]
    assert_close(*gradients, rtol=1e-4, atol=1e-4)
    assert_close(evaluated(model, x, "strong"), plain.eval()(x))


def a_sample_is_evaluated_by_its_branch(subject: Subject) -> None:
    """Evaluation by labels is that of each branch's plain norm on its samples alone."""
    model, x = subject.model(), subject.images(0)
    y = evaluated(model, x, LABELS)
    for row in range(len(BRANCHES)):
        assert_close(y[row == LABELS], model[0].plain(row).eval()(x[row == LABELS]))


def evaluation_does_not_depend_on_batches(subject: Subject) -> None:
    """Samples evaluated together or apart give the same, and move nothing."""
    model, x = subject.model(), subject.images(0)
    before, whole = values(model), evaluated(model, x, "strong")
    parts = torch.cat([evaluated(model, part, "strong") for part in x.split([1, 3, 2])])
    assert_close(parts, whole)
    exactly(values(model), before)


def all_forms_of_a_route_agree(subject: Subject) -> None:
    """Samples interleaved, in blocks or labelled train alike; each gets the output at its own place."""
    rows, x = torch.arange(N) % 2, subject.images(0)
    order = rows.argsort(stable=True)
    specs: list[tuple[tuple[Any, ...], Tensor]] = [
        (BRANCHES, torch.arange(N)),
        ((rows,), torch.arange(N)),
        (({"weak": N // 2, "strong": N // 2},), order),
        ((rows[order],), order),
    ]
    found = []
    for spec, places in specs:
        model, y = subject.model(), torch.empty_like(x)
        y[places] = trained(model, x[places], *spec).detach()
        found.append((y, values(model)))
    for y, state in found[1:]:
        assert_close(y, found[0][0], rtol=1e-4, atol=1e-5)
        assert_close(state, found[0][1], rtol=1e-4, atol=1e-5)


def absent_branches_stay(subject: Subject) -> None:
    """Of a branch without samples nothing moves that is its own, and its gradients are zero."""
    model, x = subject.model(), subject.images(0)
    site = model[0]
    before = [tensor.clone() for tensor in site.statistics(0)]
    trained(model, x, "strong").square().sum().backward()
    if subject.own_statistics:
        exactly(list(site.statistics(0)), before)
    called = site.called(0)  # the site, where it calls no module per branch: parameters of all branches are in one
    for parameter in called.parameters():
        if called is not site or parameter.numel() > subject.channels:
            exactly(parameter.grad[: subject.channels], torch.zeros(subject.channels))


def frozen_statistics_stay(subject: Subject) -> None:
    """Frozen, a site trains as it does, and its statistics keep every bit."""
    model, other, x = subject.model(), subject.model(), subject.images(0)
    before = values(model)
    with frozen_statistics(model):
        y = trained(model, x, LABELS)
    exactly(values(model), before)
    assert_close(y, trained(other, x, LABELS))


def gradients_are_the_derivative(subject: Subject) -> None:
    """By finite differences, in float64, of the input and of all parameters."""
    model = subject.model().double()
    parameters = tuple(model.parameters())

    def outputs(x: Tensor, *_: Tensor) -> Tensor:
        return trained(model, x, LABELS)

    with frozen_statistics(model):
        x = subject.images(0, torch.float64)
        few = (slice(None), slice(None), *(slice(2),) * (x.ndim - 2))
        x = x[few].clone().requires_grad_()
        assert torch.autograd.gradcheck(outputs, (x, *parameters), raise_exception=False)


def half_in_half_out(subject: Subject) -> None:
    """Features of half precision come out so, and statistics of them are float32's."""
    model, exact, x = subject.model(), subject.model(), subject.images(0).bfloat16()
    y, want = trained(model, x, LABELS), trained(exact, x.float(), LABELS)
    assert y.dtype == torch.bfloat16
    assert_close(y.float(), want, rtol=2e-2, atol=3e-2)
    assert_close(values(model), values(exact), rtol=1e-4, atol=1e-4)


def compiled_equals_eager(subject: Subject) -> None:
    """Compiled, a site trains and evaluates to the same numbers."""
    torch.compiler.reset()
    model, eager, x = subject.model(), subject.model(), subject.images(0)
    compiled: Any = torch.compile(model, backend="eager")
    for run in (trained, evaluated):
        assert_close(run(compiled, x, LABELS), run(eager, x, LABELS), rtol=1e-4, atol=1e-5)
    assert_close(values(model), values(eager), rtol=1e-4, atol=1e-5)


def a_state_dict_holds_it_all(subject: Subject) -> None:
    """A saved model, loaded into one just converted, evaluates to the same bits by every branch."""
    model, x, file = subject.model(), subject.images(0), BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = subject.fresh()
    other.load_state_dict(torch.load(file, weights_only=True))
    for branch in BRANCHES:
        exactly(evaluated(other, x, branch), evaluated(model, x, branch))


def copies_are_equal_and_apart(subject: Subject) -> None:
    """A deep copy and a pickled one give the same bits; training or routing them leaves the original alone."""
    model, x = subject.model(), subject.images(0)
    before, want = values(model), [evaluated(model, x, branch) for branch in BRANCHES]
    for copied in (copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))):
        other = copied(model)
        exactly([evaluated(other, x, branch) for branch in BRANCHES], want)
        with route(other, "strong"):
            exactly(model(x), want[0])
        trained(other, x, *BRANCHES)
        exactly(values(model), before)


def verbs_leave_a_model_as_it_was(subject: Subject) -> None:
    """Every verb that changes nothing for good leaves all of a model as it was, that of other modules too."""
    for name, verb in VERBS.items():
        model = subject.model().eval()
        before = hashed(model)
        verb(model, subject.images(0))
        assert hashed(model) == before, name


def undo_gives_back_the_same_objects(subject: Subject) -> None:
    """Converted and undone, a model holds the modules and tensors it held, with every bit."""
    model = subject.plain()
    before, modules = values(model), [id(module) for module in model.modules()]
    tensors = [id(tensor) for tensor in model.state_dict(keep_vars=True).values()]
    subject.converted(model).undo()
    assert [id(module) for module in model.modules()] == modules
    assert [id(tensor) for tensor in model.state_dict(keep_vars=True).values()] == tensors
    exactly(values(model), before)


LAWS: tuple[Callable[[Subject], None], ...] = (
    conversion_keeps_evaluation,
    one_branch_reduces_to_the_plain_norm,
    a_sample_is_evaluated_by_its_branch,
    evaluation_does_not_depend_on_batches,
    all_forms_of_a_route_agree,
    absent_branches_stay,
    frozen_statistics_stay,
    gradients_are_the_derivative,
    half_in_half_out,
    compiled_equals_eager,
    a_state_dict_holds_it_all,
    copies_are_equal_and_apart,
    verbs_leave_a_model_as_it_was,
    undo_gives_back_the_same_objects,
)

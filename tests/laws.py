"""What every site obeys, whatever its class, and for each law a naive site that must not pass it.

A law takes a subject, how a norm becomes a site, and raises AssertionError where the site breaks it. A naive version is a
subject whose sites are made as usual and then spoilt in one way that is easily written by mistake.
"""

from __future__ import annotations

import copy
import hashlib
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.layers import HOOKS, BranchCopies, SandwichBatchNorm, Site, SplitBatchNorm
from tests.surgery.zoo import CHANNELS, Doubling, randomize_

BRANCHES = ("weak", "strong")
N = 6
LABELS = torch.tensor([0, 1, 1, 0, 1, 1])
exactly = partial(assert_close, rtol=0, atol=0)


@dataclass(frozen=True)
class Subject:
    """A way to make a site of a norm: the conversion, the norm, the site's class, and what is wrong about it."""

    kind: type[Site]
    convert: Callable[..., Any]
    norm: type[nn.Module] = nn.BatchNorm2d
    spoil: Callable[[Any], object] | None = None

    def plain(self) -> Any:
        """A model of one norm whose values are no initial ones."""
        return randomize_(nn.Sequential(self.norm(CHANNELS)))

    def converted(self, model: Any) -> Any:
        """The report of the conversion of a model, now a site."""
        report = self.convert(model, BRANCHES)
        assert type(model[0]) is self.kind
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
                trained(model, images(4), branch)
        return model

    @property
    def own_statistics(self) -> bool:
        """Whether branches have statistics apart."""
        site = self.fresh()[0]
        return site.statistics(0).mean.data_ptr() != site.statistics(1).mean.data_ptr()


SUBJECTS: dict[str, Subject] = {
    "split": Subject(SplitBatchNorm, renorm.split_),
    "split, shared statistics": Subject(SplitBatchNorm, partial(renorm.split_, share="statistics")),
    "split, shared affine": Subject(SplitBatchNorm, partial(renorm.split_, share="affine")),
    "sandwich": Subject(SandwichBatchNorm, partial(renorm.sandwich_, share=())),
    "sandwich, shared statistics": Subject(SandwichBatchNorm, renorm.sandwich_),
    "copies": Subject(BranchCopies, renorm.split_, Doubling),
}


def images(seed: int, dtype: torch.dtype = torch.float32) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(N, CHANNELS, 3, 7, generator=generator, dtype=torch.float64) + 1).to(dtype)


def trained(model: nn.Module, x: Tensor, *spec: Any) -> Tensor:
    """Outputs in training mode under a route."""
    with renorm.route(model.train(), *spec):
        return model(x)


def evaluated(model: nn.Module, x: Tensor, *spec: Any) -> Tensor:
    """Outputs in evaluation mode under a route."""
    with renorm.route(model.eval(), *spec):
        return model(x)


def values(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def hashed(model: nn.Module) -> str:
    """All that a verb may leave otherwise than it was: tensors by value and place, modes, hooks, ``requires_grad``, gradients."""
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        hooks = [[id(hook) for hook in getattr(module, key).values()] for key in HOOKS if "with_kwargs" not in key]
        digest.update(f"{name} {type(module)} {id(module)} {module.training} {hooks}".encode())
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                facts = (key, id(tensor), tensor.data_ptr(), tensor.requires_grad, tensor.grad is None, tensor.dtype)
                digest.update(
                    f"{facts}".encode() + tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
                )
    return digest.hexdigest()


def _adapter(model: nn.Module, x: Tensor) -> None:
    with renorm.Adapter(model, prior=4, branch="strong", foreign="adapt") as adapter:
        adapter(x)
        adapter(x + 1)


def _tent(model: nn.Module, x: Tensor) -> None:
    with renorm.Tent(model, branch="strong") as tent:
        tent(x)


def _predicted(model: nn.Module, x: Tensor) -> None:
    with renorm.prediction_time(model.eval(), 4, branch="strong"):
        model(x)


def _borrowed(model: nn.Module, x: Tensor) -> None:
    with renorm.using(model, renorm.measure(model, [x], "weak"), "strong"):
        model.eval()(x)


VERBS: dict[str, Callable[[nn.Module, Tensor], object]] = {
    "measure": lambda model, x: renorm.measure(model, [x, x + 1], "strong", passes=2),
    "recalibrate_, undone": lambda model, x: renorm.recalibrate_(model, [x], "strong").undo(),
    "adapt_, undone": lambda model, x: renorm.adapt_(model, x, branch="strong", foreign="adapt").undo(),
    "Adapter, closed": _adapter,
    "Tent, closed": _tent,
    "prediction_time": _predicted,
    "using": _borrowed,
    "Bank.of": lambda model, x: renorm.Bank.of(model, "strong"),
    "fold": lambda model, x: renorm.fold(model, "strong", probe=x),
    "evaluation": lambda model, x: evaluated(model, x, LABELS),
}


# --- the laws --------------------------------------------------------------------------------------------------------


def conversion_keeps_evaluation(subject: Subject) -> None:
    """A model just converted gives, by every branch, the bits it gave before."""
    model, x = subject.plain().eval(), images(0)
    before = model(x).clone()
    subject.converted(model)
    exactly(model(x), before)
    for branch in BRANCHES:
        exactly(evaluated(model, x, branch), before)


def one_branch_reduces_to_the_plain_norm(subject: Subject) -> None:
    """Training by one branch is the plain norm's: outputs, gradients of the input, and then evaluation."""
    plain, model, x = subject.plain(), subject.fresh(), images(0)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    y, want = trained(model, inputs[0], "strong"), plain(inputs[1])
    assert_close(y, want)
    gradients = [torch.autograd.grad(out.square().sum(), put)[0] for out, put in zip((y, want), inputs, strict=True)]
    assert_close(*gradients, rtol=1e-4, atol=1e-4)
    assert_close(evaluated(model, x, "strong"), plain.eval()(x))


def a_sample_is_evaluated_by_its_branch(subject: Subject) -> None:
    """Evaluation by labels is that of each branch's plain norm on its samples alone."""
    model, x = subject.model(), images(0)
    y = evaluated(model, x, LABELS)
    for row in range(len(BRANCHES)):
        assert_close(y[row == LABELS], model[0].plain(row).eval()(x[row == LABELS]))


def evaluation_does_not_depend_on_batches(subject: Subject) -> None:
    """Samples evaluated together or apart give the same, and move nothing."""
    model, x = subject.model(), images(0)
    before, whole = values(model), evaluated(model, x, "strong")
    parts = torch.cat([evaluated(model, part, "strong") for part in x.split([1, 3, 2])])
    assert_close(parts, whole)
    exactly(values(model), before)


def all_forms_of_a_route_agree(subject: Subject) -> None:
    """Samples interleaved, in blocks or labelled train alike; each gets the output at its own place."""
    rows, x = torch.arange(N) % 2, images(0)
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
    model, x = subject.model(), images(0)
    site = model[0]
    before = [tensor.clone() for tensor in site.statistics(0)]
    trained(model, x, "strong").square().sum().backward()
    if subject.own_statistics:
        exactly(list(site.statistics(0)), before)
    called = site.called(0)  # the site, where it calls no module per branch: parameters of all branches are in one
    for parameter in called.parameters():
        if called is not site or parameter.numel() > CHANNELS:
            exactly(parameter.grad[:CHANNELS], torch.zeros(CHANNELS))


def frozen_statistics_stay(subject: Subject) -> None:
    """Frozen, a site trains as it does, and its statistics keep every bit."""
    model, other, x = subject.model(), subject.model(), images(0)
    before = values(model)
    with renorm.frozen_statistics(model):
        y = trained(model, x, LABELS)
    exactly(values(model), before)
    assert_close(y, trained(other, x, LABELS))


def gradients_are_the_derivative(subject: Subject) -> None:
    """By finite differences, in float64, of the input and of all parameters."""
    model = subject.model().double()
    parameters = tuple(model.parameters())

    def outputs(x: Tensor, *_: Tensor) -> Tensor:
        return trained(model, x, LABELS)

    with renorm.frozen_statistics(model):
        x = images(0, torch.float64)[..., :1, :2].requires_grad_()
        assert torch.autograd.gradcheck(outputs, (x, *parameters), raise_exception=False)


def half_in_half_out(subject: Subject) -> None:
    """Features of half precision come out so, and statistics of them are float32's."""
    model, exact, x = subject.model(), subject.model(), images(0).bfloat16()
    y, want = trained(model, x, LABELS), trained(exact, x.float(), LABELS)
    assert y.dtype == torch.bfloat16
    assert_close(y.float(), want, rtol=2e-2, atol=3e-2)
    assert_close(values(model), values(exact), rtol=1e-4, atol=1e-4)


def compiled_equals_eager(subject: Subject) -> None:
    """Compiled, a site trains and evaluates to the same numbers."""
    torch.compiler.reset()
    model, eager, x = subject.model(), subject.model(), images(0)
    compiled: Any = torch.compile(model, backend="eager")
    for run in (trained, evaluated):
        assert_close(run(compiled, x, LABELS), run(eager, x, LABELS), rtol=1e-4, atol=1e-5)
    assert_close(values(model), values(eager), rtol=1e-4, atol=1e-5)


def a_state_dict_holds_it_all(subject: Subject) -> None:
    """A saved model, loaded into one just converted, evaluates to the same bits by every branch."""
    model, x, file = subject.model(), images(0), BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = subject.fresh()
    other.load_state_dict(torch.load(file, weights_only=True))
    for branch in BRANCHES:
        exactly(evaluated(other, x, branch), evaluated(model, x, branch))


def copies_are_equal_and_apart(subject: Subject) -> None:
    """A deep copy and a pickled one give the same bits; training or routing them leaves the original alone."""
    model, x = subject.model(), images(0)
    before, want = values(model), [evaluated(model, x, branch) for branch in BRANCHES]
    for copied in (copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))):
        other = copied(model)
        exactly([evaluated(other, x, branch) for branch in BRANCHES], want)
        with renorm.route(other, "strong"):
            exactly(model(x), want[0])
        trained(other, x, *BRANCHES)
        exactly(values(model), before)


def verbs_leave_a_model_as_it_was(subject: Subject) -> None:
    """Every verb that changes nothing for good leaves all of a model as it was, that of other modules too."""
    for name, verb in VERBS.items():
        model = subject.model().eval()
        before = hashed(model)
        verb(model, images(0))
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


# --- naive sites -----------------------------------------------------------------------------------------------------

Naive = Callable[[Subject], Subject]


def spoilt(spoil: Callable[[Any], object]) -> Naive:
    return lambda subject: replace(subject, spoil=spoil)


def giving(output: Callable[[Any, Tensor, Tensor], Tensor]) -> Naive:
    """Sites that change their output, or themselves, after each call; a function of the site, its input and its output."""
    return spoilt(lambda site: site.register_forward_hook(lambda site, inputs, y: output(site, inputs[0], y)))


def by_the_first_branch(site: Any) -> None:
    """Whatever the route says."""
    forward = site.forward

    def first(x: Tensor) -> Tensor:
        with renorm.route(site, BRANCHES[0]):
            return forward(x)

    site.forward = first


def biased_variance(site: Any, x: Tensor, y: Tensor) -> Tensor:
    """Stored as it was normalized by."""
    if site.training:
        for row in range(len(BRANCHES)):
            site.statistics(row).var.data.mul_(1 - 1 / x[:, 0].numel())
    return y


def always_moving(site: Any, x: Tensor, y: Tensor) -> Tensor:
    """In evaluation too."""
    for row in range(len(BRANCHES)):
        site.statistics(row).mean.lerp_(x.mean((0, 2, 3)), 0.1)
    return y


def decaying(site: Any, x: Tensor, y: Tensor) -> Tensor:
    """All branches, whoever is in the batch; and gradients for all."""
    for row in range(len(BRANCHES)):
        site.statistics(row).mean.data.mul_(0.9)
    return y + sum(parameter.sum() for parameter in site.parameters())


def evaluating_when_frozen(site: Any) -> None:
    """Takes frozen statistics for those to normalize by."""
    forward = site.forward

    def frozen(x: Tensor) -> Tensor:
        if not site.route.frozen:
            return forward(x)
        site.eval()
        y = forward(x)
        site.train()
        return y

    site.forward = frozen


def other_when_compiled(site: Any) -> None:
    """Takes another way where it is traced."""
    site.register_forward_pre_hook(lambda _, x: x[0].abs() if torch.compiler.is_compiling() else x)


def saves_ones(site: Any) -> None:
    """Instead of its values."""

    def ones(_: Any, state: dict[str, Any], prefix: str, __: Any) -> None:
        state.update(
            {
                key: torch.ones_like(value)
                for key, value in state.items()
                if key.startswith(prefix) and value.is_floating_point()
            }
        )

    site.register_state_dict_post_hook(ones)


def copied_as_itself(site: Any) -> None:
    """A deep copy of the model shares the site."""
    site.__deepcopy__ = lambda memo: site


def leaving_a_hook(site: Any, x: Tensor, y: Tensor) -> Tensor:
    """Each time it is called."""
    site.register_forward_pre_hook(lambda site, inputs: None)
    return y


def undone_by_copies(subject: Subject) -> Subject:
    """Undo gives back an equal module, not the same."""

    class Report:
        def __init__(self, model: Any, equal: nn.Module) -> None:
            self.model, self.equal = model, equal

        def undo(self) -> None:
            self.model[0] = self.equal

    def convert(model: Any, branches: Any) -> Report:
        equal = copy.deepcopy(model[0])
        subject.convert(model, branches)
        return Report(model, equal)

    return replace(subject, convert=convert)


LAWS: dict[Callable[[Subject], None], Naive] = {
    conversion_keeps_evaluation: giving(lambda site, x, y: y * (1 + 1e-6)),
    one_branch_reduces_to_the_plain_norm: giving(biased_variance),
    a_sample_is_evaluated_by_its_branch: spoilt(by_the_first_branch),
    evaluation_does_not_depend_on_batches: giving(always_moving),
    all_forms_of_a_route_agree: giving(lambda site, x, y: y.roll(1, 0)),
    absent_branches_stay: giving(decaying),
    frozen_statistics_stay: spoilt(evaluating_when_frozen),
    gradients_are_the_derivative: giving(lambda site, x, y: 2 * y - y.detach()),
    half_in_half_out: giving(lambda site, x, y: y.float()),
    compiled_equals_eager: spoilt(other_when_compiled),
    a_state_dict_holds_it_all: spoilt(saves_ones),
    copies_are_equal_and_apart: spoilt(copied_as_itself),
    verbs_leave_a_model_as_it_was: giving(leaving_a_hook),
    undo_gives_back_the_same_objects: undone_by_copies,
}

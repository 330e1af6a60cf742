"""What others do with a model goes on as it does: transforms of functions, loops of trainers, adapters, optimizers."""

from __future__ import annotations

from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, vmap
from torch.testing import assert_close

import renorm
from tests.surgery.zoo import images, small

BRANCHES = ["weak", "strong"]
CONVERSIONS = pytest.mark.parametrize("convert", [renorm.split_, renorm.sandwich_], ids=["split_", "sandwich_"])
quiet = pytest.mark.filterwarnings("ignore")


def loss(y: Tensor) -> Tensor:
    return y.tanh().square().sum()


def converted(dtype: torch.dtype = torch.float64) -> Any:
    model = small(dtype)
    renorm.split_(model, BRANCHES)
    return model


def weights(model: nn.Module) -> list[nn.Parameter]:
    """Those that branches share."""
    return [p for name, p in model.named_parameters() if name.split(".")[0] in ("0", "3", "8")]


def product(value: Tensor, parameters: list[Any], seed: int = 0) -> tuple[Tensor, ...]:
    """The Hessian of a scalar times a vector."""
    generator = torch.Generator().manual_seed(seed)
    v = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    first = torch.autograd.grad(value, parameters, create_graph=True)
    return torch.autograd.grad(torch.stack([(g * d).sum() for g, d in zip(first, v, strict=True)]).sum(), parameters)


@pytest.mark.parametrize("spec", [BRANCHES, [{"weak": 3, "strong": 3}], [torch.tensor([0, 0, 0, 1, 1, 1])]], ids=str)
def test_products_with_the_hessian_are_exact_in_training(spec: Any):
    model, plain, x = converted().train(), small(torch.float64).train(), images().double()
    halves = [x[0::2], x[1::2]] if spec == BRANCHES else x.split(3)
    with renorm.route(model, *spec):
        found = product(loss(model(x)), weights(model))
    expected = product(sum((loss(plain(half)) for half in halves), torch.zeros(())), weights(plain))
    assert_close(found, expected, rtol=1e-7, atol=1e-9)


def test_products_with_the_hessian_are_exact_in_evaluation():
    model, plain, x = converted().eval(), small(torch.float64).eval(), images().double()
    with renorm.route(model, *BRANCHES):
        found = product(loss(model(x)), weights(model))
    assert_close(found, product(loss(plain(x)), weights(plain)), rtol=1e-7, atol=1e-9)


@CONVERSIONS
def test_gradients_by_sample_are_those_of_each_alone(convert: Any):
    model, x = small(torch.float64).eval(), images().double()
    convert(model, BRANCHES)
    parameters = dict(model.named_parameters())

    def alone(parameters: Any, x: Tensor) -> Tensor:
        return loss(functional_call(model, parameters, (x[None],)))

    with renorm.route(model, "strong"):
        found = vmap(grad(alone), (None, 0))(parameters, x)
        for i in range(len(x)):
            expected = grad(alone)(parameters, x[i])
            for name, value in expected.items():
                assert_close(found[name][i], value, rtol=1e-7, atol=1e-9)


@quiet
def test_a_hessian_by_transforms_is_that_by_autograd():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh()).double()
    plain = nn.Sequential(*net)
    x = torch.randn(6, 3, dtype=torch.float64)
    with renorm.frozen_statistics(plain):
        expected = torch.autograd.functional.hessian(lambda x: loss(plain(x)), x)
    renorm.split_(net, BRANCHES)
    with renorm.frozen_statistics(net), renorm.route(net, "weak"):
        found = hessian(lambda x: loss(net(x)))(x)
    assert_close(found, expected, rtol=1e-7, atol=1e-9)


def test_ensembles_are_stacked_and_mapped():
    nets: list[Any] = [converted().eval() for _ in range(3)]
    for i, net in enumerate(nets):
        with torch.no_grad():
            net[1].running_mean.add_(i)
    parameters, buffers = torch.func.stack_module_state(nets)
    x = images().double()

    def call(parameters: Any, buffers: Any) -> Tensor:
        return functional_call(nets[0], (parameters, buffers), (x,))

    with renorm.route(nets[0], "strong"):
        found = vmap(call)(parameters, buffers)
    for net, y in zip(nets, found, strict=True):
        with renorm.route(net, "strong"):
            assert_close(y, net(x))


@quiet
def test_a_loop_of_lightning_trains_every_branch(tmp_path: Any):
    lightning = pytest.importorskip("lightning.pytorch", reason="needs lightning")
    net = converted(torch.float32)
    renorm.route_(net, train=BRANCHES, eval="strong")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def training_step(self, batch: Any, index: int) -> Tensor:
            return loss(self.net(batch[0]))

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("loss", loss(self.net(batch[0])))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    before, counts = net[1].weight.detach().clone(), net[1].num_batches_tracked.clone()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images(4)), batch_size=2)
    options: Any = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = lightning.Trainer(max_epochs=1, default_root_dir=str(tmp_path), enable_checkpointing=False, **options)
    trainer.fit(Module(), loader, loader)
    assert (net[1].num_batches_tracked - counts).tolist() == [2, 2]
    assert ((net[1].weight - before).view(2, -1).abs().sum(1) > 0).all()


class ForTrainer(nn.Module):
    """A network as the trainer of transformers takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = converted(torch.float32)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.net(pixel_values)
        return (
            {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}
            if labels is not None
            else {"logits": logits}
        )


@quiet
@pytest.mark.slow
def test_the_trainer_of_transformers_trains_saves_and_loads(tmp_path: Any):
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    if not hasattr(transformers, "Trainer"):
        pytest.skip("needs transformers with its trainer")
    model = ForTrainer()
    renorm.route_(model, train=BRANCHES, eval="weak")
    counts = model.net[1].num_batches_tracked.clone()
    data: Any = [{"pixel_values": x, "labels": 1} for x in images(4)]
    options: Any = {"report_to": [], "use_cpu": True, "disable_tqdm": True, "remove_unused_columns": False}
    settings = transformers.TrainingArguments(
        str(tmp_path), num_train_epochs=1, per_device_train_batch_size=2, **options
    )
    trainer = transformers.Trainer(model, settings, train_dataset=data)
    trainer.train()
    assert (model.net[1].num_batches_tracked - counts).tolist() == [2, 2]
    trainer.save_model(str(tmp_path / "saved"))
    other = ForTrainer()
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "saved" / "model.safetensors"))
    assert_close(other.net[1].running_mean, model.net[1].running_mean)


def lora(model: nn.Module) -> Any:
    peft = pytest.importorskip("peft", reason="needs peft")
    return peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["0", "3"]))


@quiet
def test_low_rank_adapters_train_beside_branches_and_are_merged():
    model = converted(torch.float32)
    tuned = lora(model)
    with renorm.route(tuned.train(), *BRANCHES):
        loss(tuned(images())).backward()
    assert model[0].lora_A["default"].weight.grad is not None
    tuned.eval()
    with renorm.route(tuned, "strong"):
        before = tuned(images())
    plain = renorm.fold(tuned.merge_and_unload(), "strong")
    assert_close(plain(images()), before, rtol=1e-4, atol=1e-5)


@quiet
@pytest.mark.parametrize("branches", [None, BRANCHES], ids=str)
def test_a_bank_of_a_model_with_low_rank_adapters_has_the_plain_names(branches: Any):
    model = small().eval()
    expected = renorm.measure(model, [images()])
    tuned = lora(model)
    if branches:
        renorm.split_(tuned, branches)
    bank = renorm.measure(tuned.eval(), [images()], *branches[:1] if branches else ())
    assert list(bank.sites) == list(expected.sites)
    assert_close(bank.sites["4"].var, expected.sites["4"].var)  # adapters start as nothing


@quiet
def test_a_schedule_free_optimizer_trains_every_branch():
    free = pytest.importorskip("schedulefree", reason="needs schedulefree")
    model = converted(torch.float32)
    optimizer = free.AdamWScheduleFree(model.parameters(), lr=0.01)
    before = model[1].weight.detach().clone()
    optimizer.train()
    for _ in range(2):
        optimizer.zero_grad()
        with renorm.route(model.train(), *BRANCHES):
            loss(model(images())).backward()
        optimizer.step()
    optimizer.eval()
    assert ((model[1].weight - before).view(2, -1).abs().sum(1) > 0).all()
    renorm.recalibrate_(model, [images()], "weak")
    assert renorm.fold(model, "weak")(images()).isfinite().all()

"""The view ``adv``: made in the step, through its branch, from seeds of images; what the loss is; what is refused."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

import renorm
from renorm.attacks import pgd, trades
from renorm.banks import branches_of
from renorm.layers import SandwichBatchNorm
from renorm.recipes import open_run
from renorm.recipes.classify import Classification, check, configured
from renorm.seeds import stable_seed
from tests.recipes.classify import small

ADV: dict[str, Any] = {"branches": ("clean", "adv"), "attack_steps": 2, "batch": 32, "eps": "32/255"}


def recipe(**changes: Any) -> Classification:
    return small.recipe(**{**ADV, **changes})


def seen(made: Classification, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """What each branch of the first step sees, in 0 to 1; the step is made."""
    inputs: list[dict[str, Tensor]] = []
    original = made.stacked

    def stacked(views: dict[str, Tensor], only: Any = None) -> Any:
        inputs.append({name: x / 255 if x.dtype == torch.uint8 else x for name, x in views.items()})
        return original(views, only)

    monkeypatch.setattr(made, "stacked", stacked)
    made.model.train()
    made.step(next(iter(made.batches(0, 0))))
    return {name: torch.cat([each[name] for each in inputs]) for name in inputs[0]}


@pytest.mark.parametrize("norm", ["split", "sandwich", "shared"])
def test_the_view_is_the_clean_image_attacked_through_its_branch(norm: str, monkeypatch: pytest.MonkeyPatch):
    made, again = recipe(norm=norm), recipe(norm=norm)
    shown = seen(made, monkeypatch)
    batch = next(iter(again.batches(0, 0)))
    clean = batch.views[:, 0] / 255
    assert torch.equal(shown["clean"], clean)
    seeds = [stable_seed(0, "attack", 0, index, "adv") for _, index in batch.keys]
    options: dict[str, Any] = {"branch": None if norm == "shared" else "adv", "normalize": again.classifier.normalize}
    expected = pgd(again.model, clean, batch.labels, eps=32 / 255, steps=2, random=seeds, **options)
    assert_close(shown["adv"], expected, rtol=0, atol=1e-6)
    assert 0.05 < float((shown["adv"] - clean).abs().max()) <= 32 / 255 + 1e-6


def test_the_first_other_branch_is_attacked_and_alone_the_weak_view(monkeypatch: pytest.MonkeyPatch):
    three = seen(recipe(branches=("strong", "weak", "adv"), batch=24), monkeypatch)
    assert list(three) == ["strong", "weak", "adv"]
    assert float((three["adv"] - three["strong"]).abs().max()) <= 32 / 255 + 1e-6
    assert float((three["adv"] - three["weak"]).abs().max()) > 32 / 255 + 0.01
    alone = recipe(branches=("adv",), batch=8)
    assert alone.views["adv"] == alone.config.view("weak", 16)
    named = recipe(branches=("clean", "hard"), views=("weak", "adv"))
    assert named.views == {"clean": named.config.view("weak", 16)}
    assert float(seen(alone, monkeypatch)["adv"].max()) <= 1


def test_the_attack_moves_no_statistics_and_train_mode_moves_them_once_a_step():
    counts = {}
    for mode in ("eval", "train"):
        made = recipe(attack_mode=mode, attack_steps=3)
        made.model.train()
        made.step(next(iter(made.batches(0, 0))))
        counts[mode] = made.model.get_buffer("bn1.num_batches_tracked").tolist()
    assert counts == {"eval": [1, 1], "train": [1, 4]}


@pytest.mark.parametrize("changes", [{"accumulate": 2}, {"precision": "bf16"}, {"memory_format": "channels_last"}])
def test_random_starts_are_those_of_the_images(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    # steps that are too short to see leave the start; longer ones also follow what the forward before has moved
    whole, other = (seen(recipe(attack_step_size="1e-9", **each), monkeypatch) for each in ({}, changes))
    assert_close(other["clean"].contiguous(), whole["clean"])
    assert_close(other["adv"].contiguous(), whole["adv"], rtol=0, atol=1e-6)
    assert float((whole["adv"] - whole["clean"]).abs().max()) > 0.1


def test_the_loss_is_the_mean_over_branches():
    made = recipe()
    made.model.train()
    numbers = made.step(next(iter(made.batches(0, 0))))
    assert_close(numbers["loss"], (numbers["loss/clean"] + numbers["loss/adv"]) / 2)
    assert set(numbers) == {"loss", "loss/clean", "loss/adv", "accuracy/clean", "accuracy/adv"}


def test_trades(monkeypatch: pytest.MonkeyPatch):
    made, again = (recipe(adv_loss="trades", trades_beta=3.0, branches=("clean", "adv")) for _ in range(2))
    batch = next(iter(made.batches(0, 0)))
    made.model.train()
    numbers = made.step(batch)
    clean, seeds = batch.views[:, 0] / 255, [stable_seed(0, "attack", 0, index, "adv") for _, index in batch.keys]
    options: dict[str, Any] = {"branch": "adv", "reference": "clean", "normalize": again.classifier.normalize}
    found = trades(again.model, clean, eps=32 / 255, steps=2, random=seeds, **options)
    x, spec = renorm.stack(
        {name: again.classifier.normalize(each) for name, each in (("clean", clean), ("adv", found))}
    )
    with renorm.route(again.model.train(), spec):
        y = renorm.unstack(again.model(x), spec)
    agreement = F.kl_div(y["adv"].log_softmax(1), y["clean"].softmax(1), reduction="batchmean")
    assert_close(numbers["loss/adv"], 3 * agreement.item(), rtol=1e-4, atol=1e-6)
    assert_close(numbers["loss/clean"], F.cross_entropy(y["clean"], batch.labels).item(), rtol=1e-4, atol=1e-6)
    assert_close(numbers["loss"], numbers["loss/clean"] + numbers["loss/adv"])


def test_averaged_weights_measure_the_attacked_branch_on_attacks_of_what_trains():
    made = recipe(ema=0.9, ema_images=64)
    made.model.train()
    made.step(next(iter(made.batches(0, 0))))
    before = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    made.finish()
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.model.state_dict().items())
    assert made.model.training
    clean, adv = (renorm.Bank.of(made.evaluated, branch=name).sites["bn1"] for name in ("clean", "adv"))
    assert clean.mean.shape == adv.mean.shape
    assert not torch.allclose(clean.mean, adv.mean)


def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(tmp_path: Any):
    def stop(event: Any) -> None:
        if event.step == 3:
            raise KeyboardInterrupt

    few: dict[str, Any] = {**ADV, "attack_steps": 1, "save_every": 2}
    whole = small.numbers(small.start(tmp_path / "whole", **few))
    with pytest.raises(KeyboardInterrupt):
        small.start(tmp_path / "stopped", callback=stop, **few)
    assert small.numbers(small.start(tmp_path / "stopped", resume=True, **few)) == whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": "abc"}, r"--eps 'abc' is no number: .*Try 8/255"),
        ({"eps": "0"}, r"eps=0.0 was given. An attack needs a radius above 0"),
        ({"attack_steps": 0}, r"steps=0 was given. An attack needs 1 step or more"),
        ({"attack_step_size": "1/x"}, r"--attack-step-size '1/x' is no number"),
        (
            {"adv_loss": "trades", "branches": ("weak", "clean")},
            r"--adv-loss trades with the branches weak, clean: .*Use --br",
        ),
        ({"adv_loss": "trades", "branches": ("adv",)}, r"--adv-loss trades with the branches adv: it compares"),
        ({"adv_loss": "trades", "trades_beta": 0.0}, r"--trades-beta 0.0: a weight above 0 is needed"),
        ({"adv_loss": "trades", "attack_start": False}, r"--adv-loss trades with --no-attack-start: these exclude"),
        ({"adv_loss": "trades", "attack_mode": "train"}, r"--adv-loss trades with --attack-mode train: these exclude"),
        (
            {"attack_mode": "train", "mix": "cutmix"},
            r"--attack-mode train with --mix cutmix: these exclude.*Leave one out",
        ),
        (
            {"branches": ("clean", "advv")},
            r"no view makes the branch 'advv': one of clean, weak, strong, adv, stylized is needed.*'adv'",
        ),
    ],
)
def test_what_cannot_be_trained(changes: dict[str, Any], message: str):
    config = configured(**{**small.CONFIG, **ADV, **changes})
    with pytest.raises(ValueError, match=message):
        check(config, small.images()[0])


def test_the_model_of_a_shared_norm_is_plain():
    made = recipe(norm="shared")
    assert branches_of(made.model) == ()


def test_sandwiches_have_statistics_per_branch_and_affines_that_do_not_decay():
    made = recipe(norm="sandwich", weight_decay=0.1)
    site: Any = made.model.get_submodule("bn1")
    assert site.running_mean.shape == (32,)
    assert [group["weight_decay"] for group in made.optimizer.param_groups] == [0.1, 0.0]
    free = {id(p) for p in made.optimizer.param_groups[1]["params"]}
    assert {id(p) for p in site.parameters()} <= free
    held = [id(p) for group in made.optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in made.model.parameters())
    convolutions = [p for p in made.model.parameters() if p.ndim > 1]
    assert not free & {id(p) for p in convolutions}
    plain = recipe(norm="split", weight_decay=0.1)
    assert [group["weight_decay"] for group in plain.optimizer.param_groups] == [0.1]


def test_sandwiches_start_as_published_if_asked():
    drawn, again = (recipe(norm="sandwich", sandwich_init="published", seed=3).model for _ in range(2))
    sites = [site for site in drawn.modules() if isinstance(site, SandwichBatchNorm)]
    scales = torch.cat([t.detach() for site in sites for t in (site.weight, site.branch_weight) if t is not None])
    assert_close(scales.mean().item(), 1.0, atol=0.01, rtol=0)
    assert_close(scales.std().item(), 0.02, atol=0.004, rtol=0)
    assert all(torch.equal(a, b) for a, b in zip(drawn.parameters(), again.parameters(), strict=True))
    plain = recipe(norm="sandwich", seed=3).model
    assert all(bool((site.weight == 1).all()) for site in plain.modules() if isinstance(site, SandwichBatchNorm))
    with pytest.raises(ValueError, match=r"--sandwich-init published with --norm split: .*Leave it out"):
        recipe(norm="split", sandwich_init="published")


def test_training_sandwiches(tmp_path: Any):
    run = small.start(tmp_path, norm="sandwich", **{**ADV, "attack_steps": 1})
    named = open_run(run.path)
    assert named.classifier.branches == ("clean", "adv")
    plain = named.classifier.folded("adv").eval()
    x = torch.rand(4, 3, 16, 16)
    with renorm.route(named.classifier.model.eval(), "adv"), torch.no_grad():
        assert_close(named.classifier.model(x), plain(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"affine"):
        recipe(norm="sandwich", share=("affine",))


def test_attacks_are_made_before_images_are_mixed():
    made = recipe(mix="exchange", exchange_probability=1.0, attack_steps=1)
    made.model.train()
    batches = iter(made.batches(0, 0))
    for numbers in (
        made.step(next(batches)),
        made.step(next(batches)),
    ):  # the second with the exchange of the first behind it
        assert torch.isfinite(torch.tensor(list(numbers.values()))).all()
        assert numbers["own_label"] == 0.5

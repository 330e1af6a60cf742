"""The game of a generator and a discriminator: whose turn it is, what resuming and sampling change, and averages that fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import renorm
from renorm.data import Images
from renorm.layers import sites_of
from renorm.recipes.generate import Config
from renorm.recipes.generate.network import TABLES, calling, made_by
from renorm.recipes.generate.recipe import CRITIC, GENERATOR, Generation, hinge
from renorm.testing import same, trained
from renorm.train import Event, Run, train

SMALL = Config(
    "made", width=2, critic_width=2, latent=4, steps=4, each=2, batch=3, generated=4, critic_steps=2, measured=8
)


def made(classes: int = 3) -> Images:
    pixels = torch.randint(0, 256, (10, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return Images("made", pixels, torch.arange(10) % classes, [f"c{k}" for k in range(classes)])


def game(config: Config = SMALL, **changes: Any) -> Generation:
    return Generation(replace(config, **changes), made(), device="cpu")


def played(folder: Path, stop: int = 0, sampling: bool = False, **changes: Any) -> Run:
    def sample(recipe: Any, _: Event) -> None:
        if sampling:
            made_by(recipe.generator.eval(), *recipe.noise(3, 0, 0))
            recipe.generator.train()

    return trained(lambda: game(**changes), folder, stop, sample)


@pytest.mark.parametrize("stop", [1, 3])
@pytest.mark.parametrize("norm", ["shared", "sandwich"])
def test_a_stopped_game_goes_on_to_the_same_bits(tmp_path: Path, norm: str, stop: int):
    options: Any = {"norm": norm, "save_every": 1, "model": "biggan" if norm == "shared" else "autogan"}
    assert same(played(tmp_path / "whole", **options), played(tmp_path / "other", stop, **options))


def test_sampling_in_evaluation_changes_nothing(tmp_path: Path):
    assert same(played(tmp_path / "whole"), played(tmp_path / "other", sampling=True))


def test_the_hinge_is_as_published():
    x = torch.tensor([-2.0, -0.5, 0.3, 1.5])
    assert hinge(x, torch.full((4,), -9.0)).item() == pytest.approx(1.3)
    assert hinge(torch.full((4,), 9.0), x).item() == pytest.approx(1.075)


def test_each_step_moves_one_network_and_leaves_no_gradient(monkeypatch: pytest.MonkeyPatch):
    recipe, moved = game(), []
    for name in (CRITIC, GENERATOR):
        inner: Any = recipe.optimizers[name].step

        def step(name: str = name, inner: Any = inner) -> None:
            before = {k: [p.detach().clone() for p in net.parameters()] for k, net in recipe.networks.items()}
            inner()
            now = {k: list(net.parameters()) for k, net in recipe.networks.items()}
            moved.append(
                (
                    name,
                    {k for k in before if any(not torch.equal(a, b) for a, b in zip(before[k], now[k], strict=True))},
                )
            )

        monkeypatch.setattr(recipe.optimizers[name], "step", step)
    recipe.step(next(iter(recipe.batches(0, 0))))
    assert moved == [(CRITIC, {CRITIC}), (CRITIC, {CRITIC}), (GENERATOR, {GENERATOR})]
    assert all(p.grad is None and p.requires_grad for net in recipe.networks.values() for p in net.parameters())


def test_arms_of_a_seed_start_from_equal_convolutions_and_meet_equal_discriminators():
    arms = [game(norm=norm) for norm in ("shared", "conditional", "sandwich")]
    for arm in arms[1:]:
        for name, module in arm.generator.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                assert torch.equal(module.weight, arms[0].generator.get_submodule(name).weight)  # pyright: ignore[reportArgumentType]
        for key, value in arm.critic.state_dict().items():
            assert torch.equal(value, arms[0].critic.state_dict()[key])
    scales = torch.cat([site.affine_of(row)[0] for _, site in sites_of(arms[1].generator) for row in range(3)])  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert 0 < scales.std() < 0.1


def test_tables_have_a_rate_of_their_own_where_they_are_to():
    recipe = game(norm="conditional", table_factor=2.0)
    assert recipe.rates(0) == {GENERATOR: 2e-4, CRITIC: 2e-4, TABLES: 4e-4}
    own = sum(p.numel() for group in recipe.optimizers[TABLES].param_groups for p in group["params"])
    assert own == sum(p.numel() for _, site in sites_of(recipe.generator) for p in site.own_parameters(0).values())
    assert game(norm="conditional").optimizers.keys() == {GENERATOR, CRITIC}


def test_the_average_has_statistics_that_fit_its_weights(tmp_path: Path):
    recipe = game()
    run = Run(tmp_path / "run")
    run.start(recipe.describe())
    train(recipe, run)
    assert recipe.average is not None
    model, batches = recipe.average.model, [recipe.noise(4, -1, number) for number in range(2)]
    before = renorm.Bank.of(model)
    bank = renorm.measure(model, batches, **calling(model))
    for name, site in bank.sites.items():
        assert_close(site.mean, before.sites[name].mean)
        assert_close(site.var, before.sites[name].var)
    stale = renorm.Bank.of(recipe.generator)
    assert max(before.distance(stale).values()) > 0.01


def test_noise_is_of_the_seed_and_the_step_alone():
    one, other = game(), game()
    other.noise(3, 0, 0)
    assert all(torch.equal(a, b) for a, b in zip(one.noise(3, 7, 1), other.noise(3, 7, 1), strict=True))
    assert not torch.equal(one.noise(3, 7, 1)[0], one.noise(3, 7, 2)[0])


def test_what_cannot_be_generated_is_refused():
    with pytest.raises(ValueError, match="1 classes and 0 images without one"):
        Generation(SMALL, made(1), device="cpu")
    unknown = replace(made(), labels=torch.full((10,), -1))
    with pytest.raises(ValueError, match="10 images without one"):
        Generation(SMALL, unknown, device="cpu")
    odd = replace(made(), pixels=torch.zeros(10, 3, 20, 20, dtype=torch.uint8))
    with pytest.raises(ValueError, match="of 20 pixels was asked for"):
        Generation(SMALL, odd, device="cpu")
    recipe = game()
    with torch.no_grad():
        next(recipe.generator.parameters()).fill_(torch.nan)
    with pytest.raises(
        FloatingPointError,
        match=r"the loss became nan at .* Lower --rate and --critic-rate, or train with --precision no",
    ):
        recipe.step(next(iter(recipe.batches(0, 0))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "--steps 0: 1 or more is needed. Change it"),
        ({"rate": 0.0}, "--rate 0.0: a positive number is needed"),
        ({"average": 1.0}, "--average 1.0: 0 or more, below 1 is needed"),
        ({"save_every": -1}, "--save-every -1: 0 or more is needed"),
        ({"steps": 5}, "--steps 5 with --each 2: records are of equal length. Make one a multiple"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        game(**changes)


def test_a_training_shorter_than_a_record_is_one_record():
    assert game(steps=1, each=500).plan.total == 1
    oblong = replace(made(), pixels=torch.zeros(10, 3, 16, 32, dtype=torch.uint8))
    with pytest.raises(
        ValueError, match=r"images of 16 x 32 pixels: generators make squares. Give a size, as --size 32"
    ):
        Generation(SMALL, oblong, device="cpu")

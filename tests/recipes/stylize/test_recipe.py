"""Training a decoder: published losses, what gets gradients, and the same bits after a stop."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close

from renorm.data import Images, load
from renorm.functional import adain
from renorm.models import Decoder, Encoder
from renorm.recipes.order import in_turn
from renorm.recipes.stylize import Config
from renorm.recipes.stylize.recipe import NETWORK, Cut, Stylization, losses, reconstruction, style_loss
from renorm.testing import same, trained

WIDTHS = (2, 2, 3, 3, 4, 4, 4, 4, 6)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    encoder = Encoder(WIDTHS)
    for p in encoder.parameters():
        if p.ndim == 4:
            torch.nn.init.kaiming_normal_(p)
    save_file(encoder.state_dict(), path)
    return Config("made", "made", str(path), affine=True, steps=4, each=2, batch=2, size=24, crop=16, rate=1e-2)


def made(number: int, seed: int) -> Images:
    pixels = torch.randint(0, 256, (number, 3, 20, 28), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    return Images("made", pixels, torch.full((number,), -1), [])


def recipe_of(config: Config, **changes: Any) -> Stylization:
    return Stylization(replace(config, **changes), made(5, 0), made(3, 1), device="cpu")


@pytest.mark.parametrize("stop", [1, 3])
def test_a_stopped_run_goes_on_to_the_same_bits(config: Config, tmp_path: Path, stop: int):
    config = replace(config, reconstruct=2, save_every=1)
    whole = trained(lambda: recipe_of(config), tmp_path / "whole")
    assert same(whole, trained(lambda: recipe_of(config), tmp_path / "other", stop))
    assert "reconstruction" in whole.history()[0]
    assert "content" in whole.history()[1]


def given(b: float) -> Tensor:
    n = torch.arange(6 * 4 * 6, dtype=torch.float64).view(6, 4, 2, 3)
    samples, c = torch.arange(6.0).view(6, 1, 1, 1), torch.arange(4.0).view(1, 4, 1, 1)
    return (0.7 * n + b).sin() + 0.5 * (0.13 * n**2 / (1 + n) + samples).cos() + 0.2 * c - 0.3 * samples


def test_the_style_loss_is_the_published_one():
    x, s = given(0.0), 1.5 * given(1.7) + 0.3
    assert style_loss({"a": x}, {"a": s}).item() == pytest.approx(0.4391918 + 0.2540243, abs=2e-6)


def test_losses_are_their_formulas_and_only_the_decoder_and_the_affine_learn(config: Config):
    recipe = recipe_of(config)
    batch = next(iter(recipe.batches(0, 0)))
    net = recipe.net
    found = losses(net, batch.contents, batch.styles)
    target = adain(net.encoder(batch.contents), net.encoder(batch.styles), net.weight, net.bias)
    assert_close(found["content"], (net.encoder(net.decoder(target)) - target).square().mean())
    (found["content"] + found["style"]).backward()
    assert all((p.grad is not None) == p.requires_grad for p in net.parameters())
    assert not any(p.requires_grad for p in net.encoder.parameters())
    trains = {id(p) for group in recipe.optimizers[NETWORK].param_groups for p in group["params"]}
    assert trains == {id(p) for p in net.parameters() if p.requires_grad}


def test_an_attached_target_gives_the_affine_another_gradient(config: Config):
    recipe = recipe_of(config)
    batch = next(iter(recipe.batches(0, 0)))
    gradients = []
    for attach in (False, True):
        loss = losses(recipe.net, batch.contents, batch.styles, attach=attach)["content"]
        gradients.append(torch.autograd.grad(loss, [recipe.net.get_parameter("weight")])[0])
    assert (gradients[0] - gradients[1]).norm() > 1e-3 * gradients[0].norm()


def test_both_arms_take_the_same_draws_and_begin_alike(config: Config):
    plain, sandwich = recipe_of(config, affine=False), recipe_of(config)
    for a, b in zip(plain.batches(0, 0), sandwich.batches(0, 0), strict=True):
        assert torch.equal(a.contents, b.contents)
        assert torch.equal(a.styles, b.styles)
        first = [losses(recipe.net, a.contents, a.styles) for recipe in (plain, sandwich)]
        assert all(torch.equal(first[0][key], first[1][key]) for key in first[0])


def test_an_affine_that_begins_at_random_does_not_begin_alike(config: Config):
    plain, sandwich = recipe_of(config, affine=False), recipe_of(config)
    with torch.no_grad():
        sandwich.net.get_parameter("weight").normal_(1, 0.02, generator=torch.Generator().manual_seed(0))
    batch = next(iter(plain.batches(0, 0)))
    first = [losses(recipe.net, batch.contents, batch.styles) for recipe in (plain, sandwich)]
    assert first[0]["content"] != first[1]["content"]


def test_a_cut_keeps_the_ratio_of_sides():
    picture = torch.zeros(3, 20, 60, dtype=torch.uint8)
    picture[:, :, 30:] = 255
    x = Cut(40, 40)(picture)
    assert x.shape == (3, 40, 40)
    assert Cut(20, 16)(picture).shape == (3, 16, 16)
    assert 0 <= x.min() <= x.max() <= 1
    small = Cut(32, 32)(torch.zeros(3, 9, 9, dtype=torch.uint8))
    assert small.shape == (3, 32, 32)  # enlarged


def test_all_examples_are_seen_before_any_again():
    shown = torch.cat([in_turn(10, step * 4, 4, 0) for step in range(5)])
    assert sorted(shown[:10].tolist()) == sorted(shown[10:].tolist()) == list(range(10))
    assert not torch.equal(shown[:10], shown[10:])
    assert not torch.equal(in_turn(10, 0, 10, 0, "a"), in_turn(10, 0, 10, 0, "b"))


def test_a_decoder_that_does_not_fit_its_encoder_is_told(data_folder: Path):
    encoder, decoder = (
        str(data_folder / f"weights/vgg19-quarter-{name}.safetensors") for name in ("encoder", "decoder")
    )
    photos = load(data_folder / "photos/photos.parquet", size=96).subset(range(3))
    config = Config("made", "made", encoder, decoder, size=96, crop=96)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = Stylization(config, photos, photos, device="cpu").net
    pictures = torch.stack([photos[i][0] for i in range(3)]) / 255
    assert 18 < reconstruction(net, pictures) < 25
    with torch.no_grad():
        net.encoder.get_parameter("conv4_1.weight").mul_(3)
        net.encoder.get_parameter("conv4_1.bias").mul_(3)
    assert reconstruction(net, pictures) < 15


def test_what_cannot_be_trained_is_refused(config: Config):
    for crop in (20, 8, 32):
        with pytest.raises(ValueError, match=f"a crop of {crop} from pictures of 24"):
            recipe_of(config, crop=crop)
    with pytest.raises(ValueError, match="no encoder were named"):
        recipe_of(config, encoder="")
    path = Path(config.encoder).with_name("decoder.safetensors")
    save_file(Decoder((*WIDTHS[:-1], 8)).state_dict(), path)
    with pytest.raises(ValueError, match="of the widths"):
        recipe_of(config, decoder=str(path))

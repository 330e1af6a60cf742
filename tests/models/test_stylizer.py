"""Styles as banks: the laws of mixing, tiles, sizes, frames and masks, each with the naive way that breaks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close

import renorm
from renorm import functional
from renorm.banks import Bank, Statistics
from renorm.models import Decoder, Encoder, Stylizer
from renorm.models.stylizer import SITE, reach

WIDTHS = (4, 4, 6, 6, 8, 8, 8, 8, 10)


def made(**options: Any) -> Stylizer:
    torch.manual_seed(0)
    net = Stylizer(Encoder(WIDTHS), Decoder(WIDTHS), **options).double().eval()
    for p in net.parameters():
        if p.ndim == 4:
            torch.nn.init.kaiming_normal_(p)
    return net


def picture(height: int = 32, width: int = 40, seed: int = 1, n: int = 1) -> Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def of(mean: Tensor, std: Tensor, eps: float = 1e-5) -> Bank:
    return Bank({SITE: Statistics(mean, std.square() - eps)})


def parts(bank: Bank) -> tuple[Tensor, Tensor]:
    site = bank.sites[SITE]
    return site.mean, (site.var + 1e-5).sqrt()


def test_it_is_adain_between_encoder_and_decoder():
    net, x, s = made(), picture(n=2), picture(24, 24, seed=2)
    target = functional.adain(net.encoder(x), net.encoder(s))
    assert_close(net(x, net.style(s)), net.decoder(target))


def test_an_affine_is_between_both_and_begins_as_none():
    net, x, s = made(affine=True), picture(), picture(seed=2)
    plain = made()
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if k not in ("weight", "bias")})
    assert torch.equal(net(x, net.style(s)), plain(x, plain.style(s)))
    assert net.weight is not None
    assert net.bias is not None
    with torch.no_grad():
        net.weight.fill_(1.5)
        net.bias.fill_(0.2)
    expected = net.decoder(functional.adain(net.encoder(x), net.encoder(s), net.weight, net.bias))
    assert_close(net(x, net.style(s)), expected)
    assert torch.equal(net(x, net.style(s), alpha=0.0), net.decoder(net.encoder(x)))


def test_mixing_is_linear_in_means_and_deviations_not_in_variances():
    net, x = made(), picture()
    one, other = (net.style(picture(seed=seed)) for seed in (2, 3))
    (mean_a, std_a), (mean_b, std_b) = parts(one), parts(other)
    mixed = of(0.3 * mean_a + 0.7 * mean_b, 0.3 * std_a + 0.7 * std_b)
    assert_close(net(x, {one: 0.3, other: 0.7}), net(x, mixed))
    assert_close(net(x, {one: 3.0, other: 7.0}), net(x, mixed))
    assert_close(net(x, one, alpha=0.4), net(x, {one: 0.4, net.style(x): 0.6}))
    by_variance = of(0.3 * mean_a + 0.7 * mean_b, (0.3 * std_a**2 + 0.7 * std_b**2).sqrt())
    with pytest.raises(AssertionError):
        assert_close(net(x, by_variance), net(x, mixed), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [(9, 9), (16, 9), (17, 40), (33, 31)])
def test_a_result_has_the_pictures_size(size: tuple[int, int]):
    net = made()
    y = net(picture(*size), net.style(picture(seed=2)))
    assert y.shape == (1, 3, *size)
    assert y.isfinite().all()


@pytest.mark.parametrize("tile", [64, 80, 1000])
def test_tiles_with_the_moments_of_the_whole_are_the_whole(tile: int):
    net, x = made(), picture(150, 201)
    style = net.style(picture(seed=2))
    assert_close(net.tiled(x, style, tile=tile), net(x, style), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("halo", [0, 32])
def test_a_smaller_halo_is_seen(monkeypatch: pytest.MonkeyPatch, halo: int):
    net, x = made(), picture(150, 201)
    style = net.style(picture(seed=2))
    assert reach() == 64
    monkeypatch.setattr("renorm.models.stylizer.reach", lambda: halo)
    with pytest.raises(AssertionError):
        assert_close(net.tiled(x, style, tile=64), net(x, style), rtol=1e-6, atol=1e-6)


def test_a_batch_is_its_pictures_one_by_one():
    net, x = made(), picture(n=3)
    style = net.style(picture(seed=2))
    assert_close(net(x, style), torch.cat([net(one[None], style) for one in x]))


def test_a_flat_picture_stays_flat():
    net = made()
    y = net(torch.full((1, 3, 24, 32), 0.4, dtype=torch.float64), net.style(picture(seed=2)))
    assert_close(y, y[..., :1, :1].expand_as(y))


def test_the_naive_ways_break_the_laws_of_sizes_tiles_batches_and_flatness(monkeypatch: pytest.MonkeyPatch):
    net, x, style = made(), picture(33, 31), made().style(picture(seed=2))
    assert net.decoder(net.encoder(x)).shape[2:] == (32, 24)  # without padding and cropping
    large = picture(64, 160)
    whole = net(large, style)
    apart = torch.cat([net(part, style) for part in large.split(80, 3)], 3)  # moments of each tile
    pooled = net(picture(n=3), style, own=net.style(list(picture(n=3))))  # moments of the batch
    with pytest.raises(AssertionError):
        assert_close(apart, whole, rtol=1e-2, atol=1e-2)
    with pytest.raises(AssertionError):
        assert_close(pooled, net(picture(n=3), style), rtol=1e-2, atol=1e-2)
    full = {style: torch.ones(36, 44, dtype=torch.float64)}
    expected = net(picture(36, 44), style)

    def with_padding(mask: Tensor, features: Tensor) -> Tensor:
        height, width = (8 * side for side in features.shape[-2:])
        padded = torch.nn.functional.pad(mask, (0, width - mask.shape[-1], 0, height - mask.shape[-2]))
        return torch.nn.functional.avg_pool2d(padded[:, None], 8)[:, 0]

    monkeypatch.setattr("renorm.models.regions.over_cells", with_padding)
    with pytest.raises(AssertionError):
        assert_close(net(picture(36, 44), full), expected, rtol=1e-3, atol=1e-3)
    for module in net.decoder.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.padding_mode = "zeros"
    y = net.decoder(net.encoder(torch.full((1, 3, 24, 32), 0.4, dtype=torch.float64)))
    with pytest.raises(AssertionError):
        assert_close(y, y[..., :1, :1].expand_as(y), rtol=1e-3, atol=1e-3)


def test_deviations_are_enlarged_no_more_than_asked_for():
    net, x, style = made(), 0.5 + 0.05 * picture(), made().style(picture(seed=2))
    f = net.encoder(x)
    free, own = net.target(f, style, 1.0, None, (32, 40)), f.std((2, 3))
    assert (free.std((2, 3)) > 2 * own + 1e-6).any()
    net.bound = 2.0
    bound = net.target(f, style, 1.0, None, (32, 40))
    assert (bound.std((2, 3)) <= 2.001 * own + 1e-6).all()
    assert_close(bound.mean((2, 3)), free.mean((2, 3)))


def test_a_network_is_read_from_one_file_that_holds_it(tmp_path: Path):
    net, x = made(affine=True).float(), picture().float()
    save_file({key: t.contiguous() for key, t in net.state_dict().items()}, tmp_path / "net.safetensors")
    again = Stylizer.load(tmp_path / "net.safetensors")
    assert torch.equal(again(x, again.style(x)), net(x, net.style(x)))
    save_file(net.encoder.state_dict(), tmp_path / "encoder.safetensors")
    with pytest.raises(ValueError, match=r"and no decoder was given.*Name the decoder's file too"):
        Stylizer.load(tmp_path / "encoder.safetensors")


def test_frames_with_the_same_moments_do_not_flicker():
    net, one = made(), picture(24, 400)
    other = one.clone()
    other[..., 320:] = picture(24, 80, seed=9)
    style, own = net.style(picture(seed=2)), net.style(one)
    first, second = (net(x, style, own=own)[..., : 320 - reach()] for x in (one, other))
    assert torch.equal(first, second)
    with pytest.raises(AssertionError):
        assert_close(*(net(x, style)[..., : 320 - reach()] for x in (one, other)))


def test_a_full_mask_is_no_mask_and_regions_have_their_own_moments():
    net, x = made(), picture(36, 44)
    one, other = (net.style(picture(seed=seed)) for seed in (2, 3))
    full = torch.ones(36, 44, dtype=torch.float64)
    assert_close(net(x, {one: full}), net(x, one))
    left = full.clone()
    left[:, 24:] = 0
    features = net.encoder(torch.nn.functional.pad(x, (0, 4, 0, 4), mode="reflect"))
    target = net.target(features, {one: left, other: 1 - left}, 1.0, None, (36, 44))
    mean, std = parts(one)
    part = target[..., :3].flatten(2)[0]
    assert_close(part.mean(1), mean)
    assert_close(part.std(1), std, rtol=1e-3, atol=4e-3)  # of a channel that never fires the root of eps
    rest = net.target(features, {one: left}, 1.0, None, (36, 44))
    assert_close(rest[..., 3:], features[..., 3:])
    small = torch.zeros_like(full)
    small[:8, :8] = 1
    with pytest.raises(ValueError, match=r"cells of 8 x 8 pixels. Moments need two"):
        net(x, {one: small})


def test_pooled_pictures_weigh_by_their_size_and_transparent_pixels_do_not_count():
    net = made()
    one, other = picture(32, 32, seed=2)[0], picture(16, 48, seed=3)[0]
    pooled = net.style([one, other])
    features = torch.cat([net.encoder(x[None]).flatten(2) for x in (one, other)], 2)[0]
    assert_close(pooled.sites[SITE].mean, features.mean(1))
    assert_close(pooled.sites[SITE].var, features.var(1))
    assert (pooled.samples, pooled.sites[SITE].count) == (2, 28)
    assert pooled.data == "pictures of 16 x 48, 32 x 32"
    mask = torch.ones(32, 32)
    mask[:, 16:] = 0
    found = net.style([one], masks=[mask]).sites[SITE]
    assert_close(found.mean, net.encoder(one[None])[0, :, :, :2].flatten(1).mean(1))
    assert found.count == 8


def test_a_style_is_saved_compared_and_refused_by_another_encoder(tmp_path: Path):
    net, x = made(), picture()
    style = net.style(picture(seed=2))
    loaded = Bank.load(style.save(tmp_path / "style.safetensors"))
    assert torch.equal(net(x, loaded), net(x, style))
    assert style.distance(net.style(picture(seed=3)))[SITE] > 0
    with torch.no_grad():
        net.encoder.get_parameter("conv1_1.weight").mul_(1.01)
    with pytest.raises(ValueError, match="a style of another encoder"):
        net(x, loaded)
    wrong = Bank({"relu3_1": style.sites[SITE]})
    with pytest.raises(ValueError, match="no style of this encoder"):
        net(x, wrong)


def test_gradients_reach_the_decoder_and_the_affine_through_the_frozen_encoder():
    net, x = made(affine=True), picture()
    y = net(x, net.style(picture(seed=2)))
    net.encoder(y).square().mean().backward()
    assert net.weight is not None
    assert net.weight.grad is not None
    assert all(p.grad is not None for p in net.decoder.parameters())
    assert all(p.grad is None for p in net.encoder.parameters())


def test_what_cannot_be_stylized_is_refused():
    net = made()
    style = net.style(picture(seed=2))
    with pytest.raises(ValueError, match="sides of at least 9"):
        net(picture(8, 30), style)
    with pytest.raises(ValueError, match="Tiles are of one"):
        net.tiled(picture(n=2), style)
    with pytest.raises(ValueError, match="a weight above 0"):
        net(picture(), {style: 0.0})
    with pytest.raises(ValueError, match=r"a mask of shape \(3, 3\)"):
        net(picture(), {style: torch.ones(3, 3)})
    with pytest.raises(ValueError, match="no picture was given"):
        net.style([])
    with pytest.raises(ValueError, match="a decoder of"):
        Stylizer(Encoder(WIDTHS), Decoder((*WIDTHS[:-1], 12)))


def test_colours_are_kept_by_a_style_picture_of_the_contents_colours():
    net, content, painting = made(), picture(), picture(20, 28, seed=2)
    same = functional.match_colors(painting, content)
    assert_close(same.mean((2, 3)), content.mean((2, 3)))
    assert net(content, renorm.models.Stylizer.style(net, same)).shape == content.shape


def given(b: float) -> Tensor:
    n = torch.arange(6 * 4 * 6, dtype=torch.float64).view(6, 4, 2, 3)
    samples, c = torch.arange(6.0).view(6, 1, 1, 1), torch.arange(4.0).view(1, 4, 1, 1)
    return (0.7 * n + b).sin() + 0.5 * (0.13 * n**2 / (1 + n) + samples).cos() + 0.2 * c - 0.3 * samples


def numbers(t: Tensor) -> list[float]:
    weighed = t.flatten() * (0.31 * torch.arange(t.numel(), dtype=torch.float64)).cos()
    return [t.sum().item(), weighed.sum().item(), t.flatten()[0].item()]


def test_mixtures_are_the_published_ones():
    widths = (*WIDTHS[:-1], 4)
    net = Stylizer(Encoder(widths), Decoder(widths))
    x, s = given(0.0), 1.5 * given(1.7) + 0.3
    styles = [of(one.flatten(1).mean(1), (one.flatten(1).var(1) + 1e-5).sqrt()) for one in s]
    mixed = torch.cat([net.target(one[None], bank, 0.3, None, (16, 24)) for one, bank in zip(x, styles, strict=True)])
    assert numbers(mixed) == pytest.approx([-62.788753, 1.326004, 0.317672], abs=2e-5)
    three = net.target(x[:1], dict(zip(styles, (0.5, 0.25, 0.25), strict=False)), 1.0, None, (16, 24))
    assert numbers(three) == pytest.approx([9.975566, -0.365160, -0.683234], abs=2e-5)

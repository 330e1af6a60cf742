"""``renorm stylize`` and ``renorm style`` as a user meets them: sizes, transparency, folders, Parquet, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from renorm import Bank
from renorm.data import load
from renorm.functional import match_colors
from renorm.models import Stylizer
from tests.cli.conftest import Command, Result
from tests.data.pictures import structs, write_parquet
from tests.recipes.stylize.networks import files

Say = Callable[..., Result]


@pytest.fixture
def net(tmp_path: Path) -> Stylizer:
    return Stylizer.load(*files(tmp_path))


@pytest.fixture
def say(renorm_command: Command, net: Stylizer, tmp_path: Path) -> Say:
    """The command with a network."""

    def run(*options: object) -> Result:
        encoder, decoder = (tmp_path / f"{name}0.safetensors" for name in ("encoder", "decoder"))
        return renorm_command("stylize", encoder, "--decoder", decoder, *options)

    return run


def drawn(path: Path, height: int = 20, width: int = 28, mode: str = "RGB", **options: Any) -> Path:
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(path.name.encode())
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, len(mode)), dtype=np.uint8)
    Image.fromarray(pixels[..., 0] if mode == "L" else pixels, mode).save(path, **options)
    return path


def pixels(path: Path) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def given(path: Path) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None] / 255


def eight_bits(y: Tensor) -> Tensor:
    return (y[0].detach().clamp(0, 1) * 255).round().byte()


@pytest.mark.parametrize("size", [(9, 9), (20, 33)])
def test_a_picture_of_any_size_is_what_the_network_gives(
    say: Say, net: Stylizer, tmp_path: Path, size: tuple[int, int]
):
    content, painting = drawn(tmp_path / "a.png", *size), drawn(tmp_path / "b.png", 16, 24)
    result = say("--content", content, "--style", painting, "--out", "out.png", "--alpha", "0.7", "--json")
    assert result.status == 0, result.err
    expected = net(given(content), net.style(given(painting)), alpha=0.7)
    assert_close(pixels(tmp_path / "out.png"), eight_bits(expected), rtol=0, atol=1)
    assert json.loads(result.out)["pictures"] == 1
    tiled = say("--content", content, "--style", painting, "--out", "tiled.png", "--alpha", "0.7", "--memory", "0.01")
    assert tiled.status == 0, tiled.err
    assert_close(pixels(tmp_path / "tiled.png"), pixels(tmp_path / "out.png"), rtol=0, atol=1)


def test_a_large_picture_in_tiles_is_the_whole(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    content, painting = drawn(tmp_path / "a.png", 250, 300), drawn(tmp_path / "b.png")
    assert say("--content", content, "--style", painting, "--out", "whole.png").status == 0
    sides = []
    tiled = Stylizer.tiled
    monkeypatch.setattr(Stylizer, "tiled", lambda *a, **k: sides.append(k["tile"]) or tiled(*a, **k))
    assert say("--content", content, "--style", painting, "--out", "tiled.png", "--memory", "0.0024").status == 0
    assert sides == [72]
    assert_close(pixels(tmp_path / "tiled.png"), pixels(tmp_path / "whole.png"), rtol=0, atol=1)
    masked = ("--masks", content, "--memory", "0.0024", "--out", "masked.png")
    assert "a.png: masks were given, and it takes more" in say("--content", content, "--style", painting, *masked).err
    result = say("--content", content, "--style", painting, "--out", "none.png", "--memory", "0.001")
    assert "a.png: 0.001 GB of memory were allowed. The smallest tiles need 0.0021. Allow as much" in result.err


def test_transparency_comes_back_and_is_not_in_the_style(say: Say, net: Stylizer, tmp_path: Path):
    content, painting = drawn(tmp_path / "a.png", mode="RGBA"), tmp_path / "b.png"
    picture = np.full((32, 32, 4), 255, dtype=np.uint8)
    picture[:, :16] = np.random.default_rng(0).integers(0, 256, (32, 16, 4), dtype=np.uint8)
    picture[:, :16, 3], picture[:, 16:, 3] = 255, 0
    Image.fromarray(picture).save(painting)
    assert say("--content", content, "--style", painting, "--out", "out.png").status == 0
    assert torch.equal(pixels(tmp_path / "out.png")[3], pixels(content)[3])
    opaque = torch.ones(32, 32)
    opaque[:, 16:] = 0
    x = pixels(content)
    x = torch.where(x[3] > 0, x[:3], 255)[None] / 255
    style = net.style(torch.from_numpy(picture[..., :3].copy()).permute(2, 0, 1)[None] / 255, [opaque])
    assert_close(pixels(tmp_path / "out.png")[:3], eight_bits(net(x, style)), rtol=0, atol=1)
    result = say("--content", content, "--style", painting, "--out", "out.jpg")
    assert result.status == 1
    assert "a.png has transparency, and JPEG has none: a PNG file is needed. Write PNG" in result.err
    assert not (tmp_path / "out.jpg").exists()


def test_grey_turned_and_sixteen_bit_pictures(say: Say, tmp_path: Path):
    painting = drawn(tmp_path / "b.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = drawn(tmp_path / "in" / "turned.jpg", 12, 30, exif=exif)
    drawn(tmp_path / "in" / "grey.png", mode="L")
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 160).save(tmp_path / "in" / "wide.png")
    result = say("--content", tmp_path / "in", "--style", painting, "--out", "out")
    assert result.status == 0, result.err
    assert pixels(tmp_path / "out" / turned.name).shape == (3, 30, 12)
    assert pixels(tmp_path / "out" / "grey.png").shape == (3, 20, 28)
    assert pixels(tmp_path / "out" / "wide.png").shape == (3, 20, 20)


def test_a_folder_keeps_names_and_classes(say: Say, tmp_path: Path):
    for name in ("cat/a.png", "cat/b.jpg", "dog/c.bmp"):
        drawn(tmp_path / "in" / name)
    painting = drawn(tmp_path / "p" / "b.png")
    result = say("--content", "in", "--style", tmp_path / "p", "--out", "out")
    assert result.status == 0, result.err
    assert "3 pictures in the style of" in result.out
    found, before = load("out"), load("in")
    assert found.classes == before.classes
    assert found.labels.tolist() == before.labels.tolist()
    assert found.files == ["a.png", "b.jpg", "c.png"]
    about = json.loads((tmp_path / "out" / ".stylized.json").read_text())
    assert about["styles"] == {str(tmp_path / "p"): 1.0}
    again = say("--content", "in", "--style", painting, "--out", "out")
    assert "--out out is there already: a place of its own is needed" in again.err


def test_parquet_keeps_its_columns(say: Say, tmp_path: Path):
    columns = {"image": structs([10, 200, 90], side=16), "label": [1, 0, 1]}
    write_parquet(tmp_path / "in" / "train.parquet", columns, {"label": ["cat", "dog"]})
    painting = drawn(tmp_path / "b.png")
    result = say("--content", "in", "--style", painting, "--out", "out")
    assert result.status == 0, result.err
    found, before = load("out", "train"), load("in", "train")
    assert found.classes == before.classes == ["cat", "dog"]
    assert found.labels.tolist() == [1, 0, 1]
    assert not torch.equal(found[0][0], before[0][0])
    schema = pyarrow.parquet.read_schema(tmp_path / "out" / "train.parquet")
    assert "styles" in json.loads(schema.metadata[b"renorm"])
    one = say("--content", "in/train.parquet", "--style", painting, "--out", "one.parquet")
    assert one.status == 0, one.err
    assert torch.equal(load("one.parquet")[0][0], found[0][0])
    assert "Call it two.parquet" in say("--content", "in/train.parquet", "--style", painting, "--out", "two").err


def test_mixtures_masks_colours_and_moments_arrive(say: Say, net: Stylizer, tmp_path: Path):
    content, own = drawn(tmp_path / "a.png", 24, 32), drawn(tmp_path / "own.png", 24, 32)
    one, other = (drawn(tmp_path / f"{name}.png", 16, 24) for name in "pq")
    banks = [net.style(given(path)) for path in (one, other)]
    mask = np.zeros((24, 32), dtype=np.uint8)
    mask[:, :16] = 255
    for name, values in (("left", mask), ("right", 255 - mask)):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    left = torch.from_numpy(mask) / 255
    x = given(content)
    cases = {
        ("--style", f"{one}=0.3", f"{other}=0.7"): net(x, {banks[0]: 0.3, banks[1]: 0.7}),
        ("--style", one, other, "--masks", "left.png", "right.png"): net(x, {banks[0]: left, banks[1]: 1 - left}),
        ("--style", one, "--keep-colors"): net(x, net.style(match_colors(given(one), x))),
        ("--style", one, "--own", own): net(x, banks[0], own=net.style(given(own))),
    }
    for i, (options, expected) in enumerate(cases.items()):
        result = say("--content", content, *options, "--out", f"{i}.png")
        assert result.status == 0, result.err
        assert_close(pixels(tmp_path / f"{i}.png"), eight_bits(expected), rtol=0, atol=1)
    net.bound = 0.5
    assert say("--content", content, "--style", one, "--bound", "0.5", "--out", "bound.png").status == 0
    assert_close(pixels(tmp_path / "bound.png"), eight_bits(net(x, banks[0])), rtol=0, atol=1)


def test_one_style_is_drawn_for_each_by_the_seed(say: Say, tmp_path: Path):
    picture = drawn(tmp_path / "in" / "0.png")
    for i in range(1, 6):
        (tmp_path / "in" / f"{i}.png").write_bytes(picture.read_bytes())
    for name in "pqr":
        drawn(tmp_path / "paintings" / f"{name}.png")
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        result = say("--content", "in", "--style", "paintings", "--draw", "--seed", seed, "--out", out)
        assert result.status == 0, result.err
        assert "6 pictures in the style of 3 styles, one drawn for each" in result.out
    found = {out: [path.read_bytes() for path in sorted((tmp_path / out).glob("*.png"))] for out in "abc"}
    assert found["a"] == found["b"] != found["c"]
    assert 1 < len({*found["a"]}) <= 3


def test_a_style_is_a_bank(say: Say, renorm_command: Command, net: Stylizer, tmp_path: Path):
    one, other = (drawn(tmp_path / "p" / f"{name}.png", 16, 24) for name in "pq")
    result = renorm_command("style", "encoder0.safetensors", "--pictures", "p", "--out", "p.safetensors")
    assert result.status == 0, result.err
    assert "the style of 2 pictures: pictures of 16 x 24" in result.out
    bank, expected = Bank.load(tmp_path / "p.safetensors"), net.style([given(one)[0], given(other)[0]])
    assert expected.distance(bank)["relu4_1"] < 1e-6
    content = drawn(tmp_path / "a.png")
    assert say("--content", content, "--style", "p.safetensors", "--out", "out.png").status == 0
    assert_close(pixels(tmp_path / "out.png"), eight_bits(net(given(content), expected)), rtol=0, atol=1)
    assert renorm_command("show", "p.safetensors").status == 0
    files(tmp_path, 1)
    renorm_command("style", "encoder1.safetensors", "--pictures", "p", "--out", "other.safetensors")
    result = say("--content", content, "--style", "other.safetensors", "--out", "never.png")
    assert result.err.startswith("renorm: other.safetensors: ")
    assert "a style of another encoder" in result.err


def test_what_cannot_be_stylized_names_its_file_and_leaves_nothing(say: Say, renorm_command: Command, tmp_path: Path):
    painting = drawn(tmp_path / "b.png")
    drawn(tmp_path / "small" / "s.png", 8, 30)
    whole = drawn(tmp_path / "damaged" / "a.jpg", 64, 64).read_bytes()
    (tmp_path / "damaged" / "b.jpg").write_bytes(whole[: len(whole) // 2])
    drawn(tmp_path / "same" / "a.bmp")
    drawn(tmp_path / "same" / "a.png")
    drawn(tmp_path / "both" / "a.png")
    (tmp_path / "both" / "b.safetensors").write_bytes(b"")
    drawn(tmp_path / "tiny.png", 10, 40)
    drawn(tmp_path / "mask.png", 10, 10)
    a, out = ("--content", painting), ("--out", "out")
    cases = [
        (("--content", "small", "--style", painting, *out), "s.png has 30 x 8 pixels: at least 9 a side are needed"),
        (("--content", "damaged", "--style", painting, *out), "b.jpg cannot be decoded"),
        (("--content", "same", "--style", painting, *out), "a.bmp and a.png, which would both become a.png"),
        (("--content", "nowhere", "--style", painting, *out), "there is nothing at nowhere"),
        ((*a, "--style", "both", "--out", "out.png"), "both has banks (b.safetensors, ...), and a folder is one style"),
        ((*a, "--style", "tiny.png", "--out", "out.png"), "tiny.png: pictures of shape (1, 3, 10, 40) were given"),
        ((*a, "--style", painting, "--memory", "1e-5", "--out", "out.png"), "pixels, whose features take"),
        ((*a, "--style", painting, "--masks", "mask.png", "--out", "out.png"), "b.png: a mask of shape (10, 10)"),
        ((*a, "--out", "out.png"), "no style was named: pictures need one. Add --style FILE"),
        ((*a, "--style", painting, "--out", "out.webp"), "a name that ends in .png is needed. Call it out.png"),
        ((*a, "--style", f"{painting}=-1", "--out", "out.png"), "weights of at least 0 are needed, one of them above"),
        ((*a, "--style", painting, "--masks", "mask.png", "mask.png", "--out", "out.png"), "2 masks and 1 styles"),
    ]
    before = {path.name for path in tmp_path.iterdir()}
    for options, message in cases:
        result = say(*options)
        assert result.status == 1, options
        assert message in result.err
    assert {path.name for path in tmp_path.iterdir()} == before
    assert (
        "no decoder was given" in renorm_command("stylize", "encoder0.safetensors", *a, "--style", painting, *out).err
    )
    assert "no run in small" in renorm_command("stylize", "small", *a, "--style", painting, *out).err

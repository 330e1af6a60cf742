"""A style is a bank of one site: measure it, pool it, compare it, mix it, keep it, and give it to a picture.

    python examples/05_styles_as_banks.py                                          random weights, to see how it goes
    python examples/05_styles_as_banks.py vgg_normalised.pth decoder.pth stylized.png

Contents and styles are scikit-learn's two photographs and a pattern. Prints how far styles are apart, that mixing is linear in
standard deviations, and that tiles are the whole picture. Seconds on one core; needs `pip install '.[recipes]'`.
"""

import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image
from sklearn.datasets import load_sample_image

import renorm
from renorm.functional import match_colors
from renorm.models import Decoder, Encoder, Stylizer

WIDTHS = (4, 4, 8, 8, 8, 8, 8, 8, 16)


def photograph(name, step=2):
    pixels = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)[None] / 255
    return pixels[..., ::step, ::step].contiguous()


def pattern(size=128):
    """Waves of two colours."""
    y, x = torch.meshgrid(torch.arange(size) / 9, torch.arange(size) / 9, indexing="ij")
    wave = ((x + 2 * (y / 3).sin()).sin() > 0).float()
    return torch.stack([wave, 0.3 + 0.4 * wave, 1 - wave])[None]


def opened(files):
    if files:
        return Stylizer.load(*files)
    torch.manual_seed(0)
    return Stylizer(Encoder(WIDTHS), Decoder(WIDTHS)).eval()


@torch.no_grad()
def main():
    net, content, flower, waves = opened(sys.argv[1:3]), photograph("china.jpg"), photograph("flower.jpg"), pattern()
    styles = {
        "flower": net.style(flower),
        "waves": net.style(waves),
        "flower, half the size": net.style(flower[..., ::2, ::2]),
    }
    print("how far from the flower, in its standard deviations")
    for name, style in styles.items():
        print(f"  {name:22s} {styles['flower'].distance(style)['relu4_1']:.2f}")
    both = renorm.merge([styles["flower"], styles["waves"]])  # one style of two pictures; a mixture is of two styles
    print(f"pooled: {both.samples} pictures, {both.sites['relu4_1'].count:,} cells")

    mixed = net(content, {styles["flower"]: 0.5, styles["waves"]: 0.5})
    own_colours = net(content, net.style(match_colors(waves, content)))
    print(f"kept colours: mean {own_colours.mean():.2f}, of the content {content.mean():.2f}")

    with tempfile.TemporaryDirectory() as folder:
        path = styles["waves"].save(Path(folder) / "waves.safetensors")
        again = net(content, renorm.Bank.load(path))
    stylized = net(content, styles["waves"])
    print(
        f"from its file of {len(net.style(waves).sites['relu4_1'].mean)} channels: the same {torch.equal(again, stylized)}"
    )

    tiles = net.tiled(content, styles["waves"], tile=96)
    print(f"in tiles: within {(tiles - stylized).abs().max() / stylized.abs().max():.0e} of the whole")
    if len(sys.argv) > 3:
        picture = (torch.cat([content, stylized, mixed], 3)[0].clamp(0, 1) * 255).round().byte()
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(sys.argv[3])


if __name__ == "__main__":
    main()

"""A style network as a file: any style, any batch, any sides, equal at sizes that it was not compared on."""

import re
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from renorm.export import write_stylizer
from renorm.models import Decoder, Encoder, Stylizer
from renorm.models.stylizer import SITE

WIDTHS = (2, 2, 3, 3, 4, 4, 4, 4, 6)


def made() -> Stylizer:
    torch.manual_seed(0)
    net = Stylizer(Encoder(WIDTHS), Decoder(WIDTHS), affine=True).eval()
    for p in net.parameters():
        torch.nn.init.kaiming_normal_(p) if p.ndim == 4 else torch.nn.init.uniform_(p, 0.5, 1.5)
    return net


def run(path: Path, *inputs: Tensor) -> Tensor:
    """What a file gives, without renorm."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(*inputs)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = dict(zip(("images", "mean", "std"), (x.numpy() for x in inputs), strict=True))
    return torch.from_numpy(session.run(["pictures"], given)[0])


@pytest.mark.parametrize("suffix", [".pt2", pytest.param(".onnx", marks=pytest.mark.slow)])
def test_one_file_gives_any_style_at_any_size(suffix: str, tmp_path: Path):
    net = made()
    written = write_stylizer(net, tmp_path / f"net{suffix}")
    assert re.search(r"batches of 2 of 32 x 40 pixels and 1 of 16 x 16 pixels and 3 of 48 x 24 pixels", repr(written))
    for shape in [(1, 3, 64, 16), (5, 3, 16, 72)]:
        images, bank = torch.rand(shape), net.style(torch.rand(1, 3, 32, 32))
        site = bank.sites[SITE]
        found = run(written.path, images, site.mean, (site.var + net.eps).sqrt())
        assert_close(found, net(images, bank), rtol=1e-4, atol=1e-5)
        with pytest.raises(AssertionError):
            assert_close(run(written.path, images, site.mean, site.var + 1), found, rtol=1e-4, atol=1e-5)

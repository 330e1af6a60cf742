"""What is frozen: each case trains, adapts, measures or exports something small, and gives tensors and numbers by name."""

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import cache, partial
from hashlib import sha256
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.golden import library
from tests.golden.library import renorm

Frozen = dict[str, Any]
Case = Callable[[], Frozen]

BRANCHES = ["weak", "strong"]
STEPS = 10


def digest(tensors: Iterable[Tensor]) -> str:
    """A hash of the bytes of tensors."""
    found = sha256()
    for each in tensors:
        found.update(each.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def under(prefix: str, found: Frozen) -> Frozen:
    """The same with longer names."""
    return {f"{prefix}/{name}": value for name, value in found.items()}


# Training


def training(**options: Any) -> Frozen:
    """Ten steps: losses and gradients of each, then all parameters and buffers, and a validation."""
    given = {"data": "digits", "model": "resnet8", "branches": ("weak", "clean"), "epochs": 2, "batch": 32}
    images = library.digits("train", 160), library.digits("test", 60)
    if options.get("branches") == ("domains",):
        images = library.domains(images[0]), library.domains(images[1])
    made = library.Training(*images, **{**given, "rate": 0.05, **options})
    found: Frozen = {}
    for step in range(STEPS):
        numbers = made.step(step)
        gradients = {name: p.grad for name, p in made.model.named_parameters() if p.grad is not None}
        norm = torch.stack([g.double().norm() for g in gradients.values()]).norm().item()
        found[f"step {step}"] = numbers | {"gradient": norm, "gradients": digest(gradients.values())}
        if step in (0, STEPS - 1):
            found |= under(f"gradient {step}", gradients)
    found["trained"] = made.finish()
    found |= under("state", library.state(made.model))
    return found if made.evaluated is made.model else found | under("averaged", library.state(made.evaluated))


ADVERSARIAL = {"branches": ("clean", "adv"), "attack_steps": 2, "eps": "32/255"}
EXCHANGE = {"exchange_probability": 0.6}
IMAGES = {"image_probability": 0.6}
MIXES: dict[str, dict[str, Any]] = {
    "exchange": EXCHANGE,
    "cutmix": IMAGES,
    "mixup": IMAGES,
    "exchange+cutmix": EXCHANGE | IMAGES,
}
DOMAINS: dict[str, Any] = {"branches": ("domains",), "batch": 32}


def trained() -> Iterator[tuple[str, Case]]:
    """All ways to train a classifier."""
    for norm in ("shared", "split", "sandwich"):
        yield f"train {norm}", partial(training, norm=norm)
        yield f"train {norm} adversarial", partial(training, norm=norm, **ADVERSARIAL)
        yield f"train {norm} domains", partial(training, norm=norm, **DOMAINS)
    for mix, options in MIXES.items():
        for norm in ("shared", "split"):
            yield f"train {norm} {mix}", partial(training, norm=norm, mix=mix, **options)
    yield "train sandwich exchange+cutmix", partial(training, norm="sandwich", mix="exchange+cutmix", **EXCHANGE)
    for shared in ("affine", "statistics"):
        yield f"train split, shared {shared}", partial(training, share=(shared,))
    statistics: dict[str, Any] = {"norm": "sandwich", "share": ("statistics",)}
    yield "train sandwich, shared statistics", partial(training, **statistics)
    yield "train sandwich domains, shared statistics", partial(training, **statistics, **DOMAINS)
    yield "train split trades", partial(training, adv_loss="trades", **ADVERSARIAL)
    yield "train split attacked in training mode", partial(training, attack_mode="train", **ADVERSARIAL)
    yield "train split channels_last", partial(training, memory_format="channels_last")
    yield "train split averaged", partial(training, ema=0.9, ema_images=64)
    yield "train split accumulated", partial(training, accumulate=3, keep_last=True, label_smoothing=0.1)
    yield "train split exchange of channels", partial(training, mix="exchange", exchange_over="in", mix_across=True)
    yield "train three branches", partial(training, branches=("weak", "strong", "clean"), batch=48, decay_norms=False)
    yield "train wide", partial(training, model="wrn-10-1", branches=("weak", "strong"), strong="augmix")


# Adapting and measuring


@cache
def source() -> nn.Module:
    """A plain network trained on a few digits, by plain PyTorch."""
    torch.manual_seed(1)
    model = library.create("resnet8", num_classes=10).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9)
    images = library.digits("train", 640)
    for _ in range(2):
        for rows in torch.arange(len(images)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(pixels(rows)), images.labels[rows]).backward()
            optimizer.step()
    return model.eval()


def pixels(rows: Tensor, corruption: str | None = None, severity: int = 3) -> Tensor:
    """Digits as a network takes them, clean or corrupted."""
    images = library.digits("train", 1280)
    x = images.batch(rows)[0].float() / 255
    x = library.corrupt(x, corruption, severity, rows.tolist()) if corruption else x
    return (x - torch.tensor(images.mean).view(3, 1, 1)) / torch.tensor(images.std).view(3, 1, 1)


def network(norm: str = "plain") -> nn.Module:
    """The source as it is, or with branches, the second of which has other statistics and another affine."""
    model = deepcopy(source())
    if norm == "plain":
        return model
    if norm == "split":
        renorm.split_(model, BRANCHES)
    else:
        renorm.sandwich_(model, BRANCHES, share=() if norm == "sandwich" else ("statistics",))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                half = len(parameter) // 2
                parameter[half:] *= 1 + 0.1 * torch.randn(len(parameter) - half, generator=generator)
    renorm.recalibrate_(model, [pixels(torch.arange(128), "contrast")], branch="strong")
    return model


NORMS = ("plain", "split", "sandwich", "sandwich, shared statistics")


def branch_of(norm: str) -> str | None:
    return None if norm == "plain" else "strong"


def routed(model: nn.Module, x: Tensor, branch: str | None) -> Tensor:
    """What a model says, without gradients."""
    with torch.no_grad():
        if branch is None:
            return model(x)
        with renorm.route(model, branch):
            return model(x)


def adapting(norm: str, corruption: str | None, **options: Any) -> Frozen:
    """Statistics, outputs and report of adapting to 32 images."""
    model, branch = network(norm), branch_of(norm)
    rows = torch.arange(640, 672)
    adaptation = renorm.adapt_(model, pixels(rows, corruption), branch=branch, **options)
    found = {"output": adaptation.output, "source weight": adaptation.source_weight, "distance": adaptation.distance}
    found |= {"others": routed(model, pixels(rows + 32, corruption), branch)} | under("state", library.state(model))
    adaptation.undo()
    return found | under("undone", library.state(model))


def adapted() -> Iterator[tuple[str, Case]]:
    """Adapting with a fixed prior and by default, to clean and to corrupted images."""
    for norm in NORMS:
        yield f"adapt {norm}, fixed", partial(adapting, norm, "contrast", prior=16)
        yield f"adapt {norm}, default", partial(adapting, norm, "contrast")
    yield "adapt plain, default, to clean images", partial(adapting, "plain", None)
    yield "adapt plain, replacing", partial(adapting, "plain", "fog", prior=0)
    yield "adapt plain, means only", partial(adapting, "plain", "fog", prior=16, only="mean")


def streaming(norm: str, **options: Any) -> Frozen:
    """An adapter over 50 batches of 8, the corruption switching half way; it is saved and loaded on the way."""
    model, branch = network(norm), branch_of(norm)
    adapter, found = renorm.Adapter(model, branch=branch, **options), {}
    outputs, weights = [], []
    for step, rows in enumerate(torch.arange(640, 1040).split(8)):
        outputs.append(adapter(pixels(rows, "gaussian_noise" if step < 25 else "contrast", 4)))
        weights.append(adapter.source_weight)
        if step == 30:
            adapter = resumed(adapter, model)
        if step in (24, 49):
            found |= under(f"state {step}", library.state(model))
    found |= {"outputs": torch.cat(outputs), "source weights": weights, "resets": adapter.num_resets}
    found |= {"events": [list(each) for each in adapter.events], "worth": adapter.effective_images}
    found |= {"distance": {name: list(each) for name, each in adapter.distance.items()}}
    adapter.close()
    return found | under("closed", library.state(model))


def resumed(adapter: Any, model: nn.Module) -> Any:
    with TemporaryDirectory() as folder:
        saved = adapter.save(Path(folder) / "adapter.safetensors")
        adapter.close()
        return renorm.Adapter.load(model, saved)


def tent(norm: str) -> Frozen:
    """Entropy minimized over some batches."""
    model = network(norm)
    adapter, found = renorm.Tent(model, branch=branch_of(norm)), {}
    batches = torch.arange(640, 960).split(64)
    found["outputs"] = torch.cat([adapter(pixels(rows, "contrast")) for rows in batches])
    return found | under("state", library.state(model))


def streams() -> Iterator[tuple[str, Case]]:
    """Streams of images."""
    for norm in NORMS:
        yield f"stream {norm}", partial(streaming, norm)
        yield f"tent {norm}", partial(tent, norm)
    yield "stream plain, fixed", partial(streaming, "plain", prior=16)
    yield "stream plain, back to the source", partial(streaming, "plain", on_change="source", memory=64)


def measuring(norm: str, **options: Any) -> Frozen:
    """A bank over uneven batches, installed."""
    model, branch = network(norm), branch_of(norm)
    batches = [pixels(rows, "fog") for rows in torch.arange(640, 740).split(32)]
    bank = renorm.measure(model, batches, branch=branch, **options)
    renorm.install_(model, bank, branch=branch)
    found = under("bank", library.bank_tensors(bank)) | under("state", library.state(model))
    return found | {"output": routed(model, batches[0], branch)}


def merging() -> Frozen:
    """Two banks merged, blended and borrowed, and how far apart they are."""
    model = network()
    batches = [
        pixels(rows, name)
        for rows, name in zip(torch.arange(640, 760).split(40), ("fog", "snow", "frost"), strict=True)
    ]
    a, b = renorm.measure(model, batches[:2]), renorm.measure(model, batches[2:])
    merged, blended = renorm.merge([a, b]), renorm.blend(renorm.Bank.of(model), a, prior=64)
    found = under("merged", library.bank_tensors(merged)) | under("blended", library.bank_tensors(blended))
    with renorm.using(model, merged):
        found["borrowed"] = routed(model, batches[0], None)
    return found | {"distance": a.distance(b)} | under("state", library.state(model))


def predicting(norm: str, **options: Any) -> Frozen:
    """Statistics of the batch at prediction time, with gradients through them."""
    model, branch, x = network(norm), branch_of(norm), pixels(torch.arange(640, 656), "fog").requires_grad_()
    with renorm.prediction_time(model, branch=branch, **options):
        y = model(x)
        y.square().mean().backward()
    return {"output": y, "gradient": x.grad} | under("state", library.state(model))


def folding(norm: str) -> Frozen:
    """One branch as a plain model, and another added."""
    model, x = network(norm), pixels(torch.arange(640, 656))
    plain = renorm.fold(model, "strong", probe=x)
    renorm.add_branch_(model, "clean", like="strong")
    outputs = {"folded": routed(plain, x, None), "added": routed(model, x, "clean")}
    return outputs | under("state", library.state(plain)) | under("grown", library.state(model))


def attacking(norm: str) -> Frozen:
    """Attacked images."""
    model, branch, rows = network(norm), branch_of(norm), torch.arange(640, 656)
    images = library.digits("train", 1280)
    x, y = images.batch(rows)[0].float() / 255, images.labels[rows]
    found = {"fgsm": library.fgsm(model, x, y, branch=branch, eps=16 / 255)}
    found["pgd"] = library.pgd(model, x, y, branch=branch, steps=3, random=rows.tolist())
    return found | {"l2": library.pgd(model, x, y, branch=branch, steps=3, ball="l2", eps=0.5)}


def measured() -> Iterator[tuple[str, Case]]:
    """Banks, and what is made of them."""
    for norm in NORMS:
        yield f"measure {norm}", partial(measuring, norm)
        yield f"measure {norm}, two passes", partial(measuring, norm, passes=2)
        yield f"predict {norm}", partial(predicting, norm, prior=4)
        yield f"attack {norm}", partial(attacking, norm)
    for norm in NORMS[1:]:
        yield f"fold {norm}", partial(folding, norm)
    yield "predict each image", partial(predicting, "plain", prior=16, per_image=True)
    yield "merge", merging


# Layers and functions


def site(kind: str, share: tuple[str, ...], shape: tuple[int, ...], dtype: torch.dtype, last: bool) -> Frozen:
    """A site under each route, in training and then in evaluation, forward and backward."""
    generator = torch.Generator().manual_seed(3)
    made: Any = library.SplitBatchNorm if kind == "split" else library.SandwichBatchNorm
    norm = made(shape[1], ["a", "b", "c"], share=share)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    x = 3 + torch.randn(shape, generator=generator)
    g = torch.randn(shape, generator=generator).to(dtype)
    layout: Any = {4: torch.channels_last, 5: torch.channels_last_3d}.get(len(shape)) if last else None
    x = x.to(dtype) if layout is None else x.to(dtype, memory_format=layout)
    labels = torch.arange(len(x)) * 5 % 3
    found: Frozen = {}
    for name, route in {"b": ("b",), "in turn": ("a", "c"), "blocks": blocks(len(x)), "labels": (labels,)}.items():
        for mode in (True, False):
            norm.train(mode)
            seen = passed(norm.to(torch.float64 if dtype == torch.float64 else torch.float32), route, x, g)
            found |= under(f"{name} {'training' if mode else 'evaluation'}", seen)
    return found | under("state", library.state(norm))


def blocks(num: int) -> tuple[dict[str, int]]:
    return ({"c": num // 4, "a": num - num // 4},)


def passed(norm: nn.Module, route: tuple[Any, ...], x: Tensor, g: Tensor) -> Frozen:
    """Output and gradients; of large tensors a hash and some values."""
    norm.zero_grad()
    x = x.detach().requires_grad_()
    with renorm.route(norm, *route):
        y = norm(x)
        y.backward(g)
    gradients = {name: p.grad.clone() for name, p in norm.named_parameters() if p.grad is not None}
    return {**thinned("y", y), **thinned("gx", x.grad), "strides": list(y.stride()), **gradients}


def thinned(name: str, x: Tensor | None) -> Frozen:
    assert x is not None
    if x.numel() < 10_000:
        return {name: x}
    return {name: x.flatten()[::997], f"{name}, hash": digest([x])}


def function(over: Callable[[Tensor], Tensor], shape: tuple[int, ...], dtype: torch.dtype, last: bool) -> Frozen:
    """A function of features, forward and backward."""
    generator = torch.Generator().manual_seed(4)
    x = (1 + torch.randn(shape, generator=generator)).to(dtype)
    x = (x.contiguous(memory_format=torch.channels_last) if last else x).requires_grad_()
    y = over(x)
    y.backward(torch.randn(shape, generator=generator).to(dtype))
    return {**thinned("y", y), **thinned("gx", x.grad), "strides": list(y.stride())}


SITES = [
    ("split", ()),
    ("split", ("affine",)),
    ("split", ("statistics",)),
    ("sandwich", ()),
    ("sandwich", ("statistics",)),
]
SMALL, LARGE = (8, 6, 5, 7), (16, 24, 64, 64)
TYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


def sites(kind: str, share: tuple[str, ...]) -> Frozen:
    """A site over types, formats, ranks and sizes."""
    found: Frozen = {}
    for (name, dtype), last in product(TYPES.items(), (False, True)):
        found |= under(f"{name} {'last' if last else 'first'}", site(kind, share, SMALL, dtype, last))
    for shape in ((8, 6), (8, 6, 11), (8, 6, 2, 3, 5)):
        found |= under(f"{len(shape)}d", site(kind, share, shape, torch.float32, False))
    for last in (False, True):
        found |= under(f"large {'last' if last else 'first'}", site(kind, share, LARGE, torch.float32, last))
    return found


def exchanges(over: str) -> Frozen:
    """Moments exchanged and mixed, over types, formats and sizes."""
    groups = 2 if over in ("gn", "gpono") else None
    found: Frozen = {}
    for shape, (name, dtype), last in product((SMALL, LARGE), TYPES.items(), (False, True)):
        if shape == LARGE and dtype != torch.float32:
            continue
        donors = torch.arange(shape[0]).roll(3)
        settings: dict[str, dict[str, Any]] = {
            "": {},
            "detached": {"detach": True},
            "positive": {"positive_only": True},
        }
        for words, options in settings.items():
            call = partial(library.exchange, permutation=donors, over=over, groups=groups, **options)
            label = f"{name} {'last' if last else 'first'} {shape[2]} {words}"
            found |= under(label, function(call, shape, dtype, last))
    return found


def features() -> Frozen:
    """Mixed moments, normalization of positions and its inverse, and adaptive instance normalization."""
    generator = torch.Generator().manual_seed(5)
    weight, style = torch.rand(8, generator=generator), torch.randn(8, 6, 4, 4, generator=generator)
    donors = torch.arange(8).roll(3)
    calls: dict[str, Callable[[Tensor], Tensor]] = {
        "mixed channels": partial(library.mixed_moments, permutation=donors, weight=weight, over="in"),
        "mixed positions": partial(library.mixed_moments, permutation=donors, weight=weight, over="pono"),
        "positions": lambda x: library.pono(x)[0],
        "shortcut": lambda x: library.moment_shortcut(x.square(), library.pono(x)[1]),
        "style": lambda x: library.adain(x, style),
    }
    found: Frozen = {}
    for (words, call), last in product(calls.items(), (False, True)):
        found |= under(f"{words} {'last' if last else 'first'}", function(call, SMALL, torch.float32, last))
    return found


def corrupting() -> Frozen:
    """Every corruption of four digits, lightly and heavily."""
    x = library.digits("train", 4).batch(range(4))[0].float() / 255
    cells = product(library.CORRUPTIONS, (1, 4))
    return {f"{name} {severity}": library.corrupt(x, name, severity, [0, 1, 2, 3]) for name, severity in cells}


def layers() -> Iterator[tuple[str, Case]]:
    """What the networks are made of."""
    for kind, share in SITES:
        yield f"site {kind}{', shared ' * bool(share)}{' '.join(share)}", partial(sites, kind, share)
    for over in ("pono", "in", "ln", "gn", "gpono"):
        yield f"exchange {over}", partial(exchanges, over)
    yield "features", features
    yield "corruptions", corrupting


# Programs


def exporting(suffix: str) -> Frozen:
    """What an exported program says."""
    model, x = network("split"), pixels(torch.arange(640, 648))
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"model{suffix}"
        exported = library.export(renorm.fold(model, "strong", probe=x), path, x)
        return {"output": run_program(path, x), "error": exported.error, "tensors": exported.tensors}


def run_program(path: Path, x: Tensor) -> Tensor:
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(x)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return torch.from_numpy(output)


def demo() -> Frozen:
    """The demo's rows, weights, banks and files, after one epoch."""
    with TemporaryDirectory() as folder:
        run = library.demo(Path(folder) / "demo")
        found = library.table(run / "results.csv") | {"history": library.history(run)}
        found |= under("weights", library.weights_of_run(run))
        for name in ("run/banks/weak", "run/banks/strong", "adapted", "plain"):
            found |= under(name, library.numbers_of(Path(folder) / "demo" / f"{name}.safetensors"))
        x = pixels(torch.arange(8))
        return found | {"exported": run_program(Path(folder) / "demo" / "plain.pt2", x)}


def commands() -> Frozen:
    """A run by the commands, and what they make of it."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        run = folder / "run"
        train = ["--model", "resnet8", "--branches", "clean", "adv", "--norm", "sandwich", "--attack-steps", "1"]
        library.command("train", "--out", run, *train, "--epochs", 2, "--batch", 512, "--table-images", 0)
        banks = ["--banks", "clean", "weak@adv", "clean:0.5+adv:0.5", "--shifts", "weak", "contrast:4", "fgsm"]
        library.command("evaluate", run, *banks, "--num-images", 64, "--adapt", 16, "--out", folder / "table.csv")
        few = ["--images", "digits", "--branch", "adv", "--num-images", "24"]
        library.command("adapt", run, *few, "--prior", 8, "--bank", folder / "adapted.safetensors")
        library.command("recalibrate", run, *few, "--bank", folder / "recalibrated.safetensors")
        library.command("fold", run, "--branch", "adv", "--out", folder / "folded.safetensors")
        curve = ["--curve", "--draws", 2, "--sizes", 4, 16, "--out", folder / "curve.png", "--num-judged", 40]
        library.command("adapt", run, "--images", "digits", "--branch", "clean", *curve)
        found = library.table(folder / "table.csv") | {"history": library.history(run)}
        found |= under("weights", library.weights_of_run(run)) | {"curve": library.curve(folder / "curve.csv")}
        for file in ("adapted", "recalibrated", "folded", "run/banks/clean", "run/banks/adv"):
            found |= under(file, library.numbers_of(folder / f"{file}.safetensors"))
        return found


def programs() -> Iterator[tuple[str, Case]]:
    """What users run."""
    yield "export program", partial(exporting, ".pt2")
    yield "export onnx", partial(exporting, ".onnx")
    yield "demo", demo
    yield "commands", commands


CASES: dict[str, Case] = dict(
    case for kind in (trained, adapted, streams, measured, layers, programs) for case in kind()
)

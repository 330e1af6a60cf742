"""The weights that training starts from."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close

import renorm
from renorm.models import create
from renorm.notice import Notice
from renorm.recipes.classify import check, configured
from renorm.recipes.classify.start import begin, branched, build, fetch, pretrained, synchronized
from tests.recipes.classify import small


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "plain.safetensors"
    save_file({key: torch.randn_like(t.float()) for key, t in create("resnet8").state_dict().items()}, path)
    return path


def start(weights: str | Path, **changes: Any) -> nn.Module:
    return begin(configured(**{**small.CONFIG, "weights": str(weights), **changes}), small.images()[0]).model


def test_a_plain_file_starts_every_branch(plain: Path):
    model, given = start(plain), load_file(plain)
    assert_close(model.get_parameter("layer2.0.conv1.weight").data, given["layer2.0.conv1.weight"])
    assert_close(model.get_parameter("layer2.0.bn1.weight").data, given["layer2.0.bn1.weight"].repeat(2))
    assert_close(model.get_buffer("layer2.0.bn1.running_mean"), given["layer2.0.bn1.running_mean"].repeat(2))
    assert_close(start(plain, norm="shared").state_dict()["bn1.weight"], given["bn1.weight"])


def test_the_weights_of_a_run_start_the_same_branches_and_bring_their_normalization(tmp_path: Path):
    run = small.start(tmp_path / "run", epochs=2)
    (file,) = run.checkpoint.glob("*/model.safetensors")
    images = small.images(80)[0]
    other = type(images)(images.name, images.pixels, images.labels, images.classes)
    assert other.mean != images.mean
    config = configured(**{**small.CONFIG, "weights": str(file)})
    found = begin(config, other)
    assert tuple(found.mean) == images.mean
    assert_close(dict(found.model.state_dict()), run.load().weights["model"])
    with pytest.raises(
        ValueError, match=r"has the branches weak, clean: this model has clean, weak. .* same --branches"
    ):
        start(file, branches=("clean", "weak"))
    with pytest.raises(ValueError, match=r"this model has none, with shared norms. .* renorm fold --branch"):
        start(file, norm="shared")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("linear.bias"), r"another model .* only the model has linear.bias"),
        (lambda state: state.update(other=torch.ones(1)), r"only the file has other"),
        (lambda state: state.update({"bn1.bias": torch.ones(5)}), r"bn1.bias"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(plain: Path, change: Any, message: str):
    state = load_file(plain)
    change(state)
    save_file(state, plain)
    with pytest.raises(ValueError, match=message):
        start(plain)


def test_a_file_that_is_none_is_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no.safetensors is no file; weights are needed"):
        start(tmp_path / "no.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"12345")
    with pytest.raises(ValueError, match=r"cut.safetensors .* cannot be read as weights .* Copy or download it again"):
        start(tmp_path / "cut.safetensors")


def test_averaged_weights_of_a_file_are_taken_or_not(tmp_path: Path):
    file, (net, averaged) = tmp_path / "checkpoint.pth", (create("resnet8", num_classes=10) for _ in range(2))
    torch.save({"state_dict": net.state_dict(), "state_dict_ema": averaged.state_dict()}, file)
    options: dict[str, Any] = {"norm": "shared", "model": "resnet8"}
    with pytest.warns(Notice, match=r"state_dict_ema, are taken, as timm does \(--no-ema"):
        assert_close(start(file, **options).state_dict(), averaged.state_dict(), rtol=0, atol=0)
    assert_close(start(file, no_ema=True, **options).state_dict(), net.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(("weights", "said"), [(None, "no --weights"), ("pretrained", "--weights pretrained")])
def test_choosing_among_no_weights_is_refused(weights: str | None, said: str):
    with pytest.raises(ValueError, match=rf"--no-ema with {said}: .* name a file by --weights"):
        check(
            configured(**{**small.CONFIG, "weights": weights, "model": "timm:resnet18", "no_ema": True}),
            small.images()[0],
        )


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """What stands for the trained weights of a library: those of 1000 classes."""
    from torchvision.models import resnet18

    torch.manual_seed(5)
    weights = {key: torch.randn_like(t.float()) for key, t in resnet18().state_dict().items()}

    def made(name: str, num_classes: int | None = None, pretrained: bool = False) -> nn.Module:
        model = resnet18(num_classes=num_classes or 1000)
        if pretrained:
            model.load_state_dict(weights)
        return model

    monkeypatch.setattr("renorm.recipes.classify.start.create", made)
    monkeypatch.setattr("renorm.models.download.reachable", lambda url: True)
    return weights


def test_pretrained_weights_get_a_new_last_layer_and_branches(trained: dict[str, torch.Tensor]):
    model = start("pretrained", model="torchvision:resnet18")
    assert_close(model.get_parameter("bn1.weight").data, trained["bn1.weight"].repeat(2))
    assert_close(model.get_parameter("layer4.1.conv2.weight").data, trained["layer4.1.conv2.weight"])
    assert model.get_parameter("fc.weight").shape == (10, 512)


def test_pretrained_weights_bring_their_own_normalization(trained: dict[str, torch.Tensor]):
    config = configured(**{**small.CONFIG, "weights": "pretrained", "model": "timm:resnet18", "norm": "shared"})
    found = begin(config, small.images()[0])
    assert tuple(found.mean) == (0.485, 0.456, 0.406)


@pytest.mark.filterwarnings("ignore:The default weight init")
@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "mnasnet0_5"])
def test_torchvision_s_own_trained_weights(name: str, monkeypatch: pytest.MonkeyPatch):
    """Those that come with heads for training, and those that ask for a version."""
    import torchvision

    options: dict[str, Any] = {} if name == "mnasnet0_5" else {"aux_logits": True, "init_weights": False}
    weights = torchvision.models.get_model(name, **options).state_dict()
    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", lambda self, **how: weights)
    monkeypatch.setattr("renorm.models.download.reachable", lambda url: True)
    model = pretrained(f"torchvision:{name}", 10)
    found = model.state_dict()
    last = {key for key in found if found[key].shape != weights[key].shape}
    assert {found[key].shape[0] for key in last} == {10}
    assert len(last) == 2
    assert_close({k: v for k, v in found.items() if k not in last}, {k: weights[k] for k in found if k not in last})
    assert not any(key.lower().startswith("aux") for key in found)
    if options:
        assert vars(model)["transform_input"]
        assert vars(fetch(f"torchvision:{name}"))["transform_input"]
        model.train()(torch.randn(2, 3, 96, 96))
        again: Any = build(configured(model=f"torchvision:{name}", weights="pretrained", norm="shared"), 10)
        assert again.transform_input  # as a run is opened


def test_pretrained_weights_need_a_library_and_a_network(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match=r"--weights pretrained with resnet8: only timm: and torchvision: .* Name one"):
        start("pretrained")

    def unreachable(*args: Any, **options: Any) -> Any:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", unreachable)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    message = (
        r"trained weights of torchvision:resnet18 could not be fetched \(ConnectionError: .*\): .* add --weights FILE"
    )
    with pytest.raises(OSError, match=message):
        start("pretrained", model="torchvision:resnet18")


class Unknown(nn.BatchNorm2d):
    """A norm of a class that nobody knows."""


def test_norms_of_all_processes_keep_their_plain_names():
    model = synchronized(build(configured(model="resnet8", norm="shared"), 10))
    plain = create("resnet8").state_dict()
    assert {key for key in model.state_dict() if not key.endswith(".branches")} == plain.keys()
    assert renorm.fold(model, "source").state_dict().keys() == plain.keys()
    converted = synchronized(branched(create("resnet8"), configured(sync_bn=True)))
    sites = [module for module in converted.modules() if isinstance(module, renorm.layers.SplitBatchNorm)]
    assert len(sites) == 7
    assert all(site.sync == "world" for site in sites)


def test_norms_that_cannot_be_pooled_are_refused():
    with pytest.raises(ValueError, match=r"'1' \(Unknown\) has a class renorm does not know, and sync= was given"):
        synchronized(nn.Sequential(nn.Conv2d(3, 4, 1), Unknown(4)))

"""A stream's file: going on to the same numbers bit for bit, and refusing what does not fit."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch.testing import assert_close

import renorm
from renorm.adapt.file import FORMAT
from renorm.adapt.stream import Adapter
from tests.adapt.test_stream import changed, images
from tests.banks.models import small, unchanged


@pytest.mark.parametrize("prior", [9, "auto", float("inf")])
@pytest.mark.parametrize("sizes", [(40, 20), (3, 2), (20, 5, 1)])
def test_going_on_gives_the_same_numbers_bit_for_bit(tmp_path: Path, prior: Any, sizes: tuple[int, ...]):
    model, again = small(), small()
    adapter = Adapter(model, prior, memory=30, on_change="reset", invalid="skip")
    for i, size in enumerate(sizes):
        adapter(images(size, seed=i))
    other = Adapter.load(again, adapter.save(tmp_path / "stream.safetensors"))
    for key, value in model.state_dict().items():
        assert_close(again.state_dict()[key], value, rtol=0, atol=0)
    assert repr(other) == repr(adapter)
    assert (other.distance, other.events, other.change) == (adapter.distance, adapter.events, adapter.change)
    for i in range(6):
        x = images(7, seed=10 + i) if i < 3 else changed(images(20, seed=10 + i))
        assert_close(other(x), adapter(x), rtol=0, atol=0)
    assert (other.events, other.overall, other.num_resets) == (adapter.events, adapter.overall, adapter.num_resets)
    with unchanged(small()):
        other.close()
    for key, value in small().state_dict().items():
        assert_close(again.state_dict()[key], value, rtol=0, atol=0)


def test_a_stream_that_abstains_still_does(tmp_path: Path):
    adapter = Adapter(small(), 4, on_change="source")
    adapter(images(40))
    adapter(changed(images(40)))
    other = Adapter.load(small(), adapter.save(tmp_path / "it"))
    assert other.abstaining
    assert_close(other(images()), small().eval()(images()), rtol=0, atol=0)
    other.reset()
    other(images())
    assert not other.abstaining


def test_before_the_first_image_and_with_a_branch(tmp_path: Path):
    model = small()
    renorm.split_(model, ["weak", "strong"])
    other = copy.deepcopy(model)
    adapter = Adapter(model, 4, "strong")
    resumed = Adapter.load(other, adapter.save(tmp_path / "it"))
    assert_close(resumed(images()), adapter(images()), rtol=0, atol=0)
    assert renorm.Bank.of(other, "weak").distance(renorm.Bank.of(other, "strong"))["1"] > 0


def saved(folder: Path) -> Path:
    adapter = Adapter(small(), 4)
    adapter(images(20))
    return adapter.save(folder / "stream.safetensors")


def test_another_model_is_refused_and_stays_as_it_is(tmp_path: Path):
    path = saved(tmp_path)
    weights, statistics, affine = small(), small(), small()
    with torch.no_grad():
        weights[0].weight += 1
        statistics[5].running_var += 1
        affine[5].bias += 1
    for model in (weights, statistics, affine):
        with (
            unchanged(model),
            pytest.raises(ValueError, match=r"of a model with other weights or statistics\. .*close\(\)"),
        ):
            Adapter.load(model, path)
        Adapter(model).close()  # the refused one holds nothing
    adapted = small()
    renorm.adapt_(adapted, images())
    with pytest.raises(ValueError, match="other weights or statistics"):
        Adapter.load(adapted, path)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def of_another_kind(path: Path) -> None:
    renorm.Bank.of(small()).save(path)


def edited(path: Path, key: str, value: Any) -> None:
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if value is None:
        del tensors[key]
    else:
        tensors[key] = value
    path.write_bytes(safetensors.torch.save(tensors, metadata))


def without_a_part(path: Path) -> None:
    edited(path, "memory.record.adapted:5.spread", None)


def not_finite(path: Path) -> None:
    edited(path, "memory.record.adapted:5.spread", torch.full((7,), math.nan))


def of_another_shape(path: Path) -> None:
    edited(path, "memory.record.adapted:5.mean", torch.zeros(3, dtype=torch.float64))


def without_a_site(path: Path) -> None:
    for part in ("mean", "within", "spread", "scatter", "wobble"):
        edited(path, f"memory.record.adapted:5.{part}", None)


def pickled(path: Path) -> None:
    torch.save({"a": torch.ones(1)}, path)


def nonsense(path: Path) -> None:
    path.write_bytes(safetensors.torch.save({"a": torch.ones(1)}, {"format": FORMAT, "renorm": "{"}))


@pytest.mark.parametrize(
    "damage",
    [truncated, of_another_kind, without_a_part, not_finite, of_another_shape, without_a_site, pickled, nonsense],
    ids=lambda f: f.__name__,
)
def test_a_broken_file_is_refused_and_the_model_stays_as_it_is(tmp_path: Path, damage: Any):
    path, model = saved(tmp_path), small()
    damage(path)
    with (
        unchanged(model),
        pytest.raises(ValueError, match=r"cannot be read as an adapter: .*Start a new one by renorm"),
    ):
        Adapter.load(model, path)
    Adapter(model).close()


def test_no_file(tmp_path: Path):
    with pytest.raises(
        FileNotFoundError, match=r"no adapter at .*nothing\. It is a file made by Adapter\.save\. Check"
    ):
        Adapter.load(small(), tmp_path / "nothing")


def test_a_failed_save_keeps_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = saved(tmp_path)
    before = path.read_bytes()
    adapter = Adapter(small(), 4)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        adapter.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]

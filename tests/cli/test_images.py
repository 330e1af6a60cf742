"""What commands say of the images that they read."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from renorm.models import create
from renorm.recipes import open_named
from tests.cli.conftest import Command
from tests.data.pictures import write_image

NET = ("resnet8", "--weights", "w.safetensors", "--num-classes", "2")


@pytest.fixture
def dated(tmp_path: Path) -> Path:
    """Photographs in folders of days, and the weights of a network."""
    torch.manual_seed(0)
    save_file(create("resnet8", num_classes=2).state_dict(), tmp_path / "w.safetensors")
    for i in range(8):
        write_image(tmp_path / "dated" / f"2026-01-0{1 + i % 2}" / f"{i}.png", 16, 16, color=(30 * i, 9, 200))
    return tmp_path / "dated"


def test_labels_taken_from_folders_are_named(dated: Path, renorm_command: Command):
    result = renorm_command("adapt", *NET, "--images", dated)
    assert result.status == 0, result.err
    assert "labels from folders: 2026-01-01, 2026-01-02 (2 classes)" in result.out
    assert (
        f"note: the model's outputs have no names: the classes of {dated} are taken for them in the order 2026-01-01"
        in (result.out)
    )
    assert "8 images of" in result.out
    assert "from ImageNet's usual numbers" in result.out


def test_no_labels_are_taken_where_none_are_wanted(dated: Path, renorm_command: Command):
    write_image(dated / "loose.png", 16, 16)
    result = renorm_command("adapt", *NET, "--images", dated)
    assert result.status == 1
    assert "--no-labels" in result.err
    result = renorm_command("adapt", *NET, "--images", dated, "--no-labels", "--num-images", "4")
    assert result.status == 0, result.err
    assert "labels from" not in result.out
    assert "accuracy before" not in result.out
    assert "9 images of" in result.out


def test_damaged_images_and_other_files_are_lines(dated: Path, renorm_command: Command):
    (dated / "2026-01-01" / "9.png").write_bytes(b"")
    (dated / "2026-01-01" / "x.heic").write_bytes(b"")
    result = renorm_command("adapt", *NET, "--images", dated)
    assert result.status == 1
    assert "9.png cannot be decoded (it is empty)" in result.err
    result = renorm_command("adapt", *NET, "--images", dated, "--skip-damaged", "--json")
    assert result.status == 0, result.err
    assert "note: 1 of the 9 images of" in result.err
    assert "left out: 1 *.heic (Pillow does not read HEIC: convert them to JPEG)." in result.err
    found = json.loads(result.out)
    assert found["labels"].startswith("labels from folders")
    assert found["preprocessing"].endswith("from ImageNet's usual numbers")


def test_evaluating_skips_damaged_images_of_data_alone(dated: Path, renorm_command: Command):
    (dated / "2026-01-01" / "9.png").write_bytes(b"")
    result = renorm_command("evaluate", *NET, "--data", dated, "--shifts", "clean", "--skip-damaged")
    assert result.status == 0, result.err
    assert "note: 1 of the 9 images of" in result.out
    result = renorm_command("evaluate", *NET, "--shifts", dated, "--skip-damaged")
    assert (result.status, "--skip-damaged without --data: it would do nothing" in result.err) == (1, True)


def test_a_command_says_what_a_model_sees_and_its_table_keeps_it(dated: Path, renorm_command: Command):
    result = renorm_command("evaluate", *NET, "--data", dated, "--shifts", "clean", "--out", "t.csv")
    assert result.status == 0, result.err
    assert "mean 0.485 0.456 0.406 std 0.229 0.224 0.225, from ImageNet's usual numbers" in result.out


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("timm:resnet10t", (176, 176), "176 px, crop 0.875, bicubic, mean 0.485"),
        ("torchvision:mnasnet0_5", (224, 224), "224 px, crop 0.875, bilinear, mean 0.485"),
        ("torchvision:shufflenet_v2_x1_5", (224, 224), "224 px, crop 0.966, bilinear"),
    ],
)
def test_images_become_what_a_library_says(name: str, shape: tuple[int, int], said: str, tmp_path: Path):
    for i, size in enumerate(((80, 60), (640, 480))):
        write_image(tmp_path / "photos" / f"{i}.png", *size)
    save_file(create(name, num_classes=None).state_dict(), tmp_path / "w.safetensors")
    named = open_named(name, tmp_path / "w.safetensors")
    images = named.images(str(tmp_path / "photos"))
    assert {tuple(image.shape[1:]) for image, _ in images} == {shape}
    assert str(named.preprocessing).startswith(said)
    overridden = open_named(name, tmp_path / "w.safetensors", normalization=([0.5] * 3, [0.25] * 3))
    assert str(overridden.preprocessing).endswith("--mean and --std")
    assert overridden.classifier.mean == (0.5, 0.5, 0.5)

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from torch.utils.data import DataLoader

from renorm.data import Encoded, Images, ParquetImages, load
from renorm.extras import require
from renorm.models import create, load_weights
from renorm.notice import Notice
from tests.data.pictures import picture, structs, write_parquet


@pytest.mark.parametrize("column", ["image", "img", "picture"])
def test_the_hugging_face_layout(column: str, tmp_path: Path):
    columns = {"id": [7, 8, 9], column: structs([5, 6, 7]), "label": [1, 0, None]}
    path = write_parquet(tmp_path / "x.parquet", columns, {"label": ["cat", "dog"]})
    images = load(path)
    assert [(int(image[0, 0, 0]), label) for image, label in images] == [(5, 1), (6, 0), (7, -1)]
    assert images.classes == ["cat", "dog"]
    assert images.domains is None


@pytest.mark.parametrize(
    ("labels", "numbers", "classes"),
    [([2, 0], [2, 0], ["0", "1", "2"]), (["dog", "cat"], [1, 0], ["cat", "dog"]), (None, [-1, -1], [])],
)
def test_labels_without_names_as_names_or_missing(
    labels: list | None, numbers: list[int], classes: list[str], tmp_path: Path
):
    columns = {"image": structs([5, 6])} | ({} if labels is None else {"label": labels})
    images = load(write_parquet(tmp_path / "x.parquet", columns))
    assert images.labels.tolist() == numbers
    assert images.classes == classes


@pytest.mark.parametrize(
    ("train", "test", "numbers", "classes"),
    [
        (["ant", "bee", "cat"], ["cat", "bee"], [2, 1], ["ant", "bee", "cat"]),
        ([0, 1, 2], [1, 0], [1, 0], ["0", "1", "2"]),
    ],
)
def test_classes_are_those_of_all_splits(
    train: list, test: list, numbers: list[int], classes: list[str], tmp_path: Path
):
    write_parquet(tmp_path / "train.parquet", {"image": structs([1] * 3), "label": train})
    write_parquet(tmp_path / "test.parquet", {"image": structs([1] * 2), "label": test})
    images = load(tmp_path, "test")
    assert images.labels.tolist() == numbers
    assert images.classes == load(tmp_path, "train").classes == classes


def test_files_that_number_their_classes_otherwise_are_refused(tmp_path: Path):
    columns = {"image": structs([1]), "label": [0]}
    for name, classes in (("train", ["ant", "bee"]), ("test", ["bee", "cat"])):
        write_parquet(tmp_path / f"{name}.parquet", columns, {"label": classes})
    with pytest.raises(ValueError, match=r"call the classes of the column 'label' .* their numbers mean other classes"):
        load(tmp_path, "test")
    write_parquet(tmp_path / "test.parquet", {"image": structs([1]), "label": ["bee"]})
    write_parquet(tmp_path / "train.parquet", columns)
    with pytest.raises(ValueError, match=r"holds names in one file \(bee\) and numbers in another"):
        load(tmp_path, "test")


def test_columns_that_may_be_classes_are_told(tmp_path: Path):
    path = write_parquet(tmp_path / "x.parquet", {"image": structs([1]), "Label": [0], "target": [0]})
    with pytest.warns(Notice, match=r"no column of classes, called label, .* its columns Label, target are not read"):
        assert load(path).labels.tolist() == [-1]
    assert load(path, labels=False).labels.tolist() == [-1]  # no notice where none was asked for


def test_plain_binary_columns(tmp_path: Path):
    assert len(load(write_parquet(tmp_path / "x.parquet", {"jpg": [picture(8, 8)] * 2, "label": [0, 1]}))) == 2


def test_files_called_after_splits(tmp_path: Path):
    for name, grey in [("train-00000-of-00002", 1), ("train-00001-of-00002", 2), ("test-00000-of-00001", 3)]:
        write_parquet(tmp_path / "data" / f"{name}.parquet", {"image": structs([grey]), "label": [0]})
    assert [int(image[0, 0, 0]) for image, _ in load(tmp_path, "train")] == [1, 2]
    assert [int(image[0, 0, 0]) for image, _ in load(tmp_path, "test")] == [3]
    with pytest.raises(ValueError, match=r"has no split 'tran'\. It has test, train\. Use 'train'"):
        load(tmp_path, "tran")


def test_a_single_file_is_one_whole_or_divided(tmp_path: Path):
    path = write_parquet(tmp_path / "x.parquet", {"image": structs(list(range(10))), "label": [0] * 10})
    assert len(load(path)) == 10
    with pytest.raises(ValueError, match=r"x\.parquet has no splits: 'train' would be everything"):
        load(path, "train")
    assert [len(load(path, split, holdout=0.3)) for split in ("train", "test")] == [7, 3]
    with pytest.raises(ValueError, match=r"has no splits: 'validation' would be everything"):
        load(path, "validation")


def test_domains_are_those_present_in_the_order_of_the_names(tmp_path: Path):
    names = {"domain": ["photo", "art", "cartoon", "sketch"]}
    for name, domain in [("a", 2), ("b", 0)]:
        columns = {"image": structs([1, 2]), "label": [0, 1], "domain": [domain] * 2}
        write_parquet(tmp_path / f"{name}.parquet", columns, names)
    images = load(tmp_path)
    assert images.domains == ["photo", "cartoon"]
    assert images.domain is not None
    assert images.domain.tolist() == [1, 1, 0, 0]
    assert load(tmp_path, "b").domains == ["photo"]


def test_a_truncated_file_is_named(tmp_path: Path):
    path = write_parquet(tmp_path / "x.parquet", {"image": structs([1]), "label": [0]})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"x\.parquet \(\d+ bytes\) cannot be read .*Copy or download it again"):
        load(path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1], "label": [0]}, r"no column of images; its columns are a, label\. .*images embedded"),
        ({"image": [], "label": []}, r"has no rows\. .*Take it out or replace it"),
        ({"image": structs([1]), "label": [0.5]}, r"'label' of .* holds double\. Whole numbers or names are needed"),
        ({"image": [{"bytes": b"no", "path": "p"}], "label": [0]}, r"row 0 of .*x\.parquet cannot be decoded"),
        ({"image": [{"bytes": None, "path": "p"}, *structs([1])], "label": [0, 0]}, r"row 0 of .* cannot be decoded"),
    ],
    ids=["no images", "no rows", "labels", "undecodable", "not embedded"],
)
def test_a_file_that_holds_something_else_is_refused(columns: dict, message: str, tmp_path: Path):
    with pytest.raises(ValueError, match=message):
        load(write_parquet(tmp_path / "x.parquet", columns))


def test_images_that_are_not_embedded_are_refused_with_what_embeds_them(tmp_path: Path):
    path = write_parquet(tmp_path / "x.parquet", {"image": [{"bytes": None, "path": "a/1.png"}], "label": [0]})
    with pytest.raises(
        ValueError, match=r"row 0 of .*no bytes, only the path a/1\.png: .*embed_table_storage.*to_parquet"
    ):
        load(path)


def test_of_several_columns_of_images_the_one_called_so_is_read(tmp_path: Path):
    columns = {"mask": structs([1]), "image": structs([2]), "hash": [b"x"]}
    assert int(load(write_parquet(tmp_path / "x.parquet", columns))[0][0][0, 0, 0]) == 2
    columns = {"before": structs([1]), "after": structs([2])}
    with pytest.raises(
        ValueError, match=r"has several columns of images: before, after\. One, or one called image, is needed"
    ):
        load(write_parquet(tmp_path / "y.parquet", columns))


def test_classes_that_pandas_wrote_are_names(tmp_path: Path):
    labels = require("pyarrow").array(["b", "a", None]).dictionary_encode()
    images = load(write_parquet(tmp_path / "x.parquet", {"image": structs([1, 2, 3]), "label": labels}))
    assert (images.classes, images.labels.tolist()) == (["a", "b"], [1, 0, -1])


def test_numbers_of_no_class_are_refused(tmp_path: Path):
    path = write_parquet(tmp_path / "x.parquet", {"image": structs([1]), "label": [-7]})
    with pytest.raises(ValueError, match=r"holds numbers from -7 to -7\. Those of classes, from 0, are needed"):
        load(path)


def test_a_few_row_groups_are_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    arrow = require("pyarrow")
    table = arrow.table({"image": structs(list(range(12)), 100), "label": [0] * 12})
    require("pyarrow.parquet").write_table(table, tmp_path / "x.parquet", row_group_size=3)
    images = load(tmp_path / "x.parquet", size=100)
    assert isinstance(images.pixels, Encoded)
    rows = images.pixels.blobs
    assert isinstance(rows, ParquetImages)
    monkeypatch.setattr("renorm.data.rows.KEPT_BYTES", 1)
    assert [int(images[i][0][0, 0, 0]) for i in (0, 11, 4, 5, 1)] == [0, 11, 4, 5, 1]
    assert len(rows.kept) == 1
    copy = pickle.loads(pickle.dumps(rows))
    assert (len(copy), copy.kept, copy.name(7)) == (12, {}, f"row 7 of {tmp_path / 'x.parquet'}")
    monkeypatch.setattr("renorm.data.rows.GROUP_BYTES", 1)
    with pytest.raises(
        ValueError, match=r"x\.parquet has a row group of .* GB: at most 1 GB is needed.*row_group_size=100"
    ):
        load(tmp_path / "x.parquet")


def test_workers_read_row_groups_of_their_own(tmp_path: Path):
    columns = {"image": structs(list(range(8)), 100), "label": [0] * 8}
    images = load(write_parquet(tmp_path / "x.parquet", columns), size=100)
    assert images[7][0].shape == (3, 100, 100)  # read before the processes begin
    found = [int(batch[0, 0, 0, 0]) for batch, _ in DataLoader(images, batch_size=1, num_workers=2)]
    assert found == list(range(8))


def test_a_label_without_a_name_is_refused(tmp_path: Path):
    path = write_parquet(tmp_path / "x.parquet", {"image": structs([1]), "label": [5]}, {"label": ["a", "b"]})
    with pytest.raises(ValueError, match="holds 5, but names only 2 classes"):
        load(path)


def test_files_that_disagree_are_refused(tmp_path: Path):
    write_parquet(tmp_path / "a.parquet", {"image": structs([1]), "label": [0]})
    write_parquet(tmp_path / "b.parquet", {"image": structs([1])})
    with pytest.raises(ValueError, match="different columns: image and image, label"):
        load(tmp_path)


def test_the_row_of_a_file_is_named_where_there_are_several(tmp_path: Path):
    write_parquet(tmp_path / "a.parquet", {"image": structs([1, 2])})
    write_parquet(tmp_path / "b.parquet", {"image": [*structs([1]), {"bytes": b"no", "path": "p"}]})
    with pytest.raises(ValueError, match=r"row 1 of .*b\.parquet cannot be decoded"):
        load(tmp_path)


def test_real_domains(data_folder: Path):
    images = load(data_folder / "pacs")
    assert images.domains == ["photo", "art_painting", "cartoon"]
    assert images.domain is not None
    assert images.domain.bincount().tolist() == [1670, 2048, 2344]
    assert images[0][0].shape == (3, 96, 96)


def accuracy(images: Images, weights: Path) -> float:
    model = load_weights(create("resnet20"), weights).eval()
    mean, std = (torch.tensor(values)[:, None, None] for values in (images.mean, images.std))
    correct = 0
    with torch.inference_mode():
        for indices in torch.arange(len(images)).split(500):
            pixels, labels = images.batch(indices)
            correct += int((model((pixels / 255 - mean) / std).argmax(1) == labels).sum())
    return correct / len(images)


def test_the_real_network_on_the_first_500_real_images(data_folder: Path):
    images = load(data_folder / "cifar10", "test").subset(range(500))
    assert_close(accuracy(images, data_folder / "weights" / "cifar10-resnet20.safetensors"), 0.812, rtol=0, atol=0.005)


@pytest.mark.slow
def test_the_real_network_scores_81_percent(data_folder: Path):
    images = load(data_folder / "cifar10" / "test.parquet", "test")
    score = accuracy(images, data_folder / "weights" / "cifar10-resnet20.safetensors")
    assert len(images) == 10_000
    assert_close(score, 0.81, rtol=0, atol=0.005)

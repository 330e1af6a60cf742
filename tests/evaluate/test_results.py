"""A table is two files that belong together, and says how it was made."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from renorm.evaluate import ImageSet, Protocol, Results, Row, read_results, write_results

CLEAN = ImageSet("some", 3, "0123456789abcdef", "fedcba9876543210")
PROTOCOL = Protocol(
    data=CLEAN,
    stored={"snow 2": ImageSet("folder/snow", 3, "abc", "fedcba9876543210")},
    classes=10,
    scale=32,
    rounding="8-bit",
    seed=7,
    model="resnet8",
    training="split norms",
    weights="aa",
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    banks={"weak": "of the model", "a, b": "file"},
    versions={"renorm": "1", "torch": "2"},
    command='renorm evaluate "x"',
)


def row(bank: str, shift: str, severity: int, hits: Tensor, top5: float | None = None) -> Row:
    accuracy = hits.double().mean().item()
    return Row(bank, shift, severity, accuracy, 0.1, 0.5, 1.25, 0.0625, len(hits), 7, top5)


@pytest.fixture
def results() -> Results:
    weak, other = torch.tensor([True, False, False]), torch.tensor([True, True, False])
    rows = [row("weak", "clean", 0, weak, 0.75), row("a, b", "contrast", 5, other), row("weak", "snow", 2, other)]
    return Results(PROTOCOL, rows, {each.cell: hits for each, hits in zip(rows, (weak, other, other), strict=True)})


def test_results_come_back_from_their_files(results: Results, tmp_path: Path):
    write_results(tmp_path / "results.csv", results)
    again = read_results(tmp_path / "results.csv")
    assert again.rows == results.rows
    assert again.protocol == results.protocol
    assert again.protocol.known
    assert again.hits.keys() == results.hits.keys()
    assert all(torch.equal(again.hits[cell], hits) for cell, hits in results.hits.items())
    assert all(t.dtype == torch.uint8 for t in load_file(tmp_path / "results.safetensors").values())


def test_each_row_says_how_it_was_made(results: Results, tmp_path: Path):
    write_results(tmp_path / "results.csv", results)
    with (tmp_path / "results.csv").open() as file:
        clean, contrast, snow = csv.DictReader(file)
    assert (clean["data"], clean["data_hash"], clean["images"], clean["scale"]) == ("some", CLEAN.fingerprint, "3", "")
    assert (contrast["scale"], contrast["rounding"], contrast["recipe"]) == ("32", "8-bit", "file")
    assert (snow["data"], snow["data_hash"], snow["scale"], snow["rounding"]) == ("folder/snow", "abc", "", "stored")
    assert clean["normalization"] == "mean 0.5 0.5 0.5 std 0.25 0.25 0.25"
    assert (clean["model"], clean["model_hash"], clean["versions"]) == ("resnet8", "aa", "renorm 1, torch 2")
    assert clean["training"] == "split norms"
    assert clean["command"] == 'renorm evaluate "x"'


def test_a_table_without_hits_has_rows_and_no_protocol(results: Results, tmp_path: Path):
    write_results(tmp_path / "results.csv", results)
    (tmp_path / "results.safetensors").unlink()
    again = read_results(tmp_path / "results.csv")
    assert (again.rows, dict(again.hits), again.protocol.known) == (results.rows, {}, False)


def test_a_table_of_before_protocols_is_read(tmp_path: Path):
    header = "bank,shift,severity,accuracy,low,high,nll,ece,images,seed\n"
    (tmp_path / "old.csv").write_text(header + "weak,clean,0,0.5,0.4,0.6,1.5,0.02,48,3\n")
    assert read_results(tmp_path / "old.csv").rows == [Row("weak", "clean", 0, 0.5, 0.4, 0.6, 1.5, 0.02, 48, 3)]


def test_files_that_are_no_table_are_refused(results: Results, tmp_path: Path):
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"bad.csv is not a table bank x shift .* columns bank, shift"):
        read_results(tmp_path / "bad.csv")
    with pytest.raises(FileNotFoundError, match=r"no .*none.csv: .*`renorm evaluate"):
        read_results(tmp_path / "none.csv")
    path = tmp_path / "t.csv"
    write_results(path, results)
    whole = (tmp_path / "t.safetensors").read_bytes()
    (tmp_path / "t.safetensors").write_bytes(whole[:-2])
    with pytest.raises(ValueError, match=r"t.safetensors cannot be read as the hits of a table .*is needed"):
        read_results(path)
    other = {cell: ~hits for cell, hits in results.hits.items()}
    write_results(tmp_path / "other.csv", replace(results, hits=other))
    (tmp_path / "t.safetensors").write_bytes((tmp_path / "other.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"t.safetensors does not belong to .*t.csv: they differ in weak under clean"):
        read_results(path)
    with pytest.raises(ValueError, match=r"cannot be written as t.safetensors.*Call it"):
        write_results(tmp_path / "t.safetensors", results)

"""A table is two files that belong together, and says how it was made."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from renorm.evaluate import CellKey, ImageSet, Protocol, Results, Row, read_results, write_results
from tests.evaluate.made import results as results_of

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


@pytest.fixture
def results() -> Results:
    weak, other = torch.tensor([True, False, False]), torch.tensor([True, True, False])
    hits: dict[CellKey, Tensor] = {
        ("weak", "clean", 0): weak,
        ("a, b", "contrast", 5): other,
        ("weak", "snow", 2): other,
    }
    made = results_of(PROTOCOL, hits, seed=7)
    more = [replace(made.rows[0], measure="nll", value=1.25, low=None, high=None)]
    more.append(replace(made.rows[0], measure="top5", value=2 / 3))
    top5 = {("weak", "clean", 0): other}
    return Results(PROTOCOL, [*made.rows, *more], {**made.values, "top5": top5}, missing=("fog 3",))


def test_results_come_back_from_their_files(results: Results, tmp_path: Path):
    write_results(tmp_path / "results.csv", results)
    again = read_results(tmp_path / "results.csv")
    assert again.rows == results.rows
    assert again.protocol == results.protocol
    assert again.protocol.known
    assert again.missing == results.missing
    assert again.values.keys() == results.values.keys()
    for measure, cells in results.values.items():
        assert again.values[measure].keys() == cells.keys()
        assert all(torch.equal(again.values[measure][cell], hits) for cell, hits in cells.items())
    assert all(t.dtype == torch.uint8 for t in load_file(tmp_path / "results.safetensors").values())


def test_a_table_without_hits_has_rows_and_no_protocol(results: Results, tmp_path: Path):
    write_results(tmp_path / "results.csv", results)
    (tmp_path / "results.safetensors").unlink()
    again = read_results(tmp_path / "results.csv")
    assert (again.rows, dict(again.hits), again.protocol.known) == (results.rows, {}, False)


def test_one_number_a_row(results: Results, tmp_path: Path):
    write_results(tmp_path / "results.csv", results)
    with (tmp_path / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["bank", "shift", "severity", "measure", "value", "low", "high", "count", "seed"]
    assert [line["measure"] for line in lines] == ["accuracy"] * 3 + ["nll", "top5"]
    assert (lines[3]["value"], lines[3]["low"], lines[3]["count"]) == ("1.25", "", "3")
    assert results.get(("weak", "clean", 0), "nll") == results.rows[3]
    assert results.get(("weak", "fog", 0)) is None
    assert (results.banks, results.shifts) == (["weak", "a, b"], [("clean", 0), ("contrast", 5), ("snow", 2)])


def test_a_process_killed_between_the_two_files_leaves_a_table(results: Results, tmp_path: Path):
    fewer = replace(results, rows=[row for row in results.rows if row.shift != "snow"])
    write_results(tmp_path / "results.csv", fewer)
    before = (tmp_path / "results.csv").read_bytes()
    write_results(tmp_path / "results.csv", results)
    (tmp_path / "results.csv").write_bytes(before)
    again = read_results(tmp_path / "results.csv")
    assert again.rows == fewer.rows
    assert ("weak", "snow", 2) not in again.hits


def test_a_table_of_before_protocols_is_read(tmp_path: Path):
    header = "bank,shift,severity,accuracy,low,high,nll,ece,images,seed\n"
    (tmp_path / "old.csv").write_text(header + "weak,clean,0,0.5,0.4,0.6,1.5,0.02,48,3\n")
    cell = ("weak", "clean", 0)
    assert read_results(tmp_path / "old.csv").rows == [
        Row(*cell, "accuracy", 0.5, 0.4, 0.6, 48, 3),
        Row(*cell, "nll", 1.5, None, None, 48, 3),
        Row(*cell, "ece", 0.02, None, None, 48, 3),
    ]


def test_a_table_with_a_line_a_cell_is_read_with_its_hits(results: Results, tmp_path: Path):
    header = "bank,shift,severity,accuracy,low,high,nll,ece,images,seed,top5,data,command\n"
    lines = "weak,clean,0,0.3333333333333333,0,1,1.5,0.02,3,7,,some,x\n"
    lines += '"a, b",contrast,5,0.6666666666666666,0,1,1,0,3,7,1.0,some,x\n'
    (tmp_path / "old.csv").write_text(header + lines)
    hits = {json.dumps(cell): results.hits[cell].to(torch.uint8) for cell in list(results.hits)[:2]}
    save_file(hits, tmp_path / "old.safetensors", {"format": "renorm.results/1", "protocol": PROTOCOL.to_json()})
    again = read_results(tmp_path / "old.csv")
    assert [(row.bank, row.measure) for row in again.rows][-1] == ("a, b", "top5")
    assert again.protocol == PROTOCOL
    assert torch.equal(again.hits["a, b", "contrast", 5], results.hits["a, b", "contrast", 5])


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
    with pytest.raises(
        ValueError, match=r"t.safetensors cannot be read as what each image adds to a table .*is needed"
    ):
        read_results(path)
    other = {cell: ~hits for cell, hits in results.hits.items()}
    write_results(tmp_path / "other.csv", replace(results, values={"accuracy": other}))
    (tmp_path / "t.safetensors").write_bytes((tmp_path / "other.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"t.safetensors does not belong to .*t.csv: they differ in weak under clean"):
        read_results(path)
    with pytest.raises(ValueError, match=r"cannot be written as t.safetensors.*Call it"):
        write_results(tmp_path / "t.safetensors", results)

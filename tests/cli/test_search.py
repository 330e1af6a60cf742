"""Searching and ranking from the command line: what they tell, the pages they write, and what they refuse."""

import json
import re
import shlex
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from renorm.cli import main
from renorm.models import Cell
from tests.cli.conftest import Command
from tests.data.test_nasbench201 import columns, written

SMALL = ("--data", "digits", "--width", "2", "--cells", "1", "--epochs", "1", "--horizon", "1", "--batch", "24")
RANK = (
    "--num-cells",
    "30",
    "--num-images",
    "40",
    "--banks",
    "trained",
    "recalibrated:24",
    "recalibrated:96",
    "parameters",
    "table",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A table, a run of a mixture, and one of paths that is ranked."""
    folder = tmp_path_factory.mktemp("searches")
    table = written(folder / "table.csv", columns())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("renorm.report.svg.svg", lambda chart: f"<!-- {chart.name}: {chart.label} -->")
        few = ("--table", str(table), "--quiet")
        assert main(["search", *SMALL, *few, "--norm", "sandwich", "--out", str(folder / "darts")]) == 0
        paths = ("--method", "paths", "--norm", "affine", "--statistics", "shared", "--out", str(folder / "paths"))
        assert main(["search", *SMALL, *few, *paths]) == 0
        assert main(["rank", str(folder / "paths"), *RANK, "--quiet"]) == 0
        yield folder


def test_an_epoch_tells_its_mixture_and_its_cell(renorm_command: Command, folder: Path, tmp_path: Path):
    arguments = (
        "search",
        *SMALL,
        "--table",
        folder / "table.csv",
        "--stop-when-collapsed",
        "--out",
        tmp_path / "run",
        "--json",
    )
    result = renorm_command(*arguments)
    assert result.status == 0, result.err
    assert re.search(
        r"all cells of NAS-Bench-201 by darts, affine-free norms.*169 and 168 images of digits", result.err, re.DOTALL
    )
    told = (
        r"epoch 1/1  loss \S+  test mixture \S+  mixture loss \S+  entropy 1\.6\d+  (\|\S+\|)  table \S+% \(better than"
    )
    found = re.search(told, result.err)
    assert found
    assert Cell.parse(found[1]).operations
    rows = {row["measure"]: row["value"] for row in json.loads(result.out)["rows"]}
    assert rows.keys() >= {"mixture's accuracy", "entropy", "accuracy in the table", "percentile in the table"}


def test_the_page_of_a_mixture_draws_what_was_found(folder: Path):
    page = unescape((folder / "darts" / "report.html").read_text())
    for chart in (
        "cell: the cell |",
        "weights: weights of the operations",
        "accuracy: accuracy of the found cell, in the table",
    ):
        assert f"<!-- {chart}" in page
    assert re.search(r"Found after 1 epochs: \|.*of whose 6 edges have no parameters; .* in the table", page)
    assert {"found cell, in the table", "edges without parameters", "mixture, test images"} <= words(page)
    line = re.search(r"<pre>(renorm train --model .*)</pre>", page)
    assert line is None or shlex.split(line[1])[3].startswith("cell:|")  # none where it leads nowhere


def words(page: str) -> set[str]:
    """What stands between tags."""
    return {text.strip() for text in re.findall(r">([^<>]+)<", page)}


def test_the_page_of_a_ranking_shows_it_before_and_after(folder: Path):
    page = unescape((folder / "paths" / "report.html").read_text())
    for chart in ("orders: accuracy by shared weights", "images: tau by the number of images", "training-loss"):
        assert f"<!-- {chart}" in page
    assert re.search(r"Measuring each cell's statistics through its own path orders cells .*: tau [+-]0\.\d\d \[", page)
    assert "renorm train --model 'cell:|" in page
    assert {"tau by trained", "tau by recalibrated:96", "tau by parameters", "two cells of one graph"} <= words(page)


def test_a_ranking_tells_what_orders_cells_and_goes_on(renorm_command: Command, folder: Path):
    result = renorm_command("rank", folder / "paths", *RANK[:-5], "trained", "batch", "--json")
    assert result.status == 0, result.err
    assert "30 of 15,284 cells, 40 test images of digits" in result.err
    assert "a tau of 0.91" in result.err
    assert "adding to" in result.err
    rows = {(row["bank"], row["measure"]): row for row in json.loads(result.out)["rows"]}
    assert rows["trained", "tau"]["low"] < rows["trained", "tau"]["value"] < rows["trained", "tau"]["high"]
    assert rows["trained", "tau"]["count"] == 30
    assert ("batch", "mean accuracy") in rows
    first = json.loads(result.out)["first"]
    assert first.keys() == {"trained", "batch"}
    assert f"first by batch: {Cell.parse(first['batch'])}" in result.err
    compared = renorm_command("compare", folder / "paths", folder / "paths", "--banks", "trained", "recalibrated:96")
    assert re.search(r"mean accuracy +\S+ +\S+ +[+-]\S+ +[+-]\S+ to", compared.out), compared.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["rank", "{darts}"],
            r"was trained as a mixture, by --method darts.*single paths are needed.*renorm search --method paths",
        ),
        (
            ["rank", "{paths}", "--num-cells", "3"],
            r"3 cells to rank were asked for. At least 30 .*Ask for a number between",
        ),
        (["rank", "{paths}", "--banks", "best"], r"evaluated by 'best'.*say recalibrated:1024"),
        (
            ["rank", "{paths}", "--banks", "recalibrated:5000"],
            r"recalibrated:5000 was asked for.*169 images.*smaller number",
        ),
        (
            ["rank", "{paths}", "--column", "cifar100"],
            r"cifar100 is of 100 classes, and the images are of 10: .*leave --table",
        ),
        (["rank", "{paths}", "--out", "t.txt"], r"a name that ends in .csv is needed"),
        (["rank", "{trained}"], r"is a run of the recipe 'classify': one of 'search' is needed"),
        (["evaluate", "{paths}"], r"trained single paths.*renorm rank"),
        (["evaluate", "{darts}", "--banks", "weak"], r"no bank 'weak': one of mixture, found is needed"),
        (["evaluate", "{darts}", "--shifts", "fog"], r"--shifts with a run of the recipe 'search'"),
        (["export", "{darts}", "--out", "o.onnx"], r"recipe 'search', whose runs cannot be exported"),
        (
            ["recalibrate", "{paths}", "--images", "digits", "--bank", "b.safetensors"],
            r"recipe 'search': a classifier is needed",
        ),
        (
            ["search", "--resume", "--out", "{darts}", "--width", "3"],
            r"was started with: width 3 \(the run has \d+\)",
        ),
        (["search", "--resume", "--out", "{trained}"], r"recipe 'classify': one of 'search' is needed"),
        (["search", "--method", "paths", "--mixture-rate", "1"], r"--mixture-rate with --method paths.*--method darts"),
        (["search", "--statistics", "shared"], r"--statistics shared with --method darts.*--method paths"),
    ],
)
def test_what_cannot_be_searched_or_ranked_is_refused(
    renorm_command: Command, folder: Path, trained: Path, arguments: list[str], message: str
):
    places = {"{darts}": folder / "darts", "{paths}": folder / "paths", "{trained}": trained}
    result = renorm_command(*(places.get(word, word) for word in arguments))
    assert result.status == 1
    assert re.search(message, result.err, re.DOTALL), result.err


def test_a_finished_search_goes_on_to_nothing(renorm_command: Command, folder: Path):
    before = (folder / "paths" / "metrics.jsonl").read_text()
    result = renorm_command("search", "--resume", "--out", folder / "paths")
    assert result.status == 0, result.err
    assert "rank its cells: renorm rank" in result.out
    assert (folder / "paths" / "metrics.jsonl").read_text() == before


def test_a_run_of_paths_without_a_table_is_ranked_by_one_that_is_named(
    renorm_command: Command, folder: Path, tmp_path: Path
):
    about = json.loads((folder / "paths" / "config.json").read_text())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(about | {"config": about["config"] | {"table": None}}))
    (tmp_path / "run" / "checkpoint").symlink_to(folder / "paths" / "checkpoint")
    result = renorm_command("rank", tmp_path / "run")
    assert result.status == 1
    assert re.search(r"no table to judge cells by: .* is needed. Add --table FILE", result.err)

import json
from dataclasses import replace
from pathlib import Path

import pytest

from renorm.evaluate import write_results
from renorm.recipes import options_at
from renorm.report.record import differing, distinct_names, read_record, read_records, sides
from tests.report.made import HISTORY, bank, record, results


def written(folder: Path, about: dict | None = None) -> Path:
    """A run's folder as far as a page needs it."""
    (folder / "banks").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(about or record().about))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in HISTORY))
    for name, shift in (("strong", 2.0), ("extra", 1.0), ("weak", 0.0)):
        bank(shift).save(folder / "banks" / f"{name}.safetensors")
    write_results(folder / "results.csv", results())
    return folder


def test_a_run_is_read_with_its_banks_in_the_order_of_its_branches(tmp_path: Path):
    found = read_record(written(tmp_path / "some"))
    assert (found.name, found.seed, found.history) == ("some", 3, HISTORY)
    assert found.results.rows == results().rows
    assert list(found.banks) == ["weak", "strong", "extra"]
    assert list(found.distances()) == [("weak", "strong"), ("weak", "extra"), ("strong", "extra")]
    assert found.distances()["weak", "strong"] == {"bn1": pytest.approx(1), "layer1.bn": pytest.approx(1)}


def test_a_folder_without_a_table_or_with_another_one(tmp_path: Path):
    folder = written(tmp_path / "some")
    (folder / "results.csv").write_text("bank,shift\nweak,clean\n")
    with pytest.raises(
        ValueError, match=r"results.csv is not a table bank x shift.*columns bank, shift.*are needed. Make"
    ):
        read_record(folder)
    (folder / "results.csv").write_text((folder / "results.csv").read_text().splitlines()[0] + "\n")
    with pytest.raises(
        ValueError, match=r"results.csv has no rows: a table .* is needed. Make it with `renorm evaluate"
    ):
        read_record(folder)
    (folder / "results.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"no .*results.csv: a table bank x shift is needed. Make it"):
        read_record(folder)
    with pytest.raises(FileNotFoundError, match=r"no run in .*else: a folder with config.json"):
        read_record(tmp_path / "else")


def test_runs_get_names_that_tell_them_apart(tmp_path: Path):
    paths = [written(tmp_path / name / "run") for name in ("split", "shared")]
    assert [each.name for each in read_records(paths)] == ["split/run", "shared/run"]
    with pytest.raises(ValueError, match=r"split/run is given twice: .*Name it once"):
        read_records([paths[0], tmp_path / "split" / ".." / "split" / "run"])
    assert distinct_names([Path("/a/b"), Path("/a/c")]) == ["b", "c"]


def test_runs_that_differ_by_chance_only_are_one_side():
    runs = [record("split-1", 1), record("plain-0", 0, norm="shared"), record("split-0", 0, num_workers=2)]
    found = sides(runs)
    assert [(side.name, [each.name for each in side.records]) for side in found] == [
        ("split", ["split-0", "split-1"]),
        ("plain-0", ["plain-0"]),
    ]
    assert list(found[0].by_seed) == [0, 1]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (["split/seed0", "split/seed1"], "split"),
        (["wrn-28-2-0", "wrn-28-2-1"], "wrn-28-2"),
        (["split-10", "split-11"], "split"),
        (["0", "1"], "0"),
    ],
)
def test_a_side_is_called_what_its_runs_have_in_common(given: list[str], name: str):
    (side,) = sides([record(each, seed) for seed, each in enumerate(given)])
    assert side.name == name


def test_the_same_configuration_and_seed_twice_stays_apart():
    assert [side.name for side in sides([record("a"), record("b")])] == ["a", "b"]


def test_sides_have_names_that_differ():
    runs = [
        record(f"{place}/run-{seed}", seed, rate=rate) for place, rate in (("x", 0.1), ("x", 0.2)) for seed in (0, 1)
    ]
    assert len({side.name for side in sides([replace(r, name=f"run-{i}") for i, r in enumerate(runs)])}) == 2


def test_options_that_differ_are_found():
    old, new = record("old"), record("new", 4, rate=0.2)
    assert differing([old, new]) == {"rate": [0.1, 0.2], "seed": [3, 4]}


def test_a_run_that_is_older_than_an_option_has_its_default(tmp_path: Path):
    about = dict(record().about)
    about["config"] = {name: value for name, value in about["config"].items() if name != "ema"}
    found = read_record(written(tmp_path / "old", about), options_at)
    assert differing([found, record("new", 4)]) == {"seed": [3, 4]}
    assert "ema" not in read_record(tmp_path / "old").config

"""All numbers that must not move while the code does, bit for bit, on one machine.

    python -m tests.golden.freeze OUT                 # write tensors and numbers of every case, one pair of files each
    python -m tests.golden.freeze OUT --only 'train*'
    python -m tests.golden.freeze --compare A B       # say what differs between two folders; status 1 if anything does

Run it on two commits and compare: one that only moves code must not differ. Not kept in the repository, as other processors
round otherwise; the golden files are.
"""

import argparse
import fnmatch
import json
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor


def write(folder: Path, name: str, found: Mapping[str, Any]) -> None:
    """One case as two files: its tensors, and its other values."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().contiguous().clone() for key, value in found.items() if isinstance(value, Tensor)}
    others = {key: value for key, value in found.items() if not isinstance(value, Tensor)}
    safetensors.torch.save_file(tensors, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(others, indent=1, sort_keys=True) + "\n")


def read(folder: Path, name: str) -> dict[str, Any]:
    """A case again."""
    others = flat(json.loads((folder / f"{name}.json").read_text()))
    return dict(others) | safetensors.torch.load_file(folder / f"{name}.safetensors")


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested dictionaries and lists, by their paths."""
    if isinstance(value, dict | list) and value:
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flat(each, f"{name}/{key}" if name else str(key))
    else:
        yield name, value


def names(folder: Path, only: str) -> set[str]:
    """The cases of a folder, or some of them.

    Raises:
        FileNotFoundError: If it holds none.
    """
    found = {path.stem for path in folder.glob("*.json") if fnmatch.fnmatch(path.stem, only)}
    if not found:
        raise FileNotFoundError(
            f"no frozen cases in {folder}: a folder that this script wrote is needed. Write one first."
        )
    return found


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal to the last bit; NaN is equal to itself."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        alike = a.dtype == b.dtype and a.shape == b.shape
        return alike and torch.equal(a.flatten().view(torch.uint8), b.flatten().view(torch.uint8))
    return not (isinstance(a, Tensor) or isinstance(b, Tensor)) and json.dumps(a) == json.dumps(b)


def distance(a: Any, b: Any) -> float:
    """The largest difference of two values; infinite where they are of other kinds."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.shape != b.shape:
            return float("inf")
        return float((a.double() - b.double()).abs().max())
    if isinstance(a, float | int) and isinstance(b, float | int):
        return abs(a - b)
    return float("inf")


def described(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    """A line on what differs in a case; none if nothing does."""
    lost, new = sorted(a.keys() - b.keys()), sorted(b.keys() - a.keys())
    different = [key for key in a if key in b and not same(a[key], b[key])]
    if not (lost or new or different):
        return None
    parts = [f"{len(keys)} {word} ({keys[0]}, ...)" for keys, word in ((lost, "lost"), (new, "new")) if keys]
    if different:
        numbers = {key: d for key in different if (d := distance(a[key], b[key])) < float("inf")}
        largest = max(numbers, key=numbers.__getitem__) if numbers else different[0]
        size = f"{numbers[largest]:.3g}" if numbers else f"{a[largest]!r} and {b[largest]!r}"
        parts.append(f"{len(different)} of {len(a)} differ, first {different[0]}, most {largest}: {size}")
    return f"{name}: {'; '.join(parts)}"


def compare(a: Path, b: Path, only: str = "*") -> list[str]:
    """What differs between two folders, a line for each case that does."""
    left, right = names(a, only), names(b, only)
    lines = [f"{name}: only in {a.name if name in left else b.name}" for name in sorted(left ^ right)]
    return lines + [line for name in sorted(left & right) if (line := described(name, read(a, name), read(b, name)))]


def freeze(folder: Path, only: str = "*") -> list[str]:
    """Run the cases on one thread, each from the same seed, and write them; those that fail are told and named."""
    from tests.golden.cases import CASES

    torch.set_num_threads(1)
    failed = []
    for name in fnmatch.filter(CASES, only):
        started = time.perf_counter()
        torch.manual_seed(0)
        try:
            write(folder, name, CASES[name]())
        except Exception:
            traceback.print_exc()
            failed.append(name)
        print(f"{time.perf_counter() - started:6.1f} s  {name}", file=sys.stderr)
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Freeze or compare; the status is 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", help="folder to write")
    parser.add_argument("--only", default="*", help="cases, as a pattern of file names")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("A", "B"), help="folders that were written")
    options = parser.parse_args(arguments)
    if (options.out is None) == (options.compare is None):
        parser.error("a folder to write or two to compare are needed")
    if options.out:
        failed = freeze(options.out, options.only)
        print("\n".join(f"{name}: failed" for name in failed) or f"all cases are in {options.out}")
        return bool(failed)
    lines = compare(*options.compare, only=options.only)
    print("\n".join(lines) if lines else f"{len(names(options.compare[0], options.only))} cases, no difference")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())

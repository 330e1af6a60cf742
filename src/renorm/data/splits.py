"""Which images belong to which split."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from unicodedata import normalize

import torch
from torch import Tensor

WORDS = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "dev", "eval", "evaluation"), "validation"),
}
TRAIN_AND_TEST = {"train": "train", "test": "test"}
BESIDE = frozenset(  # words that say nothing of which split it is
    (
        *(
            "set",
            "data",
            "dataset",
            "datasets",
            "images",
            "image",
            "imgs",
            "img",
            "split",
            "seg",
            "part",
            "partial",
            "default",
        ),
        *("csv", "json", "jsonl", "parquet", "arrow", "text", "imagefolder", "webdataset", "of"),
    )
)


# A capital and small letters, capitals, or letters of scripts that have neither: 训练 is a word.
WORD = re.compile(r"[A-Z]?(?:(?![A-Z])[^\W\d_])+|[A-Z]+(?![a-z])")


def kind_of(name: str) -> str | None:
    """The split that a name is of and says nothing else, in any case; None where it is of none.

    Example:
        >>> kind_of("Training_Set"), kind_of("seg_train"), kind_of("train_station"), kind_of("valid")
        ('train', 'train', None, 'validation')
    """
    kinds, rest = _read(name)
    return kinds[0] if len(kinds) == 1 and not rest else None


def kind_within(name: str) -> str | None:
    """The only split that a file's name mentions, whatever else it says.

    Example:
        >>> kind_within("csv-train-00000-of-00001"), kind_within("cifar-test"), kind_within("train-and-test")
        ('train', 'test', None)
    """
    kinds, _ = _read(name)
    return kinds[0] if len(kinds) == 1 else None


def kinds_of_folders(names: Iterable[str]) -> dict[str, str]:
    """The folders that are splits: by their names, or by names that differ in nothing but the split.

    Example:
        >>> kinds_of_folders(["my_train", "my_test", "other"]), kinds_of_folders(["airport", "train_station"])
        ({'my_train': 'train', 'my_test': 'test'}, {})
    """
    names = list(names)
    alike: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for name in names:
        kinds, rest = _read(name)
        if len(kinds) == 1:
            alike[rest][name] = kinds[0]
    found = {
        key: kind for rest, each in alike.items() if not rest or len({*each.values()}) > 1 for key, kind in each.items()
    }
    return {name: found[name] for name in names if name in found}


def _read(name: str) -> tuple[list[str], tuple[str, ...]]:
    """The splits that a name mentions, and what else it says."""
    words = [word.lower() for word in re.findall(WORD, normalize("NFC", name))]
    kinds = list(dict.fromkeys(WORDS[word] for word in words if word in WORDS))
    return kinds, tuple(word for word in words if word not in WORDS and word not in BESIDE)


def choose(data: str, split: str | None, parts: Mapping[str, str], holdout: float) -> list[str]:
    """The names of the parts of data that are a split; none where they are one whole.

    Args:
        data: their name, for messages.
        split: the split asked for, by its own name or that of a part; None for train, or the only one.
        parts: what the data have, subfolders or files, and the split each is of.
        holdout: share of a whole that is its test split.

    Raises:
        ValueError: the data have splits, but not this one; or they are divided already, and ``holdout`` divides again.
    """
    if not parts:
        return []
    kinds = list(dict.fromkeys(parts.values()))
    if split is None:
        split = "train" if "train" in kinds else kinds[0]
        if split != "train" and len(kinds) > 1:
            raise ValueError(
                f"{data} has the splits {_listed(kinds)}, and none is named: name one of them, as {split!r}."
            )
    wanted = kind_of(split)
    chosen = [name for name in parts if name == split] or [
        name for name, kind in parts.items() if kind == wanted or name.lower() == split.lower()
    ]
    if not chosen:
        raise unknown_split(data, split, list(parts))
    if holdout:
        raise ValueError(
            f"{data} has the splits {_listed(parts)} and holdout={holdout} would divide {split!r} once more. "
            f"Only data without splits can be divided. Leave holdout out, or load {data}/{chosen[0]} itself."
        )
    return chosen


def check_whole(data: str, own: str | None, split: str | None, holdout: float) -> None:
    """Refuse a split of data that have none, unless they are divided or called after it.

    Args:
        data: for messages.
        own: the split that their folder or file is called after.
        split: what was asked for.
        holdout: share that is the test split.

    Raises:
        ValueError: the split would be everything, or is none that dividing gives.
    """
    if split is None and not holdout:
        return
    if holdout and split not in (None, "train", "test"):
        raise ValueError(
            f"{data} has no splits, and holdout={holdout} divides it into train and test: one of these is needed, not {split!r}. "
            "Name one."
        )
    if not holdout and (own is None or kind_of(split or "") != own):
        raise ValueError(
            f"{data} has no splits: {split!r} would be everything. Leave the split out to have all of it, or divide it: "
            "holdout=0.2 makes a fifth the test split."
        )


def indices_of(labels: Tensor, split: str | None, holdout: float, seed: int = 0) -> Tensor:
    """Indices of the ``train`` or ``test`` part of a whole, in its order; all of them without ``holdout``.

    From each class, the first ``round(holdout * n)`` of its n images in an order drawn with the seed are for testing,
    so the parts are the same in every run, never overlap, and are stratified.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
        >>> test = indices_of(labels, "test", 0.25)
        >>> labels[test]
        tensor([0, 1])
    """
    if not 0 <= holdout < 1:
        raise ValueError(f"holdout={holdout} is no share. A number from 0 to 1, without 1, is needed: try 0.2.")
    if not holdout:
        return torch.arange(len(labels))
    generator = torch.Generator().manual_seed(seed)
    testing = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        members = (labels == label).nonzero()[:, 0]
        drawn = torch.randperm(len(members), generator=generator)[: round(holdout * len(members))]
        testing[members[drawn]] = True
    chosen = (testing if split == "test" else ~testing).nonzero()[:, 0]
    if not len(chosen):
        raise ValueError(
            f"holdout={holdout} of {len(labels)} images leaves none for {split!r}. "
            "At least one image is needed in either part. Choose another share."
        )
    return chosen


def unknown_split(data: str, split: str, names: Sequence[str]) -> ValueError:
    names = sorted(names)
    close = difflib.get_close_matches(split, names, n=1)
    return ValueError(
        f"{data} has no split {split!r}. It has {_listed(names)}. Use {repr(close[0]) if close else 'one of these'}."
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(dict.fromkeys(names)))

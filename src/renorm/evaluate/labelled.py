"""What a classifier calls images, and how sure it is: a table to use elsewhere."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from renorm.banks import Choice
from renorm.data import Images
from renorm.evaluate.scores import logits
from renorm.extras import require
from renorm.files import staged, write_atomically
from renorm.models import Classifier

SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True)
class Labelled:
    """One line for each image.

    Attributes:
        paths: names of the images' files; their numbers, where they have none.
        classes: what each is called.
        confidences: the probability of that.
    """

    paths: Sequence[str]
    classes: Sequence[str]
    confidences: Sequence[float]

    def write(self, path: Path | str) -> Path:
        """Write it as CSV or Parquet, with the columns path, class, confidence.

        Raises:
            ValueError: another suffix.
            OSError: the disk is full or cannot be written; the former file stays.
        """
        path = check_labelled(Path(path))
        if path.suffix == ".csv":
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(["path", "class", "confidence"])
            rows = zip(self.paths, self.classes, self.confidences, strict=True)
            writer.writerows((name, kind, f"{sure:.6f}") for name, kind, sure in rows)
            return write_atomically(path, text.getvalue().encode())
        table = {"path": list(self.paths), "class": list(self.classes), "confidence": list(self.confidences)}
        with staged(path) as place:
            require("pyarrow.parquet").write_table(require("pyarrow").table(table), place)
        return path


def check_labelled(path: Path) -> Path:
    """Refuse a name of another kind of file.

    Raises:
        ValueError: it is one.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: predictions are written as {' or '.join(SUFFIXES)}. Change the name.")
    return path


def label_images(classifier: Classifier, images: Images, choice: Choice) -> Labelled:
    r"""The class of the largest output for each image, and :math:`\max_k \operatorname{softmax}(y)_k`.

    Args:
        classifier: the model.
        images: to be called something; labels are not used.
        choice: the branch and the bank to evaluate with.

    Raises:
        ValueError: outputs are not finite, or no logits.
    """
    found = logits(classifier, images, {"": choice})[""]
    sure, index = torch.softmax(found, 1).max(1)
    names = classifier.classes or [str(i) for i in range(found.shape[1])]
    paths = images.files or [str(i) for i in range(len(images))]
    return Labelled(paths, [names[i] for i in index.tolist()], sure.tolist())

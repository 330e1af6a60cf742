"""Images to adapt to and to judge on, and outputs before and after."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

import renorm
from renorm.banks import Bank
from renorm.data import Images
from renorm.evaluate import Choice, Classifier, divide, judge, logits


def test_no_image_is_both_adapted_to_and_judged(images: Images):
    few, rest = divide(images, 8, seed=1)
    assert (len(few), len(rest)) == (8, len(images) - 8)
    whole = sorted(x.flatten().tolist() for part in (few, rest) for x in part.batch(range(len(part)))[0])
    assert whole == sorted(x.flatten().tolist() for x in images.batch(range(len(images)))[0])
    assert torch.equal(few.labels, divide(images, 8, seed=1)[0].labels)
    assert len(divide(images)[0]) == 32
    with pytest.raises(ValueError, match=r"--num-images 0 of 48 images in .*: 1 to 48 is needed. Change it"):
        divide(images, 0)


def test_outputs_before_are_those_of_the_source_bank(classifier: Classifier, images: Images):
    few, rest = divide(images, 16)
    source = Bank.of(classifier.model, branch="weak")
    before = logits(classifier, rest, {"weak": Choice("weak")})["weak"]
    counted: list[int] = []
    same = judge(classifier, rest, source, "weak", moved=False, callback=counted.append)
    assert sum(counted) == len(rest)
    assert same.before is same.after
    assert_close(same.before, before)
    renorm.adapt_(classifier.model, classifier.normalize(few.batch(range(16))[0]), 0, "weak")
    judged = judge(classifier, rest, source, "weak")
    assert_close(judged.before, before)
    assert not torch.equal(judged.after, before)
    labels, why = judged.labels()
    assert labels is not None
    assert not why
    unknown = judged._replace(images=replace(rest, labels=torch.full_like(rest.labels, -1)))
    assert unknown.labels() == (None, f"{rest.name} has images without a label")

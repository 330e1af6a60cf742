"""The page of an adaptation says the verdict, what changes, and what to do."""

import re
from dataclasses import replace

import torch

from renorm.evaluate import prediction_change
from renorm.report import page
from renorm.report.sections import adapted

LOGITS = torch.eye(4)
REPAIR = adapted.Repair(
    model="net",
    images="4 images of night",
    verdict="shifted",
    reason="the first sites are far out",
    advice="Keep it.",
    weight=0.25,
    distances={"bn1": 1.0, "bn2": 0.5},
    chance={"bn1": 0.1, "bn2": 0.1},
    change=prediction_change(LOGITS.roll(1, 0), LOGITS, torch.arange(4)),
    judged="4 images that were not adapted to",
    examples=torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
    captions=["0 → 1", "1 → 2"],
    command="renorm adapt net --images night",
)


def test_the_page_says_what_was_found():
    text = page(adapted.head(REPAIR), adapted.sections(REPAIR))
    assert re.search(r"<b>shifted</b><span>verdict</span>", text)
    assert re.search(r"<b>0.25</b><span>weight that the source keeps</span>", text)
    assert re.search(r"<b>\+100.0 .*</b><span>points of accuracy, 95 % interval</span>", text)
    assert "The first sites are far out." in text
    assert "0 → 1" in text
    assert "renorm adapt net --images night" in text


def test_without_labels_there_is_no_accuracy_and_on_another_page_no_command():
    unlabelled = replace(REPAIR, change=prediction_change(LOGITS.roll(1, 0), LOGITS))
    assert "points of accuracy" not in page(adapted.head(unlabelled), adapted.sections(unlabelled))
    first, *_ = told = adapted.story(unlabelled)
    assert first.note == "Net was adapted to 4 images of night without labels. Keep it."
    assert "How this page was made" not in [section.title for section in told]

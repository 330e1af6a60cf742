import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from renorm import metrics


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def scores() -> tuple[Tensor, Tensor]:
    logits = torch.randn(211, 7, generator=generator(), dtype=torch.double) * 2
    return logits, torch.randint(7, (211,), generator=generator(1))


def test_accuracy_and_likelihood_by_hand():
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 3.0], [1.0, 0.0]])
    labels = torch.tensor([1, 0, 0, 0])
    assert metrics.correct(logits, labels).tolist() == [True, True, False, True]
    assert metrics.accuracy(logits, labels) == 0.75
    expected = -logits.double().log_softmax(1)[range(4), labels].mean()
    assert_close(metrics.nll(logits, labels), expected.item())


def test_scores_of_images_are_what_the_numbers_are_means_of(scores: tuple[Tensor, Tensor]):
    logits, labels = scores
    parts = [metrics.scores(logits[i : i + 100], labels[i : i + 100]) for i in range(0, 211, 100)]
    found = metrics.unscored(parts[0], 211)
    for number, part in enumerate(parts):
        metrics.fill_(found, 100 * number, part)
    assert found.near is not None
    order = logits.argsort(1, descending=True)
    assert found.near.tolist() == [
        label in best for label, best in zip(labels.tolist(), order[:, :5].tolist(), strict=True)
    ]
    assert found.hits.double().mean().item() == metrics.accuracy(logits, labels)
    assert_close(found.nll.mean().item(), metrics.nll(logits, labels))
    assert metrics.calibration_error(found.confidence, found.hits) == metrics.ece(logits, labels)
    assert metrics.scores(logits[:, :5], labels % 5).near is None


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 2\) do not go with labels of shape \(3,\)"):
        metrics.accuracy(torch.zeros(4, 2), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"the label 7 does not go with 2 outputs.*Evaluate a model"):
        metrics.scores(torch.zeros(4, 2), torch.full((4,), 7))

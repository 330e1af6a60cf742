from dataclasses import replace

import pytest
import torch

from renorm.data import Images
from renorm.shifts import domains


def test_domains_are_shifts_with_images_of_their_own(images: Images):
    domain = torch.arange(48) % 3
    parted = replace(images, domains=["art", "photo", "sketch"], domain=domain)
    found = domains(parted, seed=4)
    assert [(shift.label, shift.severity, shift.seed) for shift in found] == [
        (n, 0, 4) for n in ("art", "photo", "sketch")
    ]
    photo = found[1].images
    assert photo is not None
    assert torch.equal(photo.labels, images.labels[domain == 1])
    assert torch.equal(found[1](photo.batch([2, 3])[0], torch.tensor([2, 3])), photo.batch([2, 3])[0])
    assert [shift.name for shift in domains(parted, ["sketch"])] == ["sketch"]
    with pytest.raises(ValueError, match=r"no image of the domain sketch is among the 2 of digits"):
        domains(parted.subset([0, 1]))
    with pytest.raises(ValueError, match=r"digits has no domains: a Parquet file with a column 'domain' is needed"):
        domains(images)

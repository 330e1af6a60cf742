"""Every site obeys every law, and no law lets its naive version pass."""

from collections.abc import Callable

import pytest

from renorm.layers import Site
from renorm.testing import Subject
from tests.laws import KINDS, LAWS, SUBJECTS, Naive

Law = Callable[[Subject], None]


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
@pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
def test_law(law: Law, subject: Subject):
    law(subject)


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
@pytest.mark.parametrize(("law", "naive"), LAWS.items(), ids=[law.__name__ for law in LAWS])
def test_a_naive_site_breaks_the_law(law: Law, naive: Naive, subject: Subject):
    with pytest.raises(AssertionError):
        law(naive(subject))


def final(kind: type[Site]) -> set[type[Site]]:
    """The classes under one that have none under them."""
    return set().union(*map(final, kind.__subclasses__())) or {kind}


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_subject_is_of_its_class(name: str):
    assert type(SUBJECTS[name].fresh()[0]) is KINDS[name.partition(",")[0]]


def test_every_class_of_site_is_a_subject():
    assert {*KINDS.values()} == final(Site)

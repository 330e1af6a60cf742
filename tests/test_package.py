"""What the package says of itself agrees in all places."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from renorm import __version__
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def said(name: str, path: Path = ROOT / "CITATION.cff") -> str:
    found = re.search(rf"^{name}: (.*)$", path.read_text(), re.MULTILINE)
    assert found
    return found[1].strip('"')


def test_versions_and_licences_agree():
    assert PROJECT["version"] == said("version") == __version__
    assert PROJECT["license"] == said("license")
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert f"## {__version__} (" in (ROOT / "CHANGELOG.md").read_text()


def test_the_citation_names_the_paper_of_each_card():
    papers = set(re.findall(r"arxiv\.org/abs/([\d.]+)", (ROOT / "CITATION.cff").read_text()))
    assert papers == {"2010.07810", "2002.11102", "2102.11382", "2010.03630"}


def test_every_extra_says_its_licences():
    page = (ROOT / "docs" / "install.md").read_text()
    named = set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE))
    needed = {
        re.split(r"[>=<\[]", each)[0]
        for extra, packages in PROJECT["optional-dependencies"].items()
        if extra not in ("test", "dev")
        for each in packages
    }
    assert needed <= named

"""What is found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Gravity = Literal["error", "warning", "note"]


class Finding(NamedTuple):
    """One thing that is the matter.

    Args:
        gravity: ``"error"`` where outputs are broken, ``"warning"`` where they are probably not what is wanted, else ``"note"``.
        what: In two or three words.
        text: In a sentence.
        remedy: A line to type in Python, or what to do.
        sites: Where; none where it is the whole model.
        command: A line to type in a shell, with ``MODEL`` for the model; empty where there is none.
    """

    gravity: Gravity
    what: str
    text: str
    remedy: str
    sites: tuple[str, ...] = ()
    command: str = ""

    @property
    def headline(self) -> str:
        """How grave it is, what, and where."""
        more = f" and {len(self.sites) - 3} more" if len(self.sites) > 3 else ""
        where = f" ({', '.join(self.sites[:3])}{more})" if self.sites else ""
        return f"{self.gravity}: {self.what}{where}"


@dataclass(frozen=True)
class Diagnosis:
    """What :func:`diagnose` found.

    Attributes:
        norms: how many norms there are, by class.
        branches: of a model that has some.
        verbs: what each verb would do.
        findings: what is the matter, the gravest first.
        environment: versions, devices, threads.
    """

    norms: Mapping[str, int]
    branches: tuple[str, ...]
    verbs: Mapping[str, str]
    findings: tuple[Finding, ...]
    environment: Mapping[str, str]

    def __post_init__(self) -> None:
        order = {"error": 0, "warning": 1, "note": 2}
        object.__setattr__(self, "findings", tuple(sorted(self.findings, key=lambda each: order[each.gravity])))

    def __repr__(self) -> str:
        norms = ", ".join(f"{number} {name}" for name, number in self.norms.items()) or "none"
        lines = [f"norms: {norms}" + (f"; branches {', '.join(self.branches)}" if self.branches else "")]
        lines += [f"{name}: {text}" for name, text in self.verbs.items()]
        lines += [f"{each.headline}. {each.text} Remedy: {each.remedy}" for each in self.findings]
        return "\n".join([*lines, *([] if self.findings else ["nothing is the matter"])])

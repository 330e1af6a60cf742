"""Branches that are the domains of the data: each image has one view and follows the branch of its domain."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from renorm.data import Images
from renorm.recipes.classify.config import DOMAINS, USUAL

if TYPE_CHECKING:
    from renorm.recipes.classify.config import Config

UNSEEN = -1


def resolved(config: Config, images: Images) -> Config:
    """The configuration with the names of the domains that are trained on, which are the model's branches.

    Raises:
        ValueError: If the data have no domains, or not those named.
    """
    if not config.by_domain:
        if config.domains:
            raise ValueError(
                f"--domains {' '.join(config.domains)} with the branches {', '.join(config.branches)}: domains are chosen where "
                f"they are the branches. Add --branches {DOMAINS}, or leave --domains out."
            )
        return config
    if images.domains is None or images.domain is None:
        raise ValueError(
            f"--branches {DOMAINS} with {images.name}, which has no domains: a Parquet file with a column 'domain' is needed. "
            f"Write one, or name views as branches."
        )
    present = [name for i, name in enumerate(images.domains) if bool((images.domain == i).any())]
    missing = [name for name in config.domains if name not in present]
    if missing or len(set(config.domains)) < len(config.domains) or len(config.domains or present) < 2:
        raise ValueError(
            f"the domains {', '.join(config.domains or present)} of {images.name}: two or more of {', '.join(present)} are "
            f"needed, each once. Choose them by --domains, or train without branches: --branches {USUAL} --norm shared."
        )
    return replace(config, domains=config.domains or tuple(present))


def trained_on(config: Config, images: Images) -> Images:
    """The images of the domains that are trained on; all of them where domains are no branches."""
    if not (config.by_domain and config.domains) or images.domain is None:
        return images
    return images.subset((rows(config, images) != UNSEEN).nonzero()[:, 0])


def rows(config: Config, images: Images) -> Tensor:
    """The branch of each image, -1 for a domain that is not trained on. Shape: ``(N,)`` int64."""
    assert images.domains is not None
    assert images.domain is not None
    index = [config.domains.index(name) if name in config.domains else UNSEEN for name in images.domains]
    return torch.tensor(index, dtype=torch.int64)[images.domain]


def check_domains(config: Config, processes: int) -> None:
    """Refuse what domains as branches cannot do.

    Raises:
        ValueError: For options that need each image in every branch, or statistics that would be pooled wrongly.
    """
    if not config.by_domain:
        return
    for given, why in (
        ("--ema" if config.average else "", "averaged weights are measured on views that every image has"),
        (
            f"--mix {config.mix.kind}" if config.mix else "",
            "partners are drawn within a branch, and few images of a step may share one",
        ),
        ("--views adv" if "adv" in config.view_names else "", "attacks have a branch of their own"),
        (
            "several processes" if processes > 1 and not config.network.sync_bn else "",
            "their parts of a domain differ in size",
        ),
    ):
        if given:
            remedy = "Add --sync-bn" if given.startswith("several") else "Leave it out"
            raise ValueError(f"{given} with --branches {DOMAINS}: {why}. {remedy}, or name views as branches.")

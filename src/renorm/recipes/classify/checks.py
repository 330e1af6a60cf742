"""What cannot be trained is refused before anything is written."""

import difflib
import math
from typing import get_args

from renorm.data import VIEWS as DATA_VIEWS
from renorm.data import Images
from renorm.recipes.classify.adversarial import check_attack
from renorm.recipes.classify.config import PRETRAINED, STYLIZED, VIEW, Config
from renorm.recipes.classify.domains import check_domains
from renorm.recipes.classify.groups import Averaging, Precision
from renorm.recipes.classify.mixing import check_mix, check_partners
from renorm.recipes.classify.stored import check_stored
from renorm.routing import check_names

VIEWS = (*DATA_VIEWS, VIEW, STYLIZED)


def check(config: Config, images: Images, processes: int = 1) -> None:
    """Refuse what cannot be trained, before anything is written.

    Raises:
        ValueError: For an unknown or repeated branch, a batch that does not divide, too few images, no labels, or a number
            out of its range.
    """
    _check_branches(config, images)
    _check_batch(config, images, processes)
    _check_ranges(config)
    _check_weights(config)
    _check_norms(config)
    _check_shard(config, processes)
    check_mix(config)
    check_partners(config, processes)
    check_attack(config)
    check_domains(config, processes)
    check_stored(config)
    if not images.classes or int(images.labels.min()) < 0:
        raise ValueError(
            f"{images.name} has no labels: training needs a class for every image. Put images into one folder per class, "
            "or use Parquet with a label column."
        )


def _check_branches(config: Config, images: Images) -> None:
    branches = check_names(config.branches)
    if len(config.view_names) != len(branches):
        raise ValueError(
            f"{len(config.views)} views ({', '.join(config.views)}) for the {len(branches)} branches {', '.join(branches)}: "
            "each branch needs one. Name as many --views, or leave them out where branches are called like their views."
        )
    for name in config.view_names:
        if name not in VIEWS:
            close = difflib.get_close_matches(name, VIEWS, n=1, cutoff=0.4)
            meant = f"Did you mean {close[0]!r}?" if close else "Choose one of them."
            raise ValueError(f"no view makes the branch {name!r}: one of {', '.join(VIEWS)} is needed. {meant}")
    size = images[0][0].shape[-1]
    config.views_by_branch(size)
    config.view("strong", size)  # evaluated with, whether it is trained on or not


def _check_batch(config: Config, images: Images, processes: int) -> None:
    branches, accumulate = config.branches, config.optimization.accumulate
    if config.rows % len(branches) or config.rows < 1:
        lower = max(1, config.rows // len(branches)) * len(branches)
        raise ValueError(
            f"a batch of {config.rows} does not divide among the {len(branches)} branches {', '.join(branches)}: "
            f"each needs as many rows. Use --batch {lower} or another multiple of {len(branches)}."
        )
    if len(images) < config.examples:
        raise ValueError(
            f"{len(images)} training images in {images.name}: one step needs {config.examples}. Lower --batch to "
            f"{len(images) * len(branches)} or less."
        )
    if accumulate < 1 or config.examples < accumulate * processes:
        raise ValueError(
            f"--accumulate {accumulate} on {processes} process{'es' * (processes > 1)} divides the {config.examples} "
            f"images of a step: each forward needs one. Use 1 to {max(1, config.examples // processes)}, or a larger --batch."
        )


def _check_weights(config: Config) -> None:
    if config.network.no_ema and config.network.weights in (None, PRETRAINED):
        given = "--weights pretrained" if config.network.weights else "no --weights"
        raise ValueError(
            f"--no-ema with {given}: it chooses among the weights of a file. Leave it out, or name a file by --weights."
        )


def _check_norms(config: Config) -> None:
    if config.network.share and not config.split:
        raise ValueError(
            f"--share with --norm {config.network.norm}, in which all is shared: it would do nothing. Leave it out, or add "
            "--norm split."
        )
    if config.network.sandwich_init == "identity":
        return
    how = config.network
    if how.norm != "sandwich" or how.weights is not None:
        given = f"--norm {how.norm}" if how.norm != "sandwich" else f"--weights {how.weights}"
        raise ValueError(
            f"--sandwich-init {how.sandwich_init} with {given}: it draws the affines of sandwich norms of a model that starts "
            "from random weights. Leave it out."
        )


def _check_shard(config: Config, processes: int) -> None:
    if not config.computing.shard:
        return
    if processes == 1:
        raise ValueError(
            "--shard in one process: it divides the model among several. Start them by torchrun --nproc-per-node N, or leave "
            "it out."
        )
    for given, option, why in (
        (config.average is not None, "--ema", "averaged weights are whole in each process"),
        (
            config.adversarial,
            f"the view {VIEW}",
            "attacks call the model as often as each process needs, and parts wait for all",
        ),
        (config.computing.compile, "--compile", "what is compiled would not be what is divided"),
        (config.computing.precision == "fp16", "--precision fp16", "each process would skip steps by its own part"),
        (
            config.network.sync_bn and not config.split,
            "--sync-bn --norm shared",
            "its checkpoint is a copy of the whole model",
        ),
    ):
        if given:
            raise ValueError(f"--shard with {option}: {why}. Leave one of them out.")


def _check_ranges(config: Config) -> None:
    steps, computing, writing = config.optimization, config.computing, config.writing
    average = config.average or Averaging(0.5)
    for name, value, good, needed in (
        ("--epochs", steps.epochs, steps.epochs >= 1, "1 or more are needed. Leave it out for 30."),
        ("--rate", steps.rate, 0 < steps.rate < math.inf, "a number above 0 is needed. Leave it out for 0.1."),
        ("--warmup", steps.warmup, 0 <= steps.warmup < math.inf, "0 or more epochs are needed. Leave it out for 1."),
        (
            "--momentum",
            steps.momentum,
            0 <= steps.momentum < 1,
            "from 0 to 1, without 1, is needed. Leave it out for 0.9.",
        ),
        ("--weight-decay", steps.weight_decay, 0 <= steps.weight_decay < math.inf, "0 or more is needed. Try 5e-4."),
        (
            "--save-every",
            writing.save_every,
            writing.save_every >= 0,
            "0 or more steps are needed. Leave it out for each epoch.",
        ),
        (
            "--num-workers",
            computing.num_workers,
            computing.num_workers >= 0,
            "0 or more processes are needed. Leave it out for 0.",
        ),
        ("--ema", average.decay, 0 < average.decay < 1, "a decay between 0 and 1 is needed. Try 0.999."),
        ("--ema-images", average.images, average.images >= 1, "at least 1 is needed. Leave it out for 2048."),
        (
            "--label-smoothing",
            steps.label_smoothing,
            0 <= steps.label_smoothing < 1,
            "a share from 0 to 1, without 1, is needed. Try 0.1.",
        ),
        (
            "--precision",
            computing.precision,
            computing.precision in get_args(Precision),
            "no, bf16 or fp16 is needed. Leave it out for no.",
        ),
    ):
        if not good:
            raise ValueError(f"{name} {value}: {needed}")

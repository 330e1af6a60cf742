"""Does a norm that knows classes make better pictures, and which statistics should they be made with? Four arms of one network.

    python experiments/generate/study.py digits runs/generate --seeds 0 1 2 3 4
    python experiments/generate/study.py cifar10 runs/generate --data CIFAR10 --seeds 0 1
    python experiments/generate/study.py gpu runs/generate --data CIFAR10 --arms conditional sandwich

SNGAN at 16 pixels, 5 steps of the discriminator for each of the generator, batches of 32 and 64, average .999. Digits: 16
channels, 4,000 steps; CIFAR-10: the same with 32 channels; ``gpu``: CIFAR-10 at 32 pixels, half the published width. Both
norms are one function class, so the third arm is the control: tables at twice the rate.

Of each last checkpoint the table bank x measure is written, of as many pictures as there are test images, at most 2,000, in
the features of one resnet8 trained on the same images. Stop it whenever you like and start it again: a run goes on from its
checkpoint.
"""

from __future__ import annotations

import argparse
import shutil
import time
from dataclasses import replace
from pathlib import Path

import torch

from renorm.files import write_atomically
from renorm.recipes import Evaluation, fit, open_run, prepare, prepare_table
from renorm.recipes.generate import Config, train_own
from renorm.train import Run, checkpoint

ARMS = {
    "shared": {"norm": "shared"},
    "conditional": {"norm": "conditional"},
    "conditional-2x": {"norm": "conditional", "table_factor": 2.0},
    "sandwich": {"norm": "sandwich"},
}
SMALL = Config(
    size=16, width=16, critic_width=16, latent=64, batch=32, generated=64, steps=4000, each=500, save_every=250
)
SETTINGS = {
    "digits": replace(SMALL, data="digits"),
    "cifar10": replace(SMALL, data="cifar10", width=32, critic_width=32),
    "gpu": replace(SMALL, data="cifar10", size=32, width=128, critic_width=64, batch=64, generated=128, latent=128),
}
BANKS = ("real", "recalibrated", "running", "batch:64", "truncated:1")


def main() -> None:
    """Run the arms that are not there yet, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=list(SETTINGS))
    parser.add_argument("runs", type=Path)
    parser.add_argument("--data", help="images, as renorm train takes them")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--device", default=None)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    config = SETTINGS[asked.setting]
    config = replace(config, data=asked.data or config.data, steps=asked.steps or config.steps)
    config = replace(config, each=min(config.each, config.steps))
    for seed in asked.seeds:
        for arm in asked.arms:
            path = asked.out / asked.setting / f"{arm}-{seed}.csv"
            if not path.exists():
                started = time.time()
                run = trained(
                    asked.runs / f"{asked.setting}-{arm}-{seed}", replace(config, seed=seed, **ARMS[arm]), asked.device
                )
                measured(run, asked.runs / f"{asked.setting}-features", path, asked.device)
                print(f"{time.strftime('%H:%M:%S')} {path.name} in {time.time() - started:.0f} s", flush=True)


def trained(folder: Path, config: Config, device: str | None) -> Path:
    """The run of an arm, trained or gone on with."""
    fit(prepare(config, device), folder, resume=(folder / "config.json").exists())
    return folder


def measured(folder: Path, features: Path, path: Path, device: str | None) -> None:
    """Write the table of a run beside the others'."""
    run = open_run(folder, device)
    if not checkpoint.versions(features / "checkpoint"):
        shutil.rmtree(features, ignore_errors=True)
        train_own(run, features)
    asked = Evaluation(banks=BANKS, features=str(features))
    table = Run(folder).results
    prepare_table("generate", run, asked, model=folder.name).compute(table)
    write_atomically(path, table.read_bytes())  # what each picture adds stays with the run


if __name__ == "__main__":
    main()

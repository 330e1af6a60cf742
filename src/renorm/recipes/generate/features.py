"""What generated pictures are looked at with: the last features of a classifier, and its classes where they are the run's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from renorm.evaluate import fingerprint
from renorm.models import Classifier
from renorm.notice import notice
from renorm.recipes.generate.opened import GeneratorRun
from renorm.train import Run

OWN, SAMPLE = "own", "efficientnet-lite0"
NETWORK, SHOWN = "resnet8", 60_000  # of the run's own features, and images that it trains on, counting each time
ROWS = 256


@dataclass(frozen=True)
class Looked:
    """What a network says of pictures. Shape: ``(N, D)`` and ``(N, outputs)``."""

    features: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Space:
    """A network whose last features pictures are compared in.

    Args:
        name: Of the network, with the beginning of the hash of its weights.
        classifier: The network, frozen and in evaluation mode.
        agrees: Whether its outputs are the generator's classes.
    """

    name: str
    classifier: Classifier
    agrees: bool

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Looked:
        """Look at pictures. Shape: uint8 ``(N, 3, H, W)``."""
        net, found = self.classifier.model, list[Tensor]()
        handle = last_linear(net).register_forward_pre_hook(lambda module, given: found.append(given[0].flatten(1)))
        try:
            logits = [net(self._fitted(part)) for part in pixels.split(ROWS)]
        finally:
            handle.remove()
        return Looked(torch.cat(found).cpu(), torch.cat(logits).float().cpu())

    def _fitted(self, pixels: Tensor) -> Tensor:
        size, x = self.classifier.size, pixels.to(self.classifier.device).float() / 255
        if size is not None and x.shape[-1] != size:
            x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
        return self.classifier.normalize(x)


def last_linear(model: nn.Module) -> nn.Linear:
    """The layer that gives classes.

    Raises:
        ValueError: If there is none.
    """
    found = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no linear layer: features are what the last one is given. Name a classifier with one."
        )
    return found[-1]


def space_of(run: GeneratorRun, name: str = OWN) -> Space:
    """The space of a name.

    Args:
        run: Whose pictures are looked at.
        name: ``own``, a small classifier trained on the run's images and kept in its folder; ``efficientnet-lite0``; the folder
            of a classifier's run; or a model of timm or torchvision.

    Raises:
        ValueError: If there is no such network, or several processes would train one.
    """
    if name == SAMPLE:
        from renorm.models import load_sample

        model = load_sample().to(run.device)
        return _space(SAMPLE, Classifier(model, (0.5,) * 3, (0.5,) * 3, size=224), run)
    from renorm.recipes.classify.named import open_named, open_run

    if name == OWN:
        own = run.path / "features"
        if not (own / "checkpoint").exists():
            train_own(run, own)
        return _space(NETWORK, open_run(own, str(run.device)).classifier, run)
    if (Path(name) / "config.json").exists():
        named = open_run(Path(name), str(run.device))
        return _space(named.config.network.model, named.classifier, run)
    return _space(name, open_named(name, device=str(run.device)).classifier, run)


def _space(name: str, classifier: Classifier, run: GeneratorRun) -> Space:
    model = classifier.model.eval().requires_grad_(False)
    return Space(f"{name} {fingerprint(model)[:6]}", classifier, tuple(classifier.classes) == run.classes)


def train_own(run: GeneratorRun, folder: Path) -> Run:
    """Train the run's own features into a folder: the same for all runs on the same images."""
    from renorm.data import load
    from renorm.recipes.classify import configured
    from renorm.recipes.runs import fit, prepare

    if dist.is_initialized() and dist.get_world_size() > 1:
        raise ValueError(
            f"no features in {folder} and {dist.get_world_size()} processes: one trains them. Evaluate once by a single process, "
            "or name a network by --features."
        )
    config, size = run.config, run.model.size
    epochs = max(4, SHOWN // len(load(config.data, size=size)))
    notice(f"training {NETWORK} on {config.data} for the run's own features, {epochs} epochs, into {folder}")
    asked = configured(
        model=NETWORK, data=config.data, size=size, branches=("weak",), norm="shared", epochs=epochs, table_images=0
    )
    return fit(prepare(asked, str(run.device)), folder)

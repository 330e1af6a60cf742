"""What a forward computes in: ``no`` is the weights' own type, the others autocast half types beside it."""

import torch

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
SCALED = ("cpu", "cuda")  # where scaled losses are known to work


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context of a forward."""
    return torch.autocast(device.type, HALVES.get(precision, torch.bfloat16), enabled=precision in HALVES)


def scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """What scales a loss, so that gradients do not vanish in the small range of ``fp16``; elsewhere it changes nothing.

    Raises:
        ValueError: For ``fp16`` on a device where losses cannot be scaled.
    """
    scaling = precision == "fp16"
    if scaling and device.type not in SCALED:
        raise ValueError(
            f"--precision fp16 on {device.type}: a loss has to be scaled for it, which works on {' and '.join(SCALED)}. Use bf16."
        )
    return torch.amp.GradScaler(device.type, enabled=scaling)

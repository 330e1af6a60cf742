"""Trained weights from the libraries' caches and the network, or word within seconds that they cannot be had."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import torch

from renorm.extras import require

SECONDS = 3.0
TORCHVISION = "https://download.pytorch.org"


def reachable(url: str, seconds: float = SECONDS) -> bool:
    """Whether a server answers in time, whatever it says; names that nobody resolves are waited for no longer either."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
                answers.append(True)
        except urllib.error.HTTPError:
            answers.append(True)
        except (OSError, ValueError):
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answers)


@contextmanager
def fetching(name: str, url: str | None = None) -> Iterator[None]:
    """Tell in one message that weights cannot be fetched, soon where no server answers.

    Args:
        name: Of the model.
        url: Of a file that is fetched; without it the Hugging Face hub is asked, whose cache is used where it does not answer.

    Raises:
        OSError: They cannot be had.
    """
    try:
        if url is None:
            with _hub():
                yield
        elif is_cached(url) or reachable(url):
            yield
        else:
            raise ConnectionError(f"no answer from {urlparse(url).netloc}")
    except ImportError:
        raise
    except Exception as error:  # each library has its own exceptions for a missing network
        first = (str(error).strip().splitlines() or [""])[0]
        raise OSError(
            f"the trained weights of {name} could not be fetched ({type(error).__name__}: {first[:200]}): a network, or a file "
            "of them, is needed. Download them elsewhere and add --weights FILE."
        ) from error


def is_cached(url: str) -> bool:
    """Whether torch has the file already."""
    return (Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name).is_file()


@contextmanager
def _hub() -> Iterator[None]:
    """The hub's client does not try again and again where there is no network, but uses its cache, or fails at once."""
    constants = require("huggingface_hub.constants")
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before

"""Networks of one's own, named by the code that makes them: ``package.module:function`` or ``file.py:function``.

Making one runs that code. A name that stands in a run or a file, rather than being typed, is not followed until it is trusted.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

KINDS = ("timm", "torchvision", "hf_hub", "hf-hub", "cell")  # what stands before names of networks, and is no module
_trusted: set[str] = set()


def is_code(name: str) -> bool:
    """Whether a name is of this form; the code need not be there.

    Example:
        >>> is_code("nets.py:small"), is_code("my.nets:small"), is_code("resnet20")
        (True, True, False)
    """
    place, colon, function = name.rpartition(":")
    parts = [] if place.endswith(".py") else place.split(".")
    named = bool(colon) and place not in KINDS
    return named and function.isidentifier() and all(part.isidentifier() for part in parts)


def whole(name: str) -> str:
    """The name with the whole path of its file, so that it means the same from any folder."""
    place, _, function = name.rpartition(":")
    return f"{Path(place).absolute()}:{function}" if place.endswith(".py") else name


def trust(name: str) -> None:
    """Let a name that stands in a run or a file be followed, in this process, as one that was typed."""
    _trusted.add(whole(name))


def check_trusted(name: str, where: object) -> None:
    """Refuse to run code because a file names it.

    Args:
        name: As the file has it.
        where: The file.

    Raises:
        ValueError: If nobody typed it or said that it is trusted.
    """
    if is_code(name) and whole(name) not in _trusted:
        raise ValueError(
            f"{where} says that its network is made by the code {name}, which opening it would run. Somebody who trusts it is "
            f"needed. Look at it, and add --trust-code, in Python renorm.models.trust({name!r})."
        )


def by_code(name: str, num_classes: int | None, options: Mapping[str, Any]) -> nn.Module:
    """The network that a function makes, which is told the number of classes and further options.

    Raises:
        ValueError: There is no such code, it takes no such options, or makes no network.
        RuntimeError: It fails.
    """
    place, _, function = name.rpartition(":")
    given = dict(options) if num_classes is None else {"num_classes": num_classes, **options}
    trust(name)
    with _beside(Path(place).absolute().parent if place.endswith(".py") else Path.cwd()):
        make = _function(name, _module(name, place), function)
        _check_takes(name, make, given)
        try:
            made = make(**given)
        except (Exception, SystemExit) as error:
            raise _fails(name, error) from error
    if not isinstance(made, nn.Module):
        raise ValueError(
            f"{name} gives a {type(made).__name__}. A torch.nn.Module is needed. Let it return the network."
        )
    return made


@contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """Modules of a folder can be imported, as they can where Python runs a file of it."""
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before


def _module(name: str, place: str) -> ModuleType:
    try:
        return _of_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name} names the file {place}, which is not there. Check the path.") from error
    except ModuleNotFoundError as error:
        if error.name is None or (place != error.name and not place.startswith(f"{error.name}.")):
            raise _fails(name, error) from error
        raise ValueError(
            f"no network is called {name!r}: there is no module {error.name} here, nor a library of that name. A name that "
            "create knows is needed, or code: package.module:function, file.py:function. Check it, or install the package."
        ) from error
    except (Exception, SystemExit) as error:  # a script without a guard parses this command's options, and exits
        raise _fails(name, error) from error


def _of_file(path: Path) -> ModuleType:
    """A file as a module that is run once, under a name that others cannot have."""
    if not path.is_file():
        raise FileNotFoundError(str(path))
    title = f"{path.stem}_{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:12]}"
    if title not in sys.modules:
        spec = importlib.util.spec_from_file_location(title, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[title] = importlib.util.module_from_spec(spec)  # where pickles and dataclasses look for it
        try:
            spec.loader.exec_module(sys.modules[title])
        except BaseException:
            del sys.modules[title]
            raise
    return sys.modules[title]


def _function(name: str, module: ModuleType, function: str) -> Any:
    found = getattr(module, function, None)
    if found is None:
        own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        near = difflib.get_close_matches(function, own, n=3) or own[:3]
        raise ValueError(
            f"{name}: no {function} there. A function that makes a network is needed. There are {', '.join(near)}."
        )
    if isinstance(found, nn.Module) or not callable(found):
        raise ValueError(
            f"{name} is a {type(found).__name__}. A function or class that makes a network is needed, as each use needs one of "
            f"its own. Add one: def make(): return ..., and name that."
        )
    return found


def _check_takes(name: str, make: Any, given: Mapping[str, Any]) -> None:
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):  # some that C makes have none
        return
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return
    lacking = [
        key for key in given if key not in {each.name for each in parameters if each.kind is not each.VAR_POSITIONAL}
    ]
    if lacking:
        raise ValueError(
            f"{name} takes no {', '.join(lacking)}. What is asked for must reach the network. Give it such an argument, or leave "
            f"{' and '.join(f'{key}' for key in lacking)} out (num_classes=None in Python)."
        )


def _fails(name: str, error: BaseException) -> RuntimeError:
    first = (str(error).splitlines() or [""])[0]
    return RuntimeError(
        f"{name} fails ({type(error).__name__}: {first}). Code that makes a network is needed. Call it by itself to see where."
    )

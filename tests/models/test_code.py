"""Networks of one's own, named by their code."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from renorm.models import check_trusted, create, is_code, trust, whole

NETS = """
from torch import nn
from widths import WIDTH

class Net(nn.Module):
    def __init__(self, num_classes=4, depth=1):
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, num_classes)
        self.depth = depth

def make(**options):
    return Net(**options)

def fixed():
    return Net()

def broken():
    raise KeyError("width")

def nothing():
    return 3

def script():
    raise SystemExit(0)

made, number = Net(), 3
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of networks that imports its neighbour, and a package of the same."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("renorm.models.code._trusted", set())
    (tmp_path / "widths.py").write_text("WIDTH = 6\n")
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "__init__.py").touch()
    (tmp_path / "ours" / "models.py").write_text(NETS)
    (tmp_path / "bad.py").write_text("import not_there\n")
    for name in ("widths", "ours", "ours.models"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize("place", ["nets.py", "{folder}/nets.py", "ours.models"])
@pytest.mark.parametrize("function", ["make", "Net"])
def test_code_makes_a_network(place: str, function: str, nets: Path):
    before = list(sys.path)
    network = create(f"{place.format(folder=nets)}:{function}", num_classes=3, depth=2)
    assert (network.get_parameter("head.weight").shape, vars(network)["depth"]) == ((3, 6), 2)
    assert create(f"{place.format(folder=nets)}:fixed", num_classes=None).get_parameter("head.bias").shape == (4,)
    assert sys.path == before
    again = pickle.loads(pickle.dumps(network))
    assert torch.equal(again.head.weight, network.get_parameter("head.weight"))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "nets.py:fixed",
            ValueError,
            r"takes no num_classes\. .* must reach the network\. Give it .* \(num_classes=None",
        ),
        ("nets.py:mke", ValueError, r"no mke there\. .* is needed\. There are make"),
        ("nets.py:made", ValueError, r"made is a Net\. A function or class .* is needed.*Add one: def make"),
        ("nets.py:number", ValueError, r"number is a int\. A function or class"),
        (
            "nets.py:broken",
            RuntimeError,
            r"nets.py:broken fails \(KeyError: 'width'\)\. Code that makes .* Call it by itself",
        ),
        ("nets.py:script", RuntimeError, r"nets.py:script fails \(SystemExit: 0\)\. Code that makes"),
        ("nets.py:nothing", ValueError, r"nothing gives a int\. A torch.nn.Module is needed\. Let it return"),
        ("bad.py:make", RuntimeError, r"bad.py:make fails \(ModuleNotFoundError: No module named 'not_there'\)"),
        ("none.py:make", FileNotFoundError, r"names the file none.py, which is not there\. Check the path"),
        (
            "ours.none:make",
            ValueError,
            r"no network is called 'ours.none:make': there is no module ours.none here.*Check it",
        ),
        (
            "tim:resnet18",
            ValueError,
            r"no network is called 'tim:resnet18': there is no module tim here, nor a library",
        ),
    ],
)
def test_what_is_no_network_is_told(name: str, error: type[Exception], message: str, nets: Path):
    num_classes = 10 if name.endswith("fixed") else None
    with pytest.raises(error, match=message):
        create(name, num_classes=num_classes)


@pytest.mark.parametrize(
    "name", ["timm:resnet18", "torchvision:resnet18", "hf_hub:timm/x", "resnet20", "a b:c", "x:3", ":f"]
)
def test_other_names_are_no_code(name: str):
    assert not is_code(name)


def test_code_that_a_file_names_is_not_run_until_it_is_trusted(nets: Path):
    name = f"{nets}/nets.py:trusted"
    with pytest.raises(
        ValueError, match=r"^w says that its network is made by the code .*nets.py:trusted, .* add --trust-code"
    ):
        check_trusted(name, "w")
    trust("nets.py:trusted")  # the same file, from its folder
    check_trusted(name, "w")
    check_trusted("timm:resnet18", "w")
    assert whole("nets.py:make") == f"{nets}/nets.py:make"
    assert whole("ours.models:make") == "ours.models:make"
    with pytest.raises(ValueError, match="says that its network"):
        check_trusted("ours.models:make", "w")
    assert isinstance(create("ours.models:make", num_classes=None), nn.Module)
    check_trusted("ours.models:make", "w")  # as it was typed

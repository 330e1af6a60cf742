"""A run finds its data from wherever it is opened."""

import json
from pathlib import Path

import pytest

from renorm.recipes import RECIPES, config_of, described, located, options_at, prepare
from renorm.recipes import configured as configured_of
from renorm.recipes.classify import Config, configured, read


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from PIL import Image

    for label in "ab":
        (tmp_path / "here" / "photos" / label).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (16, 16), (20 * i, 0, 0)).save(tmp_path / "here" / "photos" / label / f"{i}.png")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def test_paths_are_stored_whole_and_as_typed(photos: Path, monkeypatch: pytest.MonkeyPatch):
    recipe = prepare(configured(data="photos", model="resnet8", branches=("weak",), norm="shared", batch=4))
    about = json.loads(json.dumps(recipe.describe()))
    assert about["config"]["source"]["data"] == str(photos / "here" / "photos")
    assert about["typed"] == {"data": "photos"}
    assert options_at(about)["data"] == "photos"
    monkeypatch.chdir(photos / "elsewhere")
    train, test = read(config_of(about))
    assert (train.name, len(train), len(test)) == (str(photos / "here" / "photos"), 16, 4)
    with pytest.raises(FileNotFoundError, match="nothing at photos"):
        read(configured(data="photos"))


def test_names_stay(photos: Path, monkeypatch: pytest.MonkeyPatch):
    (photos / "here" / "digits").mkdir()
    (photos / "here" / "pretrained").mkdir()
    config = configured(data="digits", test="nowhere", weights="pretrained")
    assert located(config) == config
    assert located(located(configured(data="photos"))) == located(configured(data="photos"))
    (photos / "here" / "link").symlink_to(photos / "here" / "photos")
    assert located(configured(data="link")).source.data == str(photos / "here" / "link")
    assert located(Config()) == Config()


@pytest.mark.parametrize(
    ("recipe", "names"),
    [("generate", ["data"]), ("search", ["data", "table"]), ("stylize", ["contents", "styles", "encoder", "decoder"])],
)
def test_other_recipes_store_whole_paths_too(photos: Path, recipe: str, names: list[str]):
    kind = RECIPES[recipe].config
    about = json.loads(json.dumps(described(configured_of(kind, **dict.fromkeys(names, "photos")))))
    assert {about["config"][name] for name in names} == {str(photos / "here" / "photos")}
    assert about["typed"] == dict.fromkeys(names, "photos")
    assert {options_at(about)[name] for name in names} == {"photos"}
    assert described(kind())["typed"] == {}

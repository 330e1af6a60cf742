"""``renorm adapt``: what it tells, what it writes, the curve, and what it refuses."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

import renorm
from renorm.cli import curve
from renorm.cli.adaptation import pixels
from renorm.evaluate import divide, read_results
from renorm.models import create
from renorm.recipes import NamedModel, open_file, open_named
from tests.cli.conftest import Command

SOURCE = ("resnet8", "--weights", "w.safetensors", "--mean", *["0.5"] * 3, "--std", *["0.25"] * 3)


def close_to_images(named: NamedModel) -> None:
    """Give a network the statistics of the images, so that these are not shifted, and outputs that tell them apart."""
    model, x = named.classifier.model, named.classifier.normalize(named.images("digits").batch(range(256))[0])
    renorm.recalibrate_(model, [x], passes=2)
    linear = model.get_submodule("linear")
    with torch.no_grad():
        y = model(x)
        linear.get_parameter("weight").div_(y.std(0)[:, None])
        linear.get_parameter("bias").sub_(y.mean(0)).div_(y.std(0))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network whose statistics are those of the digits."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(create("resnet8").state_dict(), path)
    named = open_named("resnet8", path, normalization=([0.5] * 3, [0.25] * 3))
    close_to_images(named)
    save_file(named.classifier.model.state_dict(), path)
    return path


@pytest.fixture
def here(tmp_path: Path, weights: Path) -> Path:
    """The working directory of a command, with the weights in it."""
    return Path(shutil.copy(weights, tmp_path / "w.safetensors")).parent


@pytest.fixture
def dark(here: Path) -> Path:
    """A flat folder of digits that a camera took too dark: without labels."""
    folder = here / "dark"
    folder.mkdir()
    for i, image in enumerate(renorm.data.load("digits", split="test").batch(range(40))[0]):
        Image.fromarray((image.permute(1, 2, 0) // 4).numpy()).save(folder / f"{i:02}.png")
    return folder


def named(here: Path) -> NamedModel:
    return open_named("resnet8", here / "w.safetensors", normalization=([0.5] * 3, [0.25] * 3))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_more_images_than_pass_at_once_are_refused(weights: Path, monkeypatch: pytest.MonkeyPatch):
    named = open_named("resnet8", weights, normalization=([0.5] * 3, [0.25] * 3))
    images = named.images("digits").subset(range(9))
    monkeypatch.setattr("renorm.cli.adaptation.PIXELS", 9 * images[0][0][0].numel())
    assert len(pixels(named, images)) == 9
    monkeypatch.setattr("renorm.cli.adaptation.PIXELS", 9 * images[0][0][0].numel() - 1)
    with pytest.raises(
        ValueError, match=r"--num-images 9 would pass the model at once.*At most 8 .*renorm recalibrate"
    ):
        pixels(named, images)


def test_a_shift_is_told_from_chance_and_the_weight_is_chosen(renorm_command: Command, here: Path, dark: Path):
    result = renorm_command("adapt", *SOURCE, "--images", dark, "--bank", "b.safetensors", "--seed", "3")
    assert result.status == 0, result.err
    own = named(here)
    few, _ = divide(own.images(str(dark)), 32, 3)
    adaptation = renorm.adapt_(own.classifier.model, pixels(own, few), "auto")
    assert 0 < adaptation.source_weight < 1
    assert adaptation.evidence is not None
    overall = float(adaptation.evidence.gap.mean().sqrt())
    assert re.search(rf"all 7 sites +root mean square +{overall:.3f}", result.out)
    assert f"beyond sampling noise: {overall:.3f}" in result.out
    assert f"the source keeps a weight of {adaptation.source_weight:.3f}; chosen from the images" in result.out
    assert re.search(r"on the 8 other images.*\n +predictions that change +\d", result.out)
    assert len(re.findall(r"mean confidence (?:before|after) +\d+\.\d% \[", result.out)) == 2
    assert "no accuracy: " in result.out
    assert "images without a label" in result.out
    bank = renorm.Bank.load("b.safetensors")
    assert max(renorm.Bank.of(own.classifier.model).distance(bank).values()) == 0
    assert "dark: adapted 7 sites to 32 images" in (bank.data or "")
    assert names(here) == ["b.safetensors", "dark", "w.safetensors"]


def test_it_abstains_where_there_is_no_shift_and_the_bank_is_the_source(renorm_command: Command, here: Path):
    result = renorm_command("adapt", *SOURCE, "--images", "digits", "--num-judged", "50", "--bank", "b.safetensors")
    assert result.status == 0, result.err
    assert "within sampling noise" in result.out
    assert "abstained: the source statistics are kept bit for bit, nothing was changed" in result.out
    assert "predictions that change  0.0% [0.0%, 0.0%]" in result.out
    assert "change                   +0.0 [+0.0, +0.0] points" in result.out
    own, bank = renorm.Bank.of(named(here).classifier.model), renorm.Bank.load("b.safetensors")
    for site, statistics in own.sites.items():
        assert_close((bank.sites[site].mean, bank.sites[site].var), (statistics.mean, statistics.var), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "how"),
    [
        (["--prior", "16"], {"prior": 16}),
        (["--prior", "inf"], {"prior": float("inf")}),
        (["--weight", "0.25", "--only", "mean"], {"weight": 0.25, "only": "mean"}),
        (["--prior", "auto", "--only", "variance"], {"prior": "auto", "only": "variance"}),
    ],
    ids=str,
)
def test_every_way_to_adapt_is_the_librarys(
    renorm_command: Command, here: Path, dark: Path, options: list[str], how: dict[str, float]
):
    arguments = ["--images", dark, "--num-images", "24", "--fold", "f.safetensors", *options]
    result = renorm_command("adapt", *SOURCE, *arguments)
    assert result.status == 0, result.err
    own = named(here)
    few, _ = divide(own.images(str(dark)), 24, 0)
    adaptation = renorm.adapt_(own.classifier.model, pixels(own, few), **how)  # type: ignore[arg-type]
    assert_close(load_file("f.safetensors"), dict(own.classifier.model.state_dict()), rtol=0, atol=0)
    if adaptation.source_weight == 1:
        assert "as asked: the source statistics are kept bit for bit" in result.out
    else:
        assert f"a weight of {adaptation.source_weight:.3f}" in result.out
    assert ("auto would keep" in result.out) == (how.get("prior") not in ("auto", float("inf")))
    assert (f", {adaptation.only} only" in result.out) == ("only" in how)


def test_with_labels_before_and_after_are_measured_on_the_other_images(renorm_command: Command, here: Path):
    options = ["--num-images", "50", "--num-judged", "200", "--weight", "0"]
    result = renorm_command("adapt", *SOURCE, "--images", "digits", *options)
    assert result.status == 0, result.err
    own = named(here)
    few, rest = divide(own.images("digits"), 50, 0)
    judged = renorm.data.sample(rest, 200, 0)

    def accuracy() -> float:
        with torch.no_grad():
            return float((own.classifier.model(pixels(own, judged)).argmax(1) == judged.labels).double().mean())

    before = accuracy()
    renorm.adapt_(own.classifier.model, pixels(own, few), weight=0)
    assert "on the 200 other images" in result.out
    for word, value in (("before", before), ("after ", accuracy())):
        assert re.search(rf"accuracy {word} +{value:.1%} \[", result.out)
    assert accuracy() != before
    assert re.search(rf"change +{re.escape(f'{100 * (accuracy() - before):+.1f}')} \[", result.out)


def test_all_images_or_a_single_one(renorm_command: Command, here: Path, dark: Path):
    result = renorm_command("adapt", *SOURCE, "--images", dark, "--num-images", "40")
    assert result.status == 0, result.err
    assert "on the 40 images adapted to" in result.out
    assert "no images are left that it was not adapted to" in result.out
    result = renorm_command("adapt", *SOURCE, "--images", dark, "--num-images", "1")
    assert result.status == 0, result.err
    assert "one image cannot tell a shift from chance" in result.out
    assert "adapted to 1 image of" in result.out
    for path in sorted(dark.iterdir())[5:]:
        path.unlink()
    assert "adapted to 5 images" in renorm_command("adapt", *SOURCE, "--images", dark, "--prior", "2").out


def adapted(here: Path, dark: Path) -> tuple[Tensor, Tensor]:
    """The images adapted to by default, and what the model gives for them when they replace its statistics."""
    own = named(here)
    few, _ = divide(own.images(str(dark)), 32, 0)
    x = pixels(own, few)
    return x, renorm.adapt_(own.classifier.model, x, 0).output


def test_a_program_is_the_adapted_model(renorm_command: Command, here: Path, dark: Path):
    result = renorm_command("adapt", *SOURCE, "--images", dark, "--prior", "0", "--program", "m.pt2")
    assert result.status == 0, result.err
    assert re.search(r"equal to the model within .* on batches of 1 and 4", result.out)
    assert "takes float32 images (batch, 3, 16, 16)" in result.out
    x, expected = adapted(here, dark)
    assert_close(torch.export.load("m.pt2").module()(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_onnx_is_the_adapted_model(renorm_command: Command, here: Path, dark: Path):
    import onnxruntime

    result = renorm_command("adapt", *SOURCE, "--images", dark, "--prior", "0", "--onnx", "m.onnx")
    assert result.status == 0, result.err
    x, expected = adapted(here, dark)
    session = onnxruntime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"])
    found: Tensor = torch.from_numpy(session.run(None, {"images": x.numpy()})[0])
    assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_timm_models_take_images_of_any_size(renorm_command: Command, tmp_path: Path):
    import timm

    save_file(timm.create_model("test_efficientnet").state_dict(), tmp_path / "w.safetensors")
    (tmp_path / "photos").mkdir()
    for i, size in enumerate([(200, 120), (64, 64), (161, 400), (160, 160)]):
        noise = torch.randint(256, (size[1], size[0], 3), dtype=torch.uint8, generator=torch.manual_seed(i))
        Image.fromarray(noise.numpy()).save(tmp_path / "photos" / f"{i}.png")
    options = ["--weights", "w.safetensors", "--images", "photos", "--prior", "4", "--bank", "b.safetensors"]
    result = renorm_command("adapt", "timm:test_efficientnet", *options)
    assert result.status == 0, result.err
    assert "nearer sites left out" in result.out
    own = open_named("timm:test_efficientnet", tmp_path / "w.safetensors")
    few, _ = divide(own.images("photos"), 4, 0)
    assert few[0][0].shape == (3, 160, 160)
    renorm.adapt_(own.classifier.model, pixels(own, few), 4)
    assert max(renorm.Bank.of(own.classifier.model).distance(renorm.Bank.load("b.safetensors")).values()) < 1e-6


def test_a_folded_file_is_adapted_again(renorm_command: Command, here: Path, trained: Path):
    assert renorm_command("fold", trained, "--branch", "weak", "--out", "f.safetensors").status == 0
    result = renorm_command("adapt", "f.safetensors", "--images", "digits", "--fold", "g.safetensors")
    assert result.status == 0, result.err
    assert open_file(here / "g.safetensors").classifier.branches == ()


def test_evaluate_takes_the_automatic_prior(renorm_command: Command, here: Path):
    options = ["--shifts", "clean", "contrast:5", "--adapt", "32", "--num-images", "60", "--out", "t.csv"]
    result = renorm_command("evaluate", *SOURCE, "--data", "digits", "--prior", "auto", *options)
    assert result.status == 0, result.err
    found = read_results(Path("t.csv"))
    assert found.protocol.banks["adapted"] == "adapted to 32 images of each shift, prior auto"
    clean = {row.bank: row.value for row in found.only() if row.shift == "clean"}
    assert clean["adapted"] == clean["source"]
    result = renorm_command("evaluate", *SOURCE, "--data", "digits", "--prior", "-1", *options[:-1], "u.csv")
    assert result.status == 1
    assert re.search(r"prior=-1.0 was given. It is a number of images, 0 or more. Use", result.err)


CURVE = ["--images", "digits", "--curve", "--sizes", "2", "8", "--draws", "2", "--num-judged", "20"]


def test_a_curve_is_a_picture_with_its_numbers_beside_it(renorm_command: Command, here: Path):
    options = ["--shifts", "clean", "contrast:5", "--methods", "auto", "0", "16:mean", "--out", "plots/c.png"]
    result = renorm_command("adapt", *SOURCE, *CURVE, *options)
    assert result.status == 0, result.err
    assert names(here) == ["plots", "w.safetensors"]
    assert names(here / "plots") == ["c.csv", "c.png"]
    with Image.open(here / "plots" / "c.png") as picture:
        assert picture.width >= 1000
    with (here / "plots" / "c.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["method"] for line in lines} == {"source", "auto", "full replacement", "prior 16, mean only"}
    assert {line["shift"] for line in lines} == {"clean", "contrast", "mean"}
    assert {line["images"] for line in lines} == {"2", "8"}
    assert {(line["draws"], line["judged"], line["seed"]) for line in lines} == {("2", "20", "0")}
    assert all(line["command"].startswith("renorm") and line["model_hash"] for line in lines)
    assert all(float(line["low"]) <= float(line["accuracy"]) <= float(line["high"]) for line in lines)
    assert "mean over 2 shifts; resnet8 w.safetensors on digits" in result.out
    assert re.search(r"prior 16, mean only +\d+\.\d ±", result.out)


def test_a_curve_that_was_stopped_goes_on(renorm_command: Command, here: Path, monkeypatch: pytest.MonkeyPatch):
    from renorm.evaluate import curve as module

    done, one_draw = [], module.one_draw

    def once(*arguments: object) -> object:
        if done:
            raise KeyboardInterrupt
        done.append(arguments)
        return one_draw(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(module, "one_draw", once)
        result = renorm_command("adapt", *SOURCE, *CURVE)
    assert result.status == 130
    assert names(here) == [".curve.curve", "w.safetensors"]
    counted: list[object] = []
    monkeypatch.setattr(module, "one_draw", lambda *a: counted.append(a) or one_draw(*a))
    result = renorm_command("adapt", *SOURCE, *CURVE)
    assert result.status == 0, result.err
    assert "going on with what is in .curve.curve/" in result.out
    assert len(counted) == 1
    assert names(here) == ["curve.csv", "curve.png", "w.safetensors"]


def test_a_run_has_a_place_for_its_curve(trained: Path, tmp_path: Path):
    assert curve.Drawing().path(str(trained)) == trained / "curve.png"
    assert curve.Drawing().path("resnet8") == Path("curve.png")
    assert curve.Drawing(out=tmp_path / "c.png").path(str(trained)) == tmp_path / "c.png"


REFUSED = {
    "no folder": (["--images", "nowhere"], r"nothing at nowhere.*is needed. Check the path"),
    "no images": (["--images", "empty"], r"empty has no images.*are needed. Check the path"),
    "broken image": (["--images", "broken"], r"0.png cannot be decoded.*is needed. Replace it"),
    "too many": (["--images", "dark", "--num-images", "41"], r"--num-images 41 of 40 images.*1 to 40 is needed"),
    "judged": (["--images", "dark", "--num-judged", "-1"], r"--num-judged -1: .*is needed. Change it"),
    "both": (["--images", "dark", "--prior", "3", "--weight", "0.5"], r"--prior 3.0 and --weight 0.5: .*Leave one out"),
    "auto too": (
        ["--images", "dark", "--prior", "auto", "--weight", "1"],
        r"--prior auto and --weight 1.0: .*Leave one",
    ),
    "weight": (["--images", "dark", "--weight", "1.5"], r"weight=1.5 was given. It is the share.*use prior="),
    "prior": (["--images", "dark", "--prior", "-2"], r"prior=-2.0 was given. It is a number of images, 0 or more. Use"),
    "branch": (["--images", "dark", "--branch", "weak"], r"no branch 'weak': the model is plain.*Leave --branch out"),
    "folder": (["--images", "dark", "--bank", "full.safetensors"], r"--bank full.safetensors is a folder: .*Add one"),
    "suffix": (["--images", "dark", "--bank", "b.pt"], r"--bank b.pt: .*is needed. Call it b.safetensors"),
    "onnx": (["--images", "dark", "--onnx", "b.pt2"], r"--onnx b.pt2: .*ends in .onnx is needed. Call it b.onnx"),
    "place": (["--images", "dark", "--fold", "w.safetensors/f.safetensors"], r"--fold .* cannot be written \(.*Choose"),
    "unwritable": (
        ["--images", "dark", "--program", "/proc/m.pt2"],
        r"--program /proc/m.pt2 cannot be written.*Choose",
    ),
    "twice": (["--images", "dark", "--bank", "b.safetensors", "--fold", "./b.safetensors"], r"--bank and --fold both"),
    "no curve": (
        ["--images", "dark", "--sizes", "4", "--draws", "9"],
        r"--sizes, --draws without --curve: .*Add --curve",
    ),
    "unlabelled": (["--images", "dark", "--curve"], r"images without a label: .*class of every image. Put images"),
    "one draw": ([*CURVE, "--draws", "1"], r"1 draws of up to 8 images.*are needed.*more --draws"),
    "sizes": ([*CURVE, "--sizes", "999"], r"up to 999 images.*fewer --sizes"),
    "method": ([*CURVE, "--methods", "atuo"], r"unknown method 'atuo': source, auto.*is needed. Choose"),
    "shift": ([*CURVE, "--shifts", "contrst"], r"unknown shift 'contrst'.*is needed. Did you mean contrast"),
    "keeps none": ([*CURVE, "--bank", "b.safetensors"], r"--bank with --curve, which .* keeps none.*Leave it out"),
    "picture": ([*CURVE, "--out", "c.jpg"], r"--out c.jpg: .*ends in .png is needed. Call it c.png"),
    "numbers": ([*CURVE, "--out", "taken.png"], r"--out taken.csv is a folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_and_nothing_is_lost(renorm_command: Command, here: Path, dark: Path, case: str):
    for folder in ("empty", "full.safetensors", "broken", "taken.csv"):
        (here / folder).mkdir()
    (here / "broken" / "0.png").write_bytes(b"no picture")
    (here / "b.safetensors").write_bytes(b"former")
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    arguments, message = REFUSED[case]
    result = renorm_command("adapt", *SOURCE, *arguments)
    assert result.status == 1
    assert re.search(message, result.err, re.DOTALL), result.err
    assert "Traceback" not in result.err
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


def test_models_without_running_statistics_are_refused(renorm_command: Command, tmp_path: Path):
    import timm

    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "w.safetensors")
    options = ["--weights", "w.safetensors", "--images", "digits", "--bank", "b.safetensors"]
    result = renorm_command("adapt", "timm:test_vit", *options)
    assert result.status == 1
    assert re.search(
        r"has no running statistics; its norms are .*LayerNorm.*Banks need layers.*Use a model", result.err
    )
    assert names(tmp_path) == ["w.safetensors"]


@pytest.mark.parametrize("options", [[], ["--prior", "8"], ["--curve", "--sizes", "4"]], ids=["auto", "prior", "curve"])
def test_numbers_that_are_not_finite_are_refused(renorm_command: Command, here: Path, options: list[str]):
    broken = load_file(here / "w.safetensors")
    broken["conv1.weight"][0] = float("nan")
    save_file(broken, here / "w.safetensors")
    options = [*options, *([] if "--curve" in options else ["--bank", "b.safetensors"])]
    result = renorm_command("adapt", *SOURCE, "--images", "digits", "--num-judged", "20", *options)
    assert result.status == 1
    assert re.search(r"finite|NaN", result.err), result.err
    assert [name for name in names(here) if not name.startswith(".")] == ["w.safetensors"]


def test_a_reference_of_usual_images_is_kept_in_the_bank_and_shown(renorm_command: Command, here: Path, dark: Path):
    options = ["--reference", "digits", "--bank", "b.safetensors", "--report", "page.html", "--json"]
    result = renorm_command("adapt", *SOURCE, "--images", dark, *options)
    assert result.status == 0, result.err
    found = json.loads(result.out)
    assert found["verdict"] == "shifted"
    assert re.search(
        r"sd farther than the reference images, (about as|less) far (as|than) (fog|contrast|gaussian)", found["reason"]
    )
    assert found["advice"].startswith("Keep the adapted statistics")
    assert set(found["reference"]["known"]) == {
        f"{n} {s}" for n in ("fog", "contrast", "gaussian noise") for s in (1, 3, 5)
    }
    page = Path("page.html").read_text()
    assert "sd farther than the reference images" in page
    assert "not adapted to" in page
    shown = renorm_command("show", "b.safetensors")
    assert re.search(r"reference +64 images of the normal condition; farther than these by.*contrast 5 ", shown.out)
    assert re.search(r"sites +7, ", shown.out)
    again = renorm_command("adapt", *SOURCE, "--images", "digits", "--reference", "b.safetensors")
    assert re.search(r"home: no farther from the source than the 64 reference images", again.out)
    assert "Nothing to repair here: keep the source" in again.out


def test_with_labels_the_page_has_the_gain_against_the_number_of_images(renorm_command: Command, here: Path):
    options = ["--weight", "0", "--num-judged", "50", "--report", "p/page.html", "--fold", "f.safetensors"]
    result = renorm_command("adapt", *SOURCE, "--images", "digits", *options)
    assert result.status == 0, result.err
    page = Path("p/page.html").read_text()
    assert "over 3 draws of images" in page
    assert "change, paired by image" in page
    own = named(here)
    few, _ = divide(own.images("digits"), 32, 0)
    renorm.adapt_(own.classifier.model, pixels(own, few), weight=0)
    assert_close(load_file("f.safetensors"), dict(own.classifier.model.state_dict()), rtol=0, atol=0)


def test_wrongly_prepared_images_are_refused_by_the_command(renorm_command: Command, here: Path):
    wrong = [*SOURCE[:3], "--mean", *["0"] * 3, "--std", *["0.00392156862745098"] * 3]
    result = renorm_command("adapt", *wrong, "--images", "digits", "--bank", "b.safetensors")
    assert result.status == 1
    assert re.search(r"values from 0 to 255.*Prepare them as in training", result.err)
    assert not Path("b.safetensors").exists()
    assert (
        "do not keep these statistics"
        in renorm_command("adapt", *wrong, "--images", "digits", "--foreign", "adapt").out
    )

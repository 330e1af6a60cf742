"""Home, shifted or foreign: what is refused, what is told, and that what is usual is no shift."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.adapt.preparation import PREPARATIONS, alike, other_preparations
from renorm.adapt.reference import distance
from renorm.adapt.verdict import advice
from tests.banks.models import unchanged

BYTES, UNIT, HALF, IMAGENET = PREPARATIONS


def photographs(size: int, seed: int = 0) -> Tensor:
    """Images in 0 to 1 with black and white in them, more red than blue, of colours that go together."""
    random = torch.Generator().manual_seed(seed)
    light = torch.rand(size, 1, 8, 8, generator=random)
    tint = torch.tensor([0.1, 0.0, -0.15]).view(3, 1, 1) * torch.rand(size, 1, 1, 1, generator=random)
    pixels = (light + tint + 0.05 * torch.randn(size, 3, 8, 8, generator=random)).clamp(0, 1)
    pixels[..., 0, 0], pixels[..., 0, 1] = 0, 1
    return pixels


def network(expects: Any = HALF) -> Any:
    """A network at home on photographs that were prepared in a way."""
    torch.manual_seed(1)
    layers = [
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, bias=False),
        nn.BatchNorm2d(8),
    ]
    model = nn.Sequential(*layers, nn.Flatten()).eval()
    renorm.recalibrate_(model, [expects.done(photographs(512, 9))], passes=2)
    return model


@pytest.mark.parametrize("expects", [HALF, IMAGENET, UNIT], ids=lambda p: p.name[:20])
@pytest.mark.parametrize("given", PREPARATIONS, ids=lambda p: p.name[:20])
def test_images_prepared_for_another_model_are_refused_and_nothing_changes(expects: Any, given: Any):
    model, x = network(expects), given.done(photographs(32))
    if given is expects:
        renorm.adapt_(model, x).undo()
        return
    with (
        unchanged(model),
        pytest.raises(ValueError, match=r"images have values from .* of mean .*Prepare them as in training"),
    ):
        renorm.adapt_(model, x, prior=16)
    with pytest.raises(ValueError, match=f"expects {expects.name[:25]}"):
        renorm.adapt_(model, x)


def test_foreign_images_are_adapted_to_all_the_same_where_that_is_asked_for():
    model, x = network(), photographs(32) * 255
    adaptation = renorm.adapt_(model, x, foreign="adapt")
    assert adaptation.verdict == "foreign"
    assert "wrongly prepared" in adaptation.reason
    assert adaptation.source_weight < 0.5
    with pytest.raises(ValueError, match=r"foreign='keep' was given.*'raise' or 'adapt'"):
        renorm.adapt_(model, x, foreign="keep")  # type: ignore[arg-type]


def test_exchanged_colours_are_told_from_a_shift_and_grey_images_have_no_order():
    model, x = network(), HALF.done(photographs(32))
    with unchanged(model), pytest.raises(ValueError, match=r"blue where red should be \(BGR\)"):
        renorm.adapt_(model, x.flip(1))
    renorm.adapt_(model, x.mean(1, keepdim=True).expand(-1, 3, -1, -1)).undo()
    assert renorm.adapt_(model, 0.3 * x + 0.4).verdict == "shifted"


def test_images_that_are_taken_for_one_class_have_a_colour_of_their_own():
    model, x = network(), HALF.done(photographs(32)).flip(1)
    with pytest.raises(ValueError, match="BGR"):
        renorm.adapt_(model, x)
    head = nn.Linear(128, 3)
    nn.init.zeros_(head.weight)
    assert renorm.adapt_(nn.Sequential(*model, head).eval(), x).verdict != "foreign"
    output = torch.eye(4)[torch.tensor([0, 0, 1, 2])]
    assert alike(output, 4, None) == pytest.approx((2 / 12 - 1 / 4) / (1 - 1 / 4))
    assert alike(torch.eye(4)[torch.zeros(4, dtype=torch.int64)], 4, None) == 1
    assert alike(None, 4, None) == alike(output[None], 4, None) == 1


def test_few_images_are_foreign_only_far_out():
    model = network()
    renorm.adapt_(model, photographs(4)).undo()
    with pytest.raises(ValueError, match=r"values from 0 to 255"):
        renorm.adapt_(model, photographs(1) * 255)


def test_what_a_range_tells_of_the_preparation():
    def of(low: float, high: float) -> set[str]:
        return {was.name[-9:] for was, _ in other_preparations(torch.full((3,), low), torch.full((3,), high))}

    assert of(0.0, 255.0) == {BYTES.name[-9:]}
    assert of(0.0, 1.0) == of(0.4, 0.6) == {UNIT.name[-9:]}
    assert of(-1.0, 1.0) == {HALF.name[-9:]}
    assert of(-0.5, 0.5) == of(-1.0, 7.0) == set()


def test_a_reference_makes_the_usual_no_shift():
    model = network()
    usual, new = (HALF.done(0.8 * photographs(32, seed)) for seed in (3, 4))
    assert renorm.adapt_(model, new).verdict == "shifted"
    assert "times as far from the source as chance alone" in renorm.adapt_(model, new, foreign="adapt").reason
    model = network()
    with unchanged(model):
        adaptation = renorm.adapt_(model, new, reference=usual)
        assert (adaptation.verdict, adaptation.source_weight) == ("home", 1)
        assert "no farther from the source than the 32 reference images" in adaptation.reason
    shifted = renorm.adapt_(model, HALF.done(0.3 * photographs(32, 4)), reference=usual)
    assert shifted.verdict == "shifted"
    assert "sd farther than the reference images" in shifted.reason
    assert 0 < shifted.source_weight <= 0.5


def test_what_exceeds_a_reference_is_the_difference_of_squares():
    model, x = network(), HALF.done(photographs(32))
    same = renorm.Reference.of(model, x).exceeded(renorm.Reference.of(model, x).home)
    assert distance(same) == 0
    home = renorm.Reference.of(model, x).home
    assert_close(same.gap, home.gap - (home.gap - home.noise).clamp(min=0))
    assert_close(same.noise, 2 * home.noise)


def test_a_size_is_told_in_known_words_and_kept_in_the_banks_file(tmp_path: Path):
    model, x = network(), photographs(32)
    known = {"fog 1": HALF.done(0.7 * x + 0.3), "fog 5": HALF.done(0.1 * x + 0.9)}
    reference = renorm.Reference.of(model, HALF.done(x), shifted=known)
    assert 0 < reference.known["fog 1"] < reference.known["fog 5"]
    reference.kept_in(renorm.Bank.of(model)).save(tmp_path / "home.safetensors")
    bank = renorm.Bank.load(tmp_path / "home.safetensors")
    new = HALF.done(0.1 * photographs(32, 5) + 0.9)
    adaptation = renorm.adapt_(model, new, reference=bank)
    assert adaptation.reason.endswith("about as far as fog 5")
    assert adaptation.reference is not None
    assert adaptation.reference.known == reference.known
    assert reference.in_words(reference.known["fog 1"] / 3) == "less far than fog 1"
    assert reference.in_words(0) == ""


def test_a_reference_that_is_none_is_refused():
    model, x = network(), HALF.done(photographs(32))
    with pytest.raises(ValueError, match=r"as the reference, and it keeps none.*Pass images"):
        renorm.adapt_(model, x, reference=renorm.Bank.of(model))
    with pytest.raises(ValueError, match="a reference of one image"):
        renorm.adapt_(model, x, reference=x[:1])
    other = renorm.Reference.of(nn.Sequential(nn.BatchNorm2d(3)), x)
    with pytest.raises(ValueError, match=r"the reference has 1 sites, and not '1'"):
        renorm.adapt_(model, x, reference=other)


def test_a_given_weight_looks_at_nothing_but_the_preparation():
    model, x = network(), HALF.done(0.3 * photographs(32))
    adaptation = renorm.adapt_(model, x, prior=16)
    assert adaptation.verdict is None
    adaptation.undo()
    assert renorm.adapt_(model, x, prior=16, reference=HALF.done(photographs(32, 3))).verdict == "shifted"


def test_an_adapter_does_not_move_for_foreign_images_and_reports_them(tmp_path: Path):
    model, x = network(), photographs(32)
    with renorm.Adapter(model, reference=HALF.done(photographs(32, 3))) as adapter:
        assert adapter.verdict is None
        adapter(HALF.done(0.3 * x))
        assert adapter.verdict == "shifted"
        weight = adapter.source_weight
        with unchanged(model):
            expected = model(x * 255)
            for _ in range(2):
                assert_close(adapter(x * 255), expected, rtol=0, atol=0)
        assert adapter.verdict == "foreign"
        assert "values from 0 to 255" in adapter.reason
        assert [event.what for event in adapter.events] == ["foreign"]
        assert (adapter.num_images, adapter.source_weight) == (32, weight)
        adapter.save(tmp_path / "stream.safetensors")
    with renorm.Adapter.load(model, tmp_path / "stream.safetensors") as adapter:
        assert adapter.verdict == "shifted"
        adapter.reset()
        adapter(HALF.done(x))
        assert adapter.verdict == "home"
        assert "reference images" in adapter.reason
    with renorm.Adapter(model, foreign="adapt") as adapter:
        adapter(x * 255)
        assert adapter.num_images == 32


def test_an_adapter_that_cannot_start_lets_the_model_go():
    model = network()
    with pytest.raises(ValueError, match="keeps none"):
        renorm.Adapter(model, reference=renorm.Bank.of(model))
    renorm.Adapter(model).close()


def test_the_last_line_says_what_to_do_and_what_needs_labels():
    assert "do not keep" in advice("foreign", reference=False, moved=True)
    assert "no unlabelled image shows" in advice("home", reference=True, moved=False)
    assert "only labels tell" in advice("shifted", reference=True, moved=True)
    assert "pass them as the reference" in advice("shifted", reference=False, moved=True)
    assert "kept as asked" in advice(None, reference=False, moved=False)


class Sizes(nn.Module):
    """A layer that notes what it is given, and may refuse all but one width."""

    def __init__(self, only: int | None) -> None:
        super().__init__()
        self.only, self.given = only, []

    def forward(self, x: Tensor) -> Tensor:
        self.given.append((len(x), x.shape[-1]))
        if self.only not in (None, x.shape[-1]):
            raise ValueError(f"{x.shape[-1]} pixels were given")
        return x


@pytest.mark.parametrize(("only", "looked"), [(None, [(16, 32)]), (64, [(16, 32), (16, 64)])])
def test_the_preparation_is_seen_in_the_middle_of_a_few_images(only: int | None, looked: list[tuple[int, int]]):
    sizes = Sizes(only)
    model = nn.Sequential(sizes, nn.BatchNorm2d(3)).eval()
    renorm.adapt_(model, torch.randn(24, 3, 64, 64, generator=torch.Generator().manual_seed(0)), prior=16)
    assert sizes.given == [*looked, (24, 64)]

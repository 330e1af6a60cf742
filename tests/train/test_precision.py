"""What a forward computes in, and which losses are scaled."""

import pytest
import torch

from renorm.train import autocast, scaler

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "dtype"), [("no", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_forward_computes_in_the_type_that_was_asked_for(precision: str, dtype: torch.dtype):
    x = torch.ones(2, 2)
    with autocast(precision, CPU):
        assert (x @ x).dtype == dtype
    assert (x @ x).dtype == torch.float32


def test_only_fp16_is_scaled():
    loss = torch.tensor(0.3)
    assert scaler("no", CPU).scale(loss) is loss
    assert scaler("bf16", CPU).scale(loss) is loss
    assert scaler("fp16", CPU).scale(loss) == loss * 2.0**16


def test_fp16_is_refused_where_losses_are_not_scaled():
    with pytest.raises(
        ValueError, match=r"--precision fp16 on mps: a loss has to be scaled .* on cpu and cuda. Use bf16"
    ):
        scaler("fp16", torch.device("mps"))
    assert not scaler("bf16", torch.device("mps")).is_enabled()

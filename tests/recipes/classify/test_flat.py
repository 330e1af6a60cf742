"""Options of the command line and the groups of a configuration: every field once, there and back."""

import json
from dataclasses import asdict, replace
from typing import Any, get_args

import pytest

from renorm.attacks import BETA, Ball, Mode
from renorm.data import Crop, Policy
from renorm.recipes import config_of, options_of
from renorm.recipes.classify import (
    Attacking,
    Averaging,
    Config,
    Exchange,
    MixOptions,
    Options,
    attacking,
    configured,
    groups,
)
from renorm.recipes.flat import leaves

OTHERS: dict[str, Any] = {  # of every option a value that is not the default
    "data": "cifar10",
    "test": "cifar100",
    "download": True,
    "size": 64,
    "skip_damaged": True,
    "branches": ("clean", "adv"),
    "domains": ("photo",),
    "views": ("weak", "adv"),
    "model": "resnet8",
    "weights": "w.safetensors",
    "norm": "sandwich",
    "share": ("statistics",),
    "sandwich_init": "published",
    "no_ema": True,
    "sync_bn": True,
    "strong": "augmix",
    "num_ops": 1,
    "magnitude": 3,
    "crop": "padded",
    "cutout": 0.1,
    "stylized": "out",
    "mix": "exchange+cutmix",
    "mix_across": True,
    "exchange_weight": 0.7,
    "exchange_probability": 0.6,
    "exchange_over": "gn",
    "exchange_groups": 2,
    "exchange_after": "conv1",
    "exchange_before": "layer1",
    "exchange_channel_dim": -1,
    "image_beta": 0.3,
    "image_probability": 0.2,
    "eps": "4/255",
    "attack_ball": "l2",
    "attack_steps": 3,
    "attack_step_size": "1/255",
    "attack_start": False,
    "attack_mode": "train",
    "adv_loss": "trades",
    "trades_beta": 1.0,
    "ema": 0.9,
    "ema_images": 64,
    "epochs": 3,
    "batch": 32,
    "accumulate": 2,
    "keep_last": True,
    "rate": 0.3,
    "warmup": 0.5,
    "momentum": 0.8,
    "weight_decay": 0.1,
    "decay_norms": False,
    "label_smoothing": 0.1,
    "precision": "bf16",
    "memory_format": "channels_last",
    "compile": True,
    "shard": True,
    "num_workers": 2,
    "save_every": 5,
    "tensorboard": True,
    "trackers": ("mlflow",),
    "table_images": 0,
    "seed": 3,
}


def test_there_and_back():
    assert options_of(configured()) == vars(Options())
    assert configured() == Config()
    usual = vars(Options())
    assert OTHERS.keys() == usual.keys() == leaves(Config).keys()
    assert not [name for name, value in OTHERS.items() if value == usual[name]]
    assert options_of(configured(**OTHERS)) == OTHERS


def test_every_option_is_explained():
    assert all(leaf.text for leaf in leaves(Config).values())
    assert "exchange_over: Whose moments: ``pono``" in (Options.__doc__ or "")


def test_groups_that_are_not_asked_for_are_off():
    config = configured(exchange_over="in", mix="exchange", eps="4/255")
    assert config.mix == MixOptions("exchange", exchange=Exchange(over="in"))
    assert config.attack == Attacking(eps="4/255")  # what evaluation attacks by
    assert config.average is None
    assert configured(branches=("clean", "adv")).attack == Attacking()
    assert configured(ema=0.9).average == Averaging(0.9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ema_images": 64}, r"--ema-images with no --ema: it would do nothing. Leave it out, or add --ema 0.999"),
        ({"mix_across": True}, r"--mix-across with no --mix: it would do nothing. Leave it out, or add --mix exchange"),
        ({"image_beta": 0.1}, r"--image-beta with no --mix: .* add --mix cutmix"),
        ({"exchange_channel_dim": -1}, r"--exchange-channel-dim with no --mix"),
    ],
)
def test_an_option_of_a_group_that_is_off_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        configured(**options)


@pytest.mark.parametrize("options", [{}, OTHERS, {"mix": "cutmix"}, {"ema": 0.5}])
def test_config_json_gives_the_configuration_back(options: dict[str, Any]):
    config = configured(**options)
    assert config_of(json.loads(json.dumps({"config": asdict(config)}))) == config


def test_config_json_from_before_groups_is_read():
    flat = json.loads(json.dumps(OTHERS | {"exchange_norm": "gn"}))
    del flat["exchange_over"], flat["table_images"]
    assert config_of({"recipe": "classify", "config": flat}) == configured(**OTHERS | {"table_images": 1000})
    assert config_of({}) == Config()


@pytest.mark.parametrize(
    "saved", [{"source": {"data": "digits", "colour": 1}}, {"colour": 1}, {"source": {}, "colour": 1}]
)
def test_an_option_of_a_later_renorm_is_refused(saved: dict[str, Any]):
    with pytest.raises(
        ValueError, match=r"options that this renorm does not know \('colour'\): .* is needed. Upgrade renorm"
    ):
        config_of({"config": saved})


def test_values_are_those_of_the_features():
    """Written again where nothing needs torch."""
    pairs = [
        (groups.StrongPolicy, Policy),
        (groups.CropName, Crop),
        (attacking.AttackBall, Ball),
        (attacking.AttackMode, Mode),
    ]
    assert [set(get_args(a)) for a, _ in pairs] == [set(get_args(b)) for _, b in pairs]
    assert Attacking().trades_beta == BETA


def test_an_adversarial_branch_needs_an_attack():
    from renorm.recipes.classify import check
    from tests.recipes.classify import small

    config = replace(configured(branches=("clean", "adv"), batch=64), attack=None)
    with pytest.raises(
        ValueError, match=r"branch adv has the view adv, and no attack is given: .* Add attack=Attacking\(\)"
    ):
        check(config, small.images()[0])

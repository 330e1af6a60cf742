"""Routes: the four forms, lasting ones, freezing, stacking."""

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import renorm
from renorm.layers import SplitBatchNorm
from renorm.notice import Notice


def model(branches=("weak", "strong")) -> Any:
    net = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 7, 1), nn.BatchNorm2d(7))
    renorm.split_(net, branches)
    return net


def x(n=6):
    return torch.randn(n, 3, 2, 2)


def test_all_sites_share_one_route_and_a_copy_has_its_own():
    net = model()
    other = copy.deepcopy(net)
    assert net[1].route is net[4].route
    assert other[1].route is other[4].route is not net[1].route
    with renorm.route(other, "strong"):
        assert net[1].route.open is None


def test_routes_nest_and_are_given_back_after_an_error():
    net = model()
    route = net[1].route
    with renorm.route(net, "weak"):
        outer = route.open
        with pytest.raises(KeyError, match="another"), renorm.route(net, "strong"):
            raise KeyError("another" if route.open is not outer else "the same")
        assert route.open is outer
    assert route.open is None


def test_without_a_route_evaluation_uses_the_first_branch_and_training_refuses():
    net = model()
    with pytest.raises(
        RuntimeError, match=r"site '1' runs in training mode without a route.*\['weak', 'strong'\].*renorm.route"
    ):
        net(x())
    with torch.no_grad():
        net[1].bias[5:] += 1
    net.eval()
    batch = x()
    free = net(batch)
    with renorm.route(net, "weak"):
        assert_close(net(batch), free, rtol=0, atol=0)
    with renorm.route(net, "strong"):
        assert not torch.equal(net(batch), free)


def test_a_lasting_route_follows_the_mode_and_can_be_undone():
    net, batch = model(), x()
    lasting = renorm.route_(net, train=("weak", "strong"), eval="strong")
    net(batch)
    assert net[1].num_batches_tracked.tolist() == [1, 1]
    net.eval()
    free = net(batch)
    with renorm.route(net, "strong"):
        assert_close(net(batch), free, rtol=0, atol=0)
    assert repr(lasting) == "training follows ('weak', 'strong'), evaluation 'strong'"
    lasting.undo()
    with pytest.raises(RuntimeError, match="without a route"):
        net.train()(batch)


def test_of_many_branches_the_first_and_the_last_are_named():
    norm = renorm.layers.SplitBatchNorm(2, 5000, share="statistics")
    with pytest.raises(
        ValueError, match=r"'c9' is not a branch of this model. Its branches are \['0', '1', ... '4999'\]"
    ):
        norm.route.row("c9")


def test_a_lasting_route_that_is_wrong_changes_nothing():
    net = model()
    with pytest.raises(ValueError, match="'wek' is not a branch"):
        renorm.route_(net, train="weak", eval="wek")
    assert net[1].route.sticky == {True: None, False: None}


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (("strang",), ValueError, r"'strang' is not a branch.*\['weak', 'strong'\].*Did you mean 'strong'\?"),
        (("weak", "weak"), ValueError, r"name one twice.*distinct"),
        ((3,), TypeError, r"route got .*needs branch names"),
        ((), TypeError, r"needs branch names"),
        (({"weak": -1, "strong": 7},), ValueError, r"needs a size >= 0"),
        ((torch.tensor([0, 1, 2, 0, 0, 0]),), ValueError, r"labels between 0 and 2.*0 to 1.*Map the labels"),
        ((torch.tensor([0, 1, -1, 0, 0, 0]),), ValueError, r"-1 \(unknown\) has no affine of its own here"),
        ((torch.tensor([0.0, 1.0]),), TypeError, r"needs \(N,\) int64.*\.long\(\)"),
        ((torch.zeros(3, 2, dtype=torch.int64),), TypeError, r"needs \(N,\) int64"),
    ],
)
def test_wrong_routes_are_refused_before_anything_runs(spec, error, message):
    net = model()
    with pytest.raises(error, match=message), renorm.route(net, *spec):
        raise AssertionError("the block must not run")
    assert net[1].route.open is None


def test_labels_are_checked_only_when_asked():
    net, labels = model(), torch.tensor([0, 9])
    with renorm.route(net, labels, check=False):
        assert torch.equal(net[1].route.open.index(2), labels)


def test_a_model_without_branches_is_refused():
    message = r"Sequential has no branched site.*renorm.split_"
    with pytest.raises(ValueError, match=message), renorm.route(nn.Sequential(nn.BatchNorm2d(3)), "weak"):
        raise AssertionError("the block must not run")


def test_a_batch_that_cannot_be_interleaved_is_refused():
    net = model()
    with (
        pytest.raises(
            ValueError, match=r"a batch of 5 cannot be interleaved over 2 branches \(site '1'\).*drop_last.*blocks"
        ),
        renorm.route(net, "weak", "strong"),
    ):
        net(x(5))


def test_batches_of_any_size_may_follow_each_other_in_one_block():
    net = model()
    with renorm.route(net, "weak", "strong"):
        for n in (4, 12, 6):
            assert net(x(n)).shape[0] == n


def test_empty_batches_pass_and_move_nothing():
    net = model()
    before = copy.deepcopy(net.state_dict())
    with renorm.route(net, {"weak": 0, "strong": 0}):
        assert net(x(0)).shape == (0, 7, 2, 2)
    assert_close(net.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    "build", [model, lambda: nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), nn.SyncBatchNorm(5).eval())]
)
def test_frozen_statistics_move_nothing_and_still_normalize_by_the_batch(build):
    net, batch = build(), x()
    branched = isinstance(net[1], SplitBatchNorm)
    before = copy.deepcopy(net.state_dict())
    spec = ("weak", "strong") if branched else ()

    def run():
        if not spec:
            return net(batch)
        with renorm.route(net, *spec):
            return net(batch)

    with renorm.frozen_statistics(net):
        frozen = run()
    assert_close(net.state_dict(), before, rtol=0, atol=0)
    assert_close(run(), frozen)
    assert not torch.equal(net[1].running_mean, before["1.running_mean"])


def test_frozen_statistics_are_given_back_after_an_error():
    net = model()
    with pytest.raises(KeyError), renorm.frozen_statistics(net):
        raise KeyError
    assert net[1].route.frozen == 0
    plain = nn.BatchNorm1d(3)
    with pytest.raises(KeyError), renorm.frozen_statistics(plain):
        raise KeyError
    assert plain.track_running_stats


def test_frozen_statistics_hold_for_norms_of_other_classes():
    class Own(nn.BatchNorm2d):
        def forward(self, input):
            self.get_buffer("running_mean").add_(1)
            return input

    net: Any = nn.Sequential(Own(3))
    with renorm.frozen_statistics(net):
        net(x())
    assert_close(net[0].running_mean, torch.zeros(3), rtol=0, atol=0)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("sizes", [(3, 3), (3, 5), (0, 4)])
def test_stack_and_unstack_are_inverse_and_routed_alike(sizes, memory_format):
    net = model()
    views = {"strong": x(sizes[0]), "weak": x(sizes[1])}
    batch, spec = renorm.stack(views, memory_format=memory_format)
    assert batch.is_contiguous(memory_format=memory_format)
    assert isinstance(spec, tuple) == (sizes[0] == sizes[1] and memory_format == torch.contiguous_format)
    parts = renorm.unstack(batch, spec)
    assert list(parts) == list(views)
    for name, part in parts.items():
        assert_close(part, views[name], rtol=0, atol=0)
    with renorm.route(net, spec):
        y = renorm.unstack(net(batch), spec)
    for name, view in views.items():
        if len(view):
            with renorm.route(net, name), renorm.frozen_statistics(net):
                assert_close(y[name], net(view), rtol=1e-4, atol=1e-5)


def test_interleaving_puts_sample_i_into_view_i_mod_k():
    views = [torch.full((3, 2), float(k)) for k in range(5)]
    assert_close(renorm.interleave(*views)[:, 0], torch.arange(15.0) % 5)
    with pytest.raises(ValueError, match=r"shapes \[\(3, 2\), \(4, 2\)\].*equal shapes.*blocks"):
        renorm.interleave(views[0], torch.zeros(4, 2))
    with pytest.raises(ValueError, match="no view was given"):
        renorm.stack({})


@pytest.mark.parametrize("branches", [[], "weak", ["a", "a"], ["a.b"], ["a@b"], [1], [""]])
def test_branch_names_are_distinct_words(branches):
    with pytest.raises(ValueError, match=r"list of distinct names.*\[\"weak\", \"strong\"\]"):
        renorm.split_(nn.Sequential(nn.BatchNorm2d(3)), branches)


def test_evaluation_without_a_route_says_once_which_branch_it_uses():
    net, other = model().eval(), model().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            Notice, match=r"the branch 'weak' is used, the first of \['weak', 'strong'\]\. Name one by `with"
        ):
            net(x())
        net(x())  # it was told
        copy.deepcopy(net)(x())  # and copies do not tell it again
        with renorm.route(other, "strong"):
            other(x())
        lasting = renorm.route_(other, eval="weak")
        other(x())
        lasting.undo()
        with pytest.raises(Notice, match="evaluated without a route"):
            other(x())
        model(["weak"]).eval()(x())  # the only one there is


def test_verbs_that_are_given_a_branch_say_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = model().eval()
        renorm.Bank.of(net, "strong")
        renorm.measure(net, [x()], "strong")
        renorm.adapt_(net, x(), branch="strong")
        renorm.fold(net, "strong", probe=x())

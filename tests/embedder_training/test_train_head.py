import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch.nn.functional import cosine_similarity

from embedder.network import narrow_head
from embedder.train_head import _Moments, factored, fit_head, reduced, regressed

CHANNELS, SIDE, DIM, RANK = 24, 3, 8, 6


def features(count, seed):
    """Maps whose channels have six directions in all, about a mean of their own."""
    mixing = torch.randn(RANK, CHANNELS, generator=torch.Generator().manual_seed(0))
    drawn = torch.Generator().manual_seed(seed)
    inner = torch.randn(count, SIDE * SIDE, RANK, generator=drawn)
    rows = inner @ mixing + 3
    return rows.permute(0, 2, 1).reshape(count, CHANNELS, SIDE, SIDE)


def whole_head():
    torch.manual_seed(1)
    head = torch.nn.Sequential(
        torch.nn.BatchNorm2d(CHANNELS), torch.nn.Dropout(0.4), torch.nn.Flatten(),
        torch.nn.Linear(CHANNELS * SIDE * SIDE, DIM), torch.nn.BatchNorm1d(DIM),
    )  # fmt: skip
    for norm in (head[0], head[4]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        torch.nn.init.normal_(norm.bias)
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
    return head.eval()


def test_a_factored_head_of_full_rank_is_the_whole_one():
    whole, head = whole_head(), narrow_head(CHANNELS, SIDE, DIM, RANK)
    assert factored(head, whole, features(200, 2).half()) > 0.9999
    new = features(50, 3)
    with torch.no_grad():
        torch.testing.assert_close(head.eval()(new), whole(new), rtol=0.02, atol=0.05)


def test_a_narrower_one_loses_what_counts_least():
    whole = whole_head()
    near = [
        factored(narrow_head(CHANNELS, SIDE, DIM, inner), whole, features(200, 2).half())
        for inner in (1, 3, 5)
    ]
    assert near == sorted(near)
    assert near[-1] > 0.9


def test_channels_are_chosen_without_a_whole_head():
    torch.manual_seed(6)
    maps = features(900, 7)
    teacher = torch.nn.functional.normalize(maps.flatten(1) @ torch.randn(CHANNELS * 9, DIM))
    head = narrow_head(CHANNELS, SIDE, DIM, RANK)
    assert reduced(head, maps.half(), teacher, most=600) > 0.98
    with torch.no_grad():
        left_out = cosine_similarity(head(maps[600:]), teacher[600:]).mean()
    assert left_out > 0.97  # six channels hold all that varies
    fewer = narrow_head(CHANNELS, SIDE, DIM, 2)
    assert reduced(fewer, maps.half(), teacher) < left_out


def test_a_head_is_fitted_to_a_teacher():
    torch.manual_seed(4)
    maps = features(3000, 5)
    teacher = torch.nn.functional.normalize(maps.flatten(1) @ torch.randn(CHANNELS * 9, DIM))
    head = narrow_head(CHANNELS, SIDE, DIM, RANK)
    before = cosine_similarity(head(maps), teacher).mean()
    after = fit_head(head, maps.half(), teacher, seed=0)
    assert before < 0.2
    assert after > 0.4
    again = narrow_head(CHANNELS, SIDE, DIM, RANK)
    again.load_state_dict(head.state_dict())
    fit_head(head, maps.half(), teacher, seed=0)
    fit_head(again, maps.half(), teacher, seed=0)
    assert all(
        torch.equal(a, b) for a, b in zip(head.parameters(), again.parameters(), strict=True)
    )


def test_a_factored_head_is_regressed_to_a_teacher():
    torch.manual_seed(4)
    maps = features(1500, 5)
    inner = torch.linalg.lstsq(
        torch.randn(RANK, CHANNELS, generator=torch.Generator().manual_seed(0)).T,
        (maps - 3).permute(1, 0, 2, 3).flatten(1),
    ).solution.view(RANK, 1500, -1)
    taught = inner.permute(1, 0, 2).flatten(1) @ torch.randn(RANK * 9, DIM)
    teacher = torch.nn.functional.normalize(taught)
    head = narrow_head(CHANNELS, SIDE, DIM, RANK)
    factored(head, whole_head(), maps.half())
    before = cosine_similarity(head(maps), teacher).mean()
    told = regressed(head, maps.half(), teacher)
    after = cosine_similarity(head.eval()(maps), teacher).mean()
    assert before < 0.3
    assert told > 0.95  # on pictures left out; the rest is what unit length takes away
    assert float(after.detach()) == pytest.approx(told, abs=0.02)


def test_what_the_regression_finds_is_the_least_squares_solution():
    rng = np.random.default_rng(0)
    rows, wanted = rng.normal(size=(200, 5)), rng.normal(size=(200, 3))
    weight, bias = _Moments.of(
        torch.from_numpy(rows).float(), torch.from_numpy(wanted).float()
    ).solved(0.1)
    ridge = Ridge(alpha=0.1 * 200 * rows.var(axis=0).mean()).fit(rows, wanted)
    np.testing.assert_allclose(weight.T, ridge.coef_, atol=1e-5)
    np.testing.assert_allclose(bias, ridge.intercept_, atol=1e-5)

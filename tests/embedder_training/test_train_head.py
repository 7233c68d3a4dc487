import torch
from torch.nn.functional import cosine_similarity

from embedder.network import narrow_head
from embedder.train_head import factored, fit_head

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

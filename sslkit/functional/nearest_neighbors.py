"""Nearest-neighbor search by cosine, exact or approximate. M queries, N bank rows, D width, k neighbors.

A float32 engine proposes a few more candidates than were asked for, which are then compared in float64. So
every engine, chunk size and device gives the same neighbors, and equal ones (copies of an image, a collapsed
network) come by lower index. Queries for which the engine may have missed one are searched again in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Engine = Literal["auto", "faiss", "torch"]

SPARE = 16
"""Candidates beyond k. More cost time in every row, fewer send more rows to the second search."""
STEPS = 1 << 30
"""Similarities are compared as multiples of 1 / STEPS: coarser than float64 noise, finer than float32."""
FEWEST = 39
"""Rows of a cell on average, below which faiss's k-means would warn."""
BLOCK = {"cpu": 1 << 24, "cuda": 1 << 28}
"""Similarities held at once: 64 MB and 1 GB keep a CPU and a GPU busy (`benchmarks/knn.py`)."""
COMPARED = {"cpu": 1 << 19, "cuda": 1 << 28}
"""Values of candidates held at once, as float64: 4 MB stay in a CPU's cache."""
GROUP = 16
"""Columns of which the largest is taken before a CPU looks for the best: `topk` is slow on wide rows."""


class Neighbors(NamedTuple):
    """Rows of the bank and their similarity, nearest first."""

    similarity: Tensor
    """`[M, k]` float64 cosine."""
    rows: Tensor
    """`[M, k]` int64."""


def nearest(queries_MD: Tensor, bank_ND: Tensor, k: int, engine: Engine = "auto") -> Neighbors:
    """The `k` rows of `bank_ND` of highest cosine to each query, ties by lower index.

    Args:
        queries_MD: `[M, D]` finite floats of any length; rows of zeros have similarity 0 to everything.
        bank_ND: `[N, D]`, on the same device.
        k: neighbors, 1 to N.
        engine: `torch` (chunked matmul), `faiss` (IndexFlatIP, on the CPU) or `auto`, which is `torch`: the
            faster of the two at every size measured (`benchmarks/knn.py`).

    Raises:
        ValueError: `k` is not in 1 .. N.
    """
    if not 1 <= k <= len(bank_ND):
        raise ValueError(f"`k` must be in 1 .. {len(bank_ND)}, the rows of `bank_ND`; found {k}")
    queries_MD, bank_ND = F.normalize(queries_MD.float(), dim=1), F.normalize(bank_ND.float(), dim=1)
    width = min(k + SPARE, len(bank_ND))
    propose = _propose_faiss if engine == "faiss" else _propose_torch
    rough, candidates = propose(queries_MD, bank_ND, width)
    keys, error = _compare(queries_MD, bank_ND, rough, candidates, k)
    if width < len(bank_ND):
        # An unseen row is at most as similar as the last candidate, give or take the engine's error.
        bound = rough[:, -1].double() + (4 * error).clamp(min=1e-6)
        unsafe = bound * STEPS >= (keys[:, -1] // len(bank_ND)).double()
        if bool(unsafe.any()):
            keys[unsafe] = _search_again(queries_MD[unsafe], bank_ND, k)
    return _neighbors(keys, len(bank_ND))


def approximate(queries_MD: Tensor, bank_ND: Tensor, k: int, probes: int) -> Neighbors:
    """About the `k` nearest rows by faiss's inverted file; where it finds fewer, those of an exact search.

    The bank is cut into 4 sqrt(N) cells by k-means, of which the `probes` nearest to a query are searched. Similarities
    are exact, and equal ones come by lower index. `recall` says how many neighbors are the true ones.

    Args:
        queries_MD: `[M, D]` finite floats of any length.
        bank_ND: `[N, D]`, on the same device.
        k: Neighbors, 1 to N.
        probes: Cells, at least 1.

    Raises:
        ValueError: `k` is not in 1 .. N.
    """
    if not 1 <= k <= len(bank_ND):
        raise ValueError(f"`k` must be in 1 .. {len(bank_ND)}, the rows of `bank_ND`; found {k}")
    import faiss

    queries_MD, bank_ND = F.normalize(queries_MD.float(), dim=1), F.normalize(bank_ND.float(), dim=1)
    bank, cells = bank_ND.cpu().numpy(), max(1, min(int(4 * len(bank_ND) ** 0.5), len(bank_ND) // FEWEST))
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(bank.shape[1]), bank.shape[1], cells, faiss.METRIC_INNER_PRODUCT
    )
    index.train(bank)
    index.add(bank)
    index.nprobe = min(probes, cells)
    rough, rows = (
        torch.from_numpy(x).to(queries_MD.device) for x in index.search(queries_MD.cpu().numpy(), k)
    )
    keys, _ = _compare(queries_MD, bank_ND, rough, rows.clamp(min=0), k)
    short = (rows < 0).any(1)
    if bool(short.any()):
        keys[short] = _search_again(queries_MD[short], bank_ND, k)
    return _neighbors(keys, len(bank_ND))


def recall(rows_Mk: Tensor, true_Mk: Tensor) -> float:
    """Share of the true neighbors, `[M, k]` rows, that are among `rows_Mk`."""
    return float((rows_Mk[:, :, None] == true_Mk[:, None]).any(1).double().mean())


def _neighbors(keys: Tensor, count: int) -> Neighbors:
    return Neighbors((keys // count).double() / STEPS, count - 1 - keys % count)


def _propose_torch(queries_MD: Tensor, bank_ND: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Similarities and indices of the `width` best rows, most similar first."""
    chunks = [_best(chunk @ bank_ND.T, width) for chunk in _chunks(queries_MD, len(bank_ND), BLOCK)]
    return torch.cat([values for values, _ in chunks]), torch.cat([rows for _, rows in chunks])


def _best(similarity: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The `width` largest of every row and their columns, largest first; equal ones in any order.

    The largest lie in the groups of columns with the largest maxima.
    """
    groups = similarity.shape[1] // GROUP
    if similarity.is_cuda or groups < 4 * width:
        whole = similarity.topk(width, dim=1)
        return whole.values, whole.indices
    grouped = similarity[:, : groups * GROUP].unflatten(1, (GROUP, groups))
    best_groups = grouped.amax(1).topk(width, dim=1, sorted=False).indices
    members = torch.arange(0, groups * GROUP, groups)
    rest = torch.arange(groups * GROUP, similarity.shape[1]).expand(len(similarity), -1)
    columns = torch.cat([(best_groups[:, :, None] + members).flatten(1), rest], dim=1)
    best = similarity.gather(1, columns).topk(width, dim=1)
    return best.values, columns.gather(1, best.indices)


def _propose_faiss(queries_MD: Tensor, bank_ND: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The same by faiss."""
    import faiss

    index = faiss.IndexFlatIP(bank_ND.shape[1])
    index.add(bank_ND.cpu().numpy())
    similarity, rows = index.search(queries_MD.cpu().numpy(), width)
    device = queries_MD.device
    return torch.from_numpy(similarity).to(device), torch.from_numpy(rows).to(device)


def _compare(
    queries_MD: Tensor, bank_ND: Tensor, rough: Tensor, candidates: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """Keys of the best `k` candidates, `[M, k]`, and the largest error of `rough`."""
    best, errors = [], [rough.new_zeros((), dtype=torch.float64)]
    size = candidates.shape[1] * queries_MD.shape[1]
    parts = (_chunks(x, size, COMPARED) for x in (queries_MD, candidates, rough))
    for query, candidate, guess in zip(*parts, strict=True):
        exact = torch.bmm(bank_ND[candidate].double(), query.double().unsqueeze(-1)).squeeze(-1)
        errors.append((exact - guess).abs().max())
        best.append(_keys(exact, candidate, len(bank_ND)).topk(k, dim=1).values)
    return torch.cat(best), torch.stack(errors).max()


def _search_again(queries_MD: Tensor, bank_ND: Tensor, k: int) -> Tensor:
    """Keys of the best `k` of all rows, `[M, k]`, in float64."""
    bank = bank_ND.double()
    index = torch.arange(len(bank), device=bank.device)
    chunks = _chunks(queries_MD, len(bank), BLOCK)
    return torch.cat([_keys(c.double() @ bank.T, index, len(bank)).topk(k, dim=1).values for c in chunks])


def _keys(similarity: Tensor, index: Tensor, count: int) -> Tensor:
    """Distinct int64 numbers in the order of (similarity, -index): topk alone leaves ties open."""
    return (similarity * STEPS).round().long() * count + (count - 1 - index)


def _chunks(rows: Tensor, width: int, block: Mapping[str, int]) -> Iterator[Tensor]:
    """`rows` cut so that each chunk times `width` fits in a block."""
    size = max(1, block["cuda" if rows.is_cuda else "cpu"] // width)
    return (rows[start : start + size] for start in range(0, len(rows), size))

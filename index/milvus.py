"""Search with a Milvus server: for galleries that outgrow one machine.

Each row of the collection is a vector with its id and site. One more row, of id -1, keeps the
owner's marks (whose index this is, how far it has come), so that they are backed up and restored
together with the vectors; it is never a result. Everything is read and written with the consistency
level Strong: what was added is found at once, by every process.

The server proposes; similarities and the order of equal ones are computed here in double precision
from the vectors it returns, as the embedded engines do. With the index type FLAT the result is
theirs.

Letters: Q queries, K neighbours, N stored vectors, D dimensions, M sites, A proposals.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from index.arrays import id_array, site_array, unit_rows
from index.errors import IndexServerMismatch, IndexServerRefused, UnknownId, WrongNumber
from index.milvus_calls import Connection
from index.milvus_place import MOST, IndexType, MilvusPlace, index_type, read_place, rule_type
from index.neighbors import NO_ID, Neighbors

__all__ = ["MilvusIndex"]

_MARKS_ID: Final = NO_ID  # the row that keeps the marks
_MARKS_LENGTH: Final = 4096
_ROWS: Final = 4096  # rows or ids in one request
_NUMBERS: Final = 1 << 22  # float32 in one request: 16 MiB
_SLACK: Final = 1e-5  # more than single precision can get a similarity of unit rows wrong
_SPARE: Final = 9  # proposals beyond k: equal similarities at the edge, and the row of the marks
_LOADING: Final = 600.0  # seconds in which a server should have a collection in memory
_FIELDS: Final = {"id": "INT64", "vector": "FLOAT_VECTOR", "site": "INT64", "marks": "VARCHAR"}
_log = logging.getLogger("vultus.index")


class MilvusIndex:
    """A collection of a Milvus server; see `index.protocol`. It is made where it is missing.

    Args:
        place: the server and the collection.
        dim: D, the length of every vector, at least 1.

    Raises:
        WrongNumber: D below 1.
        EngineMissing: the client library is not installed.
        IndexServerUnreachable: nobody answers within the place's time-out.
        IndexServerRefused: the server answers with an error.
        IndexServerMismatch: the collection is another program's, or of another D.
    """

    __slots__ = ("_connection", "_dim", "_type", "place")

    def __init__(self, place: MilvusPlace, dim: int) -> None:
        if dim < 1:
            raise WrongNumber(f"an index needs vectors of at least 1 number, got dim {dim}.")
        self.place: Final = place
        self._dim = dim
        self._connection = Connection(place)
        try:
            self._type = self._opened() or self._created()
        except BaseException:
            self._connection.close()
            raise

    @classmethod
    def open(cls, url: str, dim: int) -> Self:
        """Opens the collection of a URL, see `index.milvus_place`."""
        return cls(read_place(url), dim)

    @property
    def dim(self) -> int:
        """D, the length of every vector."""
        return self._dim

    @property
    def exact(self) -> bool:
        """Whether a search returns the true neighbours: with the index type FLAT."""
        return self._type.exact

    @property
    def type(self) -> str:
        """The index type of the collection, as Milvus calls it."""
        return self._type.name

    def __len__(self) -> int:
        found = self._query("id >= 0", ["count(*)"])
        return int(found[0]["count(*)"])

    def add(
        self,
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        sites: NDArray[np.int64] | None = None,
    ) -> None:
        """Stores vectors; an id that is there already gets the new vector and the new site.

        Args:
            ids: int64 (n,), each at least 0; of an id given twice the last row counts.
            vectors: float32 (n, D), unit rows.
            sites: int64 (n,); None puts them all at site 0.

        Raises:
            WrongArray: an array of another shape, dtype or length of rows; nothing is stored then.
            WrongNumber: a negative id.
        """
        vectors = unit_rows(vectors, self.dim)
        ids = id_array(ids, len(vectors))
        sites = np.zeros_like(ids) if sites is None else site_array(sites, len(vectors))
        last = np.array(list({n: row for row, n in enumerate(ids.tolist())}.values()), np.int64)
        for some in _pieces(last, max(1, min(_ROWS, _NUMBERS // self.dim))):
            self._upsert(
                {"id": int(ids[row]), "vector": vectors[row], "site": int(sites[row]), "marks": ""}
                for row in some
            )

    def remove(self, ids: NDArray[np.int64]) -> int:
        """Removes vectors and returns how many there were; unknown ids are passed over.

        Args:
            ids: int64 (n,).
        """
        removed = 0
        for some in _pieces(np.unique(id_array(ids)), _ROWS):
            there = [row["id"] for row in self._query(_one_of("id", some), ["id"])]
            if there:
                self._ask("delete", ids=there)
            removed += len(there)
        return removed

    def search(
        self, queries: NDArray[np.float32], k: int, within: NDArray[np.int64] | None = None
    ) -> Neighbors:
        """Finds the k closest vectors of each query; equal similarities go by the lower id.

        Where more vectors than Milvus proposes at most (16,383) are equally close to a query, those
        of them that it proposes are returned.

        Args:
            queries: float32 (Q, D), unit rows.
            k: K, at least 1; where fewer vectors are searched the rest is padding.
            within: int64 (M,), the sites to search; None searches all, an empty array none.

        Raises:
            WrongArray: an array of another shape, dtype or length of rows.
            WrongNumber: k below 1, or more than Milvus can find of this many vectors.
        """
        queries = unit_rows(queries, self.dim)
        if k < 1:
            raise WrongNumber(f"k must be at least 1, got {k}.")
        where = "" if within is None else _one_of("site", np.unique(site_array(within)))
        if k >= self._type.most and len(self) >= self._type.most:
            raise WrongNumber(
                f"Milvus finds at most {self._type.most - 1} neighbours with the index type "
                f"{self.type}, got k {k}: ask for fewer, or search with the engine auto:"
            )
        ids = np.full((len(queries), k), NO_ID, dtype=np.int64)
        similarities = np.full((len(queries), k), -np.inf, dtype=np.float32)
        left, count = np.arange(len(queries)), min(k + _SPARE, self._type.most)
        if within is not None and not len(within):
            return Neighbors(ids, similarities)
        while len(left):
            again = []
            for some in _pieces(left, max(1, min(MOST, _NUMBERS // (count * self.dim)))):
                for query, hits in zip(some, self._hits(queries[some], count, where), strict=True):
                    names, values = _ranked(queries[query], hits)
                    ids[query, : min(k, len(names))] = names[:k]
                    similarities[query, : min(k, len(names))] = values[:k]
                    if self._may_miss(hits, values, k, count):
                        again.append(query)
            left, count = np.array(again, np.int64), min(4 * count, self._type.most)
        return Neighbors(ids, similarities)

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the vectors of the ids as they were stored, in the order asked.

        Args:
            ids: int64 (n,).

        Returns:
            float32 (n, D).

        Raises:
            UnknownId: an id that is not stored.
        """
        ids = id_array(ids)
        rows: dict[int, NDArray[np.float32]] = {}
        for some in _pieces(np.unique(ids), max(1, min(_ROWS, _NUMBERS // self.dim))):
            for row in self._query(_one_of("id", some), ["id", "vector"]):
                rows[row["id"]] = np.array(row["vector"], np.float32)
        missing = [number for number in ids.tolist() if number not in rows]
        if missing:
            raise UnknownId(
                f"the index holds no vector of id {missing[0]}: add it, or bring the index up to "
                "date."
            )
        asked = [rows[number] for number in ids.tolist()]
        return np.array(asked, np.float32).reshape(-1, self.dim)

    def ids(self) -> NDArray[np.int64]:
        """Returns every id: int64 (N,), ascending."""
        pages = self._ask(
            "query_iterator",
            batch_size=MOST,
            filter="id >= 0",
            output_fields=["id"],
            consistency_level="Strong",
        )
        found: list[int] = []
        while page := self._connection.repeat(lambda _: pages.next()):
            found += [row["id"] for row in page]
        pages.close()
        return np.unique(np.array(found, np.int64))

    def marks(self) -> dict[str, str]:
        """Returns what the owner kept with the vectors; empty for a new collection."""
        found = self._query(f"id == {_MARKS_ID}", ["marks"])
        return dict(json.loads(found[0]["marks"])) if found else {}

    def keep_marks(self, marks: Mapping[str, str]) -> None:
        """Keeps marks with the vectors, in place of those that were kept.

        Raises:
            WrongNumber: they are more than 4,096 bytes of JSON.
        """
        text = json.dumps(dict(marks))
        if len(text) > _MARKS_LENGTH:
            raise WrongNumber(f"marks take at most {_MARKS_LENGTH} bytes, got {len(text)}.")
        somewhere = np.zeros(self.dim, np.float32)
        somewhere[0] = 1
        self._upsert(iter([{"id": _MARKS_ID, "vector": somewhere, "site": 0, "marks": text}]))

    def settle(self) -> bool:
        """Gives the collection the index type that fits its size, after many rows came or went.

        While the server builds another index, searches wait or fail: other processes see errors.

        Returns:
            Whether another index was built.
        """
        wanted = self._wanted(len(self))
        if wanted.name == self.type:
            return False
        _log.warning("%s gets the index type %s, it had %s", self.place, wanted.name, self.type)
        self._ask("release_collection")
        self._ask("drop_index", index_name="vector")
        self._type = self._indexed(wanted)
        return True

    def close(self) -> None:
        """Closes the connection; a store of Milvus Lite can then be opened by another process."""
        self._connection.close()

    def _opened(self) -> IndexType | None:
        """Looks at the collection; None where there is none."""
        if not self._ask("has_collection"):
            return None
        said = self._ask("describe_collection")
        fields = {field["name"]: field for field in said["fields"]}
        if {name: field["type"].name for name, field in fields.items()} != _FIELDS:
            raise IndexServerMismatch(
                f"the collection {self.place} was not made by Vultus, its fields are "
                f"{', '.join(sorted(fields))}: name another collection."
            )
        dim = int(fields["vector"]["params"]["dim"])
        if dim != self.dim:
            raise IndexServerMismatch(
                f"the collection {self.place} holds vectors of {dim} numbers, {self.dim} were "
                "asked for: name another collection."
            )
        if "vector" not in self._ask("list_indexes"):  # its maker was stopped before that
            return self._indexed(self._wanted(0))
        index = self._ask("describe_index", index_name="vector")
        self._load()
        name, lists = str(index.get("index_type", "FLAT")), int(index.get("nlist", 128))
        kind = index_type(name, 0)
        if kind.name != name:
            raise IndexServerMismatch(
                f"the collection {self.place} has an index of type {name}, which Vultus does not "
                "make: name another collection."
            )
        return IndexType(name, {"nlist": lists}) if name == "IVF_FLAT" else kind

    def _created(self) -> IndexType:
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self.dim)
        schema.add_field("site", DataType.INT64)
        schema.add_field("marks", DataType.VARCHAR, max_length=_MARKS_LENGTH)
        try:
            self._ask("create_collection", schema=schema, consistency_level="Strong")
        except IndexServerRefused:
            found = self._opened()  # another process was faster
            if found is None:
                raise
            return found
        return self._indexed(self._wanted(0))

    def _indexed(self, kind: IndexType) -> IndexType:
        """Gives the collection an index and makes it searchable; it is built in the background."""
        self._ask("create_index", index_params=self._parameters(kind), sync=False)
        self._load()
        return kind

    def _load(self) -> None:
        """Makes the collection searchable; a server that was restarted takes its time for that."""
        state = self._ask("get_load_state")["state"]
        if getattr(state, "name", state) != "Loaded":
            self._ask("load_collection", patience=_LOADING)

    def _wanted(self, size: int) -> IndexType:
        """The index type that was asked for, or that the rule gives; Milvus Lite has not all."""
        place = self.place
        name = place.type or ("FLAT" if place.lite else rule_type(size, place.device).name)
        if name != "FLAT" and self._connection.is_lite and (name != place.type or "GPU" in name):
            _log.warning("%s is Milvus Lite: its index type is FLAT, not %s", place, name)
            name = "FLAT"
        return index_type(name, size)

    def _parameters(self, kind: IndexType) -> Any:  # noqa: ANN401 a class of the library
        from pymilvus import MilvusClient

        parameters = MilvusClient.prepare_index_params()
        parameters.add_index(
            "vector",
            index_type=kind.name,
            index_name="vector",
            metric_type="IP",
            params=dict(kind.build),
        )
        return parameters

    def _hits(
        self, queries: NDArray[np.float32], count: int, where: str
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32], int]]:
        """Per query: ids int64 (A,) and vectors float32 (A, D) proposed, and the server's count."""
        found = self._ask(
            "search",
            data=queries,
            anns_field="vector",
            limit=count,
            filter=where,
            output_fields=["vector"],
            search_params={"metric_type": "IP", "params": self._type.search(count)},
            consistency_level="Strong",
        )
        answers = []
        for hits in found:
            rows = {hit["id"]: hit["entity"]["vector"] for hit in hits if hit["id"] != _MARKS_ID}
            vectors = np.array(list(rows.values()), np.float32).reshape(-1, self.dim)
            answers.append((np.array(list(rows), np.int64), vectors, len(hits)))
        return answers

    def _may_miss(
        self,
        hits: tuple[NDArray[np.int64], NDArray[np.float32], int],
        values: NDArray[np.float32],
        k: int,
        count: int,
    ) -> bool:
        """Whether a vector that was not proposed may be as close as the k-th of them."""
        if not self.exact or hits[2] < count or count == self._type.most:
            return False
        return bool(values[-1] >= values[k - 1] - _SLACK)

    def _query(self, where: str, fields: list[str]) -> list[dict[str, Any]]:
        found = self._ask("query", filter=where, output_fields=fields, consistency_level="Strong")
        return list(found)

    def _upsert(self, rows: Iterator[dict[str, Any]]) -> None:
        self._ask("upsert", data=list(rows))

    def _ask(self, method: str, **options: Any) -> Any:  # noqa: ANN401 as many types as methods
        return self._connection.ask(method, self.place.collection, **options)


def _ranked(
    query: NDArray[np.float32], hits: tuple[NDArray[np.int64], NDArray[np.float32], int]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Ids and similarities of the proposals, best first, computed in double."""
    names, vectors, _ = hits
    exact = np.vecdot(vectors.astype(np.float64), query.astype(np.float64))
    values = np.clip(exact, -1, 1).astype(np.float32)
    order = np.lexsort((names, -values))
    return names[order], values[order]


def _one_of(field: str, numbers: NDArray[np.int64]) -> str:
    return f"{field} in {numbers.tolist()}"


def _pieces(array: NDArray[np.int64], length: int) -> Iterator[NDArray[np.int64]]:
    return (array[start : start + length] for start in range(0, len(array), length))

"""Where a Milvus collection is, and which index type it should have.

    milvus:http://HOST:PORT/COLLECTION      a server; https:// for TLS; /DATABASE/COLLECTION too
    milvus:PATH.db                          Milvus Lite in this process, collection `vultus`

Options of a server follow a `?`: `timeout=SECONDS`, `device=cpu|gpu` (what the cluster's query
nodes search on) and `index=FLAT|HNSW|IVF_FLAT|GPU_CAGRA`, which overrules the rule of `rule_type`.
The token never stands in a URL: it comes from the environment variable VULTUS_MILVUS_TOKEN.

N stored vectors, K neighbours asked for.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from index.errors import UnknownEngine

__all__ = ["IndexType", "MilvusPlace", "index_type", "read_place", "rule_type"]

TIMEOUT: Final = 10.0  # seconds a request may take, its repetitions included
MOST: Final = 16384  # candidates of one query, a limit of Milvus
FLAT_UP_TO: Final = 200_000  # comparing all of these takes milliseconds: nothing to gain
GPU_FROM: Final = 100_000  # below, moving a query to the GPU costs more than searching
HNSW_UP_TO: Final = 20_000_000  # above, its graph needs more memory than it is worth
_COLLECTION = re.compile(r"[A-Za-z_]\w{0,254}", re.ASCII)
_TYPES = ("FLAT", "HNSW", "IVF_FLAT", "GPU_CAGRA")


@dataclass(frozen=True, slots=True)
class MilvusPlace:
    """A URL taken apart.

    Attributes:
        uri: what the client connects to: http(s)://HOST:PORT, or the path of a Milvus Lite store.
        collection: name of the collection.
        database: name of the server's database; empty for its default one.
        lite: whether this is Milvus Lite in this process.
        device: cpu or gpu.
        type: the index type that was asked for; None leaves it to the rule.
        timeout: seconds a request may take, its repetitions included.
    """

    uri: str
    collection: str = "vultus"
    database: str = ""
    lite: bool = False
    device: str = "cpu"
    type: str | None = None
    timeout: float = TIMEOUT

    def __str__(self) -> str:
        """The place as messages show it; it holds no secret."""
        if self.lite:
            return self.uri
        return "/".join(filter(None, (self.uri, self.database, self.collection)))


@dataclass(frozen=True, slots=True)
class IndexType:
    """An index type of Milvus with its parameters.

    Attributes:
        name: as Milvus calls it.
        build: parameters of the index.
        exact: whether every vector is compared.
        most: the most candidates of one query.
    """

    name: str
    build: Mapping[str, int]
    exact: bool = False
    most: int = MOST

    def search(self, count: int) -> dict[str, int]:
        """The parameters of a search for `count` candidates: breadth twice what is asked for."""
        if self.name == "HNSW":
            return {"ef": min(max(128, 2 * count), 32768)}
        if self.name == "IVF_FLAT":
            return {"nprobe": max(16, self.build["nlist"] // 32)}
        if self.name == "GPU_CAGRA":
            return {"itopk_size": 32 * math.ceil(max(128, count) / 32)}
        return {}


def read_place(url: str) -> MilvusPlace:
    """Takes a `milvus:` URL apart.

    Raises:
        UnknownEngine: it names no place, holds a password, or an option that there is not.
    """
    rest = url.removeprefix("milvus:")
    if not re.match(r"https?://", rest):
        if not rest.endswith(".db") or "://" in rest:
            raise _wrong("milvus: takes http://HOST:PORT/COLLECTION, or a path that ends in .db")
        return MilvusPlace(str(Path(rest).expanduser()), lite=True)
    parts = urlsplit(rest)
    if parts.username is not None or parts.password is not None:
        raise _wrong("a URL must hold no password: set VULTUS_MILVUS_TOKEN=USER:PASSWORD instead")
    database, _, collection = parts.path.strip("/").rpartition("/")
    if not _COLLECTION.fullmatch(collection) or "/" in database:
        raise _wrong(
            f"{parts.path or 'no path'!r} names no collection: write http://HOST:PORT/COLLECTION, "
            "letters, digits and _ only"
        )
    return _with_options(parts, database, collection)


def _with_options(parts: SplitResult, database: str, collection: str) -> MilvusPlace:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    timeout, device = options.pop("timeout", str(TIMEOUT)), options.pop("device", "cpu")
    asked = options.pop("index", None)
    if not re.fullmatch(r"\d{1,6}(\.\d+)?", timeout) or not float(timeout) > 0:
        raise _wrong(f"timeout={timeout} is no number of seconds: write timeout=10")
    if device not in ("cpu", "gpu") or asked not in (None, *_TYPES):
        raise _wrong(f"choose device=cpu or device=gpu, and index= one of {', '.join(_TYPES)}")
    if options or parts.fragment:
        raise _wrong("there are no options but timeout=, device= and index=: choose among these")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 19530)
    except ValueError as error:
        raise _wrong("its port is no number from 1 to 65535: write http://HOST:19530/…") from error
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    if not host:
        raise _wrong("it names no host: write http://HOST:19530/COLLECTION")
    uri = f"{parts.scheme}://{host}:{port}"
    return MilvusPlace(uri, collection, database, False, device, asked, float(timeout))


def rule_type(size: int, device: str) -> IndexType:
    """The index type for a size, where none was asked for.

    - FLAT, exact, up to 200,000 vectors (100,000 where the cluster has GPUs)
    - GPU_CAGRA above, where the cluster has GPUs
    - HNSW up to 20 million, M 16: the graph takes about 130 bytes a vector
    - IVF_FLAT above: a list number per vector instead of a graph

    Args:
        size: N, how many vectors there are.
        device: cpu or gpu, what the cluster's query nodes search on.
    """
    if size <= (GPU_FROM if device == "gpu" else FLAT_UP_TO):
        return index_type("FLAT", size)
    if device == "gpu":
        return index_type("GPU_CAGRA", size)
    return index_type("HNSW" if size <= HNSW_UP_TO else "IVF_FLAT", size)


def index_type(name: str, size: int) -> IndexType:
    """An index type by its name, its parameters fitting N = `size` vectors."""
    if name == "HNSW":
        return IndexType(name, {"M": 16, "efConstruction": 200})
    if name == "IVF_FLAT":
        lists = 4 * math.isqrt(max(size, 1))  # a Milvus rule of thumb: 4 · sqrt(N)
        return IndexType(name, {"nlist": min(max(lists, 128), 65536)})
    if name == "GPU_CAGRA":
        return IndexType(name, {"intermediate_graph_degree": 64, "graph_degree": 32}, most=1024)
    return IndexType("FLAT", {}, exact=True)


def _wrong(reason: str) -> UnknownEngine:
    """The URL itself is not repeated: it may hold a password."""
    return UnknownEngine(f"This milvus: URL cannot be used: {reason}.")

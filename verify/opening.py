"""The parts a command works with: database, detector and encoder, index, calibration.

Each is opened when it is first needed, so that a command pays only for what it uses.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from embedder.card import EncoderCard
from embedder.encoder import card_of, default_model, known_models
from embedder.photo import MAX_PIXELS
from verify.calibration import Calibration, calibration_for
from verify.early import Early

if TYPE_CHECKING:
    from embedder.embed import Embedder
    from store.lean import Claim, Lean
    from store.session import Store
    from store.synced import SyncedIndex


@dataclass(frozen=True)
class Places:
    """Where things are and which to use; None stands for the default or the environment.

    Attributes:
        database: SQLAlchemy URL or the path of an SQLite file.
        index: engine URL of the index.
        model: name of the encoder; None: the one the gallery's space belongs to.
        detector: `yunet` or `whole`; None: the one that goes with the encoder.
        device: `cpu` or `cuda`.
        runtime: `openvino` or `onnxruntime`.
        max_pixels: photos with more pixels are refused.
        key_file: what opens a sealed gallery: a key file, or `keyring:NAME`.
    """

    database: str | None = None
    index: str | None = None
    model: str | None = None
    detector: str | None = None
    device: str | None = None
    runtime: str | None = None
    max_pixels: int = MAX_PIXELS
    key_file: str | None = None


@dataclass
class Parts:
    """What a gallery is made of, opened lazily; use it as a context manager.

    Attributes:
        places: where things are.
        few: a photo or two will be encoded: what starts first is better than what runs fastest.
    """

    places: Places = field(default_factory=Places)
    few: bool = False
    _early: Early[Embedder] | None = field(default=None, repr=False)

    def open_ahead(self) -> None:
        """Open detector and encoder in a thread, while the database is opened and asked.

        Which encoder the gallery is pinned to is not known yet: the one that is asked for, or else
        the default, is opened, and another one later where that was wrong.
        """
        name = default_model() if self.places.model is None else self.places.model
        self._early = Early(name, self._open_embedder)

    @cached_property
    def lean(self) -> Lean | None:
        """The database without SQLAlchemy, where that will do; not beside one that is open."""
        if not self.few or "store" in self.__dict__:
            return None
        from store.lean import Lean

        return Lean.open(_given(self.places.database, "VULTUS_DATABASE"))

    def lean_claim(self, who: str, site: str | None) -> Claim | None:
        """Whom a capture is to be compared with, read in one go; None: look the usual way.

        With it the encoder and the calibration are known.

        Args:
            who: a uid or a name.
            site: look only there; None is everywhere.
        """
        found = None if self.lean is None else self.lean.claim(who, site)
        named = known_models() if self.places.model is None else [card_of(self.places.model)]
        cards = {card.space: card for card in named}
        if found is None or found.space not in cards:
            self._close_lean()
            return None
        self.card = cards[found.space]
        self._stored_calibration = found.calibration, found.calibration_id
        return found

    def _close_lean(self) -> None:
        """From now on the usual way."""
        if self.lean is not None:
            self.lean.close()
        self.lean = None

    @cached_property
    def store(self) -> Store:
        """The database; a first run creates it.

        Raises:
            StoreError: it cannot be used, or its schema is another.
        """
        from migrations import ensure_schema
        from store.session import Store
        from store.vault import Vault

        vault = Vault(self.places.key_file)
        store = Store.open(_given(self.places.database, "VULTUS_DATABASE"), vault=vault)
        try:
            ensure_schema(store)
        except BaseException:
            store.close()
            raise
        return store

    @cached_property
    def card(self) -> EncoderCard:
        """The encoder to use: as asked, else the one the gallery is pinned to, else the default."""
        from store.gallery import pinned_space

        asked = self.places.model
        if asked is not None:
            return card_of(asked)
        with self.store.read() as session:
            pinned = pinned_space(session)
        cards = {card.space: card for card in known_models()}
        return cards[pinned] if pinned in cards else card_of(default_model())

    @property
    def detector(self) -> str:
        """The detector as asked, else the one that goes with the encoder."""
        asked = self.places.detector
        return self.card.detector if asked is None else asked

    @cached_property
    def embedder(self) -> Embedder:
        """Detector and encoder; without a database, `card` needs `places.model`."""
        if self._early is not None and self._early.name == self.card.name:
            return self._early.result()
        return self._open_embedder(self.card.name)

    def _open_embedder(self, name: str) -> Embedder:
        from embedder.embed import open_embedder

        places = self.places
        return open_embedder(
            name, detector=places.detector, device=places.device, runtime=places.runtime,
            max_pixels=places.max_pixels, quick=self.few,
        )  # fmt: skip

    @cached_property
    def index(self) -> SyncedIndex:
        """The index, in step with the database when it is opened.

        Raises:
            SpaceMismatch: the gallery's vectors are of another space than the encoder's.
        """
        from store.gallery import require_space
        from store.sync import open_synced

        with self.store.read() as session:
            require_space(session, self.card.space)
        return open_synced(self.store, self.index_url, self.card.space, self.card.dim)

    @property
    def index_url(self) -> str:
        """The engine's URL as asked, else the default one; `cuda` asks for the GPU's engine too."""
        from index.opening import on_device
        from store.synced import default_index_url

        url = _given(self.places.index, "VULTUS_INDEX")
        if url is None:
            url = default_index_url(self.store, self.card.space)
        return on_device(url, _given(self.places.device, "VULTUS_DEVICE"))

    @cached_property
    def calibration(self) -> Calibration:
        """The calibration in force for the encoder's space.

        Raises:
            NoCalibration: there is none.
        """
        return calibration_for(self.card.space, self._stored_calibration[0])

    @property
    def calibration_id(self) -> int | None:
        """The row of the calibration in force; None where the gallery has none of its own."""
        return self._stored_calibration[1]

    @cached_property
    def _stored_calibration(self) -> tuple[str | None, int | None]:
        from store.gallery import active_calibration

        with self.store.read() as session:
            row = active_calibration(session, self.card.space)
        return (None, None) if row is None else (row.body, row.id)

    def close(self) -> None:
        """Close the index's server and the database where they were opened."""
        if self._early is not None:
            self._early.wait()
        if "lean" in self.__dict__:
            self._close_lean()
        if "index" in self.__dict__:
            self.index.close()
        if "store" in self.__dict__:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _given(value: str | None, variable: str) -> str | None:
    """A place as given, else as the environment says, else None."""
    return os.environ.get(variable) if value is None else value

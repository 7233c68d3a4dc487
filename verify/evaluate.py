"""Evaluate an encoder on a folder of people: verification, identification, clustering.

    folder ─list─▶ Listing ─encode─▶ PhotoSet (with failures) ─compare─▶ scores ─count─▶ result

A photo without a usable face is an error, not a vanished row: a mated comparison with it is a
non-match, so is a non-mated one; `drop_failures` leaves such comparisons out, and the result says
so. The names of the rates are those of ISO/IEC 19795-1.

Letters: N photos, C comparisons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedder.embed import Embedder
from index.levelled import levelled_link
from index.partition import agreement
from verify.demographics import by_column, false_matches, false_non_matches, read_columns
from verify.errors import NothingToMeasure, UnsupportedRate
from verify.evaluation import (
    ClusteringResult,
    Demographic,
    Estimate,
    Example,
    Failures,
    IdentificationResult,
    OperatingPoint,
    Rate,
    Setup,
    VerificationResult,
)
from verify.open_set import (
    RANKS,
    Roles,
    cmc,
    default_sizes,
    gallery_size,
    identification_rate,
    open_set_curve,
    open_set_points,
    search,
    searches,
    split_folder,
)
from verify.pairs import (
    TAIL,
    Pairs,
    Scored,
    balanced_draw,
    file_splits,
    fold_of_people,
    person_splits,
    read_pairs,
    score_all,
    score_pairs,
)
from verify.photoset import Listing, PhotoSet, encode, list_people, merged
from verify.rates import Folds, auc, cross_validate, eer, error_curve, histogram, threshold_at
from verify.resampling import by_person, estimates, supports

FMRS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
FAR = 1e-3
EXAMPLES = 20
_NO_FOLDS = Folds(None, None, None)
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rules:
    """How to evaluate.

    Attributes:
        detector: the name of the detector, to be told; None: the embedder's.
        rule: which face of a photo with several: `centre` or `largest`.
        drop_failures: leave photos without a usable face out of the rates.
        seed: of folds, splits and bootstrap.
        quiet: no progress bar.
    """

    detector: str | None = None
    rule: str = "centre"
    drop_failures: bool = False
    seed: int = 0
    quiet: bool = False

    def encode(self, embedder: Embedder, listing: Listing, rows: Ints | None = None) -> PhotoSet:
        """Turn photos into vectors; see `verify.photoset.encode`."""
        return encode(embedder, listing, rows, rule=self.rule, quiet=self.quiet)

    def setup(self, kind: str, data: Path, embedder: Embedder, protocol: str) -> Setup:
        """What is told about the measurement."""
        detector = embedder.detector.name if self.detector is None else self.detector
        return Setup(
            kind=kind, data=data.resolve().name, model=embedder.encoder.card.name,
            space=embedder.space, detector=detector, rule=self.rule, protocol=protocol,
            drop_failures=self.drop_failures, seed=self.seed,
            created=datetime.now(UTC).date().isoformat(),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PairSource:
    """Which pairs to compare.

    Attributes:
        pairs: a pair file; None: all pairs of the folder.
        threshold_pairs: a pair file on which the thresholds are chosen, or None.
        people: with all pairs, draw so many people; None: everybody.
        by: a csv table of people or photos, for rates by its columns, or None.
        by_fmr: the FMR at which these are told; where the data does not support it, the smallest
            supported one of `FMRS` is taken.
    """

    pairs: Path | None = None
    threshold_pairs: Path | None = None
    people: int | None = None
    by: Path | None = None
    by_fmr: float = 1e-3


def evaluate_verification(
    embedder: Embedder,
    root: Path,
    source: PairSource,
    rules: Rules | None = None,
    also: Callable[[PhotoSet], None] | None = None,
) -> VerificationResult:
    """Compare pairs of photos of a folder of people.

    Args:
        embedder: detector and encoder.
        root: the folder; see `verify.photoset` for its forms.
        source: which pairs.
        rules: how.
        also: called with the photos as vectors, before anything is measured on them.

    Raises:
        NothingToMeasure: no photos, or no comparison at all.
        PairsUnusable: a pair file or table that does not fit the folder.
    """
    rules = rules or Rules()
    listing = list_people(root)
    if source.by is not None:
        read_columns(source.by, listing)  # a table that does not fit is told before the long work
    if source.pairs is None:
        used = _drawn(listing, source.people, rules.seed)
        photos = rules.encode(embedder, listing, np.flatnonzero(used))
        if also is not None:
            also(photos)
        scored, folds, words = verify_all(photos, used, rules)
        sides = (np.flatnonzero(used), np.flatnonzero(used))
    else:
        pairs = read_pairs(source.pairs, listing)
        choosing = None
        if source.threshold_pairs is not None:
            choosing = read_pairs(source.threshold_pairs, listing)
        photos = rules.encode(embedder, listing, _rows(pairs, choosing))
        if also is not None:
            also(photos)
        scored, folds, words = verify_listed(photos, pairs, choosing, rules)
        sides = (np.unique(pairs.first), np.unique(pairs.second))
    return verification(
        photos, scored, folds, source, rules.setup("verification", root, embedder, words), sides
    )


def verify_all(photos: PhotoSet, used: Bools, rules: Rules) -> tuple[Scored, Folds, str]:
    """Scores of all pairs, accuracy over a balanced draw of them, and the protocol in words.

    Args:
        photos: photos as vectors.
        used: bool (N,), which of them to compare.
        rules: how.
    """
    used = used & ~photos.failed if rules.drop_failures else used
    draw = balanced_draw(photos.listing, used, rules.seed)
    folds = _NO_FOLDS
    if draw.folds is not None and len(draw.first):
        scores = photos.similarities(draw.first, draw.second)
        folds = cross_validate(scores, draw.same, draw.folds, file_splits(draw.folds), FAR)
        folds = _supported(folds, draw)
    words = (
        "all pairs of the folder; accuracy and validation rate over 10 person-disjoint folds "
        f"(seed {rules.seed}) of as many non-mated as mated pairs"
    )
    return score_all(photos, used), folds, words


def verify_listed(
    photos: PhotoSet, pairs: Pairs, choosing: Pairs | None, rules: Rules
) -> tuple[Scored, Folds, str]:
    """Scores of listed pairs, accuracy over folds, and the protocol in words.

    Args:
        photos: photos as vectors.
        pairs: what to compare.
        choosing: pairs to choose the thresholds on; None: the file's folds, else drawn ones.
        rules: how.
    """
    if rules.drop_failures:
        pairs = pairs.where(~(photos.failed[pairs.first] | photos.failed[pairs.second]))
    if not len(pairs.first):
        raise NothingToMeasure("No pair is left: every one has a photo without a usable face.")
    if choosing is not None:
        folds, words = _chosen_elsewhere(photos, pairs, choosing)
    else:
        scores = photos.similarities(pairs.first, pairs.second)
        folds, words = _folds(scores, pairs, rules.seed)
    return score_pairs(photos, pairs), _supported(folds, pairs), words


def _folds(scores: NDArray[np.float32], pairs: Pairs, seed: int) -> tuple[Folds, str]:
    if pairs.folds is not None:
        splits = file_splits(pairs.folds)
        words = f"the {len(np.unique(pairs.folds))} folds of the pair file, threshold from the rest"
        return cross_validate(scores, pairs.same, pairs.folds, splits, FAR), words
    places = np.unique(pairs.people, return_inverse=True)[1]
    fold = fold_of_people(int(places.max()) + 1, seed)[places]
    one, other = fold[pairs.first], fold[pairs.second]
    counted = np.where(np.arange(len(one)) % 2 == 0, one, other)
    words = f"no folds in the pair file: 10 person-disjoint folds, drawn with seed {seed}"
    return cross_validate(scores, pairs.same, counted, person_splits(one, other), FAR), words


def _chosen_elsewhere(photos: PhotoSet, pairs: Pairs, choosing: Pairs) -> tuple[Folds, str]:
    scores = np.concatenate(
        [photos.similarities(some.first, some.second) for some in (pairs, choosing)]
    )
    same = np.concatenate([pairs.same, choosing.same])
    tested = np.arange(len(scores)) < len(pairs.first)
    folds = np.where(tested, 0, -1)
    both = np.intersect1d(_people_of(photos.listing, pairs), _people_of(photos.listing, choosing))
    words = f"one fold, threshold from {len(choosing.first)} other pairs"
    if len(both):
        words += f" ({len(both)} people occur in both: the figures are optimistic)"
    return cross_validate(scores, same, folds, [(tested, ~tested)], FAR), words


def _people_of(listing: Listing, pairs: Pairs) -> Ints:
    return np.unique(listing.people[np.concatenate([pairs.first, pairs.second])])


def _supported(folds: Folds, pairs: Pairs) -> Folds:
    """Without the validation rate where the non-mated pairs cannot show its FAR."""
    if supports(int((~pairs.same).sum()), FAR):
        return folds
    return Folds(folds.accuracy, None, None)


def _drawn(listing: Listing, people: int | None, seed: int) -> Bools:
    """Bool (N,): the photos of everybody, or of so many people drawn with the seed."""
    if people is None:
        return np.ones(len(listing), dtype=bool)
    chosen = np.random.default_rng(seed).permutation(len(listing.names))[:people]
    return np.isin(listing.people, chosen)


def _rows(pairs: Pairs, choosing: Pairs | None) -> Ints:
    both = [pairs] if choosing is None else [pairs, choosing]
    return np.unique(np.concatenate([rows for some in both for rows in (some.first, some.second)]))


def verification(
    photos: PhotoSet,
    scored: Scored,
    folds: Folds,
    source: PairSource,
    setup: Setup,
    sides: tuple[Ints, Ints],
) -> VerificationResult:
    """Count everything about scored comparisons.

    Args:
        photos: photos as vectors.
        scored: the comparisons.
        folds: accuracy and validation rate.
        source: the table of `--by` and its rate.
        setup: what is told about the measurement.
        sides: rows of the enrolment side and of the probe side, for FTE and FTA.

    Raises:
        NothingToMeasure: no mated or no non-mated comparison.
    """
    if not len(scored.mated) or not len(scored.nonmated):
        raise NothingToMeasure(
            f"{len(scored.mated)} comparisons are of one person and {len(scored.nonmated)} of two: "
            "an evaluation needs both."
        )
    everybody = np.ones(len(photos.listing), dtype=bool)
    exposure = scored.comparing.exposure(everybody, everybody)
    mated_people = np.unique(scored.people[scored.mated_first])
    in_mated = np.zeros(len(exposure.trials), dtype=bool)
    in_mated[mated_people] = True
    found_auc, found_eer = _estimates(scored, setup.seed)
    points = tuple(operating_point(scored, rate) for rate in FMRS)
    return VerificationResult(
        setup=setup,
        failures=_failures(photos, *sides, dropped=setup.drop_failures),
        people=int(((exposure.trials > 0) | in_mated).sum()),
        person_pairs=exposure.pairs,
        mated_people=len(mated_people),
        mated=len(scored.mated),
        nonmated=len(scored.nonmated),
        accuracy=folds.accuracy,
        validation=folds.validation,
        far=folds.far,
        far_asked=FAR,
        auc=found_auc,
        eer=found_eer,
        points=points,
        curve=error_curve(scored.mated, scored.nonmated),
        histogram=histogram(scored.mated, scored.nonmated),
        false_matches=_worst_matches(photos, scored),
        false_non_matches=_worst_non_matches(photos, scored),
        demographics=_demographics(photos, scored, source, points),
    )


def _estimates(scored: Scored, seed: int) -> tuple[Estimate, Estimate]:
    """AUC and EER; with intervals where the people behind all comparisons are known."""
    values = auc(scored.mated, scored.nonmated), eer(scored.mated, scored.nonmated)
    if len(scored.tail) < len(scored.nonmated):
        return Estimate(values[0]), Estimate(values[1])
    rows = (
        np.concatenate([scored.mated_first, scored.tail_first]),
        np.concatenate([scored.mated_second, scored.tail_second]),
    )
    first, second = (scored.people[side] for side in rows)
    return estimates(values, np.concatenate([scored.mated, scored.tail]), first, second, seed)


def operating_point(scored: Scored, asked: float) -> OperatingPoint:
    """FMR and FNMR at the lowest threshold whose FMR is not above the asked one.

    Args:
        scored: the comparisons.
        asked: at most `TAIL`.

    Raises:
        UnsupportedRate: the rate is above `TAIL`.
    """
    if asked > TAIL * (1 + 1e-9):
        raise UnsupportedRate(f"A false-match rate of {asked:g} is above {TAIL:g}: ask for less.")
    everybody = np.ones(len(scored.people), dtype=bool)
    exposure = scored.comparing.exposure(everybody, everybody)
    if not supports(exposure.pairs, asked):
        no_fmr = Rate(None, None, None, 0, exposure.total, exposure.pairs)
        people = len(np.unique(scored.people[scored.mated_first]))
        return OperatingPoint(
            asked, None, no_fmr, Rate(None, None, None, 0, len(scored.mated), people)
        )
    threshold = threshold_at(scored.nonmated, asked)
    return OperatingPoint(
        asked,
        threshold,
        false_matches(scored, everybody, everybody, threshold),
        false_non_matches(scored, everybody, threshold),
    )


def _demographics(
    photos: PhotoSet, scored: Scored, source: PairSource, points: tuple[OperatingPoint, ...]
) -> tuple[Demographic, ...]:
    if source.by is None:
        return ()
    wanted = operating_point(scored, source.by_fmr)
    supported = [point for point in points if point.threshold is not None]
    at = wanted if wanted.threshold is not None else (supported[-1] if supported else None)
    if at is None or at.threshold is None:
        raise NothingToMeasure("The comparisons support no false-match rate to tell values apart.")
    return tuple(
        by_column(scored, column, at.threshold, at.asked, photos.looked)
        for column in read_columns(source.by, photos.listing)
    )


def _failures(photos: PhotoSet, enrolled: Ints, probes: Ints, *, dropped: bool) -> Failures:
    """What was missed, on both sides.

    Args:
        photos: photos as vectors.
        enrolled: int64 (…,), rows of the enrolment side.
        probes: int64 (…,), rows of the probe side.
        dropped: whether they were left out of the rates.
    """
    failed, people = photos.failed, photos.listing.people
    return Failures(
        photos=int(photos.looked.sum()),
        failed=len(photos.reasons),
        fte=by_person(failed[enrolled], people[enrolled]),
        fta=by_person(failed[probes], people[probes]),
        reasons=dict(Counter(photos.reasons.values()).most_common()),
        files=tuple((photos.listing.path(row), why) for row, why in photos.reasons.items()),
        dropped=dropped,
    )


def _example(photos: PhotoSet, one: int, other: int, similarity: float) -> Example:
    listing = photos.listing
    return Example(
        listing.path(one), listing.path(other), listing.person(one), listing.person(other),
        float(similarity) if np.isfinite(similarity) else None,
    )  # fmt: skip


def _worst_matches(photos: PhotoSet, scored: Scored) -> tuple[Example, ...]:
    ends = zip(scored.tail_first, scored.tail_second, scored.tail, strict=True)
    return tuple(_example(photos, int(a), int(b), s) for a, b, s in islice(ends, EXAMPLES))


def _worst_non_matches(photos: PhotoSet, scored: Scored) -> tuple[Example, ...]:
    ends = zip(scored.mated_first, scored.mated_second, scored.mated, strict=True)
    return tuple(_example(photos, int(a), int(b), s) for a, b, s in islice(ends, EXAMPLES))


@dataclass(frozen=True, slots=True)
class SearchSource:
    """Who is enrolled and who searches.

    Attributes:
        probes: a folder of probes, the other folder being the gallery; None: split one folder.
        enrol: with one folder, enrolment photos a person.
        left_out: with one folder, the share of the people who could be enrolled that is not; None:
            as `verify.open_set.split_folder` says.
        sizes: numbers of people to enrol; None: all, half, a quarter, … down to ten.
    """

    probes: Path | None = None
    enrol: int = 1
    left_out: float | None = None
    sizes: tuple[int, ...] | None = None


def evaluate_identification(
    embedder: Embedder, root: Path, source: SearchSource, rules: Rules | None = None
) -> IdentificationResult:
    """Search for people of a folder in a gallery.

    Args:
        embedder: detector and encoder.
        root: the folder of the gallery, or the one to split.
        source: who is enrolled and who searches.
        rules: how.

    Raises:
        NothingToMeasure: no photos, or nobody to enrol and to search for.
    """
    rules = rules or Rules()
    listing = list_people(root)
    if source.probes is None:
        roles, words = split_folder(listing, source.enrol, source.left_out, rules.seed)
    else:
        listing, roles = _two_folders(listing, list_people(source.probes))
        words = f"gallery {root.resolve().name}, probes {source.probes.resolve().name}"
    photos = rules.encode(embedder, listing)
    setup = rules.setup("identification", root, embedder, words)
    return identification(photos, roles, source.sizes, setup)


def _two_folders(gallery: Listing, probes: Listing) -> tuple[Listing, Roles]:
    listing = merged(gallery, probes)
    enrolled = np.arange(len(gallery))
    rows = np.arange(len(gallery), len(listing))
    known = np.isin(listing.people[rows], listing.people[enrolled])
    return listing, Roles(enrolled, rows[known], rows[~known])


def identification(
    photos: PhotoSet, roles: Roles, sizes: tuple[int, ...] | None, setup: Setup
) -> IdentificationResult:
    """Open-set and closed-set rates of searches.

    Args:
        photos: photos as vectors.
        roles: who is enrolled and who searches.
        sizes: numbers of people to enrol, or None for the default ones.
        setup: what is told about the measurement.

    Raises:
        NothingToMeasure: nothing is enrolled, or no probe of an enrolled person is left.
    """
    kept = _without_failures(photos, roles) if setup.drop_failures else roles
    people = photos.listing.people
    enrolled = np.unique(people[kept.gallery])
    mated_rows = kept.mated[np.isin(people[kept.mated], enrolled)]
    if not len(mated_rows):
        raise NothingToMeasure("No probe is of an enrolled person: there is nobody to find.")
    mated = search(photos, mated_rows, kept.gallery, enrolled)
    strangers = search(photos, kept.strangers, kept.gallery, enrolled)
    true = np.searchsorted(enrolled, people[mated_rows])
    own_people, best_people = people[mated_rows], people[kept.strangers]
    found = searches(mated, true, own_people, strangers, best_people)
    order = np.random.default_rng(setup.seed).permutation(len(enrolled))
    photos_each = np.bincount(people[kept.gallery])[enrolled]
    wanted = default_sizes(len(enrolled)) if sizes is None else _sizes(sizes, len(enrolled))
    return IdentificationResult(
        setup=setup,
        failures=_failures(
            photos, roles.gallery, np.concatenate([roles.mated, roles.strangers]),
            dropped=setup.drop_failures,
        ),
        gallery_people=len(enrolled),
        gallery_photos=len(kept.gallery),
        mated=len(mated_rows),
        strangers=len(kept.strangers),
        stranger_people=len(np.unique(best_people)),
        ranks={rank: identification_rate(found, rank) for rank in RANKS},
        cmc=cmc(found),
        points=open_set_points(found),
        curve=open_set_curve(found),
        sizes=tuple(
            gallery_size(
                size, order, mated, true, own_people, strangers, best_people, photos_each
            )
            for size in wanted
        ),
        false_positives=_worst_searches(photos, kept, kept.strangers, strangers, enrolled),
        misses=_worst_searches(
            photos, kept, mated_rows[found.ranks > 1], mated[found.ranks > 1], enrolled
        ),
    )  # fmt: skip


def _without_failures(photos: PhotoSet, roles: Roles) -> Roles:
    good = ~photos.failed
    return Roles(*(rows[good[rows]] for rows in (roles.gallery, roles.mated, roles.strangers)))


def _sizes(asked: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Sizes that the gallery can have, rising, and the whole gallery."""
    return tuple(sorted({min(size, most) for size in asked} | {most}))


def _worst_searches(
    photos: PhotoSet, roles: Roles, rows: Ints, found: NDArray[np.float32], enrolled: Ints
) -> tuple[Example, ...]:
    """Probes with the highest similarity to a (wrong) person, with the enrolled photo behind it.

    Args:
        photos: photos as vectors.
        roles: who is enrolled.
        rows: int64 (Q,), the probes.
        found: float32 (Q, K), their similarities to the enrolled people.
        enrolled: int64 (K,), these people.
    """
    if not len(rows):
        return ()
    people = photos.listing.people
    others = np.where(people[rows][:, None] == enrolled[None, :], -np.inf, found)
    nearest, best = others.argmax(axis=1), others.max(axis=1)
    worst = np.argsort(-best, kind="stable")[:EXAMPLES]
    examples = []
    for place in worst[np.isfinite(best[worst])].tolist():
        theirs = roles.gallery[people[roles.gallery] == enrolled[nearest[place]]]
        probe = np.full(len(theirs), rows[place])
        similarities = photos.similarities(probe, theirs)
        at = int(similarities.argmax())
        examples.append(_example(photos, int(rows[place]), int(theirs[at]), similarities[at]))
    return tuple(examples)


def evaluate_clustering(
    embedder: Embedder,
    root: Path,
    cuts: tuple[float, float] | None,
    rules: Rules | None = None,
    k: int | None = None,
) -> ClusteringResult:
    """Cluster the photos of a folder of people as a library, and compare with the folders.

    Args:
        embedder: detector and encoder.
        root: the folder.
        cuts: as `verify.cuts.cuts_of` gives them; None: see `clustering`.
        rules: how.
        k: a number of clusters for k-means, or None.

    Raises:
        NothingToMeasure: no photos, or none with a usable face.
    """
    rules = rules or Rules()
    photos = rules.encode(embedder, list_people(root))
    setup = rules.setup("clustering", root, embedder, "one person a photo, folders are the truth")
    return clustering(photos, cuts, setup, k)


def clustering(
    photos: PhotoSet, cuts: tuple[float, float] | None, setup: Setup, k: int | None = None
) -> ClusteringResult:
    """Cluster photos and compare with their people.

    Args:
        photos: photos as vectors.
        cuts: as `verify.cuts.cuts_of` gives them; None, where no calibration says what is alike:
            k-means with the number of clusters it finds best.
        setup: what is told about the measurement.
        k: a number of clusters for k-means, whatever the cuts; at most the number of vectors.

    Raises:
        NothingToMeasure: no photo gave a vector.
    """
    good = np.flatnonzero(~photos.failed)
    if not len(good):
        raise NothingToMeasure("No photo has a usable face: there is nothing to cluster.")
    labels = np.arange(len(photos.listing)) + len(good)  # a failed photo stays alone
    labels[good], method = _clusters(photos.vectors[good], cuts, k, setup.seed)
    rows = good if setup.drop_failures else np.arange(len(labels))
    everything = np.arange(len(labels))
    return ClusteringResult(
        setup=setup,
        failures=_failures(photos, everything, everything, dropped=setup.drop_failures),
        method=method,
        photos=len(rows),
        agreement=agreement(labels[rows], photos.listing.people[rows]),
        merges=_extremes(photos, good, labels, photos.listing.people, least=True),
        splits=_extremes(photos, good, photos.listing.people, labels, least=False),
    )


def _clusters(
    vectors: NDArray[np.float32], cuts: tuple[float, float] | None, k: int | None, seed: int
) -> tuple[Ints, str]:
    """Labels int64 (N,) of vectors float32 (N, D), and the method in words."""
    if k is None and cuts is not None:
        words = f"average link, cut at similarity {cuts[0]:.3f}"
        return levelled_link(vectors, cuts[0], cuts[1]), words
    from index.choose_k import choose_k
    from index.kmeans import kmeans

    if k is not None:
        k = min(k, len(vectors))
        return kmeans(vectors, k, seed).labels, f"k-means, k = {k}"
    chosen = choose_k(vectors, seed=seed)
    words = f"k-means, k = {chosen.k} chosen by {chosen.criterion} (no calibration)"
    return kmeans(vectors, chosen.k, seed).labels, words


def _extremes(
    photos: PhotoSet, rows: Ints, together: Ints, apart: Ints, *, least: bool
) -> tuple[Example, ...]:
    """The extreme pair of photos for each two parts of what is together.

    Args:
        photos: photos as vectors.
        rows: int64 (M,), photos with vectors.
        together: int64 (N,), labels: only photos of one label are paired.
        apart: int64 (N,), labels: only photos of different labels are paired.
        least: the least alike pairs, else the most alike ones.
    """
    found: list[tuple[float, int, int]] = []
    order = rows[np.argsort(together[rows], kind="stable")]
    for some in np.split(order, np.flatnonzero(np.diff(together[order])) + 1):
        parts = [some[apart[some] == label] for label in np.unique(apart[some])]
        found += [_extreme(photos, a, b, least=least) for a, b in combinations(parts, 2)]
    found.sort(reverse=not least)
    return tuple(_example(photos, a, b, similarity) for similarity, a, b in found[:EXAMPLES])


def _extreme(photos: PhotoSet, one: Ints, other: Ints, *, least: bool) -> tuple[float, int, int]:
    similarities = photos.vectors[one] @ photos.vectors[other].T
    at = int(similarities.argmin() if least else similarities.argmax())
    a, b = divmod(at, len(other))
    return float(similarities[a, b]), int(one[a]), int(other[b])

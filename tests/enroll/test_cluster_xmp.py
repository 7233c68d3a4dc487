"""Names and face regions in XMP: read from other programs' files, written beside photos."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image, ImageOps

from enroll.cluster import cluster_library, name_person
from enroll.clustering_names import read_names
from enroll.clustering_xmp import (
    NAMESPACES,
    Frame,
    Region,
    SidecarUnusable,
    merged,
    parsed,
    regions_of,
    sidecar_of,
    write_sidecars,
)
from enroll.corrections import deny, undo
from store.photos import origins

if TYPE_CHECKING:
    from collections.abc import Callable

    from enroll.cluster import Clustering

    from .conftest import Shelf

# As digiKam writes a region, and as Lightroom does, which tells every property as an element.
DIGIKAM = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:digiKam="http://www.digikam.org/ns/1.0/"
   xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/"
   xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#"
   xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#" digiKam:ColorLabel="3">
   <mwg-rs:Regions rdf:parseType="Resource">
    <mwg-rs:AppliedToDimensions stDim:w="320" stDim:h="320" stDim:unit="pixel"/>
    <mwg-rs:RegionList><rdf:Bag><rdf:li>
     <rdf:Description mwg-rs:Name="{name}" mwg-rs:Type="Face">
      <mwg-rs:Area stArea:x="{x}" stArea:y="{y}" stArea:w="{w}" stArea:h="{h}"
       stArea:unit="normalized"/>
     </rdf:Description>
    </rdf:li></rdf:Bag></mwg-rs:RegionList>
   </mwg-rs:Regions>
   <digiKam:TagsList><rdf:Seq><rdf:li>People/Ann</rdf:li></rdf:Seq></digiKam:TagsList>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
LIGHTROOM = """<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/"
    xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#"
    xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#">
   <mwg-rs:Regions rdf:parseType="Resource">
    <mwg-rs:AppliedToDimensions rdf:parseType="Resource">
     <stDim:w>400</stDim:w><stDim:h>200</stDim:h><stDim:unit>pixel</stDim:unit>
    </mwg-rs:AppliedToDimensions>
    <mwg-rs:RegionList><rdf:Bag>
     <rdf:li rdf:parseType="Resource"><mwg-rs:Type>Face</mwg-rs:Type><mwg-rs:Name>Ann</mwg-rs:Name>
      <mwg-rs:Area rdf:parseType="Resource"><stArea:x>100</stArea:x><stArea:y>100</stArea:y>
       <stArea:w>40</stArea:w><stArea:h>60</stArea:h><stArea:unit>pixel</stArea:unit></mwg-rs:Area>
     </rdf:li>
     <rdf:li rdf:parseType="Resource"><mwg-rs:Type>Pet</mwg-rs:Type><mwg-rs:Name>Rex</mwg-rs:Name>
      <mwg-rs:Area rdf:parseType="Resource"><stArea:x>0.5</stArea:x><stArea:y>0.5</stArea:y>
       <stArea:w>0.1</stArea:w><stArea:h>0.1</stArea:h></mwg-rs:Area></rdf:li>
    </rdf:Bag></mwg-rs:RegionList>
   </mwg-rs:Regions>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>"""
SQUARE = Frame(320, 320, 1)


def digikam(name: str, x: float, y: float, w: float, h: float) -> bytes:
    return DIGIKAM.format(name=name, x=x, y=y, w=w, h=h).encode()


@pytest.fixture
def two(
    shelf: Shelf, album: Callable[..., Path], people: dict[str, list[Path]]
) -> tuple[Shelf, Path, Clustering]:
    folder = album({name: people[name][:2] for name in list(people)[:2]})
    return shelf, folder, cluster_library(shelf.parts, folder)


def named(shelf: Shelf) -> dict[str, int]:
    rows = shelf.ask(
        "SELECT name, count(*) FROM people JOIN templates ON person_id = people.id GROUP BY name"
    )
    return {str(name): int(str(count)) for name, count in rows}


# --- reading


def test_both_ways_to_write_a_region_are_read():
    assert parsed(digikam("Ann", 0.5, 0.4, 0.2, 0.2)) == [
        Region("Ann", (pytest.approx(0.4), pytest.approx(0.3), 0.2, 0.2))
    ]
    (region,) = parsed(LIGHTROOM.encode())
    assert region.name == "Ann"
    assert region.box == pytest.approx((0.2, 0.35, 0.1, 0.3))


@pytest.mark.parametrize("turn", range(1, 9))
def test_regions_follow_the_orientation_as_pillow_does(turn: int, tmp_path: Path):
    """A bright patch in the stored picture is where the region lies in the upright one."""
    pixels = np.zeros((100, 200), np.uint8)
    pixels[10:30, 140:190] = 255
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / "p.png"
    Image.fromarray(pixels).save(path, exif=exif)
    region = Region("Ann", (0.7, 0.1, 0.25, 0.2))
    sidecar_of(path).write_bytes(digikam("Ann", 0.825, 0.2, 0.25, 0.2))
    (seen,) = regions_of(path)
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    rows, columns = np.nonzero(upright)
    height, width = upright.shape
    bright = (columns.min() / width, rows.min() / height)
    assert seen.box[:2] == pytest.approx(bright, abs=1e-6)
    assert Frame(200, 100, turn).stored(seen).box == pytest.approx(region.box)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"<x", "not XML"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "not XML that may be read"),
        (b"\xff\xfe\x00", "not XML"),
    ],
)
def test_what_is_no_xmp_is_refused(text: bytes, why: str):
    with pytest.raises(SidecarUnusable, match=why):
        parsed(text)


def test_names_in_sidecars_and_photos_become_people(two: tuple[Shelf, Path, Clustering]):
    shelf, _, found = two
    first, second = found.clusters
    with shelf.parts.store.read() as session:
        boxes = origins(session, [*first.templates, *second.templates])
    files = {
        digest: str(source) for digest, source in shelf.ask("SELECT digest, source FROM photos")
    }
    for cluster, name in ((first, "Ann"), (second, "Bob")):
        template, file = cluster.templates[0], Path(cluster.files[0])
        x, y, w, h = (value / 320 for value in boxes[template].box)
        text = digikam(name, x + w / 2, y + h / 2, w * 1.2, h * 1.1)
        if name == "Ann":
            sidecar_of(file).write_bytes(text)
            continue
        with Image.open(file) as image:
            image.save(file, xmp=text, quality=95)
        (digest,) = [key for key, path in files.items() if path == str(file)]
        files[digest] = str(file)
    done = read_names(shelf.parts, files)
    assert (done.named, done.known, done.left) == (2, 0, ())
    assert named(shelf) == {"Ann": 1, "Bob": 1}
    assert len(shelf.parts.index) == 2
    assert (read_names(shelf.parts, files).named, read_names(shelf.parts, files).known) == (0, 2)
    assert {undo(shelf.parts).kind for _ in range(2)} == {"name"}
    assert named(shelf) == {}
    assert shelf.count("people") == 0


def test_names_that_do_not_fit_are_left_with_their_reason(two: tuple[Shelf, Path, Clustering]):
    shelf, _, found = two
    file, template = Path(found.clusters[0].files[0]), found.clusters[0].templates[0]
    files = {str(d): str(s) for d, s in shelf.ask("SELECT digest, source FROM photos")}
    sidecar_of(file).write_bytes(digikam("Ann", 0.02, 0.02, 0.02, 0.02))
    (left,) = read_names(shelf.parts, files).left
    assert (left.file, left.reason) == (str(file), "no usable face where 'Ann' is")
    with shelf.parts.store.read() as session:
        x, y, w, h = (value / 320 for value in origins(session, [template])[template].box)
    sidecar_of(file).write_bytes(digikam("Ann", x + w / 2, y + h / 2, w, h))
    name_person(shelf.parts, 1, "Zoe")
    (left,) = read_names(shelf.parts, files).left
    assert left.reason == "the face of 'Ann' is called 'Zoe' here"
    undo(shelf.parts)
    name_person(shelf.parts, 1, "Ann")
    deny(shelf.parts, "Ann", [str(template)])
    (left,) = read_names(shelf.parts, files).left
    assert left.reason == "the face was said not to be 'Ann'"
    sidecar_of(file).write_text("<broken")
    (left,) = read_names(shelf.parts, files).left
    assert "not XML" in left.reason
    assert named(shelf) == {"Ann": 1}


# --- writing


def test_written_names_come_back_in_another_gallery(
    two: tuple[Shelf, Path, Clustering], open_shelf: Callable[..., Shelf], tmp_path: Path
):
    shelf, folder, _ = two
    name_person(shelf.parts, 1, "Ann & <Co>")
    found = cluster_library(shelf.parts, folder)
    done = write_sidecars(shelf.parts, found)
    assert (done.written, done.unchanged, done.left) == (2, 0, ())
    assert write_sidecars(shelf.parts, found).unchanged == 2
    other = open_shelf(tmp_path / "other.sqlite3")
    read = []
    clustering = cluster_library(
        other.parts, folder, prepare=lambda files: read.append(read_names(other.parts, files))
    )
    assert [(one.named, one.left) for one in read] == [(2, ())]
    assert [one.name for one in clustering.clusters] == ["Ann & <Co>", None]
    undo(shelf.parts)
    undo(shelf.parts)
    assert write_sidecars(shelf.parts, cluster_library(shelf.parts, folder)).written == 2
    assert all(regions_of(Path(file)) == [] for file in found.clusters[0].files)


def test_what_others_wrote_stays():
    theirs = digikam("Ann", 0.2, 0.2, 0.1, 0.1)
    ours = [Region("Bob", (0.6, 0.6, 0.2, 0.2)), Region("Not Ann", (0.15, 0.15, 0.1, 0.1))]
    text = merged(theirs, SQUARE, ours)
    assert [region.name for region in parsed(text)] == ["Ann", "Bob"]
    root = ET.fromstring(text)  # noqa: S314 - what was just written
    assert root.find(".//{http://www.digikam.org/ns/1.0/}TagsList") is not None
    (about,) = [d for d in root.iter(f"{{{NAMESPACES['rdf']}}}Description") if len(d) == 2]
    assert about.get("{http://www.digikam.org/ns/1.0/}ColorLabel") == "3"
    assert b"digiKam:ColorLabel" in text
    again = merged(text, SQUARE, [Region("Cyd", (0.6, 0.6, 0.2, 0.2))])
    assert [region.name for region in parsed(again)] == ["Ann", "Cyd"]
    assert merged(again, SQUARE, [Region("Cyd", (0.6, 0.6, 0.2, 0.2))]) == again
    without = ET.canonicalize(merged(again, SQUARE, []), strip_text=True)
    assert without == ET.canonicalize(theirs.decode(), strip_text=True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (DIGIKAM.replace("<rdf:RDF", "<!-- mine --><rdf:RDF", 1).encode(), "comments"),
        (b"<svg/>", "no XMP packet"),
        (b"", "not XML"),
    ],
)
def test_a_sidecar_that_cannot_be_written_back_whole_is_left_alone(
    two: tuple[Shelf, Path, Clustering], text: bytes, why: str
):
    shelf, folder, _ = two
    name_person(shelf.parts, 1, "Ann")
    found = cluster_library(shelf.parts, folder)
    file = Path(found.clusters[0].files[0])
    sidecar_of(file).write_bytes(text)
    done = write_sidecars(shelf.parts, found)
    assert (done.written, [left.file for left in done.left]) == (1, [str(file)])
    assert why in done.left[0].reason
    assert sidecar_of(file).read_bytes() == text


def test_a_photo_that_is_gone_is_told(two: tuple[Shelf, Path, Clustering]):
    shelf, folder, _ = two
    name_person(shelf.parts, 1, "Ann")
    found = cluster_library(shelf.parts, folder)
    shutil.rmtree(folder)
    assert len(write_sidecars(shelf.parts, found).left) == 2

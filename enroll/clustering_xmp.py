"""Names and face regions in XMP, as photo programs write and read them.

Regions follow the Metadata Working Group ("Guidelines for Handling Image Metadata" 2.0, 2010,
section 5.9; schema `mwg-rs`): centre, width and height as parts of the picture as it is stored,
before its EXIF orientation is applied. A sidecar is `PHOTO.JPG.xmp` beside the photo. What others
wrote there stays: only regions that bear our mark are replaced, and a file that cannot be written
back whole is left alone, with the reason.
"""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET  # writes; defusedxml reads # nosec B405
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import defusedxml.ElementTree as Safe
from defusedxml.common import DefusedXmlException

from embedder.weights import write_atomically
from enroll.clustering_result import Clustering, Unsorted
from store.photos import origins
from store.templates import owners
from verify.opening import Parts

NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "stArea": "http://ns.adobe.com/xmp/sType/Area#",
    "stDim": "http://ns.adobe.com/xap/1.0/sType/Dimensions#",
    "vultus": "urn:vultus:xmp:1",
}
SAME_PLACE = 0.25  # overlap (intersection over union) of boxes from which on they are one face
_LARGEST = 16 << 20  # bytes of a sidecar
_ORIENTATION, _TURNED = 0x0112, 5  # from this orientation on width and height are exchanged
_HEAD, _TAIL = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n',
    '\n<?xpacket end="w"?>\n',
)


class SidecarUnusable(Exception):
    """XMP that cannot be read, or not be written back whole; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Region:
    """A named face.

    Attributes:
        name: whose.
        box: left, top, width and height as parts of the picture, 0 to 1.
    """

    name: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture as its file stores it.

    Attributes:
        width, height: pixels as stored.
        orientation: of EXIF, 1 to 8.
    """

    width: int
    height: int
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of the picture as it is seen."""
        turned = self.orientation >= _TURNED
        return (self.height, self.width) if turned else (self.width, self.height)

    def stored(self, region: Region) -> Region:
        """A region of the upright picture in the picture as stored."""
        return Region(region.name, _between(region.box, _TO_STORED[self.orientation]))

    def seen(self, region: Region) -> Region:
        """A region of the picture as stored in the upright one."""
        return Region(region.name, _between(region.box, _TO_SEEN[self.orientation]))


# How the centre (u, v) moves: whether the axes are exchanged, then which of them are mirrored.
_TO_SEEN = {
    1: (False, False, False), 2: (False, True, False), 3: (False, True, True),
    4: (False, False, True), 5: (True, False, False), 6: (True, True, False),
    7: (True, True, True), 8: (True, False, True),
}  # fmt: skip
_TO_STORED = {**_TO_SEEN, 6: _TO_SEEN[8], 8: _TO_SEEN[6]}


@dataclass(frozen=True, slots=True)
class Written:
    """What became of sidecars.

    Attributes:
        written: how many were made or changed.
        unchanged: how many held these names already.
        left: photos whose sidecar was left alone, and why.
    """

    written: int
    unchanged: int
    left: tuple[Unsorted, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        left = [{"file": one.file, "reason": one.reason} for one in self.left]
        return {"written": self.written, "unchanged": self.unchanged, "left": left}


def write_sidecars(parts: Parts, clustering: Clustering) -> Written:
    """Write the names and regions of a library's named faces beside its photos.

    Args:
        parts: the gallery, which has the boxes.
        clustering: its clusters; a face is called what it was named, else as its cluster.
    """
    by_file: dict[str, list[tuple[str, tuple[float, float, float, float]]]] = {}
    ids = [template for cluster in clustering.clusters for template in cluster.templates]
    with parts.store.read() as session:
        boxes, whose = origins(session, ids), owners(session, ids)
    for cluster in clustering.clusters:
        for template, file in zip(cluster.templates, cluster.files, strict=True):
            name = whose[template].name if template in whose else cluster.name
            faces = by_file.setdefault(file, [])
            if name is not None and template in boxes:
                faces.append((name, boxes[template].box))
    counts = {True: 0, False: 0}
    left = []
    for file, faces in sorted(by_file.items()):
        if not faces and not sidecar_of(Path(file)).exists():
            continue
        try:
            counts[_write(Path(file), faces)] += 1
        except (SidecarUnusable, OSError) as error:
            why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            left.append(Unsorted(file, why))
    return Written(counts[True], counts[False], tuple(left))


def sidecar_of(photo: Path) -> Path:
    """Where the sidecar of a photo lies."""
    return photo.with_name(photo.name + ".xmp")


def frame_of(photo: Path) -> tuple[Frame, bytes]:
    """How a picture is stored, and the XMP inside its file; nothing of it is decoded.

    Raises:
        SidecarUnusable: the file is no picture that can be read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(photo) as image:
            turned = image.getexif().get(_ORIENTATION, 1)
            inside = image.info.get("xmp", b"")
            width, height = image.size
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise SidecarUnusable(f"the picture cannot be read ({error})") from error
    orientation = turned if turned in _TO_SEEN else 1
    text = inside.encode() if isinstance(inside, str) else inside
    return Frame(width, height, orientation), text if isinstance(text, bytes) else b""


def regions_of(photo: Path) -> list[Region]:
    """The named faces that a photo's sidecars and its own XMP tell, in the upright picture.

    Raises:
        SidecarUnusable: the picture or its XMP cannot be read.
    """
    frame, inside = frame_of(photo)
    texts = [_read(place) for place in (sidecar_of(photo), photo.with_suffix(".xmp"))]
    found: list[Region] = []
    for text in (*texts, inside):
        for region in parsed(text) if text else ():
            seen = frame.seen(region)
            if all(overlap(seen.box, other.box) < SAME_PLACE for other in found):
                found.append(seen)
    return found


def parsed(text: bytes) -> list[Region]:
    """The named faces of an XMP packet, in the picture as stored.

    Raises:
        SidecarUnusable: it is no XML, or declares entities.
    """
    root = _root(text)
    found = []
    for regions in root.iter(_tag("mwg-rs", "Regions")):
        size = _size(regions)
        for listed in regions.iter(_tag("mwg-rs", "RegionList")):
            some = (_region(one, size) for one in listed.iter(_tag("rdf", "li")))
            found += [region for region in some if region is not None]
    return found


def merged(text: bytes | None, frame: Frame, regions: Sequence[Region]) -> bytes:
    """An XMP packet with our regions in it; what others wrote stays.

    Args:
        text: the packet there is; None: there is none.
        frame: the picture.
        regions: in the picture as stored; where somebody else named that place, theirs stays.

    Raises:
        SidecarUnusable: the packet cannot be written back whole.
    """
    root = _fresh() if text is None else _whole(text)
    bag = _bag(root, frame)
    for item in list(bag):
        if item.find(f".//*[@{_tag('vultus', 'made')}]") is not None:
            bag.remove(item)
    theirs = [region for region in (_region(one, None) for one in bag) if region is not None]
    for region in regions:
        if all(overlap(region.box, other.box) < SAME_PLACE for other in theirs):
            bag.append(_item(region))
    for prefix, uri in NAMESPACES.items():
        ET.register_namespace(prefix, uri)
    return (_HEAD + ET.tostring(root, encoding="unicode") + _TAIL).encode()


def overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> float:
    """Intersection over union of two boxes of left, top, width and height, 0 to 1."""
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if wide <= 0 or high <= 0:
        return 0.0
    both = wide * high
    return both / (one[2] * one[3] + other[2] * other[3] - both)


def _write(photo: Path, faces: Sequence[tuple[str, tuple[float, float, float, float]]]) -> bool:
    """Bring a photo's sidecar up to date; whether it changed."""
    frame, _ = frame_of(photo)
    width, height = frame.upright
    regions = []
    for name, (x, y, w, h) in faces:
        left, top = max(0.0, x / width), max(0.0, y / height)
        right, bottom = min(1.0, (x + w) / width), min(1.0, (y + h) / height)
        regions.append(frame.stored(Region(name, (left, top, right - left, bottom - top))))
    place = sidecar_of(photo)
    before = _read(place)
    after = merged(before, frame, regions)
    if after == before:
        return False
    write_atomically(place, after)
    return True


def _read(place: Path) -> bytes | None:
    """The bytes of a sidecar; None where there is none."""
    if not place.is_file():
        return None
    if place.stat().st_size > _LARGEST:
        raise SidecarUnusable(f"{place.name} is too large for a sidecar")
    return place.read_bytes()


def _root(text: bytes) -> ET.Element:
    try:
        root: ET.Element = Safe.fromstring(text.strip(b"\0 \r\n\t"), forbid_dtd=True)
    except (ET.ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise SidecarUnusable(f"its XMP is not XML that may be read ({error})") from error
    return root


def _whole(text: bytes) -> ET.Element:
    """The root of a packet all of which can be written back."""
    root = _root(text)
    if b"<!--" in text or text.count(b"<?") > text.count(b"<?xpacket") + text.count(b"<?xml "):
        raise SidecarUnusable("its sidecar has comments or instructions that would be lost")
    if root.find(_tag("rdf", "RDF")) is None:
        raise SidecarUnusable("its sidecar is no XMP packet")
    for _, (prefix, uri) in Safe.iterparse(
        io.BytesIO(text.strip(b"\0 \r\n\t")), events=("start-ns",), forbid_dtd=True
    ):
        if prefix and not prefix.startswith("ns"):
            ET.register_namespace(prefix, uri)
    return root


def _fresh() -> ET.Element:
    root = ET.Element(_tag("x", "xmpmeta"))
    rdf = ET.SubElement(root, _tag("rdf", "RDF"))
    ET.SubElement(rdf, _tag("rdf", "Description"), {_tag("rdf", "about"): ""})
    return root


def _bag(root: ET.Element, frame: Frame) -> ET.Element:
    """The list of regions of a packet, made where there is none."""
    rdf = root.find(_tag("rdf", "RDF"))
    if rdf is None:
        raise SidecarUnusable("its sidecar is no XMP packet")
    found = next(rdf.iter(_tag("mwg-rs", "Regions")), None)
    if found is None:
        about = rdf.find(_tag("rdf", "Description"))
        if about is None:
            about = ET.SubElement(rdf, _tag("rdf", "Description"), {_tag("rdf", "about"): ""})
        resource = {_tag("rdf", "parseType"): "Resource"}
        found = ET.SubElement(about, _tag("mwg-rs", "Regions"), resource)
        size = {"w": str(frame.width), "h": str(frame.height), "unit": "pixel"}
        size = {_tag("stDim", key): value for key, value in size.items()}
        ET.SubElement(found, _tag("mwg-rs", "AppliedToDimensions"), size)
    bag = found.find(f".//{_tag('mwg-rs', 'RegionList')}/{_tag('rdf', 'Bag')}")
    if bag is None:
        if found.find(f".//{_tag('mwg-rs', 'RegionList')}") is not None:
            raise SidecarUnusable("its sidecar has a list of regions of an unknown form")
        within = found.find(_tag("rdf", "Description"))
        holder = found if within is None else within
        listed = ET.SubElement(holder, _tag("mwg-rs", "RegionList"))
        bag = ET.SubElement(listed, _tag("rdf", "Bag"))
    return bag


def _item(region: Region) -> ET.Element:
    """A region with our mark, as an item of the list."""
    left, top, width, height = region.box
    item = ET.Element(_tag("rdf", "li"))
    about = {
        _tag("mwg-rs", "Name"): region.name,
        _tag("mwg-rs", "Type"): "Face",
        _tag("vultus", "made"): "1",
    }
    held = ET.SubElement(item, _tag("rdf", "Description"), about)
    area = {"x": left + width / 2, "y": top + height / 2, "w": width, "h": height}
    values = {_tag("stArea", key): f"{value:.6f}" for key, value in area.items()}
    values[_tag("stArea", "unit")] = "normalized"
    ET.SubElement(held, _tag("mwg-rs", "Area"), values)
    return item


def _region(item: ET.Element, size: tuple[float, float] | None) -> Region | None:
    """A named face of a list; None for what has no name, no place, or is no face."""
    name, kind = _value(item, "mwg-rs", "Name"), _value(item, "mwg-rs", "Type")
    area = item.find(f".//{_tag('mwg-rs', 'Area')}")
    if not name or area is None or (kind or "Face") != "Face":
        return None
    try:
        x, y, w, h = (float(_value(area, "stArea", key) or "") for key in "xywh")
    except ValueError:
        return None
    if _value(area, "stArea", "unit") == "pixel":
        if size is None:
            return None
        x, y, w, h = x / size[0], y / size[1], w / size[0], h / size[1]
    inside = w > 0 and h > 0 and abs(x) <= 2 and abs(y) <= 2
    return Region(name, (x - w / 2, y - h / 2, w, h)) if inside else None


def _size(regions: ET.Element) -> tuple[float, float] | None:
    """What regions in pixels are parts of; None where it is not told."""
    applied = regions.find(f".//{_tag('mwg-rs', 'AppliedToDimensions')}")
    try:
        told = (
            [float(_value(applied, "stDim", key) or "") for key in "wh"]
            if applied is not None
            else []
        )
    except ValueError:
        return None
    return (told[0], told[1]) if told and min(told) > 0 else None


def _value(node: ET.Element, prefix: str, name: str) -> str | None:
    """A property, told as an attribute or as an element of a node or its description."""
    tag = _tag(prefix, name)
    for place in _places(node):
        child = place.find(tag)
        if tag in place.attrib:
            return place.attrib[tag].strip()
        if child is not None and child.text:
            return child.text.strip()
    return None


def _places(node: ET.Element) -> Iterator[ET.Element]:
    yield node
    yield from node.findall(_tag("rdf", "Description"))


def _between(
    box: tuple[float, float, float, float], turn: tuple[bool, bool, bool]
) -> tuple[float, float, float, float]:
    """A box with its axes exchanged, or not, and then mirrored, or not."""
    exchanged, across, down = turn
    left, top, width, height = box
    if exchanged:
        left, top, width, height = top, left, height, width
    left = 1 - left - width if across else left
    top = 1 - top - height if down else top
    return left, top, width, height


def _tag(prefix: str, name: str) -> str:
    return f"{{{NAMESPACES[prefix]}}}{name}"

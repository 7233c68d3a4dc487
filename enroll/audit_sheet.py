"""The page of a gallery audit: every finding with its pictures, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from embedder.weights import write_atomically
from enroll.errors import OutputUnusable
from enroll.pages import page
from store.audit import append_event, read_back
from store.ledger import Event
from store.photos import crops
from verify.opening import Parts

if TYPE_CHECKING:
    from enroll.audit_gallery import GalleryAudit

PAGE, FINDINGS, PICTURES = "audit.html", "audit.json", "audit-faces"
WRITTEN: Final = "gallery_audited"  # the action of the row that keeps where a page lies
_CROPS_OF_A_FINDING = 12
_CHUNK = 500


def write_audit(parts: Parts, audit: GalleryAudit, out: Path) -> Path:
    """Write the page, the pictures and the JSON file of an audit into a folder.

    The folder is kept in the log, so that forgetting somebody finds it.

    Returns:
        The path of the page.

    Raises:
        OutputUnusable: the folder cannot be written.
    """
    values = audit.to_dict()
    try:
        (out / PICTURES).mkdir(parents=True, exist_ok=True)
        for old in (out / PICTURES).glob("*.jpg"):
            old.unlink()
        with parts.store.begin() as session:
            details = {"findings": values["counts"]}
            append_event(session, WRITTEN, None, details, {"out": str(out.resolve())})
        wanted = sorted(_shown(values))
        for start in range(0, len(wanted), _CHUNK):
            with parts.store.read() as session:
                for template, jpeg in crops(session, wanted[start : start + _CHUNK]).items():
                    (out / PICTURES / f"{template}.jpg").write_bytes(jpeg)
        _write(out, values)
    except OSError as error:
        raise _unusable(out, error) from error
    return out / PAGE


def kept_audits(session: Session) -> list[Path]:
    """The folders that audits were written into."""
    query = select(Event.private).where(Event.action == WRITTEN, Event.private.is_not(None))
    outs = {read_back(text).get("out") for text in session.scalars(query)}
    return sorted(Path(out) for out in outs if out)


def forget_in_audit(out: Path, template_ids: Collection[int], uids: Collection[str]) -> int:
    """Write an audit anew without what is about somebody; 1 where there is one, else 0.

    Raises:
        OutputUnusable: the folder cannot be written, or the JSON file there is something else.
    """
    if not (out / FINDINGS).is_file():
        return 0
    try:
        values = json.loads((out / FINDINGS).read_text(encoding="utf-8"))
        values["findings"] = [
            finding
            for finding in values["findings"]
            if not set(finding["uids"]) & set(uids)
            and not set(finding["templates"]) & set(template_ids)
        ]
        for template in template_ids:
            (out / PICTURES / f"{template}.jpg").unlink(missing_ok=True)
        _write(out, values)
    except OSError as error:
        raise _unusable(out, error) from error
    except (KeyError, TypeError, ValueError) as error:
        raise OutputUnusable(
            f"{out / FINDINGS} is not as Vultus wrote it ({error}): delete this audit."
        ) from error
    return 1


def _write(out: Path, values: dict[str, Any]) -> None:
    text = json.dumps(values, indent=1, ensure_ascii=False)
    write_atomically(out / FINDINGS, text.encode())
    write_atomically(out / PAGE, _page(out, values).encode())


def _shown(values: dict[str, Any]) -> set[int]:
    """The templates whose pictures the page shows."""
    findings = values["findings"]
    return {t for finding in findings for t in finding["templates"][:_CROPS_OF_A_FINDING]}


def _page(out: Path, values: dict[str, Any]) -> str:
    there = {int(file.stem) for file in (out / PICTURES).glob("*.jpg") if file.stem.isdecimal()}
    for finding in values["findings"]:
        shown = [t for t in finding["templates"][:_CROPS_OF_A_FINDING] if t in there]
        finding["shown"] = shown
    html = page("audit.html", audit=values, folder=PICTURES)
    for finding in values["findings"]:
        del finding["shown"]
    return html


def _unusable(out: Path, error: OSError) -> OutputUnusable:
    why = error.strerror or str(error)
    return OutputUnusable(f"{out} cannot be written ({why}): choose another --out.")

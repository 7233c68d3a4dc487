"""Every word of the page comes from one file, and every word of that file is used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from web.text import TEXT

WEB = Path(__file__).resolve().parents[2] / "web"
# Keys that are put together from what the server answers.
BUILT = {
    "guide": ("no_face", "closer", "too_close", "turn_to_light", "one_face_only", "hold_still",
              "look_ahead", "ok"),
    "pad": ("not_run", "bona_fide", "attack", "undecided"),
    "gate.answer": ("yes", "no", "unsure"), "gate.why": ("yes", "no", "unsure", "attack"),
    "answer": ("yes", "no", "unsure"), "identify.badge": ("yes", "no", "unsure"),
    "identify.answer": ("no", "unsure"), "outcome": ("enrolled", "unchanged", "rejected"),
    "kind": ("verify", "identify", "compare"),
    "done": ("name", "rename", "merge", "split", "move", "not", "together", "apart", "cluster"),
    "suggest": ("same", "different", "skip", "merge", "split"),
    "suggest.done": ("same", "different", "skip"),
    "library": ("name",),
    "gallery": ("people", "templates", "photos", "decisions", "one", "without", "unnamed",
                "expired"),
    "finding": ("duplicate", "mixed", "outlier", "unalike", "confusable", "one_template",
                "old_template", "orphan", "mixed_spaces", "index"),
}  # fmt: skip


def used() -> set[str]:
    files = [*(WEB / "static").glob("*.js"), *(WEB / "templates").glob("*.html")]
    text = "\n".join(file.read_text() for file in files)
    plain = set(re.findall(r"""\bt\(\s*["']([a-z0-9_.]+)["']""", text))
    plain |= set(re.findall(r"""\?\s*"([a-z_]+\.[a-z_.]+)"\s*:\s*"[a-z_.]+\"""", text))
    plain |= set(re.findall(r"""\?\s*"[a-z_.]+"\s*:\s*"([a-z_]+\.[a-z_.]+)\"""", text))
    plain |= set(re.findall(r'"(camera\.[a-z]+)"', text))
    counted = set(re.findall(r"""\btn\(\s*["']([a-z0-9_.]+)["']""", text))
    plain |= {f"{key}.{n}" for key in counted for n in ("one", "other")}
    plain |= {f"{prefix}.{end}" for prefix, ends in BUILT.items() for end in ends}
    plain |= {f"outcome.{end}.why" for end in BUILT["outcome"]}
    plain |= {f"done.{end}.nobody" for end in BUILT["done"]}
    plain |= {"nav.gate", "nav.people", "nav.identify", "nav.library", "nav.insight"}
    return plain | {key for key in TEXT if key.startswith("reason.")}


def test_no_word_is_missing():
    assert used() - set(TEXT) == set()


def test_no_word_is_left_over():
    assert set(TEXT) - used() == set()


@pytest.mark.parametrize("file", sorted((WEB / "templates").glob("*.html")), ids=lambda f: f.name)
def test_templates_hold_no_script_style_or_foreign_address(file):
    html = file.read_text()
    assert not re.search(r"\s(style|on[a-z]+)=", html)
    assert "<style" not in html
    assert not re.search(r"(src|href)=[\"'](https?:)?//", html)


@pytest.mark.parametrize("file", sorted((WEB / "static").glob("*.*")), ids=lambda f: f.name)
def test_nothing_is_fetched_from_elsewhere(file):
    text = re.sub(r"http://www\.w3\.org/\d+/svg", "", file.read_text())
    assert not re.search(r"https?://|@import|url\(", text)

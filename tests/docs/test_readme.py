"""What README and docs say is what the program does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

import vultus

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def folder_of_people(tmp_path: Path) -> Path:
    """What the examples of the README need: people/, capture.jpg, holiday/."""
    pictures = Path(str(resources.files("enroll") / "people" / "people"))
    for person in sorted(pictures.iterdir())[:3]:
        (tmp_path / "people" / person.name).mkdir(parents=True)
        for photo in sorted(person.glob("*.jpg"))[:4]:
            shutil.copy(photo, tmp_path / "people" / person.name)
    shutil.copy(pictures / "Arden Wick" / "5.jpg", tmp_path / "capture.jpg")
    return tmp_path


def test_the_python_example_runs_and_says_yes(folder_of_people: Path):
    (example,) = code_blocks(README, "python")
    package_root = str(Path(vultus.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=folder_of_people, capture_output=True, text=True,
        timeout=120, check=True, env={**os.environ, "PYTHONPATH": package_root},
    )  # fmt: skip
    first, second, third = done.stdout.splitlines()
    assert first == "{'enrolled': 12, 'unchanged': 0, 'rejected': 0}"
    assert second.startswith("yes ")
    assert third == "capture.jpg ['Arden Wick']"


def test_every_command_in_the_readme_exists():
    shown = re.findall(r"^\$ vultus (\w+)", "\n".join(code_blocks(README, "console")), re.MULTILINE)
    assert shown
    assert set(shown) <= set(vultus.COMMANDS)


def test_every_file_the_documents_link_to_exists():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_page_of_commands_is_what_the_commands_print():
    package_root = str(Path(vultus.__file__).parent)
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "commands.py")], capture_output=True, text=True,
        timeout=120, check=True, env={**os.environ, "PYTHONPATH": package_root},
    )  # fmt: skip
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert done.stdout == page, "run `make docs`"


def test_every_command_is_on_the_page():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name in vultus.COMMANDS:
        assert f"## vultus {name}\n" in page


def test_the_constraints_pin_every_dependency():
    import tomllib

    def bare(requirement: str) -> str:
        name = re.split(r"[\[<>=!~; ]", requirement)[0]
        return re.sub(r"[-_.]+", "-", name).lower()

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(r for k, e in extras.items() if k != "gpu" for r in e)]
    pinned = {
        bare(line)
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    }
    assert {bare(requirement) for requirement in wanted} <= pinned


def test_no_forbidden_word_is_in_the_product():
    """No pickle, and no path of somebody's machine, in anything that ships."""
    for folder in ("embedder", "index", "store", "enroll", "verify", "migrations", "web"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"import pickle\b", text), path
            assert "allow_pickle=True" not in text, path
            assert not re.search(r"[\"'](?:/home/|/root/|/work/)", text), path

"""Schemathesis against a real server: requests made from its OpenAPI document, good and bad.

    PYTHONPATH=. python benchmarks/serve_fuzz.py [--examples 150] [--seed 7]

The server serves a gallery of generated people and is thrown away afterwards. Checked for each
answer: no 5xx, a status and a content type the document names, a body of its schema. Needs
`pip install schemathesis`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

from serve import server

from enroll.folder import NamedPhoto, PeopleFolder
from enroll.person import enroll_people
from verify.opening import Parts, Places

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance"
)


def main() -> None:
    """Run, and say how many cases there were and what failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=150)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    people = Path(str(resources.files("enroll"))) / "people" / "people"
    photos = tuple(
        NamedPhoto(file, folder.name)
        for folder in sorted(people.iterdir())[:4]
        for file in sorted(folder.glob("*.jpg"))[:2]
    )
    with tempfile.TemporaryDirectory() as place:
        database = Path(place) / "gallery.sqlite3"
        with Parts(Places(database=str(database))) as parts:
            list(enroll_people(parts, PeopleFolder(people, photos, "", 0)))
        with server(database, 1) as (port, key, _):
            url = f"http://127.0.0.1:{port}"
            report = Path(place) / "report.ndjson"
            done = subprocess.run(  # noqa: S603 - an installed program
                [Path(sys.executable).parent / "schemathesis", "run", f"{url}/openapi.json",
                 "--url", url, "-H", f"Authorization: Bearer {key}", "--checks", CHECKS,
                 "--max-examples", str(given.examples), "--seed", str(given.seed),
                 "--phases", "examples,coverage,fuzzing", "--continue-on-failure",
                 "--report", "ndjson", "--report-ndjson-path", str(report)],
                check=False,
            )  # fmt: skip
            if report.exists():
                kinds = [next(iter(json.loads(line))) for line in report.open()]
                print({kind: kinds.count(kind) for kind in set(kinds)})
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()

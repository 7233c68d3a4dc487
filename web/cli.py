"""The command `serve`."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from verify.cli import gallery_options
from verify.opening import Places

LEVELS = ("debug", "info", "warning", "error")
F = TypeVar("F", bound=Callable[..., Any])


def _rate(name: str, default: str, told: str) -> Callable[[F], F]:
    """An option that is so many in a time."""
    return click.option(name, default=default, show_default=True, metavar="N/TIME", help=told)


def _count(name: str, most: int, default: int, told: str, metavar: str = "N") -> Callable[[F], F]:
    """An option that is a whole number from 1."""
    kind = click.IntRange(1, most)
    return click.option(
        name, type=kind, default=default, show_default=True, metavar=metavar, help=told
    )


@click.command(
    short_help="Serve the gallery over HTTP, with a page.",
    epilog="""\b
Examples:
  vultus serve                                  then open http://127.0.0.1:8700/
  vultus serve --workers 4 --lockout 5/10m
  vultus serve --pad observe --report report.html
  vultus serve --host 0.0.0.0 --allow-remote --tls-cert cert.pem --tls-key key.pem""",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8700,
    show_default=True,
    help="0 takes a free one and says which.",
)
@click.option("--allow-remote", is_flag=True, help="Let --host be an address others can reach.")
@_count("--workers", 64, 1, "Processes that share the gallery.")
@_rate("--rate", "200/s", "Requests of one key in one worker; off: any number.")
@_rate("--detect-rate", "30/s", "The same for live pictures (/v1/detect).")
@_rate("--failures", "30/1m", "Wrong keys of one address, before it must wait.")
@_rate(
    "--lockout",
    "5/10m",
    "Answers other than yes about one person, before nobody is answered; or off.",
)
@_count("--max-upload", 1024, 16, "Size of a request with pictures.", "MIB")
@_count("--waiting", 4096, 64, "Requests with pictures in a worker, before 429.")
@click.option(
    "--pad",
    type=click.Choice(["off", "observe", "require"]),
    default="off",
    show_default=True,
    help="What a presentation attack does to an answer.",
)
@click.option(
    "--pad-gate",
    metavar="NAME",
    help="The gate for --pad: recapture, or an installed one.  [default: recapture]",
)
@click.option(
    "--tls-cert", type=click.Path(path_type=Path), metavar="FILE", help="Certificate chain, PEM."
)
@click.option(
    "--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="Private key, PEM."
)
@click.option("--proxy", metavar="ADDRESS", help="Believe X-Forwarded-For and -Proto from there.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="An HTML report of vultus evaluate, for the page Insight.",
)
@click.option(
    "--spool",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Uploads of jobs; default: beside the database.",
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    show_default=True,
    help="Of the JSON lines on stderr.",
)
@gallery_options
def serve(
    host: str, port: int, allow_remote: bool, workers: int, rate: str, detect_rate: str,
    failures: str, lockout: str, max_upload: int, waiting: int, pad: str, pad_gate: str | None,
    tls_cert: Path | None, tls_key: Path | None, proxy: str | None, report: Path | None,
    spool: Path | None, log_level: str, places: Places,
) -> None:  # fmt: skip
    """Serve the gallery over HTTP: routes under /v1, a page, OpenAPI, metrics.

    Every route but /health/live and /health/ready needs a key, which `vultus keys add` makes.
    Logs are JSON lines on stderr. Interrupting it finishes what is in work.
    """
    try:
        import fastapi  # noqa: F401 - told here where it is missing
        import uvicorn
    except ImportError as error:
        raise click.ClickException('vultus serve needs: pip install "vultus[web]".') from error
    from verify.opening import Parts
    from verify.pad import DEFAULT_GATE, open_gate
    from web.settings import MEBIBYTE, Rate, Settings, require_address, require_file

    require_address(host, allow_remote)
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key come together.")
    if pad_gate is not None and pad == "off":
        raise click.UsageError("--pad-gate goes with --pad observe or --pad require.")
    settings = Settings(
        places=places, rate=Rate.parse(rate), detect_rate=Rate.parse(detect_rate),
        failures=Rate.parse(failures), lockout=Rate.parse(lockout),
        max_upload=max_upload * MEBIBYTE, waiting=waiting, pad=pad,
        pad_gate=pad_gate or DEFAULT_GATE,
        spool=None if spool is None else str(spool), report=require_file(report),
        secure=tls_cert is not None,
    )  # fmt: skip
    if pad_gate is not None:
        open_gate(pad_gate)
    with Parts(places) as parts:  # a first run creates it, before any worker
        parts.store.require_current()
    with _environment(settings.to_json(), log_level, workers):
        uvicorn.run(
            "web.app:app_from_environment", factory=True, host=host, port=port, workers=workers,
            log_config=None, log_level=log_level, access_log=False, server_header=False,
            ssl_certfile=require_file(tls_cert), ssl_keyfile=require_file(tls_key),
            proxy_headers=proxy is not None, forwarded_allow_ips=proxy or "", backlog=512,
            timeout_keep_alive=30, timeout_graceful_shutdown=20,
        )  # fmt: skip


@contextlib.contextmanager
def _environment(settings: str, level: str, workers: int) -> Iterator[None]:
    """What workers are told, and a folder for figures and sockets where there are several."""
    from web.app import SETTINGS
    from web.logs import configure
    from web.relay import FOLDER

    configure(level)
    os.environ[SETTINGS], os.environ["VULTUS_LOG_LEVEL"] = settings, level
    with tempfile.TemporaryDirectory(prefix="vultus-metrics-") as folder:
        if workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ[FOLDER] = folder
        yield

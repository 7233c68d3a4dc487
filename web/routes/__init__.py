"""The routes, one noun a file."""

from web.routes import (
    challenge,
    clusters,
    decisions,
    health,
    jobs,
    people,
    records,
    session,
    templates,
)

ROUTERS = (
    health.router,
    session.router,
    decisions.router,
    people.router,
    templates.router,
    challenge.router,
    clusters.router,
    jobs.router,
    records.router,
)

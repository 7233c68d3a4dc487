"""The HTML pages written beside their pictures, from the templates in `enroll/data`."""

from __future__ import annotations

from importlib import resources


def page(name: str, **values: object) -> str:
    """The template of that name with its values, each of them escaped.

    Args:
        name: a file of `enroll/data`; it may include others of them.
        **values: what the template names.

    Returns:
        The whole page, HTML.
    """
    from jinja2 import Environment, FunctionLoader

    def text(name: str) -> str:
        return (resources.files("enroll") / "data" / name).read_text(encoding="utf-8")

    templates = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(text)
    )
    return templates.get_template(name).render(**values)

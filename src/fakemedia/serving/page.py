"""The web page of the service: one file, which loads nothing from other addresses."""

from __future__ import annotations

from fakemedia.serving.answers import CAVEAT, Known

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                               "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
                               "frame-ancestors 'none'",
    "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
}


def page(detector: Known, *, asks_token: bool) -> str:
    """Return the page as HTML; with `asks_token` it has a field for the token."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("fakemedia.serving"), undefined=StrictUndefined, autoescape=True)
    return environment.get_template("serving_page.html").render(detector=detector, caveat=CAVEAT, asks_token=asks_token)

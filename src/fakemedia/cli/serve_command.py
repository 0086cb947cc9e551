"""`kedro serve`: a registered detector as an HTTP service."""

from __future__ import annotations

from typing import Any

import click

from fakemedia.cli.params_option import params_option
from fakemedia.cli.plain_errors import plain_errors
from fakemedia.context.loading import load_context
from fakemedia.core import plugin


@click.command()
@click.option("--alias", default="champion", show_default=True, help="The version to serve; it is exchanged when the "
              "alias moves.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0: all of this "
              "machine's.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any free port.")
@click.option("--token", default="", envvar="FAKEMEDIA_TOKEN", help="Bearer token that clients must send; better set "
              "in the environment as FAKEMEDIA_TOKEN, where other users do not see it.")
@params_option
@plain_errors
def serve(alias: str, host: str, port: int, token: str, params: dict[str, Any]) -> None:
    """Serve the champion: a web page at /, scores at POST /v1/score, /healthz, /readyz, /metrics, /openapi.json.

    Pictures are not kept. Scores are logged for monitoring. Bounds: parameters `serving`.
    """
    context = load_context(params=params)
    config = _configured(context.parameters.get("serving"))
    registry = context.open_registry()
    from fakemedia.serving.server import bound, make_service, run

    socket = bound(host, port)
    service = make_service(registry, alias=alias, config=config, token=token,
                           log=context.root / config.log if config.log else None)
    version = service.live.current.version
    address = f"[{host}]" if ":" in host else host
    click.echo(f"Serving version {version.number} ({version.facts.origin}): "
               f"http://{address}:{socket.getsockname()[1]}/")
    run(service, socket, click.echo)


def _configured(settings: Any) -> Any:
    from fakemedia.serving.serving_config import ServingConfig

    return plugin.configure(ServingConfig, settings or {}, where="serving")

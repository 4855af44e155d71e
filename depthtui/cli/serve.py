"""`depthtui serve`: the explorer in a browser."""

from __future__ import annotations

import secrets
import socket
import sys
from importlib.util import find_spec

import click

from depthtui.cli.command_help import SectionedCommand
from depthtui.cli.output import print_notice
from depthtui.cli.shared_options import WholeNumberRange, refuse_trust_in_last_model
from depthtui.errors import DepthError
from depthtui.installing import install_extra

_WARNING = (
    "Anyone who has this address can run models and write files as you, and anyone on the network "
    "can read it: nothing is encrypted. A tunnel (ssh -L) is safer than --allow-remote."
)


@click.command(
    cls=SectionedCommand,
    context_settings={"ignore_unknown_options": True},
    examples=[
        "depthtui serve",
        "depthtui serve --port 8080 --model Qwen/Qwen2.5-7B --device cuda:1",
    ],
)
@click.option("--host", default="127.0.0.1", help="Address to serve on.  [default: 127.0.0.1]")
@click.option(
    "--port",
    type=WholeNumberRange(0, 65535),
    default=8000,
    help="Port to serve on; 0 for a free one.  [default: 8000]",
)
@click.option("--allow-remote", is_flag=True, help="Let other machines in: --host 0.0.0.0.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[EXPLORER OPTIONS]…")
@click.pass_context
def serve(
    context: click.Context,
    /,
    host: str,
    port: int,
    allow_remote: bool,
    options: tuple[str, ...],
) -> None:
    """Serve the explorer to a browser on this machine.

    Each open page is an explorer of its own, which ends with its page. The printed address
    contains a secret, without which every request is refused. Options of the explorer, such as
    --model and --device, are passed on. From another machine,
    `ssh -L 8000:localhost:8000 HOST` there lets the same address be opened.
    """
    if find_spec("textual_serve") is None:
        raise DepthError(
            "Serving needs textual-serve, which is not installed.",
            f"Install it: {install_extra('serve')}",
        )
    from depthtui.cli.web_server import WebServer, is_local

    if not (is_local(host) or allow_remote):
        raise click.UsageError(f"{host} is open to other machines: --allow-remote allows them.")
    # Wrong options are reported here, not on a page.
    explorer = click.Command("depthtui", params=context.find_root().command.params)
    with explorer.make_context("depthtui", list(options)) as inner:
        refuse_trust_in_last_model(inner.params)
    # -P: no module of the working folder is imported.
    command = [sys.executable, "-P", "-m", "depthtui", *options]
    with _listening(host, port) as listening:
        server = WebServer(command, listening, secrets.token_urlsafe(24), allow_remote)
        if allow_remote:
            print_notice(_WARNING)
        click.echo(server.address)
        print_notice("Ctrl-c ends it.")
        server.serve()


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise DepthError(
            f"{host}:{port} cannot be used ({error.strerror}).",
            "Choose another one with --port, or 0 for a free one.",
        ) from None

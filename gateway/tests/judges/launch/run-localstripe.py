"""Its own program listens on every address of the machine. This one listens on a free port of 127.0.0.1."""

import socket

from aiohttp import web
from localstripe.server import app

listener = socket.create_server(("127.0.0.1", 0))
web.run_app(app, sock=listener, print=None)

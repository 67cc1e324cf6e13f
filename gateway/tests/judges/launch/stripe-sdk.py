"""Posts data with Stripe's own SDK to a recorder, and prints what arrived.

Reads a JSON object from each line of standard input. Prints a JSON array for each: the body, the content type, and the
version of the API that the SDK asked for. With the argument `resources` it prints an array for each kind of object that
can be created: its name, and the path of its list.
"""

import importlib
import json
import pkgutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import stripe

if sys.argv[1:] == ["resources"]:
    for module in pkgutil.walk_packages(stripe.__path__, "stripe."):
        importlib.import_module(module.name)
    kinds, seen = [stripe.APIResource], set()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        name = getattr(kind, "OBJECT_NAME", None)
        if name and hasattr(kind, "create") and name not in seen:
            seen.add(name)
            print(json.dumps([name, kind.class_url()]))
    sys.exit()

arrived = []


class Recorder(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        arrived.append([body, self.headers.get("content-type"), self.headers.get("stripe-version")])
        reply = b'{"id":"cus_1","object":"customer"}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


recorder = HTTPServer(("127.0.0.1", 0), Recorder)
threading.Thread(target=recorder.serve_forever, daemon=True).start()
stripe.enable_telemetry = False
address = {"api": f"http://127.0.0.1:{recorder.server_port}"}
client = stripe.StripeClient("sk_test_0123456789", base_addresses=address, max_network_retries=0)
for line in sys.stdin:
    client.v1.customers.create(json.loads(line))
    print(json.dumps(arrived.pop()))

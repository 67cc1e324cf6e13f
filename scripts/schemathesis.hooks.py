"""What the sandbox demands beyond docs/openapi.yaml, for scripts/schemathesis."""

import schemathesis

# In milliseconds: a longer wait would outlast the client's patience, and prove no more.
LONGEST_WAIT = 50


@schemathesis.hook
def before_load_schema(context, raw_schema):
    schemas = raw_schema["components"]["schemas"]
    # The sandbox names errors after the provider, so a collection must have one.
    schemas["CollectionId"]["pattern"] = r"^[^:\s]+:\S+$"
    # A document cannot say which consumers exist.
    schemas["AwaitConsumerIds"]["items"] = {"enum": ["contacts"]}


@schemathesis.hook
def map_query(context, query):
    return capped(query)


@schemathesis.hook
def map_body(context, body):
    return capped(body)


def capped(fields):
    if isinstance(fields, dict):
        for name in ("wait_for", "await_consumers_timeout"):
            value = fields.get(name)
            if isinstance(value, (int, float)) and value > LONGEST_WAIT and value == int(value):
                fields = {**fields, name: LONGEST_WAIT}
    return fields

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
def before_call(context, case, kwargs):
    for fields in (case.query, case.body):
        if isinstance(fields, dict):
            for name in ("wait_for", "await_consumers_timeout"):
                # A wrong value stays wrong.
                if isinstance(fields.get(name), (int, float)) and LONGEST_WAIT < fields[name] < 2**53:
                    fields[name] = LONGEST_WAIT

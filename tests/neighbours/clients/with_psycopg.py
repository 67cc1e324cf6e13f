"""The extension as a program with psycopg sees it: prints what it saw as one JSON object.

PGHOST, PGPORT, PGUSER and PGDATABASE say where. POOLED=1: through a pooler in transaction mode. Two lines of input let it
go on: the first when the request that it is to cancel is under way.
"""

import json
import os
import sys
import threading
import time

import psycopg
from psycopg.types.json import Jsonb

POOLED = os.environ.get("POOLED") == "1"
TARGET = ("sync", "salesforce:contact")
CREATE = (
    "SELECT upstream_id, data, updated_idx, deleted, upstream_created_at, extra"
    " FROM sequin_create(%s, %s, %s, await_consumers => %s, timeout_ms => %s)"
)

# Through the pooler no statement may be prepared; else after five times psycopg does it.
conn = psycopg.connect("", autocommit=True, prepare_threshold=None if POOLED else 5)
out = {}


def create(data, consumers=None, timeout=None):
    return conn.execute(CREATE, (*TARGET, Jsonb(data), consumers, timeout)).fetchone()


def fields(error):
    diag = error.diag
    return {
        "sqlstate": error.sqlstate,
        "message": diag.message_primary,
        "detail": json.loads(diag.message_detail) if diag.message_detail else None,
        "hint": diag.message_hint,
        "context": diag.context,
        "class": type(error).__name__,
        "bases": [base.__name__ for base in type(error).__mro__],
    }


def error_of(call):
    try:
        call()
    except psycopg.Error as error:
        return fields(error)
    raise SystemExit("no error")


# A call with parameters, often enough to be prepared by the server where that may be.
for n in range(8):
    row = create({"Name": "Paul", "n": n})
out["row"] = {"name": row[1]["Name"], "is_new": row[3] is False, "has_id": row[0] != "", "extra": row[5]}
out["types"] = [type(value).__name__ for value in row]
out["prepared"] = conn.execute(
    "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%sequin_create%'"
).fetchone()[0]

# One without, by the simple protocol.
out["simple"] = conn.execute(
    "SELECT data->>'Name' FROM sequin_create('sync', 'salesforce:contact', '{\"Name\": \"Chani\"}')"
).fetchone()[0]

# Read your own write.
upstream_id = create({"Name": "Leto"}, ["contacts"], 60000)[0]
out["read"] = conn.execute("SELECT data->>'Name' FROM contacts WHERE upstream_id = %s", (upstream_id,)).fetchone()[0]

out["errors"] = {
    "rejected": error_of(lambda: create({"Email": "nobody"})),
    "unknown": error_of(lambda: create({"Name": "gets 504"})),
    "refused": error_of(lambda: create({"Name": "gets 401"})),
    "busy": error_of(lambda: create({"Name": "gets 429"})),
    "confirmed": error_of(lambda: create({"Name": "gets 500"})),
    "argument": error_of(lambda: create([])),
}

# In a transaction: what was applied stays so, and the transaction is over.
try:
    with conn.transaction():
        create({"Name": "stays"})
        create({"Email": "nobody either"})
except psycopg.errors.FdwInvalidAttributeValue:
    pass

if not POOLED:
    # What comes together with an answer, only a handler gets.
    notified = []
    conn.add_notify_handler(notified.append)
    conn.execute("LISTEN sequin_outbox")
conn.execute("SELECT * FROM sequin_enqueue('create', %s, %s, %s)", (*TARGET, Jsonb({"data": {"Name": "Alia"}})))
if not POOLED:
    while not notified:
        conn.execute("SELECT")
        time.sleep(0.01)
    out["notified"] = json.loads(notified[0].payload)

cancelled = []
call = threading.Thread(target=lambda: cancelled.append(error_of(lambda: create({"Name": "stalls"}))))
call.start()
sys.stdin.readline()
conn.cancel()
call.join()
out["errors"]["cancelled"] = cancelled[0]
out["after"] = create({"Name": "after"})[1]["Name"]

print(json.dumps(out))

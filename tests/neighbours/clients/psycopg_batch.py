"""A batch of psycopg, which sends several statements before it waits: prints the error of the third as one JSON object.

PGHOST, PGUSER and PGDATABASE say where.
"""

import json

import psycopg

assert psycopg.Pipeline.is_supported()
conn = psycopg.connect("", autocommit=True)
try:
    conn.cursor().executemany(
        "INSERT INTO people (id, email) VALUES (%s, %s)", [(1, "a@b.c"), (2, "b@b.c"), (3, "nobody"), (4, "c@b.c")]
    )
except psycopg.Error as error:
    diag = error.diag
    detail = json.loads(diag.message_detail)
    print(json.dumps({"detail": detail, "hint": diag.message_hint, "context": diag.context}))

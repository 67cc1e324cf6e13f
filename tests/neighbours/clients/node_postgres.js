// The extension as a program with node-postgres sees it: prints what it saw as one JSON object.
//
// PGHOST, PGPORT, PGUSER and PGDATABASE say where, and DIRECT_PORT where Postgres itself is if POOLED=1 says that this is
// a pooler in transaction mode. A line of input says that the request which it is to cancel is under way.

const { Client } = require('pg');
const { once } = require('events');

const pooled = process.env.POOLED === '1';
const target = ['sync', 'salesforce:contact'];
const text =
  'SELECT upstream_id, data, updated_idx, deleted, upstream_created_at, extra' +
  ' FROM sequin_create($1, $2, $3, await_consumers => $4, timeout_ms => $5)';

async function main() {
  const client = new Client();
  await client.connect();
  const out = {};

  // With a name the statement is prepared; through the pooler it must have none.
  const create = async (data, consumers = null, timeout = null, name = pooled ? undefined : 'create') => {
    const values = [...target, JSON.stringify(data), consumers, timeout];
    return (await client.query({ name, text, values })).rows[0];
  };
  const fields = (error) => ({
    sqlstate: error.code,
    message: error.message,
    detail: error.detail ? JSON.parse(error.detail) : null,
    hint: error.hint ?? null,
    context: error.where ?? null,
    class: error.constructor.name,
  });
  const errorOf = (call) =>
    call().then(
      () => { throw new Error('no error'); },
      (error) => fields(error),
    );
  const value = async (sql, values) => Object.values((await client.query(sql, values)).rows[0])[0];

  let row;
  for (let n = 0; n < 8; n++) row = await create({ Name: 'Paul', n });
  out.row = { name: row.data.Name, is_new: row.deleted === false, has_id: row.upstream_id !== '', extra: row.extra };
  out.types = Object.values(row).map((v) => (v === null ? 'null' : v.constructor.name));
  out.prepared = Number(
    await value("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%sequin_create%'"),
  );

  out.simple = await value(
    `SELECT data->>'Name' FROM sequin_create('sync', 'salesforce:contact', '{"Name": "Chani"}')`,
  );

  const { upstream_id } = await create({ Name: 'Leto' }, ['contacts'], 60000);
  out.read = await value("SELECT data->>'Name' FROM contacts WHERE upstream_id = $1", [upstream_id]);

  out.errors = {
    rejected: await errorOf(() => create({ Email: 'nobody' })),
    unknown: await errorOf(() => create({ Name: 'gets 504' })),
    refused: await errorOf(() => create({ Name: 'gets 401' })),
    busy: await errorOf(() => create({ Name: 'gets 429' })),
    confirmed: await errorOf(() => create({ Name: 'gets 500' })),
    argument: await errorOf(() => create([])),
  };

  await client.query('BEGIN');
  await create({ Name: 'stays' });
  await errorOf(() => create({ Email: 'nobody either' }));
  await client.query('ROLLBACK');

  if (!pooled) await client.query('LISTEN sequin_outbox');
  const notified = pooled ? null : once(client, 'notification');
  await client.query("SELECT * FROM sequin_enqueue('create', $1, $2, $3)", [...target, '{"data": {"Name": "Alia"}}']);
  if (!pooled) out.notified = JSON.parse((await notified)[0].payload);

  // node-postgres has no method for it: another session asks Postgres to cancel this one. Not through the pooler, whose
  // only backend is busy.
  const pid = await value('SELECT pg_backend_pid()');
  const admin = new Client({ port: Number(process.env.DIRECT_PORT) });
  await admin.connect();
  const call = errorOf(() => create({ Name: 'stalls' }));
  await once(process.stdin, 'data');
  await admin.query('SELECT pg_cancel_backend($1)', [pid]);
  out.errors.cancelled = await call;
  await admin.end();
  out.after = (await create({ Name: 'after' })).data.Name;

  await client.end();
  process.stdin.destroy();
  console.log(JSON.stringify(out));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

-- A partitioned table is attached with its partitions.
CREATE TABLE orders (year integer, id integer, item text, deal_id text, PRIMARY KEY (year, id)) PARTITION BY LIST (year);
CREATE TABLE orders_2026 PARTITION OF orders FOR VALUES IN (2026);
SELECT sequin_attach('orders', 'regress', 'hubspot:deal', 'deal_id', delivery => 'inline');
SELECT relation, delivery FROM sequin.attachments ORDER BY relation::text;

-- A statement names the table or a partition, and is sent once.
INSERT INTO orders VALUES (2026, 1, 'spice');
INSERT INTO orders_2026 VALUES (2026, 2, 'water');
SELECT item, deal_id IS NOT NULL AS is_upstream FROM orders ORDER BY id;

-- A new partition is attached as its table is.
CREATE TABLE orders_2027 PARTITION OF orders FOR VALUES IN (2027);
SELECT sequin_attach(relation, sync_id, collection_id, upstream_id_column, fields, delivery, operations,
         await_consumers, timeout_ms, server)
FROM sequin.attachments WHERE relation = 'orders'::regclass;
SELECT relation FROM sequin.attachments ORDER BY relation::text;
\set VERBOSITY terse
UPDATE orders SET year = 2027 WHERE id = 1;
TRUNCATE orders_2026;
SELECT sequin_detach('orders');
SELECT count(*) FROM sequin.attachments;
DROP TABLE orders;

SELECT span_id, service_name, span_name, time, name, attributes, dropped_attributes_count FROM events ORDER BY time
> +------------------+--------------+-----------+-------------------------+------+------------+--------------------------+
> | span_id          | service_name | span_name | time                    | name | attributes | dropped_attributes_count |
> +------------------+--------------+-----------+-------------------------+------+------------+--------------------------+
> | 0000000000000002 | db           | SELECT    | 2026-01-02T03:04:05.020 | row  | {n: 7}     | 0                        |
> | 0000000000000002 | db           | SELECT    | 2026-01-02T03:04:05.021 | done |            | 0                        |
> +------------------+--------------+-----------+-------------------------+------+------------+--------------------------+

SELECT name FROM events WHERE service_name = 'db' AND attributes['n'] = '7'
> +------+
> | name |
> +------+
> | row  |
> +------+

SELECT count(*) FROM events WHERE trace_id = '02020202020202020202020202020202'
> +----------+
> | count(*) |
> +----------+
> | 0        |
> +----------+

SELECT span_id, linked_trace_id, linked_span_id, trace_state, attributes, flags FROM links
> +------------------+----------------------------------+------------------+-------------+------------+-------+
> | span_id          | linked_trace_id                  | linked_span_id   | trace_state | attributes | flags |
> +------------------+----------------------------------+------------------+-------------+------------+-------+
> | 0000000000000004 | 01010101010101010101010101010101 | 0000000000000003 |             |            | 1     |
> +------------------+----------------------------------+------------------+-------------+------------+-------+

SELECT service_name, schema_url, attributes, "resource.zone" FROM resources ORDER BY service_name
> +--------------+------------+--------------------------------+---------------+
> | service_name | schema_url | attributes                     | resource.zone |
> +--------------+------------+--------------------------------+---------------+
> | bank         |            | {service.name: bank, zone: eu} | eu            |
> | db           |            | {service.name: db, zone: eu}   | eu            |
> | web          |            | {service.name: web}            |               |
> +--------------+------------+--------------------------------+---------------+

SELECT count(DISTINCT resource_id) FROM spans JOIN resources USING (resource_id)
> +-----------------------------------+
> | count(DISTINCT spans.resource_id) |
> +-----------------------------------+
> | 3                                 |
> +-----------------------------------+

-- Callers and callees.
SELECT parent.service_name AS caller, child.service_name AS callee, count(*) AS calls, count(*) FILTER (WHERE child.status = 'error') AS errors
FROM spans child JOIN spans parent ON child.parent_span_id = parent.span_id AND child.trace_id = parent.trace_id
GROUP BY 1, 2 ORDER BY 1, 2
> +--------+--------+-------+--------+
> | caller | callee | calls | errors |
> +--------+--------+-------+--------+
> | web    | bank   | 1     | 1      |
> | web    | db     | 1     | 0      |
> +--------+--------+-------+--------+

SELECT service_name, count(*) AS spans, max(duration) AS longest FROM spans GROUP BY service_name ORDER BY service_name
> +--------------+-------+-----------+
> | service_name | spans | longest   |
> +--------------+-------+-----------+
> | bank         | 1     | 55000000  |
> | db           | 1     | 40000000  |
> | web          | 2     | 120000000 |
> +--------------+-------+-----------+

WITH RECURSIVE below AS (
SELECT span_id, 0 AS depth FROM spans WHERE parent_span_id IS NULL
UNION ALL SELECT spans.span_id, depth + 1 FROM spans JOIN below ON spans.parent_span_id = below.span_id
) SELECT * FROM below ORDER BY span_id
> +------------------+-------+
> | span_id          | depth |
> +------------------+-------+
> | 0000000000000001 | 0     |
> | 0000000000000002 | 1     |
> | 0000000000000003 | 1     |
> +------------------+-------+

SELECT date_bin(INTERVAL '1 second', start_time) AS second, count(*) FROM spans GROUP BY 1 ORDER BY 1
> +---------------------+----------+
> | second              | count(*) |
> +---------------------+----------+
> | 2026-01-02T03:04:05 | 3        |
> | 2026-01-02T03:04:10 | 1        |
> +---------------------+----------+

SELECT approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY duration) FROM spans
> +-----------------------------------------------------------------------------------+
> | approx_percentile_cont(Float64(0.5)) WITHIN GROUP [spans.duration ASC NULLS LAST] |
> +-----------------------------------------------------------------------------------+
> | 40000000.0                                                                        |
> +-----------------------------------------------------------------------------------+

SELECT nothing FROM spans
> No field named nothing; DESCRIBE and a table's name lists its columns

SELECT * FROM nowhere
> table 'clew.public.nowhere' not found

SELECT name FROM spans WHERE
> sql parser error: Expected: an expression, found: EOF

SELECT count(*) FROM spans UNION ALL SELECT count(*) FROM spans
> +----------+
> | count(*) |
> +----------+
> | 4        |
> | 4        |
> +----------+

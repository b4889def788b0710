SELECT span_id FROM spans WHERE trace_id = '01010101010101010101010101010101' ORDER BY span_id
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000001 |
> | 0000000000000002 |
> | 0000000000000003 |
> +------------------+

SELECT span_id FROM spans WHERE trace_id = '0101010101010101010101010101010A' ORDER BY span_id
> no rows of 1 columns

SELECT span_id FROM spans WHERE trace_id = 'no id'
> no rows of 1 columns

SELECT span_id FROM spans WHERE status = 'error'
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000003 |
> +------------------+

SELECT span_id FROM spans WHERE status = 'bad'
> no rows of 1 columns

SELECT span_id FROM spans WHERE status != 'error' ORDER BY 1
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000001 |
> | 0000000000000002 |
> | 0000000000000004 |
> +------------------+

SELECT span_id FROM spans WHERE kind = 'internal' OR kind = 'server' ORDER BY 1
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000001 |
> | 0000000000000002 |
> +------------------+

SELECT span_id FROM spans WHERE service_name = 'web' AND duration > 50000000
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000001 |
> +------------------+

SELECT span_id FROM spans WHERE duration >= 0 ORDER BY 1
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000001 |
> | 0000000000000002 |
> | 0000000000000003 |
> | 0000000000000004 |
> +------------------+

SELECT span_id FROM spans WHERE 40000000 < duration ORDER BY 1
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000001 |
> | 0000000000000003 |
> +------------------+

SELECT span_id FROM spans WHERE "resource.zone" = 'eu' ORDER BY 1
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000002 |
> | 0000000000000003 |
> +------------------+

SELECT span_id FROM spans WHERE "resource.zone" IS NULL ORDER BY 1
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000001 |
> | 0000000000000004 |
> +------------------+

-- These are texts, as some are.
SELECT span_id FROM spans WHERE "span.size" = '50'
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000002 |
> +------------------+

SELECT span_id FROM spans WHERE "span.ratio" = 2
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000004 |
> +------------------+

SELECT span_id FROM spans WHERE "span.vip" ORDER BY 1
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000003 |
> +------------------+

SELECT span_id FROM spans WHERE NOT "span.vip" ORDER BY 1
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000004 |
> +------------------+

SELECT span_id FROM spans WHERE start_time > '2026-01-02T03:04:05' AND start_time < '2026-01-02T03:04:06' ORDER BY 1
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000002 |
> | 0000000000000003 |
> +------------------+

SELECT span_id FROM spans WHERE start_time = '2026-01-02T03:04:05'
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000001 |
> +------------------+

SELECT span_id FROM spans WHERE name LIKE 'GET%'
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000001 |
> +------------------+

SELECT span_id FROM spans WHERE name = 'GET /cart' AND status_message = ''
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000001 |
> +------------------+

SELECT span_id FROM spans WHERE span_id IN ('0000000000000001', '0000000000000004') ORDER BY 1
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000001 |
> | 0000000000000004 |
> +------------------+

SELECT count(*) FROM spans WHERE false
> +----------+
> | count(*) |
> +----------+
> | 0        |
> +----------+

SELECT span_id FROM spans WHERE root_name = 'GET /cart' ORDER BY 1
> +------------------+
> | span_id          |
> +------------------+
> | 0000000000000001 |
> | 0000000000000002 |
> | 0000000000000003 |
> +------------------+

SELECT name FROM spans ORDER BY name LIMIT 2
> +-----------+
> | name      |
> +-----------+
> | GET /cart |
> | SELECT    |
> +-----------+

-- Each is asked of Clew and of DuckDB, and has to give the same.
SELECT count(*) AS spans, count(DISTINCT trace_id) AS traces, count(parent_span_id) AS children FROM spans;

SELECT service_name, count(*) AS spans, sum(duration) AS total, min(duration) AS shortest, max(duration) AS longest
FROM spans GROUP BY service_name ORDER BY service_name;

SELECT service_name, name, kind, status, count(*) AS spans FROM spans GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;

SELECT trace_id, span_id, parent_span_id, name, kind, start_time, end_time, duration, status, status_message
FROM spans WHERE status = 'error' ORDER BY trace_id, span_id;

SELECT trace_id, span_id, duration FROM spans ORDER BY duration DESC, trace_id, span_id LIMIT 50;

SELECT "span.http.request.method" AS method, "span.http.response.status_code" AS code, count(*) AS spans
FROM spans GROUP BY 1, 2 ORDER BY 1 NULLS LAST, 2 NULLS LAST;

SELECT count(*) AS spans FROM spans WHERE "span.http.request.method" = 'GET' AND "span.http.response.status_code" >= 400;

SELECT "span.app.cached" AS cached, count(*) AS spans, avg(duration) AS mean
FROM spans WHERE "span.app.cached" IS NOT NULL GROUP BY 1 ORDER BY 1;

SELECT "resource.host.name" AS host, count(*) AS spans FROM spans
GROUP BY 1 HAVING count(*) > 10 ORDER BY 2 DESC, 1 NULLS LAST LIMIT 20;

SELECT service_name, count(*) AS resources FROM resources GROUP BY 1 ORDER BY 1;

SELECT parent.service_name AS caller, child.service_name AS callee, count(*) AS calls
FROM spans child JOIN spans parent ON parent.trace_id = child.trace_id AND parent.span_id = child.parent_span_id
GROUP BY 1, 2 ORDER BY 1, 2;

SELECT name, count(*) AS events, count(DISTINCT service_name) AS services, min(time) AS earliest, max(time) AS latest
FROM events GROUP BY name ORDER BY name;

SELECT spans.kind, count(*) AS events FROM events JOIN spans USING (trace_id, span_id) GROUP BY 1 ORDER BY 1;

SELECT count(*) AS links, count(DISTINCT linked_trace_id) AS linked FROM links;

SELECT trace_id, count(*) AS spans, max(end_time) AS last, min(start_time) AS earliest
FROM spans GROUP BY trace_id ORDER BY spans DESC, trace_id LIMIT 20;

SELECT * FROM (
    SELECT service_name, trace_id, span_id, duration,
        row_number() OVER (PARTITION BY service_name ORDER BY duration DESC, trace_id, span_id) AS place
    FROM spans
) WHERE place <= 2 ORDER BY service_name, place;

SELECT date_trunc('second', start_time) AS second, count(*) AS spans FROM spans GROUP BY 1 ORDER BY 1;

SELECT count(*) AS spans FROM spans
WHERE start_time >= (SELECT min(start_time) FROM spans) + INTERVAL '1 second' AND kind IN ('server', 'consumer');

SELECT service_name FROM spans WHERE name LIKE '%POST%' UNION SELECT service_name FROM events ORDER BY 1;

WITH slow AS (SELECT trace_id FROM spans WHERE parent_span_id IS NULL AND duration > 50000000)
SELECT service_name, count(*) AS spans FROM spans WHERE trace_id IN (SELECT trace_id FROM slow) GROUP BY 1 ORDER BY 1;

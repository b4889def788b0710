-- The tables of docs/sql.md over the views of docs/schema.md.
CREATE SCHEMA clew;

CREATE VIEW clew.resources AS
SELECT DISTINCT ON (resource_id) resource_id, service_name,
    coalesce("resource.host.name", in_list(attributes, 'host.name').string) AS "resource.host.name"
FROM read_parquet(
    'clew-data/collector/blocks/default/blocks/*/*/resources.parquet', union_by_name = true, filename = true
);

CREATE VIEW clew.spans AS
SELECT
    lower(hex(trace_id)) AS trace_id,
    lower(hex(span_id)) AS span_id,
    lower(hex(parent_span_id)) AS parent_span_id,
    spans.name,
    ['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'][kind + 1] AS kind,
    start_time,
    make_timestamp_ns(epoch_ns(start_time) + duration) AS end_time,
    duration,
    ['unset', 'ok', 'error'][coalesce(status_code, 0) + 1] AS status,
    coalesce(status_message, '') AS status_message,
    spans.service_name,
    resource_id,
    coalesce(scope_name, '') AS scope_name,
    coalesce("span.http.request.method", in_list(attributes, 'http.request.method').string)
        AS "span.http.request.method",
    coalesce("span.http.response.status_code", in_list(attributes, 'http.response.status_code').int)
        AS "span.http.response.status_code",
    coalesce("span.app.cached", in_list(attributes, 'app.cached').bool) AS "span.app.cached",
    resources."resource.host.name"
FROM main.spans LEFT JOIN clew.resources resources USING (resource_id);

CREATE VIEW clew.events AS
SELECT trace_id, span_id, service_name, span_name, event.time AS time, event.name AS name
FROM (
    SELECT lower(hex(trace_id)) AS trace_id, lower(hex(span_id)) AS span_id, service_name, name AS span_name,
        unnest(events) AS event
    FROM main.spans
);

CREATE VIEW clew.links AS
SELECT trace_id, span_id, lower(hex(link.trace_id)) AS linked_trace_id, lower(hex(link.span_id)) AS linked_span_id
FROM (
    SELECT lower(hex(trace_id)) AS trace_id, lower(hex(span_id)) AS span_id, unnest(links) AS link FROM main.spans
);

USE clew;

"""The SDK's finished spans in the form of ../README.md."""

import struct
from collections.abc import Mapping, Sequence


def span(span):
    context = span.get_span_context()
    return {
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "parent_span_id": f"{span.parent.span_id:016x}" if span.parent else "",
        "trace_state": context.trace_state.to_header(),
        "flags": _flags(span.parent),
        "name": span.name,
        "kind": span.kind.name.lower(),
        "start_time_unix_nano": str(span.start_time),
        "end_time_unix_nano": str(span.end_time),
        "attributes": attributes(span.attributes),
        "events": [_event(event) for event in span.events],
        "links": [_link(link) for link in span.links],
        "dropped_attributes_count": span.dropped_attributes,
        "dropped_events_count": span.dropped_events,
        "dropped_links_count": span.dropped_links,
        "status": {"code": span.status.status_code.name.lower(), "message": span.status.description or ""},
        "resource": {
            "schema_url": span.resource.schema_url,
            "attributes": attributes(span.resource.attributes),
            "dropped_attributes_count": 0,
        },
        "scope": {
            "schema_url": span.instrumentation_scope.schema_url or "",
            "name": span.instrumentation_scope.name,
            "version": span.instrumentation_scope.version or "",
            "attributes": attributes(span.instrumentation_scope.attributes),
            "dropped_attributes_count": 0,
        },
    }


def _event(event):
    return {
        "time_unix_nano": str(event.timestamp),
        "name": event.name,
        "attributes": attributes(event.attributes),
        "dropped_attributes_count": event.dropped_attributes,
    }


def _link(link):
    return {
        "trace_id": f"{link.context.trace_id:032x}",
        "span_id": f"{link.context.span_id:016x}",
        # The exporters do not send link.context.trace_state.
        "trace_state": "",
        "flags": _flags(link.context),
        "attributes": attributes(link.attributes),
        "dropped_attributes_count": link.dropped_attributes,
    }


def _flags(remote):
    # The exporters send no trace flags here.
    return 0x300 if remote and remote.is_remote else 0x100


def attributes(mapping):
    return {key: value(item) for key, item in (mapping or {}).items()}


def value(item):
    if item is None:
        return {"empty": True}
    if isinstance(item, bool):
        return {"bool": item}
    if isinstance(item, str):
        return {"string": item}
    if isinstance(item, int):
        return {"int": str(item)}
    if isinstance(item, float):
        return {"double": struct.pack(">d", item).hex()}
    if isinstance(item, bytes):
        return {"bytes": item.hex()}
    if isinstance(item, Mapping):
        return {"map": attributes(item)}
    if isinstance(item, Sequence):
        return {"array": [value(part) for part in item]}
    raise TypeError(type(item))

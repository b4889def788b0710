"""Makes the traces of ../README.md, sends them with a real exporter, and prints what was made.

client.py PROTOCOL URL COMPRESSION
"""

import json
import sys
from importlib.metadata import version

from opentelemetry.exporter.otlp.common.http import Compression as JsonCompression
from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter as JsonExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from grpc import Compression as GrpcCompression

import neutral
import traces


def exporter(protocol, url, gzip):
    if protocol == "grpc":
        compression = GrpcCompression.Gzip if gzip else GrpcCompression.NoCompression
        return GrpcExporter(endpoint=url, insecure=True, compression=compression)
    if protocol == "http-protobuf":
        compression = HttpCompression.Gzip if gzip else HttpCompression.NoCompression
        return HttpExporter(endpoint=f"{url}/v1/traces", compression=compression)
    if protocol == "http-json":
        compression = JsonCompression.GZIP if gzip else JsonCompression.NONE
        return JsonExporter(endpoint=f"{url}/v1/traces", compression=compression)
    raise SystemExit(f"no such protocol: {protocol}")


def main():
    protocol, url, compression = sys.argv[1:]
    made = InMemorySpanExporter()
    providers = traces.providers()
    for provider in providers:
        provider.add_span_processor(SimpleSpanProcessor(made))
        provider.add_span_processor(BatchSpanProcessor(exporter(protocol, url, compression == "gzip")))
    traces.make(*providers)
    for provider in providers:
        if not provider.force_flush():
            raise SystemExit("the flush failed")
        provider.shutdown()
    spans = [neutral.span(span) for span in made.get_finished_spans()]
    json.dump({"client": f"python {version('opentelemetry-sdk')}", "spans": spans}, sys.stdout)


main()

// Makes the traces of ../README.md, sends them with a real exporter, and prints what was made.
//
//   node client.js PROTOCOL URL COMPRESSION
'use strict';

const { diag, DiagConsoleLogger, DiagLogLevel } = require('@opentelemetry/api');
const { setGlobalErrorHandler } = require('@opentelemetry/core');
const { BatchSpanProcessor, InMemorySpanExporter, SimpleSpanProcessor } = require('@opentelemetry/sdk-trace-base');
const { CompressionAlgorithm } = require('@opentelemetry/otlp-exporter-base');
const sdk = require('@opentelemetry/sdk-trace-base/package.json');
const neutral = require('./neutral');
const traces = require('./traces');

const EXPORTERS = {
  grpc: '@opentelemetry/exporter-trace-otlp-grpc',
  'http-protobuf': '@opentelemetry/exporter-trace-otlp-proto',
  'http-json': '@opentelemetry/exporter-trace-otlp-http',
};

function exporter(protocol, url, compression) {
  const { OTLPTraceExporter } = require(EXPORTERS[protocol]);
  return new OTLPTraceExporter({
    url: protocol === 'grpc' ? url : `${url}/v1/traces`,
    compression: compression === 'gzip' ? CompressionAlgorithm.GZIP : CompressionAlgorithm.NONE,
  });
}

async function main([protocol, url, compression]) {
  // console.warn and console.error go to stderr.
  diag.setLogger(new DiagConsoleLogger(), DiagLogLevel.WARN);
  setGlobalErrorHandler(failed);
  const json = protocol === 'http-json';
  const made = new InMemorySpanExporter();
  const providers = traces.providers(() => [
    new SimpleSpanProcessor(made),
    new BatchSpanProcessor(exporter(protocol, url, compression)),
  ]);
  traces.make(...providers, json);
  await Promise.all(providers.map(provider => provider.forceFlush()));
  const spans = made.getFinishedSpans().map(span => neutral.span(span, json));
  await Promise.all(providers.map(provider => provider.shutdown()));
  console.log(JSON.stringify({ client: `javascript ${sdk.version}`, spans }));
}

// A failed export rejects the flush, or only reaches the global handler.
function failed(error) {
  console.error(error);
  process.exitCode = 1;
}

main(process.argv.slice(2)).catch(failed);

//! What a service needs to make spans: a tracer under the service's own resource, and an exporter of its own.

use std::{borrow::Cow, future::Future, sync::Arc, time::Duration};

use clew_common::world::World;
use opentelemetry::{
    Context, KeyValue, Value,
    trace::{FutureExt, SpanBuilder, SpanKind, TraceContextExt, Tracer, TracerProvider},
};
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    resource::TelemetryResourceDetector,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider},
};

use super::exporter::{Counted, Sent};

/// Spans wait this long for company. The SDK's own five seconds are long for somebody who watches.
const BATCH_DELAY: Duration = Duration::from_millis(500);

/// Spans that may wait in each service. Past it the SDK drops them.
const MAX_WAITING_SPANS: usize = 16_384;

/// Where the services' spans go.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    /// An OTLP/gRPC endpoint.
    pub(crate) endpoint: String,
    /// What was sent there.
    pub(crate) sent: Arc<Sent>,
}

/// A service's tracer. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    service: &'static str,
    tracer: SdkTracer,
    provider: SdkTracerProvider,
}

impl Telemetry {
    /// Starts the telemetry of a service. To be called within a tokio runtime.
    ///
    /// # Errors
    /// When the destination is no endpoint.
    pub(crate) fn start(
        service: &'static str,
        version: &'static str,
        destination: &Destination,
    ) -> Result<Self, ExporterBuildError> {
        let exporter =
            opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(&destination.endpoint).build()?;
        let batches = BatchConfigBuilder::default()
            .with_scheduled_delay(BATCH_DELAY)
            .with_max_queue_size(MAX_WAITING_SPANS)
            .build();
        let processor = BatchSpanProcessor::builder(Counted::new(exporter, destination.sent.clone()))
            .with_batch_config(batches)
            .build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(service, version))
            // What the environment says about sampling is meant for other programs: a demo without spans shows nothing.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .with_span_processor(processor)
            .build();
        Ok(Self { service, tracer: provider.tracer("clew.demo.shop"), provider })
    }

    /// The service's name.
    pub(crate) fn service(&self) -> &'static str {
        self.service
    }

    /// Starts a span under the current one.
    pub(crate) fn begin(&self, span: SpanBuilder) -> Context {
        self.begin_under(&Context::current(), span)
    }

    /// Starts a span under the one of `parent`, which may be another service's.
    pub(crate) fn begin_under(&self, parent: &Context, span: SpanBuilder) -> Context {
        parent.with_span(self.tracer.build_with_context(span, parent))
    }

    /// Does `work` within a span of its own, which is the current one meanwhile.
    pub(crate) async fn within<T>(&self, span: SpanBuilder, work: impl Future<Output = T>) -> T {
        run(self.begin(span), work).await
    }

    /// Sends what is left. Blocking.
    pub(crate) fn close(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(service = self.service, %error, "the last spans were not sent");
        }
    }
}

/// A span to be started.
pub(crate) fn span(
    name: impl Into<Cow<'static, str>>,
    kind: SpanKind,
    attributes: impl IntoIterator<Item = KeyValue>,
) -> SpanBuilder {
    SpanBuilder::from_name(name).with_kind(kind).with_attributes(attributes)
}

/// Sets an attribute of the current span.
pub(crate) fn set(key: &'static str, value: impl Into<Value>) {
    Context::current().span().set_attribute(KeyValue::new(key, value));
}

/// Adds an event to the current span.
pub(crate) fn event(name: &'static str, attributes: impl IntoIterator<Item = KeyValue>) {
    Context::current().span().add_event(name, attributes.into_iter().collect());
}

/// Does `work` within the span of `context`, and ends the span.
pub(crate) async fn run<T>(context: Context, work: impl Future<Output = T>) -> T {
    let result = work.with_context(context.clone()).await;
    context.span().end();
    result
}

fn resource(service: &'static str, version: &'static str) -> Resource {
    let World { random, clock, .. } = World::real();
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_service_name(service)
        .with_attributes([
            KeyValue::new("service.namespace", "shop"),
            KeyValue::new("service.version", version),
            KeyValue::new("service.instance.id", random.uuid(clock).to_string()),
            KeyValue::new("deployment.environment.name", "demo"),
            KeyValue::new("host.name", rustix::system::uname().nodename().to_string_lossy().into_owned()),
            KeyValue::new("process.pid", i64::from(std::process::id())),
        ])
        .build()
}

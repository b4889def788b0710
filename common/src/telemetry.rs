//! The program's own logs and traces.

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// How the program speaks of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Which log lines are written: a level (`error`, `warn`, `info`, `debug`, `trace`) or a filter such as
    /// `info,clew_agent=debug`. A filter that cannot be read stops the start.
    pub log: String,
    /// `text` or `json`, a line an event, on standard error.
    pub log_format: LogFormat,
    /// Where the program's own traces go: the URL of an OTLP/gRPC endpoint, which may be Clew's own. Empty: nowhere.
    pub traces: String,
}

/// What is said of each option, for those who print them.
pub const SOURCE: &str = include_str!("telemetry.rs");

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

impl Default for Options {
    fn default() -> Self {
        Self { log: "info".to_owned(), log_format: LogFormat::Text, traces: String::new() }
    }
}

/// The same as flags and environment variables.
#[derive(Clone, Debug, Default, PartialEq, clap::Args, Serialize)]
#[group(skip)]
pub struct Flags {
    /// Log level or filter
    #[arg(long, value_name = "FILTER", env = "CLEW_LOG")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// How log lines are written
    #[arg(long, env = "CLEW_LOG_FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
    /// OTLP/gRPC endpoint for the program's own traces (off by default)
    #[arg(long = "own-traces", value_name = "URL", env = "CLEW_OWN_TRACES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces: Option<String>,
}

impl Flags {
    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Flushes the program's own traces when it is dropped.
#[derive(Debug)]
pub struct Guard(Option<SdkTracerProvider>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(|provider| provider.shutdown()) {
            tracing::debug!(%error, "the last own traces were not sent");
        }
    }
}

/// Starts logs and own traces of `service`. To be called once, within a tokio runtime.
///
/// Own traces show queries, connections and drains. Nothing that takes, stores or passes on spans makes a span itself, so
/// that they cannot breed when they come back to the program that sent them.
///
/// # Errors
/// When the filter or the endpoint cannot be understood.
pub fn start(service: &'static str, options: &Options) -> anyhow::Result<Guard> {
    let filter = EnvFilter::try_new(&options.log)
        .map_err(|error| anyhow::anyhow!("log = {:?} is not a filter: {error}", options.log))?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // A line that cannot be written is lost. Saying so on standard error, which is what failed, would end the thread.
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let lines = match options.log_format {
        LogFormat::Text => lines.with_ansi(colour).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let provider = if options.traces.is_empty() { None } else { Some(exporter(service, &options.traces)?) };
    // Libraries' spans are left out: theirs would show the export of spans itself.
    let own = EnvFilter::new("off,clew_agent=info,clew_collector=info,clew_query=info");
    let spans = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer(service)).with_filter(own));
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(spans)
        .try_init()
        .map_err(|error| anyhow::anyhow!("logs were started twice: {error}"))?;
    Ok(Guard(provider))
}

fn exporter(service: &'static str, endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| anyhow::anyhow!("traces = {endpoint:?} is not an OTLP/gRPC endpoint: {error}"))?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name(service).build())
        .build())
}

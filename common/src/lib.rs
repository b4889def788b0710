//! What the agent and the collector share, and only that.

pub mod admin;
pub mod backoff;
pub mod config;
pub mod errors;
pub mod ids;
pub mod log;
pub mod log_metrics;
pub mod otlp;
pub mod ranges;
pub mod server;
pub mod shutdown;
pub mod telemetry;
pub mod threads;
pub mod world;

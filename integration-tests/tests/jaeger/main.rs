//! Jaeger's APIs over the network, to whole processes: /api and /api/v3 over HTTP, and the gRPC services by clients in two languages.

mod answers;
mod api;
mod otlp;
mod partial;
mod python;
mod refused;
mod v3;

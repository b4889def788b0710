//! Jaeger's APIs over the network, to whole processes: /api and /api/v3 over HTTP, and the gRPC services by clients in two languages: one
//! knows them from reflection, the other from Jaeger's own definitions.

mod answers;
mod api;
mod idl;
mod otlp;
mod partial;
mod python;
mod refused;
mod v3;

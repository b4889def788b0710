//! Tempo's API over the network: whole processes, and every answer's JSON down to its types.

mod about;
mod clew;
mod grpc;
mod metrics;
mod query;
mod refused;
mod search;
mod shop;
mod tags;

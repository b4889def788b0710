//! Queries over the network, to whole processes: Tempo's API, clew.v1 and what `clew` makes of it; every answer's JSON down
//! to its types.

mod about;
mod clew;
mod flight;
mod grafana;
mod grpc;
mod metrics;
mod query;
mod refused;
mod search;
mod sql;
mod tags;
mod trace;

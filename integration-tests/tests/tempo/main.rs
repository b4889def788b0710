//! Tempo's API over the network: whole processes, and every answer's JSON down to its types.

mod search;
mod shop;

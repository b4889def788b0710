//! What agents and collectors answer to hostile and broken input and to faults around them, seen from outside.
//!
//! Each test has processes of its own. After whatever was done to them they still serve, what was acked is found, memory
//! stayed within its limit, and what was refused is counted by its reason.

mod support;

mod blocks;
mod bombs;
mod content;
mod damage;
mod disk;
mod extremes;
mod faults;
mod folders;
mod frames;
mod http1;
mod intake;
mod lookups;
mod network;
mod overload;
mod oversize;
mod slow;
mod stopping;
mod tenants;

//! Blocks of real collectors: damaged ones, full and read-only disks, object stores that fail, and other programs that read
//! them.

mod readers;
mod server;

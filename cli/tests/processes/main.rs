//! The real `clew`, as people start it.

mod demo;
mod process;
mod up;

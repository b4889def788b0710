//! `clew export` and `clew import` on the data of real collectors: what comes out is what came in, in every format.

mod busy;
mod clew;
mod damage;
mod objects;
mod odd;
mod refused;
mod round_trip;
mod select;
mod spans;

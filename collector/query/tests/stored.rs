//! Counts over stores with generated spans, wherever these lie.

mod stored {
    mod dependencies;
    mod explain;
    mod giant;
    mod odd;
    mod query;
    mod repeats;
    mod store;
    mod tags;
}

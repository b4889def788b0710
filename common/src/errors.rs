//! How errors are told to people.

use std::error::Error;

/// An error and its causes in one line. A cause that the line says already is left out.
pub fn in_one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Nested {
        #[error("cannot open: {0}")]
        Says(#[source] io::Error),
        #[error("cannot start")]
        Keeps(#[source] Box<Nested>),
    }

    #[test]
    fn each_cause_is_told_once() {
        let error = Nested::Keeps(Box::new(Nested::Says(io::Error::other("in use"))));
        assert_eq!(in_one_line(&error), "cannot start: cannot open: in use");
    }
}

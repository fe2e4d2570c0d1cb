//! An error with its causes: `the disk failed: cannot read sda: No such device`.
//!
//! Our errors do not repeat their sources, so a person gets the whole story only from all of them.

use std::error::Error;

#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            let cause = self.1.as_deref()?;
            Some(cause)
        }
    }

    #[test]
    fn every_cause_is_told_once_the_outermost_first() {
        let device = Layer("no such device", None);
        assert_eq!(chain(&device), "no such device");
        let disk = Layer("cannot read sda", Some(Box::new(device)));
        let backup = Layer("the disk failed", Some(Box::new(disk)));
        assert_eq!(chain(&backup), "the disk failed: cannot read sda: no such device");
    }
}

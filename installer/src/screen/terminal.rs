//! Where questions are asked.

use std::io::{self, BufRead, Write};

/// A console that shows lines and takes lines.
pub trait Terminal {
    fn show(&mut self, line: &str);
    /// Without the line feed and surrounding blanks. An error: nobody is there any more.
    fn ask(&mut self, question: &str) -> io::Result<String>;
    /// As [`Self::ask`], without showing what is typed.
    fn ask_secret(&mut self, question: &str) -> io::Result<String>;
}

/// Standard input and output of a service with a terminal of its own.
#[derive(Debug, Default)]
pub struct Console;

impl Terminal for Console {
    fn show(&mut self, line: &str) {
        // A console that went away shows itself when it is asked.
        let _gone = writeln!(io::stdout().lock(), "{line}");
    }

    fn ask(&mut self, question: &str) -> io::Result<String> {
        let mut out = io::stdout().lock();
        write!(out, "{question}: ")?;
        out.flush()?;
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim().to_owned())
    }

    fn ask_secret(&mut self, question: &str) -> io::Result<String> {
        rpassword::prompt_password(format!("{question}: "))
    }
}

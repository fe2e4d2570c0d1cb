//! Standard output: results, in the format that was asked for.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::cli::{Columns, Format, Global, WhenColor};
use crate::error::CliError;
use crate::table::{Names, Paint, Row, Sheet, choose, lines};

/// The text without control characters: guests choose some of it, and terminals obey such characters.
/// Direction marks go too: they make a name look like another.
pub fn clean(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if harmful(c) { '\u{fffd}' } else { c }).collect()
}

#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub format: Format,
    pub paint: Paint,
}

impl Output {
    pub fn new(global: &Global) -> Self {
        Self { format: global.output, paint: paint(global.color, &io::stdout()) }
    }

    /// Somebody looks at it.
    pub fn for_people(&self) -> bool {
        self.format == Format::Table
    }

    pub fn write(&self, text: &str) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(CliError::Output)
    }

    pub fn line(&self, text: &str) -> Result<(), CliError> {
        self.write(&format!("{text}\n"))
    }

    /// A value as JSON or YAML, as the API gave it.
    fn data(&self, value: &impl Serialize) -> Result<(), CliError> {
        let text = match self.format {
            Format::Yaml => serde_saphyr::to_string(value).map_err(|error| error.to_string()),
            _ => serde_json::to_string_pretty(value).map_err(|error| error.to_string()),
        };
        let text = text.map_err(|error| CliError::usage(format!("the answer cannot be printed: {error}")))?;
        self.line(text.trim_end())
    }

    /// One object.
    pub fn object<T: Row>(&self, object: &T, people: impl FnOnce() -> Sheet) -> Result<(), CliError> {
        match self.format {
            Format::Table => self.write(&people().render(self.paint)),
            Format::Json | Format::Yaml => self.data(object),
            Format::Name => self.line(&clean(&object.name())),
            Format::Id => self.line(&object.id()),
        }
    }

    /// Something without name and id: programs get all of it, whatever they asked for.
    pub fn value<T: Serialize>(&self, value: &T, people: impl FnOnce() -> String) -> Result<(), CliError> {
        match self.format {
            Format::Table => self.write(&people()),
            _ => self.data(value),
        }
    }

    /// A result that has an id and no more: of a task, or of what a task makes.
    pub fn result<T: Serialize>(&self, value: &T, id: &str, people: &str) -> Result<(), CliError> {
        match self.format {
            Format::Table => self.line(&clean(people)),
            Format::Json | Format::Yaml => self.data(value),
            Format::Name | Format::Id => self.line(id),
        }
    }

    pub fn rows<T: Row>(&self, rows: &[T], columns: &Columns, names: &Names) -> Result<(), CliError> {
        match self.format {
            Format::Table => {
                let mut text = lines(rows, &choose(columns)?, names, self.paint).join("\n");
                text.push('\n');
                self.write(&text)
            }
            Format::Json | Format::Yaml => self.data(&rows),
            Format::Name => self.write(&each(rows, Row::name)),
            Format::Id => self.write(&each(rows, Row::id)),
        }
    }

    /// One message of a stream: a JSON line, or a YAML document.
    pub fn message(&self, value: &impl Serialize) -> Result<(), CliError> {
        if self.format == Format::Yaml {
            self.write("---\n")?;
            return self.data(value);
        }
        let text = serde_json::to_string(value)
            .map_err(|error| CliError::usage(format!("the answer cannot be printed: {error}")))?;
        self.line(&text)
    }
}

fn each<T>(rows: &[T], text: fn(&T) -> String) -> String {
    rows.iter().map(|row| format!("{}\n", clean(&text(row)))).collect()
}

/// Whether to colour what goes to this stream.
pub fn paint(when: WhenColor, stream: &impl IsTerminal) -> Paint {
    let dumb = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    match when {
        WhenColor::Always => Paint::Color,
        WhenColor::Auto if stream.is_terminal() && !dumb => Paint::Color,
        WhenColor::Auto | WhenColor::Never => Paint::Plain,
    }
}

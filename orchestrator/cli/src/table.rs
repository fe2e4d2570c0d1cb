//! Tables for people: aligned columns, and two-column sheets for one object.

use std::collections::HashMap;

use serde::Serialize;
use unicode_width::UnicodeWidthStr;
use xenith_common_ids::{HostId, PoolId};

use crate::cli::Columns;
use crate::error::CliError;
use crate::output::clean;

/// How a value feels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Busy,
    Bad,
    Dim,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "\x1b[32m",
            Self::Busy => "\x1b[33m",
            Self::Bad => "\x1b[31m",
            Self::Dim => "\x1b[2m",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    Color,
    Plain,
}

impl Paint {
    pub fn tone(self, tone: Tone, text: &str) -> String {
        match self {
            Self::Color if tone != Tone::Plain => format!("{}{text}\x1b[0m", tone.code()),
            _ => text.to_owned(),
        }
    }

    pub fn bold(self, text: &str) -> String {
        match self {
            Self::Color => format!("\x1b[1m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Cell {
    pub text: String,
    pub tone: Tone,
}

impl Cell {
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }

    pub fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone }
    }

    /// A dash where there is nothing.
    pub fn maybe(text: Option<impl Into<String>>) -> Self {
        text.map_or_else(|| Self::toned(Tone::Dim, "-"), Self::new)
    }

    pub fn list(texts: &[String]) -> Self {
        Self::maybe((!texts.is_empty()).then(|| texts.join(", ")))
    }
}

/// Names of objects that rows mention by id. Empty where nobody looks at them.
#[derive(Debug, Default)]
pub struct Names {
    pub pools: HashMap<PoolId, String>,
    pub hosts: HashMap<HostId, String>,
}

impl Names {
    pub fn pool(&self, id: PoolId) -> String {
        self.pools.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    pub fn host(&self, id: HostId) -> String {
        self.hosts.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Usually,
    OnRequest,
}

pub struct Column<T> {
    pub name: &'static str,
    pub shown: Shown,
    pub cell: fn(&T, &Names) -> Cell,
}

impl<T> Column<T> {
    pub const fn new(name: &'static str, cell: fn(&T, &Names) -> Cell) -> Self {
        Self { name, shown: Shown::Usually, cell }
    }

    pub const fn on_request(name: &'static str, cell: fn(&T, &Names) -> Cell) -> Self {
        Self { name, shown: Shown::OnRequest, cell }
    }
}

/// What lists are made of.
pub trait Row: Serialize + Sized + 'static {
    fn columns() -> Vec<Column<Self>>;
    fn name(&self) -> String;
    fn id(&self) -> String;
}

/// The columns that were asked for.
pub fn choose<T: Row>(wanted: &Columns) -> Result<Vec<Column<T>>, CliError> {
    let mut there = T::columns();
    if wanted.columns.is_empty() {
        there.retain(|column| column.shown == Shown::Usually);
        return Ok(there);
    }
    if matches!(wanted.columns.as_slice(), [all] if all == "all") {
        return Ok(there);
    }
    let known: Vec<_> = there.iter().map(|column| column.name).collect();
    let mut chosen = Vec::new();
    for name in &wanted.columns {
        let found = T::columns().into_iter().find(|column| column.name == name);
        chosen.push(found.ok_or_else(|| {
            CliError::usage_next(
                format!("there is no column {name:?}"),
                format!("there are: {}, all", known.join(", ")),
            )
        })?);
    }
    Ok(chosen)
}

/// Lines without a line end; the first is the heading.
pub fn lines<T>(rows: &[T], columns: &[Column<T>], names: &Names, paint: Paint) -> Vec<String> {
    let cells: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| {
            let cell = |column: &Column<T>| {
                let Cell { text, tone } = (column.cell)(row, names);
                Cell { text: clean(&text), tone }
            };
            columns.iter().map(cell).collect()
        })
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let widest = cells.iter().map(|row| row[index].text.width()).max().unwrap_or(0);
            widest.max(column.name.width())
        })
        .collect();
    let heading: Vec<String> =
        columns.iter().map(|column| column.name.to_uppercase().replace('_', " ")).collect();
    let mut lines = vec![paint.bold(&join(heading.iter().map(|name| (name.clone(), name.width())), &widths))];
    for row in &cells {
        let painted = row.iter().map(|cell| (paint.tone(cell.tone, &cell.text), cell.text.width()));
        lines.push(join(painted, &widths));
    }
    lines
}

/// Two spaces between columns, none at the end of a line.
fn join(cells: impl Iterator<Item = (String, usize)>, widths: &[usize]) -> String {
    let mut line = String::new();
    let mut owed = 0;
    for ((text, width), column) in cells.zip(widths) {
        if width > 0 {
            line.push_str(&" ".repeat(owed));
            line.push_str(&text);
            owed = 0;
        }
        owed += column - width + 2;
    }
    line
}

/// One object: labels on the left.
#[derive(Debug, Default)]
pub struct Sheet(Vec<(&'static str, Cell)>);

impl Sheet {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn line(mut self, label: &'static str, text: impl Into<String>) -> Self {
        self.0.push((label, Cell::new(text)));
        self
    }

    #[must_use]
    pub fn cell(mut self, label: &'static str, cell: Cell) -> Self {
        self.0.push((label, cell));
        self
    }

    /// Left out where there is nothing to say.
    #[must_use]
    pub fn maybe(mut self, label: &'static str, text: Option<impl Into<String>>) -> Self {
        if let Some(text) = text.map(Into::into).filter(|text| !text.is_empty()) {
            self.0.push((label, Cell::new(text)));
        }
        self
    }

    /// One line for each; the label before the first.
    #[must_use]
    pub fn each(mut self, label: &'static str, texts: impl IntoIterator<Item = String>) -> Self {
        for (index, text) in texts.into_iter().enumerate() {
            self.0.push((if index == 0 { label } else { "" }, Cell::new(text)));
        }
        self
    }

    pub fn render(&self, paint: Paint) -> String {
        let width = self.0.iter().map(|(label, _)| label.width()).max().unwrap_or(0);
        let line = |(label, cell): &(&str, Cell)| {
            let gap = " ".repeat(width - label.width() + 2);
            format!("{}{gap}{}\n", paint.tone(Tone::Dim, label), paint.tone(cell.tone, &clean(&cell.text)))
        };
        self.0.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Fruit(&'static str, &'static str);

    impl Row for Fruit {
        fn columns() -> Vec<Column<Self>> {
            vec![
                Column::new("name", |fruit, _| Cell::new(fruit.0)),
                Column::new("note", |fruit, _| Cell::new(fruit.1)),
                Column::on_request("id", |_, _| Cell::new("1")),
            ]
        }

        fn name(&self) -> String {
            self.0.into()
        }

        fn id(&self) -> String {
            "1".into()
        }
    }

    fn render(wanted: &[&str]) -> Vec<String> {
        let columns = Columns { columns: wanted.iter().map(|name| (*name).to_owned()).collect() };
        let rows = [Fruit("apple", "red"), Fruit("梨", "a\x1b[31mb\n"), Fruit("fig", "")];
        lines(&rows, &choose(&columns).unwrap(), &Names::default(), Paint::Plain)
    }

    #[test]
    fn columns_are_aligned_and_harmless() {
        assert_eq!(render(&[]), ["NAME   NOTE", "apple  red", "梨     a\u{fffd}[31mb\u{fffd}", "fig"]);
        assert_eq!(render(&["id", "name"])[1], "1   apple");
        assert_eq!(render(&["all"])[0], "NAME   NOTE      ID");
    }

    #[test]
    fn an_unknown_column_lists_the_known() {
        let error = choose::<Fruit>(&Columns { columns: vec!["colour".into()] }).err().unwrap();
        assert_eq!(error.next().as_deref(), Some("there are: name, note, id, all"));
    }
}

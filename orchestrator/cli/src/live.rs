//! A few lines of a terminal that are drawn again and again.

use std::io::{self, Write};

use terminal_size::{Height, Width, terminal_size_of};
use unicode_width::UnicodeWidthChar;

/// Lines at the bottom of what was printed so far. What is drawn is replaced by what is drawn next.
pub struct LiveRegion<W> {
    to: W,
    drawn: usize,
    /// Of the terminal: columns and rows.
    size: (usize, usize),
}

impl LiveRegion<io::Stderr> {
    pub fn on_stderr() -> Self {
        let size = terminal_size_of(io::stderr());
        Self::new(io::stderr(), size)
    }
}

impl LiveRegion<io::Stdout> {
    pub fn on_stdout() -> Self {
        let size = terminal_size_of(io::stdout());
        Self::new(io::stdout(), size)
    }
}

impl<W: Write> LiveRegion<W> {
    fn new(to: W, size: Option<(Width, Height)>) -> Self {
        let size = size.map_or((80, 24), |(Width(columns), Height(rows))| (columns.into(), rows.into()));
        Self { to, drawn: 0, size }
    }

    /// Replaces what was drawn. What does not fit on the screen is left out, and said so.
    pub fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let (columns, rows) = self.size;
        let room = rows.saturating_sub(1).max(1);
        let mut text = self.erasing();
        let fitting = if lines.len() > room { room - 1 } else { lines.len() };
        for line in &lines[..fitting] {
            text.push_str(&cut(line, columns));
            text.push('\n');
        }
        if fitting < lines.len() {
            text.push_str(&cut(&format!("… {} more", lines.len() - fitting), columns));
            text.push('\n');
        }
        self.drawn = lines.len().min(room);
        self.to.write_all(text.as_bytes())?;
        self.to.flush()
    }

    /// Takes away what was drawn.
    pub fn clear(&mut self) -> io::Result<()> {
        let text = self.erasing();
        self.drawn = 0;
        self.to.write_all(text.as_bytes())?;
        self.to.flush()
    }

    /// Back to the first line drawn, and everything below it empty.
    fn erasing(&self) -> String {
        match self.drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r\x1b[J"),
        }
    }
}

/// The line in at most so many columns. Escape sequences take none and are kept whole.
fn cut(line: &str, columns: usize) -> String {
    let (mut text, mut used, mut escape) = (String::new(), 0, false);
    for c in line.chars() {
        if escape || c == '\x1b' {
            escape = c != 'm';
            text.push(c);
            continue;
        }
        used += c.width().unwrap_or(0);
        if used <= columns {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_over_what_was_there() {
        let mut region = LiveRegion { to: Vec::new(), drawn: 0, size: (5, 4) };
        region.draw(&["one".into(), "\x1b[31mtoo long\x1b[0m".into()]).unwrap();
        region.draw(&["a".into(), "b".into(), "c".into(), "d".into(), "e".into()]).unwrap();
        region.clear().unwrap();
        let text = String::from_utf8(region.to).unwrap();
        assert_eq!(text, "one\n\x1b[31mtoo l\x1b[0m\n\x1b[2A\r\x1b[Ja\nb\n… 3 m\n\x1b[3A\r\x1b[J");
    }
}

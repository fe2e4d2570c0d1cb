//! A filter as text that parses back to it.

use std::fmt::{self, Write};

use super::value::{show_number, unit_of};
use super::{Bound, Filter, Term, Test};
use crate::ColumnKind;
use crate::schema::{Schema, Unit};

impl Filter {
    /// The text of this filter. `schema` is that of parsing.
    #[must_use]
    pub fn show(&self, schema: &Schema) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = write_filter(&mut text, schema, self, Context::Top);
        text
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Top,
    Or,
    And,
    Not,
}

fn write_filter(out: &mut String, schema: &Schema, filter: &Filter, context: Context) -> fmt::Result {
    match filter {
        Filter::All => Ok(()),
        Filter::And(parts) => {
            let brackets = match context {
                Context::And | Context::Not => ("(", ")"),
                Context::Top | Context::Or => ("", ""),
            };
            write_list(out, schema, (parts, " ", Context::And), brackets)
        }
        Filter::Or(parts) => {
            let brackets = if context == Context::Top { ("", "") } else { ("(", ")") };
            write_list(out, schema, (parts, " or ", Context::Or), brackets)
        }
        Filter::Not(inner) => {
            out.push('-');
            write_filter(out, schema, inner, Context::Not)
        }
        Filter::Text(text) => write_text(out, text),
        Filter::Id(id) => write!(out, "id:{id}"),
        Filter::Term(term) => write_term(out, schema, term),
    }
}

fn write_list(
    out: &mut String,
    schema: &Schema,
    (parts, separator, context): (&[Filter], &str, Context),
    (open, close): (&str, &str),
) -> fmt::Result {
    out.push_str(open);
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.push_str(separator);
        }
        write_filter(out, schema, part, context)?;
    }
    out.push_str(close);
    Ok(())
}

/// A bare word where that reads the same, quotes otherwise.
fn write_text(out: &mut String, text: &str) -> fmt::Result {
    let keyword = ["and", "or", "not", "AND", "OR", "NOT"].contains(&text);
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '/' | '%' | '+');
    if !keyword && !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        out.push_str(text);
        return Ok(());
    }
    write_quoted(out, text)
}

fn write_quoted(out: &mut String, text: &str) -> fmt::Result {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.write_char('"')
}

fn write_term(out: &mut String, schema: &Schema, term: &Term) -> fmt::Result {
    let column = &schema.columns[term.column];
    match &term.key {
        Some(key) => write!(out, "field.{key}:")?,
        None => write!(out, "{}:", column.name)?,
    }
    for (index, test) in term.tests.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_test(out, column.kind, test)?;
    }
    Ok(())
}

fn write_test(out: &mut String, kind: ColumnKind, test: &Test) -> fmt::Result {
    match test {
        Test::None => out.write_str("none"),
        Test::Any => out.write_str("any"),
        Test::Match(text) => write_value(out, text),
        Test::Whole(text) => {
            out.push('=');
            write_quoted(out, text)
        }
        Test::Regex(regex) => {
            let mut escaped = false;
            out.push('/');
            for c in regex.chars() {
                if c == '/' && !escaped {
                    out.push('\\');
                }
                escaped = c == '\\' && !escaped;
                out.push(c);
            }
            out.write_char('/')
        }
        Test::Range(from, to) => write_range(out, unit_of(kind).unwrap_or(Unit::Count), from, to),
    }
}

fn write_value(out: &mut String, text: &str) -> fmt::Result {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '%' | '+' | ':' | '=');
    let word = text.chars().all(plain) && !text.starts_with('=') && !["none", "any", ""].contains(&text);
    if word {
        out.push_str(text);
        return Ok(());
    }
    write_quoted(out, text)
}

fn write_range(out: &mut String, unit: Unit, from: &Bound, to: &Bound) -> fmt::Result {
    match (from, to) {
        (Bound::At(from), Bound::At(to)) if from == to => out.write_str(&show_number(unit, *from)),
        (Bound::At(from), Bound::Open) => write!(out, ">={}", show_number(unit, *from)),
        (Bound::Open, Bound::At(to)) => write!(out, "<={}", show_number(unit, *to)),
        (Bound::At(from), Bound::At(to)) => {
            write!(out, "{}..{}", show_number(unit, *from), show_number(unit, *to))
        }
        (Bound::Open, Bound::Open) => out.write_str("any"),
    }
}

//! What could be typed next, for shells and the UI.

use std::ops::Range;

use super::value::expected;
use crate::schema::{ColumnKind, ColumnSpec, Schema};

/// Most candidates of one completion.
const MAX_CANDIDATES: usize = 50;

/// What may replace `replace` of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Bytes of the text: the word before the cursor.
    pub replace: Range<usize>,
    pub candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What to insert, quoted where needed.
    pub text: String,
    /// One line: help, or how many rows have the value.
    pub hint: String,
}

/// Candidates for `text` with the cursor at byte `cursor`. `values` gives known values of a column (with their number
/// of rows) that begin with the typed part, most frequent first; it must only know what the user may see.
pub fn complete(
    schema: &'static Schema,
    text: &str,
    cursor: usize,
    values: impl Fn(usize, &str) -> Vec<(String, u64)>,
) -> Completion {
    let mut cursor = cursor.min(text.len());
    while !text.is_char_boundary(cursor) {
        cursor -= 1;
    }
    let typed = &text[..cursor];
    let start = word_start(typed);
    let word = &typed[start..];
    let Some((field, rest)) = word.split_once(':') else {
        return Completion { replace: start..cursor, candidates: field_candidates(schema, word) };
    };
    let part = rest.rsplit(',').next().unwrap_or_default();
    let (column, key) = find_field(schema, field);
    let mut candidates = column.map_or_else(Vec::new, |column| {
        value_candidates(&schema.columns[column], (column, key.as_deref()), part, values)
    });
    candidates.truncate(MAX_CANDIDATES);
    Completion { replace: cursor - part.len()..cursor, candidates }
}

/// Where the word before the cursor begins: behind a space, a bracket or a minus, outside of quotes.
fn word_start(typed: &str) -> usize {
    let mut start = 0;
    let mut quoted = false;
    let mut fresh = true;
    for (index, c) in typed.char_indices() {
        match c {
            '"' => {
                quoted = !quoted;
                fresh = false;
            }
            _ if quoted => {}
            c if c.is_whitespace() || matches!(c, '(' | ')') => {
                start = index + c.len_utf8();
                fresh = true;
            }
            '-' if fresh => start = index + 1,
            _ => fresh = false,
        }
    }
    start
}

fn find_field(schema: &Schema, field: &str) -> (Option<usize>, Option<String>) {
    let fields = schema.columns.iter().position(|column| column.kind == ColumnKind::Fields);
    match (fields, field.split_once('.')) {
        (Some(column), Some(("field", key))) => (Some(column), Some(key.to_lowercase())),
        _ => (schema.find(field), None),
    }
}

fn field_candidates(schema: &'static Schema, word: &str) -> Vec<Candidate> {
    let lower = word.to_lowercase();
    let columns = schema.columns.iter().filter(|column| column.name.starts_with(&lower));
    let mut found: Vec<_> = columns
        .map(|column| Candidate {
            text: match column.kind {
                ColumnKind::Fields => "field.".to_owned(),
                _ => format!("{}:", column.name),
            },
            hint: column.help.to_owned(),
        })
        .collect();
    if "id".starts_with(&lower) {
        found.push(Candidate { text: "id:".to_owned(), hint: "the id or its beginning".to_owned() });
    }
    found
}

fn value_candidates(
    column: &ColumnSpec,
    (index, key): (usize, Option<&str>),
    part: &str,
    values: impl Fn(usize, &str) -> Vec<(String, u64)>,
) -> Vec<Candidate> {
    let part = part.trim_start_matches(['=', '"']);
    match column.kind {
        ColumnKind::Choice(choices) => choices
            .iter()
            .filter(|choice| choice.starts_with(&part.to_lowercase()))
            .map(|choice| Candidate { text: (*choice).to_owned(), hint: String::new() })
            .collect(),
        ColumnKind::Shared(_) | ColumnKind::Labels => counted(values(index, part)),
        ColumnKind::Fields => {
            let prefix = format!("{}=", key.unwrap_or_default());
            let found = values(index, &format!("{prefix}{part}"));
            counted(
                found
                    .into_iter()
                    .map(|(text, n)| (text[prefix.len().min(text.len())..].to_owned(), n))
                    .collect(),
            )
        }
        ColumnKind::Number(_) | ColumnKind::Age(_) => {
            vec![Candidate { text: ">".to_owned(), hint: expected(column) }]
        }
        ColumnKind::Text | ColumnKind::Texts => Vec::new(),
    }
}

fn counted(values: Vec<(String, u64)>) -> Vec<Candidate> {
    let candidate = |(text, rows): (String, u64)| {
        let plain = text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-'));
        let quoted = !plain || ["none", "any", ""].contains(&text.as_str());
        let text =
            if quoted { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) } else { text };
        Candidate { text, hint: format!("{rows}") }
    };
    values.into_iter().map(candidate).collect()
}

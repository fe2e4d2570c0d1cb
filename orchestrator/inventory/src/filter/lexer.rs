//! Text into tokens with positions. Total: the only errors are unclosed quotes.

use std::ops::Range;

use super::{FilterError, FilterErrorKind};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Open,
    Close,
    Minus,
    /// A bare word, not before a colon.
    Word(String),
    Quoted(String),
    /// `name:`, the values follow.
    Field(String),
    Regex(String),
    Comma,
}

pub(super) type Spanned = (Range<usize>, Token);

/// Where a token begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// Directly behind `field:` or the comma of its list.
    Value,
    Filter,
}

/// What ends a bare word. A comma does so only within a value.
fn ends_word(c: char, within: Within) -> bool {
    c.is_whitespace() || matches!(c, '(' | ')' | '"') || (within == Within::Value && c == ',')
}

pub(super) fn tokens(text: &str) -> Result<Vec<Spanned>, FilterError> {
    let mut tokens: Vec<Spanned> = Vec::new();
    let mut at = 0;
    // Whether the next token, if it follows at once, is the value of a field.
    let mut value_at = None;
    while let Some(c) = text[at..].chars().next() {
        let within = if value_at == Some(at) { Within::Value } else { Within::Filter };
        let (len, token) = match c {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '(' => (1, Token::Open),
            ')' => (1, Token::Close),
            '"' => quoted(text, at, '"')?,
            '/' if within == Within::Value => quoted(text, at, '/')?,
            '-' if within == Within::Filter => (1, Token::Minus),
            ',' if after_value(&tokens, at) => (1, Token::Comma),
            _ => word(&text[at..], within),
        };
        let end = at + len;
        value_at = matches!(token, Token::Field(_) | Token::Comma).then_some(end);
        tokens.push((at..end, token));
        at = end;
    }
    Ok(tokens)
}

/// Whether a comma here goes on with a list of values: directly behind a value whose list began with a field.
fn after_value(tokens: &[Spanned], at: usize) -> bool {
    let mut expected_end = at;
    for (span, token) in tokens.iter().rev() {
        if span.end != expected_end {
            return false;
        }
        match token {
            Token::Field(_) => return expected_end != at,
            Token::Word(_) | Token::Quoted(_) | Token::Regex(_) | Token::Comma => expected_end = span.start,
            Token::Open | Token::Close | Token::Minus => return false,
        }
    }
    false
}

fn word(rest: &str, within: Within) -> (usize, Token) {
    let mut len = 0;
    for c in rest.chars() {
        if ends_word(c, within) {
            break;
        }
        len += c.len_utf8();
        if c == ':' && within == Within::Filter && len > 1 {
            return (len, Token::Field(rest[..len - 1].to_owned()));
        }
    }
    // A comma or colon alone is a word too.
    let len = if len == 0 { rest.chars().next().map_or(0, char::len_utf8) } else { len };
    (len, Token::Word(rest[..len].to_owned()))
}

/// From an opening `mark` to the closing one; `\` takes the next character as it is.
fn quoted(text: &str, at: usize, mark: char) -> Result<(usize, Token), FilterError> {
    let mut content = String::new();
    let mut chars = text[at + 1..].char_indices();
    while let Some((offset, c)) = chars.next() {
        if c == mark {
            let token = if mark == '"' { Token::Quoted(content) } else { Token::Regex(content) };
            return Ok((offset + 2, token));
        }
        match (c, mark) {
            // In a regex only the slash is ours to unescape.
            ('\\', '/') => match chars.next() {
                Some((_, '/')) => content.push('/'),
                Some((_, other)) => content.extend(['\\', other]),
                None => break,
            },
            ('\\', _) => match chars.next() {
                Some((_, other)) => content.push(other),
                None => break,
            },
            _ => content.push(c),
        }
    }
    Err(FilterError { at: at..text.len(), kind: FilterErrorKind::UnclosedQuote })
}

//! Recursive descent over the tokens, with a bound on depth.

use std::ops::Range;

use super::lexer::{Spanned, Token, tokens};
use super::value::{expected, parse_range, split_operator, unit_of};
use super::{Filter, FilterError, FilterErrorKind, MAX_BYTES, MAX_DEPTH, MAX_TERMS, Term, Test};
use crate::schema::{ColumnKind, MatchBy, Schema};

/// Most memory of one compiled regular expression.
pub(crate) const REGEX_SIZE_LIMIT: usize = 256 << 10;

/// Parses `text` for rows of `schema`.
pub fn parse(schema: &'static Schema, text: &str) -> Result<Filter, FilterError> {
    if text.len() > MAX_BYTES {
        return Err(FilterError { at: MAX_BYTES..text.len(), kind: FilterErrorKind::TooLong });
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { schema, tokens: &tokens, next: 0, terms: 0, end: text.len() };
    if tokens.is_empty() {
        return Ok(Filter::All);
    }
    let filter = parser.or(0)?;
    match parser.peek() {
        None => Ok(filter),
        // `or` stops early only at a closing bracket.
        Some((span, _)) => Err(FilterError { at: span.clone(), kind: FilterErrorKind::StrayBracket }),
    }
}

struct Parser<'a> {
    schema: &'static Schema,
    tokens: &'a [Spanned],
    next: usize,
    terms: usize,
    end: usize,
}

type Parsed = Result<Filter, FilterError>;

fn error<T>(at: &Range<usize>, kind: FilterErrorKind) -> Result<T, FilterError> {
    Err(FilterError { at: at.clone(), kind })
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Spanned> {
        self.tokens.get(self.next)
    }

    fn take(&mut self) -> Option<&'a Spanned> {
        let token = self.tokens.get(self.next);
        self.next += 1;
        token
    }

    fn keyword(&self, lower: &str, upper: &str) -> Option<&'a Range<usize>> {
        match self.peek() {
            Some((span, Token::Word(word))) if word == lower || word == upper => Some(span),
            _ => None,
        }
    }

    fn at_operand(&self) -> bool {
        self.keyword("or", "OR").is_none() && !matches!(self.peek(), None | Some((_, Token::Close)))
    }

    fn or(&mut self, depth: usize) -> Parsed {
        let mut parts = vec![self.and(depth)?];
        while let Some(span) = self.keyword("or", "OR") {
            self.next += 1;
            if !self.at_operand() {
                return error(span, FilterErrorKind::Dangling { operator: "or".to_owned() });
            }
            parts.push(self.and(depth)?);
        }
        Ok(Filter::any(parts))
    }

    fn and(&mut self, depth: usize) -> Parsed {
        let mut parts = Vec::new();
        loop {
            let keyword = self.keyword("and", "AND");
            if keyword.is_some() {
                self.next += 1;
            }
            match (self.at_operand(), keyword) {
                (true, Some(span)) if parts.is_empty() || self.keyword("and", "AND").is_some() => {
                    return error(span, FilterErrorKind::Dangling { operator: "and".to_owned() });
                }
                (true, _) => parts.push(self.not(depth)?),
                (false, Some(span)) => {
                    return error(span, FilterErrorKind::Dangling { operator: "and".to_owned() });
                }
                (false, None) if parts.is_empty() => return self.missing_operand(),
                (false, None) => return Ok(Filter::all(parts)),
            }
        }
    }

    /// Nothing where something must be: an `or` in front, or an empty bracket.
    fn missing_operand(&self) -> Parsed {
        match self.peek() {
            Some((span, Token::Word(word))) => {
                error(span, FilterErrorKind::Dangling { operator: word.clone() })
            }
            Some((span, _)) if self.next == 0 => error(span, FilterErrorKind::StrayBracket),
            Some((span, _)) => error(span, FilterErrorKind::Dangling { operator: "(".to_owned() }),
            None => error(&(self.end..self.end), FilterErrorKind::UnclosedBracket),
        }
    }

    fn not(&mut self, depth: usize) -> Parsed {
        let minus = match self.peek() {
            Some((span, Token::Minus)) => Some((span, "-")),
            _ => self.keyword("not", "NOT").map(|span| (span, "not")),
        };
        let Some((span, operator)) = minus else { return self.primary(depth) };
        if depth >= MAX_DEPTH {
            return error(span, FilterErrorKind::TooDeep);
        }
        self.next += 1;
        if !self.at_operand() || self.keyword("and", "AND").is_some() {
            return error(span, FilterErrorKind::Dangling { operator: operator.to_owned() });
        }
        Ok(Filter::Not(Box::new(self.not(depth + 1)?)))
    }

    fn primary(&mut self, depth: usize) -> Parsed {
        let Some((span, token)) = self.take() else {
            return error(&(self.end..self.end), FilterErrorKind::UnclosedBracket);
        };
        self.count_term(span)?;
        match token {
            Token::Open if depth >= MAX_DEPTH => error(span, FilterErrorKind::TooDeep),
            Token::Open => {
                let inner = self.or(depth + 1)?;
                match self.take() {
                    Some((_, Token::Close)) => Ok(inner),
                    _ => error(span, FilterErrorKind::UnclosedBracket),
                }
            }
            Token::Word(text) | Token::Quoted(text) => Ok(Filter::Text(text.clone())),
            Token::Field(name) => self.term(span, name),
            // The lexer makes these only where a field is in front; at_operand excludes a closing bracket.
            Token::Close | Token::Minus | Token::Regex(_) | Token::Comma => {
                error(span, FilterErrorKind::StrayBracket)
            }
        }
    }

    fn count_term(&mut self, at: &Range<usize>) -> Result<(), FilterError> {
        self.terms += 1;
        if self.terms > MAX_TERMS { error(at, FilterErrorKind::TooManyTerms) } else { Ok(()) }
    }

    fn term(&mut self, span: &Range<usize>, name: &str) -> Parsed {
        let (column, key) = self.field(span, name)?;
        let mut tests = Vec::new();
        let mut end = span.end;
        loop {
            let (at, token) = match self.peek() {
                // A value follows at once, without a space.
                Some((at, token)) if at.start == end => (at, token),
                _ => return error(span, FilterErrorKind::MissingValue { field: name.to_owned() }),
            };
            let Some(column) = column else {
                self.next += 1;
                return parse_id(at, token);
            };
            if !matches!(token, Token::Word(_) | Token::Quoted(_) | Token::Regex(_)) {
                return error(span, FilterErrorKind::MissingValue { field: name.to_owned() });
            }
            self.next += 1;
            self.count_term(at)?;
            let (mut test, mut value_end) = (None, at.end);
            // `="a text"` is two tokens.
            if *token == Token::Word("=".to_owned())
                && let Some((quoted, Token::Quoted(text))) = self.peek()
                && quoted.start == at.end
            {
                self.next += 1;
                value_end = quoted.end;
                test = Some(self.whole(column, (name, quoted), text)?);
            }
            tests.push(match test {
                Some(test) => test,
                None => self.test(column, (name, at), token)?,
            });
            match self.peek() {
                Some((comma, Token::Comma)) if comma.start == value_end => {
                    self.next += 1;
                    end = comma.end;
                }
                _ => return Ok(Filter::Term(Term { column, key, tests })),
            }
        }
    }

    /// The column, or `None` for `id`.
    fn field(&self, span: &Range<usize>, name: &str) -> Result<(Option<usize>, Option<String>), FilterError> {
        if name.eq_ignore_ascii_case("id") {
            return Ok((None, None));
        }
        let fields = self.schema.columns.iter().position(|column| column.kind == ColumnKind::Fields);
        if let (Some(column), Some(("field", key))) = (fields, name.split_once('.'))
            && !key.is_empty()
        {
            return Ok((Some(column), Some(key.to_lowercase())));
        }
        match self.schema.find(name) {
            Some(column) if Some(column) != fields => Ok((Some(column), None)),
            _ => {
                let allowed = self.schema.field_names();
                let similar = similar(name, &allowed);
                let at = span.start..span.end - 1;
                error(&at, FilterErrorKind::UnknownField { field: name.to_owned(), allowed, similar })
            }
        }
    }

    fn test(
        &self,
        column: usize,
        (name, at): (&str, &Range<usize>),
        token: &Token,
    ) -> Result<Test, FilterError> {
        let spec = &self.schema.columns[column];
        let bad = |value: &str| {
            let kind = FilterErrorKind::BadValue {
                field: name.to_owned(),
                value: value.to_owned(),
                expected: expected(spec),
            };
            Err(FilterError { at: at.clone(), kind })
        };
        match (token, spec.kind, unit_of(spec.kind)) {
            (Token::Word(word), _, _) if word == "none" => Ok(Test::None),
            (Token::Word(word), _, _) if word == "any" => Ok(Test::Any),
            (Token::Word(word), _, Some(unit)) => parse_range(unit, word).map_or_else(|| bad(word), Ok),
            (Token::Quoted(text) | Token::Regex(text), _, Some(_)) => bad(text),
            (Token::Regex(regex), kind, None) => match kind {
                ColumnKind::Choice(_) => bad(regex),
                _ => check_regex(at, regex).map(|()| Test::Regex(regex.clone())),
            },
            (Token::Word(text) | Token::Quoted(text), ColumnKind::Choice(values), None) => {
                let found = values.iter().find(|value| value.eq_ignore_ascii_case(text));
                found.map_or_else(|| bad(text), |value| Ok(Test::Match((*value).to_owned())))
            }
            (Token::Quoted(text), _, None) => Ok(Test::Match(text.clone())),
            (Token::Word(word), kind, None) => match split_operator(word) {
                ("", _) => Ok(Test::Match(word.clone())),
                // Behind `=` the whole value counts; a column that compares whole needs no other form.
                ("=", "") => bad(word),
                ("=", value) => Ok(whole_test(kind, value)),
                _ => error(at, FilterErrorKind::NotComparable { field: name.to_owned() }),
            },
            _ => bad(""),
        }
    }
}

impl Parser<'_> {
    /// `=` and a quoted text.
    fn whole(
        &self,
        column: usize,
        (name, at): (&str, &Range<usize>),
        text: &str,
    ) -> Result<Test, FilterError> {
        let spec = &self.schema.columns[column];
        match spec.kind {
            ColumnKind::Shared(_)
            | ColumnKind::Labels
            | ColumnKind::Fields
            | ColumnKind::Text
            | ColumnKind::Texts => Ok(whole_test(spec.kind, text)),
            ColumnKind::Choice(_) => self.test(column, (name, at), &Token::Quoted(text.to_owned())),
            ColumnKind::Number(_) | ColumnKind::Age(_) => {
                let (field, value) = (name.to_owned(), text.to_owned());
                error(at, FilterErrorKind::BadValue { field, value, expected: expected(spec) })
            }
        }
    }
}

/// A column that compares whole values anyway needs no other form.
fn whole_test(kind: ColumnKind, text: &str) -> Test {
    match kind {
        ColumnKind::Shared(MatchBy::Whole) | ColumnKind::Labels | ColumnKind::Fields => {
            Test::Match(text.to_owned())
        }
        _ => Test::Whole(text.to_owned()),
    }
}

fn parse_id(at: &Range<usize>, token: &Token) -> Parsed {
    let (Token::Word(text) | Token::Quoted(text) | Token::Regex(text) | Token::Field(text)) = token else {
        return error(at, FilterErrorKind::MissingValue { field: "id".to_owned() });
    };
    let id = text.to_ascii_lowercase();
    let valid = !id.is_empty() && id.len() <= 36 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if valid && !matches!(token, Token::Regex(_)) {
        return Ok(Filter::Id(id));
    }
    let expected = "give an id or its beginning, such as 01890a5d-ac96".to_owned();
    error(at, FilterErrorKind::BadValue { field: "id".to_owned(), value: text.clone(), expected })
}

fn check_regex(at: &Range<usize>, regex: &str) -> Result<(), FilterError> {
    match compile_regex(regex) {
        Ok(_) => Ok(()),
        Err(problem) => {
            let text = problem.to_string();
            let detail = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            error(at, FilterErrorKind::BadRegex { detail })
        }
    }
}

/// Linear time whatever the text, and bounded memory: the crate guarantees the one, the limit the other.
pub(crate) fn compile_regex(regex: &str) -> Result<regex::Regex, regex::Error> {
    regex::RegexBuilder::new(regex).size_limit(REGEX_SIZE_LIMIT).dfa_size_limit(REGEX_SIZE_LIMIT).build()
}

/// A known name with one letter missing, added, changed or swapped, or that begins so.
fn similar(name: &str, allowed: &[&'static str]) -> Option<&'static str> {
    let name = name.to_lowercase();
    let close = |candidate: &&&'static str| {
        candidate.starts_with(&name) || distance(&name, candidate) <= 1 + name.len() / 4
    };
    allowed.iter().filter(close).min_by_key(|candidate| distance(&name, candidate)).copied()
}

/// Levenshtein, for short words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

impl Filter {
    /// All of `parts`, in the form that the parser makes.
    #[must_use]
    pub fn all(parts: Vec<Self>) -> Self {
        let flat = parts.into_iter().flat_map(|part| match part {
            Self::And(parts) => parts,
            Self::All => Vec::new(),
            other => vec![other],
        });
        let mut flat: Vec<_> = flat.collect();
        match flat.len() {
            0 => Self::All,
            1 => flat.remove(0),
            _ => Self::And(flat),
        }
    }

    /// Any of `parts`, in the form that the parser makes. Nothing of nothing is everything: an empty filter.
    #[must_use]
    pub fn any(parts: Vec<Self>) -> Self {
        if parts.contains(&Self::All) {
            return Self::All;
        }
        let flat = parts.into_iter().flat_map(|part| match part {
            Self::Or(parts) => parts,
            other => vec![other],
        });
        let mut flat: Vec<_> = flat.collect();
        match flat.len() {
            0 => Self::All,
            1 => flat.remove(0),
            _ => Self::Or(flat),
        }
    }
}

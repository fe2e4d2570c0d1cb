//! XML-RPC values, as XAPI writes its records. Foreign text: bounded in depth and size, never trusted.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::Event;

/// Records nest six deep.
const DEEPEST: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Array(Vec<Self>),
    Struct(BTreeMap<String, Self>),
}

impl Value {
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Struct(members) => members.get(name),
            _ => None,
        }
    }

    /// A member that is text; empty where there is none.
    pub fn of(&self, name: &str) -> &str {
        match self.get(name) {
            Some(Self::Text(text)) => text,
            _ => "",
        }
    }

    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')) {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A value in front of which its type stands: `<boolean>1</boolean>`; everything else is text to XAPI.
pub enum Plain<'a> {
    Text(&'a str),
    Bool(bool),
    Date(&'a str),
    /// An empty set.
    NoItems,
    /// An empty map.
    NoMembers,
    Items(Vec<String>),
    Members(Vec<(&'a str, String)>),
}

impl Plain<'_> {
    pub fn xml(&self) -> String {
        let inner = match self {
            Self::Text(text) => escape(text),
            Self::Bool(value) => format!("<boolean>{}</boolean>", u8::from(*value)),
            Self::Date(at) => format!("<dateTime.iso8601>{at}</dateTime.iso8601>"),
            Self::NoItems => "<array><data/></array>".to_owned(),
            Self::NoMembers => "<struct/>".to_owned(),
            Self::Items(items) => format!("<array><data>{}</data></array>", items.concat()),
            Self::Members(members) => {
                let member = |(name, value): &(&str, String)| {
                    format!("<member><name>{}</name>{value}</member>", escape(name))
                };
                format!("<struct>{}</struct>", members.iter().map(member).collect::<String>())
            }
        };
        format!("<value>{inner}</value>")
    }
}

/// What stands open.
enum Open {
    Value(Option<Value>, String),
    Struct(BTreeMap<String, Value>),
    Array(Vec<Value>),
    Member(String, Option<Value>),
    Name(String),
    /// `<string>`, `<i4>`, `<boolean>`, …
    Typed(String),
    Other,
}

/// The one value of a document.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Open> = Vec::new();
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(start) => {
                if open.len() == DEEPEST {
                    return Err("its description is nested too deep".to_owned());
                }
                open.push(opened(start.name().as_ref()));
            }
            Event::Empty(start) => {
                let empty = opened(start.name().as_ref());
                if let Some(value) = close(&mut open, empty)? {
                    return Ok(value);
                }
            }
            Event::Text(piece) => write(&mut open, &piece),
            Event::CData(piece) => write(&mut open, &piece),
            Event::GeneralRef(reference) => {
                let name: &str = &reference;
                let c = match name {
                    "amp" => '&',
                    "lt" => '<',
                    "gt" => '>',
                    "quot" => '"',
                    "apos" => '\'',
                    _ => match reference.resolve_char_ref() {
                        Ok(Some(c)) => c,
                        _ => return Err(format!("its description refers to {name:?}")),
                    },
                };
                write(&mut open, c.encode_utf8(&mut [0; 4]));
            }
            Event::End(_) => {
                let Some(done) = open.pop() else { return Err("its description ends too often".to_owned()) };
                if let Some(value) = close(&mut open, done)? {
                    return Ok(value);
                }
            }
            Event::Eof => return Err("its description ends in the middle".to_owned()),
            _ => {}
        }
    }
}

fn opened(name: &str) -> Open {
    match name {
        "value" => Open::Value(None, String::new()),
        "struct" => Open::Struct(BTreeMap::new()),
        "array" => Open::Array(Vec::new()),
        "member" => Open::Member(String::new(), None),
        "name" => Open::Name(String::new()),
        "data" => Open::Other,
        _ => Open::Typed(String::new()),
    }
}

fn write(open: &mut [Open], piece: &str) {
    if let Some(Open::Value(_, text) | Open::Name(text) | Open::Typed(text)) = open.last_mut() {
        text.push_str(piece);
    }
}

/// Hands what is complete to what it stands in. `Some`: it was the outermost value.
fn close(open: &mut [Open], done: Open) -> Result<Option<Value>, String> {
    let misplaced = || Err("its description is not XML-RPC".to_owned());
    // `data` is only a bracket in an array.
    let outer = open.iter_mut().rev().find(|outer| !matches!(outer, Open::Other));
    match (done, outer) {
        (Open::Value(value, text), outer) => {
            let value = value.unwrap_or(Value::Text(text));
            match outer {
                None => return Ok(Some(value)),
                Some(Open::Array(items)) => items.push(value),
                Some(Open::Member(_, place)) => *place = Some(value),
                Some(_) => return misplaced(),
            }
        }
        (Open::Struct(members), Some(Open::Value(place, _))) => *place = Some(Value::Struct(members)),
        (Open::Array(items), Some(Open::Value(place, _))) => *place = Some(Value::Array(items)),
        (Open::Typed(text), Some(Open::Value(place, _))) => *place = Some(Value::Text(text)),
        (Open::Name(text), Some(Open::Member(name, _))) => *name = text,
        (Open::Member(name, Some(value)), Some(Open::Struct(members))) => drop(members.insert(name, value)),
        (Open::Other, _) => {}
        _ => return misplaced(),
    }
    Ok(None)
}

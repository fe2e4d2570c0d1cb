//! SOAP as vim25 speaks it: requests as text, answers as a small tree.

use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::client::MoRef;

/// A page of 100 VMs is below 20 MiB even with hundreds of devices each.
pub const MAX_ANSWER: u64 = 64 << 20;
const MAX_DEPTH: usize = 64;

/// An element of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    /// `xsi:type` without its prefix; empty when not given.
    pub kind: String,
    /// The plain `type` attribute of a reference.
    pub reference: String,
    pub text: String,
    pub children: Vec<Node>,
}

impl Node {
    /// The first child of that name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// Follows a dotted path of child names.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, name| node.child(name))
    }

    /// The text at a dotted path; empty when it is not there.
    #[must_use]
    pub fn text_at(&self, path: &str) -> &str {
        self.at(path).map_or("", |node| node.text.as_str())
    }

    #[must_use]
    pub fn number_at(&self, path: &str) -> Option<u64> {
        self.text_at(path).trim().parse().ok()
    }

    #[must_use]
    pub fn bool_at(&self, path: &str) -> Option<bool> {
        match self.text_at(path) {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    }

    /// The node as a reference to a managed object.
    #[must_use]
    pub fn moref(&self) -> MoRef {
        MoRef { kind: self.reference.clone(), id: self.text.clone() }
    }
}

fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or_default()
}

fn open(element: &BytesStart<'_>) -> Result<Node, String> {
    let mut node = Node { name: local(element.name().as_ref()).to_owned(), ..Node::default() };
    for attribute in element.attributes() {
        let attribute = attribute.map_err(|error| format!("a bad attribute: {error}"))?;
        let key: &str = attribute.key.as_ref();
        if key == "type" {
            node.reference = attribute.value.to_string();
        } else if local(key) == "type" {
            node.kind = local(&attribute.value).to_owned();
        }
    }
    Ok(node)
}

/// Parses an answer into the tree below the document's root.
pub fn parse(xml: &str) -> Result<Node, String> {
    let mut reader = Reader::from_str(xml);
    let mut stack = vec![Node::default()];
    loop {
        match reader.read_event().map_err(|error| format!("not sound XML: {error}"))? {
            Event::DocType(_) => return Err("a document type, which no answer needs".to_owned()),
            Event::Start(element) => {
                stack.push(open(&element)?);
                if stack.len() > MAX_DEPTH {
                    return Err("nested too deeply".to_owned());
                }
            }
            Event::Empty(element) => {
                let node = open(&element)?;
                add(&mut stack, node);
            }
            Event::End(_) => {
                let node = stack.pop().unwrap_or_default();
                if stack.is_empty() {
                    return Err("closes more than it opens".to_owned());
                }
                add(&mut stack, node);
            }
            Event::Text(text) => {
                if let Some(node) = stack.last_mut()
                    && !(text.trim().is_empty() && node.text.is_empty())
                {
                    node.text.push_str(&text);
                }
            }
            Event::CData(text) => stack.last_mut().into_iter().for_each(|node| node.text.push_str(&text)),
            Event::GeneralRef(entity) => {
                let character = crate::ovf::envelope::entity_char(&entity);
                stack.last_mut().into_iter().for_each(|node| node.text.push(character));
            }
            Event::Eof => break,
            _ => {}
        }
    }
    match <[Node; 1]>::try_from(stack) {
        Ok([mut root]) if root.children.len() == 1 => Ok(root.children.swap_remove(0)),
        _ => Err("cut off".to_owned()),
    }
}

fn add(stack: &mut [Node], node: Node) {
    if let Some(parent) = stack.last_mut() {
        parent.children.push(node);
    }
}

/// Escapes text for an element.
#[must_use]
pub fn escape(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

/// Builds a request body, element by element.
#[derive(Debug, Default)]
pub struct Body(String);

impl Body {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn text(mut self, name: &str, value: &str) -> Self {
        let _ = write!(self.0, "<{name}>{}</{name}>", escape(value));
        self
    }

    #[must_use]
    pub fn number(self, name: &str, value: u64) -> Self {
        self.text(name, &value.to_string())
    }

    #[must_use]
    pub fn flag(self, name: &str, value: Flag) -> Self {
        self.text(name, if value == Flag::True { "true" } else { "false" })
    }

    #[must_use]
    pub fn reference(mut self, name: &str, object: &MoRef) -> Self {
        let _ = write!(self.0, "<{name} type=\"{}\">{}</{name}>", escape(&object.kind), escape(&object.id));
        self
    }

    /// An element with children; `kind` is its `xsi:type`, empty for none.
    #[must_use]
    pub fn nested(mut self, name: &str, kind: &str, inner: Self) -> Self {
        let kind = if kind.is_empty() { String::new() } else { format!(" xsi:type=\"{kind}\"") };
        let _ = write!(self.0, "<{name}{kind}>{}</{name}>", inner.0);
        self
    }

    /// The whole request.
    #[must_use]
    pub fn envelope(&self, method: &str, this: &MoRef) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
             <soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\
             <soapenv:Body><{method} xmlns=\"urn:vim25\"><_this type=\"{}\">{}</_this>{}</{method}>\
             </soapenv:Body></soapenv:Envelope>",
            escape(&this.kind),
            escape(&this.id),
            self.0
        )
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    True,
    False,
}

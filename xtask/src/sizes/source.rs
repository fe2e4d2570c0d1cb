//! What one Rust file says about itself: lines, functions, and what the house rules forbid.
//!
//! Test code is told from the rest by its attributes (`#[cfg(test)]`, `#[test]`, `#[tokio::test]`), not by where it
//! stands, so code after the test module is measured too. A file that does not parse is reported, never skipped.
//! Code inside the arguments of macros is seen as tokens only: `unwrap()` is found there, functions are not.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, FnArg, Item, Lit, Meta, Signature};

use super::rules::{Finding, MAX_FUNCTION_LINES, MAX_PARAMETERS, Rule};

/// What was measured in one file.
#[derive(Debug, Default)]
pub struct Source {
    /// All lines, and those that are not test code.
    pub lines: usize,
    pub code_lines: usize,
    /// Name and length of each function outside test code.
    pub functions: Vec<(String, usize)>,
    pub has_module_doc: bool,
    pub findings: Vec<Finding>,
    /// `#[cfg(test)] mod name;`: the file behind such a module is test code as a whole.
    pub test_modules: Vec<String>,
    /// `mod name;` of all other kinds.
    pub modules: Vec<String>,
    /// Lines on which an identifier stands outside test code, for the rules about crates.
    pub mentions: Vec<(&'static str, usize)>,
}

/// Crates that only certain files may name.
const WATCHED: [&str; 2] = ["anyhow", "clap"];

/// Whether a whole file is test code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    Code,
    Test,
}

/// Measures `text`; the error is the parser's.
pub fn measure(text: &str, nature: Nature) -> Result<Source, syn::Error> {
    let file = syn::parse_file(text)?;
    let mut visitor = Visitor { in_test: nature == Nature::Test, ..Visitor::default() };
    visitor.visit_file(&file);
    let lines = text.lines().count();
    let mut source = visitor.source;
    let test_lines: usize = visitor.test_spans.iter().map(|(first, last)| last - first + 1).sum();
    source.lines = lines;
    source.code_lines = if nature == Nature::Test { 0 } else { lines - test_lines.min(lines) };
    source.has_module_doc = file.attrs.iter().any(|attr| attr.path().is_ident("doc"));
    let in_tests = |line: usize| {
        nature == Nature::Test
            || visitor.test_spans.iter().any(|(first, last)| (*first..=*last).contains(&line))
    };
    let tokens: TokenStream =
        text.parse().map_err(|error: proc_macro2::LexError| syn::Error::new(error.span(), error))?;
    mentions(tokens, &mut source.mentions);
    source.mentions.retain(|(_, line)| !in_tests(*line));
    leftovers(text, &mut source.findings);
    Ok(source)
}

fn mentions(tokens: TokenStream, found: &mut Vec<(&'static str, usize)>) {
    for tree in tokens {
        match tree {
            TokenTree::Ident(ident) => {
                if let Some(name) = WATCHED.iter().find(|name| ident == **name) {
                    found.push((name, ident.span().start().line));
                }
            }
            TokenTree::Group(group) => mentions(group.stream(), found),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Words that say that something is not done. Written apart here, or this file would report itself.
const LEFTOVERS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

fn leftovers(text: &str, findings: &mut Vec<Finding>) {
    for (number, line) in text.lines().enumerate() {
        let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        if let Some(word) = words.into_iter().find(|word| LEFTOVERS.contains(word)) {
            findings.push(Finding::new(Rule::Leftover, number + 1, word));
        }
    }
}

#[derive(Default)]
struct Visitor {
    source: Source,
    in_test: bool,
    in_trait_impl: bool,
    /// First and last line of each outermost piece of test code.
    test_spans: Vec<(usize, usize)>,
}

impl Visitor {
    fn find(&mut self, rule: Rule, line: usize, item: impl Into<String>) {
        self.source.findings.push(Finding::new(rule, line, item));
    }

    /// Visits an item through `descend`, as test code if its attributes say so.
    fn within(&mut self, attrs: &[Attribute], lines: (usize, usize), descend: impl FnOnce(&mut Self)) {
        let outer = self.in_test;
        if !outer && attrs.iter().any(marks_test) {
            self.in_test = true;
            self.test_spans.push(lines);
        }
        descend(self);
        self.in_test = outer;
    }

    fn function(&mut self, signature: &Signature, last_line: usize) {
        if self.in_test {
            return;
        }
        let name = signature.ident.to_string();
        let first_line = signature.span().start().line;
        let length = last_line - first_line + 1;
        if length > MAX_FUNCTION_LINES {
            self.source.findings.push(
                Finding::new(Rule::FunctionLines, first_line, &name)
                    .with(format!("{length} lines; at most {MAX_FUNCTION_LINES}")),
            );
        }
        self.source.functions.push((name.clone(), length));
        // The trait decides what its implementations take, and is measured where it is ours; C decides for callbacks.
        if !self.in_trait_impl && signature.abi.is_none() {
            self.parameters(signature, &name, first_line);
        }
    }

    fn parameters(&mut self, signature: &Signature, name: &str, line: usize) {
        let count = signature.inputs.len();
        if count > MAX_PARAMETERS {
            self.source.findings.push(
                Finding::new(Rule::Parameters, line, name)
                    .with(format!("{count} parameters; at most {MAX_PARAMETERS}, more are a struct")),
            );
        }
        for input in &signature.inputs {
            if let FnArg::Typed(typed) = input
                && let syn::Type::Path(path) = &*typed.ty
                && path.path.is_ident("bool")
            {
                self.find(Rule::BareBool, line, name);
            }
        }
    }
}

fn lines_of(item: &impl Spanned) -> (usize, usize) {
    let span = item.span();
    (span.start().line, span.end().line)
}

fn item_attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[test]`, `#[tokio::test]` and the like, or a `cfg` that is false in the product.
fn marks_test(attribute: &Attribute) -> bool {
    if attribute.path().segments.last().is_some_and(|segment| segment.ident == "test") {
        return true;
    }
    let Meta::List(list) = &attribute.meta else { return false };
    list.path.is_ident("cfg")
        && only_in_tests(&list.tokens.to_string().split_whitespace().collect::<String>())
}

/// Whether a condition without spaces holds in tests only: `test`, or the feature under which a crate lends its
/// harness and conformance suite to others, alone, with more (`all`) or as alternatives (`any`).
fn only_in_tests(condition: &str) -> bool {
    let parts = |name: &str| condition.strip_prefix(name).and_then(|rest| rest.strip_suffix(')'));
    match (parts("all("), parts("any(")) {
        (Some(inner), _) => inner.split(',').any(only_in_tests),
        (_, Some(inner)) => inner.split(',').all(only_in_tests),
        _ => matches!(condition, "test" | "feature=\"test-support\""),
    }
}

impl<'ast> Visit<'ast> for Visitor {
    fn visit_item(&mut self, item: &'ast Item) {
        if let Item::Mod(module) = item
            && module.content.is_none()
        {
            let of_tests = module.attrs.iter().any(marks_test);
            let list = if of_tests { &mut self.source.test_modules } else { &mut self.source.modules };
            list.push(module.ident.to_string());
        }
        if let Item::Struct(syn::ItemStruct { ident, .. })
        | Item::Enum(syn::ItemEnum { ident, .. })
        | Item::Trait(syn::ItemTrait { ident, .. }) = item
        {
            let name = ident.to_string();
            if ["Manager", "Helper", "Util", "Utils"].iter().any(|vague| name.ends_with(vague)) {
                self.find(Rule::VagueName, ident.span().start().line, name);
            }
        }
        self.within(item_attributes(item), lines_of(item), |this| visit::visit_item(this, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, item.block.span().end().line);
        visit::visit_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let outer = std::mem::replace(&mut self.in_trait_impl, item.trait_.is_some());
        visit::visit_item_impl(self, item);
        self.in_trait_impl = outer;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.within(&item.attrs, lines_of(item), |this| {
            this.function(&item.sig, item.block.span().end().line);
            visit::visit_impl_item_fn(this, item);
        });
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig, item.span().end().line);
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("ignore") {
            self.find(Rule::IgnoredTest, attribute.span().start().line, "#[ignore]");
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let line = call.method.span().start().line;
        if !self.in_test {
            if (call.method == "unwrap" || call.method == "unwrap_err") && call.args.is_empty() {
                self.find(Rule::Unwrap, line, call.method.to_string());
            }
            if call.method == "expect"
                && let [Expr::Lit(syn::ExprLit { lit: Lit::Str(reason), .. })] =
                    call.args.iter().collect::<Vec<_>>()[..]
                && reason.value().split_whitespace().count() < 2
            {
                self.find(Rule::ExpectReason, line, reason.value());
            }
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        let line = mac.span().start().line;
        if let Some(name) = mac.path.segments.last().map(|segment| segment.ident.to_string())
            && (name == "todo" || name == "unimplemented")
        {
            self.find(Rule::Leftover, line, format!("{name}!"));
        }
        if !self.in_test && unwraps(mac.tokens.clone()) {
            self.find(Rule::Unwrap, line, "unwrap in a macro's arguments");
        }
    }
}

/// Whether `.unwrap()` stands among the tokens.
fn unwraps(tokens: TokenStream) -> bool {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    trees.windows(3).any(|three| {
        matches!(three,
            [TokenTree::Punct(dot), TokenTree::Ident(name), TokenTree::Group(arguments)]
                if dot.as_char() == '.'
                    && name == "unwrap"
                    && arguments.delimiter() == Delimiter::Parenthesis
                    && arguments.stream().is_empty())
    }) || trees.into_iter().any(|tree| matches!(tree, TokenTree::Group(group) if unwraps(group.stream())))
}

#[cfg(test)]
mod tests;

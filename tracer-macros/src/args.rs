//! The arguments of `#[traced_node(..)]`, as written: each looked at alone, none against another or the function.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Ident, Lit, LitStr, Path, Token};

use crate::diag::{Diag, did_you_mean, distance};
use crate::name;

/// Every option, as messages list them.
const OPTIONS: [&str; 16] = [
    "root",
    "source",
    "ctx",
    "fork",
    "off",
    "record",
    "skip",
    "redact",
    "entry",
    "effect",
    "checkpoint",
    "err",
    "fail_if",
    "crate",
    "shared",
    "extern",
];

/// The arguments.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) name: Option<Name>,
    pub(crate) root: Option<Span>,
    pub(crate) fork: Option<Span>,
    pub(crate) off: Option<Span>,
    pub(crate) entry: Option<Span>,
    pub(crate) effect: Option<Span>,
    pub(crate) checkpoint: Option<(Span, Repeat)>,
    pub(crate) shared: Option<Span>,
    pub(crate) foreign: Option<Span>,
    /// `skip` alone: not a node at all.
    pub(crate) leave_out: Option<Span>,
    /// Handed on from the item around: what does not fit this function was not meant for it.
    pub(crate) each: bool,
    pub(crate) source: Option<LitStr>,
    pub(crate) ctx: Option<Ident>,
    pub(crate) record: Option<Record>,
    pub(crate) skip: Vec<Ident>,
    pub(crate) redact: Vec<Redacted>,
    pub(crate) err: Option<(Span, ErrText)>,
    pub(crate) fail_if: Option<(Span, TokenStream)>,
    pub(crate) krate: Option<Path>,
}

/// How the node is named.
pub(crate) enum Name {
    Literal(LitStr),
    Declared(Path),
}

impl Name {
    fn span(&self) -> Span {
        match self {
            Self::Literal(literal) => literal.span(),
            Self::Declared(path) => path_span(path),
        }
    }
}

/// `record`, or `record(a, b)`.
pub(crate) struct Record {
    pub(crate) span: Span,
    pub(crate) only: Option<Vec<Ident>>,
}

/// A path of `redact(..)`.
pub(crate) struct Redacted {
    pub(crate) first: Ident,
    pub(crate) path: String,
}

/// The text of an error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrText {
    Display,
    Debug,
    None,
}

/// What becomes of a checkpoint's node that was started and has no result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    AtLeastOnce,
    AtMostOnce,
}

/// One argument: a word, and what follows it.
struct Written {
    word: Ident,
    value: Value,
}

enum Value {
    Nothing,
    /// Behind `=`.
    Is(TokenStream),
    /// In parentheses.
    List(Span, TokenStream),
    /// Neither.
    Junk(Span),
}

impl Args {
    /// Reads the arguments; reports each that is not one.
    pub(crate) fn parse(tokens: TokenStream, diag: &Diag) -> Self {
        let mut args = Self::default();
        let parser = |input: ParseStream<'_>| {
            args.read(input, diag);
            Ok(())
        };
        let _ = diag.ok(parser.parse2(tokens));
        args
    }

    fn read(&mut self, input: ParseStream<'_>, diag: &Diag) {
        let mut seen: Vec<String> = Vec::new();
        let mut first = true;
        while !input.is_empty() {
            if input.peek(Token![,]) {
                diag.error_with_help(
                    input.span(),
                    "expected an option before this comma",
                    "write one, or take the comma away",
                );
                let _ = input.parse::<Token![,]>();
                continue;
            }
            match read_name(input, first, diag) {
                Reading::Name(name) if first => self.name = Some(name),
                Reading::Name(name) => diag.error_with_help(
                    name.span(),
                    "the node's name comes first, and once",
                    "write `#[traced_node(name, option, option = value)]`",
                ),
                Reading::BadName => {}
                Reading::NoName => self.read_option(input, first, &mut seen, diag),
            }
            first = false;
            if !input.is_empty() && input.parse::<Token![,]>().is_err() {
                diag.error_with_help(
                    input.span(),
                    "expected a comma before this",
                    "write `#[traced_node(name, option, option = value)]`",
                );
                to_comma(input);
                let _ = input.parse::<Token![,]>();
            }
        }
    }

    fn read_option(&mut self, input: ParseStream<'_>, first: bool, seen: &mut Vec<String>, diag: &Diag) {
        let Some(written) = Written::read(input, diag) else { return };
        let word = written.word.to_string();
        if seen.contains(&word) {
            diag.error_with_help(written.word.span(), format_args!("`{word}` is written twice"), "keep one of them");
        } else {
            self.set(&written, first, diag);
            seen.push(word);
        }
    }

    fn set(&mut self, written: &Written, first: bool, diag: &Diag) {
        let span = written.word.span();
        let word = written.word.to_string();
        let form = form_of(&word);
        match word.as_str() {
            "root" => self.root = written.flag(diag),
            "fork" => self.fork = written.flag(diag),
            "off" => self.off = written.flag(diag),
            "entry" => self.entry = written.flag(diag),
            "effect" => self.effect = written.flag(diag),
            "__each" => self.each = true,
            "shared" => self.shared = written.flag(diag),
            "extern" => self.foreign = written.flag(diag),
            "source" => self.source = written.parsed(diag, form, "a string"),
            "ctx" => self.ctx = written.parsed(diag, form, "the name of a parameter"),
            "crate" => {
                self.krate = written.parsed_with(diag, form, "a path, without quotes", Path::parse_mod_style);
            }
            "record" => match &written.value {
                Value::Nothing => self.record = Some(Record { span, only: None }),
                _ => {
                    if let Some(only) = written.names(diag, "record(a, ret)") {
                        self.record = Some(Record { span, only: Some(only) });
                    }
                }
            },
            "skip" => match &written.value {
                Value::Nothing => self.leave_out = Some(span),
                _ => self.skip = written.names(diag, "skip(a)").unwrap_or_default(),
            },
            "redact" => self.redact = written.paths(diag),
            "err" => {
                let text: Option<Ident> = written.parsed(diag, form, "`display`, `debug` or `none`");
                self.err = text.and_then(|text| Some((span, err_text(&text, diag)?)));
            }
            "checkpoint" => self.checkpoint = read_checkpoint(written, diag).map(|repeat| (span, repeat)),
            "fail_if" => match &written.value {
                Value::Is(test) => self.fail_if = Some((span, test.clone())),
                _ => written.wants(diag, form, "a closure"),
            },
            "name" => diag.error_with_help(
                span,
                "the node's name is written alone, before the options",
                "write `#[traced_node(\"parse\", option, option = value)]`",
            ),
            _ => {
                let listed: Vec<String> = OPTIONS.iter().map(|option| format!("`{option}`")).collect();
                let may_be_node = first && matches!(written.value, Value::Nothing);
                let node = if may_be_node { format!("; a declared node is `self::{word}`") } else { String::new() };
                diag.error_with_help(
                    span,
                    format_args!("unknown option `{word}`{}", did_you_mean(&word, OPTIONS)),
                    format_args!("the options are {}{node}", listed.join(", ")),
                );
            }
        }
    }
}

impl Args {
    /// Where `ret` stands in `record(..)`.
    pub(crate) fn ret_span(&self) -> Option<Span> {
        let only = self.record.as_ref()?.only.as_ref()?;
        only.iter().find(|name| *name == "ret").map(Ident::span)
    }

    /// Reports what can be said of one function only, on an item with several.
    pub(crate) fn check_container(&self, diag: &Diag) {
        let one = |span: Span, what: &str| {
            diag.error_with_help(
                span,
                format_args!("{what} is for one function, and this item may have several"),
                "put it on the function itself",
            );
        };
        if let Some(name) = &self.name {
            one(name.span(), "a name");
        }
        let names = self.record.as_ref().and_then(|record| record.only.as_ref()).and_then(|only| only.first());
        let flags = [
            (self.ctx.as_ref().map(Ident::span), "`ctx`"),
            (names.map(Ident::span), "`record` with names"),
            (self.skip.first().map(Ident::span), "`skip` with names"),
            (self.redact.first().map(|redacted| redacted.first.span()), "`redact`"),
            (self.shared, "`shared`"),
            (self.foreign, "`extern`"),
        ];
        for (span, what) in flags {
            if let Some(span) = span {
                one(span, what);
            }
        }
    }
}

/// What stands where a name may stand.
enum Reading {
    Name(Name),
    /// A name of a wrong kind; it has been reported.
    BadName,
    /// An option.
    NoName,
}

/// Reads a name if there is one.
fn read_name(input: ParseStream<'_>, first: bool, diag: &Diag) -> Reading {
    if input.peek(Lit) {
        return match diag.ok(input.parse::<Lit>()) {
            Some(literal) => read_literal(literal, diag),
            None => Reading::BadName,
        };
    }
    let ahead = input.fork();
    let is_path = ahead.parse::<Token![::]>().is_ok() || {
        let word = ahead.call(Ident::parse_any).map(|word| word.to_string()).unwrap_or_default();
        let is_option = word == "__each" || OPTIONS.contains(&word.as_str());
        // A declared node with such a name can be said to be one: `self::records`.
        let is_misspelt = OPTIONS.iter().any(|option| distance(&word, option) == 1);
        let alone = ahead.is_empty() || ahead.peek(Token![,]);
        ahead.peek(Token![::]) || (first && !is_option && !is_misspelt && alone)
    };
    if !is_path || input.fork().call(Path::parse_mod_style).is_err() {
        return Reading::NoName;
    }
    diag.ok(input.call(Path::parse_mod_style)).map_or(Reading::BadName, |path| Reading::Name(Name::Declared(path)))
}

fn read_literal(literal: Lit, diag: &Diag) -> Reading {
    let Lit::Str(literal) = literal else {
        diag.error_with_help(
            literal.span(),
            "a node name is a string or a path",
            "write `#[traced_node(\"parse\")]` or `#[traced_node(webhook::parse)]`",
        );
        return Reading::BadName;
    };
    match name::check(&literal.value()) {
        Ok(()) => Reading::Name(Name::Literal(literal)),
        Err(bad) => {
            bad.report(literal.span(), diag);
            Reading::BadName
        }
    }
}

/// Skips what is left of an argument.
fn to_comma(input: ParseStream<'_>) -> TokenStream {
    let mut skipped = TokenStream::new();
    while !input.is_empty() && !input.peek(Token![,]) {
        if let Ok(token) = input.parse::<TokenTree>() {
            skipped.extend([token]);
        }
    }
    skipped
}

impl Written {
    fn read(input: ParseStream<'_>, diag: &Diag) -> Option<Self> {
        let Ok(word) = input.call(Ident::parse_any) else {
            let span = to_comma(input).span();
            diag.error_with_help(
                span,
                "expected the node's name or an option",
                "write `#[traced_node(\"name\", option, option = value)]`",
            );
            return None;
        };
        let value = if input.is_empty() || input.peek(Token![,]) {
            Value::Nothing
        } else if input.parse::<Token![=]>().is_ok() {
            Value::Is(read_value(&word, input, diag)?)
        } else {
            let rest: Vec<TokenTree> = to_comma(input).into_iter().collect();
            match rest.as_slice() {
                [TokenTree::Group(list)] if list.delimiter() == Delimiter::Parenthesis => {
                    Value::List(list.span(), list.stream())
                }
                [other, ..] => Value::Junk(other.span()),
                [] => Value::Nothing,
            }
        };
        Some(Self { word, value })
    }

    /// The span, if it stands alone.
    fn flag(&self, diag: &Diag) -> Option<Span> {
        let span = match &self.value {
            Value::Nothing => return Some(self.word.span()),
            Value::Is(value) => value.span(),
            Value::List(span, _) | Value::Junk(span) => *span,
        };
        diag.error_with_help(
            span,
            format_args!("`{}` takes no value", self.word),
            format_args!("write `{}` alone", self.word),
        );
        None
    }

    fn parsed<T: syn::parse::Parse>(&self, diag: &Diag, form: &str, what: &str) -> Option<T> {
        self.parsed_with(diag, form, what, T::parse)
    }

    fn parsed_with<T>(
        &self,
        diag: &Diag,
        form: &str,
        what: &str,
        parser: fn(ParseStream<'_>) -> syn::Result<T>,
    ) -> Option<T> {
        let Value::Is(value) = &self.value else {
            self.wants(diag, form, what);
            return None;
        };
        let parsed = parser.parse2(value.clone()).ok();
        if parsed.is_none() {
            diag.error_with_help(
                value.span(),
                format_args!("`{}` needs {what}", self.word),
                format_args!("write `{form}`"),
            );
        }
        parsed
    }

    fn wants(&self, diag: &Diag, form: &str, what: &str) {
        diag.error_with_help(
            self.word.span(),
            format_args!("`{}` needs {what}", self.word),
            format_args!("write `{form}`"),
        );
    }

    /// The words in the parentheses, each only once.
    fn names(&self, diag: &Diag, form: &str) -> Option<Vec<Ident>> {
        let mut names: Vec<Ident> = Vec::new();
        for element in self.elements(diag, form, "names in parentheses")? {
            match Ident::parse_any.parse2(element.clone()) {
                Ok(name) if names.contains(&name) => {
                    diag.error_with_help(name.span(), format_args!("`{name}` is listed twice"), "keep one of them");
                }
                Ok(name) => names.push(name),
                Err(_) => diag.error_with_help(
                    element.span(),
                    format_args!("`{}` lists the names of parameters", self.word),
                    format_args!("write `{form}`"),
                ),
            }
        }
        Some(names)
    }

    /// The dotted paths in the parentheses.
    fn paths(&self, diag: &Diag) -> Vec<Redacted> {
        const FORM: &str = "redact(card, customer.email)";
        let mut paths: Vec<Redacted> = Vec::new();
        for element in self.elements(diag, FORM, "names in parentheses").unwrap_or_default() {
            match read_path.parse2(element.clone()) {
                Ok(path) if paths.iter().any(|known| known.path == path.path) => diag.error_with_help(
                    path.first.span(),
                    format_args!("`{}` is listed twice", path.path),
                    "keep one of them",
                ),
                Ok(path) => paths.push(path),
                Err(_) => diag.error_with_help(
                    element.span(),
                    "`redact` lists parameters and their fields",
                    format_args!("write `{FORM}`"),
                ),
            }
        }
        paths
    }

    fn elements(&self, diag: &Diag, form: &str, what: &str) -> Option<Vec<TokenStream>> {
        let Value::List(span, list) = &self.value else {
            self.wants(diag, form, what);
            return None;
        };
        let mut elements = vec![TokenStream::new()];
        for token in list.clone() {
            match (&token, elements.last_mut()) {
                (TokenTree::Punct(punct), _) if punct.as_char() == ',' => {
                    elements.push(TokenStream::new());
                }
                (_, Some(element)) => element.extend([token]),
                (_, None) => {}
            }
        }
        elements.retain(|element| !element.is_empty());
        if elements.is_empty() {
            diag.error_with_help(*span, format_args!("`{}` lists nothing", self.word), format_args!("write `{form}`"));
            return None;
        }
        Some(elements)
    }
}

/// How an option that has a value is written.
fn form_of(word: &str) -> &'static str {
    match word {
        "source" => "source = \"cron\"",
        "ctx" => "ctx = parameter",
        "crate" => "crate = my_tracer",
        "err" => "err = display",
        "checkpoint" => "checkpoint = at_most_once",
        "fail_if" => "fail_if = |result| result.is_err()",
        _ => "option = value",
    }
}

/// The value behind `=`. That of `fail_if` is an expression, which may have commas of its own.
fn read_value(word: &Ident, input: ParseStream<'_>, diag: &Diag) -> Option<TokenStream> {
    let at = input.span();
    if word == "fail_if" {
        match input.parse::<syn::Expr>() {
            Ok(test) => return Some(test.into_token_stream()),
            Err(error) => {
                to_comma(input);
                diag.error_with_help(
                    error.span(),
                    "`fail_if` needs a closure",
                    format_args!("write `{}`", form_of("fail_if")),
                );
                return None;
            }
        }
    }
    let value = to_comma(input);
    if value.is_empty() {
        let span = if input.is_empty() { word.span() } else { at };
        diag.error_with_help(
            span,
            format_args!("expected a value after `{word} =`"),
            format_args!("write `{}`, or leave `{word}` out", form_of(&word.to_string())),
        );
        return None;
    }
    Some(value)
}

fn read_path(input: ParseStream<'_>) -> syn::Result<Redacted> {
    let first = input.call(Ident::parse_any)?;
    let mut path = first.unraw().to_string();
    while !input.is_empty() {
        // `a.0.1` reads as `a`, `.`, `0.1`.
        input.parse::<Token![.]>()?;
        path.push('.');
        if input.peek(Lit) {
            path.push_str(&input.parse::<Lit>()?.to_token_stream().to_string());
        } else {
            path.push_str(&input.call(Ident::parse_any)?.unraw().to_string());
        }
    }
    Ok(Redacted { first, path })
}

fn err_text(text: &Ident, diag: &Diag) -> Option<ErrText> {
    Some(match text.to_string().as_str() {
        "display" => ErrText::Display,
        "debug" => ErrText::Debug,
        "none" => ErrText::None,
        other => {
            diag.error_with_help(
                text.span(),
                format_args!(
                    "`err` knows no text `{other}`{}",
                    did_you_mean(&other.to_lowercase(), ["display", "debug", "none"])
                ),
                "write `err = display`, `err = debug` or `err = none`",
            );
            return None;
        }
    })
}

fn read_checkpoint(written: &Written, diag: &Diag) -> Option<Repeat> {
    const KNOWN: [&str; 2] = ["at_least_once", "at_most_once"];
    if let Value::Nothing = written.value {
        return Some(Repeat::AtLeastOnce);
    }
    let repeat: Ident = written.parsed(diag, form_of("checkpoint"), "`at_least_once` or `at_most_once`")?;
    Some(match repeat.to_string().as_str() {
        "at_least_once" => Repeat::AtLeastOnce,
        "at_most_once" => Repeat::AtMostOnce,
        other => {
            diag.error_with_help(
                repeat.span(),
                format_args!("`checkpoint` knows no `{other}`{}", did_you_mean(&other.to_lowercase(), KNOWN)),
                "write `checkpoint` (it may run again) or `checkpoint = at_most_once` (it never does)",
            );
            return None;
        }
    })
}

/// Where messages about a path point: joining the spans of several tokens is not stable, so its last word.
pub(crate) fn path_span(path: &Path) -> Span {
    path.segments.last().map_or_else(|| path.span(), |segment| segment.ident.span())
}

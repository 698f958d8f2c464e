//! What to expand to: the arguments and the function, checked against each other. All decisions are made here.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::{Attribute, FnArg, Ident, Meta, Pat, Path, ReceiverKind, ReturnType, Type};

use crate::args::{Args, ErrText, Name, path_span};
use crate::diag::{Diag, did_you_mean};
use crate::item::{Function, words};
use crate::types::{Returned, has_impl, may_be_context, plain, without_impl};
use crate::{name, pattern};

/// A traced function.
pub(crate) struct Node {
    /// The crate, `::tracer` unless renamed.
    pub(crate) krate: TokenStream,
    pub(crate) name: NodeName,
    pub(crate) source: Option<String>,
    pub(crate) start: Start,
    pub(crate) redact: Vec<String>,
    pub(crate) function: Function,
    pub(crate) receiver: Receiver,
    pub(crate) params: Vec<Param>,
    pub(crate) context: ContextFrom,
    pub(crate) record: Vec<Recorded>,
    pub(crate) ret: Ret,
    pub(crate) judge: Judge,
    pub(crate) form: Form,
}

pub(crate) enum NodeName {
    Literal(String),
    Declared { path: Path, claim: Claim },
}

/// What a function says of a declared node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is this function and no other.
    One,
    /// It is one of several.
    Shared,
    /// It belongs to another crate, where one function per node cannot be checked.
    Foreign,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Call,
    Root,
    Fork,
}

/// The `self` of a method.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receiver {
    None,
    /// `&self`, `&mut self`, also when spelt out.
    Reference,
    /// `self`, `self: Box<Self>` and their like.
    Value,
}

/// A parameter, taken apart into what the signature shows and what the body sees.
pub(crate) struct Param {
    /// Its name in the signature.
    pub(crate) outer: Ident,
    /// The user's pattern.
    pub(crate) pat: Pat,
    pub(crate) ty: Type,
    pub(crate) cfgs: Vec<Attribute>,
    /// The attributes that belong to the pattern: lint levels.
    pub(crate) lints: Vec<Attribute>,
}

pub(crate) enum ContextFrom {
    /// The surrounding one.
    Ambient,
    /// The first of these parameters that is a `Context` of ours.
    Probed(Vec<Ident>),
    /// This parameter, which has to be one.
    Demanded { param: Ident, written: Span },
}

/// An argument to record.
pub(crate) struct Recorded {
    /// The name, at the place that messages should point at.
    pub(crate) name: Ident,
    pub(crate) value: RecordedValue,
    pub(crate) cfgs: Vec<Attribute>,
    /// For `entry`: has to be read back too.
    pub(crate) read_back: bool,
}

pub(crate) enum RecordedValue {
    /// A parameter by its name in the signature.
    Param(Ident),
    /// A parameter that is a reference.
    Borrowed(Ident),
    Receiver,
    /// A binding of the pattern of this parameter.
    Binding {
        param: Ident,
        pat: Pat,
    },
}

/// What becomes of the returned value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ret {
    Unrecorded,
    Recorded,
    /// Recorded, and has to be read back.
    Entry,
    Effect,
}

/// How the returned value is judged.
pub(crate) struct Judge {
    pub(crate) text: Text,
    pub(crate) fail_if: Option<TokenStream>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text {
    Best,
    Display,
    Debug,
    None,
}

pub(crate) enum Form {
    /// The function itself.
    Untouched,
    /// The body stays where it is; a frame is open meanwhile. Sees panics, not values.
    InPlace,
    /// The body is a closure, called once; its value is judged.
    Call { output: Type },
    /// An `async fn`.
    Async {
        /// `async fn` stays for the attribute macros below; else the function returns the future itself.
        keep: bool,
        /// As the signature has it.
        output: Option<Type>,
    },
    /// `-> impl Future<Output = ..>`.
    Future { output: Type },
    /// `-> Pin<Box<dyn Future<Output = ..>>>`.
    BoxedFuture {
        output: Type,
        returned: Type,
        /// The future, if the body is `Box::pin(future)` and nothing else.
        inner: Option<TokenStream>,
    },
}

impl Node {
    /// Puts arguments and function together; reports what does not fit.
    pub(crate) fn lower(args: Args, function: Function, diag: &Diag) -> Option<Self> {
        refuse(&function, diag);
        let returned = Returned::of(&function.sig.output);
        check_options(&args, &function, &returned, diag);
        let krate = match &args.krate {
            Some(path) => quote!(#path),
            None => quote!(::tracer),
        };
        let name = node_name(&args, &function, diag);
        let (receiver, params) = take_apart(&function);
        let record = recorded(&args, &function, receiver, &params, diag);
        let context = context(&args, &function, &params, diag);
        let ret = ret(&args);
        let judge = Judge {
            text: match args.err {
                None => Text::Best,
                Some((_, ErrText::Display)) => Text::Display,
                Some((_, ErrText::Debug)) => Text::Debug,
                Some((_, ErrText::None)) => Text::None,
            },
            fail_if: args.fail_if.as_ref().map(|(_, test)| test.clone()),
        };
        let judged = ret != Ret::Unrecorded || judge.text != Text::Best || judge.fail_if.is_some();
        let form =
            if args.off.is_some() { Form::Untouched } else { form(&function, returned, judged) };
        let start = match (args.root, args.fork) {
            (Some(_), _) => Start::Root,
            (_, Some(_)) => Start::Fork,
            _ => Start::Call,
        };
        let source = args.source.as_ref().map(syn::LitStr::value);
        let redact = args.redact.into_iter().map(|redacted| redacted.path).collect();
        diag.is_empty().then_some(Self {
            krate,
            name: name?,
            source,
            start,
            redact,
            function,
            receiver,
            params,
            context,
            record,
            ret,
            judge,
            form,
        })
    }
}

/// Reports functions that no node can be.
fn refuse(function: &Function, diag: &Diag) {
    let sig = &function.sig;
    if let Some(constness) = sig.constness {
        diag.error_with_help(
            constness.span,
            "a node cannot be a `const fn`: it has steps to record when it runs",
            format_args!("take `const` out, or trace the callers of `{}`", sig.ident),
        );
    }
    if let Some(variadic) = &sig.variadic {
        let span = variadic.dots.spans[0];
        diag.error_with_help(
            span,
            "a node cannot be variadic: its arguments cannot be handed on",
            format_args!("call a traced Rust function from `{}`", sig.ident),
        );
    }
    for attr in &function.attrs {
        if words(attr).last().is_some_and(|word| word == "traced_node") {
            let span = path_span(attr.path());
            diag.error_with_help(
                span,
                format_args!("`{}` is a node already", sig.ident),
                "keep one `#[traced_node]`",
            );
        }
    }
}

fn check_options(args: &Args, function: &Function, returned: &Returned, diag: &Diag) {
    let sig = &function.sig;
    let conflict = |span: Span, a: &str, b: &str, why: &str| {
        diag.error_with_help(
            span,
            format_args!("`{a}` cannot go with `{b}`: {why}"),
            "keep one of them",
        );
    };
    if let (Some(_), Some(span)) = (args.root, args.fork) {
        conflict(
            span,
            "fork",
            "root",
            "one goes on in the caller's trace, the other starts a new one",
        );
    }
    if let (Some(_), Some(ctx)) = (args.root, &args.ctx) {
        conflict(
            ctx.span(),
            "ctx",
            "root",
            "one goes on in a trace that is given, the other starts a new one",
        );
    }
    if let (Some(_), Some(span)) = (args.entry, args.effect) {
        conflict(
            span,
            "effect",
            "entry",
            "an entry is run again, an effect is answered from the record",
        );
    }
    if let (Some(_), Some(span)) = (args.shared, args.foreign) {
        conflict(span, "extern", "shared", "an `extern` node may have several functions anyway");
    }
    for (span, word) in [(args.shared, "shared"), (args.foreign, "extern")] {
        if let (Some(span), false) = (span, matches!(args.name, Some(Name::Declared(_)))) {
            diag.error_with_help(
                span,
                format_args!("`{word}` is about a declared node"),
                format_args!(
                    "name it, `#[traced_node(webhook::parse, {word})]`, or leave `{word}` out"
                ),
            );
        }
    }
    let wants_value = [
        (args.effect, "effect", "answers from the record"),
        (
            args.fail_if.as_ref().map(|(span, _)| *span),
            "fail_if",
            "looks at what the function returns",
        ),
        (args.err.map(|(span, _)| span), "err", "is about the error that the function returns"),
        (ret_span(args), "record(ret)", "takes what the function returns"),
    ];
    let returns_nothing = matches!(sig.output, ReturnType::Default);
    let track_caller = function.attrs.iter().any(|attr| mentions(attr, "track_caller"));
    for (span, word, does) in wants_value {
        let Some(span) = span else { continue };
        if args.each {
            continue;
        }
        if track_caller {
            diag.error_with_help(
                span,
                format_args!(
                    "`{word}` cannot go with `#[track_caller]`: the body has to stay where it is"
                ),
                format_args!("leave `{word}` out, or `#[track_caller]`"),
            );
        } else if matches!(returned, Returned::Never)
            || (returns_nothing && word != "fail_if" && word != "effect")
        {
            diag.error_with_help(
                span,
                format_args!("`{word}` {does}, and `{}` returns nothing", sig.ident),
                format_args!("leave `{word}` out"),
            );
        }
    }
    if let (Some(span), true) =
        (args.entry, !matches!(function.sig.inputs.first(), None | Some(FnArg::Typed(_))))
    {
        diag.error_with_help(
            span,
            "an `entry` is called by name: it cannot take `self`",
            "make a function without `self` the entry, and call the method from it",
        );
    }
    if let (Some(_), Some(param)) = (args.entry, sig.generics.type_params().next()) {
        diag.error_with_help(
            param.ident.span(),
            "an `entry` is called by name: it cannot be generic over types",
            "make a function with concrete types the entry",
        );
    }
    if let Some(span) = args.leave_out {
        diag.error_with_help(
            span,
            "`skip` alone leaves the function out of the trace, so nothing else can be said of it",
            "write `#[traced_node(skip)]`, or name the arguments to leave out: `skip(a)`",
        );
    }
}

fn ret_span(args: &Args) -> Option<Span> {
    let names = args.record.as_ref()?.only.as_ref()?;
    names.iter().find(|name| *name == "ret").map(Ident::span)
}

fn node_name(args: &Args, function: &Function, diag: &Diag) -> Option<NodeName> {
    match &args.name {
        Some(Name::Literal(literal)) => Some(NodeName::Literal(literal.value())),
        Some(Name::Declared(path)) => {
            let claim = match (args.shared, args.foreign) {
                (_, Some(_)) => Claim::Foreign,
                (Some(_), _) => Claim::Shared,
                _ => Claim::One,
            };
            Some(NodeName::Declared { path: path.clone(), claim })
        }
        None => {
            let ident = &function.sig.ident;
            let name = ident.unraw().to_string();
            let Err(bad) = name::check(&name) else { return Some(NodeName::Literal(name)) };
            let better = bad.repaired.unwrap_or_else(|| format!("{name}_node"));
            let help = format!("name it: `#[traced_node(\"{better}\")]`");
            diag.error_with_help(ident.span(), bad.message, help);
            None
        }
    }
}

fn take_apart(function: &Function) -> (Receiver, Vec<Param>) {
    let mut receiver = Receiver::None;
    let mut params = Vec::new();
    for (index, input) in function.sig.inputs.iter().enumerate() {
        match input {
            FnArg::Receiver(this) => {
                receiver = match &this.kind {
                    ReceiverKind::Value => Receiver::Value,
                    ReceiverKind::Typed(_, ty) if !matches!(plain(ty), Type::Reference(_)) => {
                        Receiver::Value
                    }
                    _ => Receiver::Reference,
                };
            }
            FnArg::Typed(typed) => {
                let outer = match &*typed.pat {
                    Pat::Ident(pat) if pattern::is_plain(pat) => pat.ident.clone(),
                    _ => format_ident!("__arg{}", index, span = Span::mixed_site()),
                };
                let cfgs = typed
                    .attrs
                    .iter()
                    .filter(|attr| attr.path().is_ident("cfg"))
                    .cloned()
                    .collect();
                let lints = typed.attrs.iter().filter(|attr| is_lint(attr)).cloned().collect();
                params.push(Param {
                    outer,
                    pat: (*typed.pat).clone(),
                    ty: (*typed.ty).clone(),
                    cfgs,
                    lints,
                });
            }
        }
    }
    (receiver, params)
}

/// Lint levels go where the user's name is bound; what remains is for the macros below and stays in the signature.
pub(crate) fn is_lint(attr: &Attribute) -> bool {
    ["allow", "warn", "deny", "forbid", "expect", "cfg_attr"]
        .iter()
        .any(|lint| attr.path().is_ident(lint))
}

fn recorded(
    args: &Args,
    function: &Function,
    receiver: Receiver,
    params: &[Param],
    diag: &Diag,
) -> Vec<Recorded> {
    let read_back = args.entry.is_some();
    let mut known: Vec<Recorded> = Vec::new();
    for param in params {
        let cfgs = param.cfgs.clone();
        match &param.pat {
            Pat::Ident(pat) if pattern::is_plain(pat) => {
                let borrowed = matches!(plain(&param.ty), Type::Reference(_));
                let outer = param.outer.clone();
                let value = if borrowed {
                    RecordedValue::Borrowed(outer)
                } else {
                    RecordedValue::Param(outer)
                };
                // `str` and slices are read back as what owns them.
                let unsized_ref =
                    matches!(plain(&param.ty), Type::Reference(it) if is_unsized(&it.elem));
                known.push(Recorded {
                    name: pat.ident.clone(),
                    value,
                    cfgs,
                    read_back: read_back && !unsized_ref,
                });
            }
            pat => {
                for name in pattern::bindings(pat) {
                    let pat = pattern::only(pat, &name);
                    let value = RecordedValue::Binding { param: param.outer.clone(), pat };
                    known.push(Recorded { name, value, cfgs: cfgs.clone(), read_back });
                }
            }
        }
    }
    let names: Vec<String> = known.iter().map(|known| known.name.to_string()).collect();
    let no_parameter = |name: &Ident, extra: &[&str]| {
        let all = names.iter().map(String::as_str).chain(extra.iter().copied());
        let text = name.to_string();
        let message = format!(
            "`{}` has no parameter `{name}`{}",
            function.sig.ident,
            did_you_mean(&text, all)
        );
        if names.is_empty() {
            diag.error(name.span(), message);
        } else {
            let listed: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            diag.error_with_help(
                name.span(),
                message,
                format_args!("its parameters are {}", listed.join(", ")),
            );
        }
    };

    for name in &args.skip {
        if !names.iter().any(|known| name == known) {
            no_parameter(name, &[]);
        }
    }
    if let (Some(first), None, None) = (args.skip.first(), &args.record, args.entry) {
        diag.error_with_help(
            first.span(),
            "nothing is recorded unless asked, so there is nothing to skip",
            "add `record` for all other arguments, or leave `skip(..)` out",
        );
    }
    if let (Some(first), Some(_)) = (args.skip.first(), args.entry) {
        diag.error_with_help(
            first.span(),
            "an `entry` is called again with its recorded arguments: none can be left out",
            "leave `skip(..)` out, and hide fields with `redact(..)`",
        );
    }

    let mut chosen: Vec<Recorded> = match &args.record {
        Some(record) => match &record.only {
            Some(only) => {
                if let (Some(_), None) = (args.skip.first(), args.entry) {
                    diag.error_with_help(
                        record.span,
                        "`record(..)` lists what is recorded, `skip(..)` what is not",
                        "keep one of them",
                    );
                }
                let mut chosen = Vec::new();
                for name in only {
                    if name == "self" {
                        if receiver == Receiver::None {
                            no_parameter(name, &[]);
                        }
                        let value = RecordedValue::Receiver;
                        chosen.push(Recorded {
                            name: name.clone(),
                            value,
                            cfgs: Vec::new(),
                            read_back: false,
                        });
                    } else if let Some(index) = known.iter().position(|known| known.name == *name) {
                        // Messages point at the word in the attribute; the value keeps the parameter's own span.
                        let mut known = known.swap_remove(index);
                        known.name = name.clone();
                        chosen.push(known);
                    } else if name != "ret" {
                        no_parameter(name, &["ret", "self"]);
                    }
                }
                if read_back { Vec::new() } else { chosen }
            }
            None if read_back => Vec::new(),
            None => without(&mut known, params, args),
        },
        None => Vec::new(),
    };
    if read_back {
        chosen = without(&mut known, params, args);
    }
    for redacted in &args.redact {
        let first = &redacted.first;
        let is_ret = first == "ret" && ret(args) != Ret::Unrecorded;
        if !is_ret && !chosen.iter().any(|chosen| chosen.name == *first) {
            if names.iter().any(|name| first == name) || first == "ret" {
                diag.error_with_help(
                    first.span(),
                    format_args!("`{first}` is not recorded, so there is nothing to redact"),
                    format_args!("record it, `record({first})`, or leave it out here"),
                );
            } else {
                no_parameter(first, &["ret"]);
            }
        }
    }
    chosen
}

/// All parameters but those left out, and those that are contexts.
fn without(known: &mut Vec<Recorded>, params: &[Param], args: &Args) -> Vec<Recorded> {
    let is_context = |name: &Ident| {
        params.iter().any(|param| param.outer == *name && may_be_context(&param.ty))
            || args.ctx.as_ref().is_some_and(|ctx| ctx == name)
    };
    known
        .drain(..)
        .filter(|known| !args.skip.contains(&known.name) && !is_context(&known.name))
        .collect()
}

fn is_unsized(ty: &Type) -> bool {
    match plain(ty) {
        Type::Slice(_) => true,
        Type::Path(path) => path.path.is_ident("str"),
        _ => false,
    }
}

fn ret(args: &Args) -> Ret {
    if args.effect.is_some() {
        Ret::Effect
    } else if args.entry.is_some() {
        Ret::Entry
    } else if ret_span(args).is_some() {
        Ret::Recorded
    } else {
        Ret::Unrecorded
    }
}

fn context(args: &Args, function: &Function, params: &[Param], diag: &Diag) -> ContextFrom {
    let Some(written) = &args.ctx else {
        let probed: Vec<Ident> = params
            .iter()
            .filter(|param| param.cfgs.is_empty() && may_be_context(&param.ty))
            .map(|param| param.outer.clone())
            .collect();
        return if probed.is_empty() { ContextFrom::Ambient } else { ContextFrom::Probed(probed) };
    };
    let named = |param: &&Param| matches!(&param.pat, Pat::Ident(pat) if pat.ident == *written);
    if let Some(param) = params.iter().find(named) {
        return ContextFrom::Demanded { param: param.outer.clone(), written: written.span() };
    }
    let names: Vec<String> = params
        .iter()
        .flat_map(|param| pattern::bindings(&param.pat))
        .map(|b| b.to_string())
        .collect();
    diag.error_with_help(
        written.span(),
        format_args!(
            "`{}` has no parameter `{written}`{}",
            function.sig.ident,
            did_you_mean(&written.to_string(), names.iter().map(String::as_str))
        ),
        format_args!(
            "add `{written}: &mut tracer::Context` to it, or leave `ctx = ..` out: the surrounding context is used"
        ),
    );
    ContextFrom::Ambient
}

fn form(function: &Function, returned: Returned, judged: bool) -> Form {
    let sig = &function.sig;
    if sig.asyncness.is_some() {
        let output = match &sig.output {
            ReturnType::Type(_, ty) => Some((**ty).clone()),
            ReturnType::Default => None,
        };
        return Form::Async { keep: function.attrs.iter().any(is_foreign), output };
    }
    if function.attrs.iter().any(|attr| mentions(attr, "track_caller")) {
        return Form::InPlace;
    }
    let written = match &sig.output {
        ReturnType::Type(_, ty) => (**ty).clone(),
        ReturnType::Default => syn::parse_quote!(()),
    };
    match returned {
        Returned::Never => Form::InPlace,
        Returned::Infallible if !judged => Form::InPlace,
        Returned::Infallible | Returned::Value => Form::Call { output: without_impl(written) },
        Returned::Future(output) => Form::Future { output: *output },
        Returned::BoxedFuture(output) => Form::BoxedFuture {
            output: *output,
            returned: without_impl(written),
            inner: boxed_inner(function),
        },
    }
}

/// The `X` of a body that is `Box::pin(X)` only: what `#[async_trait]` writes.
fn boxed_inner(function: &Function) -> Option<TokenStream> {
    let tokens: Vec<TokenTree> = function.body.stream().into_iter().collect();
    let (TokenTree::Group(argument), path) = tokens.split_last()? else { return None };
    let words: Vec<String> = path
        .iter()
        .filter_map(|token| match token {
            TokenTree::Ident(word) => Some(word.to_string()),
            _ => None,
        })
        .collect();
    let only_path = path.iter().all(|token| match token {
        TokenTree::Ident(_) => true,
        TokenTree::Punct(punct) => punct.as_char() == ':',
        _ => false,
    });
    let is_box_pin = words.ends_with(&["Box".into(), "pin".into()]);
    (only_path
        && is_box_pin
        && argument.delimiter() == Delimiter::Parenthesis
        && single(&argument.stream()))
    .then(|| argument.stream())
}

fn single(tokens: &TokenStream) -> bool {
    !tokens.is_empty()
        && !tokens
            .clone()
            .into_iter()
            .any(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ','))
}

/// Whether an attribute is a macro of others, which may want to see `async fn`.
fn is_foreign(attr: &Attribute) -> bool {
    const BUILT_IN: [&str; 27] = [
        "allow",
        "warn",
        "deny",
        "forbid",
        "expect",
        "doc",
        "cfg",
        "cfg_attr",
        "inline",
        "cold",
        "must_use",
        "deprecated",
        "track_caller",
        "target_feature",
        "no_mangle",
        "export_name",
        "link_section",
        "unsafe",
        "ignore",
        "should_panic",
        "automatically_derived",
        "non_exhaustive",
        "instruction_set",
        "coverage",
        "optimize",
        "no_coverage",
        "macro_use",
    ];
    let words = words(attr);
    let [first, rest @ ..] = words.as_slice() else { return true };
    if !rest.is_empty() {
        return !["clippy", "rustfmt", "diagnostic", "rustdoc", "miri"].contains(&first.as_str());
    }
    if first == "cfg_attr" {
        // What it adds comes behind the first comma; a word that is not built in may be a macro.
        let Meta::List(list) = &attr.meta else { return true };
        let added: Vec<TokenTree> = list
            .tokens
            .clone()
            .into_iter()
            .skip_while(|token| !matches!(token, TokenTree::Punct(punct) if punct.as_char() == ','))
            .collect();
        return added.iter().any(|token| {
            matches!(token, TokenTree::Ident(word) if !BUILT_IN.iter().any(|known| word == known))
        });
    }
    !BUILT_IN.contains(&first.as_str())
}

/// Whether the attribute is `word`, or may become it.
fn mentions(attr: &Attribute, word: &str) -> bool {
    if attr.path().is_ident(word) {
        return true;
    }
    let Meta::List(list) = &attr.meta else { return false };
    attr.path().is_ident("cfg_attr")
        && list
            .tokens
            .clone()
            .into_iter()
            .any(|token| matches!(token, TokenTree::Ident(ident) if ident == word))
}

impl Form {
    /// Whether rustdoc would show another signature than the user's.
    pub(crate) fn hides_signature(&self, params: &[Param]) -> bool {
        match self {
            Self::Untouched => false,
            Self::Async { keep: false, .. } => true,
            _ => params
                .iter()
                .any(|param| !matches!(&param.pat, Pat::Ident(pat) if pattern::is_plain(pat))),
        }
    }

    /// Whether a body that never ends could stand in for the real one, as far as the signature goes.
    pub(crate) fn body_is_free(output: &ReturnType) -> bool {
        match output {
            ReturnType::Type(_, ty) => !has_impl(ty),
            ReturnType::Default => true,
        }
    }
}

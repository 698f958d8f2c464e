//! What to expand to: the arguments and the function, checked against each other. All decisions are made here.

mod form;
mod options;
mod values;

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::{Attribute, FnArg, Ident, Pat, Path, ReceiverKind, ReturnType, Type};

use crate::args::{Args, ErrText, Name, Repeat};
use crate::diag::{Diag, nearest};
use crate::item::Function;
use crate::types::{Returned, has_impl, may_be_context, plain};
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
    pub(crate) checkpoint: Option<Repeat>,
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
#[derive(Clone)]
pub(crate) struct Recorded {
    /// The name, at the place that messages should point at.
    pub(crate) name: Ident,
    pub(crate) value: RecordedValue,
    pub(crate) cfgs: Vec<Attribute>,
    /// For `entry`: has to be read back too.
    pub(crate) read_back: bool,
}

#[derive(Clone)]
pub(crate) enum RecordedValue {
    /// A parameter by its name in the signature.
    Param(Ident),
    /// A parameter that is a reference.
    Borrowed(Ident),
    Receiver,
    /// A binding of the pattern of this parameter.
    Binding {
        param: Ident,
        pat: Box<Pat>,
        binding: Ident,
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
    /// Whether an option asks for the value, also where it cannot be a `Result`.
    pub(crate) asked: bool,
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
    Call { output: Box<Type> },
    /// An `async fn`.
    Async {
        /// `async fn` stays for the attribute macros below; else the function returns the future itself.
        keep: bool,
        /// As the signature has it.
        output: Option<Box<Type>>,
    },
    /// `-> impl Future<Output = ..>`.
    Future { output: Box<Type> },
    /// `-> Pin<Box<dyn Future<Output = ..>>>`.
    BoxedFuture {
        output: Box<Type>,
        returned: Box<Type>,
        /// The future, if the body is `Box::pin(future)` and nothing else.
        inner: Option<TokenStream>,
    },
}

impl Node {
    /// Puts arguments and function together; reports what does not fit.
    pub(crate) fn lower(args: Args, function: Function, diag: &Diag) -> Option<Self> {
        options::refuse(&function, diag);
        let returned = Returned::of(&function.sig.output);
        options::check(&args, &function, &returned, diag);
        let krate = args.krate.as_ref().map_or_else(|| quote!(::tracer), |path| quote!(#path));
        let name = node_name(&args, &function, diag);
        let (receiver, params) = take_apart(&function);
        let record = values::recorded(&args, &function, receiver, &params, diag);
        let context = context(&args, &function, &params, diag);
        let ret = values::ret(&args);
        let judge = Judge {
            asked: ret != Ret::Unrecorded || args.err.is_some() || args.fail_if.is_some(),
            text: match args.err {
                None => Text::Best,
                Some((_, ErrText::Display)) => Text::Display,
                Some((_, ErrText::Debug)) => Text::Debug,
                Some((_, ErrText::None)) => Text::None,
            },
            fail_if: args.fail_if.as_ref().map(|(_, test)| test.clone()),
        };
        let form = if args.off.is_some() { Form::Untouched } else { form::form(&function, returned, judge.asked) };
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
            checkpoint: args.checkpoint.map(|(_, repeat)| repeat),
            judge,
            form,
        })
    }
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
                    ReceiverKind::Typed(_, ty) if !matches!(plain(ty), Type::Reference(_)) => Receiver::Value,
                    _ => Receiver::Reference,
                };
            }
            FnArg::Typed(typed) => {
                let outer = match &*typed.pat {
                    Pat::Ident(pat) if pattern::is_plain(pat) => pat.ident.clone(),
                    _ => format_ident!("__arg{}", index, span = Span::mixed_site()),
                };
                let cfgs = typed.attrs.iter().filter(|attr| attr.path().is_ident("cfg")).cloned().collect();
                let lints = typed.attrs.iter().filter(|attr| is_lint(attr)).cloned().collect();
                params.push(Param { outer, pat: (*typed.pat).clone(), ty: (*typed.ty).clone(), cfgs, lints });
            }
        }
    }
    (receiver, params)
}

/// Lint levels go where the user's name is bound; what remains is for the macros below and stays in the signature.
pub(crate) fn is_lint(attr: &Attribute) -> bool {
    ["allow", "warn", "deny", "forbid", "expect", "cfg_attr"].iter().any(|lint| attr.path().is_ident(lint))
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
    let bound: Vec<String> =
        params.iter().flat_map(|param| pattern::bindings(&param.pat)).map(|b| b.to_string()).collect();
    let message = format!("`{}` has no parameter `{written}`", function.sig.ident);
    match nearest(&written.to_string(), bound.iter().map(String::as_str)) {
        Some(meant) => diag.error_with_help(
            written.span(),
            format_args!("{message}; did you mean `{meant}`?"),
            format_args!("write `ctx = {meant}`, or leave it out: the surrounding context is used"),
        ),
        None => diag.error_with_help(
            written.span(),
            message,
            format_args!(
                "add `{written}: &mut tracer::Context` to it, or leave `ctx = ..` out: the surrounding context is used"
            ),
        ),
    }
    ContextFrom::Ambient
}

impl Form {
    /// Whether rustdoc would show another signature than the user's.
    pub(crate) fn hides_signature(&self, params: &[Param]) -> bool {
        match self {
            Self::Untouched => false,
            Self::Async { keep: false, .. } => true,
            _ => params.iter().any(|param| !matches!(&param.pat, Pat::Ident(pat) if pattern::is_plain(pat))),
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

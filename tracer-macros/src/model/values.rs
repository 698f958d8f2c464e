//! Which values are recorded.

use syn::{Ident, Pat, Type};

use super::{Param, Receiver, Recorded, RecordedValue, Ret};
use crate::args::{Args, Redacted};
use crate::diag::{Diag, did_you_mean};
use crate::item::Function;
use crate::pattern;
use crate::types::{may_be_context, plain};

/// The arguments that are recorded, in the order of the list or of the parameters.
pub(super) fn recorded(
    args: &Args,
    function: &Function,
    receiver: Receiver,
    params: &[Param],
    diag: &Diag,
) -> Vec<Recorded> {
    let read_back = args.entry.is_some();
    let known: Vec<Recorded> = params.iter().flat_map(|param| of_param(param, read_back)).collect();
    let scope = Scope { function, known, diag };
    for name in args.skip.iter().filter(|name| !scope.has(name)) {
        scope.no_parameter(name, &[]);
    }
    if let (Some(first), None, None) = (args.skip.first(), &args.record, args.entry) {
        diag.error_with_help(
            first.span(),
            "nothing is recorded unless asked, so there is nothing to skip",
            "add `record` for all other arguments, or leave `skip(..)` out",
        );
    }
    let is_left_out = |name: &Ident| {
        args.skip.contains(name)
            || args.ctx.as_ref().is_some_and(|ctx| ctx == name)
            || params.iter().any(|param| may_be_context(&param.ty) && pattern::bindings(&param.pat).contains(name))
    };
    let only = args.record.as_ref().and_then(|record| record.only.as_ref());
    let listed = only.map(|only| scope.listed(only, receiver));
    if let (Some(record), Some(_), Some(_), None) = (&args.record, only, args.skip.first(), args.entry) {
        diag.error_with_help(
            record.span,
            "`record(..)` lists what is recorded, `skip(..)` what is not",
            "keep one of them",
        );
    }
    let chosen: Vec<Recorded> = match listed {
        Some(listed) if !read_back => listed,
        _ if read_back || args.record.is_some() => {
            scope.known.iter().filter(|known| !is_left_out(&known.name)).cloned().collect()
        }
        _ => Vec::new(),
    };
    for redacted in &args.redact {
        scope.check_redacted(redacted, &chosen, ret(args) != Ret::Unrecorded);
    }
    chosen
}

/// What becomes of the returned value.
pub(super) fn ret(args: &Args) -> Ret {
    if args.effect.is_some() {
        Ret::Effect
    } else if args.entry.is_some() {
        Ret::Entry
    } else if args.ret_span().is_some() {
        Ret::Recorded
    } else {
        Ret::Unrecorded
    }
}

/// The values that a parameter offers: itself, or what its pattern binds.
fn of_param(param: &Param, read_back: bool) -> Vec<Recorded> {
    let cfgs = param.cfgs.clone();
    let outer = param.outer.clone();
    match &param.pat {
        Pat::Ident(pat) if pattern::is_plain(pat) => {
            // `str` and slices are read back as what owns them.
            let (value, read_back) = match plain(&param.ty) {
                Type::Reference(it) => (RecordedValue::Borrowed(outer), read_back && !is_unsized(&it.elem)),
                _ => (RecordedValue::Param(outer), read_back),
            };
            vec![Recorded { name: pat.ident.clone(), value, cfgs, read_back }]
        }
        pat => {
            let binding = |name: Ident| {
                let value = RecordedValue::Binding {
                    param: outer.clone(),
                    pat: Box::new(pattern::only(pat, &name)),
                    binding: name.clone(),
                };
                Recorded { name, value, cfgs: cfgs.clone(), read_back }
            };
            pattern::bindings(pat).into_iter().map(binding).collect()
        }
    }
}

fn is_unsized(ty: &Type) -> bool {
    match plain(ty) {
        Type::Slice(_) => true,
        Type::Path(path) => path.path.is_ident("str"),
        _ => false,
    }
}

/// The values that names in options may mean.
struct Scope<'a> {
    function: &'a Function,
    known: Vec<Recorded>,
    diag: &'a Diag,
}

impl Scope<'_> {
    fn has(&self, name: &Ident) -> bool {
        self.known.iter().any(|known| known.name == *name)
    }

    /// The values of `record(..)`.
    fn listed(&self, only: &[Ident], receiver: Receiver) -> Vec<Recorded> {
        let mut listed = Vec::new();
        for name in only {
            if name == "self" && receiver != Receiver::None {
                let value = RecordedValue::Receiver;
                listed.push(Recorded { name: name.clone(), value, cfgs: Vec::new(), read_back: false });
            } else if self.has(name) {
                // Two parameters of one name: each is there under another `cfg`.
                let same = self.known.iter().filter(|known| known.name == *name).cloned();
                // Messages point at the word in the attribute.
                listed.extend(same.map(|known| Recorded { name: name.clone(), ..known }));
            } else if name != "ret" {
                let this: &[&str] = if receiver == Receiver::None { &["ret"] } else { &["ret", "self"] };
                self.no_parameter(name, this);
            }
        }
        listed
    }

    fn check_redacted(&self, redacted: &Redacted, chosen: &[Recorded], ret: bool) {
        let first = &redacted.first;
        if (ret && first == "ret") || chosen.iter().any(|chosen| chosen.name == *first) {
            return;
        }
        if first == "ret" || self.has(first) {
            self.diag.error_with_help(
                first.span(),
                format_args!("`{first}` is not recorded, so there is nothing to redact"),
                format_args!("record it, `record({first})`, or leave it out here"),
            );
        } else {
            self.no_parameter(first, &["ret"]);
        }
    }

    fn no_parameter(&self, name: &Ident, other: &[&str]) {
        let names: Vec<String> = self.known.iter().map(|known| known.name.to_string()).collect();
        let all = names.iter().map(String::as_str).chain(other.iter().copied());
        let message =
            format!("`{}` has no parameter `{name}`{}", self.function.sig.ident, did_you_mean(&name.to_string(), all));
        if names.is_empty() {
            self.diag.error_with_help(name.span(), message, "it has no parameters: leave the name out");
        } else {
            let listed: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            self.diag.error_with_help(name.span(), message, format_args!("its parameters are {}", listed.join(", ")));
        }
    }
}

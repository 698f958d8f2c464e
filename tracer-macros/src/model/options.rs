//! Whether the options go together, and with the function.

use syn::{FnArg, Ident, ReturnType};

use super::form::mentions;
use crate::args::{Args, Name, path_span};
use crate::diag::Diag;
use crate::item::{Function, words};
use crate::types::Returned;

/// Reports functions that no node can be.
pub(super) fn refuse(function: &Function, diag: &Diag) {
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
            diag.error_with_help(span, format_args!("`{}` is a node already", sig.ident), "keep one `#[traced_node]`");
        }
    }
}

/// Reports options that exclude each other, or that this function cannot have.
pub(super) fn check(args: &Args, function: &Function, returned: &Returned, diag: &Diag) {
    check_conflicts(args, diag);
    check_declared(args, diag);
    check_value(args, function, returned, diag);
    check_entry(args, function, diag);
    check_checkpoint(args, function, returned, diag);
    if let Some(span) = args.leave_out {
        diag.error_with_help(
            span,
            "`skip` alone leaves the function out of the trace, so nothing else can be said of it",
            "write `#[traced_node(skip)]`, or name the arguments to leave out: `skip(a)`",
        );
    }
}

fn check_conflicts(args: &Args, diag: &Diag) {
    let ctx = args.ctx.as_ref().map(Ident::span);
    let conflicts = [
        (args.root, args.fork, "fork", "root", "one goes on in the caller's trace, the other starts a new one"),
        (
            args.root,
            args.checkpoint.map(|(span, _)| span),
            "checkpoint",
            "root",
            "one keeps its result in the execution around it, the other leaves it",
        ),
        (args.root, ctx, "ctx", "root", "one goes on in a trace that is given, the other starts a new one"),
        (
            args.checkpoint.map(|(span, _)| span),
            args.entry,
            "entry",
            "checkpoint",
            "an entry is where a run begins, not a step of it",
        ),
        (args.entry, args.effect, "effect", "entry", "an entry is run again, an effect is answered from the record"),
        (args.shared, args.foreign, "extern", "shared", "an `extern` node may have several functions anyway"),
    ];
    for (first, second, a, b, why) in conflicts {
        if let (Some(_), Some(span)) = (first, second) {
            diag.error_with_help(span, format_args!("`{a}` cannot go with `{b}`: {why}"), "keep one of them");
        }
    }
}

fn check_declared(args: &Args, diag: &Diag) {
    if matches!(args.name, Some(Name::Declared(_))) {
        return;
    }
    for (span, word) in [(args.shared, "shared"), (args.foreign, "extern")] {
        if let Some(span) = span {
            diag.error_with_help(
                span,
                format_args!("`{word}` is about a declared node"),
                format_args!("name it, `#[traced_node(webhook::parse, {word})]`, or leave `{word}` out"),
            );
        }
    }
}

/// Options that look at the returned value need one, and a form that sees it.
fn check_value(args: &Args, function: &Function, returned: &Returned, diag: &Diag) {
    // What was said of all functions around is not a mistake at one of them.
    if args.each {
        return;
    }
    let options = [
        (args.effect, "effect", "answers from the record"),
        (args.fail_if.as_ref().map(|(span, _)| *span), "fail_if", "looks at what the function returns"),
        (args.err.map(|(span, _)| span), "err", "is about the error that the function returns"),
        (args.ret_span(), "record(ret)", "takes what the function returns"),
    ];
    let sig = &function.sig;
    let unit = matches!(sig.output, ReturnType::Default);
    let track_caller = function.attrs.iter().any(|attr| mentions(attr, "track_caller"));
    for (span, word, does) in options {
        let Some(span) = span else { continue };
        if track_caller {
            diag.error_with_help(
                span,
                format_args!("`{word}` cannot go with `#[track_caller]`: the body has to stay where it is"),
                format_args!("leave `{word}` out, or `#[track_caller]`"),
            );
        } else if matches!(returned, Returned::Never) || (unit && matches!(word, "err" | "record(ret)")) {
            diag.error_with_help(
                span,
                format_args!("`{word}` {does}, and `{}` returns nothing", sig.ident),
                format_args!("leave `{word}` out"),
            );
        }
    }
}

/// What is kept is awaited by somebody, and lies in a trace of somebody's.
fn check_checkpoint(args: &Args, function: &Function, returned: &Returned, diag: &Diag) {
    let Some((span, _)) = args.checkpoint else { return };
    let name = &function.sig.ident;
    let is_future =
        function.sig.asyncness.is_some() || matches!(returned, Returned::Future(_) | Returned::BoxedFuture(_));
    if !is_future {
        diag.error_with_help(
            span,
            format_args!("`checkpoint` waits for the store of the execution, and `{name}` cannot wait"),
            format_args!("make it `async fn {name}`, or put `checkpoint` on the async function that calls it"),
        );
    } else if matches!(returned, Returned::Never) {
        diag.error_with_help(
            span,
            format_args!("`checkpoint` keeps what the function returns, and `{name}` never returns"),
            "leave `checkpoint` out",
        );
    }
    if let Some(off) = args.off {
        diag.error_with_help(
            off,
            "`off` cannot go with `checkpoint`: results are kept under their places in the trace",
            "keep one of them",
        );
    }
    if cfg!(feature = "off") {
        diag.error_with_help(
            span,
            "`checkpoint` keeps results under their places in the trace, and tracing is compiled out",
            "build without the feature `off` of `tracer`",
        );
    }
}

fn check_entry(args: &Args, function: &Function, diag: &Diag) {
    let Some(span) = args.entry else { return };
    if let Some(FnArg::Receiver(_)) = function.sig.inputs.first() {
        diag.error_with_help(
            span,
            "an `entry` is called by name: it cannot take `self`",
            "make a function without `self` the entry, and call the method from it",
        );
    }
    if let Some(param) = function.sig.generics.type_params().next() {
        diag.error_with_help(
            param.ident.span(),
            "an `entry` is called by name: it cannot be generic over types",
            "make a function with concrete types the entry",
        );
    }
    if let Some(first) = args.skip.first() {
        diag.error_with_help(
            first.span(),
            "an `entry` is called again with its recorded arguments: none can be left out",
            "leave `skip(..)` out, and hide fields with `redact(..)`",
        );
    }
}

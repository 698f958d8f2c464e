//! Writes the expansion. No decisions: each form has one shape, each piece of it one reason.
//!
//! Names that the user's code must not see are hygienic (`mixed_site`). The user's own tokens keep their spans,
//! braces included, so that mistakes in a body are reported as without the attribute.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{FnArg, Pat, PatIdent, ReturnType, Type};

use crate::args::Repeat;
use crate::args::path_span;
use crate::model::{
    Claim, ContextFrom, Form, Node, NodeName, Param, Receiver, Recorded, RecordedValue, Ret, Start, Text, is_lint,
};
use crate::types::{is_infallible, result_argument, without_impl};
use crate::{name, pattern, tail};

/// Arguments that `call0` to `call8` take.
const ARGS_MAX: usize = 8;

/// The function, traced.
pub(crate) fn node(node: &Node) -> TokenStream {
    match &node.form {
        Form::Untouched => untouched(node),
        Form::InPlace => in_place(node),
        Form::Call { output } => call(node, output),
        Form::Async { keep, output } => asynchronous(node, *keep, output.as_deref()),
        Form::Future { output } => future(node, output),
        Form::BoxedFuture { output, returned, inner } => boxed_future(node, output, returned, inner.as_ref()),
    }
}

fn untouched(node: &Node) -> TokenStream {
    let claim = claim(node);
    let body = &node.function.body;
    let content = if claim.is_empty() { body.stream() } else { quote!(#claim #body) };
    function(node, &node.function.sig.to_token_stream(), &content)
}

fn in_place(node: &Node) -> TokenStream {
    let frame = Ident::new("__tracer_frame", Span::mixed_site());
    let (site, enter, body) = (site(node), enter(node, &frame), as_operand(&node.function.body));
    // Only what is read before the body needs a name of its own.
    let read = !node.record.is_empty() || !matches!(node.context, ContextFrom::Ambient);
    let (sig, bindings) = if read {
        (signature(node), bindings(node))
    } else {
        (node.function.sig.to_token_stream(), TokenStream::new())
    };
    let traced = function(node, &sig, &quote!(#site #enter #bindings #body));
    if read { with_doc(node, traced) } else { traced }
}

fn call(node: &Node, output: &Type) -> TokenStream {
    let frame = Ident::new("__tracer_frame", Span::mixed_site());
    let (site, enter) = (site(node), enter(node, &frame));
    let run = run(node, &output.to_token_stream());
    let result = Ident::new("__tracer_result", Span::mixed_site());
    let judged = outcome(node, &result, true);
    let outcome = Ident::new("__tracer_outcome", Span::mixed_site());
    // What the compiler says of a value that is none of the returned type, it says where the value is written.
    let (tail, _) = tail::spans(&node.function.body);
    let returned = Ident::new("__tracer_result", Span::mixed_site().located_at(tail));
    // The frame moves once the outcome is there: if that panics, one place drops the frame instead of two.
    let content = quote! {
        #site
        #enter
        let #result = #run;
        let #outcome = #judged;
        #frame.end(#outcome);
        #returned
    };
    with_doc(node, function(node, &signature(node), &content))
}

fn asynchronous(node: &Node, keep: bool, output: Option<&Type>) -> TokenStream {
    let krate = &node.krate;
    let returned = match output {
        // `!` has no name outside a return type on stable.
        Some(Type::Never(_)) => quote!(<fn() -> ! as #krate::__private::Returns>::Value),
        Some(ty) => ty.to_token_stream(),
        None => quote!(()),
    };
    let never = matches!(output, Some(Type::Never(_)));
    let erased = match output {
        Some(Type::Never(_)) | None => returned.clone(),
        Some(ty) => without_impl(ty.clone()).to_token_stream(),
    };
    let edge = if never { TokenStream::new() } else { edge(node, &erased) };
    let receiver = whole_receiver(node);
    let (bindings, body) = (bindings(node), as_operand(&node.function.body));
    let future = quote!(async move { #receiver #bindings #edge #body });
    let future = checkpointed(node, future, &erased);
    let judged = output.filter(|ty| node.judge.asked || !is_infallible(ty)).map(|_| &erased);
    let traced = traced(node, &future, judged);
    let site = site(node);
    if keep {
        return with_doc(node, function(node, &signature(node), &quote!(#site #traced.await)));
    }
    // In the crate of the macro's edition, so that every lifetime in scope is captured, as `async fn` does.
    let output = quote!(impl ::core::future::Future<Output = #returned>);
    let mut sig = node.function.sig.clone();
    sig.asyncness = None;
    sig.output = ReturnType::Default;
    let sig = signature_of(node, sig, Some(&output));
    // `async fn` may say `#[must_use]`; a function that returns a future says it twice.
    let must_use = node.function.attrs.iter().any(|attr| attr.path().is_ident("must_use"));
    let twice = must_use.then(|| quote!(#[allow(clippy::double_must_use)]));
    let function = function(node, &sig, &quote!(#site #traced));
    with_doc(node, quote!(#twice #function))
}

fn future(node: &Node, output: &Type) -> TokenStream {
    let (site, run) = (site(node), run(node, &quote!(_)));
    let output = without_impl(output.clone()).to_token_stream();
    let run = checkpointed(node, run, &output);
    let traced = traced(node, &run, Some(&output));
    with_doc(node, function(node, &signature(node), &quote!(#site #traced)))
}

fn boxed_future(node: &Node, output: &Type, returned: &Type, inner: Option<&TokenStream>) -> TokenStream {
    let krate = &node.krate;
    let site = site(node);
    let output = without_impl(output.clone()).to_token_stream();
    let boxed = quote!(#krate::__private::Box::pin);
    if let Some(inner) = inner {
        let traced = traced(node, &checkpointed(node, inner.clone(), &output), Some(&output));
        return function(node, &node.function.sig.to_token_stream(), &quote!(#site #boxed(#traced)));
    }
    let run = checkpointed(node, run(node, &returned.to_token_stream()), &output);
    let traced = traced(node, &run, Some(&output));
    with_doc(node, function(node, &signature(node), &quote!(#site #boxed(#traced))))
}

/// Attributes, signature and body.
fn function(node: &Node, sig: &TokenStream, content: &TokenStream) -> TokenStream {
    let function = &node.function;
    let (attrs, qualifiers, inner) = (&function.attrs, &function.qualifiers, &function.inner_attrs);
    let mut body = Group::new(Delimiter::Brace, quote!(#inner #content));
    // With equal spans of this block and the user's, a missing tail expression is reported at the return type.
    body.set_span(function.body.span());
    quote!(#(#attrs)* #qualifiers #sig #body)
}

/// Beside a function whose signature had to change: the signature as written, for rustdoc only.
fn with_doc(node: &Node, traced: TokenStream) -> TokenStream {
    if !node.form.hides_signature(&node.params) {
        return traced;
    }
    let function = &node.function;
    let (attrs, qualifiers, sig) = (&function.attrs, &function.qualifiers, &function.sig);
    let body = if Form::body_is_free(&sig.output) {
        quote!({ loop {} })
    } else {
        let (inner, body) = (&function.inner_attrs, function.body.stream());
        quote!({ #inner #body })
    };
    quote! {
        #[cfg(doc)]
        #(#attrs)* #qualifiers #sig #body
        #[cfg(not(doc))]
        #traced
    }
}

/// The signature with parameters that can be handed on.
fn signature(node: &Node) -> TokenStream {
    signature_of(node, node.function.sig.clone(), None)
}

fn signature_of(node: &Node, mut sig: syn::Signature, output: Option<&TokenStream>) -> TokenStream {
    let typed = sig.inputs.iter_mut().filter_map(|input| match input {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    });
    for (typed, param) in typed.zip(&node.params) {
        typed.attrs.retain(|attr| !is_lint(attr));
        let ident = param.outer.clone();
        *typed.pat = Pat::Ident(PatIdent { attrs: Vec::new(), by_ref: None, mutability: None, ident, subpat: None });
    }
    let Some(output) = output else { return sig.to_token_stream() };
    let clause = sig.generics.where_clause.take();
    quote!(#sig -> #output #clause)
}

/// The one static of a function, and its claim to be a declared node.
fn site(node: &Node) -> TokenStream {
    let krate = &node.krate;
    let claim = claim(node);
    let written = quote!(::core::module_path!(), ::core::file!(), ::core::line!());
    let (new, place) = match &node.name {
        NodeName::Literal(name) => {
            let hash = name::hash(name);
            (quote!(hashed(#name, #hash, #written)), TokenStream::new())
        }
        NodeName::Declared { .. } => (quote!(new(__TRACER_NODE.name, #written)), quote!(.in_flow(__TRACER_NODE.place))),
    };
    let start = match node.start {
        Start::Call => TokenStream::new(),
        Start::Root => quote!(.root()),
        Start::Fork => quote!(.fork()),
    };
    let source = node.source.as_ref().map(|source| quote!(.source(#source)));
    let redact = (!node.redact.is_empty()).then(|| {
        let paths = &node.redact;
        quote!(.redact(&[#(#paths),*]))
    });
    quote! {
        #claim
        static __TRACER_SITE: #krate::__private::Site = #krate::__private::Site::#new #place #start #source #redact;
    }
}

fn claim(node: &Node) -> TokenStream {
    let krate = &node.krate;
    let NodeName::Declared { path, claim } = &node.name else { return TokenStream::new() };
    // The user's place, but not the user's hygiene: editors look only at tokens that the user wrote.
    let at = Span::mixed_site().located_at(path_span(path));
    let private = quote_spanned!(at=> #krate::__private);
    let info = quote_spanned!(at=> <#path as #private::Node>::NODE);
    let implementation = |name: &str| {
        let name = Ident::new(name, at);
        quote_spanned!(at=> #[allow(non_local_definitions)] impl #private::#name for #path {})
    };
    let claim = match claim {
        Claim::One => implementation("OneFunctionPerNode"),
        Claim::Shared => quote_spanned!(at=> const _: () = <#path as #private::SharedNode>::IS;),
        Claim::Foreign => quote_spanned!(at=> const _: () = <#path as #private::OpenNode>::IS;),
    };
    quote! {
        #claim
        const __TRACER_NODE: #krate::__private::NodeInfo = #info;
    }
}

/// Makes the frame of the call.
fn enter(node: &Node, frame: &Ident) -> TokenStream {
    let krate = &node.krate;
    let entered = if node.record.is_empty() && matches!(node.context, ContextFrom::Ambient) {
        quote!(enter(&__TRACER_SITE))
    } else {
        let (at, values) = (context(node), values(node));
        quote!(enter_with(&__TRACER_SITE, #at, #values))
    };
    // Entered where it lies: giving it back from a function costs a copy.
    quote!(let mut #frame = #krate::__private::OpenFrame::new(); #frame.#entered;)
}

/// The call of `traced`, which gives the future to return or to await.
fn traced(node: &Node, future: &TokenStream, output: Option<&TokenStream>) -> TokenStream {
    let krate = &node.krate;
    let (at, values) = (context(node), values(node));
    let result = Ident::new("__tracer_result", Span::mixed_site());
    let judge = if let Some(output) = output {
        let outcome = outcome(node, &result, false);
        quote!(|#result: &#output| #outcome)
    } else {
        quote!(|_| #krate::__private::Outcome::ok())
    };
    // A mistake with the lifetime of the returned value is reported where the future is made: let that be where the
    // value is.
    let (first, last) = tail::spans(&node.function.body);
    let arguments = |content: TokenStream| {
        let mut arguments = Group::new(Delimiter::Parenthesis, content);
        // Of the same hygiene as the path before: spans of two kinds are not joined.
        arguments.set_span(Span::call_site().located_at(last));
        arguments
    };
    let private = tail::located(quote!(#krate::__private), first);
    if matches!(node.context, ContextFrom::Ambient) {
        let arguments = arguments(quote!(&__TRACER_SITE, #at, #values, #future, #judge));
        quote!(#private::traced #arguments)
    } else {
        // A context moves into the future, so what is needed of it has to be read before.
        let arguments = arguments(quote!(#future, #judge));
        quote!(#private::prepare(&__TRACER_SITE, #at, #values).traced #arguments)
    }
}

/// The future, kept as a checkpoint of the execution around it if asked.
fn checkpointed(node: &Node, future: TokenStream, output: &TokenStream) -> TokenStream {
    let krate = &node.krate;
    let private = quote!(#krate::__private);
    let repeat = match node.checkpoint {
        None => return future,
        Some(Repeat::AtLeastOnce) => quote!(AtLeastOnce),
        Some(Repeat::AtMostOnce) => quote!(AtMostOnce),
    };
    let at = Span::mixed_site().located_at(output_span(node, 0));
    let kept = Ident::new("__tracer_kept", at);
    let codec = quote_spanned!(at=> #kept.codec());
    quote! {
        #private::checkpointed(
            &__TRACER_SITE,
            #private::Repeat::#repeat,
            {
                #[allow(unused_imports)]
                use #private::AnyOutput as _;
                let #kept = #private::OutputProbe::<#output>::new().__tracer_kept();
                #codec
            },
            #future,
        )
    }
}

fn context(node: &Node) -> TokenStream {
    let krate = &node.krate;
    match &node.context {
        ContextFrom::Ambient => quote!(::core::option::Option::None),
        ContextFrom::Probed(params) => {
            let probes = params.iter().map(|param| quote!(#krate::__private::ContextProbe(&#param).__tracer_context()));
            let probes = probes.reduce(|first, next| quote!(#first.or(#next)));
            quote!({
                #[allow(unused_imports)]
                use #krate::__private::NoContext as _;
                #probes
            })
        }
        ContextFrom::Demanded { param, written } => {
            let at = Span::mixed_site().located_at(*written);
            let mut param = param.clone();
            param.set_span(param.span().located_at(*written));
            quote_spanned!(at=> #krate::__private::Carries::context(&#param))
        }
    }
}

fn values(node: &Node) -> TokenStream {
    let krate = &node.krate;
    if node.record.is_empty() {
        return quote!(#krate::__private::Recorded::none());
    }
    let values = Ident::new("__tracer_values", Span::mixed_site());
    let fields = node.record.iter().map(|recorded| field(node, recorded, &values));
    quote!(#krate::__private::values(&__TRACER_SITE, |#values| { #(#fields)* }))
}

fn field(node: &Node, recorded: &Recorded, values: &Ident) -> TokenStream {
    let krate = &node.krate;
    let Recorded { name, value, cfgs, read_back } = recorded;
    let at = Span::mixed_site().located_at(name.span());
    let text = syn::ext::IdentExt::unraw(name).to_string();
    let bound = Ident::new(if *read_back { "EntryArgument" } else { "RecordArgument" }, at);
    let record = quote_spanned!(at=> #krate::__private::#bound::record);
    let point = |ident: &Ident| {
        let mut ident = ident.clone();
        ident.set_span(ident.span().located_at(name.span()));
        ident
    };
    let field = match value {
        RecordedValue::Param(param) => {
            let param = point(param);
            quote_spanned!(at=> #record(&#param, #text, #values);)
        }
        RecordedValue::Borrowed(param) => {
            let param = point(param);
            quote_spanned!(at=> #record(&*#param, #text, #values);)
        }
        RecordedValue::Receiver => {
            let this = receiver(node).map(|this| point(&this));
            quote_spanned!(at=> #record(&#this, #text, #values);)
        }
        RecordedValue::Binding { param, pat, binding } => {
            let binding = point(binding);
            quote_spanned!(at=> match &#param { #pat => #record(#binding, #text, #values) })
        }
    };
    // What the user does not use, and said so, is used here.
    let unused = text.starts_with('_').then(|| quote!(#[allow(clippy::used_underscore_binding)]));
    quote!(#(#cfgs)* #unused { #field })
}

/// The outcome that `result` stands for: the returned value if `owned`, else a reference to it.
fn outcome(node: &Node, result: &Ident, owned: bool) -> TokenStream {
    let krate = &node.krate;
    let private = quote!(#krate::__private);
    let output = output_span(node, usize::from(node.judge.text != Text::Best));
    let at = Span::mixed_site().located_at(output);
    let located = Ident::new(&result.to_string(), at);
    let (located, result) =
        if owned { (quote_spanned!(at=> &#located), quote!(&#result)) } else { (quote!(#located), quote!(#result)) };
    let judged = match node.judge.text {
        Text::Best => quote!({
            use #private::Judge as _;
            (&&&&&&#private::Probe(#result)).__tracer_outcome()
        }),
        Text::None => quote!({
            use #private::JudgeWithoutText as _;
            (&&#private::Probe(#result)).__tracer_outcome_without_text()
        }),
        Text::Display => quote_spanned!(at=> #private::DisplayErr::__tracer_outcome(#located)),
        Text::Debug => quote_spanned!(at=> #private::DebugErr::__tracer_outcome(#located)),
    };
    let judged = match &node.judge.fail_if {
        Some(test) => {
            quote!(#private::judged(#result, #private::fails(#result, #test), || #judged))
        }
        None => judged,
    };
    let at = Span::mixed_site().located_at(output_span(node, 0));
    let bound = match node.ret {
        Ret::Unrecorded => return judged,
        Ret::Recorded => Ident::new("RecordReturn", at),
        Ret::Entry => Ident::new("EntryOutput", at),
        Ret::Effect => Ident::new("EffectOutput", at),
    };
    let values = Ident::new("__tracer_values", Span::mixed_site());
    let value = Ident::new("__tracer_value", at);
    let record = quote_spanned!(at=> #private::#bound::record(#value, #values));
    quote! {
        #judged.with_value(#private::values(&__TRACER_SITE, |#values| {
            #[allow(unused_imports)]
            use #private::AnyReturn as _;
            if let ::core::option::Option::Some(#value) = #private::ReturnProbe(#result).__tracer_success() {
                #record;
            }
        }))
    }
}

/// Where the return type is written; of a `Result`, where its `index`th argument is.
fn output_span(node: &Node, index: usize) -> Span {
    match &node.function.sig.output {
        ReturnType::Type(_, ty) => result_argument(ty, index).unwrap_or_else(|| ty.span()),
        ReturnType::Default => node.function.sig.ident.span(),
    }
}

/// Runs the body as a closure that is called once, on the arguments.
fn run(node: &Node, output: &TokenStream) -> TokenStream {
    let krate = &node.krate;
    let params = &node.params;
    let body = &node.function.body;
    let call = |count: usize| format_ident!("call{count}");
    // What the compiler says of the closure, it says of the function.
    let at = Span::mixed_site().located_at(node.function.sig.fn_token.span);
    let receiver = (node.receiver == Receiver::Value).then(|| whole_receiver(node));
    // Parameters that may not be there cannot be arguments, and there are only so many `call`s.
    if params.len() > ARGS_MAX || params.iter().any(|param| !param.cfgs.is_empty()) {
        let (call, bindings, body) = (call(0), bindings(node), as_operand(body));
        let open = quote_spanned!(at=> move || ->);
        return quote!(#krate::__private::#call(#open #output { #receiver #bindings #body }));
    }
    let call = call(params.len());
    let outer = params.iter().map(|param| &param.outer);
    let inner = params.iter().map(|Param { lints, pat, .. }| quote!(#(#lints)* #pat));
    let body = match receiver {
        None => body.clone(),
        Some(receiver) => {
            let content = body.stream();
            let mut with_receiver = Group::new(Delimiter::Brace, quote!(#receiver #content));
            with_receiver.set_span(body.span());
            with_receiver
        }
    };
    let (open, close) = (quote_spanned!(at=> move |), quote_spanned!(at=> | ->));
    quote!(#krate::__private::#call(#(#outer,)* #open #(#inner),* #close #output #body))
}

/// The `self` of the signature: another one would not be seen by a body that a macro made.
fn receiver(node: &Node) -> Option<Ident> {
    node.function.sig.receiver().map(|receiver| Ident::new("self", receiver.self_token.span))
}

/// Captures the whole of `self`, also when the body takes one field or none: its drop stays where it was.
fn whole_receiver(node: &Node) -> Option<TokenStream> {
    receiver(node).map(|this| quote!(let _ = &#this;))
}

/// `let`s that give the parameters back their patterns, in an order that keeps their drops in order.
fn bindings(node: &Node) -> TokenStream {
    let binding = |param: &Param| {
        let Param { outer, pat, cfgs, lints, .. } = param;
        // What a pattern leaves unbound is dropped with its parameter, so the parameter has to move too.
        let whole = (!matches!(pat, Pat::Ident(_))).then(|| quote!(#(#cfgs)* let #outer = #outer;));
        let unused =
            pattern::starts_with_underscore(pat).then(|| quote!(#[allow(clippy::no_effect_underscore_binding)]));
        let bind = (!matches!(pat, Pat::Wild(_))).then(|| quote!(#(#cfgs)* #(#lints)* #unused let #pat = #outer;));
        quote!(#whole #bind)
    };
    node.params.iter().map(binding).collect()
}

/// The body as the arm of a match: its temporaries are dropped before what the parameters became, as in a function.
fn as_operand(body: &Group) -> TokenStream {
    quote!(match () { () => #body })
}

/// A return that never happens. It tells the compiler the type of an async block, for the sake of `?` and coercions.
///
/// It lies where the return type is written: the compiler says of other returns that this one decided.
fn edge(node: &Node, output: &TokenStream) -> TokenStream {
    let at = Span::mixed_site().located_at(output_span(node, 0));
    let value = Ident::new("__tracer_value", at);
    quote_spanned! {at=>
        if let ::core::option::Option::Some(#value) = ::core::option::Option::None::<#output> {
            return #value;
        }
    }
}

//! What a return type says, as far as its tokens tell: the macro sees no types.

use proc_macro2::Span;
use syn::punctuated::Punctuated;
use syn::{GenericArgument, PathArguments, ReturnType, Token, Type, TypeParamBound};

/// What a call of the function gives back.
pub(crate) enum Returned {
    /// A value that cannot be a `Result`, or none at all: its call needs no judging.
    Infallible,
    /// `!`.
    Never,
    /// Any other value.
    Value,
    /// `impl Future<Output = ..>`.
    Future(Box<Type>),
    /// `Pin<Box<dyn Future<Output = ..>>>`.
    BoxedFuture(Box<Type>),
}

impl Returned {
    pub(crate) fn of(output: &ReturnType) -> Self {
        let ReturnType::Type(_, ty) = output else { return Self::Infallible };
        if is_infallible(ty) {
            return Self::Infallible;
        }
        match plain(ty) {
            Type::Never(_) => Self::Never,
            Type::ImplTrait(ty) => future_output(&ty.bounds).map_or(Self::Value, Self::Future),
            Type::Path(path) if path.qself.is_none() => boxed_output(ty).map_or(Self::Value, Self::BoxedFuture),
            _ => Self::Value,
        }
    }
}

const PRIMITIVES: [&str; 16] = [
    "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128",
    "usize",
];

/// Whether the type cannot be a `Result`, whatever is in scope: its tokens are not a name, or that of a primitive.
pub(crate) fn is_infallible(ty: &Type) -> bool {
    match plain(ty) {
        Type::Tuple(_) | Type::Array(_) | Type::Reference(_) | Type::Ptr(_) | Type::FnPtr(_) => true,
        Type::Path(path) => path.path.get_ident().is_some_and(|name| PRIMITIVES.iter().any(|known| name == known)),
        _ => false,
    }
}

/// A type without the parentheses and invisible delimiters around it.
pub(crate) fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => plain(&group.elem),
        Type::Paren(paren) => plain(&paren.elem),
        other => other,
    }
}

/// The output, if the bounds are those of a future that may be wrapped: one more trait would be lost on the way.
fn future_output(bounds: &Punctuated<TypeParamBound, Token![+]>) -> Option<Box<Type>> {
    let mut output = None;
    for bound in bounds {
        let TypeParamBound::Trait(bound) = bound else { continue };
        let last = bound.path.segments.last()?;
        match last.ident.to_string().as_str() {
            "Send" | "Sync" | "Unpin" => {}
            "Future" => {
                let PathArguments::AngleBracketed(args) = &last.arguments else { return None };
                output = args.args.iter().find_map(|arg| match arg {
                    GenericArgument::AssocType(assoc) if assoc.ident == "Output" => Some(Box::new(assoc.ty.clone())),
                    _ => None,
                });
            }
            _ => return None,
        }
    }
    output
}

/// The output of `Pin<Box<dyn Future<..>>>` and of the aliases that the futures crates have for it.
fn boxed_output(ty: &Type) -> Option<Box<Type>> {
    let Type::Path(path) = plain(ty) else { return None };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(args) = &last.arguments else { return None };
    let first = args.args.iter().find_map(|arg| match arg {
        GenericArgument::Type(ty) => Some(plain(ty)),
        _ => None,
    })?;
    match last.ident.to_string().as_str() {
        "BoxFuture" | "LocalBoxFuture" => Some(Box::new(first.clone())),
        "Pin" => {
            let Type::Path(path) = first else { return None };
            let last = path.path.segments.last().filter(|last| last.ident == "Box")?;
            let PathArguments::AngleBracketed(args) = &last.arguments else { return None };
            match (args.args.first()?, args.args.len()) {
                (GenericArgument::Type(ty), 1) => match plain(ty) {
                    Type::TraitObject(object) => future_output(&object.bounds),
                    _ => None,
                },
                _ => None,
            }
        }
        _ => None,
    }
}

/// The type with `_` for every `impl Trait`, which only a signature may say.
pub(crate) fn without_impl(mut ty: Type) -> Type {
    erase(&mut ty);
    ty
}

/// Whether an `impl Trait` is in it.
pub(crate) fn has_impl(ty: &Type) -> bool {
    erase(&mut ty.clone())
}

fn erase(ty: &mut Type) -> bool {
    match ty {
        Type::ImplTrait(it) => {
            let span: Span = it.impl_token.span;
            *ty = Type::Infer(syn::parse_quote_spanned!(span=> _));
            true
        }
        Type::Group(it) => erase(&mut it.elem),
        Type::Paren(it) => erase(&mut it.elem),
        Type::Reference(it) => erase(&mut it.elem),
        Type::Array(it) => erase(&mut it.elem),
        Type::Slice(it) => erase(&mut it.elem),
        Type::Ptr(it) => erase(&mut it.elem),
        Type::Tuple(it) => it.elems.iter_mut().map(erase).filter(|&found| found).count() > 0,
        Type::Path(it) => {
            let mut found = false;
            for segment in &mut it.path.segments {
                if let PathArguments::AngleBracketed(args) = &mut segment.arguments {
                    for arg in &mut args.args {
                        found |= match arg {
                            GenericArgument::Type(ty) => erase(ty),
                            GenericArgument::AssocType(assoc) => erase(&mut assoc.ty),
                            _ => false,
                        };
                    }
                }
            }
            found
        }
        Type::TraitObject(it) => {
            let mut found = false;
            for bound in &mut it.bounds {
                let TypeParamBound::Trait(bound) = bound else { continue };
                for segment in &mut bound.path.segments {
                    let PathArguments::AngleBracketed(args) = &mut segment.arguments else {
                        continue;
                    };
                    for arg in &mut args.args {
                        if let GenericArgument::Type(ty) = arg {
                            found |= erase(ty);
                        }
                    }
                }
            }
            found
        }
        _ => false,
    }
}

/// A parameter type whose last word is `Context`, through references: ours perhaps.
pub(crate) fn may_be_context(ty: &Type) -> bool {
    match plain(ty) {
        Type::Reference(reference) => may_be_context(&reference.elem),
        Type::Path(path) => path
            .path
            .segments
            .last()
            .is_some_and(|last| last.ident == "Context" && matches!(last.arguments, PathArguments::None)),
        _ => false,
    }
}

/// Where the argument of a `Result<T, E>` is written.
pub(crate) fn result_argument(ty: &Type, index: usize) -> Option<Span> {
    let Type::Path(path) = plain(ty) else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Result")?;
    let PathArguments::AngleBracketed(args) = &last.arguments else { return None };
    args.args.iter().nth(index).map(syn::spanned::Spanned::span)
}

//! Patterns of parameters.

use syn::{Ident, Pat, PatIdent};

/// A name, perhaps `mut`: what a signature can keep.
pub(crate) fn is_plain(pat: &PatIdent) -> bool {
    pat.by_ref.is_none() && pat.subpat.is_none() && !pat.ident.to_string().starts_with('_')
}

/// A name like `_unused`.
pub(crate) fn starts_with_underscore(pat: &Pat) -> bool {
    matches!(pat, Pat::Ident(pat) if pat.ident.to_string().starts_with('_'))
}

/// The names that the pattern binds, in order.
pub(crate) fn bindings(pat: &Pat) -> Vec<Ident> {
    let mut names = Vec::new();
    // A copy is walked: the walk below is the one that changes patterns.
    walk(&mut pat.clone(), &mut |pat| {
        if let Pat::Ident(pat) = pat {
            names.push(pat.ident.clone());
        }
    });
    names
}

/// The pattern that binds `name` by reference and nothing else, for matching on a reference.
pub(crate) fn only(pat: &Pat, name: &Ident) -> Pat {
    let mut pat = pat.clone();
    walk(&mut pat, &mut |pat| {
        while let Pat::Reference(reference) = pat {
            *pat = (*reference.pat).clone();
        }
        if let Pat::Ident(binding) = pat {
            if binding.ident == *name {
                binding.by_ref = None;
                binding.mutability = None;
                binding.subpat = None;
            } else if let Some((_, inner)) = binding.subpat.take() {
                *pat = *inner;
            } else {
                *pat = syn::parse_quote!(_);
            }
        }
    });
    pat
}

fn walk(pat: &mut Pat, visit: &mut impl FnMut(&mut Pat)) {
    visit(pat);
    match pat {
        Pat::Ident(it) => {
            if let Some((_, inner)) = &mut it.subpat {
                walk(inner, visit);
            }
        }
        Pat::Paren(it) => walk(&mut it.pat, visit),
        Pat::Reference(it) => walk(&mut it.pat, visit),
        Pat::Type(it) => walk(&mut it.pat, visit),
        Pat::Slice(it) => it.elems.iter_mut().for_each(|pat| walk(pat, visit)),
        Pat::Tuple(it) => it.elems.iter_mut().for_each(|pat| walk(pat, visit)),
        Pat::TupleStruct(it) => it.elems.iter_mut().for_each(|pat| walk(pat, visit)),
        Pat::Struct(it) => {
            for field in &mut it.fields {
                walk(&mut field.pat, visit);
                // `{ name }` has to become `{ name: _ }` once its pattern is another.
                if field.colon_token.is_none() && !matches!(*field.pat, Pat::Ident(_)) {
                    field.colon_token = Some(syn::token::Colon::default());
                }
            }
        }
        _ => {}
    }
}

//! Enters a function, and runs its body, written as a closure, on the function's arguments.
//!
//! Two things depend on the calls being functions with an `FnOnce` parameter. The closure may return what its captures
//! lend (`fn(&mut self) -> &mut T`), which a closure called in place may not. And its parameters are dropped as the
//! function's own would be: after the temporaries of the tail expression, in every edition.

macro_rules! calls {
    ($($name:ident($($arg:ident: $ty:ident),*);)*) => {$(
        #[allow(clippy::too_many_arguments, reason = "as many as the function has")]
        #[inline(always)]
        #[allow(clippy::inline_always, reason = "one call of a closure that has no other caller")]
        pub fn $name<$($ty,)* R>($($arg: $ty,)* body: impl FnOnce($($ty),*) -> R) -> R {
            body($($arg),*)
        }
    )*};
}

calls! {
    call0();
    call1(a: A);
    call2(a: A, b: B);
    call3(a: A, b: B, c: C);
    call4(a: A, b: B, c: C, d: D);
    call5(a: A, b: B, c: C, d: D, e: E);
    call6(a: A, b: B, c: C, d: D, e: E, f: F);
    call7(a: A, b: B, c: C, d: D, e: E, f: F, g: G);
    call8(a: A, b: B, c: C, d: D, e: E, f: F, g: G, h: H);
}

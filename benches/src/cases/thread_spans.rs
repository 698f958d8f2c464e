//! fastrace and minitrace, which it descends from: one interface, so one text for both.

use super::Case;

macro_rules! cases_of {
    ($library:ident, $records:ty) => {
        mod $library {
            use super::super::{Case, Group, below, in_roots};
            #[cfg(not(feature = "off"))]
            use crate::work::{Order, order};
            use crate::work::{Suspension, block_on, step};
            use $library::collector::{Config, Reporter, SpanContext};
            use $library::{Span, trace};

            struct Nowhere;

            impl Reporter for Nowhere {
                fn report(&mut self, _: $records) {}
            }

            fn report() {
                $library::set_reporter(Nowhere, Config::default());
            }

            #[cfg(not(feature = "off"))]
            pub(super) fn cases() -> Vec<Case> {
                let cases = [
                    Case::new(Group::Sync, concat!(stringify!($library), ", 1000 nodes a root"), |n| {
                        in_roots(n, 1000, batch)
                    }),
                    Case::new(Group::Sync, concat!(stringify!($library), ", 100 nodes a root"), |n| {
                        in_roots(n, 100, batch)
                    }),
                    Case::new(Group::Sync, concat!(stringify!($library), ", 10 nodes a root"), |n| {
                        in_roots(n, 10, batch)
                    }),
                    Case::new(Group::Async, concat!(stringify!($library), ", 1000 nodes a root"), |n| {
                        in_roots(n, 1000, batch_of_futures)
                    }),
                    Case::new(Group::Recorded, concat!(stringify!($library), ", property by Debug"), |n| {
                        let order = order();
                        in_roots(n, 1000, |nodes| batch_of_orders(nodes, &order));
                    }),
                ];
                cases.map(|case| case.prepared(report).flushed($library::flush)).to_vec()
            }

            #[cfg(feature = "off")]
            pub(super) fn cases() -> Vec<Case> {
                vec![
                    Case::new(Group::Off, concat!(stringify!($library), ", compiled out"), |n| {
                        in_roots(n, 1000, batch)
                    })
                    .prepared(report),
                    Case::new(Group::Off, concat!(stringify!($library), ", compiled out, async"), |n| {
                        in_roots(n, 1000, batch_of_futures)
                    })
                    .prepared(report),
                ]
            }

            #[inline(never)]
            fn batch(nodes: u64) -> u64 {
                let root = Span::root("root", SpanContext::random());
                let _parent = root.set_local_parent();
                below(nodes, leaf)
            }

            #[inline(never)]
            #[trace]
            fn leaf(x: u64) -> u64 {
                step(x)
            }

            #[inline(never)]
            fn batch_of_futures(nodes: u64) -> u64 {
                let root = Span::root("root", SpanContext::random());
                let _parent = root.set_local_parent();
                below(nodes, |x| block_on(future(x)))
            }

            #[trace]
            async fn future(x: u64) -> u64 {
                Suspension::default().await;
                step(x)
            }

            #[cfg(not(feature = "off"))]
            #[inline(never)]
            fn batch_of_orders(nodes: u64, order: &Order) -> u64 {
                let root = Span::root("root", SpanContext::random());
                let _parent = root.set_local_parent();
                below(nodes, |_| with_order(order))
            }

            #[cfg(not(feature = "off"))]
            #[inline(never)]
            #[trace(properties = { "order": "{order:?}" })]
            fn with_order(order: &Order) -> u64 {
                step(order.id)
            }
        }
    };
}

cases_of!(fastrace, Vec<fastrace::collector::SpanRecord>);
cases_of!(minitrace, &[minitrace::collector::SpanRecord]);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = fastrace::cases();
    cases.extend(minitrace::cases());
    cases
}

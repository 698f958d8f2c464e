//! `flow!`, and functions that are its nodes.

use expect_test::expect;

use super::{check, check_flow};

#[test]
fn a_flow_is_a_module_of_nodes_and_a_table() {
    check_flow(
        "/// Docs.\npub webhook { parse -> send; parse !> reject; send ~> send; }",
        &expect![[r#"
            /// Docs.
            #[allow(non_camel_case_types, dead_code, unreachable_pub, clippy::pub_use)]
            pub mod webhook {
                ///Node `parse` of flow `webhook`. After it: `send`, `reject`.
                pub struct parse;
                ///Node `send` of flow `webhook`. Before it: `parse`, `send`. After it: `send`.
                pub struct send;
                ///Node `reject` of flow `webhook`. Before it: `parse`.
                pub struct reject;
            }
            const _: () = {
                static __TRACER_FLOW: ::tracer::__private::FlowTable = ::tracer::__private::FlowTable {
                    name: "webhook",
                    nodes: &["parse", "send", "reject"],
                    words: 1usize,
                    then: &[2u64, 2u64, 0u64],
                    after_error: &[4u64, 2u64, 0u64],
                    entry: &[1u64],
                };
                impl ::tracer::__private::Declared for webhook::parse {
                    const NODE: ::tracer::__private::NodeInfo = ::tracer::__private::NodeInfo {
                        name: "parse",
                        place: ::tracer::__private::FlowNode {
                            flow: &__TRACER_FLOW,
                            index: 0u16,
                        },
                    };
                }
                impl ::tracer::__private::Declared for webhook::send {
                    const NODE: ::tracer::__private::NodeInfo = ::tracer::__private::NodeInfo {
                        name: "send",
                        place: ::tracer::__private::FlowNode {
                            flow: &__TRACER_FLOW,
                            index: 1u16,
                        },
                    };
                }
                impl ::tracer::__private::Declared for webhook::reject {
                    const NODE: ::tracer::__private::NodeInfo = ::tracer::__private::NodeInfo {
                        name: "reject",
                        place: ::tracer::__private::FlowNode {
                            flow: &__TRACER_FLOW,
                            index: 2u16,
                        },
                    };
                }
            };
            const _: () = <webhook::parse as ::tracer::__private::Claimed>::BY_ONE_FUNCTION;
            const _: () = <webhook::send as ::tracer::__private::Claimed>::BY_ONE_FUNCTION;
            const _: () = <webhook::reject as ::tracer::__private::Claimed>::BY_ONE_FUNCTION;
        "#]],
    );
}

#[test]
fn a_partial_flow_warns_of_what_is_missing() {
    check_flow(
        "partial webhook { parse; }",
        &expect![[r##"
        #[allow(non_camel_case_types, dead_code, unreachable_pub, clippy::pub_use)]
        mod webhook {
            ///Node `parse` of flow `webhook`.
            pub struct parse;
        }
        const _: () = {
            static __TRACER_FLOW: ::tracer::__private::FlowTable = ::tracer::__private::FlowTable {
                name: "webhook",
                nodes: &["parse"],
                words: 1usize,
                then: &[18446744073709551615u64],
                after_error: &[18446744073709551615u64],
                entry: &[18446744073709551615u64],
            };
            impl ::tracer::__private::Declared for webhook::parse {
                const NODE: ::tracer::__private::NodeInfo = ::tracer::__private::NodeInfo {
                    name: "parse",
                    place: ::tracer::__private::FlowNode {
                        flow: &__TRACER_FLOW,
                        index: 0u16,
                    },
                };
            }
        };
        const _: () = {
            struct Node<N>(::core::marker::PhantomData<N>);
            #[allow(dead_code)]
            impl<N: ::tracer::__private::OneFunctionPerNode> Node<N> {
                fn unclaimed() {}
            }
            trait Missing {
                #[deprecated(
                    note = "node `webhook::parse` is declared, but no function in this crate is it"
                )]
                fn unclaimed() {}
            }
            impl<N> Missing for Node<N> {}
            #[allow(dead_code)]
            fn ask() {
                Node::<webhook::parse>::unclaimed();
            }
        };
    "##]],
    );
}

#[test]
fn a_declared_node_is_claimed_in_the_body() {
    check(
        r#"webhook::validate, root, source = "hook""#,
        r#"fn validate() {}"#,
        &expect![[r#"
            fn validate() {
                #[allow(non_local_definitions)]
                impl ::tracer::__private::OneFunctionPerNode for webhook::validate {}
                const __TRACER_NODE: ::tracer::__private::NodeInfo = <webhook::validate as ::tracer::__private::Node>::NODE;
                static __TRACER_SITE: ::tracer::__private::Site = ::tracer::__private::Site::new(
                        __TRACER_NODE.name,
                        ::core::module_path!(),
                        ::core::file!(),
                        ::core::line!(),
                    )
                    .in_flow(__TRACER_NODE.place)
                    .root()
                    .source("hook");
                let mut __tracer_frame = ::tracer::__private::OpenFrame::new();
                __tracer_frame.enter(&__TRACER_SITE);
                match () {
                    () => {}
                }
            }
        "#]],
    );
}

//! What the options do when a program runs. Those about values and texts are in `values` and `errors`.

use renamed::test::record;
use renamed::{Cause, assert_trace, traced_node};
use tracer as renamed;

use crate::drive::{envs, lines, once_pending, poll, run, steps};

#[traced_node]
fn leaf() {}

#[traced_node("charge-card/v2.0")]
fn literal() {}

#[traced_node]
fn r#match() {}

#[test]
fn a_node_is_called_as_it_is_named_or_as_its_function() {
    let recording = record(|| {
        literal();
        r#match();
    });
    assert_trace!(recording, "charge-card/v2.0, match");
}

#[traced_node(root)]
fn own_trace() {
    leaf();
}

#[traced_node(root, source = "cron")]
async fn own_trace_later() {
    once_pending().await;
    leaf();
}

#[traced_node(source = "queue")]
fn sourced() {
    leaf();
}

#[test]
fn root_starts_a_trace_wherever_it_is_called() {
    #[traced_node]
    async fn caller() {
        own_trace();
        own_trace_later().await;
        leaf();
    }
    let recording = record(|| run(caller()));
    assert_trace!(recording, "(caller > leaf), (own_trace > leaf), own_trace_later > leaf");
    let sources: Vec<_> = recording.trees().into_iter().map(|tree| tree.source).collect();
    assert_eq!(sources, ["caller", "own_trace", "cron"]);
}

#[test]
fn source_says_what_starts_a_trace_and_nothing_inside_one() {
    #[traced_node]
    fn caller() {
        sourced();
    }
    let recording = record(|| {
        sourced();
        caller();
    });
    assert_trace!(recording, "(sourced > leaf), caller > sourced > leaf");
    let sources: Vec<_> = recording.trees().into_iter().map(|tree| tree.source).collect();
    assert_eq!(sources, ["queue", "caller"]);
}

#[traced_node(fork)]
fn forked() {
    leaf();
}

#[traced_node(fork)]
async fn forked_later() {
    once_pending().await;
    leaf();
}

#[test]
fn fork_runs_each_call_in_an_env_of_its_own() {
    #[traced_node]
    async fn caller() {
        forked();
        forked_later().await;
        forked();
    }
    let recording = record(|| run(caller()));
    assert_trace!(recording, "caller > (forked > leaf), (forked_later > leaf), forked > leaf");
    assert_eq!(
        lines(&recording.records()),
        [
            "Root caller( caller)",
            "Fork forked( leaf( leaf) forked)",
            "Fork forked_later( leaf( leaf) forked_later)",
            "Fork forked( leaf( leaf) forked)"
        ]
    );
    let alone = record(forked);
    assert_eq!(envs(&alone.records())[0].cause, Cause::Root);
}

#[test]
fn forked_futures_side_by_side_are_all_forks() {
    #[traced_node]
    async fn caller() {
        let (mut a, mut b) = (Box::pin(forked_later()), Box::pin(forked_later()));
        let mut open = 2;
        std::future::poll_fn(|cx| {
            open -= usize::from(a.as_mut().poll(cx).is_ready()) + usize::from(b.as_mut().poll(cx).is_ready());
            if open == 0 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }
    let recording = record(|| run(caller()));
    assert_trace!(recording, "caller > (forked_later > leaf)*2");
    let causes: Vec<_> = envs(&recording.records()).into_iter().map(|env| env.cause).collect();
    assert_eq!(causes, [Cause::Root, Cause::Fork, Cause::Fork]);
}

#[traced_node(off)]
fn off() {
    leaf();
}

#[traced_node(off, record)]
async fn off_later(opaque: Opaque) {
    let _ = opaque;
    once_pending().await;
    leaf();
}

/// Not `Serialize`.
struct Opaque;

#[test]
fn off_is_as_if_the_attribute_were_not_there() {
    #[traced_node]
    async fn caller() {
        off();
        off_later(Opaque).await;
    }
    let recording = record(|| run(caller()));
    assert_trace!(recording, "caller > leaf, leaf");
}

/// Only under another name.
mod without_the_name {
    use super::renamed as elsewhere;

    #[elsewhere::traced_node(crate = elsewhere, record)]
    pub(super) fn renamed(number: u32) -> Result<u32, String> {
        Err(number.to_string())
    }

    #[elsewhere::traced_node(crate = elsewhere)]
    impl super::Opaque {
        pub(super) async fn method(&self) {}
    }
}

#[test]
fn the_crate_may_have_another_name() {
    let recording = record(|| {
        without_the_name::renamed(1).unwrap_err();
        run(Opaque.method());
    });
    assert_trace!(recording, "renamed!(1), method");
}

struct Shop(u32);

#[traced_node(err = none)]
impl Shop {
    fn sell(&self) -> Result<(), String> {
        if self.0 > 0 { Ok(()) } else { Err("sold out".into()) }
    }

    #[traced_node("restock-shop")]
    fn restock(&mut self) {
        self.0 += 1;
    }

    #[traced_node(skip)]
    fn left_out(&self) {
        self.sell().unwrap_err();
    }

    #[cfg_attr(all(), traced_node(skip))]
    fn left_out_if(&self) {
        let _ = self.0;
    }

    #[cfg_attr(all(), traced_node("count-shop"))]
    fn count(&self) -> u32 {
        self.0
    }

    const fn constant(&self) -> u32 {
        self.0
    }

    async fn later(&self) -> u32 {
        once_pending().await;
        self.0
    }
}

#[traced_node(fork)]
trait Sells {
    fn declared(&self);

    fn with_default(&self) {
        self.declared();
    }
}

impl Sells for Shop {
    fn declared(&self) {
        leaf();
    }
}

#[traced_node]
mod shelf {
    pub(super) fn free() {
        inner::free();
    }

    pub(super) struct Books(pub(super) u32);

    impl Books {
        pub(super) fn count(&self) -> u32 {
            self.0
        }
    }

    mod inner {
        pub(super) fn free() {}
    }
}

#[test]
fn on_an_impl_a_trait_or_a_mod_it_is_on_every_function_inside() {
    let recording = record(|| {
        let mut shop = Shop(0);
        shop.left_out();
        shop.left_out_if();
        shop.restock();
        assert_eq!(shop.count(), 1);
        assert_eq!((run(shop.later()), shop.constant()), (1, 1));
        shop.with_default();
        shelf::free();
        shelf::Books(1).count();
    });
    assert_trace!(recording, "sell!, restock-shop, count-shop, later, (with_default > leaf), (free > free), count");
    let records = recording.records();
    let sold_out = crate::drive::errors(&records)[0];
    assert_eq!((sold_out.message.as_deref(), sold_out.type_name.ends_with("String")), (None, true));
}

#[test]
fn an_unpolled_call_of_an_option_leaves_nothing_behind() {
    let recording = record(|| {
        drop((forked_later(), own_trace_later()));
        poll(own_trace_later(), 0)
    });
    assert_eq!(recording.records(), []);
    assert_eq!(recording.stats().active_traces, 0);
}

#[test]
fn nodes_of_one_name_are_one_node_wherever_they_are_written() {
    #[traced_node("same")]
    fn first() {
        second();
    }
    #[traced_node("same")]
    fn second() {}
    let recording = record(first);
    assert_eq!(lines(&recording.records()), ["Root same( same)", "Reentry same( same)"]);
    assert_eq!(steps(&recording.records())[1].parent, steps(&recording.records())[0].frame);
}

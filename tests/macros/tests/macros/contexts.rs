//! Where a call finds its context: around it, or in a parameter.

use tracer::test::{record, record_async};
use tracer::{Context, Status, assert_trace, branch, carry, carry_fn, create_env, traced_node};

use crate::drive::{Bad, Way, envs, go, lines, once_pending, panic_of, poll, run, steps};

#[traced_node]
fn leaf(_ctx: &Context) {}

#[traced_node]
fn ambient_leaf() {}

#[traced_node]
fn middle(ctx: &mut Context) {
    leaf(ctx);
    ambient_leaf();
    leaf(ctx);
}

#[traced_node]
fn outer(ctx: &mut Context) {
    middle(ctx);
    ambient_leaf();
}

#[traced_node]
fn owner(ctx: Context) -> Context {
    leaf(&ctx);
    ctx
}

#[traced_node]
async fn later_leaf(_ctx: &Context) {
    once_pending().await;
}

#[traced_node]
async fn later_middle(ctx: &mut Context) -> Result<u32, Bad> {
    later_leaf(ctx).await;
    ambient_leaf();
    go(Way::Succeed)
}

#[traced_node]
async fn later_owner(ctx: Context) -> Context {
    once_pending().await;
    leaf(&ctx);
    ctx
}

#[test]
fn a_context_is_the_line_of_the_calls_that_are_given_it() {
    let recording = record(|| outer(&mut create_env((), "job")));
    assert_trace!(recording, "outer > (middle > leaf, ambient_leaf, leaf), ambient_leaf");
    let line = "Root outer( middle( leaf( leaf) ambient_leaf( ambient_leaf) leaf( leaf) middle) ambient_leaf( \
                ambient_leaf) outer)";
    assert_eq!(lines(&recording.records()), [line]);
    assert_eq!(envs(&recording.records())[0].source, "job");
}

#[test]
fn calls_one_after_another_go_on_where_the_last_one_ended() {
    let recording = record(|| {
        let mut ctx = create_env((), "job");
        middle(&mut ctx);
        leaf(&ctx);
        let ctx = owner(ctx);
        leaf(&ctx);
    });
    assert_trace!(recording, "(middle > leaf, ambient_leaf, leaf), leaf, (owner > leaf), leaf");
    assert_eq!(envs(&recording.records()).len(), 1);
}

#[test]
fn futures_take_the_context_that_they_are_given() {
    let recording = record(|| {
        let mut ctx = create_env((), "job");
        run(later_middle(&mut ctx)).unwrap();
        let ctx = run(later_owner(ctx));
        run(later_leaf(&ctx));
    });
    assert_trace!(recording, "(later_middle > later_leaf, ambient_leaf), (later_owner > leaf), later_leaf");
    assert_eq!(envs(&recording.records()).len(), 1);
}

#[test]
fn three_levels_and_three_forks_make_four_envs() {
    #[traced_node]
    fn forking(ctx: &mut Context) {
        for mut fork in [ctx.fork(), ctx.fork(), ctx.fork()] {
            middle(&mut fork);
        }
        middle(ctx);
    }
    let recording = record(|| forking(&mut create_env((), "job")));
    assert_trace!(recording, "forking > (middle > leaf, ambient_leaf, leaf)*4");
    let middle = "middle( leaf( leaf) ambient_leaf( ambient_leaf) leaf( leaf) middle)";
    let fork = format!("Fork {middle}");
    assert_eq!(
        lines(&recording.records()),
        [format!("Root forking( {middle} forking)"), fork.clone(), fork.clone(), fork]
    );
}

#[test]
fn the_position_around_wins_where_it_lies_inside_the_context() {
    #[traced_node]
    fn hands_on(ctx: &Context) {
        // Not given the context, but inside it; what it calls is.
        #[traced_node]
        fn between(ctx: &Context) {
            leaf(ctx);
        }
        #[traced_node]
        fn unaware(work: impl Fn()) {
            work();
        }
        unaware(|| between(ctx));
    }
    let recording = record(|| hands_on(&create_env((), "job")));
    assert_trace!(recording, "hands_on > unaware > between > leaf");
    assert_eq!(envs(&recording.records()).len(), 1);
}

#[test]
fn the_position_around_wins_also_in_a_fork_below_the_context() {
    #[traced_node]
    fn parent(ctx: &Context) {
        let work = carry(|| leaf(ctx));
        work();
    }
    let recording = record(|| parent(&create_env((), "job")));
    assert_trace!(recording, "parent > leaf");
    assert_eq!(lines(&recording.records()), ["Root parent( parent)", "Fork leaf( leaf)"]);
}

#[test]
fn another_context_leads_to_its_own_line_and_back() {
    #[traced_node]
    fn visits(other: &Context) {
        ambient_leaf();
        leaf(other);
        ambient_leaf();
    }
    #[traced_node]
    fn mine(work: impl Fn()) {
        ambient_leaf();
        work();
        ambient_leaf();
    }
    let recording = record(|| {
        let other = create_env((), "other");
        mine(|| leaf(&other));
        visits(&other);
    });
    assert_trace!(recording, "leaf, (visits > ambient_leaf, leaf, ambient_leaf), mine > ambient_leaf*2");
    assert_eq!(recording.stats().traces.len(), 2);
}

#[test]
fn an_error_on_a_given_line_is_recovered_there() {
    #[traced_node]
    fn attempt(_ctx: &Context, way: Way) -> Result<u32, Bad> {
        go(way)
    }
    #[traced_node]
    async fn attempt_later(ctx: &mut Context, way: Way) -> Result<u32, Bad> {
        once_pending().await;
        attempt(ctx, way)
    }
    let recording = record(|| {
        let mut ctx = create_env((), "job");
        attempt(&ctx, Way::Fail).unwrap_err();
        attempt(&ctx, Way::Succeed).unwrap();
        panic_of(|| attempt(&ctx, Way::Panic)).unwrap();
        assert_eq!(poll(attempt_later(&mut ctx, Way::Succeed), 1), None);
        run(attempt_later(&mut ctx, Way::Fail)).unwrap_err();
    });
    assert_trace!(
        recording,
        "attempt!(Bad), attempt, attempt!panic, attempt_later!cancelled, attempt_later^ > attempt!(Bad)"
    );
    assert_eq!(
        lines(&recording.records()),
        [
            "Root attempt( attempt!",
            "Recovery attempt( attempt) attempt( attempt!",
            "Recovery attempt_later( attempt_later!",
            "Recovery attempt_later( attempt( attempt!"
        ]
    );
}

#[test]
fn manual_steps_and_traced_functions_keep_apart() {
    let recording = record(|| {
        let ctx = create_env((), "job").step("manual", Status::Enter, ()).unwrap();
        leaf(&ctx);
        let ctx = ctx.step("manual", Status::Exit, ()).unwrap();
        leaf(&ctx);
    });
    assert_trace!(recording, "(manual > leaf), leaf");
    assert_eq!(lines(&recording.records()), ["Root manual( manual)", "Fork leaf( leaf)", "Fork leaf( leaf)"]);
}

mod foreign {
    /// Of the name that five well-known crates have for theirs.
    pub(super) struct Context(pub(super) u32);
}

#[test]
fn contexts_of_other_crates_are_no_contexts() {
    #[traced_node]
    fn by_value(context: foreign::Context) -> u32 {
        context.0
    }
    #[traced_node]
    fn by_reference(context: &foreign::Context, cx: &mut std::task::Context<'_>) -> u32 {
        cx.waker().wake_by_ref();
        context.0
    }
    #[traced_node]
    async fn later(context: &mut foreign::Context) -> u32 {
        once_pending().await;
        context.0
    }
    #[traced_node]
    fn both(first: foreign::Context, ctx: &Context) {
        let _ = first;
        leaf(ctx);
    }
    let recording = record(|| {
        by_value(foreign::Context(1));
        by_reference(&foreign::Context(1), &mut std::task::Context::from_waker(std::task::Waker::noop()));
        run(later(&mut foreign::Context(1)));
        both(foreign::Context(1), &create_env((), "job"));
    });
    assert_trace!(recording, "by_value, by_reference, later, both > leaf");
    let sources: Vec<String> = envs(&recording.records()).into_iter().map(|env| env.source.clone()).collect();
    assert_eq!(sources, ["by_value", "by_reference", "later", "job"]);
}

#[test]
fn an_option_names_the_parameter_where_its_type_has_another_name() {
    type Ctx = Context;

    #[traced_node(ctx = c)]
    fn demanded(c: &mut Ctx) {
        leaf(c);
    }
    #[traced_node(ctx = second)]
    async fn second_of_two(first: &Context, second: &Context) {
        once_pending().await;
        let _ = (first, second);
    }
    #[traced_node]
    fn first_of_two(first: &Context, second: &Context) {
        let _ = (first, second);
    }
    let recording = record(|| {
        let (mut a, b) = (create_env((), "a"), create_env((), "b"));
        demanded(&mut a);
        run(second_of_two(&a, &b));
        first_of_two(&a, &b);
    });
    let trees = recording.trees();
    let told: Vec<_> = trees.iter().map(|tree| (tree.source.as_str(), tree.to_line())).collect();
    assert_eq!(told, [("a", "(demanded > leaf), first_of_two".to_owned()), ("b", "second_of_two".to_owned())]);
}

#[test]
fn in_a_trace_only_what_is_called_inside_is_recorded_apart() {
    #[traced_node]
    async fn called() {}
    #[traced_node]
    async fn outer() -> (String, String) {
        let before = record_async(called()).await.line();
        let inside = record_async(async { called().await }).await.line();
        (before, inside)
    }
    let recording = record(|| run(outer()));
    assert_eq!(recording.output, (String::new(), "called".to_owned()));
    assert_trace!(recording, "outer > called");
}

#[test]
fn a_context_is_no_value_to_record() {
    #[traced_node(record)]
    fn records(ctx: &Context, number: u32) {
        let _ = (ctx, number);
    }
    #[traced_node(ctx = c, record)]
    fn records_demanded(c: &Context, number: u32) {
        let _ = (c, number);
    }
    #[traced_node(record)]
    fn records_beside_unread(_ctx: &Context, number: u32) {
        let _ = number;
    }
    let recording = record(|| {
        let ctx = create_env((), "job");
        records(&ctx, 1);
        records_demanded(&ctx, 2);
        records_beside_unread(&ctx, 3);
    });
    assert_eq!(
        recording.to_string(),
        "records(number=1)\n\nrecords_demanded(number=2)\n\nrecords_beside_unread(number=3)\n"
    );
}

#[test]
fn a_given_future_runs_on_its_line_wherever_it_is_polled() {
    #[traced_node]
    async fn spawner(work: impl Future<Output = ()>) {
        ambient_leaf();
        work.await;
    }
    let recording = record(|| {
        let ctx = create_env((), "job");
        let work = later_leaf(&ctx);
        run(spawner(work));
    });
    assert_trace!(recording, "later_leaf, spawner > ambient_leaf");
}

#[test]
fn an_ambient_future_belongs_to_who_called_it() {
    #[traced_node]
    async fn made() {
        ambient_leaf();
    }
    #[traced_node]
    fn maker() -> impl Future<Output = ()> {
        Box::pin(made())
    }
    #[traced_node]
    async fn awaits() {
        branch(made()).await;
        let each = carry_fn(|()| ambient_leaf());
        each(());
        each(());
        std::thread::scope(|threads| {
            threads.spawn(carry(ambient_leaf));
        });
    }
    let recording = record(|| {
        run(maker());
        run(awaits());
    });
    assert_trace!(recording, "(maker > made > ambient_leaf), awaits > (made > ambient_leaf), ambient_leaf*3");
    assert!(steps(&recording.records()).iter().all(|step| step.key.is_some()));
}

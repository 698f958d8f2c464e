//! Straight-line programs: calls inside and after one another, errors passed on by `?`. They look as they would to
//! somebody who took the steps by hand.

use std::future::Future;
use std::pin::Pin;

use proptest::prelude::*;
use tracer::{Record, Status, Tracer};

use crate::check::{self, Finished};
use crate::nodes::{Failed, NAMES, SITES, call, call_async};
use crate::random;

#[derive(Debug, Clone)]
struct Function {
    node: usize,
    calls: Vec<Function>,
    fails: bool,
}

fn function() -> impl Strategy<Value = Function> {
    let node = || 0..NAMES.len();
    let leaf = node().prop_map(|node| Function { node, calls: Vec::new(), fails: false });
    leaf.prop_recursive(5, 40, 4, move |inner| {
        (node(), prop::collection::vec(inner, 0..5), prop::bool::weighted(0.1))
            .prop_map(|(node, calls, fails)| Function { node, calls, fails })
    })
}

impl Function {
    /// Without recursion, which is no straight line.
    fn without(mut self, above: &mut Vec<usize>) -> Self {
        above.push(self.node);
        let calls = std::mem::take(&mut self.calls).into_iter().filter(|call| !above.contains(&call.node));
        self.calls = calls.collect::<Vec<_>>().into_iter().map(|call| call.without(above)).collect();
        above.pop();
        self
    }

    fn run(&self) -> Result<(), Failed> {
        call(&SITES[self.node], || {
            self.calls.iter().try_for_each(Self::run)?;
            if self.fails { Err(Failed) } else { Ok(()) }
        })
    }

    fn run_async(&self) -> Pin<Box<dyn Future<Output = Result<(), Failed>> + '_>> {
        Box::pin(call_async(&SITES[self.node], async {
            for call in &self.calls {
                call.run_async().await?;
                tokio::task::yield_now().await;
            }
            if self.fails { Err(Failed) } else { Ok(()) }
        }))
    }

    /// The steps that it takes; an error is the last one.
    fn steps(&self, steps: &mut Vec<(&'static str, Status)>) -> Result<(), Failed> {
        steps.push((NAMES[self.node], Status::Enter));
        self.calls.iter().try_for_each(|call| call.steps(steps))?;
        steps.push((NAMES[self.node], if self.fails { Status::Error } else { Status::Exit }));
        if self.fails { Err(Failed) } else { Ok(()) }
    }
}

/// The steps of the one env that there is.
fn steps_of_one_env(records: &[Record]) -> Vec<(&str, Status)> {
    assert_eq!(records.iter().filter(|record| record.as_env().is_some()).count(), 1, "{records:#?}");
    records.iter().filter_map(|record| record.as_step().map(|step| (&*step.node, step.status))).collect()
}

proptest! {
    #![proptest_config(random::config(400, "straight"))]

    #[test]
    fn straight_lines_are_one_env_of_the_steps_one_would_take_by_hand(function in function()) {
        let function = function.without(&mut Vec::new());
        let mut steps = Vec::new();
        function.steps(&mut steps).ok();

        let manual = Tracer::builder().build();
        let mut ctx = manual.create_env((), "by hand");
        for (node, status) in &steps {
            ctx = ctx.step(node, *status, ()).unwrap();
        }
        drop(ctx);
        let manual = manual.all_traces();
        prop_assert_eq!(&steps_of_one_env(&manual), &steps);

        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let called = tracer::test::record(|| function.run().ok());
        let awaited = tracer::test::record(|| runtime.block_on(function.run_async()).ok());
        for automatic in [called.records(), awaited.records()] {
            check::check(&automatic, Finished::Yes);
            prop_assert_eq!(&steps_of_one_env(&automatic), &steps);
        }
    }
}

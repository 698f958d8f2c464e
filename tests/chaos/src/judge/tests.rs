//! Histories in which nothing is wrong, and the same with something wrong: the judge has to see that, and nothing else.

use super::*;

const CLAIM: u64 = 10;

fn id() -> ExecutionId {
    ExecutionId::new(7).unwrap()
}

fn entry(by: &str, at: Moment, fact: Fact) -> Entry {
    Entry { by: by.to_owned(), from: at, to: at + 1, fact }
}

fn created() -> Entry {
    entry("driver", 0, Fact::Created { id: id(), kind: "effects".to_owned() })
}

fn claimed(by: &str, at: Moment, epoch: u64, attempts: u32, version: u64) -> Entry {
    entry(by, at, Fact::Claimed { id: id(), epoch, attempts, version })
}

fn accepted(by: &str, at: Moment, epoch: u64, command: &str) -> Entry {
    let fact = Fact::Accepted { id: id(), epoch: Some(epoch), command: command.to_owned(), version: None, kept: None };
    entry(by, at, fact)
}

fn kept(by: &str, at: Moment, epoch: u64, version: u64, node: Option<&str>) -> Entry {
    let (command, kept) = ("keep a checkpoint of".to_owned(), node.map(str::to_owned));
    entry(by, at, Fact::Accepted { id: id(), epoch: Some(epoch), command, version: Some(version), kept })
}

fn effect(by: &str, at: Moment, epoch: u64, effect: &str) -> Entry {
    let at_most_once = effect == "send";
    entry(by, at, Fact::Effect { id: id(), epoch, effect: effect.to_owned(), at_most_once })
}

fn seen(at: Moment, status: ExecutionStatus, version: u64) -> Entry {
    entry("driver", at, Fact::Seen { id: id(), status, version, epoch: 0 })
}

/// The first worker dies after `charge` was kept, the second one goes on, and completes.
fn history() -> Vec<Entry> {
    vec![
        created(),
        claimed("one", CLAIM, 1, 1, 2),
        effect("one", 20, 1, "charge"),
        kept("one", 30, 1, 3, Some("charge")),
        entry("driver", 40, Fact::Killed { worker: "one".to_owned() }),
        claimed("two", 50, 2, 2, 5),
        kept("two", 60, 2, 6, None),
        effect("two", 70, 2, "send"),
        kept("two", 80, 2, 7, Some("send")),
        accepted("two", 90, 2, "complete"),
    ]
}

fn last() -> Last {
    let status = ExecutionStatus::Completed;
    Last {
        id: id(),
        kind: "effects".to_owned(),
        status,
        attempts: 2,
        max_attempts: 3,
        epoch: 2,
        version: 8,
        result: Some(2),
    }
}

fn rules(history: &[Entry], last: &[Last]) -> Vec<Rule> {
    let rules: BTreeSet<Rule> = judge(history, last).into_iter().map(|violation| violation.rule).collect();
    rules.into_iter().collect()
}

/// The history with more in it.
fn with(more: impl IntoIterator<Item = Entry>) -> Vec<Rule> {
    let mut history = history();
    history.extend(more);
    rules(&history, &[last()])
}

/// The history, after which this is in the store.
fn ends(change: impl FnOnce(&mut Last)) -> Vec<Rule> {
    let mut last = last();
    change(&mut last);
    rules(&history(), &[last])
}

#[test]
fn nothing_is_wrong() {
    assert_eq!(judge(&history(), &[last()]), []);
    assert_eq!(recoveries(&history()), [Duration::from_nanos(10)]);
}

#[test]
fn a_fence_that_is_ignored() {
    assert_eq!(with([kept("one", 65, 1, 9, None)]), [Rule::NoStaleWrite, Rule::VersionsRise]);
    assert_eq!(with([accepted("one", 65, 1, "fail")]), [Rule::NoStaleWrite]);
    // As long as nobody else has been answered, it is early enough.
    assert_eq!(with([accepted("one", 49, 1, "fail")]), []);
    assert_eq!(
        ends(|last| last.result = Some(1)),
        [Rule::NoStaleWrite, Rule::AcknowledgedIsKept]
            .into_iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_lost_lease_that_does_not_count() {
    assert_eq!(ends(|last| last.attempts = 1), [Rule::AttemptsCount]);
    let given_back = |acknowledged: bool| {
        let mut history = history();
        history.push(entry("one", 41, Fact::Releasing { id: id(), epoch: 1 }));
        history.extend(acknowledged.then(|| accepted("one", 42, 1, "release")));
        history
    };
    let counted = |attempts| [Last { attempts, ..last() }];
    // Nobody knows whether it was.
    assert_eq!(rules(&given_back(false), &counted(1)), []);
    assert_eq!(rules(&given_back(false), &counted(2)), []);
    assert_eq!(rules(&given_back(true), &counted(1)), []);
    assert_eq!(rules(&given_back(true), &counted(2)), [Rule::AttemptsCount]);
}

#[test]
fn a_reservation_that_counts() {
    let keyed = |attempts| [Last { kind: KEYED.to_owned(), attempts, status: ExecutionStatus::Failed, ..last() }];
    let mut history = vec![created(), claimed("one", CLAIM, 1, 0, 2), claimed("two", 50, 2, 0, 4)];
    assert_eq!(rules(&history, &keyed(0)), []);
    assert_eq!(rules(&history, &keyed(1)), [Rule::AttemptsCount]);
    history.push(entry("two", 60, Fact::Beginning { id: id(), epoch: 2 }));
    // Nobody knows whether it has.
    assert_eq!(rules(&history, &keyed(0)), []);
    assert_eq!(rules(&history, &keyed(1)), []);
    assert_eq!(rules(&history, &keyed(2)), [Rule::AttemptsCount]);
    // What is given back before it has begun is nothing less.
    history.push(entry("one", 45, Fact::Releasing { id: id(), epoch: 1 }));
    history.push(accepted("one", 46, 1, "release"));
    history.push(accepted("two", 61, 2, "begin"));
    assert_eq!(rules(&history, &keyed(0)), [Rule::AttemptsCount]);
    assert_eq!(rules(&history, &keyed(1)), []);
}

#[test]
fn more_of_one_key_than_may_run_at_once() {
    let ran = |by: &str, from: Moment, to: Moment, key: &str| {
        let fact = Fact::Ran { id: id(), key: key.to_owned() };
        Entry { by: by.to_owned(), from, to, fact }
    };
    let runs = [ran("two", 60, 70, "a"), ran("two", 62, 80, "a"), ran("two", 70, 90, "a")];
    assert_eq!(with(runs.clone()), []);
    let [first, second, third] = runs;
    let beside = |other| with([first.clone(), second.clone(), third.clone(), other]);
    assert_eq!(beside(ran("two", 69, 71, "a")), [Rule::FewOfOneKey]);
    assert_eq!(beside(ran("two", 69, 71, "b")), []);
    assert_eq!(beside(ran("one", 69, 71, "a")), []);
}

#[test]
fn more_attempts_than_there_may_be() {
    assert_eq!(ends(|last| last.max_attempts = 1), [Rule::AttemptsCount]);
}

#[test]
fn a_sweep_that_forgets() {
    let mut history = history();
    history.truncate(5);
    let stuck = Last { status: ExecutionStatus::Running, attempts: 1, epoch: 1, version: 3, result: None, ..last() };
    assert_eq!(rules(&history, &[stuck]), [Rule::NoneStuck]);
}

#[test]
fn a_completion_that_is_applied_twice() {
    let again = [claimed("one", 100, 3, 3, 9), accepted("one", 110, 3, "complete")];
    assert_eq!(with(again), [Rule::CompletedOnce, Rule::AcknowledgedIsKept]);
}

#[test]
fn an_end_that_was_acknowledged_and_is_gone() {
    let failed = |last: &mut Last| (last.status, last.result) = (ExecutionStatus::Failed, None);
    assert_eq!(ends(failed), [Rule::AcknowledgedIsKept]);
}

#[test]
fn what_is_kept_after_instead_of_before() {
    // The first worker has had the effect, and died before it kept that it was about to.
    assert_eq!(with([effect("one", 35, 1, "send")]), [Rule::AtMostOnce]);
}

#[test]
fn what_was_kept_and_is_done_again() {
    assert_eq!(with([effect("two", 55, 2, "charge")]), [Rule::KeptIsNotRepeated]);
    // A worker that was stopped does not know yet that it is too late.
    assert_eq!(with([effect("one", 55, 1, "charge")]), []);
}

#[test]
fn effects_that_were_skipped() {
    let mut history = history();
    history.retain(|entry| !matches!(&entry.fact, Fact::Effect { effect, .. } if effect == "send"));
    assert_eq!(rules(&history, &[last()]), [Rule::EffectsHappened]);
}

#[test]
fn one_attempt_of_two_workers() {
    assert_eq!(with([claimed("three", 51, 2, 2, 5)]), [Rule::OneOwner, Rule::VersionsRise]);
    assert!(with([claimed("three", 91, 1, 1, 9)]).contains(&Rule::OneOwner));
}

#[test]
fn what_is_lost_or_invented() {
    assert_eq!(rules(&history(), &[]), [Rule::NoneLost]);
    let other = Last { id: ExecutionId::new(8).unwrap(), ..last() };
    assert_eq!(rules(&history(), &[last(), other]), [Rule::NoneInvented]);
    assert_eq!(rules(&history(), &[last(), last()]), [Rule::NoneInvented]);
}

#[test]
fn versions_that_are_skipped_or_given_twice() {
    let more = |version| {
        let mut history = history();
        history.retain(|entry| entry.from != 80);
        history.push(kept("two", 80, 2, version, Some("send")));
        history
    };
    assert_eq!(rules(&more(7), &[last()]), []);
    assert_eq!(rules(&more(6), &[last()]), [Rule::VersionsRise]);
    assert_eq!(rules(&more(8), &[last()]), [Rule::VersionsRise]);
    // Whoever was not answered begins again, which changes nothing.
    let begun = |version| {
        let command = "begin".to_owned();
        let fact = Fact::Accepted { id: id(), epoch: Some(2), command, version: Some(version), kept: None };
        entry("two", 80, fact)
    };
    let beginning = |again| {
        let mut history = more(8);
        history.extend([begun(7), begun(again)]);
        history
    };
    assert_eq!(rules(&beginning(7), &[last()]), []);
    assert_eq!(rules(&beginning(8), &[last()]), [Rule::VersionsRise]);
    // Whoever calls it off writes, too.
    let mut called_off = more(8);
    called_off.push(entry("driver", 65, Fact::Cancelling { id: id() }));
    assert_eq!(rules(&called_off, &[last()]), []);
}

#[test]
fn steps_that_are_not_in_the_table() {
    use ExecutionStatus as S;
    let steps = |seen_: &[(S, u64)]| {
        with(seen_.iter().enumerate().map(|(at, (status, version))| seen(at as Moment, *status, *version)))
    };
    assert_eq!(steps(&[(S::Pending, 1), (S::Running, 2), (S::Running, 3), (S::Retrying, 4), (S::Running, 5)]), []);
    assert_eq!(steps(&[(S::Pending, 1), (S::Completed, 2)]), [Rule::Transitions]);
    assert_eq!(steps(&[(S::Retrying, 4), (S::Running, 3)]), [Rule::Transitions]);
    assert_eq!(steps(&[(S::Failed, 4), (S::Running, 7)]), [Rule::Transitions]);
    assert_eq!(steps(&[(S::Running, 4), (S::Retrying, 4)]), [Rule::Transitions]);
}

//! Histories in which nothing is wrong, and the same with something wrong: the judge has to see that, and nothing else.

use super::*;

const CLAIM: u64 = 10;
/// Moments are counted in tenths of a second: a lease is 20.
const UNIT: Moment = 100_000_000;
const DOUBT: Duration = Duration::from_millis(50);

fn id() -> ExecutionId {
    ExecutionId::new(7).unwrap()
}

fn entry(by: &str, at: Moment, fact: Fact) -> Entry {
    Entry { by: by.to_owned(), from: at * UNIT, to: at * UNIT + 1, fact }
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

fn writing(by: &str, at: Moment, epoch: u64, command: &str) -> Entry {
    entry(by, at, Fact::Writing { id: id(), epoch, command: command.to_owned() })
}

fn refused(by: &str, at: Moment, epoch: u64, command: &str) -> Entry {
    let why = "another's".to_owned();
    entry(by, at, Fact::Refused { id: id(), epoch: Some(epoch), command: command.to_owned(), why })
}

/// A heartbeat, and its answer, if one has come.
fn beat(by: &str, at: Moment, epoch: u64, answered: Option<(Moment, bool)>) -> Vec<Entry> {
    let sent = entry(by, at, Fact::Extending { id: id(), epoch });
    let answer = |(to, is_held)| {
        let answer = entry(by, to, Fact::Extended { id: id(), epoch, is_held });
        Entry { from: at * UNIT, ..answer }
    };
    [sent].into_iter().chain(answered.map(answer)).collect()
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
    let rules: BTreeSet<Rule> = judge(history, last, DOUBT).into_iter().map(|violation| violation.rule).collect();
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
    assert_eq!(judge(&history(), &[last()], DOUBT), []);
    assert_eq!(recoveries(&history()), [Duration::from_secs(1)]);
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
        history.push(writing("one", 41, 1, "release"));
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
    history.push(writing("two", 60, 2, "begin"));
    // Nobody knows whether it has.
    assert_eq!(rules(&history, &keyed(0)), []);
    assert_eq!(rules(&history, &keyed(1)), []);
    assert_eq!(rules(&history, &keyed(2)), [Rule::AttemptsCount]);
    // What is given back before it has begun is nothing less.
    history.push(writing("one", 45, 1, "release"));
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

/// One has it from 10 on, two from `at` on, with this in between.
fn taken_over(at: Moment, kind: &str, between: impl IntoIterator<Item = Entry>) -> Vec<Rule> {
    let created = entry("driver", 0, Fact::Created { id: id(), kind: kind.to_owned() });
    let mut history = vec![created, claimed("one", CLAIM, 1, 1, 2), claimed("two", at, 2, 2, 4)];
    history.extend(between);
    let failed = Last { kind: kind.to_owned(), status: ExecutionStatus::Failed, version: 5, result: None, ..last() };
    rules(&history, &[failed])
}

#[test]
fn a_lease_that_another_does_not_wait_for() {
    assert_eq!(taken_over(30, "plain", []), []);
    assert_eq!(taken_over(29, "plain", []), [Rule::SingleOwner]);
    // Whatever came between got no answer.
    let history = [created(), claimed("one", CLAIM, 1, 1, 2), claimed("two", 29, 4, 4, 9)];
    assert!(rules(&history, &[Last { epoch: 4, attempts: 4, max_attempts: 6, ..last() }]).contains(&Rule::SingleOwner));
    // Its time was over.
    assert_eq!(taken_over(17, "hangs", []), []);
    assert_eq!(taken_over(16, "hangs", []), [Rule::SingleOwner]);
}

#[test]
fn an_attempt_that_ends_before_its_lease() {
    for end in ["complete", "fail", "cancel", "release", "time out"] {
        assert!(!taken_over(20, "plain", [writing("one", 19, 1, end)]).contains(&Rule::SingleOwner), "{end}");
    }
    let fail = |at| [writing("one", at, 1, "fail")];
    assert_eq!(taken_over(20, "plain", fail(21)), [Rule::SingleOwner]);
    // What was refused has not ended it, unless it is the repetition of what was not answered.
    assert_eq!(
        taken_over(20, "plain", fail(19).into_iter().chain([refused("one", 19, 1, "fail")])),
        [Rule::SingleOwner]
    );
    assert_eq!(taken_over(20, "plain", fail(18).into_iter().chain([refused("one", 19, 1, "fail")])), []);
    assert_eq!(taken_over(20, "plain", [writing("one", 19, 1, "begin")]), [Rule::SingleOwner]);
    assert_eq!(taken_over(20, "plain", [writing("one", 9, 0, "fail")]), [Rule::SingleOwner]);
}

#[test]
fn a_lease_that_is_said_to_be_extended_and_is_not() {
    let held = |at, to| beat("one", at, 1, Some((to, true)));
    assert_eq!(taken_over(45, "plain", held(25, 26)), []);
    assert_eq!(taken_over(44, "plain", held(25, 26)), [Rule::SingleOwner]);
    assert_eq!(taken_over(30, "plain", held(31, 32)), [Rule::SingleOwner]);
    // Nobody knows what was not answered; what is lost is not extended.
    assert_eq!(taken_over(30, "plain", beat("one", 25, 1, None)), []);
    let lost = beat("one", 25, 1, Some((26, false)));
    assert_eq!(taken_over(30, "plain", [beat("one", 23, 1, None), lost].concat()), []);
    // One that was sent before may come later, with its own time.
    assert_eq!(taken_over(43, "plain", [beat("one", 23, 1, None), held(25, 26)].concat()), []);
    assert_eq!(taken_over(42, "plain", [beat("one", 23, 1, None), held(25, 26)].concat()), [Rule::SingleOwner]);
    assert_eq!(taken_over(43, "plain", [held(23, 27), held(25, 26)].concat()), []);
    assert_eq!(taken_over(43, "plain", [held(23, 24), held(25, 26)].concat()), [Rule::SingleOwner]);
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
        history.retain(|entry| entry.from != 80 * UNIT);
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

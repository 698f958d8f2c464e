//! What must hold of the records of any automatic trace, whatever ran: the properties of the table.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tracer::{Cause, EnvId, EnvRecord, FrameId, Note, NoteRecord, Record, Status, StepRecord, StrictEnv, TraceId};

/// One env with what it holds, in the order of its numbers.
#[derive(Debug)]
pub struct Env<'a> {
    pub record: &'a EnvRecord,
    pub steps: Vec<&'a StepRecord>,
    pub notes: Vec<&'a NoteRecord>,
}

pub fn envs(records: &[Record]) -> BTreeMap<EnvId, Env<'_>> {
    let mut envs = BTreeMap::new();
    for record in records {
        match record {
            Record::Env(record) => {
                let fresh = envs.insert(record.env_id, Env { record, steps: Vec::new(), notes: Vec::new() });
                assert!(fresh.is_none(), "one record an env: {record:?}");
            }
            Record::Step(step) => envs.get_mut(&step.env_id).expect("an env comes before its steps").steps.push(step),
            Record::Note(note) => envs.get_mut(&note.env_id).expect("an env comes before its notes").notes.push(note),
        }
    }
    envs
}

/// How a frame ended, as the records have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Exit,
    Error(Kind),
}

/// [`tracer::ErrorKind`], with an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Err,
    Panic,
    Cancelled,
}

impl From<tracer::ErrorKind> for Kind {
    fn from(kind: tracer::ErrorKind) -> Self {
        match kind {
            tracer::ErrorKind::Err => Self::Err,
            tracer::ErrorKind::Panic => Self::Panic,
            tracer::ErrorKind::Cancelled => Self::Cancelled,
            other => panic!("a kind that the tests do not know: {other:?}"),
        }
    }
}

/// Whether everything in the records has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    Yes,
    NotYet,
}

/// How often each node was entered and how its runs ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub entered: BTreeMap<String, u64>,
    pub ended: BTreeMap<(String, End), u64>,
}

impl Counts {
    pub fn enter(&mut self, node: &str) {
        *self.entered.entry(node.to_owned()).or_default() += 1;
    }

    pub fn end(&mut self, node: &str, end: End) {
        *self.ended.entry((node.to_owned(), end)).or_default() += 1;
    }
}

/// What the records of complete traces say that ran.
pub fn counts(records: &[Record]) -> Counts {
    let mut counts = Counts::default();
    for record in records {
        match record {
            Record::Step(step) if step.status == Status::Enter && !step.resumed => counts.enter(&step.node),
            Record::Step(step) if step.status == Status::Exit => counts.end(&step.node, End::Exit),
            Record::Step(step) if step.status == Status::Error => counts.end(&step.node, end_of(step)),
            Record::Note(NoteRecord { note: Note::Unwound { node, error, .. }, .. }) => {
                counts.end(node, End::Error((*error).into()));
            }
            _ => {}
        }
    }
    counts
}

fn end_of(step: &StepRecord) -> End {
    let error = step.error.as_ref().expect("an error step says how it failed");
    End::Error(error.kind.into())
}

/// Checks every property; `finished` says whether all frames must have ended.
#[track_caller]
pub fn check(records: &[Record], finished: Finished) {
    let mut seqs = HashSet::new();
    for pair in records.windows(2) {
        assert!(pair[0].seq() < pair[1].seq(), "in the order of their numbers: {pair:?}");
    }
    assert!(records.iter().all(|record| seqs.insert(record.seq())), "no number twice");
    let envs = envs(records);
    for env in envs.values() {
        strict(env);
        tree(env, &envs);
    }
    one_recovery_each(&envs);
    frames(records, finished);
    keys(records);
    let roots = envs.values().filter(|env| env.record.cause == Cause::Root).map(|env| env.record.trace_id);
    let roots: Vec<TraceId> = roots.collect();
    let traces: BTreeSet<TraceId> = records.iter().map(Record::trace_id).collect();
    assert_eq!(roots.iter().copied().collect::<BTreeSet<_>>(), traces, "every trace has a first env");
    assert_eq!(roots.len(), traces.len(), "and only one");
}

/// The env passes the strict checker, and the frames that are open are the nodes that are entered.
fn strict(env: &Env<'_>) {
    let mut state = StrictEnv::default();
    let mut open: Vec<&StepRecord> = Vec::new();
    let mut after = env.record.seq;
    for step in &env.steps {
        assert_eq!(step.trace_id, env.record.trace_id);
        assert!(step.seq > after, "numbers rise along an env: {step:?}");
        after = step.seq;
        match state.step(step.step_id - 1, &step.node, step.status) {
            Ok(number) => assert_eq!(number, step.step_id),
            Err(refusal) => panic!("{refusal}: {step:?} in {env:#?}"),
        }
        assert_eq!(step.error.is_some(), step.status == Status::Error, "{step:?}");
        if step.status == Status::Enter {
            open.push(step);
        } else {
            let entered = open.iter().position(|enter| enter.frame == step.frame);
            let entered = open.remove(entered.unwrap_or_else(|| panic!("{step:?} ends no open frame of {env:#?}")));
            assert_eq!((&entered.node, &entered.parent, &entered.key), (&step.node, &step.parent, &step.key));
        }
        let mut nodes: Vec<&str> = open.iter().map(|step| &*step.node).collect();
        nodes.sort_unstable();
        assert_eq!(nodes, state.entered().collect::<Vec<_>>(), "open frames are entered nodes");
    }
    for note in env.notes.iter().filter(|note| matches!(note.note, Note::Unwound { .. })) {
        assert!(state.is_terminal(), "unwound only where an error ended the env: {note:?}");
        assert_eq!(note.step_id, state.steps(), "and only after it");
        assert!(note.seq > after);
    }
}

/// The env is where it belongs, and begins as its cause says.
fn tree(env: &Env<'_>, envs: &BTreeMap<EnvId, Env<'_>>) {
    let record = env.record;
    let resumed = env.steps.iter().take_while(|step| step.resumed).count();
    assert!(env.steps[resumed..].iter().all(|step| !step.resumed), "resumed enters come first: {env:#?}");
    let Some(parent) = record.parent_env else {
        assert_eq!((record.cause, record.parent_step, resumed), (Cause::Root, None, 0));
        return;
    };
    let parent = &envs[&parent];
    let left = record.parent_step.expect("who has a parent left it at a step");
    assert_eq!(parent.record.trace_id, record.trace_id);
    let left = usize::try_from(left).expect("few steps");
    let last = left.checked_sub(1).map_or(parent.record.seq, |last| parent.steps[last].seq);
    assert!(last < record.seq, "a cause comes before its effect: {record:?}");
    assert_ne!(record.cause, Cause::Root);
    if record.cause != Cause::Fork {
        assert!(!env.steps.is_empty(), "no env without a step but a fork: {env:#?}");
    }
    if record.cause != Cause::Recovery {
        assert_eq!(resumed, 0, "only a recovery resumes: {env:#?}");
    }
    match record.cause {
        Cause::Recovery => recovery(env, resumed, parent, left),
        Cause::Reentry => {
            let mut open = open_at(parent, left).into_iter();
            assert!(open.any(|step| step.node == env.steps[0].node), "{env:#?} reenters nothing of {parent:#?}");
        }
        _ => {}
    }
}

fn open_at<'a>(env: &Env<'a>, step: usize) -> Vec<&'a StepRecord> {
    let mut open: Vec<&StepRecord> = Vec::new();
    for step in &env.steps[..step] {
        match step.status {
            Status::Enter => open.push(step),
            _ => open.retain(|enter| enter.frame != step.frame),
        }
    }
    open
}

/// A recovery takes on exactly the frames that were left open, outermost first, and then something happens.
fn recovery(env: &Env<'_>, resumed: usize, parent: &Env<'_>, left: usize) {
    assert_eq!(left, parent.steps.len(), "a recovery follows the last step of its parent");
    assert_eq!(parent.steps[left - 1].status, Status::Error, "of an env that an error ended: {parent:#?}");
    let mut survivors: Vec<_> = open_at(parent, left).iter().map(|step| (step.frame, step.node.clone())).collect();
    for note in &parent.notes {
        if let Note::Unwound { frame, .. } = note.note {
            assert!(note.seq < env.record.seq, "nothing is unwound of an env that was succeeded");
            survivors.retain(|(survivor, _)| *survivor != Some(frame));
        }
    }
    let taken: Vec<_> = env.steps[..resumed].iter().map(|step| (step.frame, step.node.clone())).collect();
    assert_eq!(taken, survivors, "{env:#?} after {parent:#?}");
}

fn one_recovery_each(envs: &BTreeMap<EnvId, Env<'_>>) {
    let mut recovered = HashSet::new();
    for env in envs.values().filter(|env| env.record.cause == Cause::Recovery) {
        assert!(recovered.insert(env.record.parent_env), "one recovery an env: {:?}", env.record);
    }
}

/// One first enter a frame, at most one end, after it; its parent ran before it.
fn frames(records: &[Record], finished: Finished) {
    let mut entered: HashMap<(TraceId, FrameId), Option<FrameId>> = HashMap::new();
    let mut ended = HashSet::new();
    for record in records {
        match record {
            Record::Step(step) => {
                let frame = (step.trace_id, step.frame.expect("an automatic step has a frame"));
                assert!(!ended.contains(&frame), "nothing comes after the end of a frame: {step:?}");
                if step.status == Status::Enter && !step.resumed {
                    assert!(entered.insert(frame, step.parent).is_none(), "entered once: {step:?}");
                    let parent = step.parent.map(|parent| (step.trace_id, parent));
                    assert!(parent.is_none_or(|parent| entered.contains_key(&parent)), "called by whom? {step:?}");
                } else {
                    assert_eq!(entered.get(&frame), Some(&step.parent), "entered before, by the same: {step:?}");
                }
                if step.status != Status::Enter {
                    assert!(ended.insert(frame), "ended once: {step:?}");
                }
            }
            Record::Note(NoteRecord { trace_id, note: Note::Unwound { frame, .. }, .. }) => {
                assert!(entered.contains_key(&(*trace_id, *frame)));
                assert!(ended.insert((*trace_id, *frame)), "ended once: {record:?}");
            }
            _ => {}
        }
    }
    if finished == Finished::Yes {
        assert_eq!(entered.len(), ended.len(), "what began has ended");
    }
}

/// A key is that of one frame, and goes on from the key of its parent.
fn keys(records: &[Record]) {
    let mut keys: HashMap<(TraceId, FrameId), &str> = HashMap::new();
    let mut taken = HashSet::new();
    let enters = records.iter().filter_map(Record::as_step);
    for step in enters.filter(|step| step.status == Status::Enter && !step.resumed) {
        let key = step.key.as_deref().expect("an automatic step has a key");
        assert!(taken.insert((step.trace_id, key)), "two frames with the key {key}");
        keys.insert((step.trace_id, step.frame.expect("checked before")), key);
        let parent = step.parent.map(|parent| keys[&(step.trace_id, parent)]);
        if !key.starts_with('~') {
            let rest = parent.map_or(Some(key), |parent| key.strip_prefix(parent)?.strip_prefix('/'));
            let rest = rest.unwrap_or_else(|| panic!("{key} does not go on from {parent:?}"));
            let call = rest.rsplit('/').next().expect("never empty");
            assert!(call.starts_with(&format!("{}#", step.node)), "{key} is a key of {}", step.node);
        }
    }
}

/// A call ends before its caller does, however both end. Holds where no call is handed to somebody who outlives its
/// caller: what is forked does not count.
#[track_caller]
pub fn inner_frames_end_first(records: &[Record]) {
    let mut ended: HashMap<(TraceId, FrameId), u64> = HashMap::new();
    for record in records {
        match record {
            Record::Step(step) if step.status != Status::Enter => {
                ended.insert((step.trace_id, step.frame.expect("automatic")), step.seq);
            }
            Record::Note(NoteRecord { trace_id, seq, note: Note::Unwound { frame, .. }, .. }) => {
                ended.insert((*trace_id, *frame), *seq);
            }
            _ => {}
        }
    }
    let steps =
        || records.iter().filter_map(Record::as_step).filter(|step| step.status == Status::Enter && !step.resumed);
    let keys: HashMap<_, _> = steps().map(|step| ((step.trace_id, step.frame), step.key.as_deref())).collect();
    for step in steps() {
        let (Some(frame), Some(parent), Some(key)) = (step.frame, step.parent, &step.key) else { continue };
        let forked = match keys[&(step.trace_id, Some(parent))].and_then(|parent| key.strip_prefix(parent)) {
            Some(rest) => rest.starts_with("/fork#"),
            // Shortened.
            None => true,
        };
        let (inner, outer) = (ended[&(step.trace_id, frame)], ended[&(step.trace_id, parent)]);
        assert!(forked || inner < outer, "{step:?} outlives its caller");
    }
}

/// Who enters an env that is under way is called by its innermost open frame, so that an error never ends the env of
/// a sibling. Holds where no future is handed from the function that called it to another.
#[track_caller]
pub fn called_by_the_innermost(records: &[Record]) {
    for env in envs(records).values() {
        let mut open: Vec<&StepRecord> = Vec::new();
        for step in &env.steps {
            match step.status {
                Status::Enter => {
                    if let (Some(innermost), false) = (open.last(), step.resumed) {
                        assert_eq!(step.parent, innermost.frame, "{step:?} in {env:#?}");
                    }
                    open.push(step);
                }
                _ => open.retain(|enter| enter.frame != step.frame),
            }
        }
    }
}

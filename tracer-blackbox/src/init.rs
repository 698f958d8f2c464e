//! One line for applications: a black box where such things belong, and a look at what earlier processes left.

use std::collections::HashMap;
use std::env;
use std::path::{Path, PathBuf};

use tracer::tree::Escaped;
use tracer::{TraceId, Tracer, current_trace_id};

use crate::aside;
use crate::blackbox::BlackBox;
use crate::directory::{
    BYTES_MAX, ListedFile, Standing, is_far_too_much, is_too_much, listed, make_room, mark, mark_ended, recover_file,
    standing,
};
use crate::options::Options;
use crate::reader::{Death, OpenNode, Recovered};
use crate::tell::tell;

/// What [`init`] does, where something is to differ.
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `init`"]
pub struct Init {
    directory: Option<PathBuf>,
    options: Options,
    quiet: bool,
    bytes_max: u64,
}

/// Characters that are told of a node.
const TOLD_CHARS_MAX: usize = 300;

/// Processes that are told of, the last ones.
const PROCESSES_TOLD: usize = 10;

/// Files that a program which starts looks at itself: those that have ended since another did.
const LOOKED_AT_FIRST: usize = 2;

/// Open nodes that are told of a process.
const NODES_TOLD: usize = 4;

/// Digits of an id: no two traces of a directory begin with the same so many.
const ID_LEN: usize = 12;

impl Default for Init {
    fn default() -> Self {
        let quiet = env::var_os("TRACER_QUIET").is_some_and(|value| !value.is_empty());
        Self { directory: None, options: Options::default().signals(true), quiet, bytes_max: BYTES_MAX }
    }
}

/// Makes a black box the recorder of the global tracer, and tells what earlier processes left.
///
/// The directory is `TRACER_DIR`; if that is not set, `/tmp/tracer` on AWS Lambda, and `.tracer` in the working directory
/// elsewhere. `SIGSEGV` and the like are noted, then go to whoever handled them before; so is a `SIGTERM` that nobody handles.
/// For each process that did not
/// end in order and that nobody has been told of, of the last ten, a few lines on standard error say what it was doing, unless
/// `TRACER_QUIET` is set: a thread reads what they left, so that the program need not wait. A program that ends in order
/// before that is done waits for it then, two seconds at most. Files that were told of are deleted by that thread, oldest
/// first, when all take more than 256 MiB, until they take three quarters of that; and others whose processes are gone, but
/// the newest, when those take more than 1 GiB.
///
/// It belongs at the beginning of a `main` that is not traced itself: a trace that has begun goes on where it began, which
/// is not here. That is said, too.
///
/// `None`: there was no memory for it; the tracer is as it was.
///
/// ```no_run
/// tracer_blackbox::init();
/// ```
pub fn init() -> Option<BlackBox> {
    Init::default().init()
}

impl Init {
    /// The directory, whatever the environment says.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The black box itself.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Says nothing on standard error.
    pub fn quiet(mut self, quiet: bool) -> Self {
        self.quiet = quiet;
        self
    }

    /// What files may take together: 256 MiB unless given. Those that nobody has been told of stay until all take four
    /// times as much, 1 GiB at least. Children that are forked see to it, too.
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Does it.
    pub fn init(self) -> Option<BlackBox> {
        let directory = self.directory.unwrap_or_else(default_directory);
        // As the box names its own file, which is not to be read as one that others left.
        let place = std::path::absolute(&directory).unwrap_or_else(|_| directory.clone());
        let options = if self.quiet { self.options.quiet(true) } else { self.options };
        let options = Options { bytes_max: Some(self.bytes_max), ..options };
        let black_box = match options.open(&directory) {
            Ok(black_box) => black_box,
            Err(error) => {
                if !self.quiet {
                    tell(format_args!("no black box: {error}"));
                }
                return None;
            }
        };
        if let Some(trace) = current_trace_id().filter(|_| !self.quiet) {
            tell(format_args!(
                "`init` was called in a traced function: {trace} goes on outside of the black box; call it before"
            ));
        }
        Tracer::builder().recorder(black_box.clone()).install();
        let files = listed(&place).unwrap_or_default();
        LookBack { files, directory, bytes_max: self.bytes_max }.begin(black_box.path().as_deref(), self.quiet);
        Some(black_box)
    }
}

/// Where [`init`] puts files, unless it is told.
pub fn default_directory() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    match (set("TRACER_DIR"), set("AWS_LAMBDA_FUNCTION_NAME")) {
        (Some(directory), _) => directory.into(),
        (None, Some(_)) => "/tmp/tracer".into(),
        (None, None) => ".tracer".into(),
    }
}

/// A look at what earlier processes left.
struct LookBack {
    files: Vec<ListedFile>,
    /// Their place, as it was given.
    directory: PathBuf,
    bytes_max: u64,
}

impl LookBack {
    /// Looks at how each ended. Where there is more to it, a thread does what is to be done: the program does not wait.
    fn begin(mut self, own: Option<&Path>, quiet: bool) {
        self.files.retain(|file| Some(&*file.path) != own);
        // Whoever is started again and again, and dies at once, may not come to it otherwise.
        if is_far_too_much(&self.files, self.bytes_max) {
            self.look();
            make_room(&self.files, self.bytes_max);
        }
        let unmarked = self.files.iter().filter(|file| !file.is_marked).count();
        let dead = (unmarked <= LOOKED_AT_FIRST).then(|| self.look());
        if dead.as_ref().is_some_and(|dead| dead.is_empty() || quiet) && !is_too_much(&self.files, self.bytes_max) {
            return;
        }
        aside::run(move || {
            let dead = dead.unwrap_or_else(|| self.look());
            // Where nobody is told they stay as they are.
            if !quiet {
                self.tell(&dead);
            }
            make_room(&self.files, self.bytes_max);
        });
    }

    /// The places of those whose processes are gone and do not say that they ended in order.
    fn look(&mut self) -> Vec<usize> {
        let mut dead = Vec::new();
        for (place, file) in self.files.iter_mut().enumerate().filter(|(_, file)| !file.is_marked) {
            let standing = standing(&file.path);
            mark_ended(file, standing);
            if standing == Standing::Dead {
                dead.push(place);
            }
        }
        dead
    }

    /// Tells of each once.
    fn tell(&mut self, dead: &[usize]) {
        let mut told_of = None;
        let (before, dead) = dead.split_at(dead.len().saturating_sub(PROCESSES_TOLD));
        let mut untold = 0;
        for place in before {
            let file = &mut self.files[*place];
            file.is_marked = file.path.exists() && mark(&file.path);
            untold += usize::from(file.is_marked);
        }
        if untold > 0 {
            tell(format_args!("{untold} more processes have not ended in order; `tracer ls` lists what they did"));
        }
        for place in dead {
            let file = &mut self.files[*place];
            let recovered = recover_file(&file.path).ok().filter(|recovered| is_to_be_told(&recovered.death));
            let Some(recovered) = recovered else { continue };
            if mark(&file.path) {
                file.is_marked = true;
                for line in told(&recovered) {
                    tell(format_args!("{}", printable(&line)));
                }
                told_of = Some(telling_trace(&recovered));
            }
        }
        if let Some(trace) = told_of {
            tell(format_args!("{}", how_to_see_more(&self.directory, trace)));
        }
    }
}

/// What a process was at in the end: the trace of the last node that is told of, or its newest.
fn telling_trace(recovered: &Recovered<'_>) -> Option<TraceId> {
    let open = most_telling(&recovered.open).last().map(|open| open.trace_id);
    open.or_else(|| recovered.traces().last().map(|trace| trace.trace_id))
}

/// The commands that show it all. By its id: soon `last` is a trace of this process.
fn how_to_see_more(directory: &Path, trace: Option<TraceId>) -> String {
    // Where the program that reads looks by itself, if it is run in the same place.
    let is_found = env::var_os("TRACER_DIR").is_some_and(|set| set == directory) || directory == Path::new(".tracer");
    let place = if is_found { String::new() } else { printable(&format!(" --dir {}", directory.display())) };
    let show = trace.map(|trace| format!("{trace:x}")).map(|mut digits| {
        digits.truncate(ID_LEN);
        format!("`tracer show {digits}{place}` shows what led there, ")
    });
    format!("  {}`tracer ls{place}` lists all", show.unwrap_or_default())
}

/// Who ended in order has nothing to tell, even if that was just now.
fn is_to_be_told(death: &Death) -> bool {
    !matches!(death, Death::StillRunning | Death::Unknown | Death::OtherNamespace | Death::Clean { .. })
}

fn told(recovered: &Recovered<'_>) -> Vec<String> {
    let process = &recovered.process;
    let mut lines = vec![format!("{} (process {}) {}", process.app, process.pid, recovered.death)];
    lines.extend(most_telling(&recovered.open).into_iter().map(|node| {
        let cut = if node.truncated { " (cut)" } else { "" };
        let arguments = if node.arguments.is_null() { String::new() } else { format!(" with {}{cut}", node.arguments) };
        format!("  {} was running{arguments} in {}", node.node, node.trace_id)
    }));
    let more = recovered.open.len().saturating_sub(NODES_TOLD);
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines.push(format!("  {}", recovered.confidence));
    lines
}

/// Of nodes in the order in which they were entered, those that say most: of each trace the innermost, which is what it was
/// at, the newest first, then what has called these. In their order.
fn most_telling(open: &[OpenNode]) -> Vec<&OpenNode> {
    let mut of_trace: HashMap<TraceId, usize> = HashMap::new();
    let mut ranked: Vec<(usize, usize)> = Vec::with_capacity(open.len());
    for (place, node) in open.iter().enumerate().rev() {
        let inside = of_trace.entry(node.trace_id).or_default();
        ranked.push((*inside, place));
        *inside += 1;
    }
    ranked.sort_by_key(|(inside, _)| *inside);
    ranked.truncate(NODES_TOLD);
    ranked.sort_unstable_by_key(|(_, place)| *place);
    ranked.into_iter().map(|(_, place)| &open[place]).collect()
}

/// Values come from anywhere: none may command a terminal.
fn printable(text: &str) -> String {
    let mut chars = text.chars();
    let cut: String = chars.by_ref().take(TOLD_CHARS_MAX).collect();
    format!("{}{}", Escaped(&cut), if chars.next().is_some() { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tracer::EnvId;

    use super::*;

    #[test]
    fn of_each_trace_the_innermost_is_told_before_those_that_called_it() {
        let node = |trace: u128, node: &str| OpenNode {
            trace_id: TraceId::new(trace).unwrap(),
            env_id: EnvId::new(1).unwrap(),
            frame: None,
            node: node.to_owned(),
            since_unix_ns: 0,
            arguments: Value::Null,
            truncated: false,
        };
        let named = |open: &[OpenNode]| most_telling(open).iter().map(|node| node.node.clone()).collect::<Vec<_>>();
        let deep: Vec<OpenNode> = (0..30).map(|depth| node(1, &format!("deep {depth}"))).collect();
        assert_eq!(named(&deep), ["deep 26", "deep 27", "deep 28", "deep 29"]);
        assert_eq!(named(&deep[..2]), ["deep 0", "deep 1"]);
        let both: Vec<OpenNode> = (0..30).map(|number| node(1 + number % 2, &format!("{number}"))).collect();
        assert_eq!(named(&both), ["26", "27", "28", "29"]);
        let requests: Vec<OpenNode> = (0..30).map(|number| node(1 + number, &format!("{number}"))).collect();
        assert_eq!(named(&requests), ["26", "27", "28", "29"]);
        let other = [node(7, "outer"), node(7, "inner")].into_iter().chain(deep).collect::<Vec<_>>();
        assert_eq!(named(&other), ["outer", "inner", "deep 28", "deep 29"]);
    }
}

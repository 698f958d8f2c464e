//! The arguments, and what `--help` says of them.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::output::Choice;
use crate::wanted::Wanted;

/// Where traces are unless something else is said.
const DIRECTORY: &str = ".tracer";

const EXAMPLES_AND_EXITS: &str = "\
Examples:
  tracer ls --failed              what went wrong lately, newest first
  tracer show last                what was the last run doing, with which values?
  tracer show 7f3a                the trace whose id begins with 7f3a
  tracer tail -f --dir app.jsonl  records as they are written
  tracer recover --out out.jsonl  everything that is readable, as JSON lines
  tracer ls --json | jq .source   for programs
  tracer exec ls --dead           executions that nothing tries again by itself

Where it looks:
  Every `--dir`, or else the directory in the variable TRACER_DIR, or else `.tracer` in the
  working directory. A directory is searched for files of records, and so are the directories
  in it (one an application); links are not followed. A file is read whatever its name.

Exit codes:
  0  done
  1  there is nothing to show; `doctor`: something needs to be done; `exec`: it does not allow that
  2  the command line cannot be meant: an unknown option, an id that begins several ids
  3  some input cannot be read; what could be read was shown
  4  the output cannot be written";

const TLS: &str = "\
TLS, which the URL demands:
  postgres://…?sslmode=MODE
    disable      none
    prefer       where the server has it, and then with whatever certificate; unless said
    verify-ca    always, and a certificate by a CA that is trusted, for whatever name
    verify-full  always, and a certificate by a CA that is trusted, for the host in the URL
    require      the same as verify-full
    `sslrootcert=FILE` is what `--ca FILE` is, and `sslrootcert=system` as if neither was said.
    On sockets of this machine there is none.
  mysql://…?require_ssl=true  as verify-full; with `verify_ca=false` as if `--insecure` was said;
                              `verify_identity=false` has no effect
  rediss://…#NAMESPACE        as verify-full
  dynamodb://TABLE            as verify-full, unless there is an `endpoint=http://…`; without
                              `--ca` and `--insecure`

  Trusted are the CAs of the system (or of the variables SSL_CERT_FILE and SSL_CERT_DIR), or
  only those of `--ca FILE`. There are no certificates of clients, and no lists of those that
  were revoked.

  In libpq `require` looks at a certificate only where a CA is named; the system's CAs are
  trusted only if that is said; `~/.postgresql/root.crt` is read; `allow` is a mode, too; and
  `prefer` does without TLS where a handshake fails. Not so here.";

/// Reads traces back on disk: what ran, with which values, and where it failed.
#[derive(Debug, Parser)]
#[command(name = "tracer", version, after_long_help = EXAMPLES_AND_EXITS, max_term_width = 100, propagate_version = true)]
#[command(after_help = "`tracer --help` has examples, where traces are looked for, and the exit codes.")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What every verb takes.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Options of every verb")]
pub(crate) struct Common {
    /// A directory or file to read; may be given several times
    ///
    /// Without it: what the variable `TRACER_DIR` says, or else `.tracer`.
    #[arg(long = "dir", global = true, value_name = "PATH")]
    directories: Vec<PathBuf>,

    /// JSON instead of text: one object a line
    ///
    /// Times of day are Unix nanoseconds as texts, since many readers of JSON keep no more than 53 bits of a number;
    /// durations are numbers of nanoseconds. Fields may be added, and are never renamed. The help of each verb lists its
    /// fields.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// The files are copies, of a machine that stayed up
    ///
    /// What has no check yet is believed then. Without it, a black box of another boot counts as one of a machine that went
    /// down while its process ran, since which parts of it may be missing or old.
    #[arg(long, global = true)]
    pub(crate) copied: bool,

    /// When to colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Choice,
}

impl Common {
    /// Where to look.
    pub(crate) fn places(&self) -> Vec<PathBuf> {
        if !self.directories.is_empty() {
            return self.directories.clone();
        }
        let named = std::env::var_os("TRACER_DIR").filter(|directory| !directory.is_empty());
        vec![named.map_or_else(|| PathBuf::from(DIRECTORY), PathBuf::from)]
    }
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lists traces, newest first: one a line
    ///
    /// A line has the beginning of the id (enough of it for `tracer show`), when the trace began (UTC), what started it,
    /// how it stands, how long it took, its spans (runs of nodes), and the node that says most about how it ended: the
    /// one that failed and why, or the innermost that is still open.
    ///
    /// How it stands: ok · recovered (an error was handled) · failed · running (a step may still come) · lost
    /// (something is open, and its process is gone or is not known to live).
    #[command(after_long_help = "\
JSON, one object a trace:
  trace_id, short, source   the id, enough of it, what started the trace
  start_ns, end_ns          its first and last record; null if none is left
  state                     ok, recovered, failed, running, lost
  duration_ns, spans        from the first record to the last; runs of nodes
  node, error               the node that says most, and its error: {kind, type, message, chain}
  files                     where its records are")]
    Ls(Ls),

    /// Draws one trace as a tree, with durations, outcomes and recorded values
    ///
    /// In front of each node: ✓ it ended well, ✗ with an error of its own, ↑ with the error of a node below it, … it is
    /// open, not yet or never to end. Long values end with `…`, and `--json` has more of them; behind those that were too
    /// large to be recorded whole stands `(cut)`. Below the tree: when it ran, how much of its files could be read, what
    /// is missing, how its process ended, what is open, and what else was open there.
    #[command(after_long_help = "\
JSON, one object:
  trace_id, source, payload, payload_truncated, state, start_ns, end_ns, duration_ns,
              lost_steps; start_ns, end_ns: null if no record is left; …truncated: part of it
              was left out for its size when it was recorded, here and in spans
  spans       callers before what they called; `parent` is a place in this list:
              {parent, depth, node, frame, key, start_ns, duration_ns, outcome, error,
              arguments, arguments_truncated, result, result_truncated, omitted};
              outcome: ok, failed, unwound, open
  violations  edges that a declared flow does not have: {kind, flow, from, to}
  open        {trace_id, node, since_ns, arguments, truncated}
  beside      likewise, of other traces of its processes
  files       {file, format, process, app, pid, death, ended, alive, last_sign_ns, confidence,
              gaps}, once for each process that the file tells of; ended: as in `recover`")]
    Show(Show),

    /// Prints the newest records, one a line
    ///
    /// A line has the time (UTC), the beginning of the trace's id, what happened (env, enter, exit, error, note), and
    /// the node with its values, marked `(cut)` if they were too large to be recorded whole.
    ///
    /// With `-f`, what a program has written over before it could be read is told on the standard error.
    #[command(after_long_help = "\
JSON: the records as they are stored; with `-f` also
  {type: \"missed\", file, pages, records}
              parts of a file that were written over before they could be read, and how many
              records were in them at most")]
    Tail(Tail),

    /// Reads every file, says how much of it is there, and writes it as JSON lines
    ///
    /// Of each file: which process wrote it, how that ended, its records, its gaps, and the nodes that are open.
    #[command(after_long_help = "\
JSON, one object a file:
  file, format, size_bytes  the file
  process, death, alive     who wrote it, how that ended, whether it is known to be running
  app, pid, ended           likewise, for programs; ended: {kind} with {status} of clean, {text}
                            of panic, {signal, address} of signal, {deadline_ms} of deadline,
                            {used_bytes, limit_bytes} of memory; other kinds: killed, running,
                            host_lost, other_namespace, unknown
  records, traces, dropped  there; and counted by the process as not kept
  gaps, confidence          where records are missing; how much could be read
  skipped                   lines that became no record: {torn, unknown, newer, unreadable, too_long}
  open                      {trace_id, node, since_ns, arguments, truncated}
  processes                 if the file tells of several: {process, app, pid, death, ended, alive}
                            of each, and above null

Lines that --out writes beside records; earlier releases pass them by:
  {type: \"process\", schema, name, process, app, pid, death, ended, last_sign_ns, dropped, gaps}
              a process of a black box, named like that; gaps: {trace_id, text}
  {type: \"trace\", schema, trace_id, process, state, active, open}
              how a trace stands by what the process of that name knew; active: it was not over;
              open: {frame, node, since_ns, arguments, truncated}
Of several about the same, the last counts. The enter of an open node whose record was written
over is a step with the numbers 0: step_id and seq.")]
    Recover(Recover),

    /// Counts records, per file and per trace
    #[command(after_long_help = "\
JSON, one object a line:
  {of: \"file\", file, format, size_bytes, records, envs, steps, notes, traces, dropped, gaps, skipped}
  {of: \"trace\", trace_id, source, state, records, envs, steps, notes, spans, lost_steps}
  {of: \"all\", files, size_bytes, records, traces, by_state}")]
    Stats,

    /// Looks for what keeps traces from being written or read, and says what to do
    ///
    /// Of each directory: whether it is there, who may read it, free space, its kind of file system. Of what is in it:
    /// links, foreign files, files that others may read, files that cannot be read or are of a newer release, and those of
    /// processes that are running.
    #[command(after_long_help = "\
JSON, one object a finding:
  level  ok, note, trouble
  path   what it is about
  found  what was found
  help   what to do; absent if nothing

Ends with 1 if there is trouble.")]
    Doctor,

    /// Looks after executions in an SQLite file or in a database: lists, shows, cancels, retries them
    #[command(after_long_help = TLS)]
    Exec(Exec),
}

/// What `exec` takes.
#[derive(Debug, ClapArgs)]
pub(crate) struct Exec {
    /// The file that `tracer-sqlite` keeps executions in, or the URL of a database: `postgres://…`, `mysql://…/DATABASE`,
    /// `redis://…#NAMESPACE`, `rediss://…#NAMESPACE` with TLS, and, if that was built,
    /// `dynamodb://TABLE?region=…&endpoint=…`
    ///
    /// Without it: what the variable `TRACER_EXECUTIONS` says, or else `.tracer/executions.db`. What an older release has
    /// made is brought up to date as it is opened, and programs of that release then refuse it: who looks at a file has to be
    /// allowed to write to it, and to its directory.
    #[arg(long, global = true, value_name = "FILE|URL")]
    store: Option<PathBuf>,

    /// Trusts the CAs in this file (PEM) instead of those of the system; only with a URL that demands TLS
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "insecure")]
    pub(crate) ca: Option<PathBuf>,

    /// Believes any certificate, so whoever answers; only with a URL that demands TLS
    #[arg(long, global = true)]
    pub(crate) insecure: bool,

    #[command(subcommand)]
    pub(crate) verb: ExecVerb,
}

impl Exec {
    /// Where executions are: a file, or the URL of a database.
    pub(crate) fn place(&self) -> PathBuf {
        let named = || std::env::var_os("TRACER_EXECUTIONS").filter(|file| !file.is_empty());
        let otherwise = || named().map_or_else(|| PathBuf::from(DIRECTORY).join("executions.db"), PathBuf::from);
        self.store.clone().unwrap_or_else(otherwise)
    }
}

/// What can be done with executions.
#[derive(Debug, Subcommand)]
pub(crate) enum ExecVerb {
    /// Lists executions, newest first: one a line
    ///
    /// A line has the beginning of the id, when it was created (UTC), how it stands, its type, its attempts, and what there
    /// is to know: when it runs next, how far it is, why it failed. What cannot be read is named on the standard error.
    #[command(after_long_help = "JSON: each execution as programs have it.")]
    Ls(ExecLs),

    /// Shows one execution: its attempts with their traces and the waits between, progress, checkpoints
    #[command(after_long_help = "JSON: the execution as programs have it.")]
    Show(ExecOne),

    /// Calls an execution off; its worker is asked to stop
    Cancel(ExecCancel),

    /// Asks for another attempt of one that failed or timed out, while any is left
    Retry(ExecChange),

    /// Gives dead letters another series of attempts: those that failed or timed out
    Redrive(ExecRedrive),

    /// Deletes one execution that does not run, with all that is known of it; its idempotency key is free again
    ///
    /// With `--json`: `{"deleted": 1}`.
    Delete(ExecChange),

    /// Deletes what ended long ago: completed and cancelled executions, with all that is known of them
    ///
    /// With `--json`: `{"deleted": 12, "unreadable": 0}`. What cannot be read is counted, and left alone.
    Prune(ExecPrune),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ExecLs {
    /// Only those that are so
    ///
    /// One of `pending`, `running`, `completed`, `failed`, `cancelled`, `retrying`, `timed_out`; may be given several times.
    #[arg(long = "status", value_name = "STATUS")]
    pub(crate) statuses: Vec<tracer::execution::ExecutionStatus>,

    /// Only those of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) types: Vec<String>,

    /// Only dead letters: those that failed or timed out, and that nothing tries again by itself
    #[arg(long, conflicts_with = "statuses")]
    pub(crate) dead: bool,

    /// No more than so many
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ExecOne {
    /// The first digits of an id, `last`, or `last-failed` (the newest that failed or timed out)
    #[arg(value_name = "EXECUTION", value_parser = Wanted::execution, default_value = "last")]
    pub(crate) wanted: Wanted,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ExecChange {
    /// The first digits of an id, `last`, or `last-failed` (the newest that failed or timed out)
    #[arg(value_name = "EXECUTION", value_parser = Wanted::execution)]
    pub(crate) wanted: Wanted,

    /// Does it without asking
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ExecCancel {
    /// The first digits of an id, `last`, or `last-failed` (the newest that failed or timed out)
    #[arg(value_name = "EXECUTION", value_parser = Wanted::execution)]
    pub(crate) wanted: Wanted,

    /// Why; kept with the execution
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Does it without asking
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ExecRedrive {
    /// The first digits of an id, `last`, or `last-failed`
    #[arg(value_name = "EXECUTION", value_parser = Wanted::execution)]
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) wanted: Option<Wanted>,

    /// All dead letters
    #[arg(long)]
    pub(crate) all: bool,

    /// Only those of this type
    #[arg(long = "type", value_name = "TYPE", requires = "all", conflicts_with = "wanted")]
    pub(crate) types: Vec<String>,

    /// Does it without asking
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ExecPrune {
    /// Those that ended longer ago than this, as in `30d` or `12h`
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) older_than: std::time::Duration,

    /// Dead letters, too: those that failed or timed out, and that could be driven anew
    #[arg(long)]
    pub(crate) dead: bool,

    /// Does it without asking
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Ls {
    /// Only traces that did not end well: failed or lost
    #[arg(long)]
    pub(crate) failed: bool,

    /// No more than so many
    #[arg(long, short = 'n', value_name = "COUNT")]
    pub(crate) limit: Option<usize>,

    /// Only traces started by something whose name contains TEXT
    #[arg(long, value_name = "TEXT")]
    pub(crate) source: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Show {
    /// The first digits of an id, `last`, or `last-failed` (the newest that failed or was lost)
    #[arg(value_name = "TRACE", value_parser = Wanted::trace, default_value = "last")]
    pub(crate) wanted: Wanted,

    /// Draws all of it, however long
    ///
    /// Without it, of many calls side by side the first, the last, and those that are open are drawn, and of a trace of
    /// more than 10,000 records the newest.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Tail {
    /// Goes on with what is written from now on, until it is stopped
    #[arg(long, short)]
    pub(crate) follow: bool,

    /// So many records before that
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 10)]
    pub(crate) lines: usize,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Recover {
    /// Adds the records to FILE, as JSON lines, with what is known of how their processes ended
    ///
    /// Records that are in it stay and are not added again: doing it twice changes nothing. The file is made for its owner
    /// alone.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_agree_with_each_other() {
        super::Args::command().debug_assert();
    }
}

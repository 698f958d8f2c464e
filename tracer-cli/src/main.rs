//! `tracer`: reads traces back on disk.
//!
//! The verbs read all files of the places that they are given ([`source`]), group their records into [`traces`], and
//! write what was asked for: data to the standard output, messages to the standard error. Nothing here changes a file,
//! except the one that `recover --out` names, and the executions that `exec` is told to change.

mod args;
mod exit;
mod export;
mod output;
mod select;
mod session;
mod source;
mod system;
mod traces;
mod verb;
mod wanted;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Verb};
use exit::{Exit, Failure};
use output::{Colours, Messages};
use session::Session;

fn main() -> ExitCode {
    let args = Args::parse();
    let messages = Messages { colours: Colours::for_stream(args.common.color, &io::stderr()) };
    let stdout = io::stdout();
    let mut session = Session {
        places: args.common.places(),
        copied: args.common.copied,
        json: args.common.json,
        colours: Colours::for_stream(args.common.color, &stdout),
        out: Box::new(BufWriter::new(stdout.lock())),
        messages,
    };
    let done = run(&args.verb, &mut session).and_then(|exit| {
        session.out.flush()?;
        Ok(exit)
    });
    done.unwrap_or_else(|failure| failure.report(messages)).into()
}

fn run(verb: &Verb, session: &mut Session<'_>) -> Result<Exit, Failure> {
    match verb {
        Verb::Ls(args) => verb::ls::run(args, session),
        Verb::Show(args) => verb::show::run(args, session),
        Verb::Tail(args) => verb::tail::run(args, session),
        Verb::Recover(args) => verb::recover::run(args, session),
        Verb::Stats => verb::stats::run(session),
        Verb::Doctor => verb::doctor::run(session),
        Verb::Exec(args) => verb::exec::run(args, session),
    }
}

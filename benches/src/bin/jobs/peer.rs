//! A queue of others: a program beside this one, that is told how many jobs to do and says what they cost.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A program that runs, and ends with this.
pub(crate) struct Peer {
    program: String,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Peer {
    /// Starts it on a database.
    pub(crate) async fn start(program: &Path, url: &str) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.arg(url).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let program = program.display().to_string();
        let mut child = command.spawn().map_err(|error| format!("cannot start {program}: {error}"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{program} has no pipes"));
        };
        let mut peer = Self { program, input, output: BufReader::new(output).lines(), _child: child };
        match peer.said().await?.as_str() {
            "ready" => Ok(peer),
            other => Err(format!("{} said {other:?}", peer.program)),
        }
    }

    /// So many jobs: what they cost its process, and how long they took, in microseconds.
    pub(crate) async fn drain(&mut self, jobs: usize) -> Result<(f64, f64), String> {
        let told = self.input.write_all(format!("{jobs}\n").as_bytes()).await;
        told.map_err(|error| format!("{}: {error}", self.program))?;
        let said = self.said().await?;
        let figures = said.split_once(' ').and_then(|(cpu, wall)| Some((cpu.parse().ok()?, wall.parse().ok()?)));
        figures.ok_or_else(|| format!("{} said {said:?}", self.program))
    }

    async fn said(&mut self) -> Result<String, String> {
        let line = self.output.next_line().await.map_err(|error| error.to_string())?;
        line.ok_or_else(|| format!("{} has ended", self.program))
    }
}

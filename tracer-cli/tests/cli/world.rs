//! A working directory with files of records, and runs of the program in it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// 2026-01-02T03:04:05Z.
pub(crate) const BEGIN_NS: u64 = 1_767_323_045_000_000_000;
pub(crate) const MS: u64 = 1_000_000;

/// A directory that is gone afterwards. It has `.tracer`, with the permissions that it should have.
pub(crate) struct World {
    directory: TempDir,
}

/// What a run of the program left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self { directory: TempDir::new().unwrap() };
        fs::create_dir(world.path(".tracer")).unwrap();
        world.restrict(".tracer", 0o700);
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn restrict(&self, name: &str, mode: u32) {
        #[cfg(unix)]
        fs::set_permissions(self.path(name), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self.restrict(name, 0o600);
        self
    }

    /// Records, one a line.
    pub(crate) fn write_records(&self, name: &str, records: &[Value]) -> &Self {
        self.write(name, lines(records))
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The program with these arguments, split at spaces, in an environment that says nothing.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tracer"));
        command.args(arguments.split_whitespace()).current_dir(self.directory.path()).stdin(Stdio::null());
        for name in ["TRACER_DIR", "NO_COLOR", "TERM", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command
    }

    pub(crate) fn run(&self, arguments: &str) -> Ran {
        self.command(arguments).output().unwrap().into()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("it was not killed"),
            out: String::from_utf8(output.stdout).expect("it writes UTF-8"),
            err: String::from_utf8(output.stderr).expect("it writes UTF-8"),
        }
    }
}

impl Ran {
    /// Exit code, output and messages, to compare with a snapshot.
    pub(crate) fn text(&self) -> String {
        let Self { code, out, err } = self;
        let messages = if err.is_empty() { String::new() } else { format!("--- messages\n{err}") };
        format!("{out}{messages}--- {code}\n")
    }

    /// The lines of the output as JSON.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(crate) fn lines(records: &[Value]) -> String {
    records.iter().flat_map(|record| [record.to_string(), "\n".to_owned()]).collect()
}

/// Records of a trace of one env, numbered as they are added.
pub(crate) struct Story {
    trace: String,
    pub(crate) records: Vec<Value>,
    step: u64,
    ns: u64,
}

impl Story {
    /// `trace` is the id without its leading zeros, or the first digits of it if it ends with `…`.
    pub(crate) fn new(trace: &str, source: &str, payload: &Value, begin_ns: u64) -> Self {
        let trace = match trace.strip_suffix('…') {
            Some(first) => format!("{first:0<32}"),
            None => format!("{trace:0>32}"),
        };
        let mut story = Self { trace, records: Vec::new(), step: 0, ns: begin_ns };
        story.push("env", &json!({"source": source, "payload": payload, "cause": "root"}));
        story
    }

    fn push(&mut self, kind: &str, rest: &Value) {
        let mut record = json!({
            "type": kind, "schema": 1, "trace_id": self.trace, "env_id": self.trace[..16], "step_id": self.step,
            "seq": self.records.len() + 1, "ts": self.ns.to_string(),
        });
        if self.trace.starts_with("0000000000000000") {
            record["env_id"] = self.trace[16..].into();
        }
        record.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        self.records.push(record);
    }

    pub(crate) fn after(mut self, ns: u64) -> Self {
        self.ns += ns;
        self
    }

    /// The frame is that of the step that enters.
    pub(crate) fn enter(mut self, node: &str, parent: Option<u64>, values: &Value) -> Self {
        self.step += 1;
        let mut step = json!({"node": node, "status": "enter", "frame": format!("0.{}", self.step), "key": node});
        if !values.is_null() {
            step["values"] = values.clone();
        }
        if let Some(parent) = parent {
            step["parent"] = format!("0.{parent}").into();
        }
        self.push("step", &step);
        self
    }

    pub(crate) fn exit(mut self, node: &str, frame: u64, ret: &Value) -> Self {
        self.step += 1;
        let frame = format!("0.{frame}");
        self.push("step", &json!({"node": node, "status": "exit", "frame": frame, "values": {"ret": ret}}));
        self
    }

    pub(crate) fn error(mut self, node: &str, frame: u64, type_name: &str, message: &str) -> Self {
        self.step += 1;
        let error = json!({"kind": "err", "type": type_name, "message": message, "chain": []});
        let frame = format!("0.{frame}");
        self.push("step", &json!({"node": node, "status": "error", "frame": frame, "error": error}));
        self
    }

    pub(crate) fn unwound(mut self, node: &str, frame: u64) -> Self {
        let note = json!({"kind": "unwound", "frame": format!("0.{frame}"), "node": node, "error": "err"});
        self.push("note", &json!({ "note": note }));
        self
    }
}

/// A webhook that was handled.
pub(crate) fn handled(trace: &str, begin_ns: u64) -> Vec<Value> {
    let story = Story::new(trace, "webhook", &json!({"id": 8}), begin_ns);
    let story = story.after(MS).enter("handle", None, &json!({"order": {"id": 8}}));
    story.after(2 * MS).exit("handle", 1, &json!("paid")).records
}

/// A webhook whose card was declined.
pub(crate) fn declined(trace: &str, begin_ns: u64) -> Vec<Value> {
    let story = Story::new(trace, "webhook", &json!({"id": 7}), begin_ns);
    let order = json!({"order": {"id": 7, "card": {"$redacted": true}}});
    let story = story.after(MS).enter("handle", None, &order).after(MS).enter("charge", Some(1), &Value::Null);
    story.after(10 * MS).error("charge", 2, "shop::CardError", "declined").unwound("handle", 1).records
}

/// An import that nobody saw the end of.
pub(crate) fn unfinished(trace: &str, begin_ns: u64) -> Vec<Value> {
    let story = Story::new(trace, "import", &Value::Null, begin_ns);
    let story =
        story.after(MS).enter("rows", None, &json!({"count": 3})).after(MS).enter("row", Some(1), &json!({"nr": 1}));
    story.after(MS).exit("row", 2, &Value::Null).after(MS).enter("row", Some(1), &json!({"nr": 2})).records
}

/// One of each, in two files.
pub(crate) fn three_traces() -> World {
    let world = World::new();
    world.write_records(
        ".tracer/shop/a.jsonl",
        &[declined("ab01…", BEGIN_NS), handled("ab02…", BEGIN_NS + MS)].concat(),
    );
    world.write_records(".tracer/b.jsonl", &unfinished("cd…", BEGIN_NS + 60_000 * MS));
    world.restrict(".tracer/shop", 0o700);
    world
}

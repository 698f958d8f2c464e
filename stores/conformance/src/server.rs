//! Servers for the tests of stores: one process each, on files of its own, gone when the test process is.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// `nobody`: for servers that refuse to run as root.
const NOBODY: u32 = 65_534;

/// Ends the server and removes its files as soon as its standard input ends, which it does with the test process, however
/// that dies. A line there is a signal for the server; then the files stay.
const WATCH: &str = r#"
directory=$1
end=$2
shift 2
exec >>"$directory/log" 2>&1
(
    "$@" &
    echo $! >"$directory/process"
    wait $!
    echo $? >"$directory/ended"
) &
if read -r signal; then
    kill -"$signal" "$(cat "$directory/process")"
    wait
else
    kill -"$end" "$(cat "$directory/process")"
    wait
    rm -rf "$directory"
fi
"#;

/// A directory for the files of a server.
#[derive(Debug)]
pub struct Place {
    directory: PathBuf,
    user: Option<u32>,
    end: &'static str,
}

impl Place {
    /// An empty one.
    ///
    /// # Panics
    ///
    /// If there is no place for temporary files.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("there is a place for temporary files").keep();
        Self { directory, user: None, end: "TERM" }
    }

    /// What runs here does not do so as root.
    ///
    /// # Panics
    ///
    /// If root cannot give a directory to somebody.
    #[must_use]
    pub fn not_as_root(mut self) -> Self {
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        if is_root {
            chown(&self.directory, Some(NOBODY), Some(NOBODY)).expect("root may do that");
            self.user = Some(NOBODY);
        }
        self
    }

    /// By which signal the server is ended: `TERM` unless given.
    #[must_use]
    pub fn ended_by(mut self, signal: &'static str) -> Self {
        self.end = signal;
        self
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Puts a file here that nobody but what runs here can read, as servers want it of their keys, and gives its path.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("the directory is ours");
        chown(&path, self.user, self.user).expect("what is ours can be given to who runs here");
        path
    }

    /// A program that runs here.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        // A MariaDB that starts removes what another that starts at the same time has in a directory that both have.
        command.current_dir(&self.directory).env("TMPDIR", &self.directory);
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Runs a program that prepares the files of a server.
    ///
    /// # Panics
    ///
    /// If it cannot be run or fails; with what it said.
    pub fn prepare(&self, command: &mut Command) {
        let made = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// Starts a server that runs here.
    ///
    /// # Panics
    ///
    /// If no process can be started.
    pub fn serve<'a>(self, program: impl AsRef<Path>, arguments: impl IntoIterator<Item = &'a str>) -> Server {
        // Of the server that ran here before.
        let _ = std::fs::remove_file(self.directory.join("ended"));
        let mut watch = self.command("/bin/sh");
        watch.args(["-c", WATCH, "watch"]).arg(&self.directory).arg(self.end).arg(program.as_ref()).args(arguments);
        let watch = watch.stdin(Stdio::piped()).spawn().expect("a shell can be started");
        Server { place: Some(self), watch }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

/// A server. Dropped, it ends, and its files are removed.
#[derive(Debug)]
pub struct Server {
    place: Option<Place>,
    watch: Child,
}

impl Server {
    /// Where its files are. What it says is in `log` there.
    ///
    /// # Panics
    ///
    /// Never: it has one until it is killed.
    pub fn path(&self) -> &Path {
        self.place.as_ref().expect("it was not killed").path()
    }

    /// Looks whether it still runs, while one waits for its answer.
    ///
    /// # Panics
    ///
    /// If it has ended; with what it said.
    pub fn must_run(&self) {
        if self.path().join("ended").exists() {
            let log = std::fs::read(self.path().join("log")).unwrap_or_default();
            panic!("the server has ended: {}", String::from_utf8_lossy(&log));
        }
    }

    /// Kills it, and gives its files, on which another one may run.
    ///
    /// # Panics
    ///
    /// If it was not there any more.
    pub fn kill(mut self) -> Place {
        let told = self.watch.stdin.take().map(|mut stdin| stdin.write_all(b"KILL\n"));
        told.expect("it is open as long as this").expect("somebody watches");
        self.watch.wait().expect("it is a child of this process");
        self.place.take().expect("it was not killed")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watch.stdin.take());
        // Whether it ended well is for nobody to know any more.
        let _ = self.watch.wait();
    }
}

/// A PostgreSQL on the socket `.s.PGSQL.5432` among its files, with `-c name=value` and the like as settings; its superuser
/// and database are `postgres`. Its files are made if the place has none. It takes a moment before it answers.
///
/// # Panics
///
/// If there is none, in the path or where Debian puts it, or it cannot be prepared.
pub fn postgres(place: Place, settings: &[&str]) -> Server {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut places: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    places.sort();
    places.reverse();
    let found = |name| program(&[name], &places).expect("there is a PostgreSQL: `cargo xtask test` installs one");
    let place = place.not_as_root().ended_by("INT");
    if !place.path().join("data").exists() {
        let mut initdb = place.command(found("initdb"));
        initdb.args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "-D", "data"]);
        place.prepare(&mut initdb);
    }
    let path = place.path().display().to_string();
    place.serve(found("postgres"), ["-D", "data", "-k", &path, "-h", ""].iter().chain(settings).copied())
}

/// A MariaDB, or MySQL, on the socket `mysql.sock` among its files, with these settings; everybody on this machine is its
/// `root`. Its files are made if the place has none. It takes a moment before it answers.
///
/// # Panics
///
/// If there is none, in the path or where Debian puts it, or it cannot be prepared.
pub fn mariadb(place: Place, settings: &[&str]) -> Server {
    let find = |names| program(names, &["/usr/sbin".into()]);
    let server = find(&["mariadbd", "mysqld"]).expect("there is a MariaDB: `cargo xtask test` installs one");
    let here = [("--datadir", "data"), ("--socket", "mysql.sock"), ("--pid-file", "pid")];
    let here = here.map(|(option, file)| format!("{option}={}", place.path().join(file).display()));
    if !place.path().join("data").exists() {
        let (installer, options) = match find(&["mariadb-install-db"]) {
            Some(installer) if server.ends_with("mariadbd") => {
                (installer, ["--auth-root-authentication-method=normal", "--skip-test-db"].as_slice())
            }
            _ => (server.clone(), ["--initialize-insecure"].as_slice()),
        };
        let mut install = place.command(installer);
        place.prepare(install.args(["--no-defaults", "--user=root"]).args(options).arg(&here[0]));
    }
    let fixed = ["--no-defaults", "--user=root", "--skip-networking", "--max-connections=400", "--skip-log-bin"];
    let arguments = fixed.into_iter().chain(here.iter().map(String::as_str)).chain(settings.iter().copied());
    place.serve(server, arguments)
}

/// A Redis, or Valkey, on the socket `redis.sock` among its files, with these settings. It takes a moment before it answers.
///
/// # Panics
///
/// If there is none in the path.
pub fn redis(place: Place, settings: &[&str]) -> Server {
    let server = program(&["redis-server", "valkey-server"], &[]);
    let server = server.expect("there is a Redis: `cargo xtask test` installs one");
    place.serve(server, ["--port", "0", "--unixsocket", "redis.sock"].iter().chain(settings).copied())
}

/// Builds a package that nothing may depend on, and gives the file that comes of it. What is built is kept in `target`, so
/// that it is built once.
///
/// # Panics
///
/// If it cannot be built.
pub fn built(manifest: &Path, target: &Path, file: &str) -> PathBuf {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked", "--manifest-path"]).arg(manifest).arg("--target-dir").arg(target);
    assert!(cargo.status().expect("cargo can be started").success(), "{} is built", manifest.display());
    target.join("debug").join(file)
}

/// A port that nobody listens to at the moment.
///
/// # Errors
///
/// If there is none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The first place in the path, or else among these directories, that has one of these programs.
pub fn program(names: &[&str], directories: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(directories.iter().cloned());
    places.flat_map(|place| names.iter().map(move |name| place.join(name))).find(|program| program.is_file())
}

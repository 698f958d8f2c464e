//! What is sent elsewhere is deleted when it has arrived, and not before: against a server that fails, is slow, or takes
//! it and does not say so.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tracer_blackbox::{acknowledge, delete_read, files_in};

use crate::child::{Directory, recover_file, start};

/// What the server does with a request.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Takes,
    /// Takes it, and hangs up before it has said so.
    TakesAndHangsUp,
    /// Takes it, and says so when nobody waits any more.
    TakesSlowly,
    Fails,
    HangsUp,
}

/// Everything that has arrived, by the segment that it is of; each with how often it came.
type Arrived = Arc<Mutex<BTreeMap<String, (String, u32)>>>;

struct Server {
    address: String,
    mood: Arc<Mutex<Mood>>,
    arrived: Arrived,
}

impl Server {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (mood, arrived) = (Arc::new(Mutex::new(Mood::Takes)), Arrived::default());
        let (its_mood, its_arrived) = (mood.clone(), arrived.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mood, arrived) = (*its_mood.lock().unwrap(), its_arrived.clone());
                // Who is slow with one is not with the next.
                thread::spawn(move || answer(stream.unwrap(), mood, &arrived));
            }
        });
        Self { address, mood, arrived }
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

/// How long a client waits, and longer.
const PATIENCE: Duration = Duration::from_secs(1);

fn answer(mut stream: TcpStream, mood: Mood, arrived: &Arrived) {
    if mood == Mood::HangsUp {
        return;
    }
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let segment = head.lines().next().unwrap().split(' ').nth(1).unwrap().to_owned();
    if mood == Mood::Fails {
        stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\n\r\n").unwrap();
        return;
    }
    let mut arrived = arrived.lock().unwrap();
    let known = arrived.entry(segment).or_insert_with(|| (body.to_owned(), 0));
    assert_eq!(known.0, body, "what comes again is the same");
    known.1 += 1;
    drop(arrived);
    match mood {
        Mood::TakesAndHangsUp => return,
        Mood::TakesSlowly => thread::sleep(2 * PATIENCE),
        _ => {}
    }
    let _gone_or_not = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
}

/// Sends every file to the server, and deletes those that have arrived. Gives how many were deleted.
fn export(directory: &Directory, address: &str) -> usize {
    for path in files_in(directory.path()).unwrap() {
        let recovered = recover_file(&path).unwrap();
        let lines = recovered.records.iter().map(|record| serde_json::to_string(record).unwrap() + "\n");
        let body: String = lines.collect();
        if send(address, recovered.process.segment, &body).is_some_and(|status| status == 200) {
            acknowledge(&path).unwrap();
        }
    }
    delete_read(directory.path(), 0).unwrap()
}

/// The status that came back in time.
fn send(address: &str, segment: u64, body: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "POST /{segment:016x} HTTP/1.1\r\nHost: {address}\r\n\r\n{body}").ok()?;
    stream.shutdown(std::net::Shutdown::Write).ok()?;
    let mut bytes = [0; 12];
    stream.read_exact(&mut bytes).ok()?;
    std::str::from_utf8(&bytes[9..]).ok()?.parse().ok()
}

#[test]
fn what_has_not_arrived_is_kept_and_what_has_is_there_once() {
    let (directory, server) = (Directory::new(), Server::new());
    for _ in 0..2 {
        start("open", directory.path(), &[]).ready().kill();
    }
    let before: BTreeMap<_, _> =
        directory.files().into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    assert_eq!(export(&directory, &nobody), 0, "there is no server");
    for mood in [Mood::Fails, Mood::HangsUp, Mood::TakesAndHangsUp, Mood::TakesSlowly] {
        server.is(mood);
        assert_eq!(export(&directory, &server.address), 0);
        let after: BTreeMap<_, _> =
            directory.files().into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        assert!(after == before, "the files are as they were");
    }
    server.is(Mood::Takes);
    assert_eq!(export(&directory, &server.address), 2);
    assert_eq!(directory.files().len(), 0);
    assert_eq!(fs::read_dir(directory.path().join("child")).unwrap().count(), 0, "nor are there marks");

    let arrived = server.arrived.lock().unwrap();
    assert_eq!(arrived.len(), 2, "one for each process, however often they came");
    for (body, times) in arrived.values() {
        assert_eq!(*times, 3, "it took two without saying so");
        assert_eq!(body.lines().count(), 5);
        assert!(body.contains(r#""node":"inner""#), "{body}");
    }
}

#[test]
fn what_has_arrived_stays_as_long_as_its_process_lives() {
    let (directory, server) = (Directory::new(), Server::new());
    let running = start("open", directory.path(), &[]).ready();
    for _ in 0..2 {
        assert_eq!(export(&directory, &server.address), 0, "also if it arrives again");
    }
    running.kill();
    assert_eq!(delete_read(directory.path(), 0).unwrap(), 1);
}

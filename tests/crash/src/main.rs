//! The programs that the tests kill: `crash-child SCENARIO DIRECTORY ARGUMENT...`.
//!
//! Each opens a black box below the directory and says `ready` when there is something to lose.

mod acknowledge;
mod lambda;
mod os;
mod random;
mod rounds;
mod work;

use std::io::{Read, Write};
use std::time::{Duration, SystemTime};

use tracer::{JsonLines, Tracer};
use tracer_blackbox::{BlackBox, Init, Options, Sync};

#[expect(clippy::too_many_lines, reason = "a table of scenarios")]
fn main() {
    os::end_with_the_test();
    // One that hangs is a test that fails.
    os::die_in(300);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [scenario, directory, rest @ ..] = &arguments[..] else { panic!("a scenario and a directory") };
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let options = || BlackBox::options().app("child", "1.2.3").signals(true).bytes(64 << 20);
    match scenario.as_str() {
        "count" => {
            install(options(), directory);
            work::count(directory, number(rest[0]), rest[1] == "async");
        }
        "count-small" => {
            install(options().bytes(128 << 10), directory);
            work::count(directory, number(rest[0]), rest[1] == "async");
        }
        // The control: a recorder that keeps records in a buffer.
        "count-buffered" => {
            let lines = JsonLines::to_file(format!("{directory}/lines.jsonl")).unwrap();
            Tracer::builder().recorder(lines).install();
            work::count(directory, number(rest[0]), rest[1] == "async");
        }
        "open" => {
            install(options().bytes(rest.first().map_or(64 << 20, |bytes| number(bytes))), directory);
            work::outer(17, &wait);
        }
        "return" => {
            install(options(), directory);
            work::item(0, 1);
        }
        "no-descriptors" => {
            let all: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/zero").ok()).collect();
            install(options(), directory);
            work::item(0, 1);
            drop(all);
        }
        "refused" => {
            os::refuse(rest[0], number(rest[1]));
            install(options().bytes(128 << 10), directory);
            work::item(0, 1);
        }
        "uptime" => {
            println!("{}", std::fs::read_to_string("/proc/uptime").unwrap().trim_end());
            install(options(), directory);
            work::outer(17, &|| {
                work::item(0, 1);
                std::thread::sleep(Duration::from_millis(50));
                work::item(0, 2);
                wait();
            });
        }
        "sparse" => os::write_to_what_is_not_there(&format!("{directory}/sparse")),
        "exit" => {
            install(options(), directory);
            work::outer(17, &|| std::process::exit(number(rest[0])));
        }
        "close" => {
            let black_box = install(options(), directory);
            work::item(0, 1);
            black_box.close();
            wait();
        }
        "panic" => {
            if rest.first() == Some(&"slowly") {
                std::panic::set_hook(Box::new(|_| std::thread::sleep(Duration::from_millis(1200))));
            }
            install(options(), directory);
            work::outer(17, &|| panic!("no such luck"));
        }
        "count-and-panic" => {
            install(options(), directory);
            std::thread::spawn(|| {
                std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
                panic!("no such luck");
            });
            work::count(directory, number(rest[0]), false);
        }
        "panic-caught" => {
            install(options(), directory);
            let caught = std::panic::catch_unwind(|| work::outer(17, &|| panic!("no such luck")));
            assert!(caught.is_err());
            wait();
        }
        "panic-in-drop" => {
            install(options(), directory);
            work::outer(17, &|| drop(work::PanicsInDrop));
        }
        "panic-twice" => {
            install(options(), directory);
            work::outer(17, &|| {
                let _second = work::PanicsInDrop;
                panic!("first")
            });
        }
        "abort" => {
            install(options(), directory);
            work::outer(17, &|| std::process::abort());
        }
        "overflow" => {
            install(options(), directory);
            work::outer(17, &|| work::overflow());
        }
        "fault" => {
            install(options(), directory);
            work::outer(17, &os::write_to_nowhere);
        }
        "fault-handled" => {
            os::handle_faults(match rest[0] {
                "ignore" => os::Handling::Ignore,
                "mend" => os::Handling::Mend,
                "restore" => os::Handling::Restore,
                _ => os::Handling::Once,
            });
            install(options(), directory);
            work::outer(17, &os::write_to_nowhere);
        }
        "end-handled" => {
            match rest[0] {
                // Whoever runs the tests may ignore some.
                "default" => os::end_by_default(),
                "before" => os::handle_ends(),
                _ => {}
            }
            install(options(), directory);
            if rest[0] == "after" {
                os::handle_ends();
            }
            work::outer(17, &wait);
        }
        "abort-survived" => {
            os::handle_aborts_by_nothing();
            install(options(), directory);
            os::raise_abort();
            if rest[0] == "faults" {
                os::write_to_nowhere();
            }
            work::outer(17, &wait);
        }
        "fault-mended" => {
            os::handle_faults(os::Handling::Mend);
            install(options(), directory);
            work::outer(17, &|| {
                os::write_to(os::closed_page());
                wait();
                os::write_to_nowhere();
            });
        }
        "faults-at-once" => {
            install(options(), directory);
            let together = std::sync::Barrier::new(8);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        together.wait();
                        os::write_to_nowhere();
                    });
                }
            });
        }
        "deadline" => {
            let black_box = install(options(), directory);
            black_box.set_deadline(Some(SystemTime::UNIX_EPOCH + Duration::from_millis(number(rest[0]))));
            work::outer(17, &wait);
        }
        "lambda" => lambda::serve(directory),
        "memory" => {
            install(options(), directory);
            std::thread::spawn(os::take_memory);
            work::count(directory, 1, false);
        }
        "secrets" => {
            if let Ok(key) = u128::from_str_radix(rest[0], 16) {
                tracer::set_redaction_key(key.to_le_bytes()).unwrap();
            }
            install(options().bytes(128 << 10).lines(8).dictionary_bytes(4096), directory);
            for password in [rest[1], rest[2], rest[1]] {
                work::login("Ada Lovelace", password);
            }
            wait();
        }
        "steps" => {
            let options = || options().bytes(128 << 10).lines(2).dictionary_bytes(4096).signals(false);
            let before: u64 = number(rest[1]);
            if rest[0] == "open" {
                os::stop_when_traced();
                let _opened = install(options(), directory);
                os::stop();
                return;
            }
            let black_box = install(options(), directory);
            work::items_in_steps(directory, before, &|| {
                if rest[0] == "close" {
                    black_box.close();
                    os::stop();
                }
            });
        }
        "truncated" => {
            let black_box = install(options().bytes(8 << 20).signals(rest[0] == "guarded"), directory);
            work::outer(17, &wait);
            // Every page is written to, and read.
            work::threads(8, 4);
            work::items_until(100_000);
            black_box.sync().unwrap();
            println!("{}", black_box.degraded().unwrap());
        }
        "cleared" => {
            let black_box = install(options().bytes(1 << 20).lines(number(rest[0])), directory);
            let file = black_box.path().unwrap();
            std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(0).unwrap();
            let memory = os::Mapping::of(&file);
            let mut random = fastrand::Rng::with_seed(number(rest[1]));
            random::on_threads(4, number(rest[2]), random.u64(..), || memory.clear(random.usize(..)));
            // The pages alone, in the midst of one, in calls that stay as they are.
            let of_pages = memory.pages() - (1 << 20) / 4096..memory.pages();
            for before in (100..2000).step_by(100) {
                random::values_late(before, &mut || of_pages.clone().for_each(|page| memory.clear(page)));
            }
        }
        "syncs" => {
            let sync = match rest[0] {
                "power" => Sync::Power { every: Duration::from_millis(number(rest[1])) },
                "error" => Sync::SyncOnError,
                _ => Sync::Kill,
            };
            install(options().bytes(128 << 10).sync(sync), directory);
            work::items_until(10_000);
            println!("{}", os::syncs().len());
            work::fail();
            println!("{}", os::syncs().len());
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            for sync in os::syncs() {
                println!("{} {} {}", sync.begun.as_millis(), sync.ended.as_millis(), sync.bytes);
            }
        }
        "init" => {
            let init = Init::default().directory(directory).options(options()).bytes_max(number(rest[0]));
            let before = os::bytes_read();
            init.quiet(rest[1] == "quiet").init().unwrap();
            println!("{}", os::bytes_read() - before);
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            if rest.contains(&"alone") {
                os::wait_for_threads();
            }
            println!("{}", os::bytes_read() - before);
        }
        "init-in-a-call" => work::outer(1, &|| {
            Init::default().directory(directory).options(options()).quiet(false).init().unwrap();
        }),
        "wrap" => {
            install(options().bytes(256 << 10), directory);
            work::long(number(rest[0]), &wait);
        }
        "twice" => {
            install(options(), directory);
            work::in_two_threads(&wait);
        }
        "rounds" => {
            install(options().bytes(256 << 10), directory);
            rounds::run(rest[0], number(rest[1]));
            wait();
        }
        "rounds-beside" => {
            install(options().bytes(256 << 10).lines(1), directory);
            rounds::beside_another(number(rest[0]), &wait);
        }
        "rounds-deep" => {
            install(options().bytes(256 << 10).lines(number(rest[0])), directory);
            rounds::deep(number(rest[1]), rest[2], &wait);
        }
        "rounds-lines" => {
            install(options().bytes(256 << 10).lines(number(rest[0])), directory);
            rounds::lines(number(rest[1]), number(rest[2]), &wait);
        }
        "rounds-forked" => {
            install(options(), directory);
            rounds::beside_a_fork(&wait);
        }
        "wrap-outside" => {
            install(options().lines(1), directory);
            rounds::beside_another(number(rest[0]), &wait);
        }
        "rounds-shallow" => {
            install(options().bytes(256 << 10), directory);
            rounds::shallow(number(rest[0]), &wait);
        }
        "rounds-by-hand" => {
            install(options().bytes(256 << 10).lines(number(rest[0])), directory);
            rounds::by_hand(rest[1], number(rest[2]), &wait);
        }
        "rounds-passed-on" => {
            install(options().bytes(16 << 20), directory);
            rounds::passed_on(number(rest[0]), &wait);
        }
        "rounds-in-turns" => {
            install(options().bytes(256 << 10).lines(1), directory);
            rounds::in_turns(number(rest[0]), &wait);
        }
        "wrap-values" => {
            install(options().bytes(256 << 10), directory);
            work::long_in_two(number(rest[0]), &wait);
        }
        "wrap-large" => {
            install(options(), directory);
            work::long(number(rest[0]), &wait);
        }
        "wrap-events" => {
            install(options(), directory);
            work::long_plain(number(rest[0]), &wait);
        }
        "wrap-traces" => {
            install(options(), directory);
            work::items_until(number(rest[0]));
            wait();
        }
        "wrap-traces-moving" => {
            install(options(), directory);
            work::moving_items_until(number(rest[0]));
            wait();
        }
        "wrap-traces-threads" => {
            install(options(), directory);
            std::thread::scope(|scope| {
                (0..4).for_each(|_| drop(scope.spawn(|| work::items_until(number(rest[0])))));
            });
            wait();
        }
        "threads" => {
            let black_box = install(options().bytes(1 << 20), directory);
            work::threads(number(rest[0]), number(rest[1]));
            println!("{}", std::fs::metadata(black_box.path().unwrap()).unwrap().len());
            wait();
        }
        "fork" => {
            let black_box = install(options(), directory);
            work::fork(&black_box, &wait);
        }
        "fork-between-traces" => {
            install(options(), directory);
            work::fork_between_traces();
            wait();
        }
        "fork-and-sync" => {
            install(options().sync(Sync::Power { every: Duration::from_millis(20) }), directory);
            work::outer(17, &|| {
                os::wait_for(os::fork(|| {
                    let before = os::syncs().len();
                    work::items_until(1);
                    let is_synced = || os::syncs().len() > before + 1;
                    let waits = (0..2000).take_while(|_| !is_synced());
                    waits.for_each(|_| std::thread::sleep(Duration::from_millis(10)));
                }));
            });
        }
        "init-and-fork" => {
            Init::default().directory(directory).options(options()).bytes_max(0).init().unwrap();
            for _ in 0..5 {
                os::wait_for(os::fork(|| {
                    work::items_until(1);
                    std::process::exit(0);
                }));
            }
            wait();
        }
        "fork-between-executions" => work::fork_between_executions(rest[0] == "traced"),
        "fork-beside" => {
            std::panic::set_hook(Box::new(|_| {}));
            install(options(), directory);
            let (others, something): (_, fn()) =
                if rest[0] == "panics" { (1, work::panics) } else { (2, work::by_hand) };
            println!("{}", work::fork_beside(others, something));
        }
        "fork-by-hand" => {
            install(options(), directory);
            rounds::forked_by_hand(&wait);
        }
        "fork-outside" => {
            install(options().bytes(1 << 20).lines(1), directory);
            work::fork_outside();
        }
        "fork-degraded" => {
            let black_box = install(options().bytes(1 << 20), directory);
            work::fork_degraded(&black_box);
        }
        "fork-in-trouble" => {
            install(options(), directory);
            work::fork_in_trouble(rest[0]);
        }
        "fork-and-die" => {
            install(options(), directory);
            work::fork_and_die(&wait);
        }
        "daemon" => {
            install(options(), directory);
            work::item(0, 1);
            os::fork(|| _ = work::item(0, 2));
            os::exit_at_once();
        }
        "forked-and-executed" => {
            install(options(), directory);
            work::outer(17, &|| {
                os::wait_for(os::fork(|| os::exit_at_once()));
                wait();
            });
        }
        "calls-alone" => {
            // Opened where nothing limits its memory, so that it does not look at it now and then.
            install(options().bytes(128 << 10), directory);
            // A page is given, and every table is as large as it gets.
            work::outer(1, &|| work::plain_until(10_000));
            os::with_nothing_but_writing(|| {
                work::plain_until(if rest[0] == "calls" { 100_000 } else { 1 });
                if rest[0] == "sleep" {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        "golden" => {
            install(options().bytes(128 << 10).lines(2).dictionary_bytes(4096), directory);
            work::golden(&wait);
        }
        "random" => {
            install(options().bytes(128 << 10).lines(8).dictionary_bytes(16 << 10), directory);
            let mut random = fastrand::Rng::with_seed(number(rest[0]));
            random::within(number(rest[1]), &mut || {
                os::stop_when_traced();
                random::deep();
                random::run(&mut random, 12, 3);
            });
        }
        "nothing" => wait(),
        other => panic!("no scenario {other}"),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("a number, not {text}"))
}

fn install(options: Options, directory: &str) -> BlackBox {
    let black_box = options.open(directory).unwrap();
    Tracer::builder().recorder(black_box.clone()).install();
    black_box
}

/// Says that it is ready, and goes on when its standard input ends: never, if it is killed.
fn wait() {
    println!("ready");
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

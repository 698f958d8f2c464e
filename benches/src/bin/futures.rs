//! How large a traced future is.
//!
//! `futures --out DIRECTORY`

use std::path::Path;
use std::process::ExitCode;

use tracer_benches::table::{Column, Row, Table};

/// Functions that call each other and hold their argument across a suspension.
macro_rules! nested {
    ($library:ident, #[$attribute:meta]) => {
        mod $library {
            use std::mem::size_of_val;

            use tracer_benches::work::Suspension;

            nested! { @levels 256, #[$attribute], one, two, three }
            nested! { @levels 64, #[$attribute], a, b, c, d, e, f, g, h, i, j, k, l }

            pub(super) fn sizes() -> [usize; 4] {
                [
                    size_of_val(&one([0; 256])),
                    size_of_val(&two([0; 256])),
                    size_of_val(&three([0; 256])),
                    size_of_val(&l([0; 64])),
                ]
            }
        }
    };
    (@levels $len:literal, #[$attribute:meta], $inner:ident $(, $outer:ident)*) => {
        #[$attribute]
        async fn $inner(argument: [u8; $len]) -> u8 {
            Suspension::default().await;
            argument[0]
        }
        nested! { @above $len, #[$attribute], $inner $(, $outer)* }
    };
    (@above $len:literal, #[$attribute:meta], $inner:ident, $outer:ident $(, $more:ident)*) => {
        #[$attribute]
        async fn $outer(argument: [u8; $len]) -> u8 {
            $inner(argument).await
        }
        nested! { @above $len, #[$attribute], $outer $(, $more)* }
    };
    (@above $len:literal, #[$attribute:meta], $last:ident) => {};
}

nested!(plain, #[inline]);
nested!(tracer, #[tracer::traced_node]);
nested!(tracing, #[tracing::instrument(skip_all)]);
nested!(fastrace, #[fastrace::trace]);
nested!(minitrace, #[minitrace::trace]);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ["--out", out] = &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
        eprintln!("usage: futures --out DIRECTORY");
        return ExitCode::FAILURE;
    };
    tracer_benches::exit(table().publish(Path::new(out), "futures"))
}

fn table() -> Table {
    let plain = plain::sizes();
    let row = |name: &str, sizes: [usize; 4]| {
        let ratio = |nth: usize| Some(sizes[nth] as f64 / plain[nth] as f64);
        let sized = |nth: usize| Some(sizes[nth] as f64);
        Row {
            group: String::new(),
            name: name.to_owned(),
            figures: vec![sized(0), sized(1), sized(2), ratio(2), sized(3), ratio(3)],
        }
    };
    let column = |heading, digits| Column { heading, digits };
    Table {
        title: "Size of a traced future, bytes".to_owned(),
        columns: vec![
            column("1 level, [u8; 256]", 0),
            column("2 levels", 0),
            column("3 levels", 0),
            column("x plain", 2),
            column("12 levels, [u8; 64]", 0),
            column("x plain", 2),
        ],
        rows: vec![
            row("plain", plain),
            row("tracer", tracer::sizes()),
            row("tracing, skip_all", tracing::sizes()),
            row("fastrace", fastrace::sizes()),
            row("minitrace", minitrace::sizes()),
        ],
        notes: vec![
            "An `async fn` with one argument that awaits the next; the innermost is suspended once.".to_owned(),
        ],
    }
}

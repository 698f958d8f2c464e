//! The program as its users run it: on files, in a directory of its own.
#![expect(clippy::needless_raw_string_hashes, reason = "this is how `UPDATE_EXPECT=1` writes them")]

mod blackbox;
mod damage;
mod doctor;
mod dynamodb;
mod exec;
mod forks;
mod input;
mod list;
mod program;
mod recover;
mod show;
mod tail;
mod terminal;
mod tls;
mod world;

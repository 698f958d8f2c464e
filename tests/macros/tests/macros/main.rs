//! What annotated functions record, as tests: one binary, modules by question.
//!
//! The rules of the steps themselves are tested in `tests/it`, that every shape compiles in `tests/shapes`; here the
//! two run together.

mod checkpoints;
mod contexts;
mod declared;
mod drive;
mod errors;
mod options;
mod outcomes;
mod shapes;
mod values;

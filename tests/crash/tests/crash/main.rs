//! Programs are killed in every way there is; what they had acknowledged has to be there, and nothing else.

mod as_root;
mod bytes;
mod child;
mod clocks;
mod deaths;
mod forks;
mod golden;
mod instants;
mod kills;
mod lambda;
mod matrix;
mod places;
mod power;
mod room;
mod rounds;
mod secrets;
mod sink;
mod speed;
mod start;
mod stepped;
mod steps;

//! The contract of [`ExecutionStore`](tracer::execution::ExecutionStore), as tests.
//!
//! A store runs all of them with one macro call, in a test of its own:
//!
//! ```
//! # // A doctest runs no tests; this shows that the call compiles.
//! mod memory {
//!     use tracer::execution::MemoryStore;
//!     tracer_store_conformance::store_conformance!(|clock| async move { MemoryStore::with_clock(clock) });
//! }
//!
//! // All cases pass in a store that fails, too, if who calls it repeats what may be repeated.
//! mod failing {
//!     use tracer::execution::MemoryStore;
//!     use tracer_store_conformance::{Faulty, Repeating};
//!     tracer_store_conformance::store_conformance!(|clock| async {
//!         Repeating(Faulty::new(MemoryStore::with_clock(clock)))
//!     });
//! }
//! ```
//!
//! It is given a [`ManualClock`](tracer::ManualClock), by which the new, empty store has to tell the time, so that no
//! test sleeps. Each case is one `#[test]`, on a runtime of its own with several threads, and a case that is added here
//! reaches every store. A case that needs what a store does not claim to be able to prints `skipped`, why, and how many
//! that makes.
//!
//! [`Kept`] keeps something beside a store, a directory for instance, for as long as it lives. [`Slow`] wraps a store and
//! passes too, if it does; so does [`Faulty`] in [`Repeating`], and not alone, as its errors are answers then. For stores
//! whose data are in a server, [`server`] starts one that ends with the tests, and [`Proxy`] is a network that fails. [`walk`]
//! goes through a list that has what cannot be read.

#![expect(clippy::unchecked_time_subtraction, reason = "a test that goes wrong has to panic")]

mod bed;
mod case;
mod faulty;
mod kept;
mod model;
mod proxy;
pub mod server;
mod slow;
mod walk;
mod wrap;

pub use bed::skipped;
pub use faulty::{Faulty, Repeating};
pub use kept::Kept;
pub use proxy::{Proxy, Target, Weather};
pub use slow::Slow;
pub use walk::walk;

/// Makes a test of whether the store reserves at all. Otherwise it may
/// [claim instead](tracer::execution::ExecutionStore::reserve), and the cases about reservations are skipped.
#[macro_export]
macro_rules! store_reserves {
    ($setup:expr) => {
        #[test]
        fn it_reserves() {
            $crate::__run::it_reserves($setup);
        }
    };
}

/// Names every case once: here it becomes a function, and in the store's crate a test. One that is forgotten here is
/// never used, which the compiler says.
macro_rules! cases {
    (($d:tt) $($module:ident { $($(#[$attribute:meta])* $case:ident)* })*) => {
        #[doc(hidden)]
        pub mod __run {
            $($(
                pub fn $case<F: std::future::Future<Output = S>, S: tracer::execution::ExecutionStore + 'static>(
                    setup: impl Fn(tracer::ManualClock) -> F,
                ) {
                    crate::bed::run(setup, |bed| crate::case::$module::$case(bed));
                }
            )*)*

            pub use crate::case::reserve::it_reserves;
            pub use crate::model::any_operations_are_those_of_a_map;
        }

        /// Makes a test of every case, for the store that the closure makes: `|clock: ManualClock| async { … }`.
        #[macro_export]
        macro_rules! store_conformance {
            ($d setup:expr) => {
                $($(
                    #[test]
                    fn $case() {
                        $d crate::__run::$case($d setup);
                    }
                )*)*

                #[test]
                fn any_operations_are_those_of_a_map() {
                    $d crate::__run::any_operations_are_those_of_a_map($d setup);
                }
            };
        }
    };
}

cases! { ($)
    create {
        what_is_created_is_pending_and_found
        the_same_key_finds_the_first_untouched
        another_type_or_payload_under_a_key_is_a_mismatch
        keys_are_compared_byte_by_byte
        the_same_id_is_the_same_creation
        a_batch_is_created_in_order
        values_come_back_as_they_were
        wrong_input_is_refused
    }
    life {
        every_command_in_every_status_is_as_the_table_says
        a_retried_execution_keeps_what_it_had
        checkpoints_that_were_settled_are_there
        attempts_are_used_up
        a_dead_letter_can_be_driven_anew
        attempts_are_remembered
        waits_between_attempts_are_kept
        retry_after_is_obeyed
        progress_makes_sense_and_never_falls
        a_reason_for_cancelling_is_kept
        the_time_that_is_told_is_the_stores
        versions_rise_by_one
        a_version_can_be_expected
        unknown_executions_are_not_found
        what_is_not_running_can_be_deleted
        a_batch_of_writes_is_applied_in_order
        what_could_not_be_read_again_is_refused
    }
    lease {
        only_the_holder_may_write
        a_stale_holder_changes_nothing
        a_lost_lease_is_another_attempt
        the_last_lost_lease_is_a_failure
        heartbeats_keep_a_lease
        the_end_of_an_attempt_can_be_repeated
        a_release_does_not_count
        an_attempt_that_was_swept_cannot_be_given_back
        cancelling_reaches_the_holder
        a_lost_holder_cannot_prevent_cancelling
        attempts_that_take_too_long_are_timed_out
        a_sweep_has_a_limit_and_says_when_to_come_again
        late_is_not_lost
    }
    claim {
        the_most_urgent_comes_first
        what_was_created_first_comes_first
        only_what_is_wanted_is_claimed
        what_is_delayed_waits
        what_ended_is_not_claimed
        who_has_no_name_begins_nothing
    }
    reserve {
        what_is_reserved_is_no_attempt_until_it_begins
        a_lost_reservation_is_as_if_it_had_not_been
        a_reservation_can_be_given_back
        a_reservation_can_be_called_off
        whoever_ends_a_reservation_has_begun_it
        one_alone_can_be_reserved
        a_reservation_is_of_one
    }
    list {
        filters_are_obeyed
        dead_letters_are_listed_while_they_are_dead
        pages_show_everything_once_while_others_write
    }
    retain {
        what_ended_long_ago_is_deleted
        all_that_was_known_of_it_is_deleted
        deletions_have_a_limit_and_go_on
        nothing_is_deleted_that_was_driven_anew
    }
    race {
        one_start_wins
        a_start_or_a_deletion_wins
        one_creation_wins
        one_end_wins
        one_version_wins
        a_claim_is_of_one
        checkpoints_of_many_are_all_kept
        extended_leases_stay_extended_beside_writes
        leases_never_overlap
        sweeps_at_once_do_nothing_twice
    }
}

//! Who is written to, and in which order.

use std::time::Duration;

use super::*;
use crate::auth::Identity;

fn with_clients(count: usize) -> State {
    let mut state = State::new(ShardId(0), limits());
    for _ in 0..count {
        state.open(Serializer::V2, Identity::default(), Duration::ZERO);
    }
    state
}

#[test]
fn who_gets_something_first_is_written_to_first_and_once() {
    let mut state = with_clients(3);
    [2, 0, 2, 1, 0].into_iter().for_each(|slot| state.mark_dirty(slot));
    assert_eq!(state.next_dirty(), Some(2));
    // Who gets more after having been written to has another turn, behind the others.
    state.mark_dirty(2);
    let rest: Vec<usize> = std::iter::from_fn(|| state.next_dirty()).collect();
    assert_eq!(rest, [0, 1, 2]);
}

#[test]
fn an_answer_that_is_out_needs_no_turn_and_takes_nobody_s() {
    let mut state = with_clients(2);
    state.mark_dirty(0);
    state.mark_dirty(1);
    state.wrote(1);
    assert_eq!(state.dirty, [0]);
    state.mark_dirty(1);
    // Others stand behind it: it keeps its turn, in which there is nothing to do.
    state.wrote(0);
    let rest: Vec<usize> = std::iter::from_fn(|| state.next_dirty()).collect();
    assert_eq!(rest, [0, 1]);
}

#[test]
fn who_comes_where_another_was_has_turns_of_its_own() {
    let mut state = with_clients(2);
    state.mark_dirty(0);
    state.mark_dirty(1);
    state.ended(0);
    let slot = state.open(Serializer::V2, Identity::default(), Duration::ZERO);
    assert_eq!((slot, state.next_dirty(), state.next_dirty(), state.next_dirty()), (0, Some(0), Some(1), None));
    state.mark_dirty(slot);
    assert_eq!(state.next_dirty(), Some(slot));
}

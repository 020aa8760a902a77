//! Where the feed was when cursors were given out, as long as they are to be good over a restart.
//!
//! A quiet feed has no transactions that would hold the acknowledgement back, and yet its clients have cursors: once
//! what is acknowledged has passed one of them, a gateway that is restarted can't resume from it. So the
//! acknowledgement waits for them. Pure; what the log keeps holds it back besides.

use std::collections::VecDeque;
use std::time::Duration;

use crate::change::Lsn;

use super::LogLimits;

/// So many positions are told apart in a window: a cursor is good for at most such a part of it too long.
const MARKS_A_WINDOW: u32 = 16;
/// So many in what may be held back at most for nobody, however quickly it is written.
const MARKS_A_SHARE: u64 = 4;
/// Where nobody listens any more, WAL of which nothing is published is held back up to this part of `replay.wal`, 16
/// MiB by default: what one file of it takes.
const IDLE_SHARE: u64 = 64;
/// Subscribers of quiet topics have cursors that are about a quarter of the window old; that much of it is held back
/// for them.
const SUBSCRIBED_SHARE: u32 = 2;
/// Clients of an earlier process come back within seconds; until then nobody knows what cursors they have.
const RETURN_TIME: Duration = Duration::from_secs(5);

/// Positions from which somebody may want to go on, the oldest first.
#[derive(Debug)]
pub(super) struct Past {
    marks: VecDeque<Mark>,
    /// The latest that was given out.
    given: Lsn,
}

/// Cursors from one position up to the next mark's.
#[derive(Debug)]
struct Mark {
    position: Lsn,
    since: Duration,
    /// How long they are good; `None` while the head is such a position.
    until: Option<Duration>,
}

impl Past {
    /// A feed that begins at `start`, from which an earlier process' clients may want to go on.
    pub(super) fn new(start: Lsn, now: Duration, limits: &LogLimits) -> Self {
        let until = Some(now + limits.window.min(RETURN_TIME));
        Self { marks: VecDeque::from([Mark { position: start, since: now, until }]), given: Lsn::ZERO }
    }

    /// Somebody has a cursor of this position, which is the head.
    pub(super) fn give(&mut self, now: Duration, head: Lsn) {
        self.given = head;
        if self.marks.back().is_none_or(|mark| mark.until.is_some()) {
            self.marks.push_back(Mark { position: head, since: now, until: None });
        }
    }

    /// Somebody goes on from an older position, and has no other until the next message or `cursor` event.
    pub(super) fn keep(&mut self, now: Duration, position: Lsn, limits: &LogLimits) {
        let kept_until = now + limits.window / SUBSCRIBED_SHARE;
        let later = self.marks.partition_point(|mark| mark.position <= position);
        let Some(mark) = self.marks.get_mut(later.saturating_sub(1)).filter(|mark| mark.until.is_some() || later > 0)
        else {
            return self.marks.push_front(Mark { position, since: now, until: Some(kept_until) });
        };
        mark.position = mark.position.min(position);
        mark.until = mark.until.map(|until| until.max(kept_until));
    }

    /// The head is here now. Forgets what is older than the window, or further back than may be held back.
    pub(super) fn note(&mut self, now: Duration, head: Lsn, limits: &LogLimits) {
        if let Some(Mark { position, since, until: until @ None }) = self.marks.back_mut()
            && head > *position
            && (now.saturating_sub(*since) >= limits.window / MARKS_A_WINDOW
                || head.bytes_since(*position) > idle_budget(limits) / MARKS_A_SHARE)
        {
            *until = Some(now + limits.window);
            self.give_again(now, head);
        }
        self.forget(|mark| mark.until.is_some_and(|until| until <= now));
        self.forget(|mark| head.bytes_since(mark.position) > limits.wal);
        if self.marks.is_empty() {
            self.give_again(now, head);
        }
    }

    /// Forgets what is held back for no subscriber where much is written of which nothing is published. From `kept` on
    /// it is held back anyway.
    pub(super) fn thin(&mut self, now: Duration, kept: Lsn, limits: &LogLimits, subscribed: bool) {
        let needless_after = limits.window - limits.window / SUBSCRIBED_SHARE;
        let is_needed = |mark: &Mark| subscribed && mark.until.is_none_or(|until| until > now + needless_after);
        self.forget(|mark| kept.bytes_since(mark.position) > idle_budget(limits) && !is_needed(mark));
    }

    /// How far back cursors are to be resumed; none where nobody has any.
    pub(super) fn oldest(&self) -> Option<Lsn> {
        self.marks.front().map(|mark| mark.position)
    }

    /// What was given out last may still be the head.
    fn give_again(&mut self, now: Duration, head: Lsn) {
        if self.given >= head {
            self.give(now, head);
        }
    }

    fn forget(&mut self, is_needless: impl Fn(&Mark) -> bool) {
        while self.marks.front().is_some_and(&is_needless) {
            self.marks.pop_front();
        }
    }
}

const fn idle_budget(limits: &LogLimits) -> u64 {
    limits.wal / IDLE_SHARE
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const LIMITS: LogLimits = LogLimits { window: Duration::from_secs(600), memory: 0, wal: 1 << 30 };

    struct Course {
        past: Past,
        now: Duration,
        head: Lsn,
        most: usize,
    }

    impl Course {
        fn new() -> Self {
            let past = Past::new(Lsn::ZERO, Duration::ZERO, &LIMITS);
            Self { past, now: Duration::ZERO, head: Lsn::ZERO, most: 0 }
        }

        /// The head moves by so many bytes a second; the distance at which it is followed at last.
        fn pass(&mut self, seconds: u64, rate: u64, subscribed: bool) -> u64 {
            for _ in 0..seconds {
                self.now += Duration::from_secs(1);
                self.head = Lsn::new(self.head.as_u64() + rate);
                self.past.note(self.now, self.head, &LIMITS);
                if subscribed {
                    self.past.give(self.now, self.head);
                }
                self.past.thin(self.now, self.head, &LIMITS, subscribed);
                self.most = self.most.max(self.past.marks.len());
            }
            self.past.oldest().map_or(0, |oldest| self.head.bytes_since(oldest))
        }
    }

    #[test]
    fn nothing_is_held_back_for_nobody() {
        assert_eq!(Course::new().pass(5, MIB, false), 0);
        assert_eq!(Course::new().pass(4, 1, false), 4, "but an earlier process' clients may come back");
    }

    #[test]
    fn cursors_are_good_for_the_window() {
        let mut course = Course::new();
        let distance = course.pass(3000, 1000, true);
        assert!((600_000..=640_000).contains(&distance), "{distance}");
        assert!(course.most <= 18, "{}", course.most);
        // Those who have left may come back.
        let distance = course.pass(599, 1000, false);
        assert!((599_000..=640_000).contains(&distance), "{distance}");
        assert_eq!(course.pass(42, 1000, false), 0);
    }

    #[test]
    fn much_that_is_not_published_is_held_back_for_subscribers_only() {
        let mut course = Course::new();
        let distance = course.pass(900, MIB, true);
        assert!((300 * MIB..=310 * MIB).contains(&distance), "{distance}");
        assert!(course.most < 200, "{}", course.most);
        assert!(course.pass(1, MIB, false) <= 17 * MIB);
        assert!(course.pass(900, 100 * MIB, true) <= 1 << 30);
    }

    #[test]
    fn a_cursor_that_is_the_head_does_not_grow_old() {
        let mut course = Course::new();
        course.pass(1, 1000, true);
        assert_eq!(course.pass(10_000, 0, true), 0);
        assert_eq!(course.past.oldest(), Some(Lsn::new(1000)));
        assert_eq!(course.pass(599, 1, false), 599);
    }

    #[test]
    fn who_comes_back_keeps_the_position_until_told_of_another() {
        let mut course = Course::new();
        course.pass(20, 1000, false);
        course.past.keep(course.now, Lsn::new(3000), &LIMITS);
        course.past.keep(course.now, Lsn::new(2000), &LIMITS);
        course.past.keep(course.now, Lsn::new(2500), &LIMITS);
        course.past.give(course.now, course.head);
        assert_eq!(course.past.marks.len(), 2);
        assert_eq!(course.pass(299, 0, true), 18_000);
        assert_eq!(course.pass(1, 0, true), 0);
        course.past.keep(course.now, Lsn::new(2500), &LIMITS);
        assert_eq!(course.pass(299, 0, true), 17_500);
    }

    #[test]
    fn what_the_log_keeps_is_held_back_anyway() {
        let mut course = Course::new();
        course.pass(1, 5, true);
        course.past.note(course.now, Lsn::new(100 * MIB), &LIMITS);
        course.past.thin(course.now, Lsn::new(9), &LIMITS, false);
        assert_eq!(course.past.oldest(), Some(Lsn::ZERO));
        course.past.thin(course.now, Lsn::new(100 * MIB), &LIMITS, false);
        assert_eq!(course.past.oldest(), None);
    }
}

//! A match day, minute by minute. Pure, apart from reading a row.

use fastrand::Rng;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

/// One goal in about sixteen minutes of play, so that with two or three matches on there is always something to see.
const GOAL_IN_MINUTES: u8 = 16;
/// A break, the time before kick-off and that after the end last about this many ticks.
const PAUSE_TICKS: u8 = 10;
const HALF_MINUTES: i32 = 45;
const FULL_MINUTES: i32 = 90;

pub(super) const SELECT: &str =
    "select id, home, away, home_goals, away_goals, minute, phase::text, last_event from matches order by id";

pub(super) const UPDATE: &str = "
    update matches set home = $2, away = $3, home_goals = $4, away_goals = $5, minute = $6,
        phase = $7::text::match_phase, last_event = $8 where id = $1";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match {
    id: i32,
    home: String,
    away: String,
    home_goals: i32,
    away_goals: i32,
    minute: i32,
    phase: String,
    last_event: Option<String>,
}

impl Match {
    /// From a row of [`SELECT`].
    pub(super) fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.try_get(0)?,
            home: row.try_get(1)?,
            away: row.try_get(2)?,
            home_goals: row.try_get(3)?,
            away_goals: row.try_get(4)?,
            minute: row.try_get(5)?,
            phase: row.try_get(6)?,
            last_event: row.try_get(7)?,
        })
    }

    /// For [`UPDATE`].
    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 8] {
        let Self { id, home, away, home_goals, away_goals, minute, phase, last_event } = self;
        [id, home, away, home_goals, away_goals, minute, phase, last_event]
    }

    pub(super) fn next_minute(self, rng: &mut Rng) -> Self {
        match self.phase.as_str() {
            "first half" | "second half" => self.play(rng),
            _ if rng.u8(..PAUSE_TICKS) > 0 => self,
            "upcoming" => self.enter("first half"),
            "half-time" => self.enter("second half"),
            _ => self.next_fixture(),
        }
    }

    fn play(mut self, rng: &mut Rng) -> Self {
        self.minute += 1;
        if rng.u8(..GOAL_IN_MINUTES) == 0 {
            self.score(rng.bool());
        }
        if self.minute == HALF_MINUTES {
            self.enter("half-time")
        } else if self.minute >= FULL_MINUTES {
            self.enter("final")
        } else {
            self
        }
    }

    fn score(&mut self, at_home: bool) {
        let (team, goals) =
            if at_home { (&self.home, &mut self.home_goals) } else { (&self.away, &mut self.away_goals) };
        *goals += 1;
        self.last_event = Some(format!("{}' goal for {team}", self.minute));
    }

    fn enter(mut self, phase: &str) -> Self {
        phase.clone_into(&mut self.phase);
        self
    }

    /// The return match.
    fn next_fixture(self) -> Self {
        Self {
            id: self.id,
            home: self.away,
            away: self.home,
            home_goals: 0,
            away_goals: 0,
            minute: 0,
            phase: "upcoming".to_owned(),
            last_event: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upcoming() -> Match {
        Match {
            id: 1,
            home: "Saltmarsh".to_owned(),
            away: "Kingsbridge".to_owned(),
            home_goals: 0,
            away_goals: 0,
            minute: 0,
            phase: "upcoming".to_owned(),
            last_event: None,
        }
    }

    #[test]
    fn a_match_runs_through_its_phases_and_is_followed_by_the_return_match() {
        let mut rng = Rng::with_seed(1);
        let mut game = upcoming();
        let mut phases = vec![game.phase.clone()];
        while phases.len() < 6 {
            let next = game.clone().next_minute(&mut rng);
            assert!(next.minute == game.minute || next.minute == game.minute + 1 || next.minute == 0);
            if next.phase != game.phase {
                phases.push(next.phase.clone());
            }
            game = next;
        }
        assert_eq!(phases, ["upcoming", "first half", "half-time", "second half", "final", "upcoming"]);
        assert_eq!((game.home.as_str(), game.home_goals, game.minute), ("Kingsbridge", 0, 0));
    }

    #[test]
    fn goals_are_scored_only_in_play_and_one_at_a_time() {
        let mut rng = Rng::with_seed(2);
        let mut game = upcoming();
        let mut goals = 0;
        for _ in 0..150 {
            let next = game.clone().next_minute(&mut rng);
            let scored = next.home_goals + next.away_goals - game.home_goals - game.away_goals;
            if next.phase != "upcoming" {
                assert!(scored == 0 || (scored == 1 && next.minute == game.minute + 1));
                goals += scored;
            }
            game = next;
        }
        assert!(goals > 0, "a hundred and fifty minutes without a goal");
    }
}

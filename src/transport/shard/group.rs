//! A shard's subscribers of each shape.

use crate::change::NumberMap;
use crate::hub::{After, ShapeId};

/// One subscription, as the fan-out walks over it.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// The connection's slot in the shard.
    pub(super) slot: usize,
    /// The join's number within its connection.
    pub(super) join: u32,
    pub(super) feed: Feed,
    /// It was told who is on the topic, and wants to hear who comes and goes.
    pub(super) knows_presence: bool,
}

/// Where a subscription reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Feed {
    /// At the log's tail: it is sent what is published.
    Live,
    /// It resumes, was too slow, or wants a snapshot: it reads from here when its outbox has room.
    Behind(After),
    /// It has asked for what comes next, and the answer with this number is on its way.
    Reading { number: u32, snapshot: bool },
}

impl Feed {
    pub(super) fn is_live(&self) -> bool {
        *self == Self::Live
    }

    /// The current rows are on their way.
    pub(super) const fn is_snapshot(&self) -> bool {
        matches!(self, Self::Behind(After::Snapshot(_)) | Self::Reading { snapshot: true, .. })
    }
}

/// Members by shape. A member's place changes when another leaves; `moved` is told.
#[derive(Debug, Default)]
pub(super) struct Groups {
    members: NumberMap<ShapeId, Vec<Member>>,
}

impl Groups {
    /// The new member's place.
    pub(super) fn add(&mut self, shape: ShapeId, member: Member) -> usize {
        // Most topics of most applications have one subscriber.
        let members = self.members.entry(shape).or_insert_with(|| Vec::with_capacity(1));
        members.push(member);
        members.len() - 1
    }

    /// Takes a member out; the one that now has its place, if any.
    pub(super) fn remove(&mut self, shape: ShapeId, place: usize) -> Option<Member> {
        let members = self.members.get_mut(&shape)?;
        if place < members.len() {
            members.swap_remove(place);
        }
        let moved = members.get(place).cloned();
        if members.is_empty() {
            self.members.remove(&shape);
        }
        moved
    }

    /// All members of a shape at once: its feed has a hole.
    pub(super) fn take(&mut self, shape: ShapeId) -> Vec<Member> {
        self.members.remove(&shape).unwrap_or_default()
    }

    pub(super) fn members_mut(&mut self, shape: ShapeId) -> &mut [Member] {
        self.members.get_mut(&shape).map_or(&mut [], Vec::as_mut_slice)
    }

    pub(super) fn member_mut(&mut self, shape: ShapeId, place: usize) -> Option<&mut Member> {
        self.members.get_mut(&shape)?.get_mut(place)
    }
}

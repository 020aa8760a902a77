//! Other routes and channels have taken over: what that is to those who are subscribed.

use std::sync::Arc;
use std::time::Duration;

use crate::hub::{Command, JoinToken, ShapeId};
use crate::phoenix::JoinId;
use crate::routing::ChannelSpec;

use super::state::State;

impl State {
    /// The shape's topic is no more.
    pub(super) fn close_all(&mut self, shape: ShapeId, now: Duration) {
        for member in self.take_all(shape) {
            self.drive(member.slot, now, |session, effects| session.channel_close(JoinId(member.join), effects));
        }
    }

    /// Another rule says who may be there: the hub is asked for each.
    pub(super) fn recheck_all(&mut self, shape: ShapeId) {
        for member in self.groups.members_mut(shape) {
            let Some(connection) = self.connections.get(member.slot) else { continue };
            let join = JoinToken { connection: connection.key(member.slot), join: member.join };
            let claims = connection.identity.claims.clone();
            self.commands.push(Command::Recheck { shard: self.id, join, shape, claims });
        }
    }

    /// Something else may be done on the shape's topic.
    pub(super) fn channel_changed(&mut self, shape: ShapeId, channel: Option<&Arc<ChannelSpec>>) {
        for member in self.groups.members_mut(shape) {
            if let Some(connection) = self.connections.get_mut(member.slot) {
                connection.channels.changed(member.join, channel);
            }
        }
    }
}

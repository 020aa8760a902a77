//! One client's connection, without its socket.

use std::time::Duration;

use crate::auth::Identity;
use crate::hub::{ConnectionKey, ShapeId};
use crate::phoenix::Session;
use crate::transport::websocket::MessageReader;
use crate::transport::wire::Wire;

use super::channel::Channels;
use super::outbox::Outbox;
use super::state::ShownTokens;

/// A joined topic's place in the fan-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) join: u32,
    pub(super) shape: ShapeId,
    /// Among the shape's members.
    pub(super) place: usize,
}

/// How far the goodbye has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Our close frame is out, or on its way; whatever the client still says is read and dropped.
    Closing {
        deadline: Duration,
    },
    /// Both have said goodbye: the socket goes when the outbox is empty.
    Closed,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) generation: u32,
    pub(super) wire: Wire,
    /// Whom it has shown to be.
    pub(super) identity: Identity,
    /// That is over, and nothing is served until it shows a new token.
    pub(super) expired: bool,
    /// The last join that the hub was asked for, and the last of those that were asked for as somebody else.
    pub(super) last_join: Option<u32>,
    pub(super) outdated_join: Option<u32>,
    /// Tokens that it has shown since, and that are being verified; mostly none.
    pub(super) tokens: Option<Box<ShownTokens>>,
    pub(super) session: Session,
    pub(super) reader: MessageReader,
    pub(super) outbox: Outbox,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) channels: Channels,
    /// How many of them are not live.
    pub(super) behind: usize,
    /// Listed among the shard's connections that have something to send.
    pub(super) dirty: bool,
    pub(super) phase: Phase,
    /// When the client last sent anything, or took anything of a stream, since the process began.
    pub(super) heard: Duration,
}

impl Connection {
    /// Its name in the shard, where it has this slot.
    pub(super) const fn key(&self, slot: usize) -> ConnectionKey {
        ConnectionKey { slot, generation: self.generation }
    }

    pub(super) fn subscription(&self, join: u32) -> Option<Subscription> {
        self.subscriptions.iter().find(|subscription| subscription.join == join).copied()
    }

    pub(super) fn subscribe(&mut self, subscription: Subscription) {
        if self.subscriptions.is_empty() {
            self.subscriptions.reserve_exact(1); // most connections have one
        }
        self.subscriptions.push(subscription);
    }

    pub(super) fn remove_subscription(&mut self, join: u32) -> Option<Subscription> {
        let index = self.subscriptions.iter().position(|subscription| subscription.join == join)?;
        self.channels.left(join);
        Some(self.subscriptions.swap_remove(index))
    }

    /// The subscription's place among its shape's members has changed.
    pub(super) fn moved(&mut self, join: u32, place: usize) {
        if let Some(subscription) = self.subscriptions.iter_mut().find(|subscription| subscription.join == join) {
            subscription.place = place;
        }
    }
}

//! Events that apps post: to the hub, and what came of them back to who waits.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tokio::sync::oneshot;

use crate::hub::{Command, Saying};
use crate::phoenix::Refusal;

use super::shell::Shell;

/// The posts that the hub has not answered.
#[derive(Debug, Default)]
pub(super) struct Posts {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<(), Refusal>>>,
}

/// Has the hub tell everyone on a topic; once it has, or why it does not.
pub(in crate::transport) async fn publish(shell: &Rc<RefCell<Shell>>, saying: Saying) -> Result<(), Refusal> {
    let answer = shell.borrow_mut().announce(saying).ok_or(Refusal::NotReady)?;
    // Without an answer the server is ending.
    answer.await.unwrap_or(Err(Refusal::NotReady))
}

impl Shell {
    /// For operators: what came of an event that an app has posted.
    pub(in crate::transport) fn count_post(&mut self, outcome: &'static str) {
        self.state.counters.posted(outcome);
    }

    /// None where the server stops, or has too much to do.
    fn announce(&mut self, saying: Saying) -> Option<oneshot::Receiver<Result<(), Refusal>>> {
        if self.draining || self.is_full() {
            return None;
        }
        let (sender, answer) = oneshot::channel();
        let number = self.posts.next;
        self.posts.next = number.wrapping_add(1);
        self.posts.waiting.insert(number, sender);
        self.state.commands.push(Command::Publish { shard: self.id, number, saying: Box::new(saying) });
        self.commands.notify_one();
        Some(answer)
    }

    /// Hands on what the hub has answered.
    pub(super) fn answer_posts(&mut self) {
        for (number, result) in self.state.published.drain(..) {
            if let Some(sender) = self.posts.waiting.remove(&number) {
                // Whoever has posted it may be gone.
                let _gone = sender.send(result);
            }
        }
    }
}

//! From a changed row to the topics that it belongs to, and from a joined topic back to its routes.
//!
//! Pure: no I/O, no clock, no tokio; knows `change` and nothing of clients, frames or the config file's form.
//!
//! The rules, all of them:
//!
//! - **Table patterns.** `schema.table`, exactly as the catalogue spells both (nothing is folded to lower case). `*`
//!   stands for any run of characters, `?` for one; neither crosses the dot. Inside double quotes every character,
//!   dots and globs included, stands for itself, and `""` is a quote. No glob takes a table of schema `walcast`.
//! - **Precedence.** There is none to learn: every route whose pattern matches takes the change. Several may feed one
//!   topic; a change reaches a topic at most once, by the first route in config order that brings it there (and shows
//!   it to the subscriber). Its event is that of the first route that has the row there, whoever sees it.
//! - **Topics.** A template is literal text and `{column}`s. A column stands for `value::text`: a boolean is `true`, a
//!   `char(n)` has no padding, an `inet` has its mask. Null routes nowhere. So does a value that makes the topic longer
//!   than [`MAX_TOPIC_LENGTH`], since nobody can have joined that.
//! - **Moves.** Where Postgres sends the old values and their topic is another one, the row leaves the old topic and
//!   enters the new one. A row that one route takes out of a topic and another brings there stays in it.
//!   Without old values the replica identity is unchanged, and with it the topic.
//! - **Rows.** A route has the rows of which its `where` is true. What it says without claims is decided here, and
//!   moves rows in and out like a topic's columns do; what it says with claims is another rule for each subscriber, so
//!   that a target says which such routes have the row ([`Sources`]). A value that was not sent and decides is a hole,
//!   and so is an evaluation that Postgres would answer with an error.
//! - **Who may join** is for `allow` to say: that of every route that feeds the topic.
//! - **Ops** are Postgres' operations: a route without `delete` does not hear of deletes, but does of a move out by an
//!   update that it takes.
//! - **Truncate** has no row: it reaches every topic of its routes.
//! - **Holes.** What a route must take but can't place is told as [`Target::Hole`], never dropped in silence: a route
//!   that doesn't fit the table ([`PlanProblem`]), or a value that Postgres did not send (unchanged TOAST).
//! - **Joined topics** are parsed back with the columns' types and must be in canonical form, the one spelling that
//!   Postgres prints: `orders:07` is no topic of an integer column. Types whose spelling isn't known here take any
//!   text.
//! - **Ambiguity.** With several columns, a topic that can be split in more than one canonical way belongs to no route
//!   (`{a}:{b}` of two texts, joined as `x:y:z`): the rows behind it may belong to different people.
//! - **Channels.** The first `[[channel]]` whose pattern matches a topic says what clients may do there, whether routes
//!   feed it or not; a topic that only a channel matches can be joined too. In their patterns `*` stands for any
//!   characters and `{name}` for some without a colon ([`TopicPattern`]).
#![deny(clippy::indexing_slicing)]

mod admission;
mod canonical;
mod channel;
mod claims;
mod image;
mod ops;
mod pattern;
mod plan;
mod predicate;
mod reload;
mod table;
mod target;
mod template;
mod topic;
mod topic_pattern;
mod write;

pub use crate::change::json::{Int8Format, Shown};
pub use channel::{ChannelSpec, ChannelTable, MAX_CHANNELS};
pub use claims::Claims;
pub use image::Image;
pub use ops::{Op, Ops, UnknownOp};
pub use pattern::{PatternError, PatternErrorKind, TablePattern};
pub use plan::{Plan, PlanProblem, Selection, Step};
pub use predicate::{
    Coverage, EvaluationError, Explanation, Expression, ExpressionError, ExpressionErrorKind, Filter, FilterError,
    Keys, MAX_CONDITIONS, MAX_DEPTH, MAX_EXPRESSION_LENGTH, MAX_FILTER_LENGTH, MAX_IN_VALUES, MAX_NODES, Predicate,
    Scope, Truth, Values, Verdict, coverage, is_same_filter, row_filter,
};
pub use reload::RouteChanges;
pub use table::{MAX_ROUTES, RouteId, RouteSpec, RouteTable, Rules, TooManyRoutes};
pub use target::{MAX_RULES, Scratch, Sources, Target};
pub use template::{MAX_COLUMNS, Piece, Template, TemplateError, TemplateErrorKind};
pub use topic::{MAX_TOPIC_LENGTH, Topic, TopicError};
pub use topic_pattern::{TopicPattern, TopicPatternError, TopicPatternErrorKind};
pub use write::{Conflict, WritableRoute, WritePolicy};

//! Who is on a topic: each member's meta, and what has changed since the subscribers were last told.
//!
//! What changes between two tellings becomes one diff: whoever came and went in between is not spoken of, and of a
//! member that changed twice the last state is. Pure: how it is told is [`super::channel`]'s business.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::broadcast::Member;

/// Makes refs that are unique over restarts of the process, since clients tell metas apart by them.
#[derive(Debug)]
pub(super) struct Refs {
    /// The process' own.
    prefix: Box<str>,
    last: u64,
}

impl Refs {
    pub(super) fn new(seed: u32) -> Self {
        Self { prefix: format!("{seed:08x}").into(), last: 0 }
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// As it is written.
    pub(super) fn text(&self, reference: u64) -> String {
        format!("{}{reference:x}", self.prefix)
    }
}

/// One topic's members.
#[derive(Debug, Default)]
pub(super) struct Presence {
    members: BTreeMap<Member, Meta>,
    /// The members as subscribers were told of them: by key, and for each key in the order of their refs.
    told: BTreeMap<(Arc<str>, u64), Bytes>,
    /// Who has changed since, and what was told of it.
    touched: BTreeMap<Member, Option<(Arc<str>, u64)>>,
}

/// What a member says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Meta {
    key: Arc<str>,
    reference: u64,
    /// The entries of a JSON object, without its braces.
    entries: Bytes,
}

/// Encoded: `{"joins":{…},"leaves":{…}}`.
type Diff = Bytes;

impl Presence {
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Nobody is there, and everybody knows.
    pub(super) fn is_over(&self) -> bool {
        self.members.is_empty() && self.touched.is_empty()
    }

    pub(super) fn join(&mut self, member: Member, key: Arc<str>, entries: Bytes, refs: &mut Refs) {
        self.touch(member);
        self.members.insert(member, Meta { key, reference: refs.next(), entries });
    }

    /// The member says something else of itself; nothing where it is not there.
    pub(super) fn update(&mut self, member: Member, entries: Bytes, refs: &mut Refs) {
        if let Some(key) = self.members.get(&member).map(|meta| Arc::clone(&meta.key)) {
            self.join(member, key, entries, refs);
        }
    }

    /// The member goes by another name.
    pub(super) fn rename(&mut self, member: Member, key: Arc<str>, refs: &mut Refs) {
        let renamed = self.members.get(&member).filter(|meta| meta.key != key);
        if let Some(entries) = renamed.map(|meta| meta.entries.clone()) {
            self.join(member, key, entries, refs);
        }
    }

    pub(super) fn leave(&mut self, member: Member) {
        if self.members.contains_key(&member) {
            self.touch(member);
            self.members.remove(&member);
        }
    }

    /// What was told of it, if anything, before the first change since.
    fn touch(&mut self, member: Member) {
        let told = self.members.get(&member).map(|meta| (Arc::clone(&meta.key), meta.reference));
        self.touched.entry(member).or_insert(told);
    }

    /// What has changed since it was last asked; none where nothing has. Costs what has changed, not what is there.
    pub(super) fn take_diff(&mut self, refs: &Refs) -> Option<Diff> {
        let (mut joins, mut leaves) = (ByKey::default(), ByKey::default());
        for (member, told) in std::mem::take(&mut self.touched) {
            let now = self.members.get(&member);
            let mut previous = None;
            if let Some((key, reference)) = told {
                previous = now.filter(|meta| meta.key == key).map(|_| reference);
                if let Some(meta) = self.told.remove(&(Arc::clone(&key), reference)) {
                    leaves.entry(key).or_default().insert(reference, meta);
                }
            }
            if let Some(Meta { key, reference, entries }) = now {
                let meta = write_meta(refs, *reference, previous, entries);
                self.told.insert((Arc::clone(key), *reference), meta.clone());
                joins.entry(Arc::clone(key)).or_default().insert(*reference, meta);
            }
        }
        if joins.is_empty() && leaves.is_empty() {
            return None;
        }
        let mut out = BytesMut::from(&b"{\"joins\":"[..]);
        write_presences(flat(&joins), &mut out);
        out.put_slice(b",\"leaves\":");
        write_presences(flat(&leaves), &mut out);
        out.put_u8(b'}');
        Some(out.freeze())
    }

    /// Everyone, as subscribers have been told: `{key: {"metas": […]}, …}`.
    pub(super) fn state(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.told.values().map(|meta| meta.len() + ENTRY_SIZE_GUESS).sum());
        write_presences(self.told.iter().map(|((key, _), meta)| (key, meta)), &mut out);
        out.freeze()
    }
}

/// What a key takes beside its meta, about.
const ENTRY_SIZE_GUESS: usize = 64;

/// Metas by key, in the order of their refs.
type ByKey = BTreeMap<Arc<str>, BTreeMap<u64, Bytes>>;

fn flat(by_key: &ByKey) -> impl Iterator<Item = (&Arc<str>, &Bytes)> {
    by_key.iter().flat_map(|(key, metas)| metas.values().map(move |meta| (key, meta)))
}

/// Metas as an object by key; those of one key come one after the other.
fn write_presences<'a>(metas: impl Iterator<Item = (&'a Arc<str>, &'a Bytes)>, out: &mut BytesMut) {
    out.put_u8(b'{');
    let mut current: Option<&Arc<str>> = None;
    for (key, meta) in metas {
        if current == Some(key) {
            out.put_u8(b',');
        } else {
            if current.is_some() {
                out.put_slice(b"]},");
            }
            out.put_slice(serde_json::Value::from(&**key).to_string().as_bytes());
            out.put_slice(b":{\"metas\":[");
            current = Some(key);
        }
        out.put_slice(meta);
    }
    out.put_slice(if current.is_some() { b"]}}" } else { b"}" });
}

fn write_meta(refs: &Refs, reference: u64, previous: Option<u64>, entries: &Bytes) -> Bytes {
    let mut out = format!(r#"{{"phx_ref":"{}""#, refs.text(reference));
    if let Some(previous) = previous {
        out.push_str(&format!(r#","phx_ref_prev":"{}""#, refs.text(previous)));
    }
    let mut out = out.into_bytes();
    if !entries.is_empty() {
        out.push(b',');
        out.extend_from_slice(entries);
    }
    out.push(b'}');
    Bytes::from(out)
}

#[cfg(test)]
mod tests;

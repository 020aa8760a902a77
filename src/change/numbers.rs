//! Maps by numbers that nobody outside has chosen: OIDs, and ids that count up.
//!
//! The standard hash withstands keys that somebody chooses so that they collide, at the price of some twenty
//! nanoseconds, several times a change. These keys need to be spread, no more.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by such numbers.
pub type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// 2⁶⁴ divided by the golden ratio, made odd: neighbours come to lie far apart.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// A product, whose upper bits depend on all of the number; the map looks at both ends of it.
#[derive(Debug, Default, Clone, Copy)]
pub struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0.rotate_left(32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(SPREAD);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn neighbours_differ_in_the_bits_that_a_map_looks_at() {
        let hash = |number: u64| BuildHasherDefault::<NumberHasher>::default().hash_one(number);
        let low: HashSet<u64> = (0..4096).map(|number| hash(number) & 0xFFFF).collect();
        let high: HashSet<u64> = (0..4096).map(|number| hash(number) >> 57).collect();
        assert!(low.len() > 3900, "{}", low.len());
        assert_eq!(high.len(), 128);
    }
}

//! Clients that take messages deflated beside others that don't.

use flate2::{Decompress, FlushDecompress};

use super::*;
use crate::transport::websocket::Window;

/// What waits for a client, the newest message of it.
fn newest(bench: &mut Bench, slot: usize) -> Bytes {
    bench.state.outbox_mut(slot).unwrap().frames().last().unwrap().clone()
}

fn payload(frame: &Bytes) -> &[u8] {
    &frame[if frame[1] == 126 { 4 } else { 2 }..]
}

fn inflated(frame: &Bytes) -> Vec<u8> {
    let mut message = Vec::with_capacity(10_000);
    let deflated = [payload(frame), &[0, 0, 0xFF, 0xFF]].concat();
    Decompress::new(false).decompress_vec(&deflated, &mut message, FlushDecompress::Sync).unwrap();
    message
}

#[test]
fn a_message_is_deflated_once_for_all_who_take_it_so() {
    for serializer in [Serializer::V1, Serializer::V2] {
        let mut bench = Bench::new(1 << 20);
        let plain = bench.open(serializer);
        let deflated: Vec<usize> =
            (0..20).map(|_| bench.open(Wire::Deflated(serializer, Window::of_bits(15)))).collect();
        // It could not look back as far as the message is long.
        let narrow = bench.open(Wire::Deflated(serializer, Window::of_bits(9)));
        for slot in [plain, narrow].iter().chain(&deflated) {
            let message = match serializer {
                Serializer::V1 => json!({"topic": "numbers", "event": "phx_join", "payload": {}, "ref": "1"}),
                Serializer::V2 => join("1", None),
            };
            bench.say(*slot, &message);
        }
        bench.commit(8);
        let (whole, first) = (newest(&mut bench, plain), newest(&mut bench, deflated[0]));
        assert!(whole.len() > 512 && whole[0] == 0x81);
        assert_eq!(first[0], 0xC1);
        assert!(first.len() * 2 < whole.len(), "{} of {}", first.len(), whole.len());
        assert_eq!(inflated(&first), payload(&whole));
        for slot in deflated {
            assert_eq!(newest(&mut bench, slot).as_ptr(), first.as_ptr(), "the same bytes, not equal ones");
        }
        assert_eq!(newest(&mut bench, narrow).as_ptr(), whole.as_ptr());
    }
}

#[test]
fn what_is_read_from_the_log_is_deflated_too() {
    let mut bench = Bench::new(1 << 20);
    let client = bench.open(Serializer::V2);
    bench.say(client, &join("1", None));
    let cursor = bench.messages(client)[0][4]["response"]["cursor"].as_str().unwrap().to_owned();
    bench.commit(8);
    let whole = newest(&mut bench, client);
    let back = bench.open(Wire::Deflated(Serializer::V2, Window::of_bits(15)));
    bench.say(back, &join("1", Some(&cursor)));
    let read = newest(&mut bench, back);
    assert_eq!((read[0], inflated(&read).as_slice()), (0xC1, payload(&whole)));
}

#[test]
fn clients_send_deflated_what_they_like() {
    let mut bench = Bench::new(1 << 20);
    let heartbeat = json!([null, "1", "phoenix", "heartbeat", {}]).to_string();
    let mut deflated = Vec::with_capacity(100);
    let mut deflater = flate2::Compress::new(flate2::Compression::best(), false);
    deflater.compress_vec(heartbeat.as_bytes(), &mut deflated, flate2::FlushCompress::Sync).unwrap();
    deflated.truncate(deflated.len() - 4);

    let client = bench.open(Wire::Deflated(Serializer::V2, Window::of_bits(15)));
    for _ in 0..2 {
        bench.bytes(client, &frame(0xC1, &deflated));
        bench.say(client, &json!([null, "2", "phoenix", "heartbeat", {}]));
        let refs: Vec<Value> = bench.messages(client).into_iter().map(|message| message[1].clone()).collect();
        assert_eq!(refs, ["1", "2"]);
    }
    // Where it was not agreed on, it breaks the protocol.
    let other = bench.open(Serializer::V2);
    bench.bytes(other, &frame(0xC1, &deflated));
    assert_eq!(&bench.frames(other)[0].1[..2], 1002_u16.to_be_bytes());
}

#[test]
fn a_bomb_closes_its_sender_as_a_long_message_does() {
    let mut bench = Bench::new(1 << 20);
    let mut bomb = Vec::with_capacity(1000);
    let mut deflater = flate2::Compress::new(flate2::Compression::best(), false);
    deflater.compress_vec(&[b' '; 10_001], &mut bomb, flate2::FlushCompress::Sync).unwrap();
    let client = bench.open(Wire::Deflated(Serializer::V2, Window::of_bits(15)));
    bench.bytes(client, &frame(0xC1, &bomb));
    assert_eq!(&bench.frames(client)[0].1[..2], 1009_u16.to_be_bytes());
}

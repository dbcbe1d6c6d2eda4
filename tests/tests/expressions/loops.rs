//! Loops, as only `protochain` has them: translated up to a bound, against our interpreter and
//! libpcap's, on chains of headers below and beyond it, and on programs that nobody would write.

use std::cell::Cell;
use std::ffi::CString;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use skbcap::filter::Libpcap;
use skbcap::filter::cbpf::{self, Program};
use skbcap::filter::ebpf::{ROUNDS, UNDECIDED, Untranslatable};
use skbcap::pcapng::LinkType;
use skbcap_tests::chains::{AUTHENTICATION, DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING, chain};
use skbcap_tests::frames;

use crate::interpreter::{again, any_program_with, program};
use crate::is_skipped;
use crate::translation::{head, plain, run, translated, try_translated};

/// Expressions, and whether they have one loop.
const EXPRESSIONS: [(&str, bool); 8] = [
    ("ip6 protochain 17", true),
    ("ip6 protochain 58", true),
    ("ip6 protochain 60", true),
    ("ip protochain 6", true),
    ("not ip6 protochain 6", true),
    ("protochain 17", false),
    ("ip6 protochain 6 and ip6 protochain 43", false),
    ("protochain 6 or protochain 17 or protochain 51", false),
];

/// More rounds than a chain in a test's frame can take, unless it has no end.
const NO_END: u32 = 10_000;

/// What the translation is to return, or one of two: of several loops each has its own bound.
fn wanted(program: &Program, packet: &[u8], has_one_loop: bool) -> [u64; 2] {
    let wire_len = packet.len() as u32;
    let returned = |most| program.run_bounded(packet, wire_len, most);
    let undecided = UNDECIDED.into();
    match (returned(ROUNDS as u32), returned(NO_END)) {
        (Some(returned), _) => [returned.into(); 2],
        (None, Some(returned)) if !has_one_loop => [returned.into(), undecided],
        (None, _) => [undecided; 2],
    }
}

/// Headers in any order, more of them than are followed, then something, then an end anywhere.
fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let kinds = vec![HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION, DESTINATION];
    let kind = prop_oneof![
        30 => prop::sample::select(kinds),
        1 => Just(AUTHENTICATION),
    ];
    let count = prop_oneof![0..8usize, ROUNDS - 3..ROUNDS + 4];
    let headers = count.prop_flat_map(move |count| {
        prop::collection::vec(
            (kind.clone(), prop_oneof![4 => 0..2u8, 1 => 0..30u8]),
            count,
        )
    });
    let last = prop::sample::select(vec![6u8, 17, 58, 59, 200]);
    let payload = prop::collection::vec(any::<u8>(), 0..40);
    let authentications = prop::collection::vec((Just(AUTHENTICATION), 0..9u8), 0..3);
    let ip6 = (headers, last.clone(), payload.clone())
        .prop_map(|(headers, last, payload)| frames::ip6_of(chain(&headers, last, &payload)));
    let ip4 = (authentications, last, payload)
        .prop_map(|(headers, last, payload)| frames::ip4_of(chain(&headers, last, &payload)));
    let packet = prop_oneof![2 => ip6, 1 => ip4];
    (packet, prop_oneof![3 => Just(0), 1 => any::<usize>()]).prop_map(|(mut packet, cut)| {
        let len = packet.len() - cut % packet.len();
        packet.truncate(len);
        packet
    })
}

#[test]
fn chains_are_followed_up_to_the_bound() {
    if is_skipped() {
        return;
    }
    let libpcap = match Libpcap::open() {
        Ok(libpcap) => libpcap,
        Err(missing) => {
            return again("loops::chains_are_followed_up_to_the_bound", &missing);
        }
    };
    for link_type in [frames::ETHERNET, frames::RAW] {
        for (expression, has_one_loop) in EXPRESSIONS {
            let text = CString::new(expression).expect("no NUL");
            let compiled = libpcap.compile(&text, LinkType(link_type as u16));
            let program = Program::new(&compiled.expect("an expression")).expect("a program");
            assert!(program.has_loop(), "{expression}");
            let function = translated(&program);
            let mut runner = TestRunner::new(Config {
                // So many that the rarest outcome, of one in thirty, is not too rare by chance.
                cases: 1_000,
                failure_persistence: None,
                ..Config::default()
            });
            let [selected, refused, undecided] = [const { Cell::new(0) }; 3];
            let result = runner.run(&any_packet(), |packet| {
                let frame = match link_type {
                    frames::ETHERNET => frames::ethernet(&packet),
                    _ => packet,
                };
                let wire_len = frame.len() as u32;
                let wanted = wanted(&program, &frame, has_one_loop);
                let head = head(&frame, wire_len.into(), function.head_len.max(wire_len));
                let ours = run(&function, 1, head).map_err(TestCaseError::fail)?;
                prop_assert!(wanted.contains(&ours), "{}, not {:?}", ours, wanted);
                // libpcap's interpreter goes on for ever where there is no end.
                let exact = program.run_bounded(&frame, wire_len, NO_END);
                if let Some(exact) = exact {
                    prop_assert_eq!(exact, libpcap.run(&program, &frame, wire_len));
                    prop_assert!(ours != 0 || exact == 0, "lost");
                }
                let counted = match (ours, exact) {
                    (0, _) => &refused,
                    (ours, _) if ours == u64::from(UNDECIDED) => &undecided,
                    _ => &selected,
                };
                counted.set(counted.get() + 1);
                Ok(())
            });
            if let Err(error) = result {
                panic!("{expression}: {error}");
            }
            let counts = [selected, refused, undecided].map(|count| count.get());
            // IPv4 has no long chains here, and in IPv6's one of the options is soon found.
            let is_long = !expression.starts_with("ip ") && !expression.ends_with(" 60");
            let least = [10, 10, if is_long { 10 } else { 0 }];
            assert!(
                counts
                    .iter()
                    .zip(least)
                    .all(|(&count, least)| count >= least),
                "{expression}: {counts:?}"
            );
        }
    }
}

/// Any program, of which any jumps lead back.
#[test]
fn any_loop_means_what_it_means_up_to_the_bound() {
    let with_loops = (program(), any::<u32>()).prop_map(|(mut program, back)| {
        for (at, instruction) in program.iter_mut().enumerate() {
            if instruction.code == 0x05 && (back >> (at % 32)) & 1 == 1 {
                // Behind the stores that each program begins with, which would hide what a round does.
                let distance = (instruction.k ^ back) % (at - 31) as u32;
                instruction.k = !distance;
            }
        }
        program
    });
    let counts = [const { Cell::new(0) }; 3];
    any_program_with(8_000, with_loops, |program, packet, wire_len| {
        let function = translated(program);
        let head = head(packet, wire_len.into(), function.head_len.max(96));
        let ours = run(&function, 772, head).map_err(TestCaseError::fail)?;
        let most = ROUNDS as u32;
        let none = program.run_bounded(packet, wire_len, 0).is_some();
        let at = match program.run_bounded(packet, wire_len, most) {
            Some(returned) => {
                prop_assert_eq!(ours, u64::from(returned));
                usize::from(!none)
            }
            // A loop in a loop, or behind one, has a bound of its own.
            None => match program.run_bounded(packet, wire_len, 40 * most) {
                Some(returned) => {
                    let may_be = [returned.into(), u64::from(UNDECIDED)];
                    prop_assert!(may_be.contains(&ours), "{} is none of {:?}", ours, may_be);
                    2
                }
                None => {
                    prop_assert_eq!(ours, u64::from(UNDECIDED));
                    2
                }
            },
        };
        counts[at].set(counts[at].get() + 1);
        Ok(())
    });
    let counts = counts.map(|count| count.get());
    assert!(counts.iter().all(|&count| count >= 10), "{counts:?}");
}

/// A jump to what comes next is no loop; of one without an end nothing is known; of many, that they
/// are too long.
#[test]
fn a_loop_ends_at_the_bound() {
    let end = plain(0x06, 1);
    let returned = |code: &[cbpf::Instruction]| {
        let program = Program::new(code).expect("a program");
        let function = translated(&program);
        run(&function, 1, head(&[0; 60], 60, function.head_len))
    };
    let undecided = Ok(UNDECIDED.into());
    assert_eq!(returned(&[plain(0x05, 0), end]), Ok(1));
    assert_eq!(returned(&[plain(0x05, !0), end]), undecided);
    assert_eq!(returned(&[plain(0x20, 0), plain(0x05, !1), end]), undecided);
    // A grows by one each round, from 0 on, up to the constant: the jump to the loop's head is `!2`.
    let counted = |up_to: u32| {
        let is_there = cbpf::Instruction {
            jt: 1,
            jf: 0,
            ..plain(0x15, up_to)
        };
        [plain(0x04, 1), is_there, plain(0x05, !2), plain(0x16, 0)]
    };
    let most = ROUNDS as u32 + 1;
    assert_eq!(returned(&counted(1)), Ok(1));
    assert_eq!(returned(&counted(most)), Ok(most.into()));
    assert_eq!(returned(&counted(most + 1)), undecided);

    let mut many = vec![plain(0x40, 0); 400];
    many.extend([plain(0x05, !400), end]);
    let error = try_translated(&Program::new(&many).expect("a program")).expect_err("too long");
    assert_eq!(error, Untranslatable::TooLong { instructions: 402 });
}

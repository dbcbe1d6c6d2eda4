//! Our interpreter against libpcap's: random programs, random packets.

use std::cell::Cell;
use std::env;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use skbcap::filter::cbpf::{Instruction, Program};
use skbcap::filter::{Libpcap, Missing};

use crate::{is_skipped, library};

/// Set where this test is run again, where libpcap can be opened.
const AGAIN: &str = "SKBCAP_TEST_AGAIN";

const CASES: u32 = 10_000;

/// Codes of every instruction but jumps: loads of each mode and width, stores, arithmetic by a
/// constant and by X, the registers' exchange.
fn straight() -> impl Strategy<Value = u16> {
    let loads = [
        0x20u16, 0x28, 0x30, 0x40, 0x48, 0x50, 0x00, 0x60, 0x80, 0x01, 0x61, 0x81, 0xb1,
    ];
    let others = [0x02, 0x03, 0x07, 0x87, 0x84];
    let arithmetic = (0u16..=0xa).prop_map(|op| 0x04 | op << 4);
    prop_oneof![
        4 => prop::sample::select(loads.to_vec()),
        2 => prop::sample::select(others.to_vec()),
        2 => arithmetic.clone(),
        2 => arithmetic.prop_map(|code| if code == 0x84 { code } else { code | 0x08 }),
    ]
}

fn jumps() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![
        0x05u16, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d,
    ])
}

fn ends() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![0x06u16, 0x16])
}

/// Constants near the packet's ends and the numbers', and any.
fn constant() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => 0u32..80,
        1 => prop::sample::select(vec![!0, !0 - 1, !0 - 3, 1 << 31, 0xffff, 0xffff_f000]),
        1 => any::<u32>(),
    ]
}

/// A valid program that has stored into each word of memory before it does anything else: what
/// libpcap loads from a word that it never stored to is whatever lay there.
pub(crate) fn program() -> impl Strategy<Value = Vec<Instruction>> {
    let instruction = (
        prop_oneof![8 => straight(), 3 => jumps(), 1 => ends()],
        any::<(u8, u8)>(),
        constant(),
    );
    let body = prop::collection::vec(instruction, 1..40);
    (constant(), constant(), body).prop_map(|(first, step, body)| {
        let new = |code, k| Instruction {
            code,
            jt: 0,
            jf: 0,
            k,
        };
        let mut program = Vec::new();
        for word in 0..16 {
            program.push(new(0x00, first.wrapping_add(step.wrapping_mul(word))));
            program.push(new(0x02, word));
        }
        let len = body.len();
        for (at, (code, (jt, jf), k)) in body.into_iter().enumerate() {
            // Instructions behind this one, without the return at the end; a jump may reach that.
            let left = len - at;
            let within = |jump: u8| (usize::from(jump) % left) as u8;
            let k = match code {
                0x05 => k % left as u32,
                0x02 | 0x03 | 0x60 | 0x61 => k % 16,
                // Divisions by a constant, and shifts.
                0x34 | 0x94 => k.max(1),
                0x64 | 0x74 => k % 32,
                _ => k,
            };
            program.push(Instruction {
                code,
                jt: within(jt),
                jf: within(jf),
                k,
            });
        }
        program.push(new(0x16, 0));
        program
    })
}

#[test]
fn any_program_means_what_it_means_to_libpcap() {
    any_program(
        "interpreter::any_program_means_what_it_means_to_libpcap",
        |libpcap, program, packet, wire_len| {
            let ours = program.run(packet, wire_len);
            prop_assert_eq!(ours, libpcap.run(program, packet, wire_len));
            Ok(ours)
        },
    );
}

/// Runs the test of that name on random programs, packets, and lengths on the wire: `returned` holds
/// what it is to hold, and says what the program returned.
pub(crate) fn any_program(
    name: &str,
    returned: impl Fn(&Libpcap, &Program, &[u8], u32) -> Result<u32, TestCaseError>,
) {
    if is_skipped() {
        return;
    }
    let libpcap = match Libpcap::open() {
        Ok(libpcap) => libpcap,
        Err(missing) => return again(name, &missing),
    };
    let nonzero = Cell::new(0);
    any_program_with(CASES, program(), |program, packet, wire_len| {
        let returned = returned(&libpcap, program, packet, wire_len)?;
        nonzero.set(nonzero.get() + u32::from(returned != 0));
        Ok(())
    });
    // Not all end by a load beyond the packet, or a division by 0.
    let nonzero = nonzero.get();
    assert!(nonzero > CASES / 5, "{nonzero} of {CASES} programs select");
}

/// So many of these programs, each with a random packet and length on the wire: `holds` holds.
pub(crate) fn any_program_with(
    cases: u32,
    programs: impl Strategy<Value = Vec<Instruction>>,
    holds: impl Fn(&Program, &[u8], u32) -> Result<(), TestCaseError>,
) {
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let packet = prop::collection::vec(any::<u8>(), 0..96);
    let result = runner.run(
        &(programs, packet, any::<u16>()),
        |(instructions, packet, more)| {
            let program = Program::new(&instructions)
                .map_err(|invalid| TestCaseError::fail(invalid.to_string()))?;
            let wire_len = packet.len() as u32 + u32::from(more);
            holds(&program, &packet, wire_len)
        },
    );
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// A test, run where libpcap can be opened: here it is missing.
pub(crate) fn again(name: &str, missing: &Missing) {
    assert!(env::var_os(AGAIN).is_none(), "{missing}");
    let test = env::current_exe().expect("a test has a path");
    let mut command = library::command(&test);
    let output = command.args(["--exact", name]).env(AGAIN, "1").output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

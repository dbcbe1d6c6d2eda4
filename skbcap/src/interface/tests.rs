use super::*;
use proptest::prelude::*;
use zerocopy::FromZeros;

fn header(ifindex: u32, name: &str, dev_type: u16) -> RecordHeader {
    let mut header = RecordHeader::new_zeroed();
    header.netns = 4_026_531_840;
    header.ifindex = ifindex;
    header.ifname[..name.len()].copy_from_slice(name.as_bytes());
    header.dev_type = dev_type;
    header
}

#[test]
fn an_interface_begins_with_its_first_frame() {
    let mut interfaces = Interfaces::new();
    let first = interfaces.see(&header(2, "eth0", 1));
    let second = interfaces.see(&header(3, "wg0", 0xfffe));
    let third = interfaces.see(&header(2, "eth0", 1));
    assert_eq!(
        (first.is_new, second.is_new, third.is_new),
        (true, true, false)
    );
    assert_eq!(third.index, first.index);
    let eth0 = interfaces.get(first.index);
    assert_eq!(
        (eth0.name.as_str(), eth0.link_type),
        ("eth0", Some(LinkType::ETHERNET))
    );
    assert_eq!(eth0.description(), "netns=4026531840 ifindex=2");
    assert_eq!(eth0.captured, 2);
    assert_eq!(interfaces.get(second.index).link_type, Some(LinkType::RAW));
}

#[test]
fn the_same_index_elsewhere_is_another_device() {
    let mut interfaces = Interfaces::new();
    let here = interfaces.see(&header(2, "eth0", 1));
    let mut there = header(2, "eth0", 1);
    there.netns += 1;
    assert_ne!(interfaces.see(&there).index, here.index);
}

#[test]
fn another_name_or_type_is_another_interface() {
    let mut interfaces = Interfaces::new();
    let eth0 = interfaces.see(&header(2, "eth0", 1));
    let lan0 = interfaces.see(&header(2, "lan0", 1));
    let raw0 = interfaces.see(&header(2, "lan0", 519));
    assert!(lan0.is_new && raw0.is_new);
    assert!(eth0.index < lan0.index && lan0.index < raw0.index);
}

#[test]
fn an_unreadable_device_keeps_what_is_known() {
    let mut interfaces = Interfaces::new();
    let known = interfaces.see(&header(2, "eth0", 1));
    let mut unreadable = header(2, "", 0);
    unreadable.flags = Flags::DEVICE_UNREADABLE.0;
    assert_eq!(interfaces.see(&unreadable).index, known.index);
    unreadable.ifindex = 9;
    let unknown = interfaces.see(&unreadable);
    let unknown = interfaces.get(unknown.index);
    assert_eq!((unknown.is_readable, unknown.link_type), (false, None));
    // Once it can be read, it is what it is.
    assert!(interfaces.see(&header(9, "eth9", 1)).is_new);
}

#[test]
fn names_are_printable() {
    let mut interfaces = Interfaces::new();
    let mut odd = header(2, "", 1);
    odd.ifname[..6].copy_from_slice(b"e\x1b\\\xff=0");
    let seen = interfaces.see(&odd);
    assert_eq!(interfaces.get(seen.index).name, r"e\x1b\x5c\xff=0");
}

#[test]
fn drops_are_counted_between_frames_of_an_interface() {
    let mut interfaces = Interfaces::new();
    let mut on = |cpu: u32, ring: u32, dropped: u32| {
        let mut header = header(2, "eth0", 1);
        (header.cpu, header.dropped) = (cpu, dropped);
        header.flags = ring * Flags::SECOND_RING.0;
        interfaces.see(&header).dropped
    };
    assert_eq!(on(0, 0, 3), 3, "before the first frame");
    assert_eq!(on(1, 0, 4), 4, "each CPU counts on its own");
    assert_eq!(on(0, 0, 3), 0);
    assert_eq!(on(0, 1, 1), 1, "and each of its rings");
    assert_eq!(on(0, 0, 5), 2);
    let key = Key {
        netns: 4_026_531_840,
        ifindex: 2,
    };
    interfaces.settle(key, 15);
    let (_, eth0) = interfaces.iter().next().unwrap();
    assert_eq!(eth0.dropped, 15, "five came after the last frame");
    let (netns, ifindex) = (0, 7);
    interfaces.settle(Key { netns, ifindex }, 1);
    let (_, lost) = interfaces.iter().nth(1).unwrap();
    assert_eq!((lost.captured, lost.dropped, lost.link_type), (0, 1, None));
    assert_eq!(lost.description(), "netns=0 ifindex=7");
}

#[test]
fn drops_go_to_the_name_of_their_time() {
    let mut interfaces = Interfaces::new();
    interfaces.see(&header(2, "eth0", 1));
    let mut renamed = header(2, "lan0", 1);
    renamed.dropped = 2;
    let seen = interfaces.see(&renamed);
    assert_eq!((seen.is_new, seen.dropped), (true, 2));
    interfaces.settle(renamed_key(), 5);
    let dropped: Vec<u64> = interfaces
        .iter()
        .map(|(_, interface)| interface.dropped)
        .collect();
    assert_eq!(dropped, [0, 5]);
}

fn renamed_key() -> Key {
    Key {
        netns: 4_026_531_840,
        ifindex: 2,
    }
}

proptest! {
    /// Counters that wrap lose nothing, however the frames of the CPUs are interleaved.
    #[test]
    fn every_drop_is_counted_once(
        start: u32,
        steps in proptest::collection::vec((0u32..4, 0u32..1000), 1..64),
    ) {
        let mut interfaces = Interfaces::new();
        let mut counters = [start; 4];
        let mut first = [true; 4];
        let mut expected = 0u64;
        let mut total = 0u64;
        for (cpu, lost) in steps {
            let counter = &mut counters[cpu as usize];
            *counter = counter.wrapping_add(lost);
            let mut header = header(2, "eth0", 1);
            (header.cpu, header.dropped) = (cpu, *counter);
            total += interfaces.see(&header).dropped;
            expected += if std::mem::take(&mut first[cpu as usize]) {
                u64::from(*counter)
            } else {
                u64::from(lost)
            };
        }
        prop_assert_eq!(total, expected);
    }
}

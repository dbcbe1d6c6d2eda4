use super::program::Programs;
use super::*;
use proptest::prelude::*;
use skbcap_common::process::{EXE_LEN, Event};
use zerocopy::FromZeros;

const SOCKET: u64 = 0xffff_8880_0000_1000;

fn event(what: u32, time_ns: u64, tgid: u32, start_ns: u64) -> Event {
    let mut event = Event::new_zeroed();
    (event.what, event.time_ns, event.socket) = (what, time_ns, SOCKET);
    (event.tgid, event.start_ns, event.uid) = (tgid, start_ns, tgid + 1000);
    event.comm = zerocopy::transmute!(*b"a=b c\0 leftover ");
    event
}

fn news(event: Event) -> News {
    Inquirer::default().ask(&event)
}

fn frame(time_ns: u64, tgid: u32, by: By) -> RecordHeader {
    let mut header = RecordHeader::new_zeroed();
    (header.time_ns, header.tgid, header.socket) = (time_ns, tgid, SOCKET);
    header.flags = Flags::of_by(by).0;
    header
}

fn said(processes: &Processes, header: &RecordHeader) -> String {
    let mut line = String::new();
    let all = "owner,uid,start".parse().unwrap();
    append(&mut line, all, None, processes.of(header), processes);
    line
}

#[test]
fn a_passed_socket_has_an_owner_and_a_writer() {
    let mut processes = Processes::default();
    processes.learn(Some(&news(event(what::CREATED, 10, 1, 5))));
    assert_eq!(
        said(&processes, &frame(11, 1, By::Socket)),
        " uid=1001 start=0.000000005"
    );
    processes.learn(Some(&news(event(what::USED, 20, 2, 7))));
    assert_eq!(
        said(&processes, &frame(21, 2, By::Task)),
        r" owner=a\x3db\x20c/1 uid=1002 start=0.000000007"
    );
    // Of several writers none is the sender.
    assert_eq!(
        said(&processes, &frame(21, 0, By::Shared)),
        r" owner=a\x3db\x20c/1"
    );
    for by in [By::Kernel, By::Unknown] {
        assert_eq!(said(&processes, &frame(21, 2, by)), "");
    }
}

#[test]
fn a_number_that_is_used_again_is_another_process() {
    let mut processes = Processes::default();
    processes.learn(Some(&news(event(what::CREATED, 10, 1, 5))));
    processes.learn(Some(&news(event(what::CREATED, 30, 1, 25))));
    // A frame that was sent before the second one was there, but comes to us behind it.
    assert_eq!(
        said(&processes, &frame(29, 1, By::Socket)),
        " uid=1001 start=0.000000005"
    );
    assert_eq!(
        said(&processes, &frame(30, 1, By::Socket)),
        " uid=1001 start=0.000000025"
    );
    // A third, and the first is not known any more.
    processes.learn(Some(&news(event(what::CREATED, 50, 1, 45))));
    assert_eq!(said(&processes, &frame(29, 1, By::Socket)), "");
    // The writer has the creator's number, and is not the creator.
    processes.learn(Some(&news(event(what::USED, 60, 1, 55))));
    assert_eq!(
        said(&processes, &frame(61, 1, By::Task)),
        r" owner=a\x3db\x20c/1 uid=1001 start=0.000000055"
    );
}

#[test]
fn an_incoming_connection_is_the_listener_s_until_it_is_accepted() {
    let mut processes = Processes::default();
    let mut listening = event(what::CREATED, 10, 1, 5);
    listening.socket = 8;
    processes.learn(Some(&news(listening)));
    let mut cloned = event(what::CLONED, 20, 0, 0);
    cloned.listener = 8;
    processes.learn(Some(&news(cloned)));
    assert_eq!(
        said(&processes, &frame(21, 1, By::Socket)),
        " uid=1001 start=0.000000005"
    );
    processes.learn(Some(&news(event(what::CREATED, 30, 2, 7))));
    assert_eq!(
        said(&processes, &frame(31, 2, By::Socket)),
        " uid=1002 start=0.000000007"
    );
}

#[test]
fn what_is_not_told_is_not_said() {
    let mut processes = Processes::default();
    processes.learn(Some(&news(event(what::CREATED, 10, 1, 5))));
    let told = frame(11, 1, By::Socket);
    for header in [frame(9, 1, By::Socket), RecordHeader { socket: 0, ..told }] {
        assert_eq!(said(&processes, &header), "");
    }
    // Another process than the one that was told of, and so its socket's creator.
    assert_eq!(
        said(&processes, &frame(11, 3, By::Socket)),
        r" owner=a\x3db\x20c/1"
    );
    assert!(processes.learn(None));
    assert_eq!(said(&processes, &told), "");
}

#[test]
fn fields_are_told_apart() {
    assert_eq!(
        "all".parse::<Fields>(),
        "owner,exe,uid,start,parent,netns,current,cgroup".parse()
    );
    assert!(!"all".parse::<Fields>().unwrap().has(Field::Cmdline));
    assert!("all,cmdline".parse::<Fields>().unwrap().has(Field::Cmdline));
    assert!("cgroup".parse::<Fields>().unwrap().has(Field::Container));
    assert!(!"container".parse::<Fields>().unwrap().has(Field::Cgroup));
    assert!("exe".parse::<Fields>().unwrap().has(Field::Exe));
    for wrong in ["", "exe,", "path", "Exe"] {
        assert!(wrong.parse::<Fields>().is_err(), "{wrong}");
    }
}

/// This very process, as the kernel side would tell of it.
#[test]
fn a_path_is_that_of_the_very_file() {
    use std::os::unix::{ffi::OsStrExt, fs::MetadataExt};
    let path = std::env::current_exe().unwrap();
    let file = std::fs::metadata("/proc/self/exe").unwrap();
    let mut event = event(what::CREATED, 10, std::process::id(), 5);
    event.exe_inode = file.ino();
    event.exe_device = rustix::fs::major(file.dev()) << 20 | rustix::fs::minor(file.dev());
    let name = path.file_name().unwrap().as_bytes();
    let name = &name[..name.len().min(EXE_LEN - 1)];
    let mut programs = Programs::default();
    assert_eq!(programs.path(&event, name), path.as_os_str().as_bytes());
    // The process is gone; its program is known.
    event.tgid = u32::MAX;
    assert_eq!(programs.path(&event, name), path.as_os_str().as_bytes());
    // It executed another one before we asked.
    event.tgid = std::process::id();
    event.exe_inode += 1;
    assert_eq!(programs.path(&event, b"other"), b"other");
}

#[test]
fn there_is_one_of_each_process_while_it_is_known() {
    let mut inquirer = Inquirer::default();
    let mut ask = |time_ns, tgid| {
        let process = inquirer.ask(&event(what::USED, time_ns, tgid, 5)).process;
        (process.unwrap(), inquirer.told.len())
    };
    let (first, _) = ask(10, 1);
    let (other, _) = ask(11, 2);
    let (again, told) = ask(12, 1);
    assert!(Rc::ptr_eq(&first, &again) && !Rc::ptr_eq(&first, &other));
    assert_eq!((told, Rc::strong_count(&first)), (2, 3));
    // Many more, which nobody keeps, push out none that is kept, and are not kept either.
    let most = (3..10_000).map(|tgid| ask(13, tgid).1).max().unwrap();
    assert!(most < 32, "{most}");
    assert!(Rc::ptr_eq(&first, &ask(14, 1).0) && Rc::ptr_eq(&other, &ask(14, 2).0));

    let mut processes = Processes::default();
    let before = Rc::strong_count(&first);
    processes.learn(Some(&inquirer.ask(&event(what::CREATED, 15, 1, 5))));
    let known = processes.of(&frame(16, 1, By::Socket)).sender.unwrap();
    assert!(std::ptr::eq(processes.get(known), &*first));
    assert_eq!(Rc::strong_count(&first), before + 2);
}

proptest! {
    /// Whatever is told: nothing is said of a process with another number.
    #[test]
    fn only_the_process_itself_is_told_of(
        events in proptest::collection::vec((1u32..5, 0u64..40, 1u32..4, 1u64..4), 0..40),
        time_ns in 0u64..50,
        tgid in 1u32..4,
    ) {
        let mut processes = Processes::default();
        let mut times: Vec<u64> = events.iter().map(|event| event.1).collect();
        times.sort_unstable();
        for ((what, _, tgid, start), time) in events.into_iter().zip(times) {
            processes.learn(Some(&news(event(what, time, tgid, start))));
        }
        let known = processes.of(&frame(time_ns, tgid, By::Socket));
        if let Some(sender) = known.sender {
            prop_assert_eq!(processes.get(sender).tgid, tgid);
        }
    }
}

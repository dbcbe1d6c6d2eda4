//! Tests of [`super`].

use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit};

use super::*;
use crate::pcapng::{Section, Writer};
use crate::signals::Signals;

fn open(path: &Path) -> FileOutput {
    FileOutput::open(&Output::File(path.into()))
        .unwrap()
        .unwrap()
}

#[test]
fn a_file_is_cut_back_and_goes_on_from_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.pcapng");
    std::fs::write(&path, "an older capture").unwrap();
    let mut output = open(&path);
    output.write_all(b"whole, half").unwrap();
    output.cut_back_to(5).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    output.write_all(b"!").unwrap();
    output.cut_back_to(6).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"whole!");
}

#[test]
fn what_others_wrote_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shared");
    std::fs::write(&path, "before ....... after").unwrap();
    let mut file = File::options().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(7)).unwrap();
    let mut output = FileOutput::new(file).unwrap();
    output.write_all(b"middle").unwrap();
    output.cut_back_to(3).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"before middle. after");

    let file = File::options().append(true).open(&path).unwrap();
    let mut output = FileOutput::new(file).unwrap();
    output.write_all(b", more").unwrap();
    output.cut_back_to(1).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"before middle. after,");
}

#[test]
fn a_full_device_says_so_and_cannot_be_cut() {
    let mut output = open(Path::new("/dev/full"));
    assert_eq!(
        output.write(b"block").unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    output.cut_back_to(0).unwrap();
}

#[test]
fn what_cannot_be_opened_is_explained() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |path: &Path| FileOutput::open(&Output::File(path.into())).unwrap_err();
    assert!(
        refused(directory.path())
            .to_string()
            .ends_with("; -w takes a file's name")
    );
    let missing = directory.path().join("none/out.pcapng");
    assert!(
        refused(&missing)
            .to_string()
            .ends_with("; make its directory first")
    );
    assert!(FileOutput::open(&Output::Print).unwrap().is_none());
}

/// A file that may not grow beyond this, in the middle of a block.
const LIMIT: u64 = 10_001;

/// Not a test: what the test below runs in a process of its own.
#[test]
#[ignore = "limits the size of every file of its process"]
fn child_runs_into_a_limit() {
    let path = std::env::var_os("SKBCAP_TEST_FILE").unwrap();
    let _signals = Signals::install().unwrap();
    let limit = Rlimit {
        current: Some(LIMIT),
        maximum: Some(LIMIT),
    };
    rustix::process::setrlimit(Resource::Fsize, limit).unwrap();
    let section = Section {
        hardware: "x86_64".into(),
        os: "Linux".into(),
        application: "skbcap".into(),
        comments: vec![],
    };
    let mut writer = Writer::new(open(Path::new(&path)), &section, 262_144).unwrap();
    for _ in 0..1000 {
        writer.new_section(&section).unwrap();
    }
    assert_eq!(
        writer.flush().unwrap_err().io_kind(),
        Some(ErrorKind::FileTooLarge)
    );
    let whole_len = writer.whole_len();
    writer.get_mut().cut_back_to(whole_len).unwrap();
}

#[test]
fn a_file_that_may_not_grow_ends_with_a_whole_block() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.pcapng");
    let status = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--ignored",
            "output::tests::child_runs_into_a_limit",
        ])
        .env("SKBCAP_TEST_FILE", &path)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let bytes = std::fs::read(&path).unwrap();
    let block_len = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    assert_eq!(bytes.len() % block_len, 0);
    assert_eq!(
        bytes.len() / block_len,
        usize::try_from(LIMIT).unwrap() / block_len
    );
    assert_ne!(usize::try_from(LIMIT).unwrap() % block_len, 0);
}

//! Tests of [`super`].

use super::*;
use proptest::prelude::*;

/// A disk with room for so many bytes, which takes at most 1000 at a time.
struct Disk {
    bytes: Vec<u8>,
    room: usize,
    is_pipe: bool,
}

impl Disk {
    fn new(room: usize) -> Self {
        Self {
            bytes: Vec::new(),
            room,
            is_pipe: false,
        }
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(1000).min(self.room - self.bytes.len());
        if len == 0 && !bytes.is_empty() {
            return Err(ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Destination for Disk {
    fn take_back(&mut self, len: u64) -> io::Result<()> {
        if !self.is_pipe {
            self.bytes
                .truncate(self.bytes.len() - usize::try_from(len).unwrap());
        }
        Ok(())
    }
}

#[test]
fn only_whole_blocks_are_passed_on() {
    let mut buffer = BlockBuffer::new(Disk::new(100));
    buffer.write_all(b"one").unwrap();
    buffer.end_block().unwrap();
    assert!(buffer.get_ref().bytes.is_empty());
    buffer.write_all(b"tw").unwrap();
    buffer.flush().unwrap();
    assert_eq!(buffer.get_ref().bytes, b"one");
    assert!(!buffer.is_pending());
    buffer.write_all(b"o").unwrap();
    buffer.end_block().unwrap();
    buffer.write_all(b"never mind").unwrap();
    buffer.abandon_block();
    buffer.flush().unwrap();
    assert_eq!(buffer.get_ref().bytes, b"onetwo");
}

#[test]
fn a_full_buffer_empties_itself() {
    let mut buffer = BlockBuffer::new(Disk::new(usize::MAX));
    buffer.write_all(&vec![7; BUFFER_LEN + 1]).unwrap();
    buffer.end_block().unwrap();
    assert_eq!(buffer.get_ref().bytes.len(), BUFFER_LEN + 1);
}

#[test]
fn an_error_stays_and_keeps_its_kind() {
    let mut buffer = BlockBuffer::new(Disk::new(4));
    buffer.write_all(b"123").unwrap();
    buffer.end_block().unwrap();
    buffer.write_all(b"456").unwrap();
    buffer.end_block().unwrap();
    assert_eq!(buffer.flush().unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(buffer.get_ref().bytes, b"123");
    assert_eq!(
        buffer.write(b"789").unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    assert_eq!(buffer.flush().unwrap_err().kind(), ErrorKind::StorageFull);
}

#[test]
fn a_pipe_takes_nothing_back() {
    let mut buffer = BlockBuffer::new(Disk {
        is_pipe: true,
        ..Disk::new(4)
    });
    buffer.write_all(b"12345").unwrap();
    buffer.end_block().unwrap();
    assert!(buffer.flush().is_err());
    assert_eq!(buffer.get_ref().bytes, b"1234");
}

#[test]
fn a_file_gives_back_its_last_bytes_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.pcapng");
    std::fs::write(&path, "an older capture").unwrap();
    let mut output = FileOutput::open(&Output::File(path.clone()))
        .unwrap()
        .unwrap();
    output.write_all(b"whole, half").unwrap();
    output.take_back(6).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    output.write_all(b"!").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"whole!");
}

#[test]
fn a_full_device_says_so() {
    let output = FileOutput::open(&Output::File("/dev/full".into()))
        .unwrap()
        .unwrap();
    let mut buffer = BlockBuffer::new(output);
    buffer.write_all(b"block").unwrap();
    buffer.end_block().unwrap();
    assert_eq!(buffer.flush().unwrap_err().kind(), ErrorKind::StorageFull);
}

#[test]
fn what_cannot_be_opened_is_explained() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |path: &Path| FileOutput::open(&Output::File(path.into())).unwrap_err();
    assert!(
        refused(directory.path())
            .to_string()
            .ends_with("-w takes a file's name")
    );
    let missing = directory.path().join("none/out.pcapng");
    assert!(
        refused(&missing)
            .to_string()
            .ends_with("; make its directory first")
    );
    assert!(FileOutput::open(&Output::Print).unwrap().is_none());
}

proptest! {
    #[test]
    fn a_disk_that_fills_up_holds_the_blocks_that_fit(
        lens in prop::collection::vec(1..3000usize, 1..40),
        room in 0..40_000usize,
        flush_every in 1..10usize,
    ) {
        let mut buffer = BlockBuffer::new(Disk::new(room));
        let mut fit = 0;
        let mut total = 0;
        let mut error = None;
        for (index, &len) in lens.iter().enumerate() {
            total += len;
            if total <= room {
                fit = total;
            }
            let result = buffer
                .write_all(&vec![0; len])
                .and_then(|()| buffer.end_block())
                .and_then(|()| {
                    if index % flush_every == 0 { buffer.flush() } else { Ok(()) }
                });
            if let Err(kind) = result {
                error = Some(kind);
                break;
            }
        }
        if error.is_none() {
            error = buffer.flush().err();
        }
        prop_assert_eq!(error.is_some(), fit < total);
        prop_assert_eq!(buffer.get_ref().bytes.len(), fit);
    }
}

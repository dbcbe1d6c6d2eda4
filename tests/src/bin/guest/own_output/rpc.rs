//! ONC RPC (RFC 5531) over TCP, and XDR (RFC 4506), as far as Linux's NFS client speaks it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, ensure};

/// What a call is answered with.
pub(super) enum Answer {
    /// Its results.
    Results(Vec<u8>),
    /// There is no such program.
    NoProgram,
    /// There is no such procedure.
    NoProcedure,
}

/// A call.
pub(super) struct Call<'a> {
    pub(super) program: u32,
    pub(super) procedure: u32,
    pub(super) arguments: Xdr<'a>,
}

/// What is left to read.
pub(super) struct Xdr<'a>(pub(super) &'a [u8]);

impl<'a> Xdr<'a> {
    pub(super) fn u32(&mut self) -> Result<u32> {
        let (number, rest) = self.0.split_first_chunk().context("a short call")?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.u32()? as usize;
        let bytes = self.0.get(..len).context("a short call")?;
        self.0 = self
            .0
            .get(len.next_multiple_of(4)..)
            .context("no padding")?;
        Ok(bytes)
    }

    pub(super) fn string(&mut self) -> Result<String> {
        Ok(std::str::from_utf8(self.bytes()?)?.to_owned())
    }
}

/// Numbers, one behind another.
pub(super) fn words<const N: usize>(out: &mut Vec<u8>, words: [u32; N]) {
    out.extend(words.iter().flat_map(|word| word.to_be_bytes()));
}

/// A number of eight bytes.
pub(super) fn long(out: &mut Vec<u8>, number: u64) {
    out.extend(number.to_be_bytes());
}

/// Bytes, with their number before and zeros behind.
pub(super) fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    words(out, [bytes.len() as u32]);
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Answers all that come by, in threads that end with this process.
pub(super) fn serve(
    listener: TcpListener,
    answer: Arc<impl Fn(&mut Call<'_>) -> Result<Answer> + Send + Sync + 'static>,
) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                if let Err(error) = converse(stream, &*answer) {
                    println!("the server: {error:#}");
                }
            });
        }
    });
}

fn converse(mut stream: TcpStream, answer: impl Fn(&mut Call<'_>) -> Result<Answer>) -> Result<()> {
    stream.set_nodelay(true)?;
    while let Some(record) = record(&mut stream)? {
        let reply = reply(&record, &answer)?;
        let mut out = Vec::new();
        words(&mut out, [1 << 31 | reply.len() as u32]);
        out.extend(reply);
        stream.write_all(&out)?;
    }
    Ok(())
}

/// A call, which may come in pieces; nothing where the stream ends.
fn record(stream: &mut TcpStream) -> Result<Option<Vec<u8>>> {
    let mut record = Vec::new();
    loop {
        let mut mark = [0; 4];
        if stream.read_exact(&mut mark).is_err() {
            return Ok(None);
        }
        let mark = u32::from_be_bytes(mark);
        let len = u64::from(mark & !(1 << 31));
        let read = stream.take(len).read_to_end(&mut record)? as u64;
        ensure!(read == len, "a call that is cut off");
        if mark >> 31 == 1 {
            return Ok(Some(record));
        }
    }
}

fn reply(record: &[u8], answer: impl Fn(&mut Call<'_>) -> Result<Answer>) -> Result<Vec<u8>> {
    let mut arguments = Xdr(record);
    let id = arguments.u32()?;
    ensure!(arguments.u32()? == 0, "no call");
    ensure!(arguments.u32()? == 2, "another version of RPC");
    let program = arguments.u32()?;
    let _version = arguments.u32()?;
    let procedure = arguments.u32()?;
    for _credential_and_verifier in 0..2 {
        arguments.u32()?;
        arguments.bytes()?;
    }
    let mut call = Call {
        program,
        procedure,
        arguments,
    };
    let answer =
        answer(&mut call).with_context(|| format!("procedure {procedure} of program {program}"))?;
    let mut out = Vec::new();
    // A reply, accepted, without a verifier.
    words(&mut out, [id, 1, 0, 0, 0]);
    match answer {
        Answer::Results(results) => {
            words(&mut out, [0]);
            out.extend(results);
        }
        Answer::NoProgram => words(&mut out, [1]),
        Answer::NoProcedure => words(&mut out, [3]),
    }
    Ok(out)
}

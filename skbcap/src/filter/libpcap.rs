//! libpcap's compiler, opened when an expression needs it: neither building nor running skbcap
//! needs libpcap otherwise.
//!
//! The only code that calls it. Knows nothing of what a program is run on.

#![expect(
    unsafe_code,
    reason = "a C library, opened by name at run time, is called"
)]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::{self, NonNull};

use skbcap_common::MAX_SNAPLEN;

use super::cbpf::Instruction;
use crate::pcapng::LinkType;

/// What the library is called: by its authors, and by Debian.
const NAMES: [&CStr; 2] = [c"libpcap.so.1", c"libpcap.so.0.8"];

/// `PCAP_ERRBUF_SIZE`.
const ERROR_LEN: usize = 256;

/// There is no libpcap, or none that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a filter expression needs libpcap, which can't be opened ({0}): install libpcap0.8 on Debian \
     and its like, libpcap elsewhere"
)]
pub struct Missing(pub String);

/// What libpcap says of an expression that it can't compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CompileError(pub String);

/// `pcap_t`, opaque.
type Pcap = c_void;

/// `struct bpf_program`.
#[repr(C)]
struct BpfProgram {
    len: c_uint,
    instructions: *mut Instruction,
}

type FopenOffline = unsafe extern "C" fn(*mut libc::FILE, *mut c_char) -> *mut Pcap;
type Compile =
    unsafe extern "C" fn(*mut Pcap, *mut BpfProgram, *const c_char, c_int, c_uint) -> c_int;
type Geterr = unsafe extern "C" fn(*mut Pcap) -> *const c_char;
type Freecode = unsafe extern "C" fn(*mut BpfProgram);
type Close = unsafe extern "C" fn(*mut Pcap);
type Filter = unsafe extern "C" fn(*const Instruction, *const u8, c_uint, c_uint) -> c_uint;

/// The library, opened; it is never closed again.
#[derive(Clone, Copy, Debug)]
pub struct Libpcap {
    fopen_offline: FopenOffline,
    compile: Compile,
    geterr: Geterr,
    freecode: Freecode,
    close: Close,
    filter: Filter,
}

impl Libpcap {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// When there is none, or it lacks a function.
    pub fn open() -> Result<Self, Missing> {
        Self::open_one_of(&NAMES)
    }

    fn open_one_of(names: &[&CStr]) -> Result<Self, Missing> {
        let mut errors = Vec::new();
        for name in names {
            // SAFETY: the name ends with NUL; what libpcap and the libraries that it needs do when
            // they are loaded is no more than set themselves up.
            let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
            match NonNull::new(library) {
                Some(library) => return Self::new(library),
                None => errors.push(dl_error()),
            }
        }
        Err(Missing(errors.join("; ")))
    }

    fn new(library: NonNull<c_void>) -> Result<Self, Missing> {
        /// A function of the library.
        macro_rules! function {
            ($name:literal as $function:ty) => {{
                // SAFETY: `library` is open, and the name ends with NUL.
                let address = unsafe { libc::dlsym(library.as_ptr(), $name.as_ptr()) };
                if address.is_null() {
                    return Err(Missing(dl_error()));
                }
                // SAFETY: it is the address of the function that pcap/pcap.h, or pcap/bpf.h,
                // declares with this name, since libpcap 1.0 with the type that stands here. The
                // library is never closed, so that it stays one.
                unsafe { std::mem::transmute::<*mut c_void, $function>(address) }
            }};
        }
        Ok(Self {
            fopen_offline: function!(c"pcap_fopen_offline" as FopenOffline),
            compile: function!(c"pcap_compile" as Compile),
            geterr: function!(c"pcap_geterr" as Geterr),
            freecode: function!(c"pcap_freecode" as Freecode),
            close: function!(c"pcap_close" as Close),
            filter: function!(c"bpf_filter" as Filter),
        })
    }

    /// Compiles an expression for frames of this link type that come from a file, as
    /// `tcpdump -r` does: optimised, and without a network mask.
    ///
    /// # Errors
    ///
    /// libpcap's own words.
    pub fn compile(
        &self,
        expression: &CStr,
        link_type: LinkType,
    ) -> Result<Vec<Instruction>, CompileError> {
        // An empty capture, so that libpcap itself makes of the link type what it calls a DLT, and
        // knows that it compiles for a file, which has no metadata that a program could ask for.
        let header: [u32; 6] = [
            0xa1b2_c3d4,
            u32::from_ne_bytes(if cfg!(target_endian = "little") {
                [2, 0, 4, 0]
            } else {
                [0, 2, 0, 4]
            }),
            0,
            0,
            MAX_SNAPLEN,
            link_type.0.into(),
        ];
        // SAFETY: the header outlives the stream, which is closed below, and is only read.
        let file = unsafe {
            let start = ptr::from_ref(&header).cast_mut().cast();
            libc::fmemopen(start, size_of_val(&header), c"r".as_ptr())
        };
        if file.is_null() {
            return Err(CompileError(std::io::Error::last_os_error().to_string()));
        }
        let mut error = [0 as c_char; ERROR_LEN];
        // SAFETY: an open stream, and room for an error.
        let pcap = unsafe { (self.fopen_offline)(file, error.as_mut_ptr()) };
        if pcap.is_null() {
            // SAFETY: libpcap took the stream only if it succeeded, and the error ends with NUL.
            return Err(unsafe {
                libc::fclose(file);
                CompileError(text(error.as_ptr()))
            });
        }
        let mut program = BpfProgram {
            len: 0,
            instructions: ptr::null_mut(),
        };
        // SAFETY: `pcap` is open until `close`, which closes the stream too. Where `compile`
        // succeeds it has put `len` instructions into the program, which are copied before
        // `freecode` frees them; else an error into `pcap`.
        unsafe {
            let status = (self.compile)(pcap, &mut program, expression.as_ptr(), 1, 0);
            let result = if status == 0 {
                let len = program.len as usize;
                let instructions = std::slice::from_raw_parts(program.instructions, len).to_vec();
                (self.freecode)(&mut program);
                Ok(instructions)
            } else {
                Err(CompileError(text((self.geterr)(pcap))))
            };
            (self.close)(pcap);
            result
        }
    }

    /// What libpcap's interpreter makes of a packet: for tests of ours.
    ///
    /// Stores before it loads from memory, or what it loads is anything.
    #[doc(hidden)]
    #[must_use]
    pub fn run(&self, program: &super::cbpf::Program, data: &[u8], wire_len: u32) -> u32 {
        let instructions = program.instructions();
        let len = u32::try_from(data.len()).expect("no packet has 4 GiB");
        // SAFETY: a `Program` ends on each path and stays within itself and its memory, which is
        // all that `bpf_filter` takes for granted; it reads `len` bytes of the packet.
        unsafe { (self.filter)(instructions.as_ptr(), data.as_ptr(), wire_len, len) }
    }
}

/// What went wrong when a library was opened.
fn dl_error() -> String {
    // SAFETY: nothing is asked of the caller; the text lives until the next such call of this
    // thread, and is copied before.
    unsafe { text(libc::dlerror()) }
}

/// A copy of a C string; nothing if there is none.
///
/// # Safety
///
/// It ends with NUL, or is null.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null; the caller says that it ends.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_libpcap_it_is_said_what_to_install() {
        let missing = Libpcap::open_one_of(&[c"libpcap.so.skbcap"]).unwrap_err();
        let said = missing.to_string();
        assert!(said.contains("libpcap.so.skbcap: cannot open"), "{said}");
        assert!(said.contains("install libpcap0.8 on Debian"), "{said}");
    }

    #[test]
    fn another_library_is_refused() {
        let missing = Libpcap::open_one_of(&[c"libc.so.6"]).unwrap_err();
        assert!(missing.0.contains("pcap_fopen_offline"), "{missing}");
    }
}

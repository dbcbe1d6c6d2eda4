//! Addresses of kernel symbols: asked for by a program, or several of them in one pass over
//! `/proc/kallsyms`.
//!
//! Owns the file's format. Must not know: what a symbol is good for; the modules that need one
//! keep lists of names (`SYMBOLS`), which go into one look-up together, because the kernel takes
//! some 40 ms to print the whole file; it is read no further than to the last that is wanted.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};

mod asked;

const PATH: &str = "/proc/kallsyms";

/// What the file says of the names that were asked for.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    found: HashMap<String, u64>,
    visible: bool,
    by_name: bool,
}

/// What the kernel says of one symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symbol {
    /// Its address. Per-CPU symbols count from 0 on x86-64 up to Linux 6.14.
    At(u64),
    /// It is listed, but all addresses read as zero: `kptr_restrict` or missing `CAP_SYSLOG`
    /// (`kernel/ksyms_common.c:kallsyms_show_value@6.12`).
    Hidden,
    /// It is not listed: no such symbol, or data symbols are left out (no `CONFIG_KALLSYMS_ALL`).
    Absent,
}

impl Symbols {
    /// Looks one of each of `names` up: where names stand together, the first that is listed will do.
    /// Symbols of modules are not considered.
    ///
    /// `release` is the kernel's: since Linux 6.2 a program asks for them, where the kernel takes it.
    ///
    /// # Errors
    ///
    /// If the file can't be opened or read (no `CONFIG_KALLSYMS`).
    pub fn look_up(names: &[&[&str]], release: &str) -> io::Result<Self> {
        if searches_by_halves(release)
            && let Ok(symbols) = Self::ask(&names.concat())
        {
            return Ok(symbols);
        }
        Self::scan(File::open(PATH)?, names)
    }

    /// Asks for all of `names`.
    fn ask(names: &[&str]) -> io::Result<Self> {
        let addresses = asked::addresses(names)?;
        let found = names.iter().zip(addresses);
        let found = found.filter_map(|(name, address)| Some(((*name).into(), address?)));
        Ok(Self {
            found: found.collect(),
            visible: true,
            by_name: true,
        })
    }

    /// Whether the kernel was asked for each, and did not print them all.
    #[must_use]
    pub fn are_by_name(&self) -> bool {
        self.by_name
    }

    /// As [`Symbols::look_up`], in text of that format. A line of another format is skipped.
    ///
    /// # Errors
    ///
    /// If the text can't be read.
    pub fn scan(mut text: impl Read, names: &[&[&str]]) -> io::Result<Self> {
        let mut symbols = Self::default();
        let all = names.concat();
        let mut buffer = vec![0; 64 * 1024];
        let mut filled = 0;
        loop {
            let len = match text.read(&mut buffer[filled..]) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            filled += len;
            let mut done = 0;
            for line in buffer[..filled].split_inclusive(|&byte| byte == b'\n') {
                if line.last() != Some(&b'\n') && len != 0 {
                    break;
                }
                done += line.len();
                symbols.line(line.trim_ascii_end(), &all);
            }
            if len == 0 || symbols.has_one_of_each(names) {
                return Ok(symbols);
            }
            if done == 0 && filled == buffer.len() {
                // No symbol is that long: whatever this is, go on behind it.
                done = filled;
            }
            buffer.copy_within(done..filled, 0);
            filled -= done;
        }
    }

    fn has_one_of_each(&self, names: &[&[&str]]) -> bool {
        let has = |name: &&str| self.found.contains_key(*name);
        names.iter().all(|names| names.iter().any(has))
    }

    /// `ffffffff81000000 T _stext`, for a module's `ffffffffc0201000 t name\t[module]`.
    fn line(&mut self, line: &[u8], names: &[&str]) {
        let Some((address, rest)) = line.split_first_chunk::<16>() else {
            return;
        };
        let [b' ', _, b' ', name @ ..] = rest else {
            return;
        };
        if !self.visible && address.iter().any(|&digit| digit != b'0') {
            self.visible = true;
        }
        let Some(name) = names.iter().find(|wanted| wanted.as_bytes() == name) else {
            return;
        };
        let address = str::from_utf8(address)
            .ok()
            .and_then(|hex| u64::from_str_radix(hex, 16).ok());
        if let Some(address) = address {
            self.found.entry((*name).into()).or_insert(address);
        }
    }

    /// What was found for a name that was asked for.
    #[must_use]
    pub fn get(&self, name: &str) -> Symbol {
        match self.found.get(name) {
            Some(_) if !self.visible => Symbol::Hidden,
            Some(&address) => Symbol::At(address),
            None => Symbol::Absent,
        }
    }

    /// The address, if the kernel shows it.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<u64> {
        match self.get(name) {
            Symbol::At(address) => Some(address),
            Symbol::Hidden | Symbol::Absent => None,
        }
    }
}

/// Whether this kernel finds a symbol without going through all of them
/// (kernel/kallsyms.c:kallsyms_lookup_names@6.2).
fn searches_by_halves(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    matches!((number(), number()), (Some(major), Some(minor)) if (major, minor) >= (6, 2))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::kernel::capabilities::{Capabilities, Capability};

    const TEXT: &str = "\
0000000000000000 A __per_cpu_start
0000000000035370 A __preempt_count
ffffffff81000000 T _stext
ffffffff81b2c3d0 T __dev_queue_xmit
ffffffff8236f1c8 D page_offset_base
ffffffffc0201000 t vmemmap_base\t[some_module]
";

    /// Hands out a few bytes at a time, as the kernel may.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(self.0.len()).min(buffer.len());
            let (now, later) = self.0.split_at(len);
            buffer[..len].copy_from_slice(now);
            self.0 = later;
            Ok(len)
        }
    }

    #[test]
    fn several_symbols_are_found_in_one_pass() {
        let names: [&[&str]; 4] = [
            &["page_offset_base"],
            &["__preempt_count"],
            &["__per_cpu_start"],
            &["vmemmap_base"],
        ];
        for chunk in [1, 7, 50, 4096] {
            let symbols = Symbols::scan(Trickle(TEXT.as_bytes(), chunk), &names).unwrap();
            assert_eq!(
                symbols.address("page_offset_base"),
                Some(0xffff_ffff_8236_f1c8)
            );
            assert_eq!(symbols.get("__preempt_count"), Symbol::At(0x35370));
            assert_eq!(
                symbols.get("__per_cpu_start"),
                Symbol::At(0),
                "0 is an address there"
            );
            assert_eq!(
                symbols.get("vmemmap_base"),
                Symbol::Absent,
                "a module's does not count"
            );
        }
    }

    #[test]
    fn no_more_is_read_than_is_wanted() {
        let up_to = |names: &[&[&str]]| {
            let mut text = Trickle(TEXT.as_bytes(), 20);
            Symbols::scan(&mut text, names).unwrap();
            TEXT.len() - text.0.len()
        };
        let start: &[&str] = &["__per_cpu_start", "page_offset_base"];
        assert_eq!(up_to(&[start]), 40);
        assert_eq!(up_to(&[start, &["_stext", "gone"]]), 100);
        assert_eq!(up_to(&[start, &["gone"]]), TEXT.len());
    }

    #[test]
    fn zeros_everywhere_are_hidden_addresses() {
        let text: String = TEXT
            .lines()
            .map(|line| format!("{:016}{}\n", 0, &line[16..]))
            .collect();
        let symbols = Symbols::scan(text.as_bytes(), &[&["_stext"], &["gone"]]).unwrap();
        assert_eq!(symbols.get("_stext"), Symbol::Hidden);
        assert_eq!(symbols.get("gone"), Symbol::Absent);
    }

    #[test]
    fn other_text_is_skipped() {
        let mut text = b"nonsense\n\nffffffff81000000\nzzzzzzzzzzzzzzzz T _stext\n".to_vec();
        text.extend(vec![b'x'; 200_000]);
        text.extend(b"\nffffffff81000000 T _etext");
        let symbols = Symbols::scan(&*text, &[&["_stext"], &["_etext"]]).unwrap();
        assert_eq!(symbols.get("_stext"), Symbol::Absent);
        assert_eq!(symbols.get("_etext"), Symbol::At(0xffff_ffff_8100_0000));
    }

    #[test]
    fn the_running_kernel_is_read() {
        if std::path::Path::new(PATH).exists() {
            let symbols = Symbols::look_up(&[&["_stext"], &["__dev_queue_xmit"]], "").unwrap();
            assert_ne!(symbols.get("_stext"), Symbol::Absent);
        }
    }

    #[test]
    fn the_kernel_says_what_it_prints() {
        let names = ["_stext", "gone", "__dev_queue_xmit", "page_offset_base"];
        let set = Capabilities::effective().unwrap();
        let may = [Capability::Bpf, Capability::Perfmon, Capability::Syslog];
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let hides = fs::read_to_string("/proc/sys/kernel/kptr_restrict").unwrap();
        if !may.into_iter().all(|one| set.allow(one))
            || !searches_by_halves(&release)
            || hides.trim() == "2"
        {
            return;
        }
        let asked = Symbols::ask(&names).unwrap();
        let names = names.map(|name| [name]);
        let names: Vec<&[&str]> = names.iter().map(<[_; 1]>::as_slice).collect();
        let printed = Symbols::scan(File::open(PATH).unwrap(), &names).unwrap();
        for name in names.concat() {
            assert_eq!(asked.get(name), printed.get(name), "{name}");
        }
        assert_ne!(asked.get("_stext"), Symbol::Absent);
    }

    #[test]
    fn only_newer_kernels_are_asked() {
        for (release, asked) in [
            ("6.2.0", true),
            ("6.12.57+deb13-cloud-amd64", true),
            ("7.3-rc1", true),
            ("6.1.0-41", false),
            ("5.19.17", false),
            ("", false),
            ("next", false),
        ] {
            assert_eq!(searches_by_halves(release), asked, "{release}");
        }
    }
}

//! The text of `skbcap --check`: what there is, and what skbcap does with it.

use std::fmt;

use skbcap_common::Hook;

use super::{FUNCTION, HookChoice, Lockdown, Preflight};
use crate::kernel::capabilities::Capability;
use crate::kernel::kallsyms::Symbol;

/// Columns: what, found, what skbcap does with it.
type Row = (&'static str, String, String);

impl fmt::Display for Preflight {
    /// Lines of aligned columns, and at the end one line that says whether skbcap would start.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let width = |column: fn(&Row) -> usize| rows.iter().map(column).max().unwrap_or(0);
        let what = width(|row| row.0.chars().count());
        let found = width(|row| row.1.chars().count());
        for row in &rows {
            let text = format!("{:what$}  {:found$}  {}", row.0, row.1, row.2);
            writeln!(f, "{}", text.trim_end())?;
        }
        match self.hook(HookChoice::Auto) {
            Ok(hook) => write!(f, "skbcap captures here, by {}", hook_text(hook)),
            Err(refusal) => write!(f, "skbcap does not capture here: {refusal}"),
        }
    }
}

fn hook_text(hook: Hook) -> &'static str {
    match hook {
        Hook::Kprobe | Hook::Net => "the kprobe on __dev_queue_xmit",
        Hook::Queue => "the tracepoint net_dev_queue",
        Hook::Xmit => "the tracepoint net_dev_start_xmit",
    }
}

fn row(what: &'static str, found: impl Into<String>, does: impl Into<String>) -> Row {
    (what, found.into(), does.into())
}

impl Preflight {
    fn rows(&self) -> Vec<Row> {
        let mut rows = vec![
            row(
                "kernel",
                format!("Linux {} {}", self.release, self.machine),
                "5.10 or newer",
            ),
            self.types_row(),
            self.kprobe_row(),
            self.tracepoint_row(),
            self.kallsyms_row(),
        ];
        rows.extend(self.page_bases_row());
        rows.extend(self.contexts_row());
        rows.push(row(
            "clocks",
            format!(
                "CLOCK_MONOTONIC by {}",
                self.clock_source.as_deref().unwrap_or("?")
            ),
            "stamps frames in nanoseconds, turned into wall-clock time",
        ));
        rows.push(self.cpus_row());
        rows.extend(self.capability_rows());
        rows.push(self.lockdown_row());
        rows.push(self.sysctl_row());
        rows
    }

    fn types_row(&self) -> Row {
        match &self.types {
            Ok(types) => {
                let found = format!("{} types", types.btf.len());
                row("BTF", found, "tells where the fields of a frame lie")
            }
            Err(error) => row("BTF", "unusable", error.to_string()),
        }
    }

    fn kprobe_row(&self) -> Row {
        let (found, does) = match (self.kprobes, self.has_function()) {
            (true, true) => ("yes", "takes every frame at __dev_queue_xmit's entry"),
            (true, false) => ("no function", "__dev_queue_xmit is not listed: not used"),
            (false, _) => ("no", "this kernel has none (CONFIG_KPROBE_EVENTS)"),
        };
        row("kprobes", found, does)
    }

    fn tracepoint_row(&self) -> Row {
        match &self.types {
            Ok(types) if types.queue_tracepoint => {
                let used = matches!(self.hook(HookChoice::Auto), Ok(Hook::Queue));
                let does = if used {
                    "takes every frame there"
                } else {
                    "takes what the kprobe misses"
                };
                row("tracepoint net_dev_queue", "yes", does)
            }
            _ => row("tracepoint net_dev_queue", "no", "not used"),
        }
    }

    fn kallsyms_row(&self) -> Row {
        let found = match &self.symbols {
            Ok(symbols) => match symbols.get(FUNCTION) {
                Symbol::At(_) if symbols.are_by_name() => "addresses shown, by name".into(),
                Symbol::At(_) => "addresses shown".into(),
                Symbol::Hidden => "addresses hidden".into(),
                Symbol::Absent => "without network functions".into(),
            },
            Err(error) => error.to_string(),
        };
        row(
            "kallsyms",
            found,
            "a short way to the page bases and the context",
        )
    }

    fn page_bases_row(&self) -> Option<Row> {
        const WHAT: &str = "page bases";
        Some(match self.page_bases.as_ref()? {
            Ok(bases) => row(
                WHAT,
                bases.to_string(),
                "reads paged bytes: frames are whole",
            ),
            Err(error) => row(
                WHAT,
                "not found",
                format!("paged bytes are cut off and flagged: {error}"),
            ),
        })
    }

    fn contexts_row(&self) -> Option<Row> {
        const WHAT: &str = "interrupt context";
        Some(match self.cpu_words.as_ref()? {
            Ok(words) => {
                let found = format!("{} CPUs", words.of.len());
                row(WHAT, found, "tells task, softirq and hardirq apart")
            }
            Err(error) => row(WHAT, "unknown", format!("recorded as unknown: {error}")),
        })
    }

    fn cpus_row(&self) -> Row {
        match (&self.online_cpus, &self.possible_cpus) {
            (Ok(online), Ok(possible)) => {
                let found = format!("{} of {} online", online.len(), possible.len());
                row("CPUs", found, "a ring for each that is online")
            }
            (Err(error), _) | (_, Err(error)) => row("CPUs", "unknown", error.to_string()),
        }
    }

    fn capability_rows(&self) -> Vec<Row> {
        let has = |capability| match &self.capabilities {
            Ok(capabilities) if capabilities.allow(capability) => "yes",
            Ok(_) => "no",
            Err(_) => "unknown",
        };
        let does = |capability| match capability {
            Capability::Bpf => "needed: loads programs",
            Capability::Perfmon => "needed: attaches them and reads kernel memory",
            Capability::SysResource => {
                "before Linux 5.11: lifts the limit of locked memory (ulimit -l)"
            }
            Capability::SysAdmin => "searches for the page bases; enters other namespaces",
            Capability::Syslog => "sees kallsyms' addresses",
            Capability::SysRawio => "reads /proc/kcore's headers",
            Capability::DacReadSearch => "opens files of other users",
        };
        let mut rows: Vec<Row> = Capability::ALL
            .into_iter()
            .map(|capability| row(capability.name(), has(capability), does(capability)))
            .collect();
        if !self.initial_user_namespace {
            rows.push(row(
                "user namespace",
                "not the initial one",
                "capabilities do not count",
            ));
        }
        rows
    }

    fn lockdown_row(&self) -> Row {
        let (found, does) = match self.lockdown {
            Lockdown::None => ("none", "forbids nothing"),
            Lockdown::Integrity => ("integrity", "forbids /proc/kcore, which is seldom needed"),
            Lockdown::Confidentiality => ("confidentiality", "forbids capturing"),
            Lockdown::Unknown => ("unknown", "no file tells (securityfs may not be mounted)"),
        };
        row("lockdown", found, does)
    }

    fn sysctl_row(&self) -> Row {
        let text = |number: Option<u32>| number.map_or("?".into(), |number| number.to_string());
        let found = format!(
            "kptr_restrict {}, unprivileged_bpf_disabled {}",
            text(self.kptr_restrict),
            text(self.unprivileged_bpf_disabled)
        );
        row("sysctl", found, "kptr_restrict 2 hides kallsyms' addresses")
    }
}

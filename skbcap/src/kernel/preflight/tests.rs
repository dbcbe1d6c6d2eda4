use super::*;
use crate::kernel::btf::BtfError;
use crate::kernel::btf::synthetic::Builder;

/// A machine where everything is at hand, told apart from this one in every answer.
fn machine() -> Preflight {
    let text = "ffffffff81b2c3d0 T __dev_queue_xmit\n";
    Preflight {
        release: "6.1.0-28-amd64".into(),
        version: "#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1".into(),
        machine: "x86_64".into(),
        types: Ok(Types {
            btf: Btf::parse(Builder::new().build()).unwrap(),
            layout: Layout::default(),
            queue_tracepoint: true,
            xmit_tracepoint: true,
        }),
        symbols: Symbols::scan(text.as_bytes(), &[&[FUNCTION]]),
        kprobes: true,
        capabilities: Ok(Capabilities::of(&Capability::ALL)),
        unlimited_memlock: false,
        initial_user_namespace: true,
        time_namespace_offset: (0, 0),
        lockdown: Lockdown::None,
        kptr_restrict: Some(0),
        unprivileged_bpf_disabled: Some(2),
        clock_source: Some("tsc".into()),
        possible_cpus: cpus::parse("0-7"),
        online_cpus: cpus::parse("0-3"),
        page_bases: None,
        cpu_words: None,
        preempts: None,
    }
}

fn without_tracepoint(mut machine: Preflight) -> Preflight {
    machine.types.as_mut().unwrap().queue_tracepoint = false;
    machine
}

#[test]
fn the_kprobe_goes_first_and_the_tracepoint_stands_in() {
    assert_eq!(machine().hook(HookChoice::Auto), Ok(Hook::Kprobe));
    assert_eq!(machine().hook(HookChoice::Queue), Ok(Hook::Queue));
    assert_eq!(machine().hook(HookChoice::Xmit), Ok(Hook::Xmit));
    let text = without_tracepoint(machine())
        .hook(HookChoice::Xmit)
        .unwrap_err()
        .to_string();
    assert!(text.contains("needs both"), "{text}");
    let bare = || Preflight {
        kprobes: false,
        ..machine()
    };
    assert_eq!(bare().hook(HookChoice::Auto), Ok(Hook::Queue));
    let text = bare().hook(HookChoice::Kprobe).unwrap_err().to_string();
    assert!(text.ends_with("; --hook queue works here"), "{text}");
    let text = without_tracepoint(machine())
        .hook(HookChoice::Queue)
        .unwrap_err()
        .to_string();
    assert!(text.ends_with("; --hook kprobe works here"), "{text}");
    let text = without_tracepoint(bare())
        .hook(HookChoice::Auto)
        .unwrap_err()
        .to_string();
    assert!(text.contains("neither kprobes"), "{text}");
}

#[test]
fn a_function_that_is_not_listed_cannot_be_probed() {
    let renamed = Preflight {
        symbols: Ok(Symbols::default()),
        ..machine()
    };
    assert_eq!(renamed.hook(HookChoice::Auto), Ok(Hook::Queue));
    let unlisted = Preflight {
        symbols: Err(io::ErrorKind::NotFound.into()),
        ..machine()
    };
    assert_eq!(
        unlisted.hook(HookChoice::Auto),
        Ok(Hook::Kprobe),
        "attaching will tell"
    );
}

#[test]
fn missing_capabilities_are_named_with_the_command() {
    let user = Preflight {
        capabilities: Ok(Capabilities::default()),
        ..machine()
    };
    let text = user.refuse(HookChoice::Auto).unwrap_err().to_string();
    assert!(
        text.contains("CAP_BPF and CAP_PERFMON are missing"),
        "{text}"
    );
    assert!(text.contains("sudo setcap cap_bpf,cap_perfmon,"), "{text}");
    let old = Preflight {
        release: "5.10.0-32-amd64".into(),
        capabilities: Ok(Capabilities::of(&[Capability::Bpf, Capability::Perfmon])),
        unlimited_memlock: false,
        ..machine()
    };
    let text = old.refuse(HookChoice::Auto).unwrap_err().to_string();
    assert!(
        text.contains(": CAP_SYS_RESOURCE is missing;") && text.contains("cap_sys_resource,"),
        "{text}"
    );
    let unlimited = Preflight {
        unlimited_memlock: true,
        ..old
    };
    assert_eq!(unlimited.hook(HookChoice::Auto), Ok(Hook::Kprobe));
    let half = Capabilities::of(&[Capability::Bpf, Capability::Syslog]);
    let text = Preflight {
        capabilities: Ok(half),
        ..machine()
    }
    .refuse(HookChoice::Auto);
    assert!(
        text.unwrap_err()
            .to_string()
            .contains(": CAP_PERFMON is missing;")
    );
    let admin = Capabilities::of(&[Capability::SysAdmin]);
    assert!(
        Preflight {
            capabilities: Ok(admin),
            ..machine()
        }
        .refuse(HookChoice::Auto)
        .is_ok()
    );
    let container = Preflight {
        initial_user_namespace: false,
        ..machine()
    };
    assert_eq!(
        container.refuse(HookChoice::Auto),
        Err(Refusal::UserNamespace)
    );
}

#[test]
fn every_refusal_is_one_line() {
    let unreadable = BtfError::Read {
        path: RUNNING_KERNEL.into(),
        why: io::Error::from(io::ErrorKind::NotFound),
    };
    let machines = [
        Preflight {
            machine: "aarch64".into(),
            ..machine()
        },
        Preflight {
            release: "5.4.0-42-generic".into(),
            ..machine()
        },
        Preflight {
            capabilities: Ok(Capabilities::default()),
            ..machine()
        },
        Preflight {
            initial_user_namespace: false,
            ..machine()
        },
        Preflight {
            lockdown: Lockdown::Confidentiality,
            ..machine()
        },
        Preflight {
            types: Err(unreadable.into()),
            ..machine()
        },
        without_tracepoint(Preflight {
            kprobes: false,
            ..machine()
        }),
    ];
    for (machine, word) in machines.iter().zip([
        "x86-64",
        "5.10",
        "setcap",
        "container",
        "lockdown=",
        "--btf",
        "neither",
    ]) {
        let text = machine.refuse(HookChoice::Auto).unwrap_err().to_string();
        assert!(text.contains(word) && !text.contains('\n'), "{text}");
        assert!(
            machine.to_string().ends_with(&text),
            "the report says so too"
        );
    }
}

#[test]
fn the_report_is_aligned() {
    let mut machine = machine();
    machine.add_memory(Err(NotFound(Vec::new())), Err(Unknown::NoStart), false);
    let report = machine.to_string();
    let lines: Vec<&str> = report.lines().collect();
    let (last, rows) = lines.split_last().unwrap();
    assert_eq!(
        *last,
        "skbcap captures here, by the kprobe on __dev_queue_xmit"
    );
    let column = rows[0].find("Linux").unwrap();
    for row in rows {
        assert!(
            row.is_char_boundary(column) && row[..column].ends_with("  "),
            "{row}"
        );
        assert!(!row[column..].starts_with(' '), "{row}");
    }
    assert!(report.contains("4 of 8 online"));
    assert!(report.contains("paged bytes are cut off"));
}

#[test]
fn answers_are_read_from_the_kernels_texts() {
    assert_eq!(version("6.1.0-28-amd64"), Some((6, 1)));
    assert_eq!(version("5.10"), Some((5, 10)));
    assert_eq!(version(""), None);
    assert_eq!(
        lockdown(Some("none [integrity] confidentiality")),
        Lockdown::Integrity
    );
    assert_eq!(
        lockdown(Some("[none] integrity confidentiality")),
        Lockdown::None
    );
    assert_eq!(
        lockdown(Some("none integrity [confidentiality]")),
        Lockdown::Confidentiality
    );
    assert_eq!(lockdown(None), Lockdown::Unknown);
    assert_eq!(lockdown(Some("nonsense")), Lockdown::Unknown);
}

#[test]
fn this_machine_can_be_asked() {
    let preflight = Preflight::gather(None);
    assert!(!preflight.release.is_empty());
    assert!(preflight.to_string().contains(&preflight.release));
    let missing = Preflight::gather(Some(Path::new("/nonexistent/btf")));
    assert!(missing.types.is_err());
}

#[test]
fn a_clock_of_its_own_is_refused() {
    assert_eq!(
        time_namespace_offset("monotonic           0         0\nboottime 5 0\n"),
        (0, 0)
    );
    assert_eq!(time_namespace_offset(""), (0, 0));
    let offset = time_namespace_offset("monotonic       86400       500\n");
    assert_eq!(offset, (86400, 500));
    let elsewhere = Preflight {
        time_namespace_offset: offset,
        ..machine()
    };
    assert_eq!(
        elsewhere.refuse(HookChoice::Auto),
        Err(Refusal::TimeNamespace)
    );
}

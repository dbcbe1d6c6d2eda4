use std::path::Path;

use aya_obj::btf::BtfKind;
use proptest::prelude::*;

use super::synthetic::Builder;
use super::{Btf, BtfError, RUNNING_KERNEL};

/// `struct outer { u32 a; union { u64 b; struct { u16 c; u8 d:3, e:5; }; }; inner_t in; }`
fn sample() -> Builder {
    let mut builder = Builder::new();
    let u8_id = builder.int("u8", 1);
    let u16_id = builder.int("u16", 2);
    let u32_id = builder.int("u32", 4);
    let u64_id = builder.int("u64", 8);
    let bits = builder.structure(
        "",
        4,
        &[
            ("c", u16_id, 0, 0),
            ("d", u8_id, 16, 3),
            ("e", u8_id, 19, 5),
        ],
    );
    let either = builder.union("", 8, &[("b", u64_id, 0, 0), ("", bits, 0, 0)]);
    let name = builder.array(u8_id, 16);
    let pointer = builder.pointer(0);
    let inner = builder.structure("inner", 24, &[("p", pointer, 0, 0), ("name", name, 64, 0)]);
    let inner_t = builder.typedef("inner_t", inner);
    builder.structure(
        "outer",
        40,
        &[
            ("a", u32_id, 0, 0),
            ("", either, 64, 0),
            ("in", inner_t, 128, 0),
        ],
    );
    let variable = builder.variable("counter", u32_id);
    builder.section(".data..percpu", &[(variable, 0x1234, 4)]);
    builder
}

#[test]
fn members_are_found_through_anonymous_unions_and_typedefs() {
    let btf = Btf::parse(sample().build()).unwrap();
    let at = |path| {
        let member = btf.member("outer", path).unwrap();
        (member.bit_offset, member.bit_size, member.size)
    };
    assert_eq!(at("a"), (0, 0, 4));
    assert_eq!(at("b"), (64, 0, 8));
    assert_eq!(at("c"), (64, 0, 2));
    assert_eq!(at("d"), (80, 3, 1));
    assert_eq!(at("e"), (83, 5, 1));
    assert_eq!(at("in"), (128, 0, 24));
    assert_eq!(at("in.p"), (128, 0, 8));
    assert_eq!(at("in.name"), (192, 0, 16));
    assert!(btf.has_typedef("inner_t").unwrap());
    assert!(!btf.has_typedef("inner").unwrap());
    assert!(!btf.has_function("outer").unwrap());
}

#[test]
fn variables_have_an_offset_in_their_section() {
    let btf = Btf::parse(sample().build()).unwrap();
    let found = btf.variable(".data..percpu", "counter").unwrap().unwrap();
    assert_eq!((found.offset, found.size), (0x1234, 4));
    assert!(btf.variable(".data..percpu", "other").unwrap().is_none());
    assert!(btf.variable(".bss", "counter").unwrap().is_none());
}

#[test]
fn what_is_missing_is_named() {
    let btf = Btf::parse(sample().build()).unwrap();
    let text = |result: Result<_, BtfError>| result.unwrap_err().to_string();
    assert_eq!(
        text(btf.member("outer", "in.gone")),
        "this kernel's BTF has no member in.gone in outer"
    );
    assert_eq!(
        text(btf.member("gone", "a")),
        "this kernel's BTF has no structure gone"
    );
    assert_eq!(btf.find_member("outer", "a.b").unwrap(), None);
}

#[test]
fn an_unknown_kind_is_skipped_where_the_layout_tells_its_size() {
    let mut builder = Builder::new();
    builder.unknown(20, &[1, 2]);
    let int = builder.int("u32", 4);
    builder.structure("after", 4, &[("field", int, 0, 0)]);
    let error = Btf::parse(builder.build()).err().unwrap();
    assert!(
        matches!(error, BtfError::Corrupt { offset: 24, .. }),
        "{error}"
    );

    let mut kinds = [(0, 0); 21];
    kinds[20] = (8, 0);
    let btf = Btf::parse(builder.build_with_layout(&kinds)).unwrap();
    assert_eq!(btf.member("after", "field").unwrap().size, 4);
}

#[test]
fn circles_end_in_an_error() {
    let mut builder = Builder::new();
    builder.typedef("circle", 1);
    builder.structure("knot", 8, &[("", 2, 0, 0), ("", 2, 0, 0), ("", 2, 0, 0)]);
    builder.structure("user", 8, &[("loop", 1, 0, 0)]);
    builder.array(4, 1);
    builder.structure("nest", 8, &[("array", 4, 0, 0)]);
    let btf = Btf::parse(builder.build()).unwrap();
    for (structure, member) in [("knot", "x"), ("user", "loop"), ("nest", "array")] {
        let error = btf.member(structure, member).unwrap_err();
        assert!(
            matches!(error, BtfError::Corrupt { .. }),
            "{structure}: {error}"
        );
    }
}

#[test]
fn other_files_are_refused_with_the_reason() {
    let text = |bytes: &[u8]| Btf::parse(bytes.to_vec()).err().unwrap().to_string();
    assert!(text(b"").contains("magic"));
    assert!(text(b"\xeb\x9f\x01\x00").contains("big-endian"));
    assert!(text(b"\x9f\xeb\x01\x00").contains("cut short"));
    let missing = Btf::from_file(Path::new("/nonexistent/btf"))
        .err()
        .unwrap()
        .to_string();
    assert!(missing.starts_with("cannot read the kernel's types from /nonexistent/btf"));
    let executable = Btf::from_file(Path::new("/proc/self/exe"))
        .err()
        .unwrap()
        .to_string();
    assert!(
        executable.contains("without a .BTF section"),
        "{executable}"
    );
}

#[test]
fn the_running_kernel_can_be_asked() {
    if !Path::new(RUNNING_KERNEL).exists() {
        return;
    }
    let btf = Btf::running().unwrap();
    assert!(btf.len() > 1000);
    let data = btf.member("sk_buff", "data").unwrap();
    let head = btf.member("sk_buff", "head").unwrap();
    assert_eq!(data.bit_offset, head.bit_offset + 64);
    assert!(btf.has_typedef("btf_trace_net_dev_queue").unwrap());
    assert!(btf.has_function("__dev_queue_xmit").unwrap());
}

#[test]
fn an_outline_keeps_the_numbers() {
    let mut builder = Builder::new();
    let int = builder.int("int", 4);
    builder.structure("wanted", 4, &[("a", int, 0, 0)]);
    // The kind is told, not only the name.
    builder.typedef("wanted", int);
    let tracepoint = builder.typedef("btf_trace_place", int);
    builder.typedef("btf_trace_other", int);
    let function = builder.function("wanted", int);
    builder.function("wanted", int);
    let btf = Btf::parse(builder.build()).unwrap();

    let outline = btf
        .outline(&["place", "gone"], &["wanted", "gone"])
        .unwrap();

    let number = |name, kind| outline.id_by_type_name_kind(name, kind).ok();
    assert_eq!(
        number("btf_trace_place", BtfKind::Typedef),
        Some(tracepoint)
    );
    assert_eq!(number("wanted", BtfKind::Func), Some(function));
    assert_eq!(number("wanted", BtfKind::Typedef), None);
    assert_eq!(number("btf_trace_other", BtfKind::Typedef), None);
    assert_eq!(number("gone", BtfKind::Func), None);
}

#[test]
fn the_running_kernels_outline_has_the_numbers_that_aya_finds() {
    if !Path::new(RUNNING_KERNEL).exists() {
        return;
    }
    let (tracepoints, functions) = (
        ["net_dev_queue"],
        ["__dev_queue_xmit", "bpf_iter_task_file"],
    );
    let outline = Btf::running().unwrap();
    let outline = outline.outline(&tracepoints, &functions).unwrap();
    let whole = aya::Btf::from_sys_fs().unwrap();
    let same = |name: &str, kind| {
        let number = |btf: &aya::Btf| btf.id_by_type_name_kind(name, kind).unwrap();
        assert_eq!(number(&outline), number(&whole), "{name}");
    };
    same("btf_trace_net_dev_queue", BtfKind::Typedef);
    for function in functions {
        same(function, BtfKind::Func);
    }
}

fn ask_everything(btf: &Btf) {
    for path in [
        "a", "b", "c", "d", "e", "in.p", "in.name", "in.gone", "gone",
    ] {
        let _ = btf.member("outer", path);
    }
    let _ = btf.variable(".data..percpu", "counter");
    let _ = btf.has_function("outer");
    let _ = btf.outline(&["outer"], &["outer"]);
    for id in 0..=btf.len() as u32 + 1 {
        let _ = btf.size_of(super::TypeId(id));
        let _ = btf.element_of(super::TypeId(id));
    }
}

proptest! {
    #[test]
    fn mutated_bytes_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        keep_whole in any::<bool>(),
    ) {
        let mut bytes = sample().build_with_layout(&[(0, 0), (4, 0)]);
        for (index, value) in edits {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if !keep_whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(btf) = Btf::parse(bytes) {
            ask_everything(&btf);
        }
    }
}

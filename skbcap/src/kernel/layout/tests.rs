use std::path::Path;

use super::*;
use crate::kernel::btf::RUNNING_KERNEL;
use crate::kernel::btf::synthetic::{Builder, Field};

/// What differs between kernels.
#[derive(Clone, Copy)]
struct Kernel {
    frag: [&'static str; 3],
    frag_size: u32,
    vlan_bit: bool,
    end_size: u32,
    filler: u32,
}

const V5_10: Kernel = Kernel {
    frag: ["bv_page", "bv_len", "bv_offset"],
    frag_size: 16,
    vlan_bit: true,
    end_size: 4,
    filler: 0,
};
const V7_2: Kernel = Kernel {
    frag: ["netmem", "len", "offset"],
    vlan_bit: false,
    filler: 8,
    ..V5_10
};

/// The structures, much smaller than real ones, each field at a place of its own.
fn types(kernel: Kernel) -> Btf {
    let mut b = Builder::new();
    let u8_id = b.int("u8", 1);
    let u16_id = b.int("u16", 2);
    let u32_id = b.int("u32", 4);
    let u64_id = b.int("u64", 8);
    let pointer = b.pointer(0);
    let end = if kernel.end_size == 4 { u32_id } else { u64_id };
    let end = b.typedef("sk_buff_data_t", end);

    let [page, len, offset] = kernel.frag;
    let fields = [
        (page, pointer, 0, 0),
        (len, u32_id, 64, 0),
        (offset, u32_id, 96, 0),
    ];
    let frag = b.structure("some_name", kernel.frag_size, &fields);
    let frag = b.typedef("skb_frag_t", frag);
    let frags = b.array(frag, 17);
    b.structure(
        "skb_shared_info",
        48 + 17 * kernel.frag_size,
        &[
            ("nr_frags", u8_id, 16, 0),
            ("gso_size", u16_id, 32, 0),
            ("gso_type", u32_id, 192, 0),
            ("frag_list", pointer, 64, 0),
            ("frags", frags, 384, 0),
        ],
    );

    let at = |byte: u32| (kernel.filler + byte) * 8;
    let halves = b.structure(
        "",
        4,
        &[("vlan_proto", u16_id, 0, 0), ("vlan_tci", u16_id, 16, 0)],
    );
    let tag = b.union("", 4, &[("vlan_all", u32_id, 0, 0), ("", halves, 0, 0)]);
    let mut skb: Vec<Field> = vec![
        ("next", pointer, 0, 0),
        ("dev", pointer, 128, 0),
        ("sk", pointer, 192, 0),
        ("len", u32_id, 256, 0),
        ("data_len", u32_id, 288, 0),
        ("ip_summed", u8_id, at(120) + 5, 2),
        ("protocol", u16_id, at(114), 0),
        ("network_header", u16_id, at(116), 0),
        ("end", end, at(128), 0),
        ("head", pointer, at(136), 0),
        ("data", pointer, at(144), 0),
    ];
    if kernel.vlan_bit {
        skb.push(("vlan_present", u8_id, at(121) + 7, 1));
        skb.push(("", halves, at(124), 0));
    } else {
        skb.push(("", tag, at(124), 0));
    }
    b.structure("sk_buff", 232, &skb);

    let name = b.array(u8_id, 16);
    let net_pointer = b.structure("", 8, &[("net", pointer, 0, 0)]);
    let possible_net = b.typedef("possible_net_t", net_pointer);
    b.structure(
        "net_device",
        2048,
        &[
            ("name", name, 0, 0),
            ("ifindex", u32_id, 2048, 0),
            ("type", u16_id, 2080, 0),
            ("nd_net", possible_net, 8192, 0),
        ],
    );
    let ns_common = b.structure("ns_common", 24, &[("inum", u32_id, 128, 0)]);
    b.structure("net", 4096, &[("ns", ns_common, 1024, 0)]);
    b.structure(
        "task_struct",
        4096,
        &[
            ("pid", u32_id, 2500 * 8, 0),
            ("tgid", u32_id, 2504 * 8, 0),
            ("comm", name, 3000 * 8, 0),
        ],
    );
    b.structure("page", 64, &[]);
    Btf::parse(b.build()).unwrap()
}

#[test]
fn a_kernel_with_a_vlan_bit_and_bio_vec_fragments() {
    let layout = layout(&types(V5_10)).unwrap();
    assert_eq!(
        (layout.frag_page, layout.frag_len, layout.frag_offset),
        (0, 8, 12)
    );
    assert_eq!(
        (layout.skb_vlan_present, layout.skb_vlan_present_mask),
        (121, 0x80)
    );
    assert_eq!((layout.skb_vlan_proto, layout.skb_vlan_tci), (124, 126));
    assert_eq!((layout.skb_ip_summed, layout.skb_ip_summed_shift), (120, 5));
    assert_eq!(
        (layout.skb_end, layout.skb_head, layout.skb_data),
        (128, 136, 144)
    );
    assert_eq!((layout.skb_protocol, layout.skb_network_header), (114, 116));
    assert_eq!((layout.skb_begin, layout.skb_window), (16, 136));
    assert_eq!((layout.task_pid, layout.task_tgid), (2500, 2504));
    assert_eq!(layout.task_comm, 3000);
    assert_eq!((layout.shared_info_frags, layout.page_size_of), (48, 64));
    assert_eq!((layout.dev_net, layout.net_inum), (1024, 144));
    assert_eq!((layout.page_offset_base, layout.vmemmap_base), (0, 0));
}

#[test]
fn a_kernel_with_vlan_all_and_netmem_fragments() {
    let layout = layout(&types(V7_2)).unwrap();
    assert_eq!(
        (layout.frag_page, layout.frag_len, layout.frag_offset),
        (0, 8, 12)
    );
    assert_eq!(
        (layout.skb_vlan_present, layout.skb_vlan_present_mask),
        (0, 0)
    );
    assert_eq!((layout.skb_vlan_proto, layout.skb_vlan_tci), (132, 134));
    assert_eq!(layout.skb_window, 160);
}

#[test]
fn what_the_programs_take_for_granted_is_checked() {
    let text = |kernel| layout(&types(kernel)).unwrap_err().to_string();
    assert!(
        text(Kernel {
            frag_size: 24,
            ..V7_2
        })
        .starts_with("skb_frag_t.(whole) of this kernel has 24 bytes, not 16")
    );
    assert!(
        text(Kernel {
            frag: ["folio", "len", "offset"],
            ..V7_2
        })
        .starts_with("skb_frag_t.netmem of this kernel is missing")
    );
    assert!(
        text(Kernel {
            end_size: 8,
            ..V7_2
        })
        .starts_with("sk_buff.end of this kernel has 8 bytes, not 4")
    );
    assert!(
        text(Kernel {
            filler: 120,
            ..V7_2
        })
        .contains("beyond what is read")
    );
    assert!(text(Kernel { filler: 2, ..V7_2 }).contains("not aligned"));
}

#[test]
fn the_running_kernel_has_a_layout() {
    if !Path::new(RUNNING_KERNEL).exists() {
        return;
    }
    let layout = layout(&Btf::running().unwrap()).unwrap();
    assert_eq!(layout.skb_data, layout.skb_head + 8);
    assert!(layout.skb_window as usize <= SKB_WINDOW);
    assert!(layout.page_size_of >= 56);
}

//! From the kernel's types to the offsets that the eBPF programs are given.
//!
//! Owns the list of fields and what the programs take for granted about each: its size, its
//! alignment, that it lies within what is read at once. Must not know: the running kernel's memory
//! (the two bases are [`super::page_base`]'s), how the programs use the offsets.
//!
//! Source: `include/linux/skbuff.h`, `include/linux/netdevice.h`, `include/net/net_namespace.h` at
//! 5.10, 6.1, 6.12, 6.18 and 7.2.

use skbcap_common::config::{Layout, SHARED_INFO_WINDOW, SKB_WINDOW};

use super::btf::{Btf, BtfError, Member, TypeId};

#[cfg(test)]
mod tests;

/// Bytes of a `skb_frag_t` that the programs count with.
const FRAG_LEN: u32 = 16;

/// Why this kernel's structures can't be read by these programs.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The types don't hold what is needed, or can't be read.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The types come from a file, and no program can be attached by those.
    #[error("programs are attached by the types that the running kernel shows, and it shows none")]
    NotShown,
    /// A field is there, but not as the programs take it for granted.
    #[error(
        "{structure}.{field} of this kernel {problem}: this skbcap does not know such a kernel; \
         please report its release"
    )]
    Field {
        /// The structure's name.
        structure: &'static str,
        /// The member's path.
        field: &'static str,
        /// What is not as it should be.
        problem: String,
    },
}

/// Where everything lies in the kernel that `btf` describes. The two bases stay 0.
///
/// Minimum kernel: 5.10.
///
/// # Errors
///
/// [`LayoutError`], which names the structure and the field.
pub fn layout(btf: &Btf) -> Result<Layout, LayoutError> {
    let skb = Structure {
        btf,
        name: "sk_buff",
        window: Some(SKB_WINDOW as u32),
    };
    let info = Structure {
        btf,
        name: "skb_shared_info",
        window: Some(SHARED_INFO_WINDOW as u32),
    };
    let device = Structure {
        btf,
        name: "net_device",
        window: None,
    };
    let net = Structure {
        btf,
        name: "net",
        window: None,
    };
    let task = Structure {
        btf,
        name: "task_struct",
        window: None,
    };

    let frags = Structure {
        window: None,
        ..info
    }
    .member("frags")?;
    let frag = fragment(btf, frags.type_id)?;
    let (vlan_present, vlan_present_mask) = vlan_present(&skb)?;
    let (ip_summed, ip_summed_shift) = skb.bits("ip_summed", 2)?;

    let mut layout = Layout {
        page_offset_base: 0,
        vmemmap_base: 0,
        page_size_of: btf.size_of(btf.structure("page")?)?,
        skb_window: 0,
        skb_dev: skb.offset("dev", 8)?,
        skb_sk: skb.offset("sk", 8)?,
        skb_len: skb.offset("len", 4)?,
        skb_data_len: skb.offset("data_len", 4)?,
        skb_head: skb.offset("head", 8)?,
        skb_data: skb.offset("data", 8)?,
        // A 4-byte offset from `head` with NET_SKBUFF_DATA_USES_OFFSET, which all 64-bit kernels
        // have; a pointer without (include/linux/skbuff.h:sk_buff_data_t@5.10).
        skb_end: skb.offset("end", 4)?,
        skb_vlan_proto: skb.offset("vlan_proto", 2)?,
        skb_vlan_tci: skb.offset("vlan_tci", 2)?,
        skb_vlan_present: vlan_present,
        skb_vlan_present_mask: vlan_present_mask,
        skb_ip_summed: ip_summed,
        skb_ip_summed_shift: ip_summed_shift,
        shared_info_nr_frags: info.offset("nr_frags", 1)?,
        shared_info_gso_size: info.offset("gso_size", 2)?,
        shared_info_frag_list: info.offset("frag_list", 8)?,
        shared_info_frags: whole_bytes(&info, "frags", frags, 8)?,
        frag_page: frag.page,
        frag_len: frag.len,
        frag_offset: frag.offset,
        dev_name: device.offset("name", 16)?,
        dev_ifindex: device.offset("ifindex", 4)?,
        dev_type: device.offset("type", 2)?,
        dev_net: device.offset("nd_net.net", 8)?,
        net_inum: net.offset("ns.inum", 4)?,
        skb_begin: 0,
        task_comm: task.offset("comm", 16)?,
        dev_egress: [
            // Since 6.6, and up to 6.5 (include/linux/netdevice.h).
            one_of(&device, &["tcx_egress", "miniq_egress"])?,
            one_of(&device, &["nf_hooks_egress"])?,
        ],
        skb_next: skb.offset("next", 8)?,
        skb_protocol: skb.offset("protocol", 2)?,
        skb_network_header: skb.offset("network_header", 2)?,
        task_pid: task.offset("pid", 4)?,
        task_tgid: task.offset("tgid", 4)?,
    };
    if layout.page_size_of == 0 {
        return Err(info.wrong("page", "has no size".into()));
    }
    (layout.skb_begin, layout.skb_window) = skb_window(&layout);
    Ok(layout)
}

/// The offset of the first of these pointers that the structure has, 0 if it has none.
fn one_of(structure: &Structure<'_>, fields: &[&'static str]) -> Result<u32, LayoutError> {
    for &field in fields {
        if structure.btf.find_member(structure.name, field)?.is_some() {
            return structure.offset(field, 8);
        }
    }
    Ok(0)
}

/// From where and how many bytes of the skb hold all its fields, in whole words: each field was
/// found to lie within [`SKB_WINDOW`], itself whole words.
fn skb_window(layout: &Layout) -> (u32, u32) {
    let fields = [
        (layout.skb_dev, 8),
        (layout.skb_sk, 8),
        (layout.skb_len, 4),
        (layout.skb_data_len, 4),
        (layout.skb_head, 8),
        (layout.skb_data, 8),
        (layout.skb_end, 4),
        (layout.skb_vlan_proto, 2),
        (layout.skb_vlan_tci, 2),
        (layout.skb_protocol, 2),
        (layout.skb_network_header, 2),
        (layout.skb_vlan_present, 1),
        (layout.skb_ip_summed, 1),
    ];
    let begins = fields.into_iter().map(|(offset, _)| offset);
    let ends = fields.into_iter().map(|(offset, len)| offset + len);
    let begin = begins.min().unwrap_or(0) / 8 * 8;
    (begin, ends.max().unwrap_or(0).next_multiple_of(8) - begin)
}

/// The byte and mask of `vlan_present`, a bit up to 6.1; later kernels have `vlan_all` instead, and
/// a tag is present if that is not zero (`include/linux/skbuff.h:skb_vlan_tag_present@6.12`,
/// `__vlan_hwaccel_clear_tag`): mask 0.
fn vlan_present(skb: &Structure<'_>) -> Result<(u32, u32), LayoutError> {
    if skb.btf.find_member(skb.name, "vlan_present")?.is_some() {
        let (byte, shift) = skb.bits("vlan_present", 1)?;
        return Ok((byte, 1 << shift));
    }
    let all = skb.offset("vlan_all", 4)?;
    for half in ["vlan_proto", "vlan_tci"] {
        if skb.offset(half, 2)? & !3 != all {
            return Err(skb.wrong(half, "is no part of vlan_all".into()));
        }
    }
    Ok((0, 0))
}

struct Fragment {
    page: u32,
    len: u32,
    offset: u32,
}

/// `skb_frag_t`, as the array `frags` declares it: `struct bio_vec` {`bv_page`, `bv_len`,
/// `bv_offset`} on 5.10 and 6.1, `struct skb_frag` with {`netmem`, `len`, `offset`} since 6.10;
/// the kernels between have either `bio_vec` or `page`.
fn fragment(btf: &Btf, frags: TypeId) -> Result<Fragment, LayoutError> {
    let element = btf.element_of(frags)?;
    let wrong = |field, problem| LayoutError::Field {
        structure: "skb_frag_t",
        field,
        problem,
    };
    let size = btf.size_of(element)?;
    if size != FRAG_LEN {
        return Err(wrong(
            "(whole)",
            format!("has {size} bytes, not {FRAG_LEN}"),
        ));
    }
    let one_of = |names: [&'static str; 3], size: u32| -> Result<u32, LayoutError> {
        for name in names {
            if let Some(member) = btf.find_member_of(element, name)? {
                return check("skb_frag_t", name, member, size, Some(FRAG_LEN));
            }
        }
        Err(wrong(
            names[0],
            format!("is missing (nor is there {} or {})", names[1], names[2]),
        ))
    };
    Ok(Fragment {
        page: one_of(["netmem", "page", "bv_page"], 8)?,
        len: one_of(["len", "size", "bv_len"], 4)?,
        offset: one_of(["offset", "page_offset", "bv_offset"], 4)?,
    })
}

/// A structure whose fields are asked for, and how much of it the programs read.
#[derive(Clone, Copy)]
struct Structure<'btf> {
    btf: &'btf Btf,
    name: &'static str,
    window: Option<u32>,
}

impl Structure<'_> {
    fn member(&self, field: &'static str) -> Result<Member, LayoutError> {
        Ok(self.btf.member(self.name, field)?)
    }

    /// The offset in bytes of a field that must have `size` bytes.
    fn offset(&self, field: &'static str, size: u32) -> Result<u32, LayoutError> {
        check(self.name, field, self.member(field)?, size, self.window)
    }

    /// The byte that holds a bit-field of `bits` bits, and how far the field is shifted there.
    fn bits(&self, field: &'static str, bits: u32) -> Result<(u32, u32), LayoutError> {
        let member = self.member(field)?;
        let (byte, shift) = (member.byte_offset(), member.bit_offset % 8);
        if member.bit_size != bits {
            return Err(self.wrong(field, format!("has {} bits, not {bits}", member.bit_size)));
        }
        if shift + bits > 8 {
            return Err(self.wrong(field, "stretches over two bytes".into()));
        }
        if self.window.is_some_and(|window| byte >= window) {
            return Err(self.wrong(field, format!("lies at byte {byte}, beyond what is read")));
        }
        Ok((byte, shift))
    }

    fn wrong(&self, field: &'static str, problem: String) -> LayoutError {
        LayoutError::Field {
            structure: self.name,
            field,
            problem,
        }
    }
}

/// A field's offset in bytes, once it is whole bytes, of that size, aligned, and within `window`.
pub(super) fn check(
    structure: &'static str,
    field: &'static str,
    member: Member,
    size: u32,
    window: Option<u32>,
) -> Result<u32, LayoutError> {
    let wrong = |problem| {
        Err(LayoutError::Field {
            structure,
            field,
            problem,
        })
    };
    if member.bit_size != 0 || !member.bit_offset.is_multiple_of(8) {
        return wrong("is a bit-field".into());
    }
    if member.size != size {
        return wrong(format!("has {} bytes, not {size}", member.size));
    }
    let offset = member.byte_offset();
    // Arrays of characters may begin anywhere; anything else is a number of its size.
    if size <= 8 && !offset.is_multiple_of(size) {
        return wrong(format!("lies at byte {offset}, which is not aligned"));
    }
    if window.is_some_and(|window| offset.saturating_add(size) > window) {
        return wrong(format!("lies at byte {offset}, beyond what is read"));
    }
    Ok(offset)
}

/// The offset of an array that only has to begin within the window, or at its end.
fn whole_bytes(
    structure: &Structure<'_>,
    field: &'static str,
    member: Member,
    align: u32,
) -> Result<u32, LayoutError> {
    let offset = member.byte_offset();
    if !member.bit_offset.is_multiple_of(8 * align) {
        return Err(structure.wrong(field, format!("lies at byte {offset}: not aligned")));
    }
    if structure.window.is_some_and(|window| offset > window) {
        return Err(structure.wrong(field, format!("lies at byte {offset}, beyond what is read")));
    }
    Ok(offset)
}

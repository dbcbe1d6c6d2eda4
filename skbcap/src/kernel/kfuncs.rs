//! Functions of the kernel's that programs may call by their numbers in its BTF, and the types that
//! they are told by number.
//!
//! Programs that call them cost less than those that do without, and take newer kernels. Numbers
//! are those of the running kernel only: a file of types may number them otherwise.

use skbcap_common::config::Types;

use super::btf::{Btf, BtfError, TypeId};

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kfuncs {
    /// `bpf_rdonly_cast`. Minimum kernel: 6.2.
    pub rdonly_cast: u32,
    /// `bpf_dynptr_from_skb`, on which a BTF tracepoint may call since 6.11; there is one since 6.4.
    pub dynptr_from_skb: Option<u32>,
    /// The types.
    pub types: Types,
}

/// Looks for them in the running kernel's types; `None` where there are none.
///
/// # Errors
///
/// What [`Btf`] says.
pub fn find(btf: &Btf) -> Result<Option<Kfuncs>, BtfError> {
    let Some(rdonly_cast) = btf.function("bpf_rdonly_cast")? else {
        return Ok(None);
    };
    let number = |name| Ok::<_, BtfError>(btf.structure(name)?.number());
    Ok(Some(Kfuncs {
        rdonly_cast: rdonly_cast.number(),
        dynptr_from_skb: btf.function("bpf_dynptr_from_skb")?.map(TypeId::number),
        types: Types {
            sk_buff: number("sk_buff")?,
            skb_shared_info: number("skb_shared_info")?,
            word32: number("refcount_struct")?,
            word64: number("timespec64")?,
            reserved: [0; 2],
        },
    }))
}

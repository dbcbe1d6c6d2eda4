//! Questions to a parsed [`Btf`]: types by name, members by path, sizes.

use super::{Btf, BtfError, Type, TypeId, corrupt, kind};

/// Typedefs, qualifiers or arrays that are followed from one type to the next before it counts as
/// a circle.
const MAX_DEPTH: usize = 32;

/// Members that one look-up may visit: kernels' largest structures have some hundred.
const MAX_VISITS: usize = 1 << 17;

/// Bytes of a pointer: this program runs on 64-bit kernels only.
const POINTER_LEN: u32 = 8;

/// A member of a structure, found by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bits from the start of the outermost structure; bit 0 of a byte is its lowest.
    pub bit_offset: u32,
    /// How many bits a bit-field has; 0 for an ordinary member.
    pub bit_size: u32,
    /// Bytes of the member's type. A bit-field's type is larger than the field.
    pub size: u32,
    /// The member's type, as declared.
    pub type_id: TypeId,
}

impl Member {
    /// Bytes from the start of the outermost structure to the byte that holds the first bit.
    #[must_use]
    pub fn byte_offset(&self) -> u32 {
        self.bit_offset / 8
    }
}

/// A global variable's place in its section, e.g. of a per-CPU variable in `.data..percpu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Bytes from the start of the section.
    pub offset: u32,
    /// Bytes of the variable.
    pub size: u32,
}

impl Btf {
    /// The structure or union of that name, e.g. `sk_buff`.
    ///
    /// # Errors
    ///
    /// [`BtfError::MissingType`] if there is none; [`BtfError::Corrupt`].
    pub fn structure(&self, name: &str) -> Result<TypeId, BtfError> {
        self.by_name(&self.structures, name)?
            .ok_or_else(|| BtfError::MissingType {
                kind: "structure",
                name: name.into(),
            })
    }

    /// Whether there is a typedef of that name. Each tracepoint that BPF can attach to has one,
    /// `btf_trace_NAME` (`include/trace/bpf_probe.h:__DEFINE_EVENT@5.10`).
    ///
    /// # Errors
    ///
    /// [`BtfError::Corrupt`].
    pub fn has_typedef(&self, name: &str) -> Result<bool, BtfError> {
        Ok(self.typedef(name)?.is_some())
    }

    /// The typedef of that name, if there is one.
    ///
    /// # Errors
    ///
    /// [`BtfError::Corrupt`].
    pub fn typedef(&self, name: &str) -> Result<Option<TypeId>, BtfError> {
        self.by_name(&self.typedefs, name)
    }

    /// Whether there is a function of that name: one that fentry could attach to.
    ///
    /// # Errors
    ///
    /// [`BtfError::Corrupt`].
    pub fn has_function(&self, name: &str) -> Result<bool, BtfError> {
        Ok(self.function(name)?.is_some())
    }

    /// The function of that name, if there is one.
    ///
    /// # Errors
    ///
    /// [`BtfError::Corrupt`].
    pub fn function(&self, name: &str) -> Result<Option<TypeId>, BtfError> {
        self.by_name(&self.functions, name)
    }

    /// A variable's place in a section, if BTF describes both. Kernels describe their per-CPU
    /// variables, in `.data..percpu`.
    ///
    /// # Errors
    ///
    /// [`BtfError::Corrupt`].
    pub fn variable(&self, section: &str, name: &str) -> Result<Option<Variable>, BtfError> {
        let (Some(section), Some(variable)) = (
            self.by_name(&self.sections, section)?,
            self.by_name(&self.variables, name)?,
        ) else {
            return Ok(None);
        };
        let section = self.get(section)?;
        for entry in section.entries() {
            if self.u32_at(entry)? == variable.0 {
                let (offset, size) = (self.u32_at(entry + 4)?, self.u32_at(entry + 8)?);
                return Ok(Some(Variable { offset, size }));
            }
        }
        Ok(None)
    }

    /// A structure's member by path, e.g. `("net", "ns.inum")`. Anonymous structures and unions
    /// are looked through.
    ///
    /// # Errors
    ///
    /// [`BtfError::MissingType`], [`BtfError::MissingMember`], [`BtfError::Corrupt`].
    pub fn member(&self, structure: &str, path: &str) -> Result<Member, BtfError> {
        self.find_member(structure, path)?
            .ok_or_else(|| BtfError::MissingMember {
                structure: structure.into(),
                member: path.into(),
            })
    }

    /// As [`Btf::member`], but a member that is not there is an answer, not an error.
    ///
    /// # Errors
    ///
    /// [`BtfError::MissingType`], [`BtfError::Corrupt`].
    pub fn find_member(&self, structure: &str, path: &str) -> Result<Option<Member>, BtfError> {
        self.find_member_of(self.structure(structure)?, path)
    }

    /// As [`Btf::find_member`], of a type that is known by number (any typedef of a structure).
    ///
    /// # Errors
    ///
    /// [`BtfError::Corrupt`].
    pub fn find_member_of(&self, id: TypeId, path: &str) -> Result<Option<Member>, BtfError> {
        let mut found: Option<Member> = None;
        let mut visits = MAX_VISITS;
        for name in path.split('.') {
            let (outer, base) = found.map_or((id, 0), |found| (found.type_id, found.bit_offset));
            found = self.named_member(outer, name, base, MAX_DEPTH, &mut visits)?;
            if found.is_none() {
                return Ok(None);
            }
        }
        Ok(found)
    }

    /// Bytes of a type.
    ///
    /// # Errors
    ///
    /// [`BtfError::Corrupt`], also for a type that has no size (a function, `void`).
    pub fn size_of(&self, id: TypeId) -> Result<u32, BtfError> {
        let mut id = id;
        let mut count = 1u32;
        for _ in 0..MAX_DEPTH {
            let ty = self.get(self.resolve(id)?)?;
            let size = match ty.kind {
                kind::INT
                | kind::STRUCT
                | kind::UNION
                | kind::ENUM
                | kind::FLOAT
                | kind::ENUM64 => ty.size_or_type,
                kind::PTR => POINTER_LEN,
                kind::ARRAY => {
                    id = TypeId(self.u32_at(ty.extra)?);
                    let of = self.u32_at(ty.extra + 8)?;
                    count = count
                        .checked_mul(of)
                        .ok_or(corrupt(ty.extra + 8, "an array of more than 4 GiB"))?;
                    continue;
                }
                _ => {
                    return Err(corrupt(
                        ty.extra,
                        "a type without a size where one is needed",
                    ));
                }
            };
            return count
                .checked_mul(size)
                .ok_or(corrupt(ty.extra, "a type of more than 4 GiB"));
        }
        Err(corrupt(self.place(id), "arrays that contain themselves"))
    }

    /// The type of an array's elements, as declared.
    ///
    /// # Errors
    ///
    /// [`BtfError::Corrupt`], also for a type that is no array.
    pub fn element_of(&self, id: TypeId) -> Result<TypeId, BtfError> {
        let ty = self.get(self.resolve(id)?)?;
        if ty.kind != kind::ARRAY {
            return Err(corrupt(ty.extra, "something else where an array is needed"));
        }
        Ok(TypeId(self.u32_at(ty.extra)?))
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, mut id: TypeId) -> Result<TypeId, BtfError> {
        for _ in 0..MAX_DEPTH {
            let ty = self.get(id)?;
            match ty.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = TypeId(ty.size_or_type);
                }
                _ => return Ok(id),
            }
        }
        Err(corrupt(self.place(id), "typedefs that lead in a circle"))
    }

    fn named_member(
        &self,
        id: TypeId,
        name: &str,
        base: u32,
        depth: usize,
        visits: &mut usize,
    ) -> Result<Option<Member>, BtfError> {
        let id = self.resolve(id)?;
        let outer = self.get(id)?;
        if !matches!(outer.kind, kind::STRUCT | kind::UNION) {
            return Ok(None);
        }
        let (Some(depth), true) = (depth.checked_sub(1), *visits > 0) else {
            return Err(corrupt(self.place(id), "structures nested without an end"));
        };
        for entry in outer.entries() {
            *visits = visits.saturating_sub(1);
            let member_name = self.u32_at(entry)?;
            let type_id = TypeId(self.u32_at(entry + 4)?);
            let place = self.u32_at(entry + 8)?;
            let (offset, bit_size) = if outer.flag {
                (place & 0x00ff_ffff, place >> 24)
            } else {
                (place, 0)
            };
            let bit_offset = base
                .checked_add(offset)
                .ok_or(corrupt(entry + 8, "a member beyond 512 MiB"))?;
            if member_name == 0 {
                // A bit-field without a name, or an anonymous structure or union.
                if let Some(found) = self.named_member(type_id, name, bit_offset, depth, visits)? {
                    return Ok(Some(found));
                }
            } else if self.is_named(member_name, name) {
                return self.complete(bit_offset, bit_size, type_id).map(Some);
            }
        }
        Ok(None)
    }

    fn complete(&self, offset: u32, bits: u32, type_id: TypeId) -> Result<Member, BtfError> {
        let size = self.size_of(type_id)?;
        let mut member = Member {
            bit_offset: offset,
            bit_size: bits,
            size,
            type_id,
        };
        let ty = self.get(self.resolve(type_id)?)?;
        // Encoders without the structure's flag put a bit-field into an integer type of its own:
        // bits 0-7 its size, bits 16-23 where it begins (kernel/bpf/btf.c:btf_int_bits@5.10).
        if bits == 0 && ty.kind == kind::INT {
            let int = self.u32_at(ty.extra)?;
            if int & 0xff != size.saturating_mul(8) {
                member.bit_size = int & 0xff;
                member.bit_offset = offset.saturating_add((int >> 16) & 0xff);
            }
        }
        Ok(member)
    }

    fn by_name(&self, ids: &[TypeId], name: &str) -> Result<Option<TypeId>, BtfError> {
        for &id in ids {
            if self.is_named(self.u32_at(self.place(id))?, name) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    fn get(&self, id: TypeId) -> Result<Type, BtfError> {
        if id.0 == 0 {
            return Ok(Type {
                name: 0,
                kind: 0,
                flag: false,
                vlen: 0,
                size_or_type: 0,
                extra: 0,
            });
        }
        match self.types.get(id.0 as usize) {
            Some(&at) => self.type_at(at as usize),
            None => Err(corrupt(0, "a type refers to one that does not exist")),
        }
    }

    fn place(&self, id: TypeId) -> usize {
        self.types.get(id.0 as usize).map_or(0, |&at| at as usize)
    }
}

impl Type {
    /// Where each of the members (or variables of a section) begins. Within the types: the parser
    /// has checked that.
    fn entries(&self) -> impl Iterator<Item = usize> + use<> {
        (self.extra..).step_by(12).take(self.vlen as usize)
    }
}

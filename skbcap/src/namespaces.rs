//! Which network namespaces are captured in: as they were typed, as they were opened, and by their
//! numbers.

use std::convert::Infallible;

/// Which network namespaces are captured in, each told by a `T`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespaces<T> {
    /// All.
    #[default]
    All,
    /// All but these.
    AllBut(Vec<T>),
    /// These, of which there is at least one.
    Only(Vec<T>),
}

impl<T> Namespaces<T> {
    /// The namespace, if it is one only.
    #[must_use]
    pub fn one(&self) -> Option<&T> {
        match self {
            Self::Only(these) if these.len() == 1 => these.first(),
            _ => None,
        }
    }

    /// The same, each told in another way.
    ///
    /// # Errors
    ///
    /// The first that `to` has.
    pub fn try_map<U, E>(&self, to: impl FnMut(&T) -> Result<U, E>) -> Result<Namespaces<U>, E> {
        Ok(match self {
            Self::All => Namespaces::All,
            Self::AllBut(these) => {
                Namespaces::AllBut(these.iter().map(to).collect::<Result<_, _>>()?)
            }
            Self::Only(these) => Namespaces::Only(these.iter().map(to).collect::<Result<_, _>>()?),
        })
    }

    /// As [`Namespaces::try_map`], without errors.
    #[must_use]
    pub fn map<U>(&self, mut to: impl FnMut(&T) -> U) -> Namespaces<U> {
        let Ok(mapped) = self.try_map(|one| Ok::<U, Infallible>(to(one)));
        mapped
    }
}

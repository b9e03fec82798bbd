//! What a look at a neighbour found.

/// The answer to "is it there?" of a call that succeeded. A failed call is an `Err`, never `Absent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed<T> {
    Present(T),
    Absent,
}

impl<T> Observed<T> {
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Observed<U> {
        match self {
            Self::Present(found) => Observed::Present(change(found)),
            Self::Absent => Observed::Absent,
        }
    }

    pub fn present(self) -> Option<T> {
        match self {
            Self::Present(found) => Some(found),
            Self::Absent => None,
        }
    }
}

//! A fault of a proxy: the harm, and the byte at which it happens.

/// The direction of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToApi,
    ToClient,
}

impl Direction {
    /// Both.
    pub const ALL: [Direction; 2] = [Direction::ToApi, Direction::ToClient];
}

/// The harm at the byte of a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Both sides see an orderly end. The byte does not pass.
    Cut,
    /// Both sides see an RST. The byte does not pass.
    Reset,
    /// This byte and those after it are held back until [`Proxy::relent`](super::Proxy::relent). They are lost if the
    /// client closes first.
    Stall,
    /// From here on this connection passes single bytes in this direction, until [`Proxy::relent`](super::Proxy::relent).
    Drip,
    /// The byte passes twice.
    DuplicateByte,
    /// The byte passes twice, with the bytes that arrived after it.
    DuplicateRest,
    /// The bits that are set here are flipped.
    Corrupt(u8),
}

/// A harm and its place: the number of a byte in one direction. The count starts at [`Proxy::arm`](super::Proxy::arm)
/// and covers all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub direction: Direction,
    pub at: usize,
    pub harm: Harm,
}

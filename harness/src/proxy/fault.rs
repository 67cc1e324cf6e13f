//! What a proxy does, and where.

/// Where a byte is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToApi,
    ToClient,
}

impl Direction {
    /// Both.
    pub const ALL: [Direction; 2] = [Direction::ToApi, Direction::ToClient];
}

/// What happens at the byte that a [`Fault`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Both sides see an orderly end. The byte does not pass.
    Cut,
    /// Both sides see an RST. The byte does not pass.
    Reset,
    /// This byte and those after it are held back until [`Proxy::relent`](super::Proxy::relent); they are lost if the client goes first.
    Stall,
    /// From here on this connection passes single bytes in this direction, until [`Proxy::relent`](super::Proxy::relent).
    Drip,
    /// The byte passes twice.
    DuplicateByte,
    /// The byte, and what came with it after it, passes twice.
    DuplicateRest,
    /// The bits that are set here are flipped.
    Corrupt(u8),
}

/// A harm, and the place where it is done: the number of a byte in one direction, counted from [`Proxy::arm`](super::Proxy::arm) over all
/// connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub direction: Direction,
    pub at: usize,
    pub harm: Harm,
}

//! How much of the gateway's memory requests may take at once. A request that finds no room is refused before it is
//! read, so that many large ones cannot end the process.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// For all bodies together.
const BYTES: usize = 256 << 20;
/// The unit of account. A request takes at least one.
const UNIT: usize = 4096;
/// Requests at once, however small.
const REQUESTS: usize = 4096;

pub struct Room {
    requests: Arc<Semaphore>,
    units: Arc<Semaphore>,
}

/// What one request has taken. Dropping it gives it back.
pub struct Place {
    _request: OwnedSemaphorePermit,
    units: OwnedSemaphorePermit,
}

/// There is no room now.
#[derive(Debug, PartialEq, Eq)]
pub struct NoRoom;

impl Default for Room {
    fn default() -> Room {
        Room { requests: Arc::new(Semaphore::new(REQUESTS)), units: Arc::new(Semaphore::new(BYTES / UNIT)) }
    }
}

impl Room {
    /// # Errors
    /// There are too many requests.
    pub fn place(&self) -> Result<Place, NoRoom> {
        let request = self.requests.clone().try_acquire_owned().map_err(|_| NoRoom)?;
        let units = self.units.clone().try_acquire_owned().map_err(|_| NoRoom)?;
        Ok(Place { _request: request, units })
    }

    /// Makes the place large enough for `bytes` in all.
    ///
    /// # Errors
    /// The other requests leave no room.
    pub fn grow(&self, place: &mut Place, bytes: usize) -> Result<(), NoRoom> {
        let more = bytes.div_ceil(UNIT).saturating_sub(place.units.num_permits());
        if more > 0 {
            let more = u32::try_from(more).map_err(|_| NoRoom)?;
            place.units.merge(self.units.clone().try_acquire_many_owned(more).map_err(|_| NoRoom)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_shared_and_comes_back() {
        let room = Room::default();
        let (mut one, mut two) = (room.place().unwrap(), room.place().unwrap());
        room.grow(&mut one, BYTES - UNIT).unwrap();
        room.grow(&mut two, UNIT).unwrap();
        assert_eq!(room.grow(&mut two, UNIT + 1), Err(NoRoom));
        assert!(room.place().is_err());
        drop(one);
        room.grow(&mut two, BYTES).unwrap();
    }
}

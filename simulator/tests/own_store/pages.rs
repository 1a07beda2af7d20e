//! Two places for a page on one disk, written in turn: whatever becomes of one write, the page before it is still there.

use std::io;

use handfast_common::codec;
use handfast_common::storage::{frame, unframe};
use handfast_simulator::disk::Disk;
use redb::StorageBackend;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// The end of a place is the begin of the other one.
const PLACE: u64 = 4 << 20;
/// What stands before a page: its number, and the length of its frame.
const HEADER: u64 = 16;

/// The pages of one store.
pub(crate) struct Pages {
    disk: Disk,
    written: u64,
}

impl Pages {
    /// The newest page that is whole; a new one where there has never been one, for the first is on disk before anybody is
    /// answered.
    pub(crate) fn open<P: Default + DeserializeOwned>(disk: Disk) -> io::Result<(Self, P)> {
        let found = [read(&disk, 0)?, read(&disk, 1)?];
        let newest = found.into_iter().flatten().max_by_key(|(number, _)| *number);
        let Some((written, bytes)) = newest else { return Ok((Self { disk, written: 0 }, P::default())) };
        let page = codec::decode(&bytes).map_err(io::Error::other)?;
        Ok((Self { disk, written }, page))
    }

    /// On disk when it returns.
    pub(crate) fn write(&mut self, page: &impl Serialize) -> io::Result<()> {
        let (number, bytes) = (self.written + 1, codec::encode(page).map_err(io::Error::other)?);
        // The checksum covers number and place.
        let framed = frame("pages", &number.to_be_bytes(), Uuid::nil(), &bytes);
        let mut all = number.to_be_bytes().to_vec();
        all.extend((framed.len() as u64).to_be_bytes());
        all.extend(framed);
        if all.len() as u64 > PLACE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.disk.write(number % 2 * PLACE, &all)?;
        self.disk.sync_data()?;
        self.written = number;
        Ok(())
    }
}

/// A page with its number, if there is one: a write that was cut short leaves none.
fn read(disk: &Disk, place: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
    let (begin, end) = (place * PLACE, disk.len()?);
    if begin + HEADER > end {
        return Ok(None);
    }
    let mut header = [0; HEADER as usize];
    disk.read(begin, &mut header)?;
    let [number, length] = [0, 8].map(|at| u64::from_be_bytes(std::array::from_fn(|n| header[at + n])));
    if length > PLACE || begin + HEADER + length > end {
        return Ok(None);
    }
    let mut framed = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    disk.read(begin + HEADER, &mut framed)?;
    let page = unframe("pages", &number.to_be_bytes(), &framed).ok();
    Ok(page.filter(|_| number % 2 == place).map(|frame| (number, frame.payload.to_vec())))
}

//! The bytes of a file, in pages that copies share: a copy costs a pointer per page.

use std::sync::Arc;

/// Bytes of a page.
const PAGE: usize = 4096;

type Page = [u8; PAGE];

/// A file's content. Pages that were never written are zeros.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub struct Image {
    pages: Vec<Option<Arc<Page>>>,
    len: u64,
}

impl Image {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many pages it has.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Reads; `None` beyond the end.
    #[must_use]
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Option<()> {
        offset.checked_add(out.len() as u64).filter(|end| *end <= self.len)?;
        let mut done = 0;
        while done < out.len() {
            let (page, from) = place(offset + done as u64);
            let part = (PAGE - from).min(out.len() - done);
            match &self.pages[page] {
                Some(bytes) => out[done..done + part].copy_from_slice(&bytes[from..from + part]),
                None => out[done..done + part].fill(0),
            }
            done += part;
        }
        Some(())
    }

    /// Writes, making the file longer where that is needed.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        self.set_len(self.len.max(offset + data.len() as u64));
        let mut done = 0;
        while done < data.len() {
            let (page, from) = place(offset + done as u64);
            let part = (PAGE - from).min(data.len() - done);
            self.page_mut(page)[from..from + part].copy_from_slice(&data[done..done + part]);
            done += part;
        }
    }

    /// Writes what lies within the file: what a lost growth leaves of a write behind it.
    pub fn write_clipped(&mut self, offset: u64, data: &[u8]) {
        let room = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        self.write(offset.min(self.len), &data[..data.len().min(room)]);
    }

    /// Cuts the file, or lets it grow with zeros.
    pub fn set_len(&mut self, len: u64) {
        let (pages, used) = place(len);
        self.pages.resize(pages + usize::from(used > 0), None);
        if len < self.len && used > 0 && self.pages[pages].is_some() {
            self.page_mut(pages)[used..].fill(0);
        }
        self.len = len;
    }

    /// Flips one bit.
    pub fn flip(&mut self, offset: u64, bit: u8) {
        let (page, at) = place(offset);
        self.page_mut(page)[at] ^= 1 << (bit % 8);
    }

    /// Brings one page back as it is in `older`: a write that was lost, or went elsewhere. False when nothing changes.
    pub fn bring_back(&mut self, older: &Self, page: usize) -> bool {
        let old = older.pages.get(page).cloned().flatten();
        let changed = self.pages.get(page).is_some_and(|now| *now != old);
        if changed {
            self.pages[page] = old;
        }
        changed
    }

    fn page_mut(&mut self, page: usize) -> &mut Page {
        Arc::make_mut(self.pages[page].get_or_insert_with(|| Arc::new([0; PAGE])))
    }
}

fn place(offset: u64) -> (usize, usize) {
    let at = usize::try_from(offset).unwrap_or(usize::MAX);
    (at / PAGE, at % PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_see_writes_over_page_borders_and_cuts_leave_zeros() {
        let mut image = Image::default();
        image.write(4_090, &[7; 20]);
        let mut out = [1; 24];
        image.read(4_086, &mut out).unwrap();
        assert_eq!((&out[..4], &out[4..]), (&[0; 4][..], &[7; 20][..]));
        assert_eq!(image.read(4_100, &mut [0; 11]), None, "beyond the end");
        image.set_len(4_100);
        image.set_len(9_000);
        image.read(4_094, &mut out).unwrap();
        assert_eq!((&out[..6], &out[6..]), (&[7; 6][..], &[0; 18][..]));
    }

    #[test]
    fn a_clipped_write_never_makes_the_file_longer() {
        let mut image = Image::default();
        image.write(0, &[1; 100]);
        image.write_clipped(90, &[2; 20]);
        image.write_clipped(500, &[2; 20]);
        let mut out = [0; 100];
        image.read(0, &mut out).unwrap();
        assert_eq!((image.len(), &out[90..]), (100, &[2; 10][..]));
    }
}

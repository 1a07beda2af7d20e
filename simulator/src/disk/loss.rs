//! What power loss leaves of writes that were not synced.

use super::image::Image;
use crate::dice::Dice;

/// Which of the unsynced steps survive. Those with a number draw from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Loss {
    /// None.
    Nothing,
    /// All.
    Everything,
    /// The first half, in order.
    FirstHalf,
    /// The last half: a disk may write in any order.
    LastHalf,
    /// A prefix of any length.
    Prefix(u64),
    /// Each one or not.
    Subset(u64),
    /// Each sector of each one or not.
    Sectors(u64),
    /// All up to one, which is cut at any byte.
    Torn(u64),
    /// All but changes of the length.
    LengthLost,
}

impl Loss {
    /// The ten ways that exhaustive runs go through.
    #[must_use]
    pub fn ten(seed: u64) -> [Self; 10] {
        [
            Self::Nothing,
            Self::Everything,
            Self::FirstHalf,
            Self::LastHalf,
            Self::Subset(seed),
            Self::Subset(seed ^ 0xA5A5),
            Self::Sectors(seed),
            Self::Sectors(seed ^ 0x5A5A),
            Self::Torn(seed),
            Self::LengthLost,
        ]
    }

    /// Any of them.
    #[must_use]
    pub fn drawn(dice: &mut Dice) -> Self {
        let seed = dice.number();
        match dice.below(9) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 => Self::FirstHalf,
            3 => Self::LastHalf,
            4 => Self::Prefix(seed),
            5 => Self::Subset(seed),
            6 => Self::Sectors(seed),
            7 => Self::Torn(seed),
            _ => Self::LengthLost,
        }
    }

    /// What is left of `steps` over the synced image.
    pub(super) fn apply(self, durable: &Image, steps: &[Step]) -> Image {
        let mut image = durable.clone();
        let count = steps.len();
        let mut dice = Dice::new(self.seed());
        let upto = match self {
            Self::Prefix(_) => dice.index(count + 1),
            Self::Torn(_) => dice.index(count.max(1)),
            _ => count,
        };
        for (at, step) in steps.iter().enumerate() {
            let survives = match self {
                Self::Nothing => false,
                Self::Everything | Self::LengthLost | Self::Sectors(_) => true,
                Self::FirstHalf => at < count / 2,
                Self::LastHalf => at >= count / 2,
                Self::Prefix(_) => at < upto,
                Self::Torn(_) => at <= upto,
                Self::Subset(_) => dice.one_in(2),
            };
            match step {
                Step::SetLen(len) => {
                    let lost = match self {
                        Self::LengthLost => true,
                        Self::Sectors(_) => dice.one_in(2),
                        _ => !survives,
                    };
                    if !lost {
                        image.set_len(*len);
                    }
                }
                Step::Write(offset, data) if survives => match self {
                    Self::Sectors(_) => by_sectors(&mut image, *offset, data, &mut dice),
                    Self::Torn(_) if at == upto => {
                        image.write_clipped(*offset, &data[..dice.index(data.len() + 1)]);
                    }
                    _ => image.write_clipped(*offset, data),
                },
                Step::Write(..) => {}
            }
        }
        image
    }

    /// Which of the hint's versions is on disk: `0` is the synced one, then one for every save since.
    pub(super) fn version(self, saves: usize) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Everything | Self::LastHalf | Self::LengthLost => saves,
            Self::FirstHalf => saves / 2,
            Self::Prefix(_) | Self::Subset(_) | Self::Sectors(_) | Self::Torn(_) => {
                Dice::apart(self.seed(), 1).index(saves + 1)
            }
        }
    }

    fn seed(self) -> u64 {
        match self {
            Self::Prefix(seed) | Self::Subset(seed) | Self::Sectors(seed) | Self::Torn(seed) => seed,
            Self::Nothing | Self::Everything | Self::FirstHalf | Self::LastHalf | Self::LengthLost => 0,
        }
    }
}

/// Something that was done to a file and not synced.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

const SECTOR: usize = 512;

fn by_sectors(image: &mut Image, offset: u64, data: &[u8], dice: &mut Dice) {
    for (number, part) in data.chunks(SECTOR).enumerate() {
        if dice.one_in(2) {
            image.write_clipped(offset + (number * SECTOR) as u64, part);
        }
    }
}

//! Where things are in a file, and the checks that say whether they are what was written. `docs/format.md` says the same
//! in words; this module knows no file and no memory.

use tracer::recorder::block::BLOCK_BYTES;
use tracer::recorder::page::PAGE_BYTES;

pub(crate) const MAGIC: [u8; 8] = *b"TBX1\r\n\x1a\n";
pub(crate) const BYTE_ORDER: u16 = 0x1234;
pub(crate) const MAJOR: u16 = 2;
/// The oldest that can be read.
pub(crate) const MAJOR_MIN: u16 = 1;
/// Of what is written: major and minor.
pub(crate) const VERSION: (u16, u16) = (MAJOR, 1);
/// Flag of a superblock: a panic ends the process.
pub(crate) const PANIC_ABORTS: u16 = 1;

pub(crate) const SUPERBLOCK_LEN: usize = 512;
pub(crate) const COPY_AT: usize = 0x1000;
pub(crate) const STATUS_AT: usize = 0x2000;
/// Words of the status, of which the last hold a path.
pub(crate) const STATUS_WORDS: usize = EVENTS_PATH_WORD + EVENTS_PATH_MAX / 8;
pub(crate) const EVENTS_PATH_WORD: usize = 32;
pub(crate) const EVENTS_PATH_MAX: usize = 512;
pub(crate) const DEATH_AT: usize = 0x3000;
pub(crate) const PANIC_AT: usize = 0x3400;
pub(crate) const PANIC_TEXT_MAX: usize = 512;
pub(crate) const PAIRS_AT: usize = 0x4000;
pub(crate) const PAIRS: usize = 1024;
pub(crate) const PAIR_WORDS: usize = 4;
pub(crate) const DICTIONARY_AT: usize = PAIRS_AT + PAIRS * PAIR_WORDS * 8;

/// A frame in a block, and the head before the first.
pub(crate) const FRAME_BYTES: usize = 128;

const ALIGNMENT: usize = 4096;
const SUPERBLOCK_SEED: u64 = 0x5442_5831_5355_5052;

/// Sizes of the regions that a user can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) dictionary_len: usize,
    pub(crate) blocks: usize,
    pub(crate) pages: usize,
}

impl Layout {
    pub(crate) const fn blocks_at(self) -> usize {
        (DICTIONARY_AT + self.dictionary_len).next_multiple_of(ALIGNMENT)
    }

    pub(crate) const fn pages_at(self) -> usize {
        (self.blocks_at() + self.blocks * BLOCK_BYTES).next_multiple_of(ALIGNMENT)
    }

    pub(crate) const fn file_len(self) -> usize {
        self.pages_at() + self.pages * PAGE_BYTES
    }
}

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// Major and minor.
    pub(crate) version: (u16, u16),
    pub(crate) flags: u16,
    pub(crate) file_len: u64,
    pub(crate) salt: u64,
    pub(crate) boot_id: [u8; 16],
    pub(crate) pid: u32,
    pub(crate) parent_pid: u32,
    pub(crate) start_time: u64,
    pub(crate) created_unix_ns: u64,
    pub(crate) parent_salt: u64,
    pub(crate) dictionary: Region,
    pub(crate) blocks: Region,
    pub(crate) pages: Region,
    /// Where the number of the process means something; zero if unknown.
    pub(crate) pid_namespace: u64,
    pub(crate) app: String,
    pub(crate) app_version: String,
}

/// Part of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) at: u64,
    pub(crate) len: u64,
}

impl Region {
    pub(crate) const fn new(at: usize, len: usize) -> Self {
        Self { at: at as u64, len: len as u64 }
    }

    /// What there is of it.
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        let at = usize::try_from(self.at).unwrap_or(usize::MAX);
        let rest = bytes.get(at..).unwrap_or(&[]);
        &rest[..rest.len().min(usize::try_from(self.len).unwrap_or(usize::MAX))]
    }
}

/// Why bytes are no superblock that this version reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSuperblock {
    Magic,
    ByteOrder,
    Major(u16),
    Check,
}

impl Superblock {
    pub(crate) fn to_bytes(&self) -> [u8; SUPERBLOCK_LEN] {
        let mut bytes = [0; SUPERBLOCK_LEN];
        let mut put = |at: usize, content: &[u8]| bytes[at..at + content.len()].copy_from_slice(content);
        put(0, &MAGIC);
        put(8, &BYTE_ORDER.to_le_bytes());
        put(10, &self.version.0.to_le_bytes());
        put(12, &self.version.1.to_le_bytes());
        put(14, &self.flags.to_le_bytes());
        put(16, &self.file_len.to_le_bytes());
        put(24, &self.salt.to_le_bytes());
        put(32, &self.boot_id);
        put(48, &self.pid.to_le_bytes());
        put(52, &self.parent_pid.to_le_bytes());
        put(56, &self.start_time.to_le_bytes());
        put(64, &self.created_unix_ns.to_le_bytes());
        put(72, &self.parent_salt.to_le_bytes());
        for (at, region) in [(80, self.dictionary), (96, self.blocks), (112, self.pages)] {
            put(at, &region.at.to_le_bytes());
            put(at + 8, &region.len.to_le_bytes());
        }
        put(128, &self.pid_namespace.to_le_bytes());
        for (at, text) in [(256, &self.app), (320, &self.app_version)] {
            let text = cut(text, 63);
            put(at, &[u8::try_from(text.len()).unwrap_or(0)]);
            put(at + 1, text.as_bytes());
        }
        let check = mix(&bytes[..504], SUPERBLOCK_SEED);
        bytes[504..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads the first of `bytes`.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, NoSuperblock> {
        let bytes: &[u8; SUPERBLOCK_LEN] = bytes.first_chunk().ok_or(NoSuperblock::Magic)?;
        if bytes[..8] != MAGIC {
            return Err(NoSuperblock::Magic);
        }
        if u16_at(bytes, 8) != BYTE_ORDER {
            return Err(NoSuperblock::ByteOrder);
        }
        // Before the check, whose place and kind are the major version's to say.
        let major = u16_at(bytes, 10);
        if !(MAJOR_MIN..=MAJOR).contains(&major) {
            return Err(NoSuperblock::Major(major));
        }
        if mix(&bytes[..504], SUPERBLOCK_SEED) != u64_at(bytes, 504) {
            return Err(NoSuperblock::Check);
        }
        let text = |at: usize| {
            let len = usize::from(bytes[at]).min(63);
            String::from_utf8_lossy(&bytes[at + 1..at + 1 + len]).into_owned()
        };
        let region = |at| Region { at: u64_at(bytes, at), len: u64_at(bytes, at + 8) };
        let mut boot_id = [0; 16];
        boot_id.copy_from_slice(&bytes[32..48]);
        Ok(Self {
            version: (major, u16_at(bytes, 12)),
            flags: u16_at(bytes, 14),
            file_len: u64_at(bytes, 16),
            salt: u64_at(bytes, 24),
            boot_id,
            pid: u32_at(bytes, 48),
            parent_pid: u32_at(bytes, 52),
            start_time: u64_at(bytes, 56),
            created_unix_ns: u64_at(bytes, 64),
            parent_salt: u64_at(bytes, 72),
            dictionary: region(80),
            blocks: region(96),
            pages: region(112),
            pid_namespace: u64_at(bytes, 128),
            app: text(256),
            app_version: text(320),
        })
    }
}

/// The beginning of a text, at most `len` bytes.
pub(crate) fn cut(text: &str, len: usize) -> &str {
    let end = (0..=len.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

/// A number in bytes, zero where there are none.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

/// Likewise.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Likewise.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Eight words in bytes; `None` where they are not all there.
#[inline]
pub(crate) fn slot_at(bytes: &[u8], at: usize) -> Option<[u64; 8]> {
    let bytes: &[u8; 64] = bytes.get(at..)?.first_chunk()?;
    Some(std::array::from_fn(|word| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&bytes[word * 8..word * 8 + 8]);
        u64::from_le_bytes(eight)
    }))
}

/// The check of what is written seldom.
pub(crate) fn mix(bytes: &[u8], seed: u64) -> u64 {
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    mix_of(words, bytes.len(), seed)
}

/// Likewise, of words.
pub(crate) fn mix_words(words: &[u64], seed: u64) -> u64 {
    mix_of(words.iter().copied(), words.len() * 8, seed)
}

fn mix_of(words: impl Iterator<Item = u64>, len: usize, seed: u64) -> u64 {
    let hash = words.fold(seed, |hash, word| {
        let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^ (hash >> 32)
    });
    let hash = (hash ^ len as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    hash ^ (hash >> 29)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn superblock() -> Superblock {
        let layout = Layout { dictionary_len: 4096, blocks: 2, pages: 4 };
        Superblock {
            version: VERSION,
            flags: PANIC_ABORTS,
            file_len: layout.file_len() as u64,
            salt: 0x1122_3344_5566_7788,
            boot_id: *b"0123456789abcdef",
            pid: 7,
            parent_pid: 0,
            start_time: 99,
            created_unix_ns: 1_700_000_000_000_000_000,
            parent_salt: 0,
            dictionary: Region::new(DICTIONARY_AT, layout.dictionary_len),
            blocks: Region::new(layout.blocks_at(), layout.blocks * BLOCK_BYTES),
            pages: Region::new(layout.pages_at(), layout.pages * PAGE_BYTES),
            pid_namespace: 4_026_531_836,
            app: "app".to_owned(),
            app_version: "é".repeat(40),
        }
    }

    #[test]
    fn a_superblock_reads_back_and_refuses_what_is_none() {
        let block = Superblock { app_version: "é".repeat(31), ..superblock() };
        assert_eq!(Superblock::read(&superblock().to_bytes()), Ok(block));
        for bit in 0..SUPERBLOCK_LEN * 8 {
            let mut bytes = superblock().to_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::read(&bytes).is_err(), "bit {bit}");
        }
        for len in 0..SUPERBLOCK_LEN {
            assert_eq!(Superblock::read(&superblock().to_bytes()[..len]), Err(NoSuperblock::Magic));
        }
    }

    #[test]
    fn the_check_depends_on_every_byte_and_on_the_length() {
        let bytes: Vec<u8> = (0..100).collect();
        let check = mix(&bytes, 1);
        assert_ne!(check, mix(&bytes, 2));
        assert_ne!(mix(&[], 1), mix(&[0], 1));
        assert_ne!(mix(&[0; 8], 1), mix(&[0; 9], 1));
        for at in 0..100 {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_ne!(mix(&other, 1), check);
        }
        assert_eq!(mix_words(&[1, 2], 3), mix(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0], 3));
    }
}

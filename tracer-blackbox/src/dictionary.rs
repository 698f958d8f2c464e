//! What the numbers of functions mean, in the file: a reader needs neither the program nor its debug information.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use tracer::recorder::{Fields, FlowInfo, SiteInfo, Sites, put_field};

use crate::format::{DICTIONARY_AT, mix, u16_at, u32_at, u64_at};
use crate::reader::Numbers;

const KIND_SITE: u16 = 1;
const KIND_FLOW: u16 = 2;
const HEAD_LEN: usize = 16;

const NUMBER: u8 = 1;
const HASH: u8 = 2;
const LINE: u8 = 3;
const NAME: u8 = 4;
const MODULE: u8 = 5;
const FILE: u8 = 6;
const SOURCE: u8 = 7;
const FLOW: u8 = 8;

/// Appends items to a region.
#[derive(Debug)]
pub(crate) struct Writer {
    words: &'static [AtomicU64],
    salt: u64,
    /// The words that are used.
    used: usize,
    /// Where the name of a known flow lies in this process, and its number.
    flows: HashMap<usize, u32>,
    item: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(words: &'static [AtomicU64], salt: u64) -> Self {
        Self { words, salt, used: 0, flows: HashMap::new(), item: Vec::new() }
    }

    /// `false`: there is no room, and nothing was written.
    pub(crate) fn site(&mut self, number: u32, site: &SiteInfo<'_>) -> bool {
        let flow = match &site.flow {
            None => None,
            Some(flow) => match self.flow(flow) {
                Some(number) => Some(number),
                None => return false,
            },
        };
        let mut item = std::mem::take(&mut self.item);
        item.clear();
        put_field(&mut item, NUMBER, &number.to_le_bytes());
        put_field(&mut item, HASH, &site.hash.to_le_bytes());
        put_field(&mut item, LINE, &site.line.to_le_bytes());
        put_field(&mut item, NAME, site.node.as_bytes());
        put_field(&mut item, MODULE, site.module.as_bytes());
        put_field(&mut item, FILE, site.file.as_bytes());
        if let Some(source) = site.source {
            put_field(&mut item, SOURCE, source.as_bytes());
        }
        if let Some(flow) = flow {
            put_field(&mut item, FLOW, &flow.to_le_bytes());
        }
        let fits = self.append(KIND_SITE, &item);
        self.item = item;
        fits
    }

    fn flow(&mut self, flow: &FlowInfo<'_>) -> Option<u32> {
        // Flows are statics: one address, one flow.
        let address = flow.nodes.as_ptr().addr();
        if let Some(number) = self.flows.get(&address) {
            return Some(*number);
        }
        let number = u32::try_from(self.flows.len()).ok()? + 1;
        let mut item = Vec::new();
        put_field(&mut item, NUMBER, &number.to_le_bytes());
        put_field(&mut item, NAME, flow.name.as_bytes());
        for node in flow.nodes {
            put_field(&mut item, MODULE, node.as_bytes());
        }
        self.append(KIND_FLOW, &item).then(|| self.flows.insert(address, number))?;
        Some(number)
    }

    fn append(&mut self, kind: u16, content: &[u8]) -> bool {
        let words = HEAD_LEN / 8 + content.len().div_ceil(8);
        let Some([head, check, rest @ ..]) = self.words.get(self.used..self.used + words) else { return false };
        let first = content.len() as u64 | (u64::from(kind) << 32);
        for (word, chunk) in rest.iter().zip(content.chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        let offset = DICTIONARY_AT + self.used * 8;
        check.store(item_check(first, content, self.salt, offset), Ordering::Relaxed);
        head.store(first, Ordering::Release);
        self.used += words;
        true
    }
}

fn item_check(head: u64, content: &[u8], salt: u64, offset: usize) -> u64 {
    mix(content, mix(&head.to_le_bytes(), salt ^ offset as u64))
}

/// The dictionary of a file.
#[derive(Debug, Default)]
pub(crate) struct Dictionary<'a> {
    sites: HashMap<u32, Entry<'a>>,
    numbers: Numbers,
    flows: HashMap<u32, (&'a str, Vec<&'a str>)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry<'a> {
    hash: u64,
    line: u32,
    node: &'a str,
    module: &'a str,
    file: &'a str,
    source: Option<&'a str>,
    flow: u32,
}

impl<'a> Dictionary<'a> {
    /// Reads what is valid of a region that begins at `offset` of the file.
    pub(crate) fn read(region: &'a [u8], offset: usize, salt: u64) -> Self {
        let mut read = Self::default();
        let mut at = 0;
        while at + HEAD_LEN <= region.len() {
            at += read.item(region, at, offset, salt).unwrap_or(8);
        }
        let mut sites: Vec<(u32, u64)> = read.sites.iter().map(|(number, site)| (*number, site.hash)).collect();
        sites.sort_unstable();
        read.numbers = Numbers::new(sites.into_iter());
        read
    }

    /// Whether it has a function with this number.
    pub(crate) fn has(&self, number: u32) -> bool {
        self.sites.contains_key(&number)
    }

    /// The numbers of nodes.
    pub(crate) fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// Its length; `None` if there is none.
    fn item(&mut self, region: &'a [u8], at: usize, offset: usize, salt: u64) -> Option<usize> {
        let len = usize::try_from(u32_at(region, at)).ok()?;
        let kind = u16_at(region, at + 4);
        if kind == 0 {
            return None;
        }
        let content = region.get(at + HEAD_LEN..)?.get(..len)?;
        if item_check(u64_at(region, at), content, salt, offset + at) != u64_at(region, at + 8) {
            return None;
        }
        match kind {
            KIND_SITE => self.read_site(content),
            KIND_FLOW => self.read_flow(content),
            // Of a later version.
            _ => {}
        }
        Some(HEAD_LEN + len.next_multiple_of(8))
    }

    fn read_site(&mut self, content: &'a [u8]) {
        let (mut number, mut entry) = (0, Entry::default());
        for field in Fields::new(content) {
            let text = || std::str::from_utf8(field.content).unwrap_or("?");
            match field.tag {
                NUMBER => number = u32_at(field.content, 0),
                HASH => entry.hash = u64_at(field.content, 0),
                LINE => entry.line = u32_at(field.content, 0),
                NAME => entry.node = text(),
                MODULE => entry.module = text(),
                FILE => entry.file = text(),
                SOURCE => entry.source = Some(text()),
                FLOW => entry.flow = u32_at(field.content, 0),
                _ => {}
            }
        }
        self.sites.insert(number, entry);
    }

    fn read_flow(&mut self, content: &'a [u8]) {
        let (mut number, mut name, mut nodes) = (0, "?", Vec::new());
        for field in Fields::new(content) {
            let text = || std::str::from_utf8(field.content).unwrap_or("?");
            match field.tag {
                NUMBER => number = u32_at(field.content, 0),
                NAME => name = text(),
                MODULE => nodes.push(text()),
                _ => {}
            }
        }
        self.flows.insert(number, (name, nodes));
    }
}

impl Sites for Dictionary<'_> {
    fn site(&self, number: u32) -> Option<SiteInfo<'_>> {
        let entry = self.sites.get(&number)?;
        let flow = self.flows.get(&entry.flow).map(|(name, nodes)| FlowInfo { name, nodes });
        let Entry { hash, line, node, module, file, source, .. } = *entry;
        Some(SiteInfo { node, hash, module, file, line, source, flow })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(count: usize) -> &'static [AtomicU64] {
        Vec::leak((0..count).map(|_| AtomicU64::new(0)).collect())
    }

    fn bytes(words: &[AtomicU64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect()
    }

    const NODES: &[&str] = &["a", "b"];
    const PLAIN: SiteInfo<'_> =
        SiteInfo { node: "a", hash: 1, module: "m", file: "f.rs", line: 3, source: None, flow: None };
    const FLOWING: SiteInfo<'_> =
        SiteInfo { node: "b", source: Some("s"), flow: Some(FlowInfo { name: "flow", nodes: NODES }), ..PLAIN };

    #[test]
    fn functions_read_back_and_a_torn_one_harms_no_other() {
        let region = words(200);
        let mut writer = Writer::new(region, 7);
        assert!(writer.site(1, &PLAIN) && writer.site(2, &FLOWING) && writer.site(3, &FLOWING));
        let bytes = bytes(region);
        let read = Dictionary::read(&bytes, DICTIONARY_AT, 7);
        assert_eq!(read.site(1), Some(PLAIN));
        assert_eq!(read.site(3), Some(FLOWING));
        assert_eq!(read.flows.len(), 1);
        assert_eq!(Dictionary::read(&bytes, DICTIONARY_AT, 8).sites.len(), 0, "of another file");
        assert_eq!(Dictionary::read(&bytes, DICTIONARY_AT + 8, 7).sites.len(), 0, "from elsewhere");
        let mut torn = bytes.clone();
        torn[20] ^= 1;
        let read = Dictionary::read(&torn, DICTIONARY_AT, 7);
        assert_eq!((read.site(1), read.site(2)), (None, Some(FLOWING)));
        for len in 0..bytes.len() {
            Dictionary::read(&bytes[..len], DICTIONARY_AT, 7);
        }
    }

    #[test]
    fn a_full_region_says_so() {
        let region = words(20);
        let mut writer = Writer::new(region, 7);
        let fitted = (1..10).take_while(|number| writer.site(*number, &PLAIN)).count();
        assert!(fitted > 0 && fitted < 9);
        assert_eq!(Dictionary::read(&bytes(region), DICTIONARY_AT, 7).sites.len(), fitted);
    }
}
